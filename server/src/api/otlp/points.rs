//! OTLP's points as samples, by the rules of Prometheus' own receiver.
//! Source: prometheus/storage/remote/otlptranslator/prometheusremotewrite.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{self, validated};
use model::labels::METRIC_NAME;
use model::number::format_fixed;
use model::{Histogram, HistogramSample, Labels, STALE_NAN, Sample, Span, Timestamp};

use super::Refusal;
use crate::api::metric_metadata::MetadataTable;
use crate::api::receive::{Receiver, Stop};
use crate::wire::otlp::{
    Attributes, Buckets, Kind, Metric, Point, Temporality, metrics, names, resource_attributes,
    resources, scopes,
};
use crate::wire::remote_write::{LABEL_BYTES_MAX, LABELS_MAX};

/// Resource attributes that are `job` and `instance` instead of labels of `target_info`.
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_NAME: &str = "service.name";
const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// Schemas that native histograms have.
const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 8;
/// Width of the zero bucket when the sender does not say.
const ZERO_THRESHOLD_DEFAULT: f64 = 1e-128;
/// `target_info` is repeated this often within a request that covers a longer time, so that
/// a query finds it everywhere: half the lookback.
const TARGET_INFO_STEP_MS: i64 = 150_000;
/// It goes back at most so far from the newest sample.
const TARGET_INFO_SPAN_MS: i64 = 3_600_000;

/// Hands every point of a request on.
pub(super) fn receive(
    request: &[u8],
    receiver: &mut Receiver<'_>,
    metadata: &MetadataTable,
) -> Result<(), Refusal> {
    for resource_metrics in resources(request) {
        let resource_metrics = resource_metrics?;
        let resource = Resource::new(resource_attributes(resource_metrics)?);
        let mut seen: Option<(i64, i64)> = None;
        for scope in scopes(resource_metrics) {
            for message in metrics(scope?) {
                let metric = Metric::decode(message?)?;
                let times = one_metric(&metric, &resource, receiver, metadata)?;
                seen = match (seen, times) {
                    (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                    (one, other) => one.or(other),
                };
            }
        }
        if let Some((first, last)) = seen {
            resource.target_info(first, last, receiver)?;
        }
    }
    Ok(())
}

/// The points of one metric; their first and last instant.
fn one_metric(
    metric: &Metric<'_>,
    resource: &Resource<'_>,
    receiver: &mut Receiver<'_>,
    metadata: &MetadataTable,
) -> Result<Option<(i64, i64)>, Refusal> {
    let adds_up = matches!(
        metric.kind,
        Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram
    );
    let name = names::metric_name(metric);
    let refused = if adds_up && metric.temporality != Temporality::Cumulative {
        Some(
            "invalid temporality and type combination: only cumulative sums and histograms are taken",
        )
    } else if name.is_none() {
        Some("the metric has no name that Prometheus could have")
    } else {
        None
    };
    let name = name.unwrap_or_default();
    if refused.is_none() {
        metadata.put(&name, kind_word(metric), metric.description, metric.unit);
    }
    let mut times: Option<(i64, i64)> = None;
    let mut points = 0;
    for point in metric.points() {
        let point = point?;
        points += 1;
        receiver.exemplars(point.exemplars);
        if refused.is_some() {
            continue;
        }
        times = Some(times.map_or((point.at, point.at), |(a, b)| {
            (a.min(point.at), b.max(point.at))
        }));
        let labels = match PointLabels::new(&name, &point.attributes, resource) {
            Ok(labels) => labels,
            Err(why) => {
                receiver.invalid(1, why, &Labels::empty());
                continue;
            }
        };
        match metric.kind {
            Kind::Gauge | Kind::Sum => labels.put(receiver, "", None, &point, point.value)?,
            Kind::Histogram => classic_histogram(&labels, &point, receiver)?,
            Kind::Summary => summary(&labels, &point, receiver)?,
            Kind::ExponentialHistogram => native_histogram(&labels, &point, receiver)?,
            Kind::Empty => {}
        }
    }
    if let Some(why) = refused {
        let of = Labels::from_pairs([(METRIC_NAME, metric.name)]);
        receiver.invalid(points, why, &of);
    }
    Ok(times)
}

fn kind_word(metric: &Metric<'_>) -> &'static str {
    match metric.kind {
        Kind::Sum if metric.monotonic => "counter",
        Kind::Gauge | Kind::Sum => "gauge",
        Kind::Histogram | Kind::ExponentialHistogram => "histogram",
        Kind::Summary => "summary",
        Kind::Empty => "unknown",
    }
}

fn classic_histogram(
    labels: &PointLabels,
    point: &Point<'_>,
    receiver: &mut Receiver<'_>,
) -> Result<(), Stop> {
    if let Some(sum) = point.sum {
        labels.put(receiver, "_sum", None, point, sum)?;
    }
    labels.put(receiver, "_count", None, point, point.count as f64)?;
    let mut below = 0_u64;
    for (bound, count) in point.bounds.iter().zip(&point.bucket_counts) {
        below = below.saturating_add(*count);
        let le = format_fixed(*bound);
        labels.put(receiver, "_bucket", Some(("le", &le)), point, below as f64)?;
    }
    let le = Some(("le", "+Inf"));
    labels.put(receiver, "_bucket", le, point, point.count as f64)
}

fn summary(
    labels: &PointLabels,
    point: &Point<'_>,
    receiver: &mut Receiver<'_>,
) -> Result<(), Stop> {
    labels.put(receiver, "_sum", None, point, point.sum.unwrap_or_default())?;
    labels.put(receiver, "_count", None, point, point.count as f64)?;
    for (quantile, value) in &point.quantiles {
        let quantile = format_fixed(*quantile);
        labels.put(receiver, "", Some(("quantile", &quantile)), point, *value)?;
    }
    Ok(())
}

fn native_histogram(
    labels: &PointLabels,
    point: &Point<'_>,
    receiver: &mut Receiver<'_>,
) -> Result<(), Stop> {
    if point.scale < SCHEMA_MIN {
        let why = format!(
            "cannot convert exponential to native histogram. Scale must be >= {SCHEMA_MIN}, was {}",
            point.scale
        );
        receiver.invalid(1, why, &labels.build("", None));
        return Ok(());
    }
    // Finer buckets than the finest schema has are added up.
    let scale_down = (point.scale - SCHEMA_MAX).max(0);
    let mut h = Histogram {
        schema: point.scale.min(SCHEMA_MAX),
        zero_threshold: match point.zero_threshold {
            0.0 => ZERO_THRESHOLD_DEFAULT,
            given => given,
        },
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or_default(),
        ..Histogram::default()
    };
    (h.positive_spans, h.positive_buckets) = sparse(&point.positive, scale_down);
    (h.negative_spans, h.negative_buckets) = sparse(&point.negative, scale_down);
    if point.stale {
        h = Histogram {
            sum: STALE_NAN,
            ..Histogram::default()
        };
    }
    let labels = labels.build("", None);
    match validated(h) {
        Ok(h) => receiver.histogram(HistogramSample {
            labels,
            at: Timestamp::from_millis(point.at),
            histogram: Arc::new(h),
        }),
        Err(why) => {
            receiver.invalid(1, why, &labels);
            Ok(())
        }
    }
}

/// Runs of buckets. OTLP's bucket 0 is the one above 1, Prometheus' the one up to it, hence one
/// more; `scale_down` halves the number of buckets so often.
fn sparse(buckets: &Buckets, scale_down: i32) -> (Vec<Span>, Vec<f64>) {
    let first = i64::from(buckets.offset) + 1;
    let counts = buckets.counts.iter().map(|count| *count as f64);
    histogram::runs(
        (first..)
            .map(|i| histogram::coarser(i, scale_down))
            .zip(counts),
    )
}

/// What all series of a resource have in common.
struct Resource<'a> {
    job: Option<String>,
    instance: Option<String>,
    attributes: Attributes<'a>,
}

impl<'a> Resource<'a> {
    fn new(mut attributes: Attributes<'a>) -> Self {
        let mut take = |name: &str| {
            let found = attributes.iter().position(|(n, _)| *n == name)?;
            Some(attributes.remove(found).1)
        };
        let namespace = take(SERVICE_NAMESPACE);
        let job = match (namespace, take(SERVICE_NAME)) {
            (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
            (_, name) => name,
        };
        Resource {
            job,
            instance: take(SERVICE_INSTANCE_ID),
            attributes,
        }
    }

    /// `target_info` with the attributes that identify nothing, if there are any.
    fn target_info(&self, first: i64, last: i64, receiver: &mut Receiver<'_>) -> Result<(), Stop> {
        let named = self.job.is_some() || self.instance.is_some();
        if self.attributes.is_empty() || !named {
            return Ok(());
        }
        let labels = match PointLabels::new("target_info", &self.attributes, self) {
            Ok(labels) => labels.build("", None),
            Err(why) => {
                receiver.invalid(1, why, &Labels::empty());
                return Ok(());
            }
        };
        let mut at = first.max(last.saturating_sub(TARGET_INFO_SPAN_MS));
        loop {
            receiver.float(Sample {
                labels: labels.clone(),
                at: Timestamp::from_millis(at),
                value: 1.0,
            })?;
            if at >= last {
                return Ok(());
            }
            at = at.saturating_add(TARGET_INFO_STEP_MS).min(last);
        }
    }
}

/// The labels of a point, but for what tells its series apart.
struct PointLabels {
    name: String,
    labels: BTreeMap<String, String>,
}

impl PointLabels {
    fn new(
        name: &str,
        attributes: &Attributes<'_>,
        resource: &Resource<'_>,
    ) -> Result<Self, &'static str> {
        let mut sorted: Vec<&(&str, String)> = attributes.iter().collect();
        sorted.sort_by_key(|(n, _)| *n);
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (attribute, value) in sorted {
            let label = names::label_name(attribute)
                .ok_or("an attribute has no name that Prometheus could have")?;
            // Attributes that become the same label share it.
            match labels.get_mut(&label) {
                Some(before) => {
                    before.push(';');
                    before.push_str(value);
                }
                None => drop(labels.insert(label, value.clone())),
            }
        }
        for (label, value) in [("job", &resource.job), ("instance", &resource.instance)] {
            if let Some(value) = value {
                labels.insert(label.to_owned(), value.clone());
            }
        }
        let bytes: usize = labels.iter().map(|(n, v)| n.len() + v.len()).sum();
        // Name and `le` come on top.
        if labels.len() + 2 > LABELS_MAX || bytes + name.len() > LABEL_BYTES_MAX {
            return Err("more labels than are taken");
        }
        Ok(PointLabels {
            name: name.to_owned(),
            labels,
        })
    }

    fn build(&self, suffix: &str, extra: Option<(&str, &str)>) -> Labels {
        let name = format!("{}{suffix}", self.name);
        let mut pairs: Vec<(&str, &str)> = self
            .labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .filter(|(n, v)| !v.is_empty() && *n != METRIC_NAME)
            .collect();
        if let Some((label, value)) = extra {
            pairs.retain(|(n, _)| *n != label);
            pairs.push((label, value));
        }
        pairs.push((METRIC_NAME, &name));
        pairs.sort_unstable();
        Labels::from_sorted(pairs.into_iter())
    }

    fn put(
        &self,
        receiver: &mut Receiver<'_>,
        suffix: &str,
        extra: Option<(&str, &str)>,
        point: &Point<'_>,
        value: f64,
    ) -> Result<(), Stop> {
        receiver.float(Sample {
            labels: self.build(suffix, extra),
            at: Timestamp::from_millis(point.at),
            value: if point.stale { STALE_NAN } else { value },
        })
    }
}

#[cfg(test)]
mod tests;
