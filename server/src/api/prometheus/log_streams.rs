//! `/logs/streams`, ours: what became of each container's lines.

use axum::extract::State;
use serde_json::{Value, json};

use super::envelope::{Answer, Success};
use crate::api::Api;

/// By container: how its log is read, and the sums that show whether a line was lost. What was seen
/// was stored, known before or left out by the quota; the difference is on its way.
pub(super) async fn streams(State(api): State<Api>) -> Answer {
    let parts = api.parts()?;
    let streams: Vec<Value> = parts
        .targets
        .log_streams()
        .iter()
        .map(|stream| {
            let sums = stream.sums;
            json!({
                "container": stream.container,
                "id": stream.id,
                "driver": stream.driver,
                "readFrom": stream.read_from,
                "state": stream.state,
                "notes": stream.notes,
                "linesSeen": sums.seen,
                "linesStored": sums.stored,
                "linesDuplicate": sums.duplicate,
                "linesScrubbed": sums.scrubbed,
                "linesDropped": sums.dropped,
                "suspectedGaps": sums.gaps,
                "bytes": sums.bytes,
            })
        })
        .collect();
    Ok(Success::from_value(&json!({ "streams": streams })))
}
