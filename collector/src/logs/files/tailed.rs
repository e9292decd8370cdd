//! One open file: what was appended to it becomes a batch with the position behind it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::SystemTime;

use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels, SourcePosition};

use super::position::{Position, Prints};
use crate::logs::lines::{LINE_BYTES_MAX, Lines, RawLine};
use crate::regular;

/// Read at once and handed on as one batch. Twice the longest line, so that a line either ends in it
/// or is too long.
const CHUNK_BYTES: usize = 2 * LINE_BYTES_MAX;

/// A file that is followed.
pub(super) struct Tailed {
    file: File,
    /// Names its position in the store.
    pub(super) source: String,
    labels: ScrubbedLabels,
    /// How far it was handed on.
    pub(super) position: Position,
    /// Length and time of change at the last look.
    seen: Option<(u64, SystemTime)>,
    /// When something was last read, or when it was opened: nanoseconds since the epoch.
    pub(super) moved_ns: i64,
    /// Time of the line before.
    last_ns: i64,
}

/// What a look at a file brought.
#[derive(Default)]
pub(super) struct Look {
    pub(super) batch: Option<LogBatch>,
    /// Whether there is more to read at once.
    pub(super) more: bool,
    /// Where it stood before it was emptied or replaced in place.
    pub(super) lost: Option<Position>,
}

impl Tailed {
    /// Follows from `position` on.
    pub(super) fn new(
        file: File,
        source: String,
        labels: ScrubbedLabels,
        position: Position,
        now_ns: i64,
    ) -> Self {
        Tailed {
            file,
            source,
            labels,
            position,
            seen: None,
            moved_ns: now_ns,
            last_ns: 0,
        }
    }

    /// Whether the other file, of this length, is a copy of what was read of this one, or more.
    pub(super) fn is_copied_to(&self, other: &File, length: u64) -> bool {
        self.position.offset > 0 && length >= self.position.offset && self.position.is_of(other)
    }

    /// Reads what has been appended, up to a chunk. With `last`, what comes after the last line end
    /// is a line too: nobody will end it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn look(&mut self, lines: &mut Lines, now_ns: i64, last: bool) -> io::Result<Look> {
        let mut look = Look::default();
        let meta = self.file.metadata()?;
        let now_seen = (meta.size(), meta.modified()?);
        if self.seen != Some(now_seen) {
            let prints = Prints::of(&self.file, self.position.offset)?;
            if prints != Some(self.position.prints) {
                look.lost = Some(self.position.clone());
                self.position.offset = 0;
                self.position.inside = false;
                self.position.prints = Prints::of(&self.file, 0)?.unwrap_or(self.position.prints);
            }
            self.seen = Some(now_seen);
        }
        if meta.size() <= self.position.offset {
            return Ok(look);
        }
        let there = usize::try_from(meta.size() - self.position.offset).unwrap_or(CHUNK_BYTES);
        let mut chunk = vec![0; there.min(CHUNK_BYTES)];
        let count = read_at(&self.file, &mut chunk, self.position.offset)?;
        chunk.truncate(count);
        let whole = last && count < CHUNK_BYTES;
        let (used, entries) = self.split(&chunk, whole, lines, now_ns);
        if used == 0 {
            return Ok(look);
        }
        self.moved_ns = now_ns;
        self.position.offset += used as u64;
        // Shorter again since a moment ago: the next look begins anew.
        let Some(prints) = Prints::of(&self.file, self.position.offset)? else {
            self.position.offset -= used as u64;
            self.seen = None;
            look.more = true;
            return Ok(look);
        };
        self.position.prints = prints;
        self.position.at_ns = now_ns;
        look.more = count == CHUNK_BYTES;
        // Also without entries, when a rule drops them all: they are not read again.
        look.batch = Some(LogBatch {
            stream: self.labels.clone(),
            entries,
            position: Some(SourcePosition {
                source: self.source.clone(),
                position: self.position.encode(),
            }),
        });
        Ok(look)
    }

    /// Entries of the lines in a chunk, and how much of it they are.
    fn split(
        &mut self,
        chunk: &[u8],
        whole: bool,
        lines: &mut Lines,
        now_ns: i64,
    ) -> (usize, Vec<ScrubbedEntry>) {
        let mut entries = Vec::new();
        let mut used = 0;
        loop {
            let rest = &chunk[used..];
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, taken) = match end {
                Some(end) => (&rest[..end], end + 1),
                None if rest.is_empty() => break,
                // The rest of a line that is too long, or the beginning of one.
                None if self.position.inside || rest.len() > LINE_BYTES_MAX || whole => {
                    (rest, rest.len())
                }
                None => break,
            };
            used += taken;
            let continued = std::mem::replace(&mut self.position.inside, end.is_none() && !whole);
            if continued {
                continue;
            }
            // Lines of one moment stay in their order.
            self.last_ns = now_ns.max(self.last_ns + 1);
            entries.extend(lines.entry(RawLine {
                at_ns: self.last_ns,
                text: &line[..line.len().min(LINE_BYTES_MAX)],
                truncated: line.len() > LINE_BYTES_MAX,
                level: None,
                metadata: &[],
            }));
        }
        (used, entries)
    }
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Opens a regular file for reading; `None` of anything else.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, std::fs::Metadata)>> {
    match regular::open(path) {
        Ok(file) => file.metadata().map(|meta| Some((file, meta))),
        // A pattern meets folders and pipes too.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(e) => Err(e),
    }
}
