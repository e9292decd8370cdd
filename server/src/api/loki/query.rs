//! `/query_range` and `/query`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{Direction, Timestamp, number};
use query::logql::eval::Evaluation;
use query::logql::{self, EvalError, Expr, Limits, LogQuery};
use query::promql::quote::go_quote;

use super::answer::{self, Shown};
use super::{Refused, axum_json, time};
use crate::api::Api;
use crate::api::params::Params;
use crate::api::prometheus::envelope::{ErrorType, Failure};
use crate::api::reading::Reading;
use crate::api::workshop::Client;

const LIMIT_DEFAULT: usize = 100;
/// Loki's own largest page.
const LIMIT_MAX: usize = 5000;
/// Points per series, as in Loki.
const POINTS_MAX: i128 = 11_000;
/// Points per series when no step is given.
const POINTS_DEFAULT: i64 = 250;
/// Series in one answer: Loki's `max_query_series`.
const SERIES_MAX: usize = 500;
/// Bytes of lines one query reads: some tens of seconds of work. A query that needs more ends
/// there, with what it has and a warning.
const READ_BYTES_MAX: u64 = 32 << 30;

const SECOND: i64 = 1_000_000_000;

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
    let limit = limit(&params)?;
    let (start, end) = time::range(&params, api.now()).map_err(Refused::bad)?;
    let direction = direction(&params)?;
    let step = match duration(&params, "step")? {
        Some(step) => step,
        None => ((end.saturating_sub(start) / SECOND) / POINTS_DEFAULT).max(1) * SECOND,
    };
    if step <= 0 {
        return Err(Refused::bad(
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let interval_ns = duration(&params, "interval")?.unwrap_or(0);
    if interval_ns < 0 {
        return Err(Refused::bad("interval must be >= 0"));
    }
    if (i128::from(end) - i128::from(start)) / i128::from(step) > POINTS_MAX {
        return Err(Refused::bad(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
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
    let limit = limit(&params)?;
    let direction = direction(&params)?;
    let at = time::instant(&params, "time").map_err(Refused::bad)?;
    let at = at.unwrap_or_else(|| api.now().nanos());
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
        let limits = Limits {
            read_bytes_max: READ_BYTES_MAX,
            // The other half is for the answer's text.
            held_bytes_max: reading.bytes_max / 2,
            series_max: SERIES_MAX,
            cancel: Some(Arc::clone(&reading.cancel)),
        };
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

pub(super) fn failure(error: EvalError) -> Failure {
    match error {
        EvalError::Read(read) => read.into(),
        EvalError::Canceled => Failure::new(ErrorType::Canceled, error.to_string()),
        EvalError::Parse(_) | EvalError::Failed(_) | EvalError::TooManySeries(_) => {
            Failure::bad_data(error.to_string())
        }
    }
}

pub(super) fn limit(params: &Params) -> Result<usize, Refused> {
    let Some(text) = params.get("limit") else {
        return Ok(LIMIT_DEFAULT);
    };
    let limit = crate::api::params::parse_int(text).map_err(Refused::bad)?;
    match usize::try_from(limit) {
        Ok(0) | Err(_) => Err(Refused::bad("limit must be a positive value")),
        Ok(limit) if limit > LIMIT_MAX => Err(Refused::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LIMIT_MAX})"
        ))),
        Ok(limit) => Ok(limit),
    }
}

fn direction(params: &Params) -> Result<Direction, Refused> {
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

/// Seconds or a duration, in nanoseconds.
fn duration(params: &Params, name: &str) -> Result<Option<i64>, Refused> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let quoted = go_quote(text);
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if !nanos.is_finite() || nanos.abs() >= 9.2e18 {
            return Err(Refused::bad(format!(
                "cannot parse {quoted} to a valid duration. It overflows int64"
            )));
        }
        return Ok(Some(nanos as i64));
    }
    let parsed: Option<Duration> = number::parse_duration(text).ok();
    parsed
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .map(Some)
        .ok_or_else(|| Refused::bad(format!("cannot parse {quoted} to a valid duration")))
}

/// Whether the client wants metadata as a third element instead of among the labels.
fn categorized(headers: &HeaderMap) -> bool {
    headers
        .get("X-Loki-Response-Encoding-Flags")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|f| f.trim() == "categorize-labels"))
}
