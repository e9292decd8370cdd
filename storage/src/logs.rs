//! Log lines: write-ahead log, lines in memory per stream, compressed frames in day files, which
//! are packed anew once their day is over.

mod file;
mod files;
mod frame;
mod frame_read;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod known;
mod merge;
mod pack;
#[cfg(test)]
mod pack_tests;
mod replay;
mod scan;
#[cfg(test)]
mod skim_tests;
mod slices;
mod state;
#[cfg(test)]
mod tests;
mod tokens;
mod wal_record;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use model::{Labels, LogEntry, LogPiece, LogSelection, Matcher, ReadError, Timestamp};
use scrub::LogBatch;
use zstd::bulk::Compressor;

use self::file::{FILE_BYTES, FrameFile, FrameRef, HEADER_BYTES};
pub(crate) use self::file::{FORMAT as FILE_FORMAT, day_name};
pub use self::files::{LogFiles, read_log_files};
use self::frame::{FrameBuilder, Header, Line, ZSTD_LEVEL};
use self::known::Known;
use self::merge::{Sources, Window};
use self::pack::Packer;
use self::replay::{Replay, open_files};
use self::scan::{Pending, Workers};
use self::state::{Cut, IndexedFile, PUSHED_STREAMS_MAX, STREAMS_MAX, State};
use self::wal_record::FORGET;
use crate::disk::Disk;
use crate::error::WriteError;
use crate::health::Watch;
use crate::retention::{Piece, PieceKind};
use crate::telemetry::FileKind;
use crate::wal::{Unsynced, Wal};

/// Files of another format hold fewer lines: those of this start get numbers beyond theirs, or they
/// would pass for the same ones once the files can be read.
const UNREAD_SEQS_MAX: u64 = 1 << 40;

/// Lines stay in memory at most this long. Longer means fewer, better compressed frames and
/// a longer write-ahead log to replay.
const LINE_AGE_MAX_MS: i64 = 3600 * 1000;
/// As [`LINE_AGE_MAX_MS`] while half of the places for streams are taken, so that they become free.
const CROWDED_AGE_MAX_MS: i64 = 300 * 1000;
/// A write-ahead log longer than this many times the lines' memory makes every stream a frame,
/// however little it has: one quiet stream would otherwise keep all that a loud one has written
/// since, and a start would replay it.
const WAL_PER_HEAD: u64 = 8;
/// Bytes of frames written at once, about.
const WRITE_BYTES: usize = 1 << 20;

/// Is handed every accepted batch in the order of acceptance, on the thread that stores it, so it
/// must be quick; breaks when it wants no more.
pub type LogWatcher = dyn Fn(&LogBatch) -> ControlFlow<()> + Send + Sync;

/// The log half of the store.
pub(crate) struct LogStore {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    dir: PathBuf,
    head_bytes_max: usize,
    state: Mutex<State>,
    /// One push of lines that may have come before; taken before `state`.
    pushing: Mutex<()>,
    watchers: Mutex<Vec<Box<LogWatcher>>>,
    /// One cut at a time; taken before `state`.
    cutter: Mutex<Cutter>,
    /// Taken before `cutter`.
    packer: Mutex<Packer>,
    /// Threads that read ahead of queries.
    workers: Workers,
}

struct Cutter {
    next_number: u64,
    /// A sync failed: until all lines are in frames, some may be nowhere durable.
    distrust: bool,
}

/// Frames that go to the end of one file together.
struct Frames {
    file: Arc<FrameFile>,
    offset: u64,
    bytes: Vec<u8>,
    /// Each with the number of its lines.
    frames: Vec<(FrameRef, usize)>,
}

impl Frames {
    fn new(file: Arc<FrameFile>, offset: u64) -> Frames {
        Frames {
            file,
            offset,
            bytes: Vec::new(),
            frames: Vec::new(),
        }
    }

    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Whether a frame of `day` may be added.
    fn has_room(&self, day: i64) -> bool {
        let is_small = self.bytes.len() < WRITE_BYTES && self.end() < FILE_BYTES;
        is_small && self.file.day == day
    }
}

impl LogStore {
    /// Reads the index of all frames under `dir` and replays what is not in one.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        watch: Arc<Watch>,
        dir: &Path,
        head_bytes_max: u64,
    ) -> io::Result<LogStore> {
        disk.create_dir(dir)?;
        let wal_dir = dir.join("wal");
        let oldest = Wal::first_payload(disk.as_ref(), &wal_dir, FileKind::LogWal)?;
        // Without a readable start of the log everything is checked.
        let verify_from = match &oldest {
            None => u64::MAX,
            Some(payload) => wal_record::decode_positions(payload).map_or(0, |(seq, _)| seq),
        };
        let mut replay = Replay::default();
        let (files, next_number) =
            open_files(disk.as_ref(), &watch, dir, verify_from, &mut replay)?;
        let wal = Wal::open(
            Arc::clone(&disk),
            Arc::clone(&watch),
            wal_dir,
            FileKind::LogWal,
            &mut |segment, record_type, payload| {
                let mark = replay.record(segment, record_type, payload)?;
                Ok(mark.into())
            },
        )?;
        if watch.met_other_formats() {
            replay.next_seq = replay.next_seq.saturating_add(UNREAD_SEQS_MAX);
        }
        watch.telemetry.log_lines.inc_by(replay.lines);
        let head_bytes = state::head_bytes(&replay.streams);
        let store = LogStore {
            disk,
            watch,
            dir: dir.to_owned(),
            head_bytes_max: head_bytes_max as usize,
            state: Mutex::new(State {
                wal,
                segment: 0,
                starts: replay.starts,
                next_stream: 0,
                payload: Vec::new(),
                next_seq: replay.next_seq,
                positions: replay.positions,
                streams: replay.streams,
                head_bytes,
                files,
                known: Known::default(),
            }),
            pushing: Mutex::new(()),
            watchers: Mutex::default(),
            cutter: Mutex::new(Cutter {
                next_number,
                distrust: false,
            }),
            packer: Mutex::default(),
            workers: Workers::default(),
        };
        store.lock().survey();
        Ok(store)
    }

    /// See [`crate::Storage::append_logs`].
    pub(crate) fn append(&self, batch: &LogBatch) -> Result<(), WriteError> {
        self.append_within(batch, STREAMS_MAX)
    }

    fn append_within(&self, batch: &LogBatch, streams_max: usize) -> Result<(), WriteError> {
        let mut state = self.lock();
        if state.head_bytes > 2 * self.head_bytes_max {
            let bytes = state.head_bytes as u64;
            return Err(WriteError::LogsWaiting { bytes });
        }
        let appended = state.append(batch, streams_max);
        let over = state.head_bytes > self.head_bytes_max;
        if appended.is_ok() {
            // Before the next batch is accepted, which would be told first.
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            watchers.retain(|watcher| watcher(batch).is_continue());
        }
        drop(state);
        if let Err(e) = appended {
            // A sender of too many is told; everybody else is served.
            if streams_max == STREAMS_MAX || !e.is_of_sender() {
                self.watch.write_failed("logs log", FileKind::LogWal, &e);
            }
            return Err(e);
        }
        self.watch.solved("logs log");
        let telemetry = &self.watch.telemetry;
        telemetry.log_lines.inc_by(batch.entries.len() as u64);
        let text: usize = batch.entries.iter().map(|e| e.line.as_str().len()).sum();
        telemetry.log_raw_bytes.inc_by(text as u64);
        if over {
            // The batch is accepted; a failure shows in health.
            let _ = self.sync();
        }
        Ok(())
    }

    /// See [`crate::Storage::append_logs_once`].
    pub(crate) fn append_once<'b>(
        &self,
        batch: &'b LogBatch,
    ) -> Result<Cow<'b, LogBatch>, WriteError> {
        let _alone = self.pushing.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = self.lock().fresh(batch);
        if !fresh.entries.is_empty() {
            self.append_within(&fresh, PUSHED_STREAMS_MAX)?;
        }
        Ok(fresh)
    }

    /// See [`crate::Storage::watch_logs`].
    pub(crate) fn watch(&self, watcher: Box<LogWatcher>) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.push(watcher);
    }

    /// See [`crate::Storage::log_position`].
    pub(crate) fn position(&self, source: &str) -> Option<Vec<u8>> {
        self.lock().positions.get(source).cloned()
    }

    /// See [`crate::Storage::log_sources`].
    pub(crate) fn sources(&self) -> Vec<String> {
        self.lock().positions.keys().cloned().collect()
    }

    /// See [`crate::Storage::forget_log_position`].
    pub(crate) fn forget(&self, source: &str) {
        let mut state = self.lock();
        if state.positions.remove(source).is_none() {
            return;
        }
        let mark = state.last_mark();
        let written = state
            .ready_segment()
            .and_then(|_| state.wal.append(FORGET, source.as_bytes(), mark));
        drop(state);
        if let Err(e) = written {
            // The position comes back after a restart and is forgotten again then.
            self.watch.write_failed("logs log", FileKind::LogWal, &e);
        }
    }

    /// Makes everything accepted durable, then moves full frames out of memory.
    pub(crate) fn sync(&self) -> Result<(), WriteError> {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = self.sync_and_cut(&mut cutter, Cut::Full);
        if cutter.distrust {
            return synced.and(Err(WriteError::sync_before(&self.dir)));
        }
        // What could not be synced is in frames now.
        Ok(())
    }

    fn sync_and_cut(&self, cutter: &mut Cutter, which: Cut) -> Result<(), WriteError> {
        let synced = self.sync_wal();
        cutter.distrust |= synced.is_err();
        let which = if cutter.distrust { Cut::All } else { which };
        if self.cut(cutter, &which) && cutter.distrust {
            cutter.distrust = false;
            self.watch.solved("logs sync");
        }
        synced
    }

    fn sync_wal(&self) -> Result<(), WriteError> {
        let parts: Vec<Unsynced> = self.lock().wal.unsynced();
        let mut result = Ok(());
        for part in parts {
            match part.sync() {
                Ok(()) => self.lock().wal.synced(&part),
                Err(_) => {
                    let error = self.lock().wal.sync_failed(&part);
                    self.watch
                        .write_failed("logs sync", FileKind::LogWal, &error);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Moves old lines out of memory, drops what the write-ahead log no longer needs.
    pub(crate) fn maintain(&self, now: Timestamp) {
        let now_ms = now.millis();
        {
            let mut state = self.lock();
            for stream in state.streams.values_mut() {
                stream.seen_ms.get_or_insert(now_ms);
            }
        }
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let (wal_bytes, streams) = {
            let state = self.lock();
            (state.wal.bytes(), state.streams.len())
        };
        let due = if wal_bytes > WAL_PER_HEAD * self.head_bytes_max as u64 {
            Cut::All
        } else if streams > STREAMS_MAX / 2 {
            Cut::SeenBefore(now_ms.saturating_sub(CROWDED_AGE_MAX_MS))
        } else {
            Cut::SeenBefore(now_ms.saturating_sub(LINE_AGE_MAX_MS))
        };
        // A failure is in health and is retried.
        let _ = self.sync_and_cut(&mut cutter, due);
        drop(cutter);
        self.pack(now);
        let mut state = self.lock();
        state.survey();
        let head_bytes = state.head_bytes as i64;
        self.watch.telemetry.log_head_bytes.set(head_bytes);
    }

    /// Cuts frames, and returns whether all went well. The lines stay readable throughout.
    fn cut(&self, cutter: &mut Cutter, which: &Cut) -> bool {
        let chosen = self.lock().choose(which, self.head_bytes_max);
        if chosen.is_empty() {
            return true;
        }
        if let Err(error) = self.write_frames(cutter, &chosen) {
            self.watch
                .write_failed("logs frames", FileKind::Frames, &error);
            return false;
        }
        self.watch.solved("logs frames");
        let mut state = self.lock();
        if let Err(error) = state.drop_covered() {
            drop(state);
            self.watch
                .write_failed("logs log", FileKind::LogWal, &error);
        }
        true
    }

    /// Makes frames of all lines of `chosen`; each is durable before its lines leave memory.
    fn write_frames(
        &self,
        cutter: &mut Cutter,
        chosen: &[(Labels, Vec<Arc<Line>>)],
    ) -> Result<(), WriteError> {
        let failed = |e| WriteError::from_io("compress lines for", &self.dir, e);
        let mut zstd = Compressor::new(ZSTD_LEVEL).map_err(failed)?;
        let mut builder = FrameBuilder::default();
        let mut unwritten: Option<Frames> = None;
        for (labels, lines) in chosen {
            let mut rest = &lines[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(frame::frame_len(rest));
                rest = later;
                for line in now {
                    let entry = &line.entry;
                    builder.push(
                        line.seq,
                        entry.at_ns,
                        &entry.metadata,
                        entry.line.as_bytes(),
                    );
                }
                let day = file::day_of(builder.max_ns());
                let mut frames = match unwritten.take() {
                    Some(frames) if frames.has_room(day) => frames,
                    full => {
                        self.write(full)?;
                        let (file, offset) = self.file_for(cutter, day)?;
                        Frames::new(file, offset)
                    }
                };
                let (offset, begin) = (frames.end() as u32, frames.bytes.len());
                let made = builder.finish(labels, &mut zstd, &mut frames.bytes);
                made.map_err(failed)?;
                let Ok(header) = Header::decode(&frames.bytes[begin..]) else {
                    let e = io::Error::other("a frame cannot be read back");
                    return Err(failed(e));
                };
                let frame = FrameRef::new(&header, labels.clone(), offset);
                frames.frames.push((frame, now.len()));
                unwritten = Some(frames);
            }
        }
        self.write(unwritten)
    }

    /// Writes frames with one sync for all of them, then takes their lines out of memory.
    fn write(&self, frames: Option<Frames>) -> Result<(), WriteError> {
        let Some(Frames {
            file,
            offset,
            bytes,
            frames,
        }) = frames
        else {
            return Ok(());
        };
        let written = file
            .file
            .write_at(&bytes, offset)
            .and_then(|()| file.file.sync());
        if let Err(e) = written {
            let _ = file.file.set_len(offset);
            return Err(WriteError::from_io("write", &file.path, e));
        }
        let mut state = self.lock();
        for (frame, lines) in frames {
            state.publish(&file, frame, lines);
        }
        Ok(())
    }

    /// The file to append frames of `day` to, and where.
    fn file_for(&self, cutter: &mut Cutter, day: i64) -> Result<(Arc<FrameFile>, u64), WriteError> {
        let state = self.lock();
        let is_open = |f: &&IndexedFile| {
            let is_closed = f.is_closed || f.file.is_packed || f.bytes >= FILE_BYTES;
            f.file.day == day && !is_closed
        };
        if let Some(f) = state.files.iter().rev().find(is_open) {
            return Ok((Arc::clone(&f.file), f.bytes));
        }
        drop(state);
        let path = file::file_path(&self.dir, day, cutter.next_number);
        cutter.next_number += 1;
        let made = || {
            let day_dir = path.parent().unwrap_or(&self.dir);
            self.disk.create_dir(day_dir)?;
            let file = self.disk.create(&path)?;
            file.write_at(&file::file_header(false), 0)?;
            file.sync()?;
            self.disk.sync_dir(day_dir)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        let file = made().map_err(|e| {
            let _ = self.disk.remove(&path);
            WriteError::from_io("create", &path, e)
        })?;
        let file = Arc::new(FrameFile {
            path,
            file,
            day,
            is_packed: false,
        });
        self.lock().files.push(IndexedFile {
            file: Arc::clone(&file),
            bytes: HEADER_BYTES,
            frames: Vec::new(),
            last_seq: 0,
            is_closed: false,
        });
        Ok((file, HEADER_BYTES))
    }

    /// See [`model::LogReader::read`].
    pub(crate) fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let window = Window {
            start_ns: selection.start_ns,
            end_ns: selection.end_ns,
            direction: selection.direction,
        };
        let sources = self.lines_in(selection.matchers, &window);
        let (watch, workers) = (&self.watch, &self.workers);
        slices::visit(watch, workers, window, selection.skim, sources, visit)
    }

    /// The lines in memory, and the frames that may have to be read.
    fn lines_in(&self, matchers: &[Matcher], window: &Window) -> Sources {
        let state = self.lock();
        let matches = |l: &Labels| matchers.iter().all(|m| m.matches_labels(l));
        let heads = state
            .streams
            .iter()
            .filter(|(labels, _)| matches(labels))
            .map(|(labels, s)| {
                let inside = |l: &&Arc<Line>| window.contains(l.entry.at_ns);
                let lines = s.lines.iter().filter(inside).cloned().collect();
                (labels.clone(), lines)
            })
            .collect();
        let mut known: HashMap<&Labels, bool, RandomState> = HashMap::default();
        let mut frames = Vec::new();
        for f in &state.files {
            for frame in &f.frames {
                if frame.is_within(window.start_ns, window.end_ns)
                    && *known
                        .entry(&frame.labels)
                        .or_insert_with(|| matches(&frame.labels))
                {
                    frames.push(Pending {
                        file: Arc::clone(&f.file),
                        frame: frame.clone(),
                        touches: false,
                    });
                }
            }
        }
        Sources { heads, frames }
    }

    /// See [`model::LogReader::sizes`]. Frames are not read: their index knows enough.
    pub(crate) fn sizes(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, LogPiece),
    ) {
        let state = self.lock();
        let matches = |l: &Labels| selection.matchers.iter().all(|m| m.matches_labels(l));
        let window = selection.start_ns..selection.end_ns;
        for (labels, stream) in state.streams.iter().filter(|(l, _)| matches(l)) {
            for line in stream
                .lines
                .iter()
                .filter(|l| window.contains(&l.entry.at_ns))
            {
                visit(labels, LogPiece::of(&line.entry));
            }
        }
        let mut known: HashMap<&Labels, bool, RandomState> = HashMap::default();
        for frame in state.files.iter().flat_map(|f| &f.frames) {
            if frame.is_within(window.start, window.end)
                && *known
                    .entry(&frame.labels)
                    .or_insert_with(|| matches(&frame.labels))
            {
                let piece = LogPiece {
                    min_ns: frame.min_ns,
                    max_ns: frame.max_ns,
                    lines: frame.lines.into(),
                    bytes: frame.raw_bytes.into(),
                };
                visit(&frame.labels, piece);
            }
        }
    }

    /// See [`model::LogReader::streams`].
    pub(crate) fn streams(&self, sets: &[Vec<Matcher>], start_ns: i64, end_ns: i64) -> Vec<Labels> {
        let state = self.lock();
        let mut found: HashSet<&Labels, RandomState> = HashSet::default();
        for (labels, s) in &state.streams {
            let inside = |l: &Arc<Line>| (start_ns..end_ns).contains(&l.entry.at_ns);
            if s.lines.iter().any(inside) {
                found.insert(labels);
            }
        }
        for frame in state.files.iter().flat_map(|f| &f.frames) {
            if frame.is_within(start_ns, end_ns) {
                found.insert(&frame.labels);
            }
        }
        found.retain(|l| {
            sets.is_empty()
                || sets
                    .iter()
                    .any(|set| set.iter().all(|m| m.matches_labels(l)))
        });
        let mut found: Vec<Labels> = found.into_iter().cloned().collect();
        found.sort_unstable();
        found
    }

    /// What retention may choose from: files of past days, and full ones.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let state = self.lock();
        let newest = state.files.iter().map(|f| f.file.day).max();
        let closed = |f: &&IndexedFile| {
            Some(f.file.day) != newest || f.bytes >= FILE_BYTES || f.file.is_packed
        };
        let pieces = state.files.iter().filter(closed).map(|f| {
            let end_ns = f.frames.iter().map(|r| r.max_ns).max();
            Piece {
                kind: PieceKind::Frames,
                keep: None,
                path: f.file.path.clone(),
                bytes: f.bytes,
                // A file without frames tells its day by its directory.
                end_ms: end_ns.map_or(f.file.day.saturating_mul(86_400_000), |ns| {
                    (ns / 1_000_000).saturating_add(1)
                }),
            }
        });
        pieces.collect()
    }

    /// Removes the file with this path, and its directory when that was the last one.
    pub(crate) fn remove(&self, path: &Path) {
        // Nobody is about to append to it.
        let _cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut state = self.lock();
            state.files.retain(|f| f.file.path != path);
            // Else a replay would bring back what the log still has.
            state.wal.close_segment();
            if let Err(error) = state.drop_covered() {
                tracing::warn!(%error, "cannot start a new segment");
            }
        }
        let day_dir = path.parent().unwrap_or(&self.dir);
        if let Err(error) = self.disk.remove(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file");
            return;
        }
        let is_empty = self.disk.list(day_dir).is_ok_and(|e| e.is_empty());
        let synced = match is_empty {
            true => self
                .disk
                .remove_dir(day_dir)
                .and_then(|()| self.disk.sync_dir(&self.dir)),
            false => self.disk.sync_dir(day_dir),
        };
        if let Err(error) = synced {
            tracing::warn!(path = %path.display(), %error, "cannot sync a directory");
        }
    }

    /// As `MetricStore::drop_vanished`, of files of frames.
    pub(crate) fn drop_vanished(&self) {
        let mut cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        cutter.distrust |= state.wal.drop_vanished();
        // The names in each directory, unless it cannot be read.
        let mut there: HashMap<PathBuf, Option<HashSet<PathBuf>>> = HashMap::new();
        state.files.retain(|f| {
            let path = &f.file.path;
            let dir = path.parent().unwrap_or(&self.dir);
            let names = there
                .entry(dir.to_owned())
                .or_insert_with(|| match self.disk.list(dir) {
                    Ok(entries) => Some(entries.iter().map(|e| dir.join(&e.name)).collect()),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Some(HashSet::new()),
                    Err(_) => None,
                });
            let is_there = names.as_ref().is_none_or(|names| names.contains(path));
            if !is_there {
                self.watch.vanished(path);
            }
            is_there
        });
    }

    /// Hands the files as they are to `visit`, while no frame is written and none goes. Files of
    /// past days hardly ever grow, and what is in them stays; that of today is copied.
    pub(crate) fn freeze(
        &self,
        visit: &mut crate::backup::Freeze<'_>,
    ) -> Result<(), crate::backup::BackupError> {
        let _cutter = self.cutter.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.lock();
        let newest = state.files.iter().map(|f| f.file.day).max();
        let frames = state.files.iter().map(|f| crate::backup::Frozen {
            path: f.file.path.clone(),
            bytes: Some(f.bytes),
            immutable: Some(f.file.day) != newest || f.bytes >= FILE_BYTES || f.file.is_packed,
        });
        let wal = state.wal.files().into_iter();
        let wal = wal.map(|(path, bytes)| crate::backup::Frozen {
            path,
            bytes: Some(bytes),
            immutable: false,
        });
        let files: Vec<_> = frames.chain(wal).collect();
        drop(state);
        visit(&files)
    }

    /// Bytes in memory, streams, frames.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        let state = self.lock();
        let frames = || state.files.iter().flat_map(|f| &f.frames);
        let mut streams: HashSet<&Labels, RandomState> = frames().map(|f| &f.labels).collect();
        streams.extend(state.streams.keys());
        (
            state.head_bytes as u64,
            streams.len() as u64,
            frames().count() as u64,
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
