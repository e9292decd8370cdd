//! What is wrong now, and what was wrong.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Health;
use crate::error::WriteError;
use crate::format::OtherFormats;
use crate::telemetry::{FileKind, KindLabels, Telemetry};

/// Notices kept; older ones are only in the log and the metrics.
const NOTICES_MAX: usize = 20;
/// A topic that fails again this soon after it worked is flapping: a disk that is all but
/// full takes small writes and refuses large ones.
const RELAPSE: Duration = Duration::from_secs(60);
/// Only after this long without a failure is a flapping topic believed to work.
const STEADY: Duration = Duration::from_secs(10);

/// Telemetry and health, shared by all parts of the store.
pub(crate) struct Watch {
    pub(crate) telemetry: Telemetry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    problems: BTreeMap<&'static str, Problem>,
    /// When topics were solved, for [`RELAPSE`].
    solved: BTreeMap<&'static str, Instant>,
    notices: VecDeque<Notice>,
    warnings: BTreeMap<&'static str, String>,
    /// Files that could not be read at the start; bounded as notices are.
    unreadable: Vec<String>,
    others: OtherFormats,
}

#[derive(PartialEq, Eq)]
struct Notice {
    text: String,
    /// Something that had been stored is missing.
    is_loss: bool,
}

struct Problem {
    text: String,
    failed_at: Instant,
    flapping: bool,
    /// It worked since; believed at once unless it is flapping.
    works: bool,
}

impl Watch {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Watch {
            telemetry,
            state: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> std::sync::Arc<Self> {
        let mut registry = prometheus_client::registry::Registry::default();
        std::sync::Arc::new(Watch::new(Telemetry::new(&mut registry)))
    }

    /// A write to `kind` of files failed: `topic` is in trouble until [`Watch::solved`].
    pub(crate) fn write_failed(&self, topic: &'static str, kind: FileKind, error: &WriteError) {
        let labels = KindLabels { kind };
        self.telemetry.write_errors.get_or_create(&labels).inc();
        if self.failed_at(topic, error.to_string(), Instant::now()) {
            tracing::error!(topic, %error, "storage cannot write");
        }
    }

    /// Something else than a write is wrong with `topic` until [`Watch::solved`].
    pub(crate) fn failed(&self, topic: &'static str, text: &str) {
        if self.failed_at(topic, text.to_owned(), Instant::now()) {
            tracing::error!(topic, problem = text, "storage is in trouble");
        }
    }

    /// Whether that is news.
    fn failed_at(&self, topic: &'static str, text: String, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = state.problems.get_mut(topic) {
            known.text = text;
            known.failed_at = now;
            known.works = false;
            return false;
        }
        let solved = state.solved.remove(topic);
        let problem = Problem {
            text,
            failed_at: now,
            flapping: solved.is_some_and(|at| now.duration_since(at) < RELAPSE),
            works: false,
        };
        state.problems.insert(topic, problem);
        true
    }

    /// `topic` works (again).
    pub(crate) fn solved(&self, topic: &'static str) {
        self.solved_at(topic, Instant::now());
    }

    fn solved_at(&self, topic: &'static str, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(problem) = state.problems.get_mut(topic) else {
            return false;
        };
        problem.works = true;
        if problem.flapping && now.duration_since(problem.failed_at) < STEADY {
            return false;
        }
        state.problems.remove(topic);
        state.solved.insert(topic, now);
        drop(state);
        tracing::info!(topic, "storage works again");
        true
    }

    /// Believes flapping topics that have worked for long enough by now.
    pub(crate) fn settle(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let working = state.problems.iter().filter(|(_, problem)| problem.works);
        let working: Vec<&'static str> = working.map(|(topic, _)| *topic).collect();
        drop(state);
        for topic in working {
            self.solved(topic);
        }
    }

    /// Whether `topic` is in trouble.
    pub(crate) fn is_failing(&self, topic: &'static str) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.problems.contains_key(topic)
    }

    /// Something about `topic` is for a person to look at; `None`: no longer.
    pub(crate) fn warn(&self, topic: &'static str, text: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match text.clone() {
            Some(text) => state.warnings.insert(topic, text),
            None => state.warnings.remove(topic),
        };
        drop(state);
        if let Some(text) = text
            && before.is_none()
        {
            tracing::warn!(topic, "{text}");
        }
    }

    /// A file cannot be read and is left where it is: what is in it is missing until the next
    /// start.
    pub(crate) fn unreadable(&self, kind: FileKind, path: &Path, error: &std::io::Error) {
        let text = format!("cannot read {}: {error}", path.display());
        tracing::error!(path = %path.display(), %error, "cannot read a file");
        let labels = KindLabels { kind };
        self.telemetry.corruptions.get_or_create(&labels).inc();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.unreadable.len() < NOTICES_MAX {
            let text = format!(
                "{text}; what is in it is missing until it can be and stackwatch is started again"
            );
            state.unreadable.push(text);
        }
    }

    /// A file that holds `what` (in the plural) is of another version's format and left where it is.
    pub(crate) fn other_format(&self, what: &'static str, version: u16, path: &Path) {
        tracing::error!(path = %path.display(), version, "a file of another format is not read");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.others.add(what, version, path);
    }

    /// Whether there was one of these.
    pub(crate) fn met_other_formats(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.others.count() > 0
    }

    /// A file of ours is gone, and not by us.
    pub(crate) fn vanished(&self, path: &Path) {
        let text = format!("{} was removed by somebody else", path.display());
        if self.notice(text, true) {
            tracing::error!(path = %path.display(), "a file was removed by somebody else");
        }
    }

    /// Bytes of an unfinished write were found at the end of a file and ignored.
    pub(crate) fn torn(&self, kind: FileKind, path: &Path, bytes: u64) {
        let labels = KindLabels { kind };
        let counter = self.telemetry.torn_bytes.get_or_create(&labels);
        counter.inc_by(bytes);
        drop(counter);
        tracing::warn!(path = %path.display(), bytes, "cut an unfinished write from the end of a file");
        let path = path.display();
        let text = format!("cut {bytes} bytes of an unfinished write from {path}");
        self.notice(text, false);
    }

    /// A damaged piece was found and set aside or skipped. Every query may meet it again:
    /// it is logged and counted once, as long as its notice is kept.
    pub(crate) fn corrupt(&self, kind: FileKind, path: &Path, what: impl Display) {
        let text = format!("damaged data in {}: {what}", path.display());
        if self.notice(text, true) {
            let labels = KindLabels { kind };
            self.telemetry.corruptions.get_or_create(&labels).inc();
            tracing::error!(path = %path.display(), %what, "found damaged data");
        }
    }

    /// Whether `text` was not among the notices yet.
    fn notice(&self, text: String, is_loss: bool) -> bool {
        let notice = Notice { text, is_loss };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.notices.contains(&notice) {
            return false;
        }
        if state.notices.len() == NOTICES_MAX {
            state.notices.pop_front();
        }
        state.notices.push_back(notice);
        true
    }

    /// See [`crate::Storage::losses`].
    pub(crate) fn losses(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let noticed = state.notices.iter().filter(|n| n.is_loss);
        let noticed = noticed.map(|n| n.text.clone());
        let unread = state.others.text().into_iter();
        let unread = unread.chain(state.unreadable.iter().cloned());
        unread.chain(noticed).collect()
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            ok: state.problems.is_empty(),
            problems: state
                .problems
                .iter()
                .map(|(topic, problem)| format!("{topic}: {}", problem.text))
                .collect(),
            warnings: {
                let warnings = state.warnings.values().chain(&state.unreadable);
                warnings.cloned().chain(state.others.text()).collect()
            },
            notices: state.notices.iter().map(|n| n.text.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flapping_is_told_once_and_believed_to_be_over_late() {
        let watch = Watch::for_test();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fails = |seconds| watch.failed_at("log", "full".to_owned(), at(seconds));
        let works = |seconds| watch.solved_at("log", at(seconds));
        assert!(fails(0) && !fails(1));
        assert!(works(2) && !works(3));
        assert!(fails(4));
        for seconds in 5..20 {
            assert!(!works(seconds) && !fails(seconds), "{seconds}");
        }
        assert!(!works(28) && watch.is_failing("log"));
        assert!(works(29) && watch.health().ok);
        // Long after, it is a new story.
        assert!(fails(100) && works(101) && watch.health().ok);
    }
}
