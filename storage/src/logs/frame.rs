//! A frame: lines of one stream, compressed, checksummed, readable alone.
//! Bytes: `docs/formats/frames.md`.

use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;
use model::Labels;
use model::LogEntry;
use zstd::bulk::Compressor;

use super::tokens::Words;
use crate::bytes::{Malformed, Reader, put_labels, put_signed, put_varint};

/// Text and metadata in a frame of the day, about; a single line may be longer.
pub(crate) const FRAME_TEXT_BYTES: usize = 128 << 10;
/// Bytes of header and the rest that a reader believes.
pub(crate) const FRAME_BYTES_MAX: u32 = 80 << 20;
/// Decompressed bytes that a reader believes, of columns and of texts.
pub(super) const RAW_BYTES_MAX: u32 = 80 << 20;
pub(crate) const MAGIC: [u8; 4] = *b"SWFR";
/// Magic and the four lengths, which say how much to read.
pub(crate) const PREFIX_BYTES: usize = 20;
/// Prefix, checksums, other lengths, places in order and time.
const FIXED_BYTES: usize = PREFIX_BYTES + 24 + 32;
/// Of the day. At this size level 3 takes twice the time of level 1 for nothing.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// A line and its place in the order of reception over all streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    /// Bytes of the text, and of metadata that the line before does not share.
    pub(crate) weight: usize,
    pub(crate) entry: LogEntry,
}

/// What can be known without decompressing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) lengths: Lengths,
    filter_crc: u32,
    columns_crc: u32,
    texts_crc: u32,
    pub(super) raw_columns_bytes: u32,
    pub(super) raw_texts_bytes: u32,
    pub(crate) lines: u32,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) labels: Labels,
}

/// Of the parts of a frame, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) header: u32,
    pub(crate) filter: u32,
    pub(crate) columns: u32,
    pub(crate) texts: u32,
}

impl Lengths {
    /// What `prefix` says, if it starts a frame.
    pub(crate) fn read(prefix: &[u8]) -> Option<Lengths> {
        let mut r = Reader::new(prefix);
        if r.array::<4>().ok()? != MAGIC {
            return None;
        }
        let mut next = || r.u32().ok();
        let lengths = Lengths {
            header: next()?,
            filter: next()?,
            columns: next()?,
            texts: next()?,
        };
        (lengths.total() <= u64::from(FRAME_BYTES_MAX)).then_some(lengths)
    }

    /// Of the whole frame.
    pub(crate) fn total(&self) -> u64 {
        let all = [self.header, self.filter, self.columns, self.texts];
        all.into_iter().map(u64::from).sum()
    }
}

/// How much of `lines` makes one frame.
pub(crate) fn frame_len<L: AsRef<Line>>(lines: &[L]) -> usize {
    let mut weight = 0;
    for (i, line) in lines.iter().enumerate() {
        weight += line.as_ref().weight;
        if weight >= FRAME_TEXT_BYTES {
            return i + 1;
        }
    }
    lines.len()
}

/// Collects the lines of a frame, in the order of reception.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    lines: u32,
    seqs: Vec<u8>,
    times: Vec<u8>,
    numbers: Vec<u8>,
    lengths: Vec<u8>,
    texts: Vec<u8>,
    sets: Vec<Labels>,
    /// Bytes of the texts and of the sets.
    weight: usize,
    number_of: HashMap<Labels, u64, RandomState>,
    last_number: u64,
    first_seq: u64,
    last_seq: u64,
    last_ns: i64,
    min_ns: i64,
    max_ns: i64,
    /// For a frame with a filter.
    words: Option<Words>,
}

impl FrameBuilder {
    /// For frames that say which words they have.
    pub(super) fn with_filter() -> FrameBuilder {
        FrameBuilder {
            words: Some(Words::default()),
            ..FrameBuilder::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn max_ns(&self) -> i64 {
        self.max_ns
    }

    /// Adds a line; sequence numbers ascend.
    pub(super) fn push(&mut self, seq: u64, at_ns: i64, metadata: &Labels, text: &[u8]) {
        if self.lines == 0 {
            (self.first_seq, self.min_ns, self.max_ns) = (seq, at_ns, at_ns);
        }
        self.lines += 1;
        put_varint(&mut self.seqs, seq.wrapping_sub(self.last_seq));
        put_signed(&mut self.times, at_ns.wrapping_sub(self.last_ns));
        (self.last_seq, self.last_ns) = (seq, at_ns);
        self.min_ns = self.min_ns.min(at_ns);
        self.max_ns = self.max_ns.max(at_ns);
        let last = self.sets.get(self.last_number as usize);
        if last.is_none_or(|last| !last.is_same(metadata)) {
            self.last_number = match self.number_of.get(metadata) {
                Some(number) => *number,
                None => {
                    let number = self.sets.len() as u64;
                    self.number_of.insert(metadata.clone(), number);
                    self.sets.push(metadata.clone());
                    self.weight += metadata.heap_bytes();
                    number
                }
            };
        }
        put_varint(&mut self.numbers, self.last_number);
        put_varint(&mut self.lengths, text.len() as u64);
        self.texts.extend_from_slice(text);
        self.weight += text.len();
        if let Some(words) = &mut self.words {
            words.add(text);
        }
    }

    /// The frame of at least one line, appended to `out`; begins anew, with the same memory.
    ///
    /// # Errors
    /// When there is no memory to compress with, or the frame would be larger than a reader
    /// believes.
    pub(super) fn finish(
        &mut self,
        labels: &Labels,
        zstd: &mut Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut columns = Vec::new();
        put_varint(&mut columns, self.sets.len() as u64);
        for set in &self.sets {
            put_labels(&mut columns, set);
        }
        for column in [&self.numbers, &self.seqs, &self.times, &self.lengths] {
            columns.extend_from_slice(column);
        }
        if columns.len().max(self.texts.len()) > RAW_BYTES_MAX as usize {
            let why = format!("{} bytes of lines in one frame", self.weight);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let filter = self.words.as_mut().map_or(Vec::new(), Words::finish);
        let packed_columns = zstd.compress(&columns)?;
        let packed_texts = zstd.compress(&self.texts)?;
        let mut packed_labels = Vec::new();
        put_labels(&mut packed_labels, labels);
        let begin = out.len();
        out.reserve(FIXED_BYTES + packed_labels.len() + 4 + filter.len());
        out.extend_from_slice(&MAGIC);
        for word in [
            (FIXED_BYTES + packed_labels.len() + 4) as u32,
            filter.len() as u32,
            packed_columns.len() as u32,
            packed_texts.len() as u32,
            crc32fast::hash(&filter),
            crc32fast::hash(&packed_columns),
            crc32fast::hash(&packed_texts),
            columns.len() as u32,
            self.texts.len() as u32,
            self.lines,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.last_seq.to_le_bytes());
        out.extend_from_slice(&self.min_ns.to_le_bytes());
        out.extend_from_slice(&self.max_ns.to_le_bytes());
        out.extend_from_slice(&packed_labels);
        let crc = crc32fast::hash(&out[begin..]);
        out.extend_from_slice(&crc.to_le_bytes());
        for part in [&filter, &packed_columns, &packed_texts] {
            out.extend_from_slice(part);
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        let columns = [&mut self.seqs, &mut self.times, &mut self.numbers];
        for column in columns
            .into_iter()
            .chain([&mut self.lengths, &mut self.texts])
        {
            column.clear();
        }
        self.sets.clear();
        self.number_of.clear();
        self.weight = 0;
        (self.lines, self.last_number, self.last_seq, self.last_ns) = (0, 0, 0, 0);
    }
}

/// A part of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Filter,
    Columns,
    Texts,
}

impl Header {
    /// Reads and checks a header; `bytes` start with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let lengths = Lengths::read(bytes).ok_or(Malformed)?;
        let mut whole = Reader::new(bytes);
        let covered = whole.take((lengths.header as usize).checked_sub(4).ok_or(Malformed)?)?;
        let crc = whole.u32()?;
        if !holds(covered, crc) {
            return Err(Malformed);
        }
        let mut r = Reader::new(covered.get(PREFIX_BYTES..).ok_or(Malformed)?);
        Ok(Header {
            lengths,
            filter_crc: r.u32()?,
            columns_crc: r.u32()?,
            texts_crc: r.u32()?,
            raw_columns_bytes: r.u32()?,
            raw_texts_bytes: r.u32()?,
            lines: r.u32()?,
            first_seq: r.u64()?,
            last_seq: r.u64()?,
            min_ns: r.u64()? as i64,
            max_ns: r.u64()? as i64,
            labels: r.labels()?,
        })
    }

    /// A part of the frame that begins with `bytes`, if it is there and as it was written.
    pub(super) fn part<'b>(&self, bytes: &'b [u8], part: Part) -> Result<&'b [u8], Malformed> {
        let l = &self.lengths;
        let (before, len, crc) = match part {
            Part::Filter => (0, l.filter, self.filter_crc),
            Part::Columns => (l.filter, l.columns, self.columns_crc),
            Part::Texts => (l.filter + l.columns, l.texts, self.texts_crc),
        };
        let begin = l.header as usize + before as usize;
        let bytes = bytes.get(begin..begin + len as usize).ok_or(Malformed)?;
        match holds(bytes, crc) {
            true => Ok(bytes),
            false => Err(Malformed),
        }
    }

    /// Whether all parts of the frame in `bytes` are as they were written.
    pub(crate) fn holds_for(&self, bytes: &[u8]) -> bool {
        let parts = [Part::Filter, Part::Columns, Part::Texts];
        parts.into_iter().all(|p| self.part(bytes, p).is_ok())
    }
}

/// Fuzzing looks at what comes behind the checksums.
fn holds(bytes: &[u8], crc: u32) -> bool {
    cfg!(feature = "fuzzing") || crc32fast::hash(bytes) == crc
}

impl AsRef<Line> for Line {
    fn as_ref(&self) -> &Line {
        self
    }
}
