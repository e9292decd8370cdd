//! One container's log between the engine's bytes and the batches for the store: decoding,
//! joining, dropping what is known, scrubbing, and the position to store beside. Pure: the
//! loop in [`super::container`] brings bytes and time and carries the batches away.

use std::sync::Arc;

use model::{Labels, LabelsBuilder};
use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels, Scrubber, SourcePosition};

use super::assemble::{Assembler, Line};
use super::frame::{Decoder, FrameError, Stream};
use super::level;
use super::position::{Anchor, Position};
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

/// What a line says about itself beside its text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Remarks {
    level: Option<&'static str>,
    truncated: bool,
    gap: bool,
}

/// The text of an entry that stands where lines are missing.
const GAP_TEXT: &str = "stackwatch: lines are missing here, the engine no longer had them";

/// Reads one container.
pub(crate) struct Reader {
    scrubber: Arc<Scrubber>,
    telemetry: Telemetry,
    line_bytes_max: usize,
    container_id: String,
    decoder: Decoder,
    streams: [Output; 2],
    /// Of the newest position.
    sequence: u64,
    /// Timestamp of the line seen last, of either stream.
    last_ns: Option<i64>,
    /// How many lines were new.
    accepted: u64,
    metadata: Vec<(Remarks, ScrubbedLabels)>,
}

/// One of its streams.
struct Output {
    labels: ScrubbedLabels,
    source: String,
    /// Of the last batch taken.
    position: Option<Position>,
    assembler: Assembler,
    replay: Replay,
    entries: Vec<ScrubbedEntry>,
    bytes: usize,
    /// The last line of `entries`, raw.
    last: Option<Line>,
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
        scrubber: Arc<Scrubber>,
        telemetry: Telemetry,
        line_bytes_max: usize,
        container_id: &str,
        labels: &Labels,
        positions: [Option<Position>; 2],
    ) -> Self {
        let output = |stream: Stream| {
            let mut labels = labels.to_builder();
            labels.set("stream", stream.as_str());
            Output {
                labels: scrubber.labels(&labels.build()),
                source: source(container_id, stream),
                position: positions[stream as usize],
                assembler: Assembler::new(line_bytes_max),
                replay: Replay::Done,
                entries: Vec::new(),
                bytes: 0,
                last: None,
            }
        };
        let streams = Stream::ALL.map(output);
        let sequence = positions
            .iter()
            .flatten()
            .map(|p| p.sequence)
            .max()
            .unwrap_or(0);
        Reader {
            scrubber,
            telemetry,
            line_bytes_max,
            container_id: container_id.to_owned(),
            decoder: Decoder::new(),
            streams,
            sequence,
            last_ns: None,
            accepted: 0,
            metadata: Vec::new(),
        }
    }

    /// From when on to ask for lines (inclusive); `None`: nothing of this container was read yet.
    pub(crate) fn since(&self) -> Option<i64> {
        let positions = self.streams.iter().filter_map(|output| output.position);
        let newest = positions.max_by_key(|p| p.sequence)?;
        Some(newest.unread_from_ns.saturating_sub(OVERLAP_NS))
    }

    /// A new connection with lines from [`Reader::since`] on begins. What was not whole on the
    /// one before is dropped: it comes again.
    pub(crate) fn reconnect(&mut self) {
        let since = self.since();
        self.decoder = Decoder::new();
        for output in &mut self.streams {
            output.assembler = Assembler::new(self.line_bytes_max);
            // An anchor older than what was asked for will not come, nor will its elders.
            let anchor = output
                .position
                .map(|p| p.anchor)
                .filter(|a| Some(a.at_ns) >= since);
            output.replay = Replay::new(anchor);
        }
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
                // At most two: the one before and its own.
                if let Some(free) = lines.iter_mut().find(|line| line.is_none()) {
                    *free = Some(line);
                }
            });
            for line in lines.into_iter().flatten() {
                self.judge(chunk.stream, line);
            }
            if self
                .streams
                .iter()
                .any(|output| output.bytes >= BATCH_BYTES)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many lines were new so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Whether there is something to take.
    pub(crate) fn has_entries(&self) -> bool {
        self.streams.iter().any(|output| !output.entries.is_empty())
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
            let mut lines = Vec::new();
            let assembler = &mut self.streams[chunk.stream as usize].assembler;
            assembler.push(&chunk.bytes, self.last_ns.unwrap_or(0), |line| {
                lines.push(line);
            });
            for line in lines {
                self.judge(chunk.stream, line);
            }
        }
        for stream in Stream::ALL {
            if let Some(line) = self.streams[stream as usize].assembler.finish() {
                self.judge(stream, line);
            }
        }
        self.settle();
    }

    /// The next batch with its position. The caller hands it on before asking again; a reader
    /// that is dropped instead has lost nothing, the positions stored are older.
    pub(crate) fn take(&mut self) -> Option<(LogBatch, Position)> {
        let at = self
            .streams
            .iter()
            .position(|output| !output.entries.is_empty())?;
        self.sequence += 1;
        let unread_from_ns = self.unread_from(at);
        let sequence = self.sequence;
        let output = &mut self.streams[at];
        let last = output.last.take()?;
        let position = Position {
            anchor: Anchor::of(&last),
            sequence,
            unread_from_ns: unread_from_ns.unwrap_or(last.at_ns),
        };
        output.position = Some(position);
        output.bytes = 0;
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
            let pending = output
                .entries
                .first()
                .filter(|_| at != taken)
                .map(|entry| entry.at_ns);
            let held = match &output.replay {
                Replay::Seeking { held, .. } => held.first().map(|line| line.at_ns),
                Replay::Done => None,
            };
            [pending, held, output.assembler.open_since_ns()]
        });
        waiting.flatten().chain(self.last_ns).min()
    }

    fn judge(&mut self, stream: Stream, line: Line) {
        self.last_ns = Some(line.at_ns);
        let known = |lines: usize| {
            self.telemetry.duplicates.inc_by(lines as u64);
        };
        match self.streams[stream as usize].replay.judge(line, known) {
            Verdict::New(line) => self.accept(stream, line),
            Verdict::Known | Verdict::Held => {}
            Verdict::Gap(lines) => self.accept_after_gap(stream, lines),
        }
    }

    fn accept_after_gap(&mut self, stream: Stream, lines: Vec<Line>) {
        let Some(first) = lines.first() else {
            return;
        };
        self.telemetry.gaps.inc();
        let marker = ScrubbedEntry {
            at_ns: first.at_ns,
            line: self.scrubber.line(GAP_TEXT.as_bytes()),
            metadata: self.metadata(Remarks {
                level: None,
                truncated: false,
                gap: true,
            }),
        };
        self.streams[stream as usize].entries.push(marker);
        for line in lines {
            self.accept(stream, line);
        }
    }

    fn accept(&mut self, stream: Stream, line: Line) {
        let Some(text) = self.scrubber.keep(&line.text) else {
            // The scrubber counts it. It is read nevertheless.
            self.accepted += 1;
            self.streams[stream as usize].last = Some(line);
            return;
        };
        let metadata = self.metadata(Remarks {
            level: level::of(text.as_str()),
            truncated: line.is_cut(),
            gap: false,
        });
        self.accepted += 1;
        self.telemetry.lines.inc();
        self.telemetry.bytes.inc_by(line.length as u64);
        if line.is_cut() {
            self.telemetry.cut.inc();
        }
        let output = &mut self.streams[stream as usize];
        output.bytes += text.len() + ENTRY_BYTES;
        output.entries.push(ScrubbedEntry {
            at_ns: line.at_ns,
            line: text,
            metadata,
        });
        output.last = Some(line);
    }

    /// The labels of an entry; there are few kinds, so each is made once.
    fn metadata(&mut self, remarks: Remarks) -> ScrubbedLabels {
        if let Some((_, known)) = self.metadata.iter().find(|(known, _)| *known == remarks) {
            return known.clone();
        }
        let mut labels = LabelsBuilder::default();
        labels.set("container_id", &self.container_id);
        labels.set("level", remarks.level.unwrap_or_default());
        for (name, holds) in [("truncated", remarks.truncated), ("gap", remarks.gap)] {
            labels.set(name, if holds { "true" } else { "" });
        }
        let labels = self.scrubber.labels(&labels.build());
        self.metadata.push((remarks, labels.clone()));
        labels
    }
}

#[cfg(test)]
mod tests;
