//! `/patterns`: templates of the newest lines of some streams, and how often they were met.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::Response;
use model::{Direction, LogReader, LogSelection, ReadError, Skim};
use query::logql::Patterns;
use query::logql::patterns::Pattern;

use super::labels::selector;
use super::{Refused, axum_json, time};
use crate::api::params::Params;
use crate::api::workshop::Client;
use crate::api::{Api, json};

/// Lines looked at, the newest first: some seconds of work.
const LINES_MAX: usize = 200_000;
/// Bytes of lines looked at.
const BYTES_MAX: usize = 64 << 20;

pub(super) async fn patterns(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let (start_ns, end_ns) = time::range(&params, api.now())?;
    let step = time::step(&params, (start_ns, end_ns))?;
    let matchers = selector(params.get("query").unwrap_or(""))?;
    let parts = api.parts()?;
    let work = move |cancel: std::sync::Arc<AtomicBool>| {
        let selection = LogSelection {
            matchers: &matchers,
            start_ns,
            end_ns,
            direction: Direction::Backward,
            skim: Skim::default(),
        };
        find(&*parts.logs, &selection, step, &cancel)
    };
    let timeout = api.config().query.timeout.0;
    let found = api.workshop().run_for(&client, timeout, work).await??;
    Ok(axum_json(body(&found)))
}

fn find(
    logs: &dyn LogReader,
    selection: &LogSelection<'_>,
    step: i64,
    cancel: &AtomicBool,
) -> Result<Vec<Pattern>, ReadError> {
    let mut patterns = Patterns::new(step);
    let (mut lines, mut bytes) = (0, 0);
    logs.read(selection, &mut |_, entry| {
        patterns.add(entry.at_ns, &entry.line);
        lines += 1;
        bytes += entry.line.len();
        match lines >= LINES_MAX || bytes >= BYTES_MAX || cancel.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(patterns.finish())
}

fn body(found: &[Pattern]) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    json::array(&mut out, found, |out, pattern| {
        out.push_str("{\"pattern\":");
        json::string(out, &pattern.text);
        out.push_str(",\"samples\":");
        json::array(out, &pattern.samples, |out, (at_ns, lines)| {
            let seconds = at_ns.div_euclid(1_000_000_000);
            out.push_str(&format!("[{seconds},{lines}]"));
        });
        out.push('}');
    });
    out.push('}');
    out
}
