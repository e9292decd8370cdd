//! What a query cost, for the parameter `stats`.

use std::time::Duration;

use query::Evaluation;
use serde_json::{Value, json};

/// How much to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Totals,
    /// The samples of each step too.
    All,
}

impl Wanted {
    pub(super) fn from(parameter: Option<&str>) -> Wanted {
        match parameter {
            None | Some("") => Wanted::Nothing,
            Some("all") => Wanted::All,
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
    let mut samples = json!({
        "totalQueryableSamples": done.samples_queried,
        "peakSamples": done.samples_peak,
    });
    if wanted == Wanted::All {
        let per_step = done.samples_per_step.iter();
        samples["totalQueryableSamplesPerStep"] = per_step
            .map(|(at, n)| json!([at.millis() as f64 / 1000.0, n]))
            .collect();
    }
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
