//! What the log store knows under its lock: lines in memory, positions, the frame index.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Labels, LogEntry};
use scrub::LogBatch;

use super::file::{FrameFile, FrameRef};
use super::frame::{self, FRAME_TEXT_BYTES, Line};
use super::known::{Known, LABEL_BYTES_MAX};
use super::wal_record::{self, LINES, LinesRecord, POSITIONS};
use crate::error::WriteError;
use crate::wal::Wal;

/// Reckoned per line in memory besides its text and metadata.
const LINE_BYTES: usize = 120;
/// Reckoned per stream in memory besides its labels.
const STREAM_BYTES: usize = 300;
/// Streams with lines in memory. Fifty containers have a hundred.
pub(super) const STREAMS_MAX: usize = 10_000;
/// Further streams that are pushed are refused from here on: a sender that writes a label of its own
/// into each line has as many as lines, and must not take the places of containers.
pub(super) const PUSHED_STREAMS_MAX: usize = STREAMS_MAX / 10 * 8;

pub(super) struct State {
    pub(super) wal: Wal,
    /// The segment that `next_stream` and the streams' definitions belong to.
    pub(super) segment: u64,
    /// Of each segment the number that its first line has at least.
    pub(super) starts: VecDeque<(u64, u64)>,
    pub(super) next_stream: u32,
    pub(super) payload: Vec<u8>,
    pub(super) next_seq: u64,
    pub(super) positions: BTreeMap<String, Vec<u8>>,
    pub(super) streams: HashMap<Labels, Stream, RandomState>,
    pub(super) head_bytes: usize,
    pub(super) files: Vec<IndexedFile>,
    pub(super) known: Known,
}

/// Lines of one stream that are not in a frame yet.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) lines: Vec<Arc<Line>>,
    /// The lines' weights.
    pub(super) text_bytes: usize,
    /// The latest time any of its lines has had.
    newest_ns: Option<i64>,
    /// Segment and number of its definition.
    pub(super) defined: Option<(u64, u32)>,
    /// When `maintain` first saw the oldest line.
    pub(super) seen_ms: Option<i64>,
}

pub(super) struct IndexedFile {
    pub(super) file: Arc<FrameFile>,
    pub(super) bytes: u64,
    pub(super) frames: Vec<FrameRef>,
    /// The largest number of a line in it.
    pub(super) last_seq: u64,
    /// Nothing is appended to it any more.
    pub(super) is_closed: bool,
}

/// Which streams to cut.
pub(super) enum Cut {
    /// Those with a full frame, and the largest while memory is short.
    Full,
    /// Also those whose oldest line is older than this.
    SeenBefore(i64),
    /// All: the write-ahead log cannot be trusted.
    All,
}

impl State {
    /// Marks of the log are sequence numbers: a record is covered once its last line is.
    pub(super) fn last_mark(&self) -> i64 {
        self.next_seq as i64 - 1
    }

    pub(super) fn append(
        &mut self,
        batch: &LogBatch,
        streams_max: usize,
    ) -> Result<(), WriteError> {
        let labels = batch.stream.labels();
        let is_new = !batch.entries.is_empty() && !self.streams.contains_key(labels);
        if is_new && self.streams.len() >= streams_max {
            return Err(WriteError::TooManyStreams { streams_max });
        }
        if is_new && streams_max < STREAMS_MAX && !self.known.admits(labels) {
            return Err(WriteError::TooManyLabels {
                bytes_max: LABEL_BYTES_MAX,
            });
        }
        let segment = self.ready_segment()?;
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
        if is_new {
            self.head_bytes += stream_bytes(labels);
            let labels = self.known.add(labels);
            self.streams.insert(labels, Stream::default());
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

    /// `batch` without the lines that its stream has in memory, and without repetitions.
    pub(super) fn fresh<'a>(&self, batch: &'a LogBatch) -> Cow<'a, LogBatch> {
        let stream = self.streams.get(batch.stream.labels());
        let newest = stream.and_then(|s| s.newest_ns);
        let times = || batch.entries.iter().map(|e| Some(e.at_ns));
        if std::iter::once(newest)
            .chain(times())
            .is_sorted_by(|a, b| a < b)
        {
            return Cow::Borrowed(batch);
        }
        let (first, last) = (times().min().flatten(), times().max().flatten());
        let near = |line: &&Arc<Line>| {
            let at = Some(line.entry.at_ns);
            first <= at && at <= last
        };
        let stored = stream.into_iter().flat_map(|s| s.lines.iter().filter(near));
        let mut seen: HashSet<(i64, &str, &Labels)> = stored
            .map(|l| (l.entry.at_ns, l.entry.line.as_str(), &l.entry.metadata))
            .collect();
        let is_fresh: Vec<bool> = batch
            .entries
            .iter()
            .map(|e| seen.insert((e.at_ns, e.line.as_str(), e.metadata.labels())))
            .collect();
        if is_fresh.iter().all(|fresh| *fresh) {
            return Cow::Borrowed(batch);
        }
        let mut batch = batch.clone();
        let mut fresh = is_fresh.iter();
        batch.entries.retain(|_| fresh.next() == Some(&true));
        Cow::Owned(batch)
    }

    /// An open segment that starts with all positions.
    pub(super) fn ready_segment(&mut self) -> Result<u64, WriteError> {
        let segment = self.wal.begin()?;
        if segment != self.segment {
            let mut payload = Vec::new();
            wal_record::encode_positions(self.next_seq, &self.positions, &mut payload);
            let mark = self.last_mark();
            self.wal.append(POSITIONS, &payload, mark)?;
            self.wal.repeats(payload.len());
            self.segment = segment;
            self.starts.push_back((segment, self.next_seq));
            self.next_stream = 0;
        }
        Ok(segment)
    }

    /// The write-ahead log has no line with a smaller number.
    pub(super) fn log_from(&mut self) -> u64 {
        while let Some((segment, _)) = self.starts.front()
            && !self.wal.has(*segment)
        {
            self.starts.pop_front();
        }
        match self.starts.front() {
            Some((segment, first)) if self.wal.oldest() == Some(*segment) => *first,
            // The start of the oldest could not be read.
            Some(_) => 0,
            None if self.wal.oldest().is_some() => 0,
            None => self.next_seq,
        }
    }

    /// Streams to cut and how many of their lines.
    pub(super) fn choose(
        &self,
        which: &Cut,
        head_bytes_max: usize,
    ) -> Vec<(Labels, Vec<Arc<Line>>)> {
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
                    let weight: usize = rest.iter().map(|l| l.weight).sum();
                    if weight < FRAME_TEXT_BYTES {
                        break;
                    }
                    end += frame::frame_len(rest);
                }
            }
            let bytes: usize = s.lines[..end].iter().map(|l| line_bytes(l)).sum();
            left = left.saturating_sub(bytes);
            chosen.push((labels.clone(), s.lines[..end].to_vec()));
        }
        chosen
    }

    /// A frame with the first `lines` lines of its stream is durable.
    pub(super) fn publish(&mut self, file: &Arc<FrameFile>, mut frame: FrameRef, lines: usize) {
        let mut last_seq = 0;
        if let Some(stream) = self.streams.get_mut(&frame.labels) {
            for line in stream.lines.drain(..lines.min(stream.lines.len())) {
                last_seq = last_seq.max(line.seq);
                self.head_bytes -= line_bytes(&line).min(self.head_bytes);
                stream.text_bytes -= line.weight.min(stream.text_bytes);
            }
            stream.lines.shrink_to_fit();
            stream.seen_ms = None;
            if stream.lines.is_empty() {
                self.streams.remove(&frame.labels);
                self.head_bytes -= stream_bytes(&frame.labels).min(self.head_bytes);
            }
        }
        if let Some(f) = self.files.iter_mut().find(|f| Arc::ptr_eq(&f.file, file)) {
            f.bytes += u64::from(frame.bytes);
            f.last_seq = f.last_seq.max(last_seq);
            frame.labels = self.known.add(&frame.labels);
            f.frames.push(frame);
        }
    }

    /// Forgets streams that retention has taken.
    pub(super) fn survey(&mut self) {
        self.known.survey(&mut self.files, self.streams.keys());
    }

    /// Removes segments whose lines are all in frames, once the positions are in a newer one.
    pub(super) fn drop_covered(&mut self) -> Result<(), WriteError> {
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
    pub(super) fn push(&mut self, seq: u64, mut entry: LogEntry) -> usize {
        let mut weight = entry.line.len();
        match self.lines.last() {
            // Shares the allocation.
            Some(last) if last.entry.metadata == entry.metadata => {
                entry.metadata = last.entry.metadata.clone();
            }
            _ => weight += entry.metadata.heap_bytes(),
        }
        self.text_bytes += weight;
        self.newest_ns = self.newest_ns.max(Some(entry.at_ns));
        let line = Line { seq, weight, entry };
        let bytes = line_bytes(&line);
        self.lines.push(Arc::new(line));
        bytes
    }
}

/// What the lines of streams take in memory.
pub(super) fn head_bytes(streams: &HashMap<Labels, Stream, RandomState>) -> usize {
    let lines = streams.values().flat_map(|s| &s.lines);
    let labels = streams.keys().map(stream_bytes);
    lines.map(|l| line_bytes(l)).sum::<usize>() + labels.sum::<usize>()
}

fn stream_bytes(labels: &Labels) -> usize {
    STREAM_BYTES + labels.heap_bytes()
}

fn line_bytes(line: &Line) -> usize {
    LINE_BYTES + line.weight
}
