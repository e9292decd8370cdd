//! The evaluator: an expression, a reader and a time give values.
//!
//! Each node is evaluated once, for all steps of the query together, into series of points.
//! A selector is read once; its points are decoded one series at a time and every step's
//! window slides over them. What follows a selector and treats each series by itself (range
//! functions, arithmetic, joins) is done series by series as well ([`stream`]), so that an
//! aggregation over many series never holds them all.

mod engine;
mod query;
mod value;

mod aggregate;
mod binary;
mod evaluator;
mod functions;
mod selector;
mod stream;
mod window;

mod annotations;
mod cse;
mod hash;
mod invariant;
mod kahan;
mod order;
mod series;

pub use engine::{Engine, EngineOptions, EvalError, Evaluation, Limits};
#[cfg(test)]
mod tests;

pub(crate) use kahan::Kahan;
pub use value::{PointValue, SeriesPoints, Value, VectorSample};
