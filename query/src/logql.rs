//! LogQL: text to expression, expression and log lines to streams or values.
//!
//! Pure: lines come through [`model::LogReader`], time is an argument, nothing is global.
//! What the language means is decided by Loki's documentation and source (pkg/logql).
//!
//! ```
//! let expr = query::logql::parse(r#"sum by (app) (rate({job="web"} |= "error" [5m]))"#).unwrap();
//! assert_eq!(expr.to_string(), r#"sum by (app)(rate({job="web"} |= "error"[5m]))"#);
//! assert_eq!(
//!     query::logql::parse("rate(5)").unwrap_err().to_string(),
//!     "parse error at line 1, col 7: syntax error: unexpected ), expecting ,",
//! );
//! ```

pub mod ast;
pub mod error;
pub mod eval;
mod follow;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hints;
mod labels;
mod lexer;
pub mod parser;
pub mod patterns;
mod pipeline;
mod pretty;
mod printer;
mod sampler;
mod sieve;
mod units;

pub use ast::Expr;
pub use error::ParseError;
pub use eval::{EvalError, Evaluation, Limits, LogQuery, Value};
pub use follow::{Follower, Shown};
pub use parser::{parse, parse_any_selector, parse_selector, parse_unwrap};
pub use patterns::Patterns;
pub use pipeline::detect::{DetectedField, FieldKind, detect_fields, detect_values};
pub use pretty::pretty;
pub use sampler::Sampler;

#[cfg(test)]
mod tests;
