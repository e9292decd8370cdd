//! Prometheus' exposition in protobuf, the only form that has native histograms: metric families
//! one after the other, each preceded by its length.
//! Source: prometheus/client_model, io/prometheus/client/metrics.proto.

use model::{CounterResetHint, Histogram};

use super::protobuf::{write, zigzag};

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Untyped,
    Histogram,
    GaugeHistogram,
}

impl Kind {
    /// The family that a histogram belongs to.
    pub(crate) fn of_histogram(h: &Histogram) -> Kind {
        match h.counter_reset_hint {
            CounterResetHint::Gauge => Kind::GaugeHistogram,
            _ => Kind::Histogram,
        }
    }

    fn number(self) -> u64 {
        match self {
            Kind::Counter => 0,
            Kind::Gauge => 1,
            Kind::Untyped => 3,
            Kind::Histogram => 4,
            Kind::GaugeHistogram => 5,
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// A family under construction.
pub(crate) struct Family {
    kind: Kind,
    message: Vec<u8>,
}

impl Family {
    pub(crate) fn new(name: &str, kind: Kind) -> Family {
        let mut message = Vec::new();
        write::bytes(&mut message, 1, name.as_bytes());
        write::varint(&mut message, 3, kind.number());
        Family { kind, message }
    }

    /// Adds a sample; `t` in milliseconds.
    pub(crate) fn push<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        t: i64,
        value: Value<'_>,
    ) {
        let kind = self.kind;
        write::message(&mut self.message, 4, |out| {
            for (name, value) in labels {
                write::message(out, 1, |out| {
                    write::bytes(out, 1, name.as_bytes());
                    write::bytes(out, 2, value.as_bytes());
                });
            }
            match value {
                Value::Float(v) => {
                    let number = match kind {
                        Kind::Gauge => 2,
                        Kind::Counter => 3,
                        _ => 5,
                    };
                    write::message(out, number, |out| write::double(out, 1, v));
                }
                Value::Histogram(h) => write::message(out, 7, |out| histogram(out, h)),
            }
            write::varint(out, 6, t as u64);
        });
    }

    /// Appends it to `out`.
    pub(crate) fn finish(self, out: &mut Vec<u8>) {
        write::raw_varint(out, self.message.len() as u64);
        out.extend_from_slice(&self.message);
    }
}

/// With float counts, which ours are.
fn histogram(out: &mut Vec<u8>, h: &Histogram) {
    write::double(out, 2, h.sum);
    write::double(out, 4, h.count);
    write::varint(out, 5, zigzag(i64::from(h.schema)));
    write::double(out, 6, h.zero_threshold);
    write::double(out, 8, h.zero_count);
    let mut span = |number, offset: i32, length: u32| {
        write::message(out, number, |out| {
            write::varint(out, 1, zigzag(i64::from(offset)));
            write::varint(out, 2, u64::from(length));
        });
    };
    if h.negative_spans.is_empty() && h.positive_spans.is_empty() {
        // What has neither buckets nor spans would be taken for a classic histogram.
        span(12, 0, 0);
    }
    for s in &h.negative_spans {
        span(9, s.offset, s.length);
    }
    for s in &h.positive_spans {
        span(12, s.offset, s.length);
    }
    write::doubles(out, 11, &h.negative_buckets);
    write::doubles(out, 14, &h.positive_buckets);
}
