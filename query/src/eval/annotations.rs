//! What a query noticed without failing: warnings and infos, in Prometheus' words.

use std::collections::BTreeMap;

use crate::Expr;
use crate::promql::quote::go_quote;

/// Collected texts, distinct by message; the place that is evaluated last is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    found: BTreeMap<String, Place>,
    forced: BTreeMap<String, ForcedMonotonicity>,
}

/// Where an expression is, in bytes and as line and column.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    position: (usize, usize),
}

impl Place {
    /// Operands come before what is made of them, the left one before the right one; the order
    /// in which threads and streams notice something does not matter.
    fn is_later_than(self, other: Place) -> bool {
        (self.end, other.start) > (other.end, self.start)
    }
}

/// How far a classic histogram's buckets had to be raised, over all steps of one metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForcedMonotonicity {
    /// Where the quantile's vector was.
    pub(crate) position: (usize, usize),
    /// Lowest bucket raised.
    pub(crate) bucket_min: f64,
    /// Highest bucket raised.
    pub(crate) bucket_max: f64,
    /// The largest raise.
    pub(crate) raise_max: f64,
    /// First and last instant, in milliseconds.
    pub(crate) first: i64,
    /// See `first`.
    pub(crate) last: i64,
    /// How many instants.
    pub(crate) count: usize,
}

impl Annotations {
    pub(crate) fn add(&mut self, message: String, at: &Expr) {
        if let Some(known) = self.found.get(&message)
            && (known.start, known.end) == (at.span.start, at.span.end)
        {
            return;
        }
        self.put(
            message,
            Place {
                start: at.span.start,
                end: at.span.end,
                position: at.position(),
            },
        );
    }

    fn put(&mut self, message: String, place: Place) {
        let known = self.found.entry(message).or_insert(place);
        if place.is_later_than(*known) {
            *known = place;
        }
    }

    /// The same notes of the same expression at its occurrence `at`, where they were made of one
    /// that starts at `from`.
    pub(crate) fn moved(mut self, from: usize, at: &Expr) -> Annotations {
        let moved = |byte: usize| (byte + at.span.start).saturating_sub(from);
        for place in self.found.values_mut() {
            let (start, end) = (moved(place.start), moved(place.end));
            let position = crate::promql::error::position(&at.text, start);
            *place = Place {
                start,
                end,
                position,
            };
        }
        self
    }

    /// Adds what was noticed later, in another thread.
    pub(crate) fn adopt(&mut self, later: Annotations) {
        for (message, place) in later.found {
            self.put(message, place);
        }
        for (metric, forced) in later.forced {
            self.forced_monotonicity(&metric, forced);
        }
    }

    pub(crate) fn forced_monotonicity(&mut self, metric: &str, new: ForcedMonotonicity) {
        self.forced
            .entry(metric.to_owned())
            .and_modify(|old| {
                old.bucket_min = old.bucket_min.min(new.bucket_min);
                old.bucket_max = old.bucket_max.max(new.bucket_max);
                old.raise_max = old.raise_max.max(new.raise_max);
                old.first = old.first.min(new.first);
                old.last = old.last.max(new.last);
                old.count += new.count;
            })
            .or_insert(new);
    }

    /// Warnings and infos, each with ` (line:col)`.
    pub(crate) fn finish(self) -> (Vec<String>, Vec<String>) {
        let mut positions: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (message, place) in self.found {
            positions.insert(message, place.position);
        }
        for (metric, f) in self.forced {
            positions.insert(forced_text(&metric, &f), f.position);
        }
        let texts = positions
            .into_iter()
            .map(|(m, (line, column))| format!("{m} ({line}:{column})"));
        texts.partition(|m| m.starts_with(WARNING))
    }
}

const WARNING: &str = "PromQL warning: ";

fn forced_text(metric: &str, f: &ForcedMonotonicity) -> String {
    let g = model::number::format_sprint;
    let mut text = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity \
         (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
        .to_owned();
    text.push_str(&for_metric(metric));
    text.push_str(&format!(
        ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
        g(f.bucket_min),
        g(f.bucket_max),
        two_digits(f.raise_max),
        f.count,
        rfc3339(f.first),
        rfc3339(f.last)
    ));
    text
}

/// Go's `%.2g`.
fn two_digits(v: f64) -> String {
    let rounded: f64 = format!("{v:.1e}").parse().unwrap_or(v);
    let exponent = if rounded == 0.0 {
        0
    } else {
        rounded.abs().log10().floor() as i32
    };
    if (-4..2).contains(&exponent) {
        model::number::format_fixed(rounded)
    } else {
        model::number::format_exponent(rounded)
    }
}

fn rfc3339(millis: i64) -> String {
    jiff::Timestamp::from_second(millis.div_euclid(1000))
        .map_or_else(|_| millis.to_string(), |t| t.to_string())
}

pub(crate) fn invalid_quantile(q: f64) -> String {
    let q = model::number::format_sprint(q);
    format!("{WARNING}quantile value should be between 0 and 1, got {q}")
}

pub(crate) fn invalid_ratio(r: f64, capped: f64) -> String {
    let g = model::number::format_sprint;
    format!(
        "{WARNING}ratio value should be between -1 and 1, got {}, capping to {}",
        g(r),
        g(capped)
    )
}

pub(crate) fn bad_bucket_label(metric: &str, value: &str) -> String {
    format!(
        "{WARNING}bucket label \"le\" is missing or has a malformed value of {}{}",
        go_quote(value),
        for_metric(metric)
    )
}

fn for_metric(metric: &str) -> String {
    if metric.is_empty() {
        String::new()
    } else {
        format!(" for metric name {}", go_quote(metric))
    }
}

pub(crate) fn mixed_floats_histograms(metric: &str) -> String {
    format!(
        "{WARNING}encountered a mix of histograms and floats for metric name {}",
        go_quote(metric)
    )
}

pub(crate) fn mixed_floats_histograms_aggregation() -> String {
    format!("{WARNING}encountered a mix of histograms and floats for aggregation")
}

pub(crate) fn mixed_classic_native(metric: &str) -> String {
    format!(
        "{WARNING}vector contains a mix of classic and native histograms{}",
        for_metric(metric)
    )
}

pub(crate) fn mixed_exponential_custom(metric: &str) -> String {
    format!(
        "{WARNING}vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
        go_quote(metric)
    )
}

pub(crate) fn not_a_counter(metric: &str) -> String {
    format!(
        "{WARNING}this native histogram metric is not a counter: {}",
        go_quote(metric)
    )
}

pub(crate) fn not_a_gauge(metric: &str) -> String {
    format!(
        "{WARNING}this native histogram metric is not a gauge: {}",
        go_quote(metric)
    )
}

pub(crate) fn incompatible_layout(op: &str) -> String {
    format!("{WARNING}incompatible bucket layout encountered for binary operator {op}")
}

pub(crate) fn reset_collision(operation: &str) -> String {
    format!("{WARNING}conflicting counter resets during histogram {operation}")
}

pub(crate) fn sort_in_range() -> String {
    format!(
        "{WARNING}sort is ineffective for range queries since results are always ordered by labels"
    )
}

pub(crate) fn start_overlap(metric: &str) -> String {
    format!(
        "{WARNING}sample has start time that overlaps with previous sample timestamp for metric {}",
        go_quote(metric)
    )
}

pub(crate) fn possible_non_counter(metric: &str) -> String {
    format!(
        "PromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: {}",
        go_quote(metric)
    )
}

pub(crate) fn incompatible_types(left: &str, op: &str, right: &str) -> String {
    format!(
        "PromQL info: incompatible sample types encountered for binary operator {}: {left} {op} {right}",
        go_quote(op)
    )
}

pub(crate) fn histogram_ignored_in_aggregation(op: &str) -> String {
    format!("PromQL info: ignored histogram in {op} aggregation")
}

pub(crate) fn histogram_ignored_in_range(metric: &str) -> String {
    format!(
        "PromQL info: ignored histograms in a range containing both floats and histograms for metric name {}",
        go_quote(metric)
    )
}

pub(crate) fn custom_buckets_reconciled(operation: &str) -> String {
    format!("PromQL info: mismatched custom buckets were reconciled during {operation}")
}

pub(crate) fn quantile_nan_result(metric: &str) -> String {
    format!(
        "PromQL info: input to histogram_quantile has NaN observations, result is NaN{}",
        for_metric(metric)
    )
}

pub(crate) fn quantile_nan_skew(metric: &str) -> String {
    format!(
        "PromQL info: input to histogram_quantile has NaN observations, result is skewed higher{}",
        for_metric(metric)
    )
}

pub(crate) fn fraction_nan(metric: &str) -> String {
    format!(
        "PromQL info: input to histogram_fraction has NaN observations, which are excluded from \
         all fractions{}",
        for_metric(metric)
    )
}
