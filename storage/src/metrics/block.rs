//! An immutable file with the samples of a range of time. Bytes: `docs/formats/block.md`.
//!
//! In memory stay only the file handle and where the page table is: however many series and
//! blocks there are, they cost no memory. The table (one entry per 128 series), pages and
//! columns are read, checked and decoded when asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{FPoint, Labels, MatchOp, Matcher, TimeRange};

use super::column::{COLUMN_SAMPLES, decode_times, decode_values};
use crate::bytes::{Malformed, Reader};
use crate::disk::DiskFile;

pub(crate) const MAGIC: [u8; 4] = *b"SWBK";
pub(crate) const END_MAGIC: [u8; 4] = *b"SWBE";
pub(crate) const VERSION: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 8;
/// Offset, length and checksum of the page table; the end magic.
pub(crate) const TRAILER_BYTES: usize = 20;
/// Largest page after decompression that a reader believes.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// An open block.
pub(crate) struct Block {
    pub(crate) path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Instant of the first sample.
    pub(crate) start_t: i64,
    /// All samples are before it, and everything before it is in blocks.
    pub(crate) end_t: i64,
    pub(crate) bytes: u64,
    table: TableRef,
}

/// Where the page table is, as the trailer says.
#[derive(Clone, Copy)]
struct TableRef {
    offset: u64,
    bytes: u32,
    crc: u32,
}

/// Where to find 128 series.
pub(crate) struct Page {
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) raw_bytes: u32,
    pub(crate) crc: u32,
    /// Smallest and largest metric name in it.
    pub(crate) names: (Box<str>, Box<str>),
}

/// Where to find up to 480 samples of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    pub(crate) first_t: i64,
    pub(crate) last_t: i64,
    pub(crate) times_offset: u32,
    pub(crate) values_offset: u32,
    pub(crate) times_bytes: u16,
    pub(crate) values_bytes: u16,
    pub(crate) count: u16,
    /// Over both columns.
    pub(crate) crc: u32,
}

/// Why a block could not be read.
pub(crate) enum BlockError {
    Io(io::Error),
    Corrupt(&'static str),
}

impl From<io::Error> for BlockError {
    fn from(e: io::Error) -> Self {
        // A file shorter than its index says is damaged, not unreadable.
        match e.kind() {
            io::ErrorKind::UnexpectedEof => BlockError::Corrupt("length"),
            _ => BlockError::Io(e),
        }
    }
}

impl From<Malformed> for BlockError {
    fn from(_: Malformed) -> Self {
        BlockError::Corrupt("index")
    }
}

impl Block {
    /// Checks that the file is whole as far as its ends tell.
    pub(crate) fn open(file: Arc<dyn DiskFile>, path: &Path) -> Result<Block, BlockError> {
        let len = file.len()?;
        if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(BlockError::Corrupt("length"));
        }
        let header = read(file.as_ref(), 0, HEADER_BYTES)?;
        if header[..4] != MAGIC || header[4..6] != VERSION.to_le_bytes() {
            return Err(BlockError::Corrupt("header"));
        }
        let trailer_at = len - TRAILER_BYTES as u64;
        let trailer = read(file.as_ref(), trailer_at, TRAILER_BYTES)?;
        let mut r = Reader::new(&trailer);
        let (offset, bytes, crc) = (r.u64()?, r.u32()?, r.u32()?);
        if r.array::<4>()? != END_MAGIC || offset.checked_add(u64::from(bytes)) != Some(trailer_at)
        {
            return Err(BlockError::Corrupt("trailer"));
        }
        let table = TableRef { offset, bytes, crc };
        let (start_t, end_t, _) = read_table(file.as_ref(), table)?;
        Ok(Block {
            path: path.to_owned(),
            file,
            start_t,
            end_t,
            bytes: len,
            table,
        })
    }

    /// Hands each series for which all matchers hold, and its chunks that share an instant
    /// with `range`, to `found`. A damaged page is reported to `damaged` and passed over.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        found: &mut dyn FnMut(Labels, Vec<ChunkRef>),
        damaged: &mut dyn FnMut(&'static str),
    ) -> io::Result<()> {
        let (start, end) = (range.start.millis(), range.end.millis());
        if self.start_t > end || self.end_t <= start {
            return Ok(());
        }
        let name = matchers
            .iter()
            .find(|m| m.name() == model::labels::METRIC_NAME && m.op() == MatchOp::Equal)
            .map(Matcher::value);
        let pages = match read_table(self.file.as_ref(), self.table) {
            Ok((_, _, pages)) => pages,
            Err(BlockError::Io(e)) => return Err(e),
            Err(BlockError::Corrupt(what)) => {
                damaged(what);
                return Ok(());
            }
        };
        for page in &pages {
            if name.is_some_and(|n| n < &*page.names.0 || n > &*page.names.1) {
                continue;
            }
            let raw = match self.read_page(page) {
                Ok(raw) => raw,
                Err(BlockError::Io(e)) => return Err(e),
                Err(BlockError::Corrupt(what)) => {
                    damaged(what);
                    continue;
                }
            };
            let mut r = Reader::new(&raw);
            let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
            while !r.is_empty() {
                if read_entry(&mut r, &mut pairs, &mut chunks).is_err() {
                    damaged("index page");
                    break;
                }
                let value = |name| {
                    pairs
                        .iter()
                        .find(|(n, _)| *n == name)
                        .map_or("", |(_, v)| *v)
                };
                // Most series of a page match nothing: labels are built for the others only.
                if matchers.iter().all(|m| m.matches(value(m.name()))) {
                    chunks.retain(|c: &ChunkRef| c.first_t <= end && c.last_t >= start);
                    if !chunks.is_empty() {
                        found(Labels::from_pairs(pairs.iter().copied()), chunks.clone());
                    }
                }
            }
        }
        Ok(())
    }

    fn read_page(&self, page: &Page) -> Result<Vec<u8>, BlockError> {
        let raw_bytes = page.raw_bytes as usize;
        if raw_bytes > PAGE_BYTES_MAX {
            return Err(BlockError::Corrupt("index page"));
        }
        let packed = read(self.file.as_ref(), page.offset, page.bytes as usize)?;
        if crc32fast::hash(&packed) != page.crc {
            return Err(BlockError::Corrupt("index page"));
        }
        let raw = zstd::bulk::decompress(&packed, raw_bytes);
        raw.map_err(|_| BlockError::Corrupt("index page"))
    }

    /// Appends the samples of a chunk to `into`.
    pub(crate) fn decode(
        &self,
        chunk: &ChunkRef,
        into: &mut Vec<FPoint>,
    ) -> Result<(), BlockError> {
        let file = self.file.as_ref();
        let times = read(file, chunk.times_offset.into(), chunk.times_bytes.into())?;
        let values = read(file, chunk.values_offset.into(), chunk.values_bytes.into())?;
        if columns_crc(&times, &values) != chunk.crc {
            return Err(BlockError::Corrupt("chunk"));
        }
        let count = usize::from(chunk.count);
        let mut t = Vec::with_capacity(count);
        decode_times(&mut Reader::new(&times), count, &mut t)
            .map_err(|_| BlockError::Corrupt("chunk"))?;
        decode_values(&values, &t, into).map_err(|_| BlockError::Corrupt("chunk"))
    }
}

/// The checksum of a chunk.
pub(crate) fn columns_crc(times: &[u8], values: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(times);
    hasher.update(values);
    hasher.finalize()
}

fn read(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    file.read_at(&mut buffer, offset)?;
    Ok(buffer)
}

/// First instant, end and pages of a block.
fn read_table(file: &dyn DiskFile, table: TableRef) -> Result<(i64, i64, Vec<Page>), BlockError> {
    let bytes = read(file, table.offset, table.bytes as usize)?;
    if crc32fast::hash(&bytes) != table.crc {
        return Err(BlockError::Corrupt("page table"));
    }
    let mut r = Reader::new(&bytes);
    let (start_t, end_t) = (r.signed()?, r.signed()?);
    let _series = r.varint()?;
    let _samples = r.varint()?;
    let count = r.count(9)?;
    let mut pages = Vec::with_capacity(count);
    for _ in 0..count {
        pages.push(Page {
            offset: r.varint()?,
            bytes: r.u32()?,
            raw_bytes: r.u32()?,
            crc: r.u32()?,
            names: (Box::from(r.text()?), Box::from(r.text()?)),
        });
    }
    Ok((start_t, end_t, pages))
}

fn read_entry<'a>(
    r: &mut Reader<'a>,
    pairs: &mut Vec<(&'a str, &'a str)>,
    chunks: &mut Vec<ChunkRef>,
) -> Result<(), Malformed> {
    pairs.clear();
    for _ in 0..r.count(2)? {
        pairs.push((r.text()?, r.text()?));
    }
    chunks.clear();
    let count = r.count(8)?;
    let mut previous_t = 0_i64;
    for _ in 0..count {
        let first_t = previous_t.wrapping_add(r.signed()?);
        let last_t = first_t.wrapping_add(r.signed()?);
        previous_t = last_t;
        let mut small = || {
            r.varint()
                .and_then(|v| u32::try_from(v).map_err(|_| Malformed))
        };
        let (count, times_offset, times_bytes) = (small()?, small()?, small()?);
        let (values_offset, values_bytes) = (small()?, small()?);
        if count as usize > COLUMN_SAMPLES {
            return Err(Malformed);
        }
        let short = |v: u32| u16::try_from(v).map_err(|_| Malformed);
        chunks.push(ChunkRef {
            first_t,
            last_t,
            times_offset,
            values_offset,
            times_bytes: short(times_bytes)?,
            values_bytes: short(values_bytes)?,
            count: short(count)?,
            crc: r.u32()?,
        });
    }
    Ok(())
}
