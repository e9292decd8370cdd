//! Log entries as read back, and how anyone reads them.

use std::ops::ControlFlow;

use crate::{Labels, Matcher, ReadError};

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
}

/// Reads stored streams. Implemented by `storage` and by test fixtures.
pub trait LogReader: Send + Sync {
    /// Visits matching entries of all streams in time order (`direction`), ties in the order
    /// of reception, until `visit` breaks. Lines are borrowed for the call only.
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
}
