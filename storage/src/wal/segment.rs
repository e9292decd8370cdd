//! The bytes of a segment: its header, its records, and reading them in spite of damage.

use std::io;

use crate::disk::DiskFile;
use crate::format::other_version;
use crate::telemetry::FileKind;

/// Longest payload of a record.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

pub(super) const MAGIC: [u8; 4] = *b"SWWL";
pub(crate) const VERSION: u16 = 5;
/// Magic and version.
pub(crate) const FORMAT: ([u8; 4], u16) = (MAGIC, VERSION);
pub(super) const HEADER_BYTES: usize = 20;
/// Length, checksum, type.
pub(super) const RECORD_HEADER_BYTES: usize = 9;
/// The type of the log's own record: its payload tells how many bytes of the segment were
/// synced when it was written.
pub(super) const SYNCED: u8 = 255;
/// Read ahead this much at replay.
const WINDOW_BYTES: usize = 256 << 10;

/// What is at a place of a segment.
pub(super) enum Record<'a> {
    /// Type, payload, where the next record starts.
    Whole(u8, &'a [u8], u64),
    /// Where the next record would start if the length is right.
    Bad(Option<u64>),
}

/// A part of a file in memory.
pub(super) struct Window<'a> {
    file: &'a dyn DiskFile,
    pub(super) len: u64,
    start: u64,
    buffer: Vec<u8>,
    /// What the disk said when it could not be read. What is asked for is missing since.
    pub(super) error: Option<io::Error>,
}

impl Window<'_> {
    pub(super) fn new(file: &dyn DiskFile, len: u64) -> Window<'_> {
        Window {
            file,
            len,
            start: 0,
            buffer: Vec::new(),
            error: None,
        }
    }

    pub(super) fn header_holds(&mut self, kind: FileKind, number: u64) -> bool {
        self.get(0, HEADER_BYTES).is_some_and(|h| {
            h[..4] == MAGIC
                && h[4..6] == VERSION.to_le_bytes()
                && h[6..8] == kind_number(kind).to_le_bytes()
                && h[8..16] == number.to_le_bytes()
                && h[16..20] == crc32fast::hash(&h[..16]).to_le_bytes()
        })
    }

    /// The version of its format, when that is another one.
    pub(super) fn other_version(&self) -> Option<u16> {
        other_version(self.file, MAGIC, VERSION)
    }

    fn get(&mut self, at: u64, count: usize) -> Option<&[u8]> {
        let end = at.checked_add(count as u64)?;
        if end > self.len {
            return None;
        }
        if at < self.start || end > self.start + self.buffer.len() as u64 {
            let want = count
                .max(WINDOW_BYTES)
                .min(usize::try_from(self.len - at).ok()?);
            self.buffer.clear();
            self.buffer.shrink_to(WINDOW_BYTES);
            self.buffer.resize(want, 0);
            self.start = at;
            if let Err(e) = self.file.read_at(&mut self.buffer, at) {
                self.buffer.clear();
                // One that somebody has cut is damaged.
                if e.kind() != io::ErrorKind::UnexpectedEof {
                    self.error = Some(e);
                }
                return None;
            }
        }
        let from = (at - self.start) as usize;
        self.buffer.get(from..from + count)
    }

    /// Where a record starts behind the damaged one at `at`, when a [`SYNCED`] one says that
    /// everything up to there had been synced. It is looked for at every byte: no text holds
    /// its type.
    pub(super) fn synced_behind(&mut self, at: u64) -> Option<u64> {
        for place in at + 1..self.len {
            let header = self.get(place, RECORD_HEADER_BYTES)?;
            if header[..4] != 8_u32.to_le_bytes() || header[8] != SYNCED {
                continue;
            }
            if let Record::Whole(_, payload, _) = self.record(place) {
                let synced = payload.try_into().map_or(0, u64::from_le_bytes);
                if (at + 1..=place).contains(&synced) {
                    return Some(synced);
                }
            }
        }
        None
    }

    pub(super) fn record(&mut self, at: u64) -> Record<'_> {
        let Some(header) = self.get(at, RECORD_HEADER_BYTES) else {
            return Record::Bad(None);
        };
        let length = [header[0], header[1], header[2], header[3]];
        let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let record_type = header[8];
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > RECORD_BYTES_MAX {
            return Record::Bad(None);
        }
        let next = at + (RECORD_HEADER_BYTES + bytes) as u64;
        let Some(payload) = self.get(at + RECORD_HEADER_BYTES as u64, bytes) else {
            return Record::Bad(None);
        };
        if record_crc(length, record_type, payload) == crc {
            Record::Whole(record_type, payload, next)
        } else {
            Record::Bad(Some(next))
        }
    }
}

pub(crate) fn put_record(into: &mut Vec<u8>, record_type: u8, payload: &[u8]) {
    let length = (payload.len() as u32).to_le_bytes();
    into.extend_from_slice(&length);
    let crc = record_crc(length, record_type, payload);
    into.extend_from_slice(&crc.to_le_bytes());
    into.push(record_type);
    into.extend_from_slice(payload);
}

/// Over length, type and payload, so that zeroed bytes are no record.
fn record_crc(length: [u8; 4], record_type: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&[record_type]);
    hasher.update(payload);
    hasher.finalize()
}

pub(super) fn kind_number(kind: FileKind) -> u16 {
    match kind {
        FileKind::MetricWal => 1,
        _ => 2,
    }
}
