//! What a query cost, for the parameter `stats`.

use std::time::Duration;

use query::Evaluation;
use serde_json::json;

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

/// Puts `"stats"` into the object that `data` is.
pub(super) fn write(data: &mut String, wanted: Wanted, timings: &Timings, done: &Evaluation) {
    if wanted == Wanted::Nothing || data.pop() != Some('}') {
        return;
    }
    let total = timings.prepared + timings.evaluated;
    let shown = json!({
        "timings": {
            "evalTotalTime": total.as_secs_f64(),
            "resultSortTime": 0,
            "queryPreparationTime": timings.prepared.as_secs_f64(),
            "innerEvalTime": timings.evaluated.as_secs_f64(),
            "execQueueTime": timings.queued.as_secs_f64(),
            "execTotalTime": (total + timings.queued).as_secs_f64(),
        },
        // The engine streams and does not count what passes by.
        "samples": { "peakSamples": done.samples_peak },
    });
    data.push_str(",\"stats\":");
    data.push_str(&shown.to_string());
    data.push('}');
}
