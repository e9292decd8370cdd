//! Log lines: write-ahead log, lines in memory per stream, compressed frames in day files.

mod file;
mod frame;
mod merge;
#[cfg(test)]
mod tests;
mod wal_record;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use model::{Labels, LogEntry, LogSelection, Matcher, ReadError, Timestamp};
use scrub::LogBatch;

use self::file::{FILE_BYTES, FrameFile, FrameRef, HEADER_BYTES};
use self::frame::{FRAME_TEXT_BYTES, Header, Line};
use self::merge::{Pending, Window};
use self::wal_record::{FORGET, LINES, LinesRecord, POSITIONS};
use crate::bytes::Malformed;
use crate::disk::{Disk, quarantine};
use crate::error::WriteError;
use crate::health::Watch;
use crate::retention::{Piece, PieceKind};
use crate::telemetry::FileKind;
use crate::wal::{Unsynced, Wal};

/// Lines stay in memory at most this long. Longer means fewer, better compressed frames and
/// a longer write-ahead log to replay.
const LINE_AGE_MAX_MS: i64 = 3600 * 1000;
/// Reckoned per line in memory besides its text.
const LINE_BYTES: usize = 120;

/// The log half of the store.
pub(crate) struct LogStore {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    dir: PathBuf,
    head_bytes_max: usize,
    state: Mutex<State>,
    /// One cut at a time; taken before `state`.
    cutter: Mutex<Cutter>,
}

struct State {
    wal: Wal,
    /// The segment that `next_stream` and the streams' definitions belong to.
    segment: u64,
    next_stream: u32,
    payload: Vec<u8>,
    next_seq: u64,
    positions: BTreeMap<String, Vec<u8>>,
    streams: HashMap<Labels, Stream, RandomState>,
    head_bytes: usize,
    files: Vec<IndexedFile>,
}

/// Lines of one stream that are not in a frame yet.
#[derive(Default)]
struct Stream {
    lines: Vec<Arc<Line>>,
    text_bytes: usize,
    /// Segment and number of its definition.
    defined: Option<(u64, u32)>,
    /// When `maintain` first saw the oldest line.
    seen_ms: Option<i64>,
}

struct IndexedFile {
    file: Arc<FrameFile>,
    bytes: u64,
    frames: Vec<FrameRef>,
}

struct Cutter {
    next_number: u64,
}

/// Which streams to cut.
enum Cut {
    /// Those with a full frame, and the largest while memory is short.
    Full,
    /// Also those whose oldest line is older than this.
    SeenBefore(i64),
    /// All: the write-ahead log cannot be trusted.
    All,
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
            &mut |segment, record_type, payload| replay.record(segment, record_type, payload),
        )?;
        watch.telemetry.log_lines.inc_by(replay.lines);
        let head_bytes = replay.streams.values().flat_map(|s| &s.lines);
        let head_bytes = head_bytes.map(|l| line_bytes(&l.entry)).sum();
        Ok(LogStore {
            disk,
            watch,
            dir: dir.to_owned(),
            head_bytes_max: head_bytes_max as usize,
            state: Mutex::new(State {
                wal,
                segment: 0,
                next_stream: 0,
                payload: Vec::new(),
                next_seq: replay.next_seq,
                positions: replay.positions,
                streams: replay.streams,
                head_bytes,
                files,
            }),
            cutter: Mutex::new(Cutter { next_number }),
        })
    }

    /// See [`crate::Storage::append_logs`].
    pub(crate) fn append(&self, batch: &LogBatch) -> Result<(), WriteError> {
        let mut state = self.lock();
        if state.head_bytes > 2 * self.head_bytes_max {
            let bytes = state.head_bytes as u64;
            return Err(WriteError::LogsWaiting { bytes });
        }
        let appended = state.append(batch);
        let over = state.head_bytes > self.head_bytes_max;
        drop(state);
        if let Err(e) = appended {
            self.watch.write_failed("logs log", FileKind::LogWal, &e);
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

    /// See [`crate::Storage::log_position`].
    pub(crate) fn position(&self, source: &str) -> Option<Vec<u8>> {
        self.lock().positions.get(source).cloned()
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
        let synced = self.sync_wal();
        let cut = match synced {
            Ok(()) => Cut::Full,
            Err(_) => Cut::All,
        };
        let done = self.cut(&mut cutter, &cut);
        if synced.is_err() && done {
            // What could not be synced is in frames now.
            self.watch.solved("logs sync");
            return Ok(());
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
        let cut = match self.sync_wal() {
            Ok(()) => Cut::SeenBefore(now_ms.saturating_sub(LINE_AGE_MAX_MS)),
            Err(_) => Cut::All,
        };
        if self.cut(&mut cutter, &cut) {
            self.watch.solved("logs sync");
        }
        drop(cutter);
        let state = self.lock();
        let head_bytes = state.head_bytes as i64;
        self.watch.telemetry.log_head_bytes.set(head_bytes);
    }

    /// Cuts frames, and returns whether all went well. The lines stay readable throughout.
    fn cut(&self, cutter: &mut Cutter, which: &Cut) -> bool {
        let chosen = self.lock().choose(which, self.head_bytes_max);
        if chosen.is_empty() {
            return true;
        }
        for (labels, lines) in chosen {
            if let Err(error) = self.cut_stream(cutter, &labels, &lines) {
                self.watch
                    .write_failed("logs frames", FileKind::Frames, &error);
                return false;
            }
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

    /// Writes the first frame's worth of `lines`, repeatedly; each frame is durable before
    /// its lines leave memory. The last, partial one is written too.
    fn cut_stream(
        &self,
        cutter: &mut Cutter,
        labels: &Labels,
        lines: &[Arc<Line>],
    ) -> Result<(), WriteError> {
        let mut rest = lines;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(frame::frame_len(rest));
            rest = later;
            let failed = |e| WriteError::from_io("compress lines for", &self.dir, e);
            let bytes = frame::encode(labels, now).map_err(failed)?;
            let max_ns = now.iter().map(|l| l.entry.at_ns).max().unwrap_or(0);
            let min_ns = now.iter().map(|l| l.entry.at_ns).min().unwrap_or(0);
            let (file, offset) = self.file_for(cutter, file::day_of(max_ns))?;
            let written = file
                .file
                .write_at(&bytes, offset)
                .and_then(|()| file.file.sync());
            if let Err(e) = written {
                let _ = file.file.set_len(offset);
                return Err(WriteError::from_io("write", &file.path, e));
            }
            let mut state = self.lock();
            let frame = FrameRef {
                labels: labels.clone(),
                min_ns,
                max_ns,
                offset: offset as u32,
                bytes: bytes.len() as u32,
            };
            state.publish(&file, frame, now.len());
        }
        Ok(())
    }

    /// The file to append frames of `day` to, and where.
    fn file_for(&self, cutter: &mut Cutter, day: i64) -> Result<(Arc<FrameFile>, u64), WriteError> {
        let state = self.lock();
        let open = state.files.iter().rev().find(|f| f.file.day == day);
        if let Some(f) = open.filter(|f| f.bytes < FILE_BYTES) {
            return Ok((Arc::clone(&f.file), f.bytes));
        }
        drop(state);
        let path = file::file_path(&self.dir, day, cutter.next_number);
        cutter.next_number += 1;
        let made = || {
            let day_dir = path.parent().unwrap_or(&self.dir);
            self.disk.create_dir(day_dir)?;
            let file = self.disk.create(&path)?;
            file.write_at(&file::file_header(), 0)?;
            file.sync()?;
            self.disk.sync_dir(day_dir)?;
            self.disk.sync_dir(&self.dir)?;
            Ok(file)
        };
        let file = made().map_err(|e| {
            let _ = self.disk.remove(&path);
            WriteError::from_io("create", &path, e)
        })?;
        let file = Arc::new(FrameFile { path, file, day });
        self.lock().files.push(IndexedFile {
            file: Arc::clone(&file),
            bytes: HEADER_BYTES,
            frames: Vec::new(),
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
        let state = self.lock();
        let matches = |l: &Labels| selection.matchers.iter().all(|m| m.matches_labels(l));
        let heads = state
            .streams
            .iter()
            .filter(|(labels, _)| matches(labels))
            .map(|(labels, s)| {
                let inside =
                    |l: &&Arc<Line>| (window.start_ns..window.end_ns).contains(&l.entry.at_ns);
                let lines = s.lines.iter().filter(inside).cloned().collect();
                (labels.clone(), lines)
            })
            .collect();
        let mut known: HashMap<&Labels, bool, RandomState> = HashMap::default();
        let mut frames = Vec::new();
        for f in &state.files {
            for frame in &f.frames {
                let inside = frame.min_ns < window.end_ns && frame.max_ns >= window.start_ns;
                if inside
                    && *known
                        .entry(&frame.labels)
                        .or_insert_with(|| matches(&frame.labels))
                {
                    frames.push(Pending {
                        file: Arc::clone(&f.file),
                        frame: frame.clone(),
                    });
                }
            }
        }
        drop(known);
        drop(state);
        merge::visit(&self.watch, window, heads, frames, visit)
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
            if frame.min_ns < end_ns && frame.max_ns >= start_ns {
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
        let closed = |f: &&IndexedFile| Some(f.file.day) != newest || f.bytes >= FILE_BYTES;
        let pieces = state.files.iter().filter(closed).map(|f| {
            let end_ns = f.frames.iter().map(|r| r.max_ns).max();
            Piece {
                kind: PieceKind::Frames,
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
        self.lock().files.retain(|f| f.file.path != path);
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

impl State {
    /// Marks of the log are sequence numbers: a record is covered once its last line is.
    fn last_mark(&self) -> i64 {
        self.next_seq as i64 - 1
    }

    fn append(&mut self, batch: &LogBatch) -> Result<(), WriteError> {
        let segment = self.ready_segment()?;
        let labels = batch.stream.labels();
        let defined = self.streams.get(labels).and_then(|s| s.defined);
        let defined = defined.filter(|(in_segment, _)| *in_segment == segment);
        let number = defined.map_or(self.next_stream, |(_, number)| number);
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        LinesRecord {
            stream: number,
            define: defined.is_none(),
            first_seq: self.next_seq,
            batch,
        }
        .encode(&mut payload);
        let mark = self.last_mark() + batch.entries.len() as i64;
        let written = self.wal.append(LINES, &payload, mark);
        payload.shrink_to(1 << 20);
        self.payload = payload;
        written?;
        if let Some(p) = &batch.position {
            self.positions.insert(p.source.clone(), p.position.clone());
        }
        if batch.entries.is_empty() {
            return Ok(());
        }
        if defined.is_none() {
            self.next_stream += 1;
        }
        let stream = self.streams.entry(labels.clone()).or_default();
        stream.defined = Some((segment, number));
        for e in &batch.entries {
            self.head_bytes += stream.push(
                self.next_seq,
                LogEntry {
                    at_ns: e.at_ns,
                    line: e.line.as_str().to_owned(),
                    metadata: e.metadata.labels().clone(),
                },
            );
            self.next_seq += 1;
        }
        Ok(())
    }

    /// An open segment that starts with all positions.
    fn ready_segment(&mut self) -> Result<u64, WriteError> {
        let segment = self.wal.begin()?;
        if segment != self.segment {
            let mut payload = Vec::new();
            wal_record::encode_positions(self.next_seq, &self.positions, &mut payload);
            let mark = self.last_mark();
            self.wal.append(POSITIONS, &payload, mark)?;
            self.segment = segment;
            self.next_stream = 0;
        }
        Ok(segment)
    }

    /// Streams to cut and how many of their lines.
    fn choose(&self, which: &Cut, head_bytes_max: usize) -> Vec<(Labels, Vec<Arc<Line>>)> {
        let mut by_size: Vec<(&Labels, &Stream)> = self.streams.iter().collect();
        by_size.sort_unstable_by_key(|(_, s)| std::cmp::Reverse(s.text_bytes));
        let mut left = self.head_bytes;
        let mut chosen = Vec::new();
        for (labels, s) in by_size {
            let short_of_memory = self.head_bytes > head_bytes_max && left > head_bytes_max / 2;
            let due = match which {
                Cut::Full => false,
                Cut::SeenBefore(ms) => s.seen_ms.is_some_and(|seen| seen <= *ms),
                Cut::All => true,
            };
            let whole = due || short_of_memory;
            if !whole && s.text_bytes < FRAME_TEXT_BYTES {
                continue;
            }
            let mut end = s.lines.len();
            if !whole {
                // Only full frames; the rest waits for more.
                end = 0;
                loop {
                    let rest = &s.lines[end..];
                    let text: usize = rest.iter().map(|l| l.entry.line.len()).sum();
                    if text < FRAME_TEXT_BYTES {
                        break;
                    }
                    end += frame::frame_len(rest);
                }
            }
            let bytes: usize = s.lines[..end].iter().map(|l| line_bytes(&l.entry)).sum();
            left = left.saturating_sub(bytes);
            chosen.push((labels.clone(), s.lines[..end].to_vec()));
        }
        chosen
    }

    /// A frame with the first `lines` lines of its stream is durable.
    fn publish(&mut self, file: &Arc<FrameFile>, frame: FrameRef, lines: usize) {
        if let Some(stream) = self.streams.get_mut(&frame.labels) {
            for line in stream.lines.drain(..lines.min(stream.lines.len())) {
                self.head_bytes -= line_bytes(&line.entry).min(self.head_bytes);
                stream.text_bytes -= line.entry.line.len().min(stream.text_bytes);
            }
            stream.lines.shrink_to_fit();
            stream.seen_ms = None;
            if stream.lines.is_empty() {
                self.streams.remove(&frame.labels);
            }
        }
        if let Some(f) = self.files.iter_mut().find(|f| Arc::ptr_eq(&f.file, file)) {
            f.bytes += u64::from(frame.bytes);
            // The labels of an earlier frame serve again: one allocation per file and stream.
            let known = f.frames.iter().rev().find(|r| r.labels == frame.labels);
            let labels = known.map_or(frame.labels, |r| r.labels.clone());
            f.frames.push(FrameRef { labels, ..frame });
        }
    }

    /// Removes segments whose lines are all in frames, once the positions are in a newer one.
    fn drop_covered(&mut self) -> Result<(), WriteError> {
        self.ready_segment()?;
        for part in self.wal.unsynced() {
            if let Err(e) = part.sync() {
                self.wal.sync_failed(&part);
                return Err(WriteError::from_io("sync", "write-ahead log", e));
            }
            self.wal.synced(&part);
        }
        let first_waiting = self.streams.values().filter_map(|s| s.lines.first());
        let first_waiting = first_waiting.map(|l| l.seq).min();
        self.wal
            .drop_below(first_waiting.unwrap_or(self.next_seq) as i64);
        Ok(())
    }
}

impl Stream {
    /// Adds a line and gives the memory it takes.
    fn push(&mut self, seq: u64, mut entry: LogEntry) -> usize {
        if let Some(last) = self.lines.last()
            && last.entry.metadata == entry.metadata
        {
            // Shares the allocation.
            entry.metadata = last.entry.metadata.clone();
        }
        self.text_bytes += entry.line.len();
        let bytes = line_bytes(&entry);
        self.lines.push(Arc::new(Line { seq, entry }));
        bytes
    }
}

fn line_bytes(entry: &LogEntry) -> usize {
    LINE_BYTES + entry.line.len()
}

/// Collects what frames cover and what the log adds.
#[derive(Default)]
struct Replay {
    /// Per stream the first and last sequence number of its frames.
    covered: HashMap<Labels, Vec<(u64, u64)>, RandomState>,
    segment: u64,
    numbers: HashMap<u32, Labels, RandomState>,
    streams: HashMap<Labels, Stream, RandomState>,
    positions: BTreeMap<String, Vec<u8>>,
    next_seq: u64,
    lines: u64,
}

impl Replay {
    fn record(&mut self, segment: u64, record_type: u8, payload: &[u8]) -> Result<i64, Malformed> {
        if segment != self.segment {
            self.segment = segment;
            self.numbers.clear();
        }
        match record_type {
            POSITIONS => {
                let (next_seq, positions) = wal_record::decode_positions(payload)?;
                self.next_seq = self.next_seq.max(next_seq);
                self.positions = positions;
            }
            FORGET => {
                let source = std::str::from_utf8(payload).map_err(|_| Malformed)?;
                self.positions.remove(source);
            }
            LINES => self.lines(wal_record::decode_lines(payload)?)?,
            _ => return Err(Malformed),
        }
        Ok(self.next_seq as i64 - 1)
    }

    fn lines(&mut self, record: wal_record::Lines) -> Result<(), Malformed> {
        if let Some(labels) = record.definition {
            self.numbers.insert(record.stream, labels);
        }
        // Else its definition was in a damaged record. The position must not advance without
        // the lines: they will be read again.
        let labels = self.numbers.get(&record.stream).ok_or(Malformed)?;
        if let Some((source, position)) = record.position {
            self.positions.insert(source, position);
        }
        let covered = self.covered.get(labels).map_or(&[][..], Vec::as_slice);
        let mut seq = record.first_seq;
        for entry in record.entries {
            let is_covered = covered.iter().any(|(a, b)| (*a..=*b).contains(&seq));
            if !is_covered {
                let stream = self.streams.entry(labels.clone()).or_default();
                stream.push(seq, entry);
                self.lines += 1;
            }
            seq = seq.checked_add(1).ok_or(Malformed)?;
        }
        self.next_seq = self.next_seq.max(seq);
        Ok(())
    }
}

fn open_files(
    disk: &dyn Disk,
    watch: &Watch,
    dir: &Path,
    verify_from: u64,
    replay: &mut Replay,
) -> io::Result<(Vec<IndexedFile>, u64)> {
    let mut files = Vec::new();
    let mut next_number = 1;
    let mut names: HashSet<Labels, RandomState> = HashSet::default();
    for entry in disk.list(dir)? {
        let Some(day) = file::day_from_name(&entry.name).filter(|_| entry.is_dir) else {
            continue;
        };
        let day_dir = dir.join(&entry.name);
        for entry in disk.list(&day_dir)? {
            let path = day_dir.join(&entry.name);
            let number = entry.name.split('.').next().and_then(|n| n.parse().ok());
            next_number = next_number.max(number.unwrap_or(0) + 1);
            if !entry.name.ends_with(".frames") {
                continue;
            }
            let opened = disk.open(&path).and_then(|file| {
                let file = FrameFile { path, file, day };
                let holds = file.header_holds()?;
                Ok((file, holds))
            });
            let (file, holds) = match opened {
                Ok(opened) => opened,
                Err(e) => {
                    watch.corrupt(FileKind::Frames, &day_dir.join(&entry.name), e);
                    continue;
                }
            };
            if !holds {
                watch.corrupt(FileKind::Frames, &file.path, "header");
                quarantine(disk, &file.path);
                continue;
            }
            let mut frames = Vec::new();
            let scanned = file.scan(watch, verify_from, &mut |header: &Header, offset| {
                if !names.contains(&header.labels) {
                    names.insert(header.labels.clone());
                }
                let labels = names.get(&header.labels).unwrap_or(&header.labels).clone();
                replay.next_seq = replay.next_seq.max(header.last_seq.saturating_add(1));
                if header.last_seq >= verify_from {
                    let covered = replay.covered.entry(labels.clone()).or_default();
                    covered.push((header.first_seq, header.last_seq));
                }
                frames.push(FrameRef {
                    labels,
                    min_ns: header.min_ns,
                    max_ns: header.max_ns,
                    offset,
                    bytes: header.header_bytes.saturating_add(header.payload_bytes),
                });
            });
            match scanned {
                Ok(bytes) => files.push(IndexedFile {
                    file: Arc::new(file),
                    bytes,
                    frames,
                }),
                Err(e) => watch.corrupt(FileKind::Frames, &file.path, e),
            }
        }
    }
    Ok((files, next_number))
}
