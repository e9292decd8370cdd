//! The `index` file of a Prometheus block, version 2, read from front to back. Source of the
//! layout: Prometheus' format description tsdb/docs/format/index.md.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::LabelsBuilder;

use super::BlockError;
use crate::bytes::{Malformed, Reader};
use crate::crc32c::checksum;
use crate::import::regular::open_regular;

const MAGIC: [u8; 4] = 0xbaaa_d700_u32.to_be_bytes();
const VERSION: u8 = 2;
const HEADER_BYTES: u64 = 5;
/// Six references and a checksum.
const TOC_BYTES: u64 = 6 * 8 + 4;
/// Entries of series start at multiples of this.
const ALIGN: u64 = 16;
/// Read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// One series with its chunks, or the symbols of one block, are not believed to be larger.
const PART_BYTES_MAX: u64 = 1 << 30;

/// An index with its strings in memory.
pub(super) struct Index {
    path: PathBuf,
    file: File,
    symbols: Symbols,
    /// Where the series are.
    series: (u64, u64),
}

/// All strings of a block in one piece.
struct Symbols {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

/// One series.
pub(super) struct Entry {
    /// Its number, as tombstones use it.
    pub(super) reference: u64,
    pub(super) labels: LabelsBuilder,
    pub(super) chunks: Vec<ChunkMeta>,
}

/// Where a chunk is and which instants it covers, both ends inclusive.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkMeta {
    pub(super) min_t: i64,
    pub(super) max_t: i64,
    /// Number of the segment file, from 0.
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Index, BlockError> {
        let bad = |what: &str| BlockError::corrupt(path, what);
        let unreadable = |e| BlockError::io(path, e);
        let file = open_regular(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        if len < HEADER_BYTES + TOC_BYTES {
            return Err(bad("it is too short"));
        }
        let header = read(&file, path, 0, HEADER_BYTES)?;
        if header[..4] != MAGIC {
            return Err(bad("it is not an index of Prometheus"));
        }
        if header[4] != VERSION {
            let what = format!("version {} is not supported, only 2 is", header[4]);
            return Err(bad(&what));
        }
        let toc = read(&file, path, len - TOC_BYTES, TOC_BYTES)?;
        let (references, crc) = toc.split_at(toc.len() - 4);
        if checksum(references).to_be_bytes() != crc {
            return Err(bad("wrong checksum of the table of contents"));
        }
        let at = |i: usize| {
            let bytes = references.get(8 * i..8 * i + 8);
            let bytes = bytes.and_then(|b| b.try_into().ok()).unwrap_or([0; 8]);
            u64::from_be_bytes(bytes)
        };
        let (symbols_at, series_at) = (at(0), at(1));
        // Which section follows the series differs between versions of Prometheus.
        let follows = (2..6).map(at).filter(|reference| *reference > series_at);
        let series_end = follows.min().unwrap_or(len - TOC_BYTES);
        if symbols_at == 0 || series_end > len {
            return Err(bad("the table of contents is wrong"));
        }
        let symbols = Symbols::read(&file, path, symbols_at, len)?;
        let series = if series_at == 0 {
            (0, 0)
        } else {
            (series_at, series_end)
        };
        Ok(Index {
            path: path.to_owned(),
            file,
            symbols,
            series,
        })
    }

    /// Hands each series to `visit`, sorted by labels.
    pub(super) fn each(
        &self,
        visit: &mut dyn FnMut(Entry) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let (start, end) = self.series;
        let mut window = Window {
            file: &self.file,
            path: &self.path,
            start: 0,
            bytes: Vec::new(),
            end,
        };
        let mut at = start.next_multiple_of(ALIGN);
        while at < end {
            let bad = |what: &str| {
                BlockError::corrupt(&self.path, &format!("{what} in the series at byte {at}"))
            };
            let (len, prefix) = uvarint(window.get(at, 10)?).ok_or_else(|| bad("wrong length"))?;
            if len == 0 {
                // Padding behind the last series.
                break;
            }
            if len > PART_BYTES_MAX {
                return Err(bad("wrong length"));
            }
            let whole = window.get(at, prefix + len + 4)?;
            let (body, crc) = whole
                .get(prefix as usize..)
                .and_then(|b| b.split_last_chunk::<4>())
                .filter(|(body, _)| body.len() as u64 == len)
                .ok_or_else(|| bad("cut short"))?;
            if checksum(body) != u32::from_be_bytes(*crc) {
                return Err(bad("wrong checksum"));
            }
            let entry = self.entry(at / ALIGN, body);
            visit(entry.map_err(|_| bad("wrong content"))?)?;
            at = (at + prefix + len + 4).next_multiple_of(ALIGN);
        }
        Ok(())
    }

    fn entry(&self, reference: u64, body: &[u8]) -> Result<Entry, Malformed> {
        let mut r = Reader::new(body);
        let mut labels = LabelsBuilder::default();
        for _ in 0..r.count(2)? {
            let name = self.symbols.get(r.varint()?)?;
            let value = self.symbols.get(r.varint()?)?;
            labels.set(name, value);
        }
        let count = r.count(3)?;
        let mut chunks = Vec::with_capacity(count);
        let (mut t, mut place) = (0_i64, 0_i64);
        for i in 0..count {
            let min_t = match i {
                0 => r.signed()?,
                _ => t.wrapping_add(r.varint()? as i64),
            };
            let max_t = min_t.wrapping_add(r.varint()? as i64);
            t = max_t;
            place = match i {
                0 => r.varint()? as i64,
                _ => place.wrapping_add(r.signed()?),
            };
            chunks.push(ChunkMeta {
                min_t,
                max_t,
                segment: (place as u64 >> 32) as u32,
                offset: place as u32,
            });
        }
        Ok(Entry {
            reference,
            labels,
            chunks,
        })
    }
}

impl Symbols {
    fn read(file: &File, path: &Path, at: u64, len: u64) -> Result<Symbols, BlockError> {
        let bad = |what: &str| BlockError::corrupt(path, &format!("{what} of the symbols"));
        let size = read(file, path, at, 4)?;
        let size = u32::from_be_bytes(size.try_into().map_err(|_| bad("wrong length"))?);
        let size = u64::from(size);
        if !(4..=PART_BYTES_MAX).contains(&size) || at + 8 + size > len {
            return Err(bad("wrong length"));
        }
        let body = read(file, path, at + 4, size + 4)?;
        let (body, crc) = body.split_at(size as usize);
        if checksum(body).to_be_bytes() != crc {
            return Err(bad("wrong checksum"));
        }
        let (count, body) = body.split_at(4);
        let count = count.iter().fold(0_u64, |n, b| (n << 8) | u64::from(*b));
        let (mut text, mut ends) = (String::with_capacity(body.len()), Vec::new());
        let mut r = Reader::new(body);
        for _ in 0..count {
            text.push_str(r.text().map_err(|_| bad("wrong content"))?);
            ends.push(text.len() as u32);
        }
        Ok(Symbols { text, ends })
    }

    fn get(&self, number: u64) -> Result<&str, Malformed> {
        let number = usize::try_from(number).map_err(|_| Malformed)?;
        let end = *self.ends.get(number).ok_or(Malformed)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start as usize..end as usize).ok_or(Malformed)
    }
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a File,
    path: &'a Path,
    start: u64,
    bytes: Vec<u8>,
    /// Nothing is read beyond it.
    end: u64,
}

impl Window<'_> {
    /// `count` bytes from `at` on, fewer at the end.
    fn get(&mut self, at: u64, count: u64) -> Result<&[u8], BlockError> {
        let stop = (at + count).min(self.end);
        if at < self.start || stop > self.start + self.bytes.len() as u64 {
            let want = (self.end - at.min(self.end)).min(count.max(WINDOW_BYTES as u64));
            self.bytes = read(self.file, self.path, at, want)?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        let to = (stop.max(at) - self.start) as usize;
        Ok(self.bytes.get(from..to).unwrap_or(&[]))
    }
}

/// A length in front of something, and its own length.
pub(super) fn uvarint(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut r = Reader::new(bytes);
    let value = r.varint().ok()?;
    Some((value, (bytes.len() - r.remaining()) as u64))
}

fn read(file: &File, path: &Path, at: u64, count: u64) -> Result<Vec<u8>, BlockError> {
    let mut bytes = vec![0; count as usize];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(BlockError::corrupt(path, "it is cut short"))
        }
        Err(e) => Err(BlockError::io(path, e)),
    }
}
