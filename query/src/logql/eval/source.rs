//! Reading lines within a budget.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Matcher, Timestamp};

use super::{EvalError, Evaluation, Limits, Stats, Value};

/// A reader with the budget of one query.
pub(super) struct Source<'a> {
    reader: &'a dyn LogReader,
    limits: &'a Limits,
    stats: Cell<Stats>,
    held_bytes: Cell<usize>,
    warnings: RefCell<Vec<String>>,
    is_full: Cell<bool>,
}

/// Whether everything was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    All,
    /// The budget ended at this line, which was not looked at.
    Until(i64),
}

impl<'a> Source<'a> {
    pub(super) fn new(reader: &'a dyn LogReader, limits: &'a Limits) -> Self {
        Source {
            reader,
            limits,
            stats: Cell::default(),
            held_bytes: Cell::new(0),
            warnings: RefCell::default(),
            is_full: Cell::new(false),
        }
    }

    pub(super) fn series_max(&self) -> usize {
        self.limits.series_max
    }

    /// Counts bytes that are held from now on; whether there is room for them.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let held = self.held_bytes.get().saturating_add(bytes);
        self.held_bytes.set(held);
        held <= self.limits.held_bytes_max
    }

    /// Counts bytes that are no longer held.
    pub(super) fn release(&self, bytes: usize) {
        self.held_bytes
            .set(self.held_bytes.get().saturating_sub(bytes));
    }

    /// Notes that there was no room.
    pub(super) fn warn_full(&self) {
        self.is_full.set(true);
        self.warn(format!(
            "the query needs more than {} KB of memory (query.bytes_max): the result is incomplete; select fewer streams or a shorter time",
            self.limits.held_bytes_max >> 10
        ));
    }

    fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    pub(super) fn check_cancel(&self) -> Result<(), EvalError> {
        if self.is_canceled() {
            return Err(EvalError::Canceled);
        }
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        let cancel = self.limits.cancel.as_ref();
        cancel.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Counts a line that all stages let pass.
    pub(super) fn count_kept(&self) {
        let mut stats = self.stats.get();
        stats.lines_kept += 1;
        self.stats.set(stats);
    }

    /// Visits the lines of `start_ns..end_ns` in order until `visit` has enough.
    pub(super) fn read(
        &self,
        matchers: &[Matcher],
        (start_ns, end_ns): (i64, i64),
        direction: Direction,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<Read, EvalError> {
        self.check_cancel()?;
        let mut done = Read::All;
        let mut canceled = false;
        if start_ns >= end_ns {
            return Ok(done);
        }
        let selection = LogSelection {
            matchers,
            start_ns,
            end_ns,
            direction,
        };
        self.reader.read(&selection, &mut |stream, entry| {
            let mut stats = self.stats.get();
            if stats.bytes >= self.limits.read_bytes_max {
                done = Read::Until(entry.at_ns);
                return ControlFlow::Break(());
            }
            stats.lines += 1;
            stats.bytes += entry.line.len() as u64;
            stats.metadata_bytes += entry
                .metadata
                .iter()
                .map(|(n, v)| (n.len() + v.len()) as u64)
                .sum::<u64>();
            self.stats.set(stats);
            if self.is_canceled() {
                canceled = true;
                return ControlFlow::Break(());
            }
            visit(stream, entry)
        })?;
        if canceled {
            return Err(EvalError::Canceled);
        }
        if let Read::Until(at_ns) = done {
            let at = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or_default();
            let side = match direction {
                Direction::Forward => "after",
                Direction::Backward => "before",
            };
            self.warn(format!(
                "the query read {} MB of lines and stopped there: the result lacks what is {side} {at:.0}; select fewer streams or a shorter time",
                self.limits.read_bytes_max >> 20
            ));
        }
        Ok(done)
    }

    pub(super) fn finish(self, value: Value) -> Evaluation {
        Evaluation {
            value,
            stats: self.stats.get(),
            warnings: self.warnings.into_inner(),
            is_full: self.is_full.get(),
        }
    }
}

/// Tells lines that were received twice: same stream, instant and text.
#[derive(Debug, Default)]
pub(super) struct Seen {
    at_ns: Option<i64>,
    /// Hashes of the lines of that instant; nearly always there is one.
    few: Vec<u64>,
    /// Those beyond [`FEW`].
    many: HashSet<u64, FixedState>,
}

/// So many hashes are looked through one after the other.
const FEW: usize = 16;

impl Seen {
    /// Whether the line is a new one.
    pub(super) fn is_new(&mut self, stream: &Labels, entry: &LogEntry) -> bool {
        if self.at_ns != Some(entry.at_ns) {
            self.at_ns = Some(entry.at_ns);
            self.few.clear();
            if !self.many.is_empty() {
                self.many = HashSet::default();
            }
        }
        let mut hasher = FixedState::default().build_hasher();
        stream.hash(&mut hasher);
        entry.line.hash(&mut hasher);
        let hash = hasher.finish();
        if self.few.contains(&hash) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(hash);
            return true;
        }
        self.many.insert(hash)
    }
}

/// The instant templates take for now.
pub(super) fn now_of(at_ns: i64) -> Timestamp {
    Timestamp::from_millis(at_ns.div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_instant_are_told_apart_however_many() {
        let mut seen = Seen::default();
        let stream = Labels::from_pairs([("app", "x")]);
        let entry = |at_ns, line: usize| LogEntry {
            at_ns,
            line: line.to_string(),
            metadata: Labels::empty(),
        };
        for at_ns in 0..2 {
            for line in 0..50 {
                assert!(seen.is_new(&stream, &entry(at_ns, line)));
            }
            for line in 0..50 {
                assert!(!seen.is_new(&stream, &entry(at_ns, line)));
            }
        }
    }
}
