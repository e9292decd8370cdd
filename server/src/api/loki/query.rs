//! `/query_range` and `/query`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{Direction, Timestamp};
use query::logql::eval::Evaluation;
use query::logql::{self, EvalError, Expr, Limits, LogQuery};

use super::answer::{self, Shown};
use super::{Refused, axum_json, time};
use crate::api::Api;
use crate::api::params::Params;
use crate::api::prometheus::envelope::{ErrorType, Failure};
use crate::api::reading::Reading;
use crate::api::workshop::Client;

const LIMIT_DEFAULT: usize = 100;
/// Loki's own largest page.
pub(super) const LIMIT_MAX: usize = 5000;
/// Series in one answer: Loki's `max_query_series`.
pub(super) const SERIES_MAX: usize = 500;
/// Bytes of lines one query reads: some tens of seconds of work. A query that needs more ends
/// there, with what it has and a warning.
pub(super) const READ_BYTES_MAX: u64 = 32 << 30;

/// When a query is evaluated.
#[derive(Clone, Copy, Debug)]
enum When {
    At(i64),
    Range { start: i64, end: i64, step: i64 },
}

pub(super) async fn range(
    State(api): State<Api>,
    client: Client,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let (start, end) = time::range(&params, api.now())?;
    let limit = limit(&params, LIMIT_DEFAULT)?;
    let direction = direction(&params)?;
    let step = time::step(&params, (start, end))?;
    let interval_ns = time::duration(&params, "interval")?.unwrap_or(0);
    if interval_ns < 0 {
        return Err(Refused::bad("interval must be >= 0"));
    }
    let log = LogQuery {
        start_ns: start,
        end_ns: end,
        limit,
        direction,
        interval_ns,
        categorize: categorized(&headers),
    };
    let when = When::Range { start, end, step };
    evaluate(&api, &client, &params, when, log).await
}

pub(super) async fn instant(
    State(api): State<Api>,
    client: Client,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let limit = limit(&params, LIMIT_DEFAULT)?;
    let at = time::instant(&params, api.now())?;
    let direction = direction(&params)?;
    let log = LogQuery {
        start_ns: at,
        end_ns: at,
        limit,
        direction,
        interval_ns: 0,
        categorize: categorized(&headers),
    };
    evaluate(&api, &client, &params, When::At(at), log).await
}

async fn evaluate(
    api: &Api,
    client: &Client,
    params: &Params,
    when: When,
    log: LogQuery,
) -> Result<Response, Refused> {
    let text = params.get("query").unwrap_or("");
    let expr = logql::parse(text).map_err(|e| Refused::bad(e.to_string()))?;
    if matches!(expr, Expr::Log(_)) {
        check_page(log.limit)?;
    }
    if matches!((&expr, when), (Expr::Log(_), When::At(_))) {
        return Err(Refused::bad(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    let asked = Asked {
        expr: Arc::new(expr),
        when,
        log,
        now: api.now(),
        bytes_max: api.config().query_bytes_max(),
    };
    let timeout = api.config().query.timeout.0;
    let (body, share) = api
        .read(client, timeout, move |reading| asked.answer(reading))
        .await?;
    let response = axum_json(body);
    Ok(match share {
        Some(share) => response.map(|body| share.held_by(body)),
        None => response,
    })
}

struct Asked {
    expr: Arc<Expr>,
    when: When,
    log: LogQuery,
    now: Timestamp,
    /// The most one query may hold.
    bytes_max: usize,
}

impl Asked {
    fn answer(&self, reading: &Reading) -> Result<String, Failure> {
        let begun = Instant::now();
        let done = self.evaluation(reading).map_err(failure)?;
        let may_get_more = reading.bytes_max < self.bytes_max;
        let too_little = || Failure::new(ErrorType::Memory, "the query needs more memory");
        if done.is_full && may_get_more {
            return Err(too_little());
        }
        let at = match self.when {
            When::At(at) | When::Range { start: at, .. } => at,
        };
        let shown = Shown {
            categorized: self.log.categorize,
            at: Timestamp::from_millis(at.div_euclid(1_000_000)),
            took: begun.elapsed(),
        };
        let body = answer::write(&done, shown);
        if body.len() > reading.answer_max && may_get_more {
            return Err(too_little());
        }
        Ok(body)
    }

    fn evaluation(&self, reading: &Reading) -> Result<Evaluation, EvalError> {
        let logs = &*reading.parts.logs;
        let limits = limits(reading);
        match (&*self.expr, self.when) {
            (Expr::Metric(expr), When::At(at)) => logql::eval::instant(expr, logs, at, &limits),
            (Expr::Metric(expr), When::Range { start, end, step }) => {
                logql::eval::range(expr, logs, (start, end), step, &limits)
            }
            (Expr::Log(expr), _) => {
                logql::eval::log_query(expr, logs, &self.log, self.now, &limits)
            }
        }
    }
}

/// What one query may use.
pub(super) fn limits(reading: &Reading) -> Limits {
    Limits {
        read_bytes_max: READ_BYTES_MAX,
        // The other half is for the answer's text.
        held_bytes_max: reading.bytes_max / 2,
        series_max: SERIES_MAX,
        cancel: Some(Arc::clone(&reading.cancel)),
    }
}

pub(super) fn failure(error: EvalError) -> Failure {
    match error {
        EvalError::Read(read) => read.into(),
        EvalError::Canceled => Failure::new(ErrorType::Canceled, error.to_string()),
        EvalError::Parse(_) | EvalError::Failed(_) | EvalError::TooManySeries(_) => {
            Failure::bad_data(error.to_string())
        }
    }
}

/// The parameter `limit`, `default` when absent.
pub(super) fn limit(params: &Params, default: usize) -> Result<usize, Refused> {
    let Some(text) = params.get("limit") else {
        return Ok(default);
    };
    positive(text)
}

/// A whole number above zero.
pub(super) fn positive(text: &str) -> Result<usize, Refused> {
    let number = crate::api::params::parse_int(text).map_err(Refused::bad)?;
    match usize::try_from(number) {
        Ok(0) | Err(_) => Err(Refused::bad("limit must be a positive value")),
        Ok(number) => Ok(number),
    }
}

/// Refuses more lines than an answer has.
pub(super) fn check_page(limit: usize) -> Result<(), Refused> {
    if limit > LIMIT_MAX {
        return Err(Refused::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LIMIT_MAX})"
        )));
    }
    Ok(())
}

pub(super) fn direction(params: &Params) -> Result<Direction, Refused> {
    match params
        .get("direction")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(other) => Err(Refused::bad(format!("invalid direction '{other}'"))),
    }
}

/// Whether the client wants metadata as a third element instead of among the labels.
pub(super) fn categorized(headers: &HeaderMap) -> bool {
    headers
        .get("X-Loki-Response-Encoding-Flags")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|f| f.trim() == "categorize-labels"))
}
