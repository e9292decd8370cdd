//! Writes a block, series by series, in the order of their labels. Memory is bounded by one
//! group's encoded samples, the remembered timestamp columns and the index.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{FPoint, HPoint, Labels, Samples};
use zstd::bulk::Compressor;

use super::block::{END_MAGIC, HEADER_BYTES, Identity, header_of};
use super::block_frame::{FrameBuilder, Kind, PieceRef, TIMES_COLUMNS};
use super::block_group::{FrameRef, GROUP_SERIES, GroupBuilder};
use super::block_index::IndexBuilder;
use super::column::{COLUMN_SAMPLES, encode_times, encode_values};
use super::histogram_column::encode_histograms;
use crate::bytes::{put_signed, put_varint};
use crate::disk::{Disk, DiskFile};

/// Slices of raw samples: two hours, 480 samples at 15 seconds.
pub(crate) const SLICE_MS: i64 = 2 * 3600 * 1000;
/// A group is closed when one of its frames reaches this size: what a reader of one series
/// has to unpack.
const FRAME_BYTES: usize = 32 << 10;
/// Written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Timestamp columns remembered for sharing, 4 KiB each; past it all are forgotten, which
/// costs room in the file only.
const TIMES_REMEMBERED: usize = 1024;
/// Columns of a slice among which a part is looked for.
const TIMES_SEARCHED: usize = 64;
/// Compressed pieces that stay this close to their size are stored as they are.
const WORTH_NUM: usize = 15;
const WORTH_DEN: usize = 16;

/// What kind of block to write.
#[derive(Clone, Debug)]
pub(crate) struct BlockOptions {
    /// See [`super::block::Block::slice_ms`].
    pub(crate) slice_ms: i64,
    /// See [`super::block::Block::resolution_ms`].
    pub(crate) resolution_ms: i64,
    /// Of zstd. Level 1 for what will be written again within the day.
    pub(crate) level: i32,
    /// The blocks that this one replaces.
    pub(crate) replaces: Vec<Identity>,
    /// By how much the number of the oldest of them is below its own; see
    /// [`super::block::Block::age`].
    pub(crate) older: u64,
}

impl Default for BlockOptions {
    fn default() -> Self {
        BlockOptions {
            slice_ms: SLICE_MS,
            resolution_ms: 0,
            level: 1,
            replaces: Vec::new(),
            older: 0,
        }
    }
}

/// A block in the making, under a temporary name.
pub(crate) struct BlockWriter {
    out: Output,
    options: BlockOptions,
    times: TimesBuilder,
    group: GroupBuilder,
    frames: BTreeMap<i64, FrameBuilder>,
    /// The series being added: labels, first and last instant.
    current: Option<(Labels, Option<(i64, i64)>)>,
    /// Finished group pages, bounds and pieces; they go behind the frames.
    groups: Vec<(Vec<u8>, PieceRef, (i64, i64))>,
    index: IndexBuilder,
    start_t: Option<i64>,
    series: u64,
    samples: u64,
    scratch: Vec<u8>,
}

/// Appends to the file.
struct Output {
    file: Arc<dyn DiskFile>,
    zstd: Compressor<'static>,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    written: u64,
}

impl BlockWriter {
    /// A block of raw samples.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> io::Result<BlockWriter> {
        BlockWriter::with_options(disk, path, BlockOptions::default())
    }

    pub(crate) fn with_options(
        disk: &dyn Disk,
        path: &Path,
        options: BlockOptions,
    ) -> io::Result<BlockWriter> {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        // It comes last.
        buffer.extend_from_slice(&[0; HEADER_BYTES]);
        Ok(BlockWriter {
            out: Output {
                file: disk.create(path)?,
                zstd: Compressor::new(options.level)?,
                buffer,
                written: 0,
            },
            options,
            times: TimesBuilder::default(),
            group: GroupBuilder::default(),
            frames: BTreeMap::new(),
            current: None,
            groups: Vec::new(),
            index: IndexBuilder::default(),
            start_t: None,
            series: 0,
            samples: 0,
            scratch: Vec::new(),
        })
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Bytes written so far, buffered ones included.
    pub(crate) fn bytes(&self) -> u64 {
        self.out.position()
    }

    /// Adds a series whose labels come after those before; its samples are in time order.
    pub(crate) fn add(&mut self, labels: &Labels, samples: &Samples) -> io::Result<()> {
        self.begin(labels.clone());
        self.add_samples(samples)?;
        self.end()
    }

    /// Starts a series. Without samples it leaves no trace.
    pub(crate) fn begin(&mut self, labels: Labels) {
        self.current = Some((labels, None));
    }

    /// Adds samples of the current series, later than those before.
    pub(crate) fn add_samples(&mut self, samples: &Samples) -> io::Result<()> {
        // Per slice floats come first, then histograms: a reader keeps them apart anyway.
        self.add_floats(Kind::Floats, &samples.floats)?;
        let mut rest = &samples.histograms[..];
        while let Some(first) = rest.first() {
            let slice = self.slice_of(first.t);
            let same = rest.partition_point(|p| self.slice_of(p.t) <= slice);
            let (run, after) = rest.split_at(same.clamp(1, COLUMN_SAMPLES));
            rest = after;
            self.add_histograms(slice, run)?;
        }
        Ok(())
    }

    /// Adds numbers of one kind to the current series, later than those of that kind before.
    pub(crate) fn add_floats(&mut self, kind: Kind, points: &[FPoint]) -> io::Result<()> {
        let mut rest = points;
        let mut times = Vec::with_capacity(COLUMN_SAMPLES);
        let mut values = Vec::with_capacity(COLUMN_SAMPLES);
        while let Some(first) = rest.first() {
            let slice = self.slice_of(first.t);
            let same = rest.partition_point(|p| self.slice_of(p.t) <= slice);
            let (run, after) = rest.split_at(same.clamp(1, COLUMN_SAMPLES));
            rest = after;
            times.clear();
            times.extend(run.iter().map(|p| p.t));
            values.clear();
            values.extend(run.iter().map(|p| p.v));
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            encode_values(&values, &mut bytes);
            let added = self.add_encoded(slice, kind, &times, &bytes);
            self.scratch = bytes;
            added?;
        }
        Ok(())
    }

    fn add_histograms(&mut self, slice: i64, run: &[HPoint]) -> io::Result<()> {
        let times: Vec<i64> = run.iter().map(|p| p.t).collect();
        self.add_encoded(slice, Kind::Histograms, &times, &encode_histograms(run))
    }

    /// Adds values that are encoded already, all of one slice.
    pub(crate) fn add_encoded(
        &mut self,
        slice: i64,
        kind: Kind,
        times: &[i64],
        values: &[u8],
    ) -> io::Result<()> {
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Ok(());
        };
        let Some((_, bounds)) = &mut self.current else {
            return Ok(());
        };
        let (min, max) = bounds.unwrap_or((*first, *last));
        *bounds = Some((min.min(*first), max.max(*last)));
        let (column, skip) = self.times.number(slice, times, &mut self.out)?;
        if matches!(kind, Kind::Floats | Kind::Histograms) {
            self.samples += times.len() as u64;
        }
        let series = self.group.len() as u16;
        let frame = self.frames.entry(slice).or_default();
        frame.push((series, kind), (column, skip, times.len() as u16), values);
        Ok(())
    }

    /// Ends the current series.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let Some((labels, Some((first, last)))) = self.current.take() else {
            return Ok(());
        };
        self.group.push(labels, first, last);
        self.series += 1;
        let fullest = self.frames.values().map(FrameBuilder::bytes).max();
        if self.group.len() == GROUP_SERIES || fullest.is_some_and(|b| b >= FRAME_BYTES) {
            self.finish_group()?;
        }
        Ok(())
    }

    /// The slice of an instant.
    pub(crate) fn slice_of(&self, t: i64) -> i64 {
        t.div_euclid(self.options.slice_ms)
    }

    /// Writes index and footer, and returns once the file (not yet its name) is durable.
    /// All samples must be before `end_t`.
    pub(crate) fn finish(mut self, end_t: i64) -> io::Result<()> {
        self.finish_group()?;
        self.times.finish_page(&mut self.out)?;
        let start_t = self.start_t.unwrap_or(end_t);
        let mut footer = Vec::new();
        put_signed(&mut footer, start_t);
        put_signed(&mut footer, end_t);
        put_varint(&mut footer, self.options.slice_ms as u64);
        put_varint(&mut footer, self.options.resolution_ms as u64);
        put_varint(&mut footer, self.series);
        put_varint(&mut footer, self.samples);
        put_varint(&mut footer, self.options.older);
        put_varint(&mut footer, self.options.replaces.len() as u64);
        for replaced in &self.options.replaces {
            put_varint(&mut footer, replaced.number);
            put_varint(&mut footer, replaced.bytes);
            footer.extend_from_slice(&replaced.footer_crc.to_le_bytes());
        }
        put_varint(&mut footer, self.times.pages.len() as u64);
        let mut end = 0_u64;
        for page in &self.times.pages {
            put_varint(&mut footer, page.offset.wrapping_sub(end));
            page.put(&mut footer);
            end = page.end();
        }
        put_varint(&mut footer, self.out.position());
        put_varint(&mut footer, self.groups.len() as u64);
        for (page, piece, (first, last)) in &self.groups {
            self.out.write(page)?;
            piece.put(&mut footer);
            put_varint(&mut footer, first.wrapping_sub(start_t) as u64);
            put_varint(&mut footer, last.wrapping_sub(*first) as u64);
        }
        let index = self.index.finish();
        let mut pieces = Vec::with_capacity(index.pages.len());
        for (page, _) in &index.pages {
            pieces.push(self.out.piece(page)?);
        }
        index.put(&pieces, &mut footer);
        let footer = self.out.piece(&footer)?;
        self.out.write(&footer.offset.to_le_bytes())?;
        self.out.write(&footer.bytes.to_le_bytes())?;
        self.out.write(&footer.raw_bytes.to_le_bytes())?;
        self.out.write(&footer.crc.to_le_bytes())?;
        self.out.write(&END_MAGIC)?;
        self.out.flush()?;
        self.out.file.write_at(&header_of((start_t, end_t)), 0)?;
        self.out.file.sync()
    }

    fn finish_group(&mut self) -> io::Result<()> {
        let Some(bounds) = self.group.bounds() else {
            return Ok(());
        };
        let mut frames = Vec::with_capacity(self.frames.len());
        for (slice, frame) in std::mem::take(&mut self.frames) {
            let piece = self.out.piece(&frame.finish())?;
            frames.push(FrameRef { slice, piece });
        }
        let group = std::mem::take(&mut self.group);
        self.index.add_group(group.pairs().into_iter());
        let (page, piece) = self.out.pack(&group.finish(&frames))?;
        self.groups.push((page, piece, bounds));
        self.start_t = Some(self.start_t.map_or(bounds.0, |t| t.min(bounds.0)));
        Ok(())
    }
}

impl Output {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Writes a piece, compressed where it pays.
    fn piece(&mut self, raw: &[u8]) -> io::Result<PieceRef> {
        let (stored, mut piece) = self.pack(raw)?;
        piece.offset = self.position();
        self.write(&stored)?;
        Ok(piece)
    }

    /// A piece that has no place yet.
    fn pack(&mut self, raw: &[u8]) -> io::Result<(Vec<u8>, PieceRef)> {
        let mut stored = self.zstd.compress(raw)?;
        if stored.len() > raw.len() / WORTH_DEN * WORTH_NUM {
            stored = raw.to_vec();
        }
        stored.shrink_to_fit();
        let small = |n: usize| {
            u32::try_from(n).map_err(|_| io::Error::other("piece of a block exceeds 4 GiB"))
        };
        let piece = PieceRef {
            offset: 0,
            bytes: small(stored.len())?,
            raw_bytes: small(raw.len())?,
            crc: crc32fast::hash(&stored),
        };
        Ok((stored, piece))
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

/// Timestamp columns: each is written once however many series share it or a part of it.
#[derive(Default)]
struct TimesBuilder {
    pages: Vec<PieceRef>,
    page: Vec<u8>,
    count: u32,
    /// By first instant, last instant and number.
    exact: HashMap<(i64, i64, usize), Vec<u32>, RandomState>,
    by_slice: HashMap<i64, Vec<u32>, RandomState>,
    remembered: HashMap<u32, Arc<[i64]>, RandomState>,
}

impl TimesBuilder {
    /// The number of the column that has these times, and where in it they start.
    fn number(&mut self, slice: i64, times: &[i64], out: &mut Output) -> io::Result<(u32, u16)> {
        let (first, last) = match times {
            [first, .., last] => (*first, *last),
            [one] => (*one, *one),
            [] => (0, 0),
        };
        let key = (first, last, times.len());
        for number in self.exact.get(&key).into_iter().flatten() {
            if self.remembered.get(number).is_some_and(|t| **t == *times) {
                return Ok((*number, 0));
            }
        }
        let newest = self.by_slice.get(&slice).into_iter().flatten().rev();
        for number in newest.take(TIMES_SEARCHED) {
            if let Some(column) = self.remembered.get(number)
                && let Ok(at) = column.binary_search(&first)
                && column[at..].starts_with(times)
            {
                return Ok((*number, at as u16));
            }
        }
        if self.remembered.len() == TIMES_REMEMBERED {
            self.exact.clear();
            self.by_slice.clear();
            self.remembered.clear();
        }
        let number = self.count;
        self.exact.entry(key).or_default().push(number);
        self.by_slice.entry(slice).or_default().push(number);
        self.remembered.insert(number, Arc::from(times));
        put_varint(&mut self.page, times.len() as u64);
        encode_times(times, &mut self.page);
        self.count = number
            .checked_add(1)
            .ok_or_else(|| io::Error::other("too many timestamp columns"))?;
        if (self.count as usize).is_multiple_of(TIMES_COLUMNS) {
            self.finish_page(out)?;
        }
        Ok((number, 0))
    }

    fn finish_page(&mut self, out: &mut Output) -> io::Result<()> {
        if !self.page.is_empty() {
            let page = std::mem::take(&mut self.page);
            self.pages.push(out.piece(&page)?);
        }
        Ok(())
    }
}

const _: () = assert!(GROUP_SERIES < u16::MAX as usize);
const _: () = assert!(COLUMN_SAMPLES < u16::MAX as usize);
