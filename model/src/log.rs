//! Log entries as read back, and how anyone reads them.

use std::fmt;
use std::ops::ControlFlow;

use crate::{Labels, Matcher, ReadError, Sieve};

/// One stored line. The text has passed the scrubber before it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Nanoseconds since the epoch.
    pub at_ns: i64,
    /// The scrubbed line, without its newline.
    pub line: String,
    /// Structured metadata (container id, level, ...), scrubbed too.
    pub metadata: Labels,
}

/// In which order entries are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first, which is what a person wants to see.
    #[default]
    Backward,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct LogSelection<'a> {
    /// All must hold on the stream's labels.
    pub matchers: &'a [Matcher],
    /// First nanosecond inside.
    pub start_ns: i64,
    /// First nanosecond outside.
    pub end_ns: i64,
    /// The order of the visit.
    pub direction: Direction,
    /// What the visitor can do without.
    pub skim: Skim<'a>,
}

/// What a visitor can do without; a reader makes use of it where that spares work. By default nothing.
#[derive(Clone, Copy, Default)]
pub struct Skim<'a> {
    /// Only lines that pass are wanted; others may be visited all the same.
    pub sieve: Option<&'a Sieve>,
    /// Texts are not wanted, but where the stream may have two lines of the same instant: in other
    /// entries `line` may be empty.
    pub no_texts: bool,
    /// Told what was looked at without a visit; ends the reading when it breaks.
    pub passed_over: Option<&'a dyn Fn(PassedOver) -> ControlFlow<()>>,
}

impl fmt::Debug for Skim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sieve = f.debug_struct("Skim").field("sieve", &self.sieve).finish();
        sieve.and_then(|()| write!(f, " no_texts: {}", self.no_texts))
    }
}

/// What was looked at without a visit, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// No line that was wanted and comes later has an instant before this one, in the order of the
    /// visit.
    pub at_ns: i64,
    /// Lines that did not pass.
    pub lines: u64,
    /// Their bytes, and those of visited lines whose text was left out.
    pub bytes: u64,
}

/// How much there is of a stream within some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Instant of its first line, in nanoseconds.
    pub min_ns: i64,
    /// Instant of its last line.
    pub max_ns: i64,
    /// Its lines.
    pub lines: u64,
    /// What they take uncompressed, about.
    pub bytes: u64,
}

/// Reads stored streams. Implemented by `storage` and by test fixtures.
pub trait LogReader: Send + Sync {
    /// Visits matching entries of all streams in time order (`direction`), ties in the order
    /// of reception forwards and in its reverse backwards, until `visit` breaks. Lines are borrowed for the call only.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError>;

    /// Label sets of streams that match at least one of `sets` (all when empty) and may have
    /// entries in `[start_ns, end_ns)`, sorted.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn streams(
        &self,
        sets: &[Vec<Matcher>],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<Vec<Labels>, ReadError>;

    /// Visits what there is of the selection without reading what can be told without: stream
    /// after stream in memory, then pieces that were stored together, of which the first and the
    /// last lines may lie outside of the selection. Its direction does not matter.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn sizes(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, LogPiece),
    ) -> Result<(), ReadError> {
        self.read(selection, &mut |stream, entry| {
            visit(stream, LogPiece::of(entry));
            ControlFlow::Continue(())
        })
    }
}

impl LogPiece {
    /// A single line.
    #[must_use]
    pub fn of(entry: &LogEntry) -> Self {
        LogPiece {
            min_ns: entry.at_ns,
            max_ns: entry.at_ns,
            lines: 1,
            bytes: entry.line.len() as u64,
        }
    }
}
