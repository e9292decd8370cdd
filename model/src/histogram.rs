//! Native histograms as sample values. The shape is Prometheus' `FloatHistogram`
//! (model/histogram/float_histogram.go); arithmetic on them belongs to `query`.

/// Schema number of histograms whose bucket bounds are listed in `custom_values`.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What is known about a counter reset between this sample and the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Must be found by comparing.
    #[default]
    Unknown,
    /// A reset happened.
    Reset,
    /// No reset happened.
    NotReset,
    /// A gauge histogram: resets do not apply.
    Gauge,
}

/// A run of `length` consecutive buckets, `offset` after the end of the run before
/// (for the first: the index of its first bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the run before, or the first index.
    pub offset: i32,
    /// Buckets in this run.
    pub length: u32,
}

/// A native histogram with absolute float counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// See [`CounterResetHint`].
    pub counter_reset_hint: CounterResetHint,
    /// -4..=8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for listed bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Counts of the positive buckets, absolute.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets, absolute.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], ascending, +Inf implied.
    pub custom_values: Vec<f64>,
}
