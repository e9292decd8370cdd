//! One container's log between the engine's bytes and the batches for the store: decoding,
//! joining, dropping what is known, and the position to store beside; [`super::entries`] does the
//! rest. Pure: the loops in [`super::container`] and [`super::from_file`] bring bytes and time and
//! carry the batches away.

use std::sync::Arc;

use model::Labels;
use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels, Scrubber, SourcePosition};

use super::assemble::{Assembler, Line};
use super::entries::{Entries, GapKind};
use super::frame::{Decoder, FrameError, Stream};
use super::group::{Group, Joiner, Joining};
use super::position::{Anchor, Position};
use super::proof::Counts;
use super::quota::{Quota, Used};
use super::replay::{Replay, Verdict};
use super::telemetry::Telemetry;

/// A batch is due at this size, whatever its age.
const BATCH_BYTES: usize = 64 * 1024;
/// What an entry costs beyond its text, so that empty lines fill a batch too.
const ENTRY_BYTES: usize = 32;

/// How much older than the newest known line a reconnect reads. Covers how far apart the
/// two streams' timestamps may be from their order in the file: milliseconds, seconds when a
/// disk stalls. Longer costs a longer replay at each reconnect.
const OVERLAP_NS: i64 = 5_000_000_000;

/// How a container is read.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Bytes kept of a line, and of the lines that are joined.
    pub(crate) line_bytes_max: usize,
    pub(crate) joining: Joining,
    /// Bytes a day.
    pub(crate) quota: Option<u64>,
    /// Whether entries carry the time that their text says.
    pub(crate) line_times: bool,
}

/// Whom a reader reads for, and what counts it.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) scrubber: Arc<Scrubber>,
    pub(crate) telemetry: Telemetry,
    pub(crate) counts: Counts,
}

/// Reads one container.
pub(crate) struct Reader {
    around: Around,
    line_bytes_max: usize,
    decoder: Decoder,
    streams: [Output; 2],
    writer: Entries,
    /// Of the newest position.
    sequence: u64,
    /// Timestamp of the line seen last, of either stream.
    last_ns: Option<i64>,
    /// The latest timestamp handed on, of either stream.
    latest_ns: i64,
    /// A line that was older than the one before it: the engine sent something again, or a clock
    /// was set back. Only another connection can tell.
    suspect: Option<(Stream, Anchor)>,
    /// Something is missing before the next line.
    gap: Option<GapKind>,
    /// How many lines were new.
    accepted: u64,
}

/// One of its streams.
struct Output {
    labels: ScrubbedLabels,
    source: String,
    /// Of the last batch taken.
    position: Option<Position>,
    assembler: Assembler,
    replay: Replay,
    joiner: Joiner,
    entries: Vec<ScrubbedEntry>,
    bytes: usize,
    /// The oldest timestamp of what `entries` and `last` stand for.
    unstored_since_ns: Option<i64>,
    /// What the next batch ends with, stored or left out by the quota.
    last: Option<Group>,
    /// Timestamp of the last line that was new.
    newest_ns: Option<i64>,
}

/// The source of a stream, as positions are stored under.
pub(crate) fn source(container_id: &str, stream: Stream) -> String {
    format!("docker/{container_id}/{}", stream.as_str())
}

/// The container that a source belongs to, if it is one of ours.
pub(crate) fn container_of(source: &str) -> Option<&str> {
    Some(source.strip_prefix("docker/")?.split_once('/')?.0)
}

impl Reader {
    /// Reads the container with that id; `labels` are its streams' but for `stream`,
    /// `positions` what was stored last.
    pub(crate) fn new(
        around: Around,
        options: &Options,
        container_id: &str,
        labels: &Labels,
        positions: [Option<Position>; 2],
    ) -> Self {
        let newest = newest(positions);
        let used = newest.map_or(Used::default(), |p| p.used);
        let output = |stream: Stream| {
            let mut labels = labels.to_builder();
            labels.set("stream", stream.as_str());
            let position = positions[stream as usize];
            Output {
                labels: around.scrubber.labels(&labels.build()),
                source: source(container_id, stream),
                position,
                assembler: Assembler::new(options.line_bytes_max),
                replay: Replay::Done,
                joiner: Joiner::new(options.joining.clone(), options.line_bytes_max),
                entries: Vec::new(),
                bytes: 0,
                unstored_since_ns: None,
                last: None,
                newest_ns: position.map(|p| p.anchor.at_ns),
            }
        };
        Reader {
            streams: Stream::ALL.map(output),
            writer: Entries::new(
                around.clone(),
                container_id,
                Quota::new(options.quota, used),
                options.line_times,
            ),
            around,
            line_bytes_max: options.line_bytes_max,
            decoder: Decoder::new(),
            sequence: newest.map_or(0, |p| p.sequence),
            last_ns: None,
            latest_ns: newest.map_or(i64::MIN, |p| p.latest_ns),
            suspect: None,
            gap: None,
            accepted: 0,
        }
    }

    /// From when on to ask for lines (inclusive); `None`: nothing of this container was read yet.
    /// `now_ns` matters only when it is before what was read: a clock was set back, and what is
    /// written now would not be sent by engines that compare each line's time.
    pub(crate) fn since(&self, now_ns: i64) -> Option<i64> {
        let positions = self.streams.iter().filter_map(|output| output.position);
        let newest = newest(self.streams.each_ref().map(|output| output.position))?;
        let mut from = newest.unread_from_ns;
        // Once times have stepped back, what is known may come again from any time on.
        if newest.latest_ns.saturating_sub(from) > OVERLAP_NS {
            from = positions.map(|p| p.anchor.at_ns).fold(from, i64::min);
        }
        if let Some((_, line)) = self.suspect {
            from = from.min(line.at_ns);
        }
        Some(from.min(now_ns).saturating_sub(OVERLAP_NS))
    }

    /// A new connection with lines from `since` on begins. What was not whole on the one before is
    /// dropped: it comes again.
    pub(crate) fn reconnect(&mut self, since: Option<i64>) {
        self.forget_unread();
        for output in &mut self.streams {
            output.replay = match output.position.map(|p| p.anchor) {
                // What is older than was asked for will not come, unless an engine sends it all
                // the same.
                Some(anchor) if since.is_some_and(|since| anchor.at_ns < since) => Replay::Newer {
                    than_ns: anchor.at_ns,
                    is_gap: false,
                },
                anchor => Replay::new(anchor),
            };
        }
    }

    /// The stream begins in the middle of the container's files, before everything from `since` on.
    /// `found` tells for which streams the last line stored will come.
    pub(crate) fn begin_file(&mut self, since: i64, found: [bool; 2]) {
        self.forget_unread();
        self.suspect = None;
        for (output, found) in self.streams.iter_mut().zip(found) {
            output.replay = match output.position.map(|p| p.anchor) {
                Some(anchor) if found => Replay::Expecting(anchor),
                Some(anchor) => Replay::Newer {
                    than_ns: anchor.at_ns,
                    is_gap: anchor.at_ns >= since,
                },
                None => Replay::Newer {
                    than_ns: since.saturating_sub(1),
                    is_gap: false,
                },
            };
        }
    }

    /// The stream begins somewhere behind a damaged place of the log.
    pub(crate) fn begin_tail(&mut self) {
        self.forget_unread();
        for output in &mut self.streams {
            let anchor = output.position.map(|p| p.anchor);
            output.replay = anchor.map_or(Replay::Done, |anchor| Replay::Newer {
                than_ns: anchor.at_ns,
                is_gap: false,
            });
        }
        self.gap = Some(GapKind::Damaged);
    }

    /// Whether lines that were promised did not come yet.
    pub(crate) fn is_expecting(&self) -> bool {
        let expecting = |output: &Output| matches!(output.replay, Replay::Expecting(_));
        self.streams.iter().any(expecting)
    }

    fn forget_unread(&mut self) {
        self.decoder = Decoder::new();
        let mut unread = 0;
        for output in &mut self.streams {
            output.assembler = Assembler::new(self.line_bytes_max);
            unread += output.replay.held_lines() as u64 + u64::from(output.joiner.forget());
            output.newest_ns = output.position.map(|p| p.anchor.at_ns);
            if output.last.is_none() {
                // A mark without what comes behind it.
                output.entries.clear();
            }
        }
        self.gap = None;
        self.around.counts.duplicate.inc_by(unread);
    }

    /// The last lines stored, by stream.
    pub(crate) fn anchors(&self) -> [Option<Anchor>; 2] {
        self.streams
            .each_ref()
            .map(|output| output.position.map(|p| p.anchor))
    }

    /// Takes bytes of the connection.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Reads what was pushed, until nothing is left (false) or a batch is due (true; call
    /// again after taking it). `now_ns` dates lines that have no timestamp.
    ///
    /// # Errors
    /// When the connection is of no use any more.
    pub(crate) fn read(&mut self, now_ns: i64) -> Result<bool, FrameError> {
        while let Some(chunk) = self.decoder.next()? {
            let mut lines = [None, None];
            let assembler = &mut self.streams[chunk.stream as usize].assembler;
            assembler.push(&chunk.bytes, self.last_ns.unwrap_or(now_ns), |line| {
                put(&mut lines, line);
            });
            for line in lines.into_iter().flatten() {
                self.judge(chunk.stream, line, Order::Engine)?;
            }
            if self.is_due() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a record of a file, in the file's order. True when a batch is due.
    pub(crate) fn record(&mut self, stream: Stream, at_ns: i64, text: &[u8]) -> bool {
        let mut lines = [None, None];
        let assembler = &mut self.streams[stream as usize].assembler;
        assembler.push_text(at_ns, text, |line| put(&mut lines, line));
        for line in lines.into_iter().flatten() {
            // A file's order is the truth.
            let _ = self.judge(stream, line, Order::File);
        }
        self.is_due()
    }

    /// Marks that something is missing before the next line. What was left out before a restart
    /// was marked then.
    pub(crate) fn mark_gap(&mut self, kind: GapKind) {
        if !self.is_expecting() {
            self.gap = Some(kind);
        }
    }

    fn is_due(&self) -> bool {
        self.streams
            .iter()
            .any(|output| output.bytes >= BATCH_BYTES)
    }

    /// How many lines were new so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether a line written then is the last one of its stream, whole or not.
    pub(crate) fn is_last(&self, stream: Stream, at_ns: i64) -> bool {
        let output = &self.streams[stream as usize];
        output.newest_ns == Some(at_ns) || output.assembler.open_since_ns() == Some(at_ns)
    }

    /// Whether [`Reader::take`] has something.
    pub(crate) fn has_entries(&self) -> bool {
        self.streams.iter().any(|output| output.last.is_some())
    }

    /// Whether entries wait for [`Reader::age`].
    pub(crate) fn has_open_entries(&self) -> bool {
        self.streams
            .iter()
            .any(|output| output.joiner.open_since_ns().is_some())
    }

    /// Entries to which no line came since this was last asked are whole.
    pub(crate) fn age(&mut self) {
        for stream in Stream::ALL {
            if let Some(group) = self.streams[stream as usize].joiner.age() {
                self.write(stream, group);
            }
        }
    }

    /// Whether lines wait for [`Reader::settle`].
    pub(crate) fn is_holding(&self) -> bool {
        self.streams.iter().any(|output| output.replay.is_holding())
    }

    /// Gives up waiting for lines that are known: what is held back is new.
    pub(crate) fn settle(&mut self) {
        for stream in Stream::ALL {
            if let Some(lines) = self.streams[stream as usize].replay.settle() {
                self.accept_after_gap(stream, lines);
            }
        }
    }

    /// Nothing more can come: lines without a line end are whole.
    pub(crate) fn finish(&mut self) {
        if let Some(chunk) = self.decoder.finish() {
            let mut lines = [None, None];
            let assembler = &mut self.streams[chunk.stream as usize].assembler;
            assembler.push(&chunk.bytes, self.last_ns.unwrap_or(0), |line| {
                put(&mut lines, line);
            });
            for line in lines.into_iter().flatten() {
                let _ = self.judge(chunk.stream, line, Order::File);
            }
        }
        for stream in Stream::ALL {
            if let Some(line) = self.streams[stream as usize].assembler.finish() {
                let _ = self.judge(stream, line, Order::File);
            }
        }
        self.settle();
        self.close_entries();
    }

    /// Entries do not wait for further lines: a connection that ends brings none, and the next one
    /// would bring what was not handed on again, for ever where all of them end at once.
    pub(crate) fn close_entries(&mut self) {
        for stream in Stream::ALL {
            if let Some(group) = self.streams[stream as usize].joiner.finish() {
                self.write(stream, group);
            }
        }
    }

    /// The next batch with its position; it has no entries when all of them were left out. The
    /// caller hands it on before asking again; a reader that is dropped instead has lost nothing,
    /// the positions stored are older.
    pub(crate) fn take(&mut self) -> Option<(LogBatch, Position)> {
        let at = self
            .streams
            .iter()
            .position(|output| output.last.is_some())?;
        self.sequence += 1;
        let unread_from_ns = self.unread_from(at);
        let output = &mut self.streams[at];
        let anchor = output.last.take()?.anchor();
        let position = Position {
            anchor,
            sequence: self.sequence,
            unread_from_ns: unread_from_ns.unwrap_or(anchor.at_ns),
            latest_ns: self.latest_ns,
            used: self.writer.used(),
        };
        output.position = Some(position);
        output.bytes = 0;
        output.unstored_since_ns = None;
        let batch = LogBatch {
            stream: output.labels.clone(),
            entries: std::mem::take(&mut output.entries),
            position: Some(SourcePosition {
                source: output.source.clone(),
                position: position.encode(),
            }),
        };
        Some((batch, position))
    }

    /// The oldest timestamp that is still to be handed on, once the batch of stream `taken`
    /// is; that of the line seen last when there is none.
    fn unread_from(&self, taken: usize) -> Option<i64> {
        let outputs = self.streams.iter().enumerate();
        let waiting = outputs.flat_map(|(at, output)| {
            [
                output.unstored_since_ns.filter(|_| at != taken),
                output.replay.held_since_ns(),
                output.assembler.open_since_ns(),
                output.joiner.open_since_ns(),
            ]
        });
        waiting.flatten().chain(self.last_ns).min()
    }

    fn judge(&mut self, stream: Stream, line: Line, order: Order) -> Result<(), FrameError> {
        self.last_ns = Some(line.at_ns);
        let counts = &self.around.counts;
        counts.seen.inc();
        let known = |lines: usize| {
            self.around.telemetry.duplicates.inc_by(lines as u64);
            counts.duplicate.inc_by(lines as u64);
        };
        match self.streams[stream as usize].replay.judge(line, known) {
            Verdict::New(line) => {
                if order == Order::Engine {
                    self.check_order(stream, &line)?;
                }
                self.accept(stream, line);
            }
            Verdict::Known | Verdict::Held => {}
            Verdict::Gap(lines) => self.accept_after_gap(stream, lines),
        }
        Ok(())
    }

    /// Within a stream times do not step back, unless a clock did; engines up to 20.10 begin a
    /// file again when it is rotated while they follow it. The line that follows the last known
    /// one on another connection tells which it is.
    fn check_order(&mut self, stream: Stream, line: &Line) -> Result<(), FrameError> {
        let is_back = self.streams[stream as usize]
            .newest_ns
            .is_some_and(|newest| line.at_ns < newest);
        if is_back {
            let suspect = Some((stream, Anchor::of(line)));
            if self.suspect != suspect {
                self.suspect = suspect;
                // It comes again.
                self.around.counts.duplicate.inc();
                return Err(FrameError::Repeats);
            }
        }
        if self.suspect.is_some_and(|(of, _)| of == stream) {
            self.suspect = None;
        }
        Ok(())
    }

    fn accept_after_gap(&mut self, stream: Stream, lines: Vec<Line>) {
        self.gap = Some(GapKind::Rotated);
        for line in lines {
            self.accept(stream, line);
        }
    }

    fn accept(&mut self, stream: Stream, line: Line) {
        self.accepted += 1;
        self.latest_ns = self.latest_ns.max(line.at_ns);
        let gap = self.gap.take();
        let output = &mut self.streams[stream as usize];
        output.newest_ns = Some(line.at_ns);
        if let Some(kind) = gap {
            if let Some(group) = output.joiner.finish() {
                self.write(stream, group);
            }
            let marker = self.writer.gap(kind, line.at_ns);
            self.streams[stream as usize].entries.push(marker);
        }
        if let Some(group) = self.streams[stream as usize].joiner.push(line) {
            self.write(stream, group);
        }
    }

    fn write(&mut self, stream: Stream, group: Group) {
        let output = &mut self.streams[stream as usize];
        let before = output.entries.len();
        self.writer.write(&group, &mut output.entries);
        let written = output.entries[before..].iter();
        output.bytes += ENTRY_BYTES + written.map(|e| e.line.len()).sum::<usize>();
        let since = output.unstored_since_ns.get_or_insert(group.at_ns);
        *since = group.at_ns.min(*since);
        output.last = Some(group);
    }
}

/// Whose order lines come in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// An engine's, which may begin again.
    Engine,
    /// A file's.
    File,
}

/// A chunk completes at most two lines: the one before and its own.
fn put(lines: &mut [Option<Line>; 2], line: Line) {
    if let Some(free) = lines.iter_mut().find(|line| line.is_none()) {
        *free = Some(line);
    }
}

fn newest(positions: [Option<Position>; 2]) -> Option<Position> {
    positions.into_iter().flatten().max_by_key(|p| p.sequence)
}

#[cfg(test)]
mod tests;
