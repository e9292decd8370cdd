//! OTLP metrics and logs: the messages, their JSON form, and the names Prometheus gives them.
//! Source: opentelemetry-proto (metrics/v1, common/v1, collector/metrics/v1).

pub(crate) mod json;
pub(crate) mod logs;
pub(crate) mod names;

use std::fmt::Write as _;

use model::number::format_api;

use super::protobuf::{Fields, Malformed, Messages, Value, push_bounded};

/// Attributes of a point or a resource.
const ATTRIBUTES_MAX: usize = super::remote_write::LABELS_MAX;
/// Quantiles of a summary.
const QUANTILES_MAX: usize = 1000;
/// Attribute values may hold lists of lists; deeper ones are cut off.
const VALUE_DEPTH_MAX: usize = 8;
/// A point says with this flag that there is no value any more.
const NO_RECORDED_VALUE: u64 = 1;

/// Names and values, as text.
pub(crate) type Attributes<'a> = Vec<(&'a str, String)>;

/// One metric: what it is, and its points as they are on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) kind: Kind,
    /// Sums and histograms: whether each point tells only what is new since the one before.
    pub(crate) temporality: Temporality,
    /// Sums that never decrease.
    pub(crate) monotonic: bool,
    data: &'a [u8],
}

/// The kind of a metric's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

/// What a point adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Temporality {
    #[default]
    Unspecified,
    Delta,
    Cumulative,
}

/// One point of any kind; the fields that its kind does not have are empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point<'a> {
    pub(crate) attributes: Attributes<'a>,
    /// Milliseconds since the epoch.
    pub(crate) at: i64,
    /// There is no value: the series ends here.
    pub(crate) stale: bool,
    pub(crate) exemplars: u64,
    /// Of a gauge or sum.
    pub(crate) value: f64,
    pub(crate) count: u64,
    pub(crate) sum: Option<f64>,
    /// Of a histogram: one more than bounds.
    pub(crate) bucket_counts: Vec<u64>,
    pub(crate) bounds: Vec<f64>,
    /// Of an exponential histogram.
    pub(crate) scale: i32,
    pub(crate) zero_count: u64,
    pub(crate) zero_threshold: f64,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    /// Of a summary: quantile and value.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// Buckets of an exponential histogram from `offset` on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buckets {
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

/// The `ResourceMetrics` of a request.
pub(crate) fn resources(request: &[u8]) -> Messages<'_> {
    Messages::of(request, 1)
}

/// The attributes of a `ResourceMetrics`' resource.
pub(crate) fn resource_attributes(resource_metrics: &[u8]) -> Result<Attributes<'_>, Malformed> {
    let mut attributes = Attributes::new();
    for resource in Messages::of(resource_metrics, 1) {
        for attribute in Messages::of(resource?, 1) {
            push_bounded(&mut attributes, key_value(attribute?)?, ATTRIBUTES_MAX)?;
        }
    }
    Ok(attributes)
}

/// The `ScopeMetrics` of a `ResourceMetrics`.
pub(crate) fn scopes(resource_metrics: &[u8]) -> Messages<'_> {
    Messages::of(resource_metrics, 2)
}

/// The metrics of a `ScopeMetrics`, for [`Metric::decode`].
pub(crate) fn metrics(scope_metrics: &[u8]) -> Messages<'_> {
    Messages::of(scope_metrics, 2)
}

impl<'a> Metric<'a> {
    pub(crate) fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut metric = Metric {
            name: "",
            description: "",
            unit: "",
            kind: Kind::Empty,
            temporality: Temporality::default(),
            monotonic: false,
            data: &[],
        };
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            let kind = match number {
                1 => {
                    metric.name = value.text()?;
                    continue;
                }
                2 => {
                    metric.description = value.text()?;
                    continue;
                }
                3 => {
                    metric.unit = value.text()?;
                    continue;
                }
                5 => Kind::Gauge,
                7 => Kind::Sum,
                9 => Kind::Histogram,
                10 => Kind::ExponentialHistogram,
                11 => Kind::Summary,
                _ => continue,
            };
            (metric.kind, metric.data) = (kind, value.bytes()?);
        }
        let mut fields = Fields::of(metric.data);
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => {
                    metric.temporality = match value.varint()? {
                        1 => Temporality::Delta,
                        2 => Temporality::Cumulative,
                        _ => Temporality::Unspecified,
                    }
                }
                3 => metric.monotonic = value.varint()? != 0,
                _ => {}
            }
        }
        Ok(metric)
    }

    /// Its points, one at a time: decoded they are many times larger.
    pub(crate) fn points(&self) -> impl Iterator<Item = Result<Point<'a>, Malformed>> {
        let kind = self.kind;
        Messages::of(self.data, 1).map(move |message| point(kind, message?))
    }
}

fn point(kind: Kind, message: &[u8]) -> Result<Point<'_>, Malformed> {
    let mut p = Point::default();
    let attributes = match kind {
        Kind::Histogram => 9,
        Kind::ExponentialHistogram => 1,
        _ => 7,
    };
    let (flags, exemplars) = match kind {
        Kind::Histogram => (10, 8),
        Kind::ExponentialHistogram => (10, 11),
        Kind::Summary => (8, 0),
        _ => (8, 5),
    };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        if number == attributes {
            push_bounded(
                &mut p.attributes,
                key_value(value.bytes()?)?,
                ATTRIBUTES_MAX,
            )?;
            continue;
        }
        if number == flags {
            p.stale = value.varint()? & NO_RECORDED_VALUE != 0;
            continue;
        }
        if number == exemplars {
            p.exemplars += 1;
            continue;
        }
        if number == 3 {
            p.at = (fixed64(value)? / 1_000_000) as i64;
            continue;
        }
        match (kind, number) {
            (Kind::Gauge | Kind::Sum, 4) => p.value = value.double()?,
            (Kind::Gauge | Kind::Sum, 6) => p.value = fixed64(value)? as i64 as f64,
            (Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary, 4) => {
                p.count = fixed64(value)?;
            }
            (Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary, 5) => {
                p.sum = Some(value.double()?);
            }
            (Kind::Histogram, 6) => value.fixed64s_into(&mut p.bucket_counts, |v| v)?,
            (Kind::Histogram, 7) => value.fixed64s_into(&mut p.bounds, f64::from_bits)?,
            (Kind::ExponentialHistogram, 6) => p.scale = value.sint32()?,
            (Kind::ExponentialHistogram, 7) => p.zero_count = fixed64(value)?,
            (Kind::ExponentialHistogram, 8) => p.positive = buckets(value)?,
            (Kind::ExponentialHistogram, 9) => p.negative = buckets(value)?,
            (Kind::ExponentialHistogram, 14) => p.zero_threshold = value.double()?,
            (Kind::Summary, 6) => {
                push_bounded(&mut p.quantiles, quantile(value)?, QUANTILES_MAX)?;
            }
            _ => {}
        }
    }
    Ok(p)
}

fn buckets(value: Value<'_>) -> Result<Buckets, Malformed> {
    let mut buckets = Buckets::default();
    let mut fields = Fields::of(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => buckets.offset = value.sint32()?,
            2 => value.varints_into(&mut buckets.counts, |v| v)?,
            _ => {}
        }
    }
    Ok(buckets)
}

fn quantile(value: Value<'_>) -> Result<(f64, f64), Malformed> {
    let mut pair = (0.0, 0.0);
    let mut fields = Fields::of(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pair.0 = value.double()?,
            2 => pair.1 = value.double()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn fixed64(value: Value<'_>) -> Result<u64, Malformed> {
    value.double().map(f64::to_bits)
}

fn key_value(message: &[u8]) -> Result<(&str, String), Malformed> {
    let mut pair = ("", String::new());
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pair.0 = value.text()?,
            2 => put_any(&mut pair.1, value.bytes()?, 0)?,
            _ => {}
        }
    }
    Ok(pair)
}

/// An attribute's value as text: what is not a string as JSON, as the OpenTelemetry collector
/// has it. Bytes have no text.
fn put_any(out: &mut String, message: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth > VALUE_DEPTH_MAX {
        return Ok(());
    }
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 if depth == 0 => out.push_str(value.text()?),
            1 => put_quoted(out, value.text()?),
            2 => out.push_str(if value.varint()? == 0 {
                "false"
            } else {
                "true"
            }),
            // Writing to a string does not fail.
            3 => drop(write!(out, "{}", value.int64()?)),
            4 => out.push_str(&format_api(value.double()?)),
            5 => {
                out.push('[');
                for (i, item) in Messages::of(value.bytes()?, 1).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    put_any(out, item?, depth + 1)?;
                }
                out.push(']');
            }
            6 => {
                out.push('{');
                for (i, item) in Messages::of(value.bytes()?, 1).enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    let mut fields = Fields::of(item?);
                    while let Some((number, value)) = fields.next()? {
                        match number {
                            1 => {
                                put_quoted(out, value.text()?);
                                out.push(':');
                            }
                            2 => put_any(out, value.bytes()?, depth + 1)?,
                            _ => {}
                        }
                    }
                }
                out.push('}');
            }
            _ => {}
        }
    }
    Ok(())
}

fn put_quoted(out: &mut String, text: &str) {
    // A string has no key that could fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
