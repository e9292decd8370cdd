//! Writes a block, series by series, in the order of their labels.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{FPoint, Labels};

use super::block::{ChunkRef, END_MAGIC, MAGIC, Page, VERSION, columns_crc};
use super::column::{COLUMN_SAMPLES, encode_times, encode_values};
use crate::bytes::{put_bytes, put_labels, put_signed, put_varint};
use crate::disk::{Disk, DiskFile};

/// Series of an index page. More compress better; a reader decompresses whole pages.
const PAGE_SERIES: usize = 128;
/// Written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Different timestamp columns that are remembered for sharing.
const TIMES_SHARED_MAX: usize = 1024;
const ZSTD_LEVEL: i32 = 3;

/// A block in the making, under a temporary name.
pub(crate) struct BlockWriter {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written: u64,
    /// Timestamp columns written so far, and where.
    times: HashMap<Vec<u8>, u32, RandomState>,
    page: Vec<u8>,
    page_series: usize,
    page_names: Option<(String, String)>,
    /// Finished pages and their bytes; they go behind the columns.
    pages: Vec<(Page, Vec<u8>)>,
    start_t: Option<i64>,
    series: u64,
    samples: u64,
}

impl BlockWriter {
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> io::Result<BlockWriter> {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        buffer.extend_from_slice(&[0, 0]);
        Ok(BlockWriter {
            file: disk.create(path)?,
            buffer,
            written: 0,
            times: HashMap::default(),
            page: Vec::new(),
            page_series: 0,
            page_names: None,
            pages: Vec::new(),
            start_t: None,
            series: 0,
            samples: 0,
        })
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Adds a series; its samples are in time order.
    pub(crate) fn add(&mut self, labels: &Labels, samples: &[FPoint]) -> io::Result<()> {
        let Some(first) = samples.first() else {
            return Ok(());
        };
        self.start_t = Some(self.start_t.map_or(first.t, |t| t.min(first.t)));
        self.series += 1;
        self.samples += samples.len() as u64;
        put_labels(&mut self.page, labels);
        put_varint(
            &mut self.page,
            samples.len().div_ceil(COLUMN_SAMPLES) as u64,
        );
        let mut previous_t = 0_i64;
        for run in samples.chunks(COLUMN_SAMPLES) {
            let chunk = self.add_chunk(run)?;
            let page = &mut self.page;
            put_signed(page, chunk.first_t.wrapping_sub(previous_t));
            put_signed(page, chunk.last_t.wrapping_sub(chunk.first_t));
            previous_t = chunk.last_t;
            put_varint(page, chunk.count.into());
            put_varint(page, chunk.times_offset.into());
            put_varint(page, chunk.times_bytes.into());
            put_varint(page, chunk.values_offset.into());
            put_varint(page, chunk.values_bytes.into());
            page.extend_from_slice(&chunk.crc.to_le_bytes());
        }
        let name = labels.metric_name();
        match &mut self.page_names {
            None => self.page_names = Some((name.to_owned(), name.to_owned())),
            Some((min, max)) => {
                if name < min.as_str() {
                    name.clone_into(min);
                }
                if name > max.as_str() {
                    name.clone_into(max);
                }
            }
        }
        self.page_series += 1;
        if self.page_series == PAGE_SERIES {
            self.finish_page()?;
        }
        Ok(())
    }

    /// Writes index and trailer, and returns once the file (not yet its name) is durable.
    pub(crate) fn finish(mut self, end_t: i64) -> io::Result<()> {
        self.finish_page()?;
        let mut table = Vec::new();
        put_signed(&mut table, self.start_t.unwrap_or(end_t));
        put_signed(&mut table, end_t);
        put_varint(&mut table, self.series);
        put_varint(&mut table, self.samples);
        put_varint(&mut table, self.pages.len() as u64);
        for (page, bytes) in std::mem::take(&mut self.pages) {
            put_varint(&mut table, self.position());
            table.extend_from_slice(&page.bytes.to_le_bytes());
            table.extend_from_slice(&page.raw_bytes.to_le_bytes());
            table.extend_from_slice(&page.crc.to_le_bytes());
            put_bytes(&mut table, page.names.0.as_bytes());
            put_bytes(&mut table, page.names.1.as_bytes());
            self.write(&bytes)?;
        }
        let offset = self.position();
        self.write(&table)?;
        self.write(&offset.to_le_bytes())?;
        self.write(&(table.len() as u32).to_le_bytes())?;
        self.write(&crc32fast::hash(&table).to_le_bytes())?;
        self.write(&END_MAGIC)?;
        self.flush()?;
        self.file.sync()
    }

    fn add_chunk(&mut self, run: &[FPoint]) -> io::Result<ChunkRef> {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        encode_times(&run.iter().map(|p| p.t).collect::<Vec<_>>(), &mut times);
        encode_values(&run.iter().map(|p| p.v).collect::<Vec<_>>(), &mut values);
        let too_large = || io::Error::other("block exceeds 4 GiB");
        let times_offset = match self.times.get(&times) {
            Some(offset) => *offset,
            None => {
                let offset = u32::try_from(self.position()).map_err(|_| too_large())?;
                self.write(&times)?;
                if self.times.len() == TIMES_SHARED_MAX {
                    self.times.clear();
                }
                self.times.insert(times.clone(), offset);
                offset
            }
        };
        let values_offset = u32::try_from(self.position()).map_err(|_| too_large())?;
        self.write(&values)?;
        Ok(ChunkRef {
            first_t: run.first().map_or(0, |p| p.t),
            last_t: run.last().map_or(0, |p| p.t),
            times_offset,
            values_offset,
            // 480 samples of at most 78 bits.
            times_bytes: times.len() as u16,
            values_bytes: values.len() as u16,
            count: run.len() as u16,
            crc: columns_crc(&times, &values),
        })
    }

    fn finish_page(&mut self) -> io::Result<()> {
        let Some((min, max)) = self.page_names.take() else {
            return Ok(());
        };
        let packed = zstd::bulk::compress(&self.page, ZSTD_LEVEL)?;
        let page = Page {
            offset: 0,
            bytes: packed.len() as u32,
            raw_bytes: self.page.len() as u32,
            crc: crc32fast::hash(&packed),
            names: (min.into(), max.into()),
        };
        self.pages.push((page, packed));
        self.page.clear();
        self.page_series = 0;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

const _: () = assert!(COLUMN_SAMPLES * 78 / 8 + 16 < u16::MAX as usize);
