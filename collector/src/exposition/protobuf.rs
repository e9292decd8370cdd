//! The protobuf format in which targets expose their metrics, the only one that has native
//! histograms: families one after the other, each preceded by its length. Read in place: a family,
//! a metric and a point at a time, nothing is kept.
//! Sources: prometheus/client_model, io/prometheus/client/metrics.proto; which series a metric
//! stands for: Prometheus model/textparse/protobufparse.go.
//!
//! Exemplars and created timestamps are passed over.

use model::histogram::{Invalid, WholeCounts, validated, with_whole_counts};
use model::{CounterResetHint, Histogram, Span};
use protobuf::{
    Delimited, Fields, Malformed, Messages, NUMBERS_MAX, Value, bucket_span, push_bounded, unzigzag,
};

use super::Kind;

/// What is wrong with a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A native histogram means nothing.
    #[error(transparent)]
    Histogram(#[from] Invalid),
    /// A type that does not exist.
    #[error("unknown metric type {0}")]
    Type(u64),
}

/// A family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// Its name; that of counters has the `_total` that its series has.
    pub name: &'a str,
    /// For people, as it is meant: nothing is escaped.
    pub help: &'a str,
    /// Its type.
    pub kind: Kind,
    /// e.g. `seconds`; usually empty.
    pub unit: &'a str,
    message: &'a [u8],
}

/// One metric: labels, and what is measured.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    /// Milliseconds since the epoch, if it says when it was true. As for Prometheus, 0 is no time.
    pub timestamp_ms: Option<i64>,
    message: &'a [u8],
    /// The message of the family's kind.
    value: &'a [u8],
}

/// Which parts of histograms are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The native part; without it a histogram is its classic buckets, if only the one up to +Inf.
    pub native: bool,
    /// The classic buckets, if there are any, of one that has a native part too.
    pub classic_too: bool,
}

/// A sample of one of the series that a metric stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A float.
    Float {
        /// What follows the family's name.
        suffix: &'static str,
        /// A label that the metric itself has not, `le` or `quantile`, and its number.
        bound: Option<(&'static str, f64)>,
        /// The value.
        value: f64,
    },
    /// A native histogram, under the family's name.
    Histogram(Histogram),
}

/// The families of an exposition, in its order.
#[derive(Clone, Debug)]
pub struct Families<'a>(Delimited<'a>);

impl<'a> Families<'a> {
    /// Those in `body`.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        Families(Delimited::of(body))
    }
}

impl<'a> Iterator for Families<'a> {
    type Item = Result<Family<'a>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.0.next()?;
        Some(message.map_err(Unreadable::from).and_then(Family::of))
    }
}

impl<'a> Family<'a> {
    fn of(message: &'a [u8]) -> Result<Self, Unreadable> {
        let mut family = Family {
            name: "",
            help: "",
            kind: Kind::Counter,
            unit: "",
            message,
        };
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => family.name = value.text()?,
                2 => family.help = value.text()?,
                3 => {
                    family.kind = match value.varint()? {
                        0 => Kind::Counter,
                        1 => Kind::Gauge,
                        2 => Kind::Summary,
                        3 => Kind::Unknown,
                        4 => Kind::Histogram,
                        5 => Kind::GaugeHistogram,
                        other => return Err(Unreadable::Type(other)),
                    }
                }
                5 => family.unit = value.text()?,
                _ => {}
            }
        }
        Ok(family)
    }

    /// Its metrics, in their order.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>, Unreadable>> + use<'a> {
        let kind = self.kind;
        Messages::of(self.message, 4).map(move |message| Metric::of(message?, kind))
    }

    /// Calls `visit` with each sample of `metric`, which is one of its own.
    ///
    /// # Errors
    /// What cannot be read, and what `visit` gives; the samples visited are then worthless.
    pub fn points<E: From<Unreadable>>(
        &self,
        metric: &Metric<'_>,
        parts: Parts,
        mut visit: impl FnMut(Point) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.kind {
            Kind::Summary => summary(metric.value, &mut visit),
            Kind::Histogram | Kind::GaugeHistogram => {
                let head = HistogramHead::of(metric.value)?;
                let native = parts.native && head.native;
                if native {
                    let mut h = native_histogram(metric.value)?;
                    if self.kind == Kind::GaugeHistogram {
                        h.counter_reset_hint = CounterResetHint::Gauge;
                    }
                    visit(Point::Histogram(h))?;
                }
                match native && !(parts.classic_too && head.classic) {
                    true => Ok(()),
                    false => classic_histogram(metric.value, &head, &mut visit),
                }
            }
            _ => {
                let mut number = 0.0;
                each(metric.value, |field, value| {
                    if field == 1 {
                        number = float(value)?;
                    }
                    Ok::<_, Unreadable>(())
                })?;
                visit(plain("", number))
            }
        }
    }
}

impl<'a> Metric<'a> {
    fn of(message: &'a [u8], kind: Kind) -> Result<Self, Unreadable> {
        let value_number = match kind {
            Kind::Gauge => 2,
            Kind::Counter => 3,
            Kind::Summary => 4,
            Kind::Histogram | Kind::GaugeHistogram => 7,
            _ => 5,
        };
        let mut metric = Metric {
            timestamp_ms: None,
            message,
            value: &[],
        };
        let mut fields = Fields::of(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                6 => metric.timestamp_ms = Some(value.int64()?).filter(|t| *t != 0),
                n if n == value_number => metric.value = value.bytes()?,
                _ => {}
            }
        }
        Ok(metric)
    }

    /// Its labels as written: names and values may be anything, and come twice.
    pub fn labels(&self) -> impl Iterator<Item = Result<(&'a str, &'a str), Unreadable>> + use<'a> {
        Messages::of(self.message, 1).map(|message| {
            let (mut name, mut text) = ("", "");
            let mut fields = Fields::of(message?);
            while let Some((number, value)) = fields.next()? {
                match number {
                    1 => name = value.text()?,
                    2 => text = value.text()?,
                    _ => {}
                }
            }
            Ok((name, text))
        })
    }
}

fn plain(suffix: &'static str, value: f64) -> Point {
    Point::Float {
        suffix,
        bound: None,
        value,
    }
}

fn with_bound(suffix: &'static str, label: &'static str, bound: f64, value: f64) -> Point {
    Point::Float {
        suffix,
        bound: Some((label, bound)),
        value,
    }
}

/// A number. One kind of NaN would end the series; there is only the ordinary one in an exposition.
fn float(value: Value<'_>) -> Result<f64, Malformed> {
    let v = value.double()?;
    Ok(if v.is_nan() { f64::NAN } else { v })
}

/// Calls `visit` with each field of `message`.
fn each<'a, E: From<Unreadable>>(
    message: &'a [u8],
    mut visit: impl FnMut(u32, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next().map_err(Unreadable::from)? {
        visit(number, value)?;
    }
    Ok(())
}

fn summary<E: From<Unreadable>>(
    message: &[u8],
    visit: &mut impl FnMut(Point) -> Result<(), E>,
) -> Result<(), E> {
    let (mut count, mut sum) = (0, 0.0);
    each(message, |number, value| {
        match number {
            1 => count = value.varint()?,
            2 => sum = float(value)?,
            _ => {}
        }
        Ok::<_, Unreadable>(())
    })?;
    visit(plain("_count", count as f64))?;
    visit(plain("_sum", sum))?;
    for quantile in Messages::of(message, 3) {
        let (mut rank, mut estimate) = (0.0, 0.0);
        each(quantile.map_err(Unreadable::from)?, |number, value| {
            match number {
                1 => rank = float(value)?,
                2 => estimate = float(value)?,
                _ => {}
            }
            Ok::<_, Unreadable>(())
        })?;
        visit(with_bound("", "quantile", rank, estimate))?;
    }
    Ok(())
}

/// What must be known of a histogram before its buckets.
struct HistogramHead {
    count: f64,
    sum: f64,
    /// Whether it has a native part: without observations a span of length 0 says so.
    native: bool,
    /// Whether it has classic buckets.
    classic: bool,
}

impl HistogramHead {
    fn of(message: &[u8]) -> Result<Self, Unreadable> {
        let (mut whole, mut fraction) = (0, 0.0);
        let mut head = HistogramHead {
            count: 0.0,
            sum: 0.0,
            native: false,
            classic: false,
        };
        each(message, |number, value| {
            match number {
                1 => whole = value.varint()?,
                2 => head.sum = float(value)?,
                3 => head.classic = true,
                4 => fraction = float(value)?,
                6 => head.native |= float(value)? > 0.0,
                7 => head.native |= value.varint()? > 0,
                9 | 12 => head.native = true,
                _ => {}
            }
            Ok::<_, Unreadable>(())
        })?;
        head.count = counted(whole, fraction);
        Ok(head)
    }
}

/// A count that is there as a whole number, or as one with a fraction.
fn counted(whole: u64, fraction: f64) -> f64 {
    match fraction > 0.0 {
        true => fraction,
        false => whole as f64,
    }
}

fn classic_histogram<E: From<Unreadable>>(
    message: &[u8],
    head: &HistogramHead,
    visit: &mut impl FnMut(Point) -> Result<(), E>,
) -> Result<(), E> {
    visit(plain("_count", head.count))?;
    visit(plain("_sum", head.sum))?;
    for bucket in Messages::of(message, 3) {
        let (mut whole, mut fraction, mut bound) = (0, 0.0, 0.0);
        each(bucket.map_err(Unreadable::from)?, |number, value| {
            match number {
                1 => whole = value.varint()?,
                2 => bound = float(value)?,
                4 => fraction = float(value)?,
                _ => {}
            }
            Ok::<_, Unreadable>(())
        })?;
        visit(with_bound("_bucket", "le", bound, counted(whole, fraction)))?;
        if bound == f64::INFINITY {
            return Ok(());
        }
    }
    // The last bucket need not be written.
    visit(with_bound("_bucket", "le", f64::INFINITY, head.count))
}

fn native_histogram(message: &[u8]) -> Result<Histogram, Unreadable> {
    let mut h = Histogram::default();
    let (mut count, mut zero) = (0, 0);
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => count = value.varint()?,
            2 => h.sum = float(value)?,
            4 => h.count = value.double()?,
            5 => h.schema = value.sint32()?,
            6 => h.zero_threshold = value.double()?,
            7 => zero = value.varint()?,
            8 => h.zero_count = value.double()?,
            9 => push_bounded(&mut h.negative_spans, span(value)?, NUMBERS_MAX)?,
            10 => value.varints_into(&mut negative, unzigzag)?,
            11 => value.fixed64s_into(&mut h.negative_buckets, f64::from_bits)?,
            12 => push_bounded(&mut h.positive_spans, span(value)?, NUMBERS_MAX)?,
            13 => value.varints_into(&mut positive, unzigzag)?,
            14 => value.fixed64s_into(&mut h.positive_buckets, f64::from_bits)?,
            _ => {}
        }
    }
    let fractions = h.count > 0.0
        || h.zero_count > 0.0
        || !h.positive_buckets.is_empty()
        || !h.negative_buckets.is_empty();
    Ok(match fractions {
        true => validated(h)?,
        false => with_whole_counts(
            h,
            &WholeCounts {
                count,
                zero,
                positive: &positive,
                negative: &negative,
            },
        )?,
    })
}

fn span(value: Value<'_>) -> Result<Span, Malformed> {
    let (offset, length) = bucket_span(value)?;
    Ok(Span { offset, length })
}

#[cfg(test)]
mod tests;
