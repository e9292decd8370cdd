//! An exposition in protobuf into a pass.

use std::fmt::Write;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, SCHEMA_MAX, SCHEMA_MIN, coarsened};
use model::labels::METRIC_NAME;
use model::{LabelsBuilder, Timestamp};

use super::job::Limits;
use super::{ScrapeConfig, SeriesRules};
use crate::exposition::protobuf::{Families, Family, Metric, Parts, Point, Unreadable};
use crate::exposition::series::{self, LABELS_MAX};
use crate::metadata::Said;
use crate::target::Pass;

/// Bytes of the names and labels of one scrape's series: a histogram writes its labels once for all
/// of its buckets. As text, which repeats them, such an exposition would be too large as well.
const SERIES_BYTES_MAX: usize = 64 << 20;
/// Buckets and spans of one scrape's native histograms: 6,000 histograms of the 160 buckets that
/// client libraries recommend. Each takes eight bytes, which one byte of an exposition can ask for.
const BUCKETS_MAX: usize = 1 << 20;

/// Why a family fails the scrape.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("{0}")]
    Refused(String),
}

/// Parses an exposition into a pass.
///
/// # Errors
/// The first family that is malformed or exceeds a limit; the pass is then worthless.
pub(super) fn parse_into(
    pass: &mut Pass<'_>,
    body: &[u8],
    rules: &SeriesRules<'_>,
) -> Result<(), String> {
    let mut reading = Reading {
        pass,
        rules,
        limits: Limits::of(rules.config),
        key: String::new(),
        series_bytes: 0,
        buckets: 0,
    };
    for (i, family) in Families::of(body).enumerate() {
        let family = family.map_err(|e| format!("metric family {}: {e}", i + 1))?;
        reading
            .family(&family)
            .map_err(|e| format!("metric family {:.100}: {e}", family.name))?;
    }
    Ok(())
}

struct Reading<'a, 'p> {
    pass: &'a mut Pass<'p>,
    rules: &'a SeriesRules<'a>,
    limits: Limits,
    key: String,
    series_bytes: usize,
    buckets: usize,
}

impl Reading<'_, '_> {
    fn family(&mut self, family: &Family<'_>) -> Result<(), Failure> {
        let config = self.rules.config;
        let parts = Parts {
            native: config.scrape_native_histograms,
            classic_too: config.always_scrape_classic_histograms,
        };
        let mut described = false;
        for metric in family.metrics() {
            let metric = metric?;
            if !described {
                described = true;
                self.pass.describe(&Said {
                    name: family.name,
                    kind: family.kind,
                    help: family.help,
                    plain_help: true,
                    unit: family.unit,
                });
            }
            self.key.clear();
            push_piece(&mut self.key, family.name);
            for label in metric.labels() {
                let (name, value) = label?;
                push_piece(&mut self.key, name);
                push_piece(&mut self.key, value);
            }
            let own = self.key.len();
            family.points(&metric, parts, |point| {
                self.key.truncate(own);
                self.point(family, &metric, point)
            })?;
        }
        Ok(())
    }

    fn point(
        &mut self,
        family: &Family<'_>,
        metric: &Metric<'_>,
        point: Point,
    ) -> Result<(), Failure> {
        let config = self.rules.config;
        let (suffix, bound) = match &point {
            Point::Float { suffix, bound, .. } => (*suffix, *bound),
            Point::Histogram(_) => ("", None),
        };
        self.key.push_str(suffix);
        if let Some((_, bound)) = bound {
            let _ = write!(self.key, "{:x}", bound.to_bits());
        }
        self.series_bytes += self.key.len();
        if self.series_bytes > SERIES_BYTES_MAX {
            let why = format!("names and labels take more than {SERIES_BYTES_MAX} bytes");
            return Err(Failure::Refused(why));
        }
        let own_time = metric.timestamp_ms.filter(|_| config.honor_timestamps);
        let own_time = own_time.map(Timestamp::from_millis);
        let tracked = config.track_timestamps_staleness;
        let make = || {
            let labels = labels(family.name, suffix, metric, bound)?;
            self.rules.resolve(labels).map_err(Failure::Refused)
        };
        match point {
            Point::Float { value, .. } => {
                self.pass.add(&self.key, own_time, tracked, value, make)?;
            }
            Point::Histogram(h) => {
                self.buckets += h.positive_spans.len() + h.positive_buckets.len();
                self.buckets += h.negative_spans.len() + h.negative_buckets.len();
                if self.buckets > BUCKETS_MAX {
                    let why = format!("more than {BUCKETS_MAX} native buckets in one scrape");
                    return Err(Failure::Refused(why));
                }
                let h = bounded(h, config).map_err(Failure::Refused)?;
                self.pass
                    .add_histogram(&self.key, own_time, tracked, h, make)?;
            }
        }
        match self.limits.exceeded(self.pass) {
            Some(why) => Err(Failure::Refused(why)),
            None => Ok(()),
        }
    }
}

/// Appends `text` behind its length, so that no two lists of pieces are written alike.
fn push_piece(key: &mut String, text: &str) {
    let length = u32::try_from(text.len()).ok().and_then(char::from_u32);
    // No sender writes a label of a megabyte, or of the 2,048 lengths that are no character, and
    // wants it told apart from another one.
    key.push(length.unwrap_or(char::REPLACEMENT_CHARACTER));
    key.push_str(text);
}

/// The labels of one of the metric's series.
fn labels(
    name: &str,
    suffix: &str,
    metric: &Metric<'_>,
    bound: Option<(&str, f64)>,
) -> Result<LabelsBuilder, Failure> {
    let mut labels = LabelsBuilder::default();
    let refused = |why: String| Err(Failure::Refused(why));
    if name.is_empty() {
        return refused("sample without a metric name".to_owned());
    }
    labels.set(METRIC_NAME, format!("{name}{suffix}"));
    for (count, label) in metric.labels().enumerate() {
        let (name, value) = label?;
        if name.is_empty() {
            return refused("label name is empty".to_owned());
        }
        if count >= LABELS_MAX {
            return refused(format!("more than {LABELS_MAX} labels"));
        }
        if labels.get(name).is_some() || bound.is_some_and(|(bound, _)| bound == name) {
            return refused(format!("label {name:?} is repeated"));
        }
        labels.set(name, value);
    }
    if let Some((label, bound)) = bound {
        labels.set(label, series::format_bound(bound));
    }
    Ok(labels)
}

/// The histogram in as coarse buckets as the job wants, of which there are as few as it allows.
fn bounded(mut h: Histogram, config: &ScrapeConfig) -> Result<Histogram, String> {
    h = coarsened(h, finest_schema(config.native_histogram_min_bucket_factor));
    let limit = config.native_histogram_bucket_limit;
    while limit > 0 && occupied(&h) > limit {
        if h.schema == CUSTOM_BUCKETS_SCHEMA || h.schema <= SCHEMA_MIN {
            return Err("histogram bucket limit exceeded".to_owned());
        }
        let coarser = h.schema - 1;
        h = coarsened(h, coarser);
    }
    Ok(h)
}

fn occupied(h: &Histogram) -> usize {
    let counts = h.positive_buckets.iter().chain(&h.negative_buckets);
    counts.filter(|count| **count != 0.0).count()
}

/// The finest schema whose buckets grow by at least `factor` from one to the next.
/// Source: Prometheus scrape/scrape.go `pickSchema`.
fn finest_schema(factor: f64) -> i32 {
    if factor.is_nan() || factor <= 1.0 {
        return SCHEMA_MAX;
    }
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32
}

#[cfg(test)]
mod tests;
