//! A native histogram in Prometheus' JSON: count, sum and the buckets that hold something.
//!
//! A bucket is `[boundaries, lower, upper, count]`; boundaries 0 is open left `(a, b]`,
//! 1 open right `[a, b)`, 2 open on both sides, 3 closed on both sides: the zero bucket and the
//! first of listed bounds. Source: prometheus/util/jsonutil and model/histogram.

use ::query::histogram::{Bucket, all_buckets};
use model::Histogram;

use crate::api::json;

/// Appends the object.
pub(crate) fn write(out: &mut String, h: &Histogram) {
    out.push_str("{\"count\":");
    json::number(out, h.count);
    out.push_str(",\"sum\":");
    json::number(out, h.sum);
    let mut buckets = all_buckets(h);
    buckets.retain(|b| b.count != 0.0);
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        json::array(out, buckets, |out, b| {
            out.push('[');
            out.push(boundaries(b));
            for number in [b.lower, b.upper, b.count] {
                out.push(',');
                json::number(out, number);
            }
            out.push(']');
        });
    }
    out.push('}');
}

fn boundaries(b: Bucket) -> char {
    match (b.lower_inclusive, b.upper_inclusive) {
        (false, true) => '0',
        (true, false) => '1',
        (false, false) => '2',
        (true, true) => '3',
    }
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
