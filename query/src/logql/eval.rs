//! The evaluator: an expression, a reader of lines and a time give streams or numbers.
//!
//! Each selector is read once for all steps of a query, oldest line first; counts need no more
//! than two numbers per step and series, other functions hold the samples of one window. Results
//! of a node are kept step by step, as Loki evaluates them, so that what an operator refuses at
//! one step is refused here too.

mod aggregate;
mod binary;
mod extract;
mod logs;
mod range;
mod source;
mod vectors;
mod window;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Direction, Labels, LogReader, ReadError, Timestamp};

use super::ast::{LogExpr, MetricExpr};
use super::error::ParseError;
use source::Source;

/// What one query may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most bytes of lines read. A query that needs more ends there, with what it has and a warning.
    pub read_bytes_max: u64,
    /// Most bytes held: lines of the result, samples of windows, series. An estimate. What comes
    /// beyond is left out, with a warning.
    pub held_bytes_max: usize,
    /// Most series in a result; more are an error, as in Loki.
    pub series_max: usize,
    /// Set from outside to stop the query.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            read_bytes_max: 64 << 30,
            held_bytes_max: 256 << 20,
            // Loki's max_query_series.
            series_max: 500,
            cancel: None,
        }
    }
}

/// Why there is no result. The texts are Loki's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvalError {
    /// A stage of the pipeline cannot be built.
    #[error("{0}")]
    Parse(#[source] ParseError),
    /// The data do not allow the operation.
    #[error("{0}")]
    Failed(String),
    /// More than [`Limits::series_max`].
    #[error(
        "maximum number of series ({0}) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()"
    )]
    TooManySeries(usize),
    /// [`Limits::cancel`] was set.
    #[error("query was canceled")]
    Canceled,
    /// The reader failed.
    #[error("{0}")]
    Read(#[source] ReadError),
}

impl From<ParseError> for EvalError {
    fn from(error: ParseError) -> Self {
        EvalError::Parse(error)
    }
}

impl From<ReadError> for EvalError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Canceled => EvalError::Canceled,
            error => EvalError::Read(error),
        }
    }
}

/// A result.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a log query, sorted by their labels.
    Streams(Vec<Stream>),
    /// Of a metric query over a range, sorted by labels.
    Matrix(Vec<Series>),
    /// Of a metric query at an instant: labels and value.
    Vector(Vec<(Labels, f64)>),
    /// Of a literal at an instant.
    Scalar(f64),
}

/// Lines with the same labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// All labels, or only the stream's own where [`LogQuery::categorize`] asks for that.
    pub labels: Labels,
    /// In the order asked for.
    pub entries: Vec<Entry>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub at_ns: i64,
    /// The text, as stages left it.
    pub line: String,
    /// Structured metadata; empty unless [`LogQuery::categorize`].
    pub metadata: Labels,
    /// Labels that stages made; empty unless [`LogQuery::categorize`].
    pub parsed: Labels,
}

/// Values over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: Labels,
    /// Instants and values, oldest first.
    pub points: Vec<(Timestamp, f64)>,
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lines read.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their structured metadata.
    pub metadata_bytes: u64,
    /// Lines that all stages let pass.
    pub lines_kept: u64,
}

/// A result and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The result.
    pub value: Value,
    /// What it took.
    pub stats: Stats,
    /// What the result lacks, distinct.
    pub warnings: Vec<String>,
    /// It lacks something because [`Limits::held_bytes_max`] was reached.
    pub is_full: bool,
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub struct LogQuery {
    /// First nanosecond inside.
    pub start_ns: i64,
    /// First nanosecond outside.
    pub end_ns: i64,
    /// Most lines.
    pub limit: usize,
    /// Their order.
    pub direction: Direction,
    /// Least time between two lines, in nanoseconds; 0 for all of them.
    pub interval_ns: i64,
    /// Keep structured metadata and labels that stages made apart from the stream's.
    pub categorize: bool,
}

/// When a metric query is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    start_ns: i64,
    step_ns: i64,
    count: usize,
}

impl Steps {
    fn at(&self, step: usize) -> i64 {
        let elapsed = self.step_ns.saturating_mul(step as i64);
        self.start_ns.saturating_add(elapsed)
    }

    fn last(&self) -> i64 {
        self.at(self.count - 1)
    }

    /// The first step at or after an instant.
    fn first_from(&self, at_ns: i64) -> usize {
        if let (Some(ahead @ 1..), Ok(step)) = (
            at_ns.checked_sub(self.start_ns),
            u64::try_from(self.step_ns),
        ) {
            return usize::try_from((ahead as u64).div_ceil(step.max(1))).unwrap_or(usize::MAX);
        }
        let ahead = i128::from(at_ns) - i128::from(self.start_ns);
        if ahead <= 0 {
            return 0;
        }
        let steps = (ahead + i128::from(self.step_ns) - 1) / i128::from(self.step_ns);
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    fn timestamp(&self, step: usize) -> Timestamp {
        Timestamp::from_millis(self.at(step).div_euclid(1_000_000))
    }
}

/// The lines of a log query.
///
/// # Errors
/// [`EvalError`] tells why there are none.
pub fn log_query(
    expr: &LogExpr,
    reader: &dyn LogReader,
    query: &LogQuery,
    now: Timestamp,
    limits: &Limits,
) -> Result<Evaluation, EvalError> {
    let source = Source::new(reader, limits);
    let streams = logs::read(expr, &source, query, now)?;
    Ok(source.finish(Value::Streams(streams)))
}

/// The value of a metric query at one instant, in nanoseconds.
///
/// # Errors
/// [`EvalError`] tells why there is none.
pub fn instant(
    expr: &MetricExpr,
    reader: &dyn LogReader,
    at_ns: i64,
    limits: &Limits,
) -> Result<Evaluation, EvalError> {
    let steps = Steps {
        start_ns: at_ns,
        step_ns: 1,
        count: 1,
    };
    let source = Source::new(reader, limits);
    let value = vectors::instant(expr, &source, steps)?;
    Ok(source.finish(value))
}

/// The values of a metric query at `start_ns`, `start_ns + step_ns` … up to `end_ns`, both
/// inclusive, in nanoseconds. The caller bounds their number.
///
/// # Errors
/// [`EvalError`] tells why there are none; also when `step_ns` is not positive.
pub fn range(
    expr: &MetricExpr,
    reader: &dyn LogReader,
    (start_ns, end_ns): (i64, i64),
    step_ns: i64,
    limits: &Limits,
) -> Result<Evaluation, EvalError> {
    if step_ns <= 0 {
        return Err(EvalError::Failed(
            "zero or negative query resolution step widths are not accepted. Try a positive integer"
                .to_owned(),
        ));
    }
    let source = Source::new(reader, limits);
    let length = i128::from(end_ns) - i128::from(start_ns);
    if length < 0 {
        return Ok(source.finish(Value::Matrix(Vec::new())));
    }
    let steps = Steps {
        start_ns,
        step_ns,
        count: usize::try_from(length / i128::from(step_ns) + 1).unwrap_or(usize::MAX),
    };
    let value = vectors::range(expr, &source, steps)?;
    Ok(source.finish(value))
}
