//! The evaluator: an expression, a reader and a time give values.

mod engine;
mod value;

pub use engine::{Engine, EngineOptions, EvalError, Evaluation, Limits};
pub use value::{PointValue, SeriesPoints, Value, VectorSample};
