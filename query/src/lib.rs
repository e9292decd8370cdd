//! PromQL and LogQL: text to expression, expression and data to values.
//!
//! Pure: data comes through [`model::SeriesReader`] and [`model::LogReader`], time is an argument,
//! nothing is global. LogQL lives in [`logql`]; everything else is PromQL's.
//!
//! ```
//! let expr = query::parse("sum by (job) (rate(http_requests_total[5m])) > 1").unwrap();
//! assert_eq!(expr.value_type(), query::ValueType::Vector);
//! assert_eq!(query::parse("1 + * 2").unwrap_err().to_string(), "1:5: parse error: unexpected <op:*>");
//! ```

pub mod promql;

pub mod logql;

pub mod eval;

pub mod histogram;

pub mod promqltest;

pub use eval::{
    Engine, EngineOptions, EvalError, Evaluation, Limits, PointValue, SeriesPoints, Value,
    VectorSample,
};
pub use promql::ast::{Expr, ExprKind, Span, ValueType};
pub use promql::error::ParseError;
pub use promql::parser::{parse, parse_matchers};
pub use promql::pretty::pretty;
