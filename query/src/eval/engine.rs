//! The entry: options, limits, instant and range queries.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::time::duration_millis;
use model::{ReadError, SeriesReader, Timestamp};

use super::annotations::{Annotations, ForcedMonotonicity};
use super::{Value, evaluator};
use crate::promql::duration::QueryShape;
use crate::{Expr, ValueType};

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
        let query = Query::new(self, reader, limits, at.millis(), at.millis(), 0);
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
        let query = Query::new(self, reader, limits, start.millis(), end.millis(), step);
        let value = evaluator::range(&query, expr)?;
        Ok(query.finish(value))
    }
}

/// One running query: what every evaluator of it shares.
pub(crate) struct Query<'a> {
    pub(crate) reader: &'a dyn SeriesReader,
    pub(crate) options: &'a EngineOptions,
    limits: &'a Limits,
    /// First instant, in milliseconds.
    pub(crate) start: i64,
    /// Last instant, in milliseconds.
    pub(crate) end: i64,
    /// Step in milliseconds; 0 for an instant query.
    pub(crate) step: i64,
    annotations: RefCell<Annotations>,
    samples: Cell<usize>,
}

impl<'a> Query<'a> {
    fn new(
        engine: &'a Engine,
        reader: &'a dyn SeriesReader,
        limits: &'a Limits,
        start: i64,
        end: i64,
        step: i64,
    ) -> Self {
        Query {
            reader,
            options: &engine.options,
            limits,
            start,
            end,
            step,
            annotations: RefCell::default(),
            samples: Cell::new(0),
        }
    }

    fn finish(self, value: Value) -> Evaluation {
        let (warnings, infos) = self.annotations.into_inner().finish();
        Evaluation {
            value,
            warnings,
            infos,
        }
    }

    pub(crate) fn note(&self, message: String, at: &Expr) {
        self.annotations.borrow_mut().add(message, at);
    }

    pub(crate) fn note_forced(&self, metric: &str, forced: ForcedMonotonicity) {
        self.annotations
            .borrow_mut()
            .forced_monotonicity(metric, forced);
    }

    /// Counts samples that are now held.
    pub(crate) fn charge(&self, samples: usize) -> Result<(), EvalError> {
        let held = self.samples.get().saturating_add(samples);
        self.samples.set(held);
        if held > self.limits.samples_max {
            return Err(EvalError::TooManySamples);
        }
        Ok(())
    }

    pub(crate) fn held(&self) -> usize {
        self.samples.get()
    }

    /// Forgets all samples counted since [`Query::held`] was `held`.
    pub(crate) fn release_to(&self, held: usize) {
        self.samples.set(held);
    }

    pub(crate) fn check_cancel(&self) -> Result<(), EvalError> {
        match &self.limits.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(EvalError::Canceled),
            _ => Ok(()),
        }
    }

    pub(crate) fn shape(&self) -> QueryShape {
        QueryShape {
            step_ms: self.step,
            range_ms: self.end.saturating_sub(self.start),
        }
    }

    pub(crate) fn lookback_ms(&self) -> i64 {
        duration_millis(self.options.lookback)
    }
}
