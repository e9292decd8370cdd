//! Pieces of a block: checksummed, compressed where it pays. Two kinds hold samples: a frame
//! has the values of neighbouring series over one slice of time, a page of times the
//! timestamp columns they share. Bytes: `docs/formats/block.md`.

use std::sync::Arc;

use super::block::BlockError;
use super::column::{COLUMN_SAMPLES, decode_times};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};
use crate::disk::DiskFile;

/// Largest piece after decompression that a reader believes.
const PIECE_BYTES_MAX: usize = 64 << 20;
/// Timestamp columns of a page at most: what is unpacked at once stays below 128 KiB.
pub(crate) const TIMES_COLUMNS: usize = 32;

/// Where a piece is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PieceRef {
    pub(crate) offset: u64,
    /// As stored.
    pub(crate) bytes: u32,
    /// After decompression; the same when it is not compressed.
    pub(crate) raw_bytes: u32,
    /// Of the bytes as stored.
    pub(crate) crc: u32,
}

impl PieceRef {
    /// Length, length after decompression and checksum; the offset is told by the order.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.bytes.into());
        put_varint(out, self.raw_bytes.into());
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'_>, offset: u64) -> Result<PieceRef, Malformed> {
        let mut small = || {
            r.varint()
                .and_then(|v| u32::try_from(v).map_err(|_| Malformed))
        };
        let (bytes, raw_bytes) = (small()?, small()?);
        let crc = r.u32()?;
        Ok(PieceRef {
            offset,
            bytes,
            raw_bytes,
            crc,
        })
    }

    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.into())
    }

    /// The content, checked.
    pub(crate) fn content(
        &self,
        file: &dyn DiskFile,
        what: &'static str,
    ) -> Result<Vec<u8>, BlockError> {
        let raw_bytes = self.raw_bytes as usize;
        if raw_bytes > PIECE_BYTES_MAX || self.bytes > self.raw_bytes {
            return Err(BlockError::Corrupt(what));
        }
        let mut stored = vec![0; self.bytes as usize];
        file.read_at(&mut stored, self.offset)?;
        // Fuzzing is to get past the checksum, to what damage it does not notice would meet.
        if crc32fast::hash(&stored) != self.crc && !cfg!(feature = "fuzzing") {
            return Err(BlockError::Corrupt(what));
        }
        if self.bytes == self.raw_bytes {
            return Ok(stored);
        }
        let raw = zstd::bulk::decompress(&stored, raw_bytes);
        raw.ok()
            .filter(|raw| raw.len() == raw_bytes)
            .ok_or(BlockError::Corrupt(what))
    }
}

/// What the values of an entry are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The samples; in a roll-up those that stand for their bucket.
    Floats = 0,
    Histograms = 1,
    /// Per bucket of a roll-up, at the instant of its last sample: the sum of its samples,
    Sum = 2,
    /// their number,
    Count = 3,
    /// the smallest,
    Min = 4,
    /// and the largest.
    Max = 5,
}

/// How many kinds there may be; the others are refused.
const KINDS: u64 = 8;

impl Kind {
    fn of(number: u64) -> Result<Kind, Malformed> {
        Ok(match number {
            0 => Kind::Floats,
            1 => Kind::Histograms,
            2 => Kind::Sum,
            3 => Kind::Count,
            4 => Kind::Min,
            5 => Kind::Max,
            _ => return Err(Malformed),
        })
    }
}

/// The values of one series over a part of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameEntry {
    /// Place of the series in its group.
    pub(crate) series: u16,
    pub(crate) kind: Kind,
    /// The timestamp column, and which part of it.
    pub(crate) column: u32,
    pub(crate) skip: u16,
    pub(crate) count: u16,
    start: u32,
    end: u32,
}

/// An unpacked frame.
pub(crate) struct Frame {
    /// Ordered by series, then time.
    entries: Vec<FrameEntry>,
    bytes: Vec<u8>,
}

impl Frame {
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Frame, Malformed> {
        let mut r = Reader::new(&bytes);
        let count = r.count(5)?;
        let mut entries: Vec<FrameEntry> = Vec::with_capacity(count);
        let (mut series, mut column, mut end) = (0_u64, 0_i64, 0_u64);
        for _ in 0..count {
            let first = r.varint()?;
            series = series.checked_add(first / KINDS).ok_or(Malformed)?;
            column = column.wrapping_add(r.signed()?);
            let (skip, count, len) = (r.varint()?, r.varint()?, r.varint()?);
            let start = end;
            end = end.checked_add(len).ok_or(Malformed)?;
            let fits = skip.saturating_add(count) <= COLUMN_SAMPLES as u64 && count > 0;
            if !fits || end > PIECE_BYTES_MAX as u64 {
                return Err(Malformed);
            }
            entries.push(FrameEntry {
                series: u16::try_from(series).map_err(|_| Malformed)?,
                kind: Kind::of(first % KINDS)?,
                column: u32::try_from(column).map_err(|_| Malformed)?,
                skip: skip as u16,
                count: count as u16,
                start: start as u32,
                end: end as u32,
            });
        }
        if r.remaining() as u64 != end {
            return Err(Malformed);
        }
        let base = (bytes.len() - r.remaining()) as u32;
        for entry in &mut entries {
            entry.start += base;
            entry.end += base;
        }
        Ok(Frame { entries, bytes })
    }

    /// Entries of one series.
    pub(crate) fn of_series(&self, series: u16) -> &[FrameEntry] {
        let from = self.entries.partition_point(|e| e.series < series);
        let rest = &self.entries[from..];
        &rest[..rest.partition_point(|e| e.series == series)]
    }

    /// The values of an entry of this frame, as they were encoded.
    pub(crate) fn values(&self, entry: &FrameEntry) -> &[u8] {
        let range = entry.start as usize..entry.end as usize;
        self.bytes.get(range).unwrap_or_default()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<FrameEntry>()
    }
}

/// A frame in the making.
#[derive(Default)]
pub(crate) struct FrameBuilder {
    directory: Vec<u8>,
    values: Vec<u8>,
    count: u64,
    series: u16,
    column: i64,
}

impl FrameBuilder {
    /// Adds values, of the same or a later series than before.
    pub(crate) fn push(
        &mut self,
        (series, kind): (u16, Kind),
        (column, skip, count): (u32, u16, u16),
        values: &[u8],
    ) {
        let step = u64::from(series.saturating_sub(self.series));
        put_varint(&mut self.directory, step * KINDS + kind as u64);
        put_signed(&mut self.directory, i64::from(column) - self.column);
        put_varint(&mut self.directory, skip.into());
        put_varint(&mut self.directory, count.into());
        put_varint(&mut self.directory, values.len() as u64);
        self.values.extend_from_slice(values);
        self.series = series;
        self.column = column.into();
        self.count += 1;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.directory.len() + self.values.len()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes() + 3);
        put_varint(&mut out, self.count);
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(&self.values);
        out
    }
}

/// An unpacked page of timestamp columns.
pub(crate) struct TimesPage {
    columns: Vec<Arc<[i64]>>,
}

impl TimesPage {
    pub(crate) fn parse(bytes: &[u8]) -> Result<TimesPage, Malformed> {
        let mut r = Reader::new(bytes);
        let mut columns = Vec::new();
        let mut times = Vec::new();
        while !r.is_empty() {
            if columns.len() == TIMES_COLUMNS {
                return Err(Malformed);
            }
            let count = r.varint()?;
            if count == 0 || count > COLUMN_SAMPLES as u64 {
                return Err(Malformed);
            }
            times.clear();
            decode_times(&mut r, count as usize, &mut times)?;
            // Everybody who reads samples counts on it.
            if !times.is_sorted_by(|a, b| a < b) {
                return Err(Malformed);
            }
            columns.push(Arc::from(times.as_slice()));
        }
        Ok(TimesPage { columns })
    }

    pub(crate) fn column(&self, at: usize) -> Option<&Arc<[i64]>> {
        self.columns.get(at)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.columns.iter().map(|c| c.len() * 8 + 32).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_gives_each_series_its_entries() {
        let mut frame = FrameBuilder::default();
        frame.push((0, Kind::Floats), (7, 0, 480), b"abc");
        frame.push((2, Kind::Floats), (3, 10, 20), b"");
        frame.push((2, Kind::Histograms), (9, 0, 1), b"de");
        let frame = Frame::parse(frame.finish()).unwrap();
        let seen = |series| {
            let entries = frame.of_series(series).iter();
            entries
                .map(|e| (e.kind, e.column, e.skip, e.count, frame.values(e).to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(0), [(Kind::Floats, 7, 0, 480, b"abc".to_vec())]);
        assert_eq!(seen(1), []);
        assert_eq!(
            seen(2),
            [
                (Kind::Floats, 3, 10, 20, Vec::new()),
                (Kind::Histograms, 9, 0, 1, b"de".to_vec())
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = TimesPage::parse(&bytes);
            if let Ok(frame) = Frame::parse(bytes) {
                for e in frame.of_series(0) {
                    frame.values(e);
                }
            }
        }
    }
}
