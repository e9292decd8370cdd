//! What an evaluation returns.

use std::sync::Arc;

use model::{Histogram, Labels, Samples, Timestamp};

/// The value of one point.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl PointValue {
    /// The float, if it is one.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        match self {
            PointValue::Float(v) => Some(*v),
            PointValue::Histogram(_) => None,
        }
    }
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The label set.
    pub labels: Labels,
    /// The instant of the evaluation.
    pub at: Timestamp,
    /// The value.
    pub value: PointValue,
}

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoints {
    /// The label set.
    pub labels: Labels,
    /// Its points.
    pub points: Samples,
}

/// The result of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar {
        /// The instant of the evaluation.
        at: Timestamp,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// The instant of the evaluation.
        at: Timestamp,
        /// The text.
        value: String,
    },
    /// Label sets are distinct; order is the evaluation's (sorted ones stay sorted).
    Vector(Vec<VectorSample>),
    /// Sorted by labels.
    Matrix(Vec<SeriesPoints>),
}
