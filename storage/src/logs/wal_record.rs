//! Lines and positions as records of the write-ahead log. Bytes: `docs/formats/wal.md`.

use std::collections::BTreeMap;

use model::{Labels, LogEntry};
use scrub::LogBatch;

use crate::bytes::{Malformed, Reader, put_bytes, put_labels, put_signed, put_varint};

/// A batch: lines of a stream and the position of their source.
pub(crate) const LINES: u8 = 2;
/// All positions at the start of a segment.
pub(crate) const POSITIONS: u8 = 3;
/// A source is gone.
pub(crate) const FORGET: u8 = 4;

const HAS_DEFINITION: u8 = 1;
const HAS_POSITION: u8 = 2;

/// What a batch becomes.
pub(crate) struct LinesRecord<'a> {
    /// The stream's number in this segment.
    pub(crate) stream: u32,
    /// Whether to write the stream's labels too.
    pub(crate) define: bool,
    /// Of the first line; the others follow one by one.
    pub(crate) first_seq: u64,
    pub(crate) batch: &'a LogBatch,
}

impl LinesRecord<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let position = self.batch.position.as_ref();
        let flags = if self.define { HAS_DEFINITION } else { 0 }
            | if position.is_some() { HAS_POSITION } else { 0 };
        out.push(flags);
        put_varint(out, self.stream.into());
        if self.define {
            put_labels(out, self.batch.stream.labels());
        }
        if let Some(p) = position {
            put_bytes(out, p.source.as_bytes());
            put_bytes(out, &p.position);
        }
        put_varint(out, self.first_seq);
        put_varint(out, self.batch.entries.len() as u64);
        let mut at_ns = 0_i64;
        let mut metadata: Option<&Labels> = None;
        for e in &self.batch.entries {
            put_signed(out, e.at_ns.wrapping_sub(at_ns));
            at_ns = e.at_ns;
            let labels = e.metadata.labels();
            let same = metadata == Some(labels);
            out.push(u8::from(!same));
            if !same {
                put_labels(out, labels);
                metadata = Some(labels);
            }
            put_bytes(out, e.line.as_str().as_bytes());
        }
    }
}

/// A batch read back.
pub(crate) struct Lines {
    pub(crate) stream: u32,
    pub(crate) definition: Option<Labels>,
    pub(crate) position: Option<(String, Vec<u8>)>,
    pub(crate) first_seq: u64,
    pub(crate) entries: Vec<LogEntry>,
}

pub(crate) fn decode_lines(payload: &[u8]) -> Result<Lines, Malformed> {
    let mut r = Reader::new(payload);
    let flags = r.u8()?;
    let stream = u32::try_from(r.varint()?).map_err(|_| Malformed)?;
    let definition = match flags & HAS_DEFINITION {
        0 => None,
        _ => Some(r.labels()?),
    };
    let position = match flags & HAS_POSITION {
        0 => None,
        _ => Some((r.text()?.to_owned(), r.bytes()?.to_vec())),
    };
    let first_seq = r.varint()?;
    let count = r.count(3)?;
    let mut entries = Vec::with_capacity(count);
    let (mut at_ns, mut metadata) = (0_i64, Labels::empty());
    for _ in 0..count {
        at_ns = at_ns.wrapping_add(r.signed()?);
        if r.u8()? != 0 {
            metadata = r.labels()?;
        }
        entries.push(LogEntry {
            at_ns,
            line: r.text()?.to_owned(),
            metadata: metadata.clone(),
        });
    }
    Ok(Lines {
        stream,
        definition,
        position,
        first_seq,
        entries,
    })
}

/// All positions, and the sequence number of the next line.
pub(crate) fn encode_positions(
    next_seq: u64,
    positions: &BTreeMap<String, Vec<u8>>,
    out: &mut Vec<u8>,
) {
    put_varint(out, next_seq);
    put_varint(out, positions.len() as u64);
    for (source, position) in positions {
        put_bytes(out, source.as_bytes());
        put_bytes(out, position);
    }
}

pub(crate) fn decode_positions(
    payload: &[u8],
) -> Result<(u64, BTreeMap<String, Vec<u8>>), Malformed> {
    let mut r = Reader::new(payload);
    let next_seq = r.varint()?;
    let mut positions = BTreeMap::new();
    for _ in 0..r.count(2)? {
        positions.insert(r.text()?.to_owned(), r.bytes()?.to_vec());
    }
    Ok((next_seq, positions))
}
