//! `/query_range` and `/query`.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, atomic::AtomicBool};

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Timestamp};
use query::Limits;

use super::selector::LogQuery;
use super::{Refused, axum_json, time};
use crate::api::params::Params;
use crate::api::prometheus::envelope::Failure;
use crate::api::{Api, Parts, json};

const LIMIT_DEFAULT: usize = 100;
/// Loki's own largest page.
const LIMIT_MAX: usize = 5000;
/// Bytes of lines in one answer; the page ends early past it, as if `limit` were smaller.
const LINES_BYTES_MAX: usize = 32 << 20;

pub(super) async fn range(
    State(api): State<Api>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Refused> {
    let parts = parts(&api)?;
    let text = params.get("query").unwrap_or("");
    let query = LogQuery::parse(text).map_err(Refused::bad)?;
    let (start_ns, end_ns) = time::range(&params, api.now()).map_err(Refused::bad)?;
    let page = Page {
        query,
        start_ns,
        end_ns,
        limit: limit(&params)?,
        direction: direction(&params)?,
        categorized: categorized(&headers),
    };
    let body = api
        .workshop()
        .run(api.config().query.timeout.0, move |cancel| {
            page.read(&*parts.logs, &cancel)
        })
        .await??;
    Ok(axum_json(body))
}

/// A log query has no value at one instant. What does have one here is what Grafana asks to
/// test the connection, `vector(1)+vector(1)`: LogQL and PromQL agree on it.
pub(super) async fn instant(State(api): State<Api>, params: Params) -> Result<Response, Refused> {
    let parts = parts(&api)?;
    let text = params.get("query").unwrap_or("");
    if text.trim_start().starts_with('{') {
        return Err(Refused::bad(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        ));
    }
    let unsupported = || Refused::bad("LogQL metric queries are not supported yet in this version");
    let expr = query::parse(text).map_err(|_| unsupported())?;
    if expr.selectors().next().is_some() {
        return Err(unsupported());
    }
    let at = time::instant(&params, "time")
        .map_err(Refused::bad)?
        .map_or_else(|| api.now(), |ns| Timestamp::from_millis(ns / 1_000_000));
    let samples_max = api.config().query.samples_max;
    let bytes_max = api.memory().small();
    let data = api
        .workshop()
        .run(api.config().query.timeout.0, move |cancel| {
            let limits = Limits {
                samples_max,
                bytes_max,
                cancel: Some(cancel),
            };
            let done = parts
                .engine
                .instant(&expr, &*parts.series, at, &limits)
                .map_err(|e| Refused::bad(e.to_string()))?;
            crate::api::prometheus::result_json(done.value)
                .map_err(|failure: Failure| Refused::bad(failure.message))
        })
        .await??;
    Ok(axum_json(format!(
        "{{\"status\":\"success\",\"data\":{data}}}"
    )))
}

pub(super) fn parts(api: &Api) -> Result<Arc<Parts>, Refused> {
    api.parts().map_err(|f| Refused::bad(f.message))
}

pub(super) fn limit(params: &Params) -> Result<usize, Refused> {
    let limit = match params.get("limit") {
        None => LIMIT_DEFAULT,
        Some(text) => text
            .parse()
            .map_err(|_| Refused::bad(format!("limit {text:?} is not a positive integer")))?,
    };
    if limit == 0 || limit > LIMIT_MAX {
        return Err(Refused::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LIMIT_MAX})"
        )));
    }
    Ok(limit)
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

/// Whether the client wants metadata as a third element instead of among the labels.
fn categorized(headers: &HeaderMap) -> bool {
    headers
        .get("X-Loki-Response-Encoding-Flags")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|f| f.trim() == "categorize-labels"))
}

struct Page {
    query: LogQuery,
    start_ns: i64,
    end_ns: i64,
    limit: usize,
    direction: Direction,
    categorized: bool,
}

impl Page {
    fn read(&self, logs: &dyn LogReader, cancel: &AtomicBool) -> Result<String, Refused> {
        let mut streams: BTreeMap<Labels, Vec<LogEntry>> = BTreeMap::new();
        // Loki shows an entry once that was received twice.
        let mut at_this_instant: HashSet<(Labels, String)> = HashSet::new();
        let mut instant_ns = i64::MIN;
        let (mut entries, mut bytes) = (0, 0);
        let selection = LogSelection {
            matchers: &self.query.matchers,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            direction: self.direction,
        };
        logs.read(&selection, &mut |stream, entry| {
            if cancel.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            if !self.query.keeps(&entry.line) {
                return ControlFlow::Continue(());
            }
            if entry.at_ns != instant_ns {
                at_this_instant.clear();
                instant_ns = entry.at_ns;
            }
            if !at_this_instant.insert((stream.clone(), entry.line.clone())) {
                return ControlFlow::Continue(());
            }
            let shown_under = if self.categorized || entry.metadata.is_empty() {
                stream.clone()
            } else {
                merged(stream, &entry.metadata)
            };
            bytes += entry.line.len();
            entries += 1;
            streams.entry(shown_under).or_default().push(entry.clone());
            if entries >= self.limit || bytes >= LINES_BYTES_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(self.write(&streams, entries, bytes))
    }

    fn write(
        &self,
        streams: &BTreeMap<Labels, Vec<LogEntry>>,
        entries: usize,
        bytes: usize,
    ) -> String {
        let mut out = String::with_capacity(bytes + 64 * entries + 256);
        out.push_str("{\"status\":\"success\",\"data\":{\"resultType\":\"streams\",\"result\":");
        json::array(&mut out, streams, |out, (labels, entries)| {
            out.push_str("{\"stream\":");
            json::labels(out, labels);
            out.push_str(",\"values\":");
            json::array(out, entries, |out, entry| self.write_entry(out, entry));
            out.push('}');
        });
        if self.categorized {
            out.push_str(",\"encodingFlags\":[\"categorize-labels\"]");
        }
        out.push_str(&format!(
            ",\"stats\":{{\"summary\":{{\"totalEntriesReturned\":{entries},\"totalBytesProcessed\":{bytes}}}}}}}}}"
        ));
        out
    }

    fn write_entry(&self, out: &mut String, entry: &LogEntry) {
        out.push_str("[\"");
        out.push_str(&entry.at_ns.to_string());
        out.push_str("\",");
        json::string(out, &entry.line);
        if self.categorized {
            out.push_str(",{");
            if !entry.metadata.is_empty() {
                out.push_str("\"structuredMetadata\":");
                json::labels(out, &entry.metadata);
            }
            out.push('}');
        }
        out.push(']');
    }
}

pub(super) fn merged(stream: &Labels, metadata: &Labels) -> Labels {
    let mut all = stream.to_builder();
    for (name, value) in metadata {
        all.set(name, value);
    }
    all.build()
}
