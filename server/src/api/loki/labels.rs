//! `/labels`, `/label/{name}/values`, `/series`, `/index/stats`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::response::Response;
use model::{Direction, Labels, LogSelection, Matcher};

use super::{Refused, axum_json, time};
use crate::api::params::Params;
use crate::api::{Api, json};

/// Entries `/index/stats` counts before it estimates no further: the editor asks on every key.
const STATS_ENTRIES_MAX: u64 = 100_000;

pub(super) async fn names(State(api): State<Api>, params: Params) -> Result<Response, Refused> {
    let sets = query_set(&params)?;
    let streams = streams(&api, &params, sets).await?;
    let names: BTreeSet<&str> = streams
        .iter()
        .flat_map(|l| l.iter().map(|(n, _)| n))
        .collect();
    Ok(list(names))
}

pub(super) async fn values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refused> {
    let sets = query_set(&params)?;
    let streams = streams(&api, &params, sets).await?;
    let values: BTreeSet<&str> = streams.iter().filter_map(|l| l.get(&name)).collect();
    Ok(list(values))
}

pub(super) async fn series(State(api): State<Api>, params: Params) -> Result<Response, Refused> {
    let mut sets = Vec::new();
    for text in params.all("match[]").chain(params.all("match")) {
        sets.push(selector(text)?);
    }
    let streams = streams(&api, &params, sets).await?;
    let mut body = String::from("{\"status\":\"success\",\"data\":");
    json::array(&mut body, &streams, json::labels);
    body.push('}');
    Ok(axum_json(body))
}

/// Streams and entries a query would touch. Not wrapped in an envelope, as in Loki.
pub(super) async fn stats(State(api): State<Api>, params: Params) -> Result<Response, Refused> {
    let parts = api.parts().map_err(|f| Refused::bad(f.message))?;
    let matchers = any_selector(params.get("query").unwrap_or(""))?;
    let (start_ns, end_ns) = time::range(&params, api.now()).map_err(Refused::bad)?;
    let (streams, entries, bytes) = api
        .workshop()
        .run(api.config().query.timeout.0, move |cancel| {
            let streams = parts
                .logs
                .streams(std::slice::from_ref(&matchers), start_ns, end_ns)?;
            let (mut entries, mut bytes) = (0_u64, 0_u64);
            let selection = LogSelection {
                matchers: &matchers,
                start_ns,
                end_ns,
                direction: Direction::Backward,
            };
            parts.logs.read(&selection, &mut |_, entry| {
                entries += 1;
                bytes += entry.line.len() as u64;
                if entries >= STATS_ENTRIES_MAX || cancel.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            Ok::<_, model::ReadError>((streams.len(), entries, bytes))
        })
        .await??;
    Ok(axum_json(format!(
        "{{\"streams\":{streams},\"chunks\":{streams},\"bytes\":{bytes},\"entries\":{entries}}}"
    )))
}

async fn streams(
    api: &Api,
    params: &Params,
    sets: Vec<Vec<Matcher>>,
) -> Result<Vec<Labels>, Refused> {
    let parts = api.parts().map_err(|f| Refused::bad(f.message))?;
    let (start_ns, end_ns) = time::range(params, api.now()).map_err(Refused::bad)?;
    Ok(api
        .workshop()
        .run(api.config().query.timeout.0, move |_| {
            parts.logs.streams(&sets, start_ns, end_ns)
        })
        .await??)
}

fn query_set(params: &Params) -> Result<Vec<Vec<Matcher>>, Refused> {
    params
        .get("query")
        .map(selector)
        .transpose()
        .map(|set| set.into_iter().collect())
}

/// A plain selector; `{}` selects every stream here, as in Loki.
fn selector(text: &str) -> Result<Vec<Matcher>, Refused> {
    query::logql::parse_selector(text).map_err(|e| Refused::bad(e.to_string()))
}

/// The first selector of whatever query somebody is typing.
fn any_selector(text: &str) -> Result<Vec<Matcher>, Refused> {
    let expr = query::logql::parse(text).map_err(|e| Refused::bad(e.to_string()))?;
    let first = expr.selectors().first().map(|s| s.matchers.clone());
    Ok(first.unwrap_or_default())
}

fn list(items: BTreeSet<&str>) -> Response {
    let mut body = String::from("{\"status\":\"success\",\"data\":");
    json::array(&mut body, items, json::string);
    body.push('}');
    axum_json(body)
}
