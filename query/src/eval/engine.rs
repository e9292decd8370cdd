//! The entry: options, limits, instant and range queries.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{ReadError, SeriesReader, Timestamp};

use super::Value;
use crate::Expr;

/// How expressions are read. Defaults are those of a stock Prometheus 3.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far an instant selector looks back for a sample.
    pub lookback: Duration,
    /// The step of subqueries that name none.
    pub default_subquery_step: Duration,
    /// Drop metric names once at the end instead of after each operation.
    pub delayed_name_removal: bool,
    /// Use start timestamps of samples to find counter resets, where the reader knows them.
    pub start_timestamps: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback: Duration::from_secs(5 * 60),
            default_subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            start_timestamps: false,
        }
    }
}

/// What one query may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most samples held at once; a histogram counts as one per 16 bytes.
    pub samples_max: usize,
    /// Set from outside to stop the query soon.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Prometheus' default; floats take 16 bytes each, so at worst about 800 MB.
            samples_max: 50_000_000,
            cancel: None,
        }
    }
}

/// Why an evaluation failed. The texts are Prometheus'.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvalError {
    /// The data or parameters do not allow the operation.
    #[error("{0}")]
    Failed(String),
    /// More samples than [`Limits::samples_max`].
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// [`Limits::cancel`] was set.
    #[error("query was canceled in query execution")]
    Canceled,
    /// The reader failed.
    #[error("expanding series: {0}")]
    Read(#[from] ReadError),
}

/// A value and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The result.
    pub value: Value,
    /// `PromQL warning: …` texts, distinct, with ` (line:col)`.
    pub warnings: Vec<String>,
    /// `PromQL info: …` texts, distinct, with ` (line:col)`.
    pub infos: Vec<String>,
}

/// Evaluates expressions. Holds no data and no state between queries.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine with these options.
    #[must_use]
    pub fn new(options: EngineOptions) -> Self {
        Engine { options }
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The value of `expr` at one instant.
    ///
    /// # Errors
    /// [`EvalError`] tells why there is none.
    pub fn instant(
        &self,
        expr: &Expr,
        reader: &dyn SeriesReader,
        at: Timestamp,
        limits: &Limits,
    ) -> Result<Evaluation, EvalError> {
        let _ = (expr, reader, at, limits);
        Err(EvalError::Failed("not evaluated".into()))
    }

    /// The values of `expr` at `start`, `start + step` … up to `end`, both inclusive: a matrix.
    ///
    /// # Errors
    /// [`EvalError`] tells why there is none; also when `expr` is neither scalar nor instant
    /// vector, or `step` is below a millisecond.
    pub fn range(
        &self,
        expr: &Expr,
        reader: &dyn SeriesReader,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        limits: &Limits,
    ) -> Result<Evaluation, EvalError> {
        let _ = (expr, reader, start, end, step, limits);
        Err(EvalError::Failed("not evaluated".into()))
    }
}
