//! The entry: options, limits, instant and range queries.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::time::duration_millis;
use model::{ReadError, SeriesReader, Timestamp};

use super::query::Query;
use super::{Value, evaluator};
use crate::{Expr, ValueType};

/// How expressions are read. Defaults are those of a stock Prometheus 3, but for functions it
/// calls experimental and keeps behind a flag: they are always there. A flag would only stand
/// between a person and the answer, and a query that uses none of them reads the same in both.
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
    /// Count the samples of each step too, for [`Evaluation::samples_per_step`].
    pub samples_per_step: bool,
    /// Threads that decode and compute the series of one query, at least 1; results do not
    /// depend on it. More than one makes a large query faster and lets it take more of the machine.
    pub workers: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback: Duration::from_secs(5 * 60),
            default_subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            start_timestamps: false,
            samples_per_step: false,
            workers: 1,
        }
    }
}

/// What one query may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most samples held at once; a histogram counts as one per 16 bytes.
    pub samples_max: usize,
    /// Most bytes held at once: label sets and cursors of selected series, points of the series
    /// being computed, intermediate and final results. An estimate, not what the allocator or
    /// the system count; what the reader itself holds is its own affair.
    pub bytes_max: usize,
    /// Set from outside to stop the query at the next series, or within a long one.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Prometheus' default; floats take 16 bytes each, so at worst about 800 MB.
            samples_max: 50_000_000,
            bytes_max: 512 << 20,
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
    /// More memory than [`Limits::bytes_max`].
    #[error(
        "the query needs more than {} KB of memory (query.bytes_max): select fewer series, a shorter time or a longer step",
        .bytes_max >> 10
    )]
    TooManyBytes {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// [`Limits::cancel`] was set.
    #[error("query was canceled in query execution")]
    Canceled,
    /// The reader failed.
    #[error("expanding series: {0}")]
    Read(#[source] ReadError),
}

impl From<ReadError> for EvalError {
    /// The reader looks at the same flag, and which of the two saw it first tells nobody anything.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Canceled => EvalError::Canceled,
            error => EvalError::Read(error),
        }
    }
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
    /// Most samples the query's own thread held at once; those of helping threads come on top.
    pub samples_peak: usize,
    /// Samples that selectors gave to all steps together: one for each series and step where an
    /// instant is asked for, those of the window where a range is, a histogram counting as one per
    /// 16 bytes. A subquery counts by the windows over its result. As in Prometheus
    /// (util/stats/query_stats.go), but series a join has no partner for are not read.
    pub samples_queried: u64,
    /// The same step by step, if [`EngineOptions::samples_per_step`] asks for it.
    pub samples_per_step: Vec<(Timestamp, u64)>,
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
        let query = Query::new(self, reader, limits, (at.millis(), at.millis(), 0), expr);
        let value = evaluator::instant(&query, expr)?;
        Ok(query.finish(value))
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
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            return Err(EvalError::Failed(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                expr.value_type().documented()
            )));
        }
        let step = duration_millis(step);
        if step < 1 {
            return Err(EvalError::Failed(
                "the step of a range query must be at least a millisecond".to_owned(),
            ));
        }
        let query = Query::new(
            self,
            reader,
            limits,
            (start.millis(), end.millis(), step),
            expr,
        );
        let value = evaluator::range(&query, expr)?;
        Ok(query.finish(value))
    }
}
