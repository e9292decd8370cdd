//! What is known of one heartbeat, what follows from it, and how it is kept on disk.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::Schedule;
use crate::target::Sink;

/// Version of the encoding; a row of another version is left out.
const VERSION: u8 = 1;

/// What a ping says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingKind {
    /// The job ended well.
    Success,
    /// The job failed.
    Fail,
    /// The job begins.
    Start,
    /// Something to remember that changes nothing.
    Log,
    /// The job ended with this status; 0 is well.
    Exit(u8),
}

impl PingKind {
    /// What the last segment of a ping's path says; `None` when nothing.
    pub(super) fn of_path(segment: &str) -> Option<PingKind> {
        Some(match segment {
            "start" => PingKind::Start,
            "fail" => PingKind::Fail,
            "log" => PingKind::Log,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                PingKind::Exit(digits.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// The `kind` label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            PingKind::Success | PingKind::Exit(0) => "success",
            PingKind::Fail | PingKind::Exit(_) => "fail",
            PingKind::Start => "start",
            PingKind::Log => "log",
        }
    }
}

/// What has been heard of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State(Row);

/// A row as it is stored; times in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    version: u8,
    /// Since when it is watched.
    since: i64,
    last_ping: Option<i64>,
    last_success: Option<i64>,
    last_failure: Option<i64>,
    last_start: Option<i64>,
    /// `rid` of the last start.
    run: Option<String>,
    last_duration: Option<u64>,
    exit_status: Option<u8>,
    body_bytes: u64,
    /// Pings so far: success, fail, start, log.
    pings: [u64; 4],
}

const KINDS: [&str; 4] = ["success", "fail", "start", "log"];

/// What follows from a state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// When the next ping is due.
    pub(super) expected: Option<Timestamp>,
    /// When it is late.
    pub(super) deadline: Option<Timestamp>,
    /// Whether it is late, or a run takes longer than the grace time.
    pub(super) late: bool,
    /// Whether the job said last that it failed.
    pub(super) failed: bool,
    /// Whether the job said that it began and not yet that it ended.
    pub(super) running: bool,
}

impl State {
    /// Nothing heard yet.
    pub(super) fn new(since: Timestamp) -> State {
        State(Row {
            version: VERSION,
            since: since.millis(),
            last_ping: None,
            last_success: None,
            last_failure: None,
            last_start: None,
            run: None,
            last_duration: None,
            exit_status: None,
            body_bytes: 0,
            pings: [0; 4],
        })
    }

    /// Takes a ping.
    pub(super) fn ping(
        &mut self,
        kind: PingKind,
        run: Option<String>,
        body_bytes: u64,
        now: Timestamp,
    ) {
        let at = now.millis();
        let ends = |row: &mut Row| {
            // A run that another one overtook has a start we no longer know.
            let known = row.run.is_none() || run.is_none() || row.run == run;
            if let Some(start) = row.last_start.filter(|_| known && row.is_running()) {
                row.last_duration = u64::try_from(at - start).ok();
            }
        };
        let row = &mut self.0;
        match kind.as_str() {
            "success" => {
                ends(row);
                row.last_success = Some(at);
            }
            "fail" => {
                ends(row);
                row.last_failure = Some(at);
            }
            "start" => {
                row.last_start = Some(at);
                row.run = run;
            }
            _ => {}
        }
        if let PingKind::Exit(status) = kind {
            row.exit_status = Some(status);
        }
        row.last_ping = Some(at);
        row.body_bytes = body_bytes;
        if let Some(count) = KINDS.iter().position(|k| *k == kind.as_str()) {
            row.pings[count] += 1;
        }
    }

    /// What follows from it at `now`.
    pub(super) fn verdict(&self, schedule: &Schedule, now: Timestamp) -> Verdict {
        let row = &self.0;
        let last = Timestamp::from_millis(row.last_end().unwrap_or(row.since));
        let expected = schedule.next(last);
        let deadline = expected.map(|at| at.plus(schedule.grace));
        let running = row.is_running();
        let overruns = running
            && row
                .last_start
                .is_some_and(|start| now > Timestamp::from_millis(start).plus(schedule.grace));
        Verdict {
            expected,
            deadline,
            late: overruns || deadline.is_some_and(|at| now > at),
            failed: row.last_failure.is_some() && row.last_failure > row.last_success,
            running,
        }
    }

    /// Tells it.
    pub(super) fn put(&self, verdict: &Verdict, name: &str, sink: &mut impl Sink) {
        let row = &self.0;
        let labels = [("name", name)];
        let flag = |on: bool| f64::from(u8::from(on));
        let seconds = |at: i64| at as f64 / 1000.0;
        let up = !verdict.late && !verdict.failed;
        for (family, value) in [
            ("stackwatch_heartbeat_up", Some(flag(up))),
            ("stackwatch_heartbeat_late", Some(flag(verdict.late))),
            ("stackwatch_heartbeat_failed", Some(flag(verdict.failed))),
            ("stackwatch_heartbeat_running", Some(flag(verdict.running))),
            (
                "stackwatch_heartbeat_expected_timestamp_seconds",
                verdict.expected.map(Timestamp::as_secs_f64),
            ),
            (
                "stackwatch_heartbeat_deadline_timestamp_seconds",
                verdict.deadline.map(Timestamp::as_secs_f64),
            ),
            (
                "stackwatch_heartbeat_last_ping_timestamp_seconds",
                row.last_ping.map(seconds),
            ),
            (
                "stackwatch_heartbeat_last_success_timestamp_seconds",
                row.last_success.map(seconds),
            ),
            (
                "stackwatch_heartbeat_last_failure_timestamp_seconds",
                row.last_failure.map(seconds),
            ),
            (
                "stackwatch_heartbeat_last_start_timestamp_seconds",
                row.last_start.map(seconds),
            ),
            (
                "stackwatch_heartbeat_last_duration_seconds",
                row.last_duration
                    .map(|ms| Duration::from_millis(ms).as_secs_f64()),
            ),
            (
                "stackwatch_heartbeat_last_exit_status",
                row.exit_status.map(f64::from),
            ),
            (
                "stackwatch_heartbeat_last_body_bytes",
                row.last_ping.map(|_| row.body_bytes as f64),
            ),
        ] {
            if let Some(value) = value {
                sink.put(family, &labels, value);
            }
        }
        for (kind, count) in KINDS.iter().zip(row.pings) {
            let labels = [("kind", *kind), ("name", name)];
            sink.put("stackwatch_heartbeat_pings_total", &labels, count as f64);
        }
    }

    /// The bytes of a row.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Integers and one string: nothing that JSON cannot say.
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// The state of a row; `None` when this version cannot read it.
    pub(super) fn decode(bytes: &[u8]) -> Option<State> {
        let row: Row = serde_json::from_slice(bytes).ok()?;
        (row.version == VERSION).then_some(State(row))
    }
}

impl Row {
    /// When the job last said that it ended, well or not.
    fn last_end(&self) -> Option<i64> {
        self.last_success.max(self.last_failure)
    }

    fn is_running(&self) -> bool {
        self.last_start.is_some() && self.last_start > self.last_end()
    }
}
