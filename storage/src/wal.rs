//! A write-ahead log: numbered segments of checksummed records.
//!
//! Each segment can be read without the ones before it (its users repeat their definitions
//! in every segment), so a segment goes as soon as what it holds is elsewhere, and damage in
//! one costs nothing in another. Bytes: `docs/formats/wal.md`.

mod segment;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
use self::segment::RECORD_HEADER_BYTES;
pub(crate) use self::segment::{FORMAT, RECORD_BYTES_MAX, VERSION, put_record};
use self::segment::{HEADER_BYTES, MAGIC, Record, SYNCED, Window, kind_number};
use crate::bytes::Malformed;
use crate::disk::{Disk, DiskFile, number_in, quarantine};
use crate::error::WriteError;
use crate::health::Watch;
use crate::telemetry::FileKind;

/// A segment of samples is closed once it is this long, and four times as long as its
/// definitions. It is also closed when what it holds goes to a block, so that shorter ones would
/// only repeat definitions and whole values more often.
const SAMPLES_SEGMENT_BYTES: u64 = 32 << 20;
/// The same for lines: larger segments keep covered ones on disk longer.
const LINES_SEGMENT_BYTES: u64 = 8 << 20;

/// The log of one kind of data.
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    dir: PathBuf,
    kind: FileKind,
    /// Oldest first; the last one is written to when `writable`.
    segments: Vec<Segment>,
    writable: bool,
    next_number: u64,
    /// Bytes of the open segment that every segment has to repeat.
    repeated_bytes: u64,
    buffer: Vec<u8>,
    /// A segment was removed, and that may not be durable yet.
    removed: bool,
    /// Numbers of segments that could not be read at the start, or not to their ends.
    unread: Vec<u64>,
}

struct Segment {
    number: u64,
    path: PathBuf,
    /// Kept open while it is written or not yet synced.
    file: Option<Arc<dyn DiskFile>>,
    bytes: u64,
    synced_bytes: u64,
    /// What the last [`SYNCED`] record in it says.
    told_synced_bytes: u64,
    /// A sync failed, and who asked for it has not heard of it yet.
    sync_lost: bool,
    mark: Mark,
}

/// When a record is no longer needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Once everything up to this point is elsewhere, see [`Wal::drop_below`],
    pub(crate) until: i64,
    /// and, when set, [`Wal::release`] was called for its segment.
    pub(crate) is_held: bool,
    /// It undoes what older segments say: it also stays as long as one is there that could not
    /// be read.
    pub(crate) undoes: bool,
}

impl Mark {
    /// Not needed beyond its neighbours.
    pub(crate) const NONE: Mark = Mark {
        until: i64::MIN,
        is_held: false,
        undoes: false,
    };

    fn and(self, other: Mark) -> Mark {
        Mark {
            until: self.until.max(other.until),
            is_held: self.is_held || other.is_held,
            undoes: self.undoes || other.undoes,
        }
    }
}

impl From<i64> for Mark {
    fn from(until: i64) -> Mark {
        Mark {
            until,
            ..Mark::NONE
        }
    }
}

/// What has to be synced; see [`Wal::unsynced`].
pub(crate) struct Unsynced {
    number: u64,
    bytes: u64,
    file: Arc<dyn DiskFile>,
    lost: bool,
}

impl Unsynced {
    /// Blocks until the disk has it.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        if self.lost {
            return Err(std::io::Error::other("an earlier sync failed"));
        }
        self.file.sync()
    }
}

impl Wal {
    /// Reads all segments in `dir` (made when absent), handing each whole record to `visit`
    /// as (segment number, type, payload) in the order of writing. `visit` answers with the
    /// record's mark, see [`Wal::append`].
    ///
    /// # Errors
    /// When the directory cannot be made or read. Damage inside is cut, counted and reported.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        watch: Arc<Watch>,
        dir: PathBuf,
        kind: FileKind,
        visit: &mut dyn FnMut(u64, u8, &[u8]) -> Result<Mark, Malformed>,
    ) -> std::io::Result<Wal> {
        disk.create_dir(&dir)?;
        let numbers = segment_numbers(disk.as_ref(), &dir)?;
        let mut wal = Wal {
            disk,
            watch,
            dir,
            kind,
            segments: Vec::new(),
            writable: false,
            next_number: numbers.last().map_or(1, |n| n + 1),
            repeated_bytes: 0,
            buffer: Vec::new(),
            // By the process before.
            removed: true,
            unread: Vec::new(),
        };
        for (i, number) in numbers.iter().enumerate() {
            let is_last = i + 1 == numbers.len();
            wal.replay(*number, is_last, visit)?;
        }
        Ok(wal)
    }

    /// The payload of the oldest record under `dir`, empty when it cannot be read, without
    /// replaying anything.
    pub(crate) fn first_payload(
        disk: &dyn Disk,
        dir: &Path,
        kind: FileKind,
    ) -> std::io::Result<Option<Vec<u8>>> {
        disk.create_dir(dir)?;
        for number in segment_numbers(disk, dir)? {
            let opened = disk.open(&segment_path(dir, number));
            let Ok((len, file)) = opened.and_then(|f| Ok((f.len()?, f))) else {
                return Ok(Some(Vec::new()));
            };
            let mut window = Window::new(file.as_ref(), len);
            if !window.header_holds(kind, number) || window.len == HEADER_BYTES as u64 {
                if window.other_version().is_some() {
                    return Ok(Some(Vec::new()));
                }
                continue;
            }
            return Ok(Some(match window.record(HEADER_BYTES as u64) {
                Record::Whole(_, payload, _) => payload.to_vec(),
                Record::Bad(_) => Vec::new(),
            }));
        }
        Ok(None)
    }

    /// Number of the newest segment that has a record, and type and payload of its first one,
    /// without replaying anything.
    pub(crate) fn newest_first_record(
        disk: &dyn Disk,
        dir: &Path,
        kind: FileKind,
    ) -> std::io::Result<Option<(u64, u8, Vec<u8>)>> {
        disk.create_dir(dir)?;
        for number in segment_numbers(disk, dir)?.into_iter().rev() {
            let opened = disk.open(&segment_path(dir, number));
            let Ok((len, file)) = opened.and_then(|f| Ok((f.len()?, f))) else {
                continue;
            };
            let mut window = Window::new(file.as_ref(), len);
            if !window.header_holds(kind, number) {
                continue;
            }
            let mut at = HEADER_BYTES as u64;
            while let Record::Whole(record_type, payload, next) = window.record(at) {
                if record_type != SYNCED {
                    return Ok(Some((number, record_type, payload.to_vec())));
                }
                at = next;
            }
        }
        Ok(None)
    }

    /// Payloads of the whole records of one type, oldest first, without replaying anything.
    pub(crate) fn payloads_of(
        disk: &dyn Disk,
        dir: &Path,
        kind: FileKind,
        wanted: u8,
    ) -> std::io::Result<Vec<Vec<u8>>> {
        let mut payloads = Vec::new();
        for number in segment_numbers(disk, dir)? {
            let file = disk.open(&segment_path(dir, number))?;
            let mut window = Window::new(file.as_ref(), file.len()?);
            if !window.header_holds(kind, number) {
                continue;
            }
            let mut at = HEADER_BYTES as u64;
            loop {
                at = match window.record(at) {
                    Record::Whole(record_type, payload, next) => {
                        if record_type == wanted {
                            payloads.push(payload.to_vec());
                        }
                        next
                    }
                    Record::Bad(Some(next)) => next,
                    Record::Bad(None) => break,
                };
            }
        }
        Ok(payloads)
    }

    /// Makes sure a segment is open, and gives its number.
    pub(crate) fn begin(&mut self) -> Result<u64, WriteError> {
        if self.writable
            && let Some(s) = self.segments.last()
            && s.bytes < segment_bytes(self.kind).max(4 * self.repeated_bytes)
        {
            return Ok(s.number);
        }
        // Nothing of a newer segment may be durable before all of the older ones: what is read
        // back must be a prefix of what was written.
        self.sync()?;
        let number = self.next_number;
        let path = segment_path(&self.dir, number);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&kind_number(self.kind).to_le_bytes());
        header.extend_from_slice(&number.to_le_bytes());
        let crc = crc32fast::hash(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        let made = self.disk.create(&path).and_then(|file| {
            file.write_at(&header, 0)?;
            file.sync()?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        });
        let file = made.map_err(|e| {
            // Best effort: an empty leftover is also removed at the next start.
            let _ = self.disk.remove(&path);
            WriteError::from_io("create", &path, e)
        })?;
        self.next_number += 1;
        self.segments.push(Segment {
            number,
            path,
            file: Some(file),
            bytes: HEADER_BYTES as u64,
            synced_bytes: HEADER_BYTES as u64,
            told_synced_bytes: HEADER_BYTES as u64,
            sync_lost: false,
            mark: Mark::NONE,
        });
        self.writable = true;
        self.repeated_bytes = 0;
        Ok(number)
    }

    /// Appends one record to the segment of the last [`Wal::begin`]. `mark` is the point from
    /// which on the record is no longer needed: see [`Wal::drop_below`].
    ///
    /// # Errors
    /// When the disk refuses; what a short write left is cut off or overwritten.
    pub(crate) fn append(
        &mut self,
        record_type: u8,
        payload: &[u8],
        mark: impl Into<Mark>,
    ) -> Result<(), WriteError> {
        if payload.len() > RECORD_BYTES_MAX {
            return Err(WriteError::BatchTooLarge {
                bytes: payload.len(),
                bytes_max: RECORD_BYTES_MAX,
            });
        }
        self.begin()?;
        let Some(segment) = self.segments.last_mut() else {
            return Ok(());
        };
        let Some(file) = &segment.file else {
            return Ok(());
        };
        self.buffer.clear();
        let synced = segment.synced_bytes;
        if synced > segment.told_synced_bytes {
            put_record(&mut self.buffer, SYNCED, &synced.to_le_bytes());
        }
        put_record(&mut self.buffer, record_type, payload);
        if let Err(e) = file.write_at(&self.buffer, segment.bytes) {
            // Should this fail too, the next record overwrites the rest, and what then
            // sticks out behind it fails its checksum.
            let _ = file.set_len(segment.bytes);
            return Err(WriteError::from_io("write", &segment.path, e));
        }
        segment.bytes += self.buffer.len() as u64;
        segment.told_synced_bytes = synced;
        segment.mark = segment.mark.and(mark.into());
        // One large batch must not stay in memory for good.
        self.buffer.shrink_to(1 << 20);
        Ok(())
    }

    /// Says that `bytes` of the open segment are definitions, which the next one repeats: a
    /// segment grows until they are a quarter of it at most.
    pub(crate) fn repeats(&mut self, bytes: usize) {
        self.repeated_bytes += bytes as u64;
    }

    /// What was written and not yet synced; sync it without holding a lock on the log, then
    /// tell [`Wal::synced`] or [`Wal::sync_failed`].
    pub(crate) fn unsynced(&self) -> Vec<Unsynced> {
        self.segments
            .iter()
            .filter(|s| s.synced_bytes < s.bytes || s.sync_lost)
            .filter_map(|s| {
                Some(Unsynced {
                    number: s.number,
                    bytes: s.bytes,
                    file: Arc::clone(s.file.as_ref()?),
                    lost: s.sync_lost,
                })
            })
            .collect()
    }

    /// Syncs what was written while the caller holds the log.
    ///
    /// # Errors
    /// When the disk refuses. The system may say yes the next time without having written
    /// anything, so the next regular sync is made to fail too: it deals with it.
    pub(crate) fn sync(&mut self) -> Result<(), WriteError> {
        for part in self.unsynced() {
            if let Err(e) = part.sync() {
                let of_part = |s: &&mut Segment| s.number == part.number;
                if let Some(s) = self.segments.iter_mut().find(of_part) {
                    s.sync_lost = true;
                }
                return Err(WriteError::from_io("sync", &self.dir, e));
            }
            self.synced(&part);
        }
        Ok(())
    }

    /// `part` is durable.
    pub(crate) fn synced(&mut self, part: &Unsynced) {
        let last = self.segments.last().map(|s| s.number);
        if let Some(s) = self.segments.iter_mut().find(|s| s.number == part.number) {
            // Two syncs at a time: the system tells only one of them that it failed.
            if s.sync_lost {
                return;
            }
            s.synced_bytes = s.synced_bytes.max(part.bytes);
            if s.synced_bytes == s.bytes && last != Some(s.number) {
                s.file = None;
            }
        }
    }

    /// `part` could not be synced. The kernel may have dropped its pages, and a second sync
    /// may then succeed without having written them: the segment is not written to again.
    pub(crate) fn sync_failed(&mut self, part: &Unsynced) -> WriteError {
        let mut path = self.dir.clone();
        if let Some(s) = self.segments.iter_mut().find(|s| s.number == part.number) {
            s.synced_bytes = s.bytes;
            s.sync_lost = false;
            path.clone_from(&s.path);
        }
        self.close_segment();
        let e = std::io::Error::other("sync failed");
        WriteError::from_io("sync", path, e)
    }

    /// Bytes of all segments, to be replayed at the next start.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Each segment and how much of it is written.
    pub(crate) fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.segments.iter().map(|s| (s.path.clone(), s.bytes));
        files.collect()
    }

    /// Forgets segments whose files somebody else has removed, and returns whether there were any.
    /// What was in them is in memory and nowhere else then, and the next segment is a new one.
    pub(crate) fn drop_vanished(&mut self) -> bool {
        // The directory may be gone with them.
        let made = self.disk.create_dir(&self.dir);
        let there = made.and_then(|()| segment_numbers(self.disk.as_ref(), &self.dir));
        let Ok(there) = there else {
            return false;
        };
        let before = self.segments.len();
        let watch = &self.watch;
        self.segments.retain(|s| {
            let is_there = there.binary_search(&s.number).is_ok();
            if !is_there {
                watch.vanished(&s.path);
            }
            is_there
        });
        let any = self.segments.len() < before;
        if any {
            self.close_segment();
        }
        any
    }

    /// The next record starts a new segment.
    pub(crate) fn close_segment(&mut self) {
        self.writable = false;
    }

    /// What held records up to segment `number` is elsewhere.
    pub(crate) fn release(&mut self, number: u64) {
        for s in self.segments.iter_mut().filter(|s| s.number <= number) {
            s.mark.is_held = false;
        }
    }

    /// How many segments there are, without those that wait for one that could not be read.
    pub(crate) fn segments(&self) -> usize {
        let segments = self.segments.iter();
        segments.filter(|s| !self.waits_for_unread(s)).count()
    }

    /// Numbers of segments that could not be read at the start. They stay where they are.
    pub(crate) fn unread(&self) -> &[u64] {
        &self.unread
    }

    /// Whether there is a segment of this number, read or not.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.unread.contains(&number) || self.segments.iter().any(|s| s.number == number)
    }

    /// Number of the oldest segment, read or not.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let read = self.segments.iter().map(|s| s.number);
        read.chain(self.unread.iter().copied()).min()
    }

    fn waits_for_unread(&self, segment: &Segment) -> bool {
        segment.mark.undoes && self.unread.iter().any(|n| *n < segment.number)
    }

    /// Number of the newest segment; 0 when there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.segments.last().map_or(0, |s| s.number)
    }

    /// Removes closed segments all of whose records have marks below `mark`.
    pub(crate) fn drop_below(&mut self, mark: i64) {
        let open = self
            .segments
            .last()
            .filter(|_| self.writable)
            .map(|s| s.number);
        // One by one: after a power cut an older one must not be there when a newer one, which
        // may say that its samples were deleted, is gone.
        while let Some(at) = self.segments.iter().position(|s| {
            let is_needed = s.mark.until >= mark || s.mark.is_held || self.waits_for_unread(s);
            !is_needed && Some(s.number) != open
        }) {
            if !self.settle_removal() {
                return;
            }
            let path = &self.segments[at].path;
            if let Err(error) = self.disk.remove(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove a segment");
                return;
            }
            self.removed = true;
            self.segments.remove(at);
        }
        self.settle_removal();
    }

    /// Makes the last removal durable.
    fn settle_removal(&mut self) -> bool {
        if self.removed
            && let Err(error) = self.disk.sync_dir(&self.dir)
        {
            tracing::warn!(path = %self.dir.display(), %error, "cannot sync a directory");
            return false;
        }
        self.removed = false;
        true
    }

    fn replay(
        &mut self,
        number: u64,
        is_last: bool,
        visit: &mut dyn FnMut(u64, u8, &[u8]) -> Result<Mark, Malformed>,
    ) -> std::io::Result<()> {
        let path = segment_path(&self.dir, number);
        let opened = self.disk.open(&path).and_then(|f| Ok((f.len()?, f)));
        let (len, file) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.pass_over(number, &path, &e);
                return Ok(());
            }
        };
        let mut window = Window::new(file.as_ref(), len);
        if !window.header_holds(self.kind, number) {
            if let Some(e) = window.error.take() {
                self.pass_over(number, &path, &e);
                return Ok(());
            }
            if let Some(version) = window.other_version() {
                self.watch.other_format("log segments", version, &path);
                self.unread.push(number);
                return Ok(());
            }
            if len <= HEADER_BYTES as u64 {
                // Made right before a crash: it never held a record.
                self.watch.torn(self.kind, &path, len);
                return self.disk.remove(&path);
            }
            self.watch.corrupt(self.kind, &path, "header");
            quarantine(self.disk.as_ref(), &path);
            return Ok(());
        }
        // A killed process may have left it in the page cache only, and what is read here may
        // become a block, which is durable at once. A failure is met again at the next sync.
        // Older ones were synced before this one was made: however many there are, a start
        // waits for the disk once.
        let synced = !is_last || file.sync().is_ok();
        let mut segment = Segment {
            number,
            path,
            file: (!synced).then(|| Arc::clone(&file)),
            bytes: len,
            synced_bytes: if synced { len } else { 0 },
            told_synced_bytes: 0,
            sync_lost: !synced,
            mark: Mark::NONE,
        };
        let mut at = HEADER_BYTES as u64;
        while at < len {
            match window.record(at) {
                Record::Whole(SYNCED, _, next) => at = next,
                Record::Whole(record_type, payload, next) => {
                    match visit(number, record_type, payload) {
                        Ok(mark) => segment.mark = segment.mark.and(mark),
                        Err(Malformed) => self.watch.corrupt(
                            self.kind,
                            &segment.path,
                            format_args!("record at byte {at}"),
                        ),
                    }
                    at = next;
                }
                Record::Bad(next) => {
                    // One damaged record among good ones costs only itself, if it had ever
                    // reached the disk. Of what was not synced at a power cut, any part may
                    // be there: behind the first gap nothing may be believed, or a batch
                    // would come back without the series that the lost one defined.
                    let next = window.synced_behind(at).map(|synced| {
                        // Its length may be damaged too.
                        let next = next.filter(|n| *n <= synced);
                        let next = next.filter(|n| {
                            *n == synced || matches!(window.record(*n), Record::Whole(..))
                        });
                        next.unwrap_or(synced)
                    });
                    if let Some(e) = window.error.take() {
                        self.pass_over(number, &segment.path, &e);
                        return Ok(());
                    }
                    if let Some(next) = next {
                        let what = format_args!("{} bytes from byte {at} on", next - at);
                        self.watch.corrupt(self.kind, &segment.path, what);
                        at = next;
                        continue;
                    }
                    if is_last {
                        self.watch.torn(self.kind, &segment.path, len - at);
                        // When this fails the tail is found again at the next start.
                        if file.set_len(at).is_ok() {
                            segment.bytes = at;
                            segment.synced_bytes = segment.synced_bytes.min(at);
                        }
                    } else {
                        let what = format_args!("{} bytes from byte {at} on", len - at);
                        self.watch.corrupt(self.kind, &segment.path, what);
                    }
                    break;
                }
            }
        }
        self.segments.push(segment);
        Ok(())
    }

    /// A segment is left as it is: it may be readable the next time.
    fn pass_over(&mut self, number: u64, path: &Path, error: &std::io::Error) {
        self.watch.unreadable(self.kind, path, error);
        self.unread.push(number);
    }
}

fn segment_bytes(kind: FileKind) -> u64 {
    match kind {
        FileKind::MetricWal => SAMPLES_SEGMENT_BYTES,
        _ => LINES_SEGMENT_BYTES,
    }
}

fn segment_numbers(disk: &dyn Disk, dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk
        .list(dir)?
        .iter()
        .filter(|e| e.name.ends_with(".wal"))
        .filter_map(|e| number_in(&e.name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.wal"))
}
