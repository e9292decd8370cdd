//! `/query`, `/query_range`, `/query_exemplars`, `/format_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use model::Timestamp;
use query::{Engine, EngineOptions, Evaluation, Expr, Limits, ValueType};

use super::envelope::{Answer, Failure, Success};
use super::value;
use crate::api::params::{Params, invalid};
use crate::api::{Api, Parts};

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
}

impl Asked {
    fn from(params: &Params, timeout_max: Duration) -> Result<Asked, Failure> {
        let expr = expression(params)?;
        let timeout = params.duration("timeout").map_err(Failure::bad_data)?;
        Ok(Asked {
            expr,
            timeout: timeout.map_or(timeout_max, |t| t.min(timeout_max)),
            limit: params.limit().map_err(Failure::bad_data)?,
            lookback: params
                .duration("lookback_delta")
                .map_err(Failure::bad_data)?
                .filter(|d| !d.is_zero()),
        })
    }
}

pub(crate) async fn instant(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let at = params.time("time", api.now()).map_err(Failure::bad_data)?;
    let asked = Asked::from(&params, api.config().query.timeout.0)?;
    evaluate(&api, parts, asked, move |engine, expr, parts, limits| {
        engine.instant(expr, &*parts.series, at, limits)
    })
    .await
}

pub(crate) async fn range(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let required = |name: &str| -> Result<Timestamp, Failure> {
        if params.get(name).is_none() {
            return Err(Failure::bad_data(invalid(
                name,
                "cannot parse \"\" to a valid timestamp",
            )));
        }
        params.time(name, Timestamp::MIN).map_err(Failure::bad_data)
    };
    let (start, end) = (required("start")?, required("end")?);
    if end < start {
        return Err(Failure::bad_data(invalid(
            "end",
            "end timestamp must not be before start time",
        )));
    }
    let step = params
        .duration("step")
        .map_err(Failure::bad_data)?
        .ok_or_else(|| {
            Failure::bad_data(invalid("step", "cannot parse \"\" to a valid duration"))
        })?;
    let step_millis = model::time::duration_millis(step);
    if step_millis <= 0 {
        return Err(Failure::bad_data(invalid(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        )));
    }
    if end.millis().saturating_sub(start.millis()) / step_millis > POINTS_MAX {
        return Err(Failure::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let asked = Asked::from(&params, api.config().query.timeout.0)?;
    let kind = asked.expr.value_type();
    if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
        return Err(Failure::bad_data(invalid(
            "query",
            &format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                kind.documented()
            ),
        )));
    }
    evaluate(&api, parts, asked, move |engine, expr, parts, limits| {
        engine.range(expr, &*parts.series, start, end, step, limits)
    })
    .await
}

async fn evaluate(
    api: &Api,
    parts: Arc<Parts>,
    asked: Asked,
    work: impl FnOnce(&Engine, &Expr, &Parts, &Limits) -> Result<Evaluation, query::EvalError>
    + Send
    + 'static,
) -> Answer {
    let samples_max = api.config().query.samples_max;
    api.workshop()
        .run(asked.timeout, move |cancel| {
            let limits = Limits {
                samples_max,
                cancel: Some(cancel),
            };
            let engine = match asked.lookback {
                Some(lookback) => Engine::new(EngineOptions {
                    lookback,
                    ..parts.engine.options().clone()
                }),
                None => (*parts.engine).clone(),
            };
            let done = work(&engine, &asked.expr, &parts, &limits)?;
            let (data, cut) = value::write(&done.value, asked.limit)
                .map_err(|e| Failure::new(super::envelope::ErrorType::Execution, e.to_string()))?;
            let mut warnings = done.warnings;
            if cut {
                warnings.push("results truncated due to limit".to_owned());
            }
            Ok(Success {
                data,
                warnings,
                infos: done.infos,
            })
        })
        .await?
}

/// The expression of the parameter `query`.
fn expression(params: &Params) -> Result<Expr, Failure> {
    let text = params.get("query").unwrap_or("");
    let refuse = |why: &str| Failure::bad_data(invalid("query", why));
    if text.len() > QUERY_BYTES_MAX {
        return Err(refuse(&format!("longer than {QUERY_BYTES_MAX} bytes")));
    }
    query::parse(text).map_err(|e| refuse(&e.to_string()))
}

/// Exemplars are not stored; Grafana probes for them and must get an empty success.
pub(crate) async fn exemplars(params: Params) -> Answer {
    expression(&params)?;
    Ok(Success::new("[]".to_owned()))
}

pub(crate) async fn format(params: Params) -> Answer {
    let expr = expression(&params)?;
    let mut data = String::new();
    crate::api::json::string(&mut data, &expr.to_string());
    Ok(Success::new(data))
}
