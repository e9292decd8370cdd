//! `/query`, `/query_range`, `/query_exemplars`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use model::Timestamp;
use query::{Engine, EngineOptions, Evaluation, Expr, Limits, ValueType};

use super::envelope::{Answer, Failure, Success};
use super::stats::{self, Timings};
use super::value;
use crate::api::Api;
use crate::api::params::{Params, invalid, parse_millis};
use crate::api::reading::Reading;
use crate::api::workshop::Client;
use crate::config::QueryConfig;

/// Points per series of a range query, as in Prometheus: 11,000 is a week by the minute.
const POINTS_MAX: i64 = 11_000;

/// Longest expression accepted, in bytes; people write hundreds, generators thousands.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// What both query endpoints understand.
struct Asked {
    expr: Expr,
    timeout: Duration,
    limit: Option<usize>,
    lookback: Option<Duration>,
    stats: stats::Wanted,
    /// Reading the expression.
    prepared: Duration,
}

impl Asked {
    /// In Prometheus' order, which decides which of several errors is told.
    fn from(params: &Params, limit: Option<usize>, config: &QueryConfig) -> Result<Asked, Failure> {
        let timeout = params.millis("timeout").map_err(Failure::bad_data)?;
        let lookback = params
            .get("lookback_delta")
            .map(parse_millis)
            .transpose()
            .map_err(|e| {
                Failure::bad_data(format!("error parsing lookback delta duration: {e}"))
            })?;
        let begun = Instant::now();
        let expr = expression(params)?;
        Ok(Asked {
            expr,
            timeout: timeout.map_or(config.timeout.0, |t| millis(t).min(config.timeout.0)),
            limit,
            lookback: lookback.filter(|ms| *ms > 0).map(millis),
            stats: stats::Wanted::from(params.get("stats")),
            prepared: begun.elapsed(),
        })
    }
}

/// Negative ones are over already.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(crate) async fn instant(State(api): State<Api>, client: Client, params: Params) -> Answer {
    let limit = params.limit().map_err(Failure::bad_data)?;
    let at = params.time("time", api.now()).map_err(Failure::bad_data)?;
    let asked = Asked::from(&params, limit, &api.config().query)?;
    evaluate(
        &api,
        &client,
        asked,
        move |engine, expr, reading, limits| engine.instant(expr, reading.series(), at, limits),
    )
    .await
}

pub(crate) async fn range(State(api): State<Api>, client: Client, params: Params) -> Answer {
    let bad = |name, why: &str| Failure::bad_data(invalid(name, why));
    let limit = params.limit().map_err(Failure::bad_data)?;
    let start = params.required_time("start").map_err(Failure::bad_data)?;
    let end = params.required_time("end").map_err(Failure::bad_data)?;
    if end < start {
        return Err(bad("end", "end timestamp must not be before start time"));
    }
    let step = parse_millis(params.get("step").unwrap_or_default()).map_err(|e| bad("step", &e))?;
    if step <= 0 {
        return Err(bad(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.millis().saturating_sub(start.millis()) / step > POINTS_MAX {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let asked = Asked::from(&params, limit, &api.config().query)?;
    let kind = asked.expr.value_type();
    if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
        return Err(bad(
            "query",
            &format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.documented()
            ),
        ));
    }
    let step = millis(step);
    evaluate(
        &api,
        &client,
        asked,
        move |engine, expr, reading, limits| {
            engine.range(expr, reading.series(), start, end, step, limits)
        },
    )
    .await
}

async fn evaluate(
    api: &Api,
    client: &Client,
    asked: Asked,
    work: impl Fn(&Engine, &Expr, &Reading, &Limits) -> Result<Evaluation, query::EvalError>
    + Send
    + Sync
    + 'static,
) -> Answer {
    let samples_max = api.config().query.samples_max;
    let arrived = Instant::now();
    let timeout = asked.timeout;
    let read = api
        .read(client, timeout, move |reading| {
            let queued = arrived.elapsed();
            let limits = Limits {
                samples_max,
                bytes_max: reading.bytes_max,
                cancel: Some(Arc::clone(&reading.cancel)),
            };
            let options = reading.parts.engine.options();
            let engine = Engine::new(EngineOptions {
                lookback: asked.lookback.unwrap_or(options.lookback),
                samples_per_step: asked.stats == stats::Wanted::All,
                ..options.clone()
            });
            let begun = Instant::now();
            let done = work(&engine, &asked.expr, reading, &limits)?;
            let timings = Timings {
                prepared: asked.prepared,
                queued,
                evaluated: begun.elapsed(),
            };
            let told = stats::shown(asked.stats, &timings, &done);
            let (mut data, cut) = value::write(done.value, asked.limit, reading.room())?;
            if let Some(told) = told {
                // Within the braces of the result.
                data.last.pop();
                data.last.push_str(&format!(",\"stats\":{told}}}"));
            }
            let mut warnings = done.warnings;
            warnings.extend(reading.warnings());
            if cut {
                warnings.push("results truncated due to limit".to_owned());
            }
            Ok(Success {
                data,
                warnings,
                infos: done.infos,
                share: None,
            })
        })
        .await?;
    Ok(Success::read(read))
}

/// The expression of the parameter `query`.
pub(super) fn expression(params: &Params) -> Result<Expr, Failure> {
    let text = params.get("query").unwrap_or("");
    let refuse = |why: &str| Failure::bad_data(invalid("query", why));
    if text.len() > QUERY_BYTES_MAX {
        return Err(refuse(&format!(
            "the expression has {} bytes; at most {QUERY_BYTES_MAX} are accepted",
            text.len()
        )));
    }
    query::parse(text).map_err(|e| refuse(&e.to_string()))
}

/// Exemplars are not stored. Grafana probes for them, with times in milliseconds, and must get
/// an empty success.
pub(super) async fn exemplars(params: Params) -> Answer {
    let start = params
        .time("start", Timestamp::MIN)
        .map_err(Failure::bad_data)?;
    let end = params
        .time("end", Timestamp::MAX)
        .map_err(Failure::bad_data)?;
    if end < start {
        return Err(Failure::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let expr = expression(&params)?;
    if expr.selectors().next().is_none() {
        return Ok(Success::nothing());
    }
    Ok(Success::new("[]".to_owned()))
}
