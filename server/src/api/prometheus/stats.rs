//! What a query cost, for the parameter `stats`.

use std::time::Duration;

use query::Evaluation;
use serde_json::{Value, json};

/// How much to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    /// Counts per step, which `stats=all` asks for, are not kept: all is the totals.
    Totals,
}

impl Wanted {
    pub(super) fn from(parameter: Option<&str>) -> Wanted {
        match parameter {
            None => Wanted::Nothing,
            Some(_) => Wanted::Totals,
        }
    }
}

/// Where the time went.
pub(super) struct Timings {
    /// Reading the expression.
    pub(super) prepared: Duration,
    /// Waiting for a worker.
    pub(super) queued: Duration,
    /// Evaluating, reading data included: the engine reads while it evaluates.
    pub(super) evaluated: Duration,
}

/// What `"stats"` says.
pub(super) fn shown(wanted: Wanted, timings: &Timings, done: &Evaluation) -> Option<Value> {
    if wanted == Wanted::Nothing {
        return None;
    }
    let total = timings.prepared + timings.evaluated;
    // The engine streams and does not count what passes by.
    let samples = json!({ "peakSamples": done.samples_peak });
    Some(json!({
        "timings": {
            "evalTotalTime": total.as_secs_f64(),
            "resultSortTime": 0,
            "queryPreparationTime": timings.prepared.as_secs_f64(),
            "innerEvalTime": timings.evaluated.as_secs_f64(),
            "execQueueTime": timings.queued.as_secs_f64(),
            "execTotalTime": (total + timings.queued).as_secs_f64(),
        },
        "samples": samples,
    }))
}
