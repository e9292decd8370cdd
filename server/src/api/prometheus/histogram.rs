//! A native histogram in Prometheus' JSON: count, sum and the buckets that hold something.
//!
//! A bucket is `[boundaries, lower, upper, count]`; boundaries 0 is open left `(a, b]`,
//! 1 open right `[a, b)`, 3 closed on both sides (the zero bucket).
//! Source: prometheus/util/jsonutil and model/histogram.

use model::Histogram;
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, exponential_bound};

use crate::api::json;

const OPEN_LEFT: u8 = 0;
const OPEN_RIGHT: u8 = 1;
const CLOSED: u8 = 3;

/// Appends the object.
pub(crate) fn write(out: &mut String, h: &Histogram) {
    out.push_str("{\"count\":");
    json::number(out, h.count);
    out.push_str(",\"sum\":");
    json::number(out, h.sum);
    let buckets = buckets(h);
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        json::array(out, buckets, |out, (boundaries, lower, upper, count)| {
            out.push('[');
            out.push(char::from(b'0' + boundaries));
            for number in [lower, upper, count] {
                out.push(',');
                json::number(out, number);
            }
            out.push(']');
        });
    }
    out.push('}');
}

/// Non-empty buckets from the lowest to the highest.
fn buckets(h: &Histogram) -> Vec<(u8, f64, f64, f64)> {
    let indexed = |spans: &[model::Span], counts: &[f64]| {
        let mut index = 0_i32;
        let mut found = Vec::new();
        let mut counts = counts.iter();
        for span in spans {
            index = index.saturating_add(span.offset);
            for _ in 0..span.length {
                if let Some(count) = counts.next()
                    && *count != 0.0
                {
                    found.push((index, *count));
                }
                index = index.saturating_add(1);
            }
        }
        found
    };
    let mut out = Vec::new();
    for (index, count) in indexed(&h.negative_spans, &h.negative_buckets)
        .into_iter()
        .rev()
    {
        out.push((OPEN_RIGHT, -bound(h, index), -bound(h, index - 1), count));
    }
    if h.zero_count != 0.0 {
        out.push((CLOSED, -h.zero_threshold, h.zero_threshold, h.zero_count));
    }
    for (index, count) in indexed(&h.positive_spans, &h.positive_buckets) {
        let (lower, upper) = (bound(h, index - 1), bound(h, index));
        // The lowest listed bucket that reaches below zero is closed on both sides.
        let custom_lowest = h.schema == CUSTOM_BUCKETS_SCHEMA && index == 0;
        let boundaries = if custom_lowest && upper <= 0.0 || lower < 0.0 && upper > 0.0 {
            CLOSED
        } else {
            OPEN_LEFT
        };
        out.push((boundaries, lower, upper, count));
    }
    out
}

/// Upper bound of the positive bucket `index`.
fn bound(h: &Histogram, index: i32) -> f64 {
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        return match usize::try_from(index) {
            Ok(i) => h.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    exponential_bound(index, h.schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_come_in_order_with_their_bounds() {
        let h = Histogram {
            schema: 0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            count: 6.0,
            sum: 18.4,
            positive_spans: vec![
                model::Span {
                    offset: 0,
                    length: 2,
                },
                model::Span {
                    offset: 1,
                    length: 1,
                },
            ],
            positive_buckets: vec![1.0, 0.0, 2.0],
            negative_spans: vec![model::Span {
                offset: 0,
                length: 1,
            }],
            negative_buckets: vec![1.0],
            ..Histogram::default()
        };
        let mut out = String::new();
        write(&mut out, &h);
        assert_eq!(
            out,
            r#"{"count":"6","sum":"18.4","buckets":[[1,"-1","-0.5","1"],[3,"-0.001","0.001","2"],[0,"0.5","1","1"],[0,"4","8","2"]]}"#
        );
    }
}
