//! Arithmetic on native histograms. Source: prometheus model/histogram/float_histogram.go.

mod arithmetic;
mod buckets;
mod sum;
mod text;
mod trim;

pub(crate) use arithmetic::{
    Incompatible, add, compact, detects_reset, difference, divide, equals, scale, subtract,
    to_schema, trim,
};
pub(crate) use buckets::is_custom;
pub use buckets::{Bucket, all_buckets};
pub(crate) use sum::HistogramSum;
pub(crate) use text::describe;
