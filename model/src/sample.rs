//! Samples: what a collector hands to the store, and what a query reads back.

use std::sync::Arc;

use crate::{Histogram, Labels, Timestamp};

/// The bit pattern that says "this series ended here". Source: Prometheus model/value.
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether `value` is the staleness marker; any other NaN is an ordinary value.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// A float sample of one series.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series, metric name included.
    pub labels: Labels,
    /// When it was true.
    pub at: Timestamp,
    /// The value; [`STALE_NAN`] ends the series.
    pub value: f64,
}

/// A native-histogram sample of one series.
#[derive(Clone, Debug)]
pub struct HistogramSample {
    /// The series, metric name included.
    pub labels: Labels,
    /// When it was true.
    pub at: Timestamp,
    /// The value; a `sum` of [`STALE_NAN`] ends the series.
    pub histogram: Arc<Histogram>,
}

/// The samples of one scrape, one collection pass or one rule evaluation.
/// A reader sees all of a batch or none of it.
#[derive(Clone, Debug, Default)]
pub struct SampleBatch {
    /// Floats, in any order; a series may occur more than once, at different times.
    pub samples: Vec<Sample>,
    /// Native histograms, likewise; almost always none.
    pub histograms: Vec<HistogramSample>,
}

impl From<Vec<Sample>> for SampleBatch {
    fn from(samples: Vec<Sample>) -> SampleBatch {
        SampleBatch {
            samples,
            histograms: Vec::new(),
        }
    }
}

/// One float point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FPoint {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// The value.
    pub v: f64,
}

/// One histogram point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct HPoint {
    /// Milliseconds since the epoch.
    pub t: i64,
    /// The histogram.
    pub h: Arc<Histogram>,
}

/// The points of one series in time order, floats and histograms apart:
/// almost every series has only floats, and they stay two words each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Float points, ascending in time.
    pub floats: Vec<FPoint>,
    /// Histogram points, ascending in time.
    pub histograms: Vec<HPoint>,
}

impl Samples {
    /// Points of both kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// Removes all points and keeps the buffers.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }
}
