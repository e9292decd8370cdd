//! An immutable file with the samples of a range of time. Bytes: `docs/formats/block.md`.
//!
//! In memory stays the footer: where groups, pages of times and pages of
//! the index are, some 30 bytes for 128 series. Everything else is read, checked and unpacked
//! when asked for, and kept for a while in the [`BlockCache`].

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use model::{HPoint, Labels, Matcher, Samples, TimeRange};

use super::block_cache::{BlockCache, Piece};
use super::block_frame::{Frame, FrameEntry, Kind, PieceRef, TIMES_COLUMNS, TimesPage};
use super::block_group::{FrameRef, Group, GroupSeries, Memo};
use super::block_index::LabelIndex;
use super::column::decode_values;
use super::histogram_column::decode_histograms;
use crate::bytes::{Malformed, Reader};
use crate::disk::{DiskFile, number_in};

pub(crate) const MAGIC: [u8; 4] = *b"SWBK";
pub(crate) const END_MAGIC: [u8; 4] = *b"SWBE";
pub(crate) const VERSION: u16 = 4;
/// Magic and version.
pub(crate) const FORMAT: ([u8; 4], u16) = (MAGIC, VERSION);
/// Magic, version, first instant and end, checksum.
pub(crate) const HEADER_BYTES: usize = 28;
/// Offset, length, length after decompression and checksum of the footer; the end magic.
pub(crate) const TRAILER_BYTES: usize = 24;

/// Tells a block from others, also from those of other data directories that have its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) number: u64,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Checksum of the footer, which has those of everything else.
    pub(crate) footer_crc: u32,
}

/// An open block.
pub(crate) struct Block {
    pub(crate) path: PathBuf,
    /// As in its name; 0 when the name has none.
    pub(crate) number: u64,
    /// Set before its file is removed or set aside, for those who still read it.
    held: OnceLock<Arc<dyn DiskFile>>,
    cache: Arc<BlockCache>,
    /// Its number in the cache.
    id: u64,
    /// Instant of the first sample.
    pub(crate) start_t: i64,
    /// All samples are before it.
    pub(crate) end_t: i64,
    pub(crate) bytes: u64,
    /// Length of the slices of time that frames cover, in milliseconds.
    pub(crate) slice_ms: i64,
    /// Length of a roll-up's buckets in milliseconds; 0 for raw samples.
    pub(crate) resolution_ms: i64,
    pub(crate) series: u64,
    pub(crate) samples: u64,
    footer_crc: u32,
    /// The blocks whose content this one has taken over.
    pub(crate) replaces: Vec<Identity>,
    /// The least number among these and the blocks that they had replaced; its own when there
    /// are none. See [`Block::age`].
    born: u64,
    groups: Vec<GroupMeta>,
    times: Vec<PieceRef>,
    index: LabelIndex,
}

/// What the footer says about a group.
struct GroupMeta {
    page: PieceRef,
    first_t: i64,
    last_t: i64,
}

/// A series of a block, and where its samples are.
#[derive(Clone)]
pub(crate) struct BlockSeries {
    pub(crate) group: Arc<GroupFrames>,
    pub(crate) at: u16,
    /// Instants of its first and last sample.
    pub(crate) first_t: i64,
    pub(crate) last_t: i64,
}

/// The frames of a group, shared by its selected series.
pub(crate) struct GroupFrames {
    pub(crate) frames: Vec<FrameRef>,
}

/// Is told what is damaged, and between which two instants, both inclusive, samples are lost by it.
pub(crate) type Damaged<'a> = dyn FnMut(&'static str, Option<(i64, i64)>) + 'a;

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
    /// Opens the file and checks that it is whole as far as its ends tell.
    pub(crate) fn open(path: &Path, cache: &Arc<BlockCache>) -> Result<Block, BlockError> {
        let id = cache.new_block();
        let opened = cache.files.get(id, path).map_err(BlockError::Io);
        let opened = opened.and_then(|file| Block::read(&*file, id, path, cache));
        if opened.is_err() {
            cache.forget(id);
        }
        opened
    }

    fn read(
        file: &dyn DiskFile,
        id: u64,
        path: &Path,
        cache: &Arc<BlockCache>,
    ) -> Result<Block, BlockError> {
        let len = file.len()?;
        if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(BlockError::Corrupt("length"));
        }
        bounds_in_header(file)?;
        let trailer_at = len - TRAILER_BYTES as u64;
        let mut trailer = [0; TRAILER_BYTES];
        file.read_at(&mut trailer, trailer_at)?;
        let mut r = Reader::new(&trailer);
        let footer = PieceRef {
            offset: r.u64()?,
            bytes: r.u32()?,
            raw_bytes: r.u32()?,
            crc: r.u32()?,
        };
        let before_trailer = footer.offset.checked_add(footer.bytes.into()) == Some(trailer_at);
        if r.array::<4>()? != END_MAGIC || !before_trailer {
            return Err(BlockError::Corrupt("trailer"));
        }
        let footer_crc = footer.crc;
        let footer = footer.content(file, "footer")?;
        let mut r = Reader::new(&footer);
        let (start_t, end_t) = (r.signed()?, r.signed()?);
        let (slice_ms, resolution_ms) = (r.varint()? as i64, r.varint()? as i64);
        let (series, samples) = (r.varint()?, r.varint()?);
        let older = r.varint()?;
        if slice_ms <= 0 || resolution_ms < 0 {
            return Err(BlockError::Corrupt("footer"));
        }
        let mut replaces = Vec::new();
        for _ in 0..r.count(6)? {
            replaces.push(Identity {
                number: r.varint()?,
                bytes: r.varint()?,
                footer_crc: r.u32()?,
            });
        }
        let mut times = Vec::new();
        let mut end = 0_u64;
        for _ in 0..r.count(7)? {
            let offset = end.wrapping_add(r.varint()?);
            let piece = PieceRef::read(&mut r, offset)?;
            end = piece.end();
            times.push(piece);
        }
        let mut offset = r.varint()?;
        let mut groups = Vec::new();
        for _ in 0..r.count(8)? {
            let page = PieceRef::read(&mut r, offset)?;
            offset = page.end();
            let first_t = start_t.wrapping_add(r.varint()? as i64);
            let last_t = first_t.wrapping_add(r.varint()? as i64);
            groups.push(GroupMeta {
                page,
                first_t,
                last_t,
            });
        }
        let index = LabelIndex::read(&mut r, offset, groups.len() as u32)?;
        let number = number_of(path);
        Ok(Block {
            path: path.to_owned(),
            number,
            id,
            held: OnceLock::new(),
            cache: Arc::clone(cache),
            start_t,
            end_t,
            bytes: len,
            slice_ms,
            resolution_ms,
            series,
            samples,
            footer_crc,
            replaces,
            born: number.saturating_sub(older),
            groups,
            times,
            index,
        })
    }

    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        let held = || self.held.get().map(Arc::clone);
        if let Some(file) = held() {
            return Ok(file);
        }
        let opened = self.cache.files.get(self.id, &self.path);
        // It may have been removed since the look for it, and was held before.
        opened.or_else(|e| held().ok_or(e))
    }

    /// Its file is about to lose its name: who reads it now can go on.
    pub(crate) fn hold_open(&self) {
        if let Ok(file) = self.file() {
            let _ = self.held.set(file);
        }
    }

    /// What another block names it by.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            number: self.number,
            bytes: self.bytes,
            footer_crc: self.footer_crc,
        }
    }

    /// Whether its samples were in no block before: it was flushed or imported.
    pub(crate) fn is_fresh(&self) -> bool {
        self.resolution_ms == 0 && self.replaces.is_empty()
    }

    /// Blocks in this order are in that in which their samples were stored: of two values for
    /// one instant of a series that of the first block counts. Compaction keeps it so.
    pub(crate) fn age(&self) -> (u64, u64) {
        (self.born, self.number)
    }

    /// Instant of the last sample.
    pub(crate) fn last_t(&self) -> i64 {
        let last = self.groups.iter().map(|g| g.last_t).max();
        last.unwrap_or(self.start_t)
    }

    /// The range from its first sample to its end.
    pub(crate) fn range(&self) -> TimeRange {
        let last = self.end_t.saturating_sub(1);
        let at = model::Timestamp::from_millis;
        TimeRange::new(at(self.start_t), at(last))
    }

    /// Groups of series, in the order of their labels.
    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// [`Block::select_while`], to the end.
    #[cfg(test)]
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        found: &mut dyn FnMut(Labels, BlockSeries),
        damaged: &mut Damaged<'_>,
    ) -> io::Result<()> {
        let mut every = |labels, series| {
            found(labels, series);
            ControlFlow::Continue(())
        };
        self.select_while(matchers, range, &mut every, damaged)
    }

    /// Hands each series for which all matchers hold, and which may have samples in `range`,
    /// to `found`, in label order, until it has
    /// enough. What is damaged is reported to `damaged`, and a group passed over.
    pub(crate) fn select_while(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        found: &mut dyn FnMut(Labels, BlockSeries) -> ControlFlow<()>,
        damaged: &mut Damaged<'_>,
    ) -> io::Result<()> {
        let (start, end) = (range.start.millis(), range.end.millis());
        if self.start_t > end || self.end_t <= start {
            return Ok(());
        }
        let candidates = match self.index.candidates(matchers, &|p| self.index_page(p)) {
            Ok(candidates) => candidates,
            Err(BlockError::Io(e)) => return Err(e),
            Err(BlockError::Corrupt(what)) => {
                // Slower, but nothing is lost.
                damaged(what, None);
                None
            }
        };
        let all = candidates.is_none().then_some(0..self.groups.len() as u32);
        let some = candidates.into_iter().flatten();
        for group in some.chain(all.into_iter().flatten()) {
            let meta = &self.groups[group as usize];
            if meta.first_t > end || meta.last_t < start {
                continue;
            }
            let mut memo = Memo::new(matchers);
            let mut selected: Vec<(Labels, u16, (i64, i64))> = Vec::new();
            let frames = self.visit_group(group as usize, &mut |s| {
                let within = s.bounds.0 <= end && s.bounds.1 >= start;
                if within && s.matches(&mut memo) {
                    selected.push((s.labels(), s.at, s.bounds));
                }
            });
            match frames {
                Ok(frames) => {
                    let frames = Arc::new(GroupFrames { frames });
                    for (labels, at, (first_t, last_t)) in selected {
                        let group = Arc::clone(&frames);
                        let series = BlockSeries {
                            group,
                            at,
                            first_t,
                            last_t,
                        };
                        if found(labels, series).is_break() {
                            return Ok(());
                        }
                    }
                }
                Err(BlockError::Io(e)) => return Err(e),
                Err(BlockError::Corrupt(what)) => damaged(what, Some((meta.first_t, meta.last_t))),
            }
        }
        Ok(())
    }

    /// Hands all series of a group, in label order, to `visit`; gives the group's frames.
    pub(crate) fn visit_group(
        &self,
        group: usize,
        visit: &mut dyn FnMut(GroupSeries<'_, '_>),
    ) -> Result<Vec<FrameRef>, BlockError> {
        const WHAT: &str = "group page";
        let meta = self.groups.get(group).ok_or(BlockError::Corrupt(WHAT))?;
        let page = self.bytes_of(&meta.page, WHAT)?;
        let group = Group::parse(&page, meta.first_t);
        group
            .and_then(|g| g.visit(&mut |s| visit(s)))
            .map_err(|_| BlockError::Corrupt(WHAT))
    }

    /// The label names of all series.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.index.names()
    }

    /// Hands the values of a label among all series to `visit`; `false` when the index does
    /// not have them.
    pub(crate) fn label_values(
        &self,
        name: &str,
        visit: &mut dyn FnMut(&str),
    ) -> Result<bool, BlockError> {
        if !self.index.has_values(name) {
            return Ok(false);
        }
        self.index.values(name, &|p| self.index_page(p), visit)?;
        Ok(true)
    }

    /// Appends the samples of a series over one slice. `kind` says what takes the place of
    /// floats; histograms come with [`Kind::Floats`].
    pub(crate) fn decode(
        &self,
        frame: &FrameRef,
        series: u16,
        kind: Kind,
        into: &mut Samples,
    ) -> Result<(), BlockError> {
        let start = frame.slice.saturating_mul(self.slice_ms);
        let end = start.saturating_add(self.slice_ms - 1);
        // Of floats and of histograms.
        let mut next = [start; 2];
        let frame = self.frame(frame)?;
        for entry in frame.of_series(series) {
            let wanted =
                entry.kind == kind || entry.kind == Kind::Histograms && kind == Kind::Floats;
            if wanted {
                let times = self.times_of(entry)?;
                let next = &mut next[usize::from(entry.kind == Kind::Histograms)];
                if let [first, .., last] | [first @ last] = times.as_slice() {
                    // Whoever reads samples counts on their order.
                    if first < next || *last > end {
                        return Err(BlockError::Corrupt("timestamps"));
                    }
                    *next = last.saturating_add(1);
                }
                self.decode_entry(&frame, entry, &times, into)?;
            }
        }
        Ok(())
    }

    /// Whether the pieces are whole that have the samples of a series over one slice.
    pub(crate) fn check(&self, frame: &FrameRef, series: u16) -> Result<(), BlockError> {
        let frame = self.frame(frame)?;
        let mut entries = frame.of_series(series).iter();
        entries.try_for_each(|entry| self.times_of(entry).map(|_| ()))
    }

    /// Appends what an entry holds; `times` are [`Block::times_of`] it.
    pub(crate) fn decode_entry(
        &self,
        frame: &Frame,
        entry: &FrameEntry,
        times: &Times,
        into: &mut Samples,
    ) -> Result<(), BlockError> {
        let values = frame.values(entry);
        let decoded = match entry.kind {
            Kind::Histograms => {
                let list: &mut Vec<HPoint> = &mut into.histograms;
                decode_histograms(values, times.as_slice(), list)
            }
            _ => decode_values(values, times.as_slice(), &mut into.floats),
        };
        decoded.map_err(|_| BlockError::Corrupt("samples"))
    }

    /// An unpacked frame.
    pub(crate) fn frame(&self, frame: &FrameRef) -> Result<Arc<Frame>, BlockError> {
        const WHAT: &str = "frame";
        let offset = frame.piece.offset;
        let piece = self.cache.get(self.id, offset, || {
            let raw = frame.piece.content(&*self.file()?, WHAT)?;
            let parsed = Frame::parse(raw).map_err(|_| BlockError::Corrupt(WHAT))?;
            let bytes = parsed.heap_bytes();
            Ok::<_, BlockError>((Piece::Frame(Arc::new(parsed)), bytes))
        })?;
        match piece {
            Piece::Frame(frame) => Ok(frame),
            _ => Err(BlockError::Corrupt(WHAT)),
        }
    }

    /// The timestamps of an entry.
    pub(crate) fn times_of(&self, entry: &FrameEntry) -> Result<Times, BlockError> {
        const WHAT: &str = "timestamps";
        let column = entry.column as usize;
        let page = self.times.get(column / TIMES_COLUMNS);
        let page = page.ok_or(BlockError::Corrupt(WHAT))?;
        let piece = self.cache.get(self.id, page.offset, || {
            let raw = page.content(&*self.file()?, WHAT)?;
            let parsed = TimesPage::parse(&raw).map_err(|_| BlockError::Corrupt(WHAT))?;
            let bytes = parsed.heap_bytes();
            Ok::<_, BlockError>((Piece::Times(Arc::new(parsed)), bytes))
        })?;
        let Piece::Times(times) = piece else {
            return Err(BlockError::Corrupt(WHAT));
        };
        let column = times.column(column % TIMES_COLUMNS);
        let (from, to) = (
            entry.skip.into(),
            usize::from(entry.skip) + usize::from(entry.count),
        );
        match column {
            Some(column) if to <= column.len() => Ok(Times {
                column: Arc::clone(column),
                from,
                to,
            }),
            _ => Err(BlockError::Corrupt(WHAT)),
        }
    }

    fn index_page(&self, page: &PieceRef) -> Result<Arc<Vec<u8>>, BlockError> {
        self.bytes_of(page, "label index")
    }

    fn bytes_of(&self, piece: &PieceRef, what: &'static str) -> Result<Arc<Vec<u8>>, BlockError> {
        let found = self.cache.get(self.id, piece.offset, || {
            let raw = piece.content(&*self.file()?, what)?;
            let bytes = raw.capacity();
            Ok::<_, BlockError>((Piece::Bytes(Arc::new(raw)), bytes))
        })?;
        match found {
            Piece::Bytes(bytes) => Ok(bytes),
            _ => Err(BlockError::Corrupt(what)),
        }
    }
}

/// The header of a block whose samples are from the first instant on and before the second.
pub(crate) fn header_of(bounds: (i64, i64)) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&bounds.0.to_le_bytes());
    header[16..24].copy_from_slice(&bounds.1.to_le_bytes());
    let crc = crc32fast::hash(&header[..24]);
    header[24..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What the header says of the time of a block's samples, whatever has become of the rest: the
/// first instant and the end (exclusive).
pub(crate) fn bounds_in_header(file: &dyn DiskFile) -> Result<(i64, i64), BlockError> {
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, 0)?;
    let mut r = Reader::new(&header[8..]);
    let bounds = (r.u64()? as i64, r.u64()? as i64);
    match header == header_of(bounds) {
        true => Ok(bounds),
        false => Err(BlockError::Corrupt("header")),
    }
}

/// The number in the name of a block; 0 when there is none.
pub(crate) fn number_of(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    number_in(&name).unwrap_or(0)
}

impl Drop for Block {
    fn drop(&mut self) {
        self.cache.forget(self.id);
    }
}

/// A part of a timestamp column.
pub(crate) struct Times {
    column: Arc<[i64]>,
    from: usize,
    to: usize,
}

impl Times {
    pub(crate) fn as_slice(&self) -> &[i64] {
        &self.column[self.from..self.to]
    }
}
