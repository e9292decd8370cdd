//! Native histograms as classic ones, for a text that knows no others.
//!
//! A classic histogram has the same bounds in every sample, else its quantiles jump. So all samples
//! of a series are looked at first: their bounds, in the coarsest resolution among them (each halving
//! of the resolution keeps every other bound, so nothing is estimated), are the `le` of all.

use std::collections::BTreeSet;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span, exponential_bound};
use model::labels::METRIC_NAME;
use model::{FPoint, HPoint, Labels};

use super::text::{put_line, series_text};

/// What is known of a series after one look at its samples.
#[derive(Default)]
pub(super) struct Bounds {
    /// The coarsest exponential resolution.
    schema: Option<i32>,
    /// Upper bounds of buckets that are not exponential: listed ones and those of zero.
    others: BTreeSet<Ordered>,
    /// The outermost exponential indices, at the resolution of then.
    positive: BTreeSet<(i32, i32)>,
    negative: BTreeSet<(i32, i32)>,
}

/// A bound; never NaN.
#[derive(Clone, Copy, PartialEq)]
struct Ordered(f64);

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Bounds {
    /// Looks at a sample.
    pub(super) fn add(&mut self, h: &Histogram) {
        if h.schema == CUSTOM_BUCKETS_SCHEMA {
            let bounds = h.custom_values.iter().filter(|b| b.is_finite());
            self.others.extend(bounds.map(|b| Ordered(*b)));
            return;
        }
        self.schema = Some(self.schema.map_or(h.schema, |s| s.min(h.schema)));
        self.others.insert(Ordered(h.zero_threshold));
        let of = |spans, counts| indexed(spans, counts).map(|(i, _)| (h.schema, i));
        self.positive
            .extend(of(&h.positive_spans, &h.positive_buckets));
        self.negative
            .extend(of(&h.negative_spans, &h.negative_buckets));
    }

    /// The series that stand for the histogram `labels`.
    pub(super) fn series(&self, labels: &Labels) -> Option<Classic> {
        let mut bounds = self.others.clone();
        let schema = self.schema.unwrap_or_default();
        for (of, index) in &self.positive {
            bounds.insert(Ordered(exponential_bound(
                coarse(*index, of - schema),
                schema,
            )));
        }
        for (of, index) in &self.negative {
            let index = coarse(*index, of - schema).saturating_sub(1);
            bounds.insert(Ordered(-exponential_bound(index, schema)));
        }
        bounds.retain(|b| b.0.is_finite());
        bounds.insert(Ordered(f64::INFINITY));
        let name = labels.metric_name();
        let named = |suffix: &str, le: Option<f64>| {
            let kept = labels
                .iter()
                .filter(|(n, _)| *n != METRIC_NAME && *n != "le");
            let kept = kept.map(|(n, v)| (n.to_owned(), v.to_owned()));
            let le = le.map(|le| ("le".to_owned(), model::number::format_api(le)));
            let name = (METRIC_NAME.to_owned(), format!("{name}{suffix}"));
            series_text(&Labels::from_pairs(kept.chain(le).chain([name])))
        };
        let buckets = bounds
            .iter()
            .map(|b| Some((b.0, named("_bucket", Some(b.0))?)));
        Some(Classic {
            schema,
            buckets: buckets.collect::<Option<_>>()?,
            count: named("_count", None)?,
            sum: named("_sum", None)?,
        })
    }
}

/// The series of a classic histogram, as text.
pub(super) struct Classic {
    schema: i32,
    /// By upper bound.
    buckets: Vec<(f64, String)>,
    count: String,
    sum: String,
}

impl Classic {
    /// Writes a sample as lines.
    pub(super) fn put(&self, out: &mut String, point: &HPoint) {
        let counts = counts(&point.h, self.schema);
        let mut counts = counts.into_iter().peekable();
        let mut below = 0.0;
        for (le, series) in &self.buckets {
            while let Some((_, count)) = counts.next_if(|(upper, _)| upper <= le) {
                below += count;
            }
            let v = if le.is_finite() { below } else { point.h.count };
            put_line(out, series, FPoint { t: point.t, v });
        }
        for (series, v) in [(&self.count, point.h.count), (&self.sum, point.h.sum)] {
            put_line(out, series, FPoint { t: point.t, v });
        }
    }
}

/// Upper bound and count of each bucket at a resolution, ascending.
fn counts(h: &Histogram, schema: i32) -> Vec<(f64, f64)> {
    let positive = indexed(&h.positive_spans, &h.positive_buckets);
    if h.schema == CUSTOM_BUCKETS_SCHEMA {
        let upper = |i: i32| usize::try_from(i).ok().and_then(|i| h.custom_values.get(i));
        return positive
            .map(|(i, n)| (upper(i).copied().unwrap_or(f64::INFINITY), n))
            .collect();
    }
    let finer = h.schema - schema;
    let negative = indexed(&h.negative_spans, &h.negative_buckets);
    let upper = |i: i32| -exponential_bound(coarse(i, finer).saturating_sub(1), schema);
    let mut all: Vec<(f64, f64)> = negative.map(|(i, n)| (upper(i), n)).collect();
    all.reverse();
    all.push((h.zero_threshold, h.zero_count));
    all.extend(positive.map(|(i, n)| (exponential_bound(coarse(i, finer), schema), n)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// Index and count of each bucket.
fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut next = 0_i32;
    let runs = spans.iter().flat_map(move |span| {
        let start = next.saturating_add(span.offset);
        next = start.saturating_add_unsigned(span.length);
        start..next
    });
    runs.zip(counts.iter().copied())
}

/// The index of the bucket that holds bucket `index` after `halvings` of the resolution.
fn coarse(index: i32, halvings: i32) -> i32 {
    // Bucket i ends at 2^(i / 2^schema): the upper bound decides.
    ((index.saturating_sub(1)) >> halvings.clamp(0, 31)).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn check(histograms: &[Histogram], expect: &str) {
        let mut bounds = Bounds::default();
        for h in histograms {
            bounds.add(h);
        }
        let labels = Labels::from_pairs([("__name__", "h"), ("a", "b")]);
        let classic = bounds.series(&labels).unwrap();
        let mut text = String::new();
        for h in histograms {
            let h = Arc::new(h.clone());
            classic.put(&mut text, &HPoint { t: 1000, h });
        }
        assert_eq!(text, expect);
    }

    fn exponential(schema: i32, first: i32, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            zero_threshold: 0.5,
            zero_count: 1.0,
            count: 1.0 + counts.iter().sum::<f64>(),
            sum: 7.5,
            positive_spans: vec![Span {
                offset: first,
                length: counts.len() as u32,
            }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn buckets_are_cumulative_and_the_same_in_every_sample() {
        check(
            &[
                // ..1 (index 0), ..2, ..4; then half of these, at twice the resolution.
                exponential(0, 1, &[2.0, 3.0]),
                exponential(1, 2, &[1.0, 1.0, 1.0]),
            ],
            "h_bucket{a=\"b\",le=\"0.5\"} 1 1\n\
             h_bucket{a=\"b\",le=\"2\"} 3 1\n\
             h_bucket{a=\"b\",le=\"4\"} 6 1\n\
             h_bucket{a=\"b\",le=\"+Inf\"} 6 1\n\
             h_count{a=\"b\"} 6 1\n\
             h_sum{a=\"b\"} 7.5 1\n\
             h_bucket{a=\"b\",le=\"0.5\"} 1 1\n\
             h_bucket{a=\"b\",le=\"2\"} 2 1\n\
             h_bucket{a=\"b\",le=\"4\"} 4 1\n\
             h_bucket{a=\"b\",le=\"+Inf\"} 4 1\n\
             h_count{a=\"b\"} 4 1\n\
             h_sum{a=\"b\"} 7.5 1\n",
        );
    }

    #[test]
    fn negative_buckets_come_first() {
        let mut h = exponential(0, 1, &[2.0]);
        h.negative_spans = vec![Span {
            offset: 1,
            length: 2,
        }];
        h.negative_buckets = vec![4.0, 8.0];
        h.count = 15.0;
        check(
            &[h],
            "h_bucket{a=\"b\",le=\"-2\"} 8 1\n\
             h_bucket{a=\"b\",le=\"-1\"} 12 1\n\
             h_bucket{a=\"b\",le=\"0.5\"} 13 1\n\
             h_bucket{a=\"b\",le=\"2\"} 15 1\n\
             h_bucket{a=\"b\",le=\"+Inf\"} 15 1\n\
             h_count{a=\"b\"} 15 1\n\
             h_sum{a=\"b\"} 7.5 1\n",
        );
    }

    #[test]
    fn listed_bounds_stay_as_they_are() {
        let h = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count: 6.0,
            sum: 9.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 3,
            }],
            positive_buckets: vec![1.0, 2.0, 3.0],
            custom_values: vec![0.1, 1.0],
            ..Histogram::default()
        };
        check(
            &[h],
            "h_bucket{a=\"b\",le=\"0.1\"} 1 1\n\
             h_bucket{a=\"b\",le=\"1\"} 3 1\n\
             h_bucket{a=\"b\",le=\"+Inf\"} 6 1\n\
             h_count{a=\"b\"} 6 1\n\
             h_sum{a=\"b\"} 9 1\n",
        );
    }
}
