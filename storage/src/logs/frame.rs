//! A frame: about 128 KiB of lines of one stream, compressed, checksummed, readable alone.
//! Bytes: `docs/formats/frames.md`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::{Labels, LogEntry};

use crate::bytes::{Malformed, Reader, put_labels, put_signed, put_varint};

/// Text and metadata in a frame, about; a single line may be longer.
pub(crate) const FRAME_TEXT_BYTES: usize = 128 << 10;
/// Header and payload bytes that a reader believes.
pub(crate) const FRAME_BYTES_MAX: u32 = 80 << 20;
/// Decompressed bytes that a reader believes.
const RAW_BYTES_MAX: u32 = 80 << 20;
pub(crate) const MAGIC: [u8; 4] = *b"SWFR";
/// Magic and the two lengths, which say how much to read.
pub(crate) const PREFIX_BYTES: usize = 12;
const ZSTD_LEVEL: i32 = 3;

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
    pub(crate) header_bytes: u32,
    pub(crate) payload_bytes: u32,
    payload_crc: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) lines: u32,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) min_ns: i64,
    pub(crate) max_ns: i64,
    pub(crate) labels: Labels,
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

/// Encodes at least one line; sequence numbers ascend.
///
/// # Errors
/// When the compressor fails, or the frame would be larger than a reader believes.
pub(crate) fn encode<L: AsRef<Line>>(labels: &Labels, lines: &[L]) -> std::io::Result<Vec<u8>> {
    let lines = || lines.iter().map(AsRef::as_ref);
    let mut raw = Vec::new();
    let (mut seq, mut at_ns) = (0_u64, 0_i64);
    for l in lines() {
        put_varint(&mut raw, l.seq.wrapping_sub(seq));
        seq = l.seq;
    }
    for l in lines() {
        put_signed(&mut raw, l.entry.at_ns.wrapping_sub(at_ns));
        at_ns = l.entry.at_ns;
    }
    let mut numbers: HashMap<&Labels, u64, RandomState> = HashMap::default();
    let mut sets: Vec<&Labels> = Vec::new();
    let mut column = Vec::new();
    for l in lines() {
        let number = *numbers.entry(&l.entry.metadata).or_insert_with(|| {
            sets.push(&l.entry.metadata);
            sets.len() as u64 - 1
        });
        put_varint(&mut column, number);
    }
    put_varint(&mut raw, sets.len() as u64);
    for set in sets {
        put_labels(&mut raw, set);
    }
    raw.extend_from_slice(&column);
    for l in lines() {
        put_varint(&mut raw, l.entry.line.len() as u64);
    }
    for l in lines() {
        raw.extend_from_slice(l.entry.line.as_bytes());
    }
    if raw.len() > RAW_BYTES_MAX as usize {
        let why = format!("{} bytes of lines in one frame", raw.len());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    let payload = zstd::bulk::compress(&raw, ZSTD_LEVEL)?;
    let mut packed_labels = Vec::new();
    put_labels(&mut packed_labels, labels);
    let header_bytes = PREFIX_BYTES + 12 + 32 + packed_labels.len() + 4;
    let mut out = Vec::with_capacity(header_bytes + payload.len());
    out.extend_from_slice(&MAGIC);
    let mut put = |v: u32| out.extend_from_slice(&v.to_le_bytes());
    put(header_bytes as u32);
    put(payload.len() as u32);
    put(crc32fast::hash(&payload));
    put(raw.len() as u32);
    put(lines().count() as u32);
    let first_seq = lines().next().map_or(0, |l| l.seq);
    out.extend_from_slice(&first_seq.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    let times = || lines().map(|l| l.entry.at_ns);
    out.extend_from_slice(&times().min().unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&times().max().unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&packed_labels);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(out)
}

/// The payload length after decompression of a frame just encoded.
pub(crate) fn raw_bytes(frame: &[u8]) -> u32 {
    frame
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// Header and payload length, if `prefix` starts a frame.
pub(crate) fn lengths(prefix: &[u8]) -> Option<(u32, u32)> {
    let mut r = Reader::new(prefix);
    let (magic, header, payload) = (r.array::<4>().ok()?, r.u32().ok()?, r.u32().ok()?);
    (magic == MAGIC && header.checked_add(payload)? <= FRAME_BYTES_MAX).then_some((header, payload))
}

impl Header {
    /// Reads and checks a header; `bytes` start with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let (header_bytes, payload_bytes) = lengths(bytes).ok_or(Malformed)?;
        let mut whole = Reader::new(bytes);
        let covered = whole.take((header_bytes as usize).checked_sub(4).ok_or(Malformed)?)?;
        if whole.u32()? != crc32fast::hash(covered) {
            return Err(Malformed);
        }
        let mut r = Reader::new(covered.get(PREFIX_BYTES..).ok_or(Malformed)?);
        Ok(Header {
            header_bytes,
            payload_bytes,
            payload_crc: r.u32()?,
            raw_bytes: r.u32()?,
            lines: r.u32()?,
            first_seq: r.u64()?,
            last_seq: r.u64()?,
            min_ns: r.u64()? as i64,
            max_ns: r.u64()? as i64,
            labels: r.labels()?,
        })
    }

    /// Whether the payload is as it was written.
    pub(crate) fn holds_for(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && crc32fast::hash(payload) == self.payload_crc
    }
}

/// A decompressed frame.
pub(crate) struct Frame {
    raw: Vec<u8>,
    metadata: Vec<Labels>,
    /// In the order of reception.
    pub(crate) rows: Vec<Row>,
}

/// Where a line of a [`Frame`] is.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) at_ns: i64,
    pub(crate) seq: u64,
    metadata: u32,
    start: u32,
    end: u32,
}

impl Frame {
    /// Checks and decompresses the payload that belongs to `header`.
    pub(crate) fn decode(header: &Header, payload: &[u8]) -> Result<Frame, Malformed> {
        if !header.holds_for(payload) || header.raw_bytes > RAW_BYTES_MAX {
            return Err(Malformed);
        }
        let raw = zstd::bulk::decompress(payload, header.raw_bytes as usize);
        let raw = raw.map_err(|_| Malformed)?;
        let mut r = Reader::new(&raw);
        let count = header.lines as usize;
        // Each line takes at least four bytes of columns.
        if count > raw.len() / 4 {
            return Err(Malformed);
        }
        let mut rows = Vec::with_capacity(count);
        let (mut seq, mut at_ns) = (0_u64, 0_i64);
        for _ in 0..count {
            seq = seq.wrapping_add(r.varint()?);
            rows.push(Row {
                at_ns: 0,
                seq,
                metadata: 0,
                start: 0,
                end: 0,
            });
        }
        for row in &mut rows {
            at_ns = at_ns.wrapping_add(r.signed()?);
            row.at_ns = at_ns;
        }
        let sets = r.count(1)?;
        let mut metadata = Vec::with_capacity(sets);
        for _ in 0..sets {
            metadata.push(r.labels()?);
        }
        for row in &mut rows {
            let number = r.varint()?;
            if number >= sets as u64 {
                return Err(Malformed);
            }
            row.metadata = number as u32;
        }
        let mut end = 0_u64;
        for row in &mut rows {
            row.start = end as u32;
            end = end.checked_add(r.varint()?).ok_or(Malformed)?;
            row.end = u32::try_from(end).map_err(|_| Malformed)?;
        }
        if r.remaining() as u64 != end {
            return Err(Malformed);
        }
        let text_at = (raw.len() - r.remaining()) as u32;
        for row in &mut rows {
            row.start += text_at;
            row.end += text_at;
        }
        Ok(Frame {
            raw,
            metadata,
            rows,
        })
    }

    /// Puts a line into `entry`, whose buffer is used again.
    pub(crate) fn fill(&self, row: &Row, entry: &mut LogEntry) {
        let bytes = self.raw.get(row.start as usize..row.end as usize);
        entry.at_ns = row.at_ns;
        entry.line.clear();
        entry
            .line
            .push_str(&String::from_utf8_lossy(bytes.unwrap_or_default()));
        if let Some(metadata) = self.metadata.get(row.metadata as usize) {
            entry.metadata = metadata.clone();
        }
    }
}

impl AsRef<Line> for Line {
    fn as_ref(&self) -> &Line {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        let line = (any::<i64>(), ".{0,60}", 0..3_u8, 1..1000_u64);
        prop::collection::vec(line, 1..60).prop_map(|lines| {
            let mut seq = 0;
            lines
                .into_iter()
                .map(|(at_ns, line, meta, step)| {
                    seq += step;
                    let metadata = Labels::from_pairs([("level", "x".repeat(meta.into()))]);
                    let entry = LogEntry {
                        at_ns,
                        line,
                        metadata,
                    };
                    let weight = entry.line.len();
                    Line { seq, weight, entry }
                })
                .collect()
        })
    }

    fn decode(bytes: &[u8]) -> Result<(Header, Vec<Line>), Malformed> {
        let header = Header::decode(bytes)?;
        let from = header.header_bytes as usize;
        let payload = bytes.get(from..from + header.payload_bytes as usize);
        let frame = Frame::decode(&header, payload.ok_or(Malformed)?)?;
        let mut back = Vec::new();
        for row in &frame.rows {
            let mut entry = LogEntry {
                at_ns: 0,
                line: String::new(),
                metadata: Labels::empty(),
            };
            frame.fill(row, &mut entry);
            back.push(Line {
                seq: row.seq,
                weight: entry.line.len(),
                entry,
            });
        }
        Ok((header, back))
    }

    proptest! {
        #[test]
        fn lines_come_back(lines in lines()) {
            let labels = Labels::from_pairs([("service_name", "db")]);
            let bytes = encode(&labels, &lines).unwrap();
            let (header, back) = decode(&bytes).unwrap();
            prop_assert_eq!(&back, &lines);
            prop_assert_eq!(header.labels, labels);
            prop_assert_eq!(header.min_ns, lines.iter().map(|l| l.entry.at_ns).min().unwrap());
            prop_assert_eq!(header.last_seq, lines.last().unwrap().seq);
        }

        #[test]
        fn a_flipped_bit_or_a_cut_is_always_noticed(lines in lines(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&Labels::empty(), &lines).unwrap();
            let mut damaged = bytes.clone();
            damaged[at.index(bytes.len())] ^= 1;
            prop_assert!(decode(&damaged).is_err());
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}
