//! Reading lines within a budget.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use model::{
    Direction, Labels, LogEntry, LogReader, LogSelection, Matcher, PassedOver, Sieve, Skim,
    Timestamp,
};

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

/// Which lines are read.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Of their stream.
    pub(super) matchers: &'a [Matcher],
    /// First nanosecond inside, first outside.
    pub(super) window: (i64, i64),
    pub(super) direction: Direction,
    /// What they must have; others may come all the same.
    pub(super) sieve: &'a Sieve,
    /// Their texts only tell lines of one instant apart.
    pub(super) no_texts: bool,
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

    /// Visits the lines that are wanted, in order, until `visit` has enough.
    pub(super) fn read(
        &self,
        wanted: &Wanted<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<Read, EvalError> {
        self.check_cancel()?;
        let Wanted {
            matchers,
            window: (start_ns, end_ns),
            direction,
            sieve,
            no_texts,
        } = *wanted;
        if start_ns >= end_ns {
            return Ok(Read::All);
        }
        let (done, canceled) = (Cell::new(Read::All), Cell::new(false));
        let take = |at_ns: i64, lines: u64, bytes: u64, metadata_bytes: u64| {
            let mut stats = self.stats.get();
            if stats.bytes >= self.limits.read_bytes_max {
                done.set(Read::Until(at_ns));
                return ControlFlow::Break(());
            }
            stats.lines += lines;
            stats.bytes += bytes;
            stats.metadata_bytes += metadata_bytes;
            self.stats.set(stats);
            if self.is_canceled() {
                canceled.set(true);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let passed_over = |passed: PassedOver| take(passed.at_ns, passed.lines, passed.bytes, 0);
        let selection = LogSelection {
            matchers,
            start_ns,
            end_ns,
            direction,
            skim: Skim {
                sieve: Some(sieve).filter(|s| !s.is_empty()),
                no_texts,
                passed_over: Some(&passed_over),
            },
        };
        self.reader.read(&selection, &mut |stream, entry| {
            let metadata = entry.metadata.iter();
            let metadata_bytes = metadata
                .map(|(n, v)| (n.len() + v.len()) as u64)
                .sum::<u64>();
            take(entry.at_ns, 1, entry.line.len() as u64, metadata_bytes)?;
            visit(stream, entry)
        })?;
        let (done, canceled) = (done.get(), canceled.get());
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
#[derive(Debug)]
pub(super) struct Seen {
    at_ns: Option<i64>,
    /// The first line of that instant: nearly always it is the only one.
    first: (Labels, String),
    /// Hashes of the lines of that instant, once there are two.
    few: Vec<u64>,
    /// Those beyond [`FEW`].
    many: HashSet<u64, FixedState>,
}

/// So many hashes are looked through one after the other.
const FEW: usize = 16;

impl Default for Seen {
    fn default() -> Self {
        Seen {
            at_ns: None,
            first: (Labels::empty(), String::new()),
            few: Vec::new(),
            many: HashSet::default(),
        }
    }
}

impl Seen {
    /// Whether the line is a new one.
    pub(super) fn is_new(&mut self, stream: &Labels, entry: &LogEntry) -> bool {
        if self.at_ns != Some(entry.at_ns) {
            self.at_ns = Some(entry.at_ns);
            if !self.first.0.is_same(stream) {
                self.first.0 = stream.clone();
            }
            entry.line.clone_into(&mut self.first.1);
            self.few.clear();
            if !self.many.is_empty() {
                self.many = HashSet::default();
            }
            return true;
        }
        if self.few.is_empty() {
            self.few.push(line_hash(&self.first.0, &self.first.1));
        }
        let hash = line_hash(stream, &entry.line);
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

fn line_hash(stream: &Labels, line: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    stream.hash(&mut hasher);
    line.hash(&mut hasher);
    hasher.finish()
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
