//! The files of a container's `json-file` log, read through rotations.
//!
//! The engine renames `x-json.log` to `x-json.log.1`, that to `.2` and so on. Whoever keeps a file
//! open and finds it again under its new name knows which one follows it, and knows for certain when
//! one was missed. Blocking; bounded by one block in memory.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::entries::GapKind;
use super::frame::Stream;
use super::json_record;
use super::position::Anchor;
use super::stamp;

/// Read at a time. Larger blocks cost memory for each container.
const BLOCK_BYTES: usize = 256 * 1024;
/// What is kept of the block's memory between two looks.
const SHORT_BYTES: usize = 4 * 1024;
/// A record holds a chunk of 16 KiB, each byte of which may take six, and its attributes.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Rotated files looked for.
const FILES_MAX: usize = 1000;
/// What is read again to see whether a file still is what it was.
const CHECK_BYTES: usize = 128;

/// What [`JsonFiles::step`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Whole lines, in [`JsonFiles::lines`].
    Lines,
    /// Something is missing here.
    Gap(GapKind),
    /// Nothing new.
    Idle,
    /// The log was removed, and all of it is read.
    Gone,
}

/// The files of one container.
pub(crate) struct JsonFiles {
    path: PathBuf,
    file: File,
    id: FileId,
    /// Up to which the file was read.
    offset: u64,
    /// The last bytes read, to recognize the file by.
    check: Vec<u8>,
    /// What was read: whole lines, then the beginning of one.
    buffer: Vec<u8>,
    /// Where the whole lines end.
    whole: usize,
    /// The rest of a line that is too long is left out.
    skipping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl JsonFiles {
    /// Opens the log at `path`, at a place before everything from `since` on and, as far as they
    /// exist, before `anchors`; also tells which of these will come.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(
        path: &Path,
        since: i64,
        anchors: [Option<Anchor>; 2],
    ) -> io::Result<(Self, [bool; 2])> {
        let mut search = Search::new(since, anchors);
        let mut found: Option<(File, u64)> = None;
        // From the newest to the oldest.
        for number in 0..FILES_MAX {
            let file = match File::open(numbered(path, number)) {
                Ok(file) => file,
                Err(e) if number > 0 && e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            };
            let at = search.backward(&file)?;
            found = Some((file, at));
            if search.is_done {
                break;
            }
        }
        let Some((file, offset)) = found else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let id = FileId::of(&file.metadata()?);
        let files = JsonFiles {
            path: path.to_owned(),
            file,
            id,
            offset,
            check: Vec::new(),
            buffer: Vec::new(),
            whole: 0,
            skipping: false,
        };
        Ok((files, search.found))
    }

    /// The whole lines of the last step.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.buffer[..self.whole]
    }

    /// Whether there is more to read, as far as the files' names and sizes tell.
    pub(crate) fn has_news(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => FileId::of(&metadata) != self.id || metadata.len() != self.offset,
            Err(_) => true,
        }
    }

    /// Reads on; what [`JsonFiles::lines`] gave is forgotten.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        self.buffer.drain(..self.whole);
        self.whole = 0;
        if let Some(step) = self.read_block()? {
            return Ok(step);
        }
        match std::fs::metadata(&self.path) {
            Ok(metadata) if FileId::of(&metadata) == self.id => {
                self.buffer.shrink_to(SHORT_BYTES);
                Ok(Step::Idle)
            }
            Ok(_) => {
                // What was written between our look at the file and its renaming.
                if let Some(step) = self.read_block()? {
                    return Ok(step);
                }
                self.next_file()
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Removed, or between two names for a moment.
                match self.file.metadata()?.nlink() {
                    0 => Ok(self.read_block()?.unwrap_or(Step::Gone)),
                    _ => Ok(Step::Idle),
                }
            }
            Err(e) => Err(e),
        }
    }

    /// `None` at the end of the file.
    fn read_block(&mut self) -> io::Result<Option<Step>> {
        let length = self.file.metadata()?.len();
        if length == self.offset {
            return Ok(None);
        }
        if length < self.offset || !self.is_as_it_was()? {
            self.begin(0);
            return Ok(Some(Step::Gap(GapKind::Truncated)));
        }
        let held = self.buffer.len();
        self.buffer.resize(held + BLOCK_BYTES, 0);
        let read = self.file.read_at(&mut self.buffer[held..], self.offset);
        let read = read.inspect_err(|_| self.buffer.truncate(held))?;
        self.buffer.truncate(held + read);
        if read == 0 {
            return Ok(None);
        }
        self.offset += read as u64;
        let from = self.buffer.len().saturating_sub(CHECK_BYTES);
        self.check.clear();
        self.check.extend_from_slice(&self.buffer[from..]);
        let end = self.buffer.iter().rposition(|byte| *byte == b'\n');
        self.whole = end.map_or(0, |at| at + 1);
        if self.skipping {
            let first = self.buffer.iter().position(|byte| *byte == b'\n');
            self.skipping = first.is_none();
            let dropped = first.map_or(self.buffer.len(), |at| at + 1);
            self.buffer.drain(..dropped);
            self.whole = self.whole.saturating_sub(dropped);
        } else if self.whole == 0 && self.buffer.len() > RECORD_BYTES_MAX {
            self.buffer.clear();
            self.skipping = true;
            return Ok(Some(Step::Gap(GapKind::Damaged)));
        }
        Ok(Some(Step::Lines))
    }

    /// Files cut off and written anew may be longer than before when we look.
    fn is_as_it_was(&self) -> io::Result<bool> {
        let mut bytes = [0; CHECK_BYTES];
        let bytes = &mut bytes[..self.check.len()];
        let from = self.offset - (bytes.len() as u64).min(self.offset);
        match self.file.read_exact_at(bytes, from) {
            Ok(()) => Ok(bytes == self.check),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Goes on with the file that followed this one.
    fn next_file(&mut self) -> io::Result<Step> {
        let torn = !self.buffer.is_empty();
        for number in 1..FILES_MAX {
            let metadata = match std::fs::metadata(numbered(&self.path, number)) {
                Ok(metadata) => metadata,
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            };
            if FileId::of(&metadata) != self.id {
                continue;
            }
            let next = match File::open(numbered(&self.path, number - 1)) {
                Ok(next) => next,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Step::Idle),
                Err(e) => return Err(e),
            };
            // A rotation between the two looks would make it the wrong one.
            let still = std::fs::metadata(numbered(&self.path, number))?;
            if FileId::of(&still) != self.id {
                return Ok(Step::Idle);
            }
            self.enter(next)?;
            return Ok(match torn {
                true => Step::Gap(GapKind::Damaged),
                false => Step::Lines,
            });
        }
        // It is gone, and maybe others after it: the oldest that is left goes on.
        let mut oldest = None;
        for number in 0..FILES_MAX {
            match File::open(numbered(&self.path, number)) {
                Ok(file) => oldest = Some(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            }
        }
        let Some(oldest) = oldest else {
            return Ok(Step::Idle);
        };
        self.enter(oldest)?;
        Ok(Step::Gap(GapKind::Rotated))
    }

    fn enter(&mut self, file: File) -> io::Result<()> {
        self.id = FileId::of(&file.metadata()?);
        self.file = file;
        self.begin(0);
        Ok(())
    }

    fn begin(&mut self, offset: u64) {
        self.offset = offset;
        self.check.clear();
        self.buffer.clear();
        self.whole = 0;
        self.skipping = false;
    }
}

/// `x`, `x.1`, `x.2` …
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Looks for anchors and a time from the end of the log.
struct Search {
    since: i64,
    anchors: [Option<Anchor>; 2],
    /// Each anchor's time as it is written in a file.
    sought: [Option<String>; 2],
    found: [bool; 2],
    is_done: bool,
}

impl Search {
    fn new(since: i64, anchors: [Option<Anchor>; 2]) -> Self {
        Search {
            since,
            anchors,
            sought: anchors.map(|a| a.map(|a| format!("\"time\":\"{}\"", stamp::short(a.at_ns)))),
            found: [false; 2],
            is_done: false,
        }
    }

    /// Goes through a file from its end, block by block, until everything is found; where to begin.
    fn backward(&mut self, file: &File) -> io::Result<u64> {
        let mut end = file.metadata()?.len();
        let mut block = Vec::new();
        while end > 0 && !self.is_done {
            let mut start = end.saturating_sub(BLOCK_BYTES as u64);
            block.resize((end - start) as usize, 0);
            file.read_exact_at(&mut block, start)?;
            // From a line's beginning on, unless one line is longer than the block.
            if start > 0
                && let Some(at) = memchr::memchr(b'\n', &block)
                && at + 1 < block.len()
            {
                block.drain(..=at);
                start += at as u64 + 1;
            }
            self.block(&block);
            end = start;
        }
        Ok(end)
    }

    fn block(&mut self, block: &[u8]) {
        for (at, stream) in Stream::ALL.into_iter().enumerate() {
            if let Some(stamp) = &self.sought[at] {
                self.found[at] |= has_record(block, stamp.as_bytes(), stream);
            }
        }
        let since = self.since;
        let first = block
            .split(|byte| *byte == b'\n')
            .find_map(json_record::parse);
        let is_before = first.is_some_and(|record| record.at_ns < since);
        self.is_done = is_before && self.has_all_from(since);
    }

    /// Whether all anchors from `since` on are found; an older one need not be.
    fn has_all_from(&self, since: i64) -> bool {
        let needed = |anchor: &Option<Anchor>| anchor.is_some_and(|a| a.at_ns >= since);
        self.anchors
            .iter()
            .zip(self.found)
            .all(|(anchor, found)| found || !needed(anchor))
    }
}

/// Whether a record of that stream has that timestamp.
fn has_record(block: &[u8], stamp: &[u8], stream: Stream) -> bool {
    memchr::memmem::find_iter(block, stamp).any(|at| {
        let start = memchr::memrchr(b'\n', &block[..at]).map_or(0, |end| end + 1);
        let end = memchr::memchr(b'\n', &block[at..]).map_or(block.len(), |end| at + end);
        json_record::parse(&block[start..end]).is_some_and(|record| record.stream == stream)
    })
}

#[cfg(test)]
mod tests;
