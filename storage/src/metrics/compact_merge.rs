//! Several blocks made one, or a roll-up of some, a step at a time.
//!
//! Sources are gone through in label order, a group of each in memory. What one source alone
//! has over a slice, and nothing is deleted from, is copied as it was encoded.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{FPoint, Labels, ReadError, SampleCursor, Samples};

use super::block::{Block, BlockError, BlockSeries, GroupFrames, number_of};
use super::block_frame::Kind;
use super::block_writer::{BlockOptions, BlockWriter, SLICE_MS};
use super::cursor::{Cursor, Feed, Source};
use super::gaps::Damage;
use super::rollup::{Rolled, combine, is_counter, roll_up};
use super::tombstone::Cuts;
use crate::disk::Disk;
use crate::health::Watch;

/// Of zstd, for what is written once and kept.
const LEVEL: i32 = 6;
/// Slices of a roll-up hold about as many samples as those of raw data.
const ROLLUP_SLICE_BUCKETS: i64 = 480;
/// Kinds of numbers a roll-up has beside its samples.
const ROLLED: [Kind; 4] = [Kind::Sum, Kind::Count, Kind::Min, Kind::Max];

/// What a merge makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A block of the same resolution in place of its sources.
    Merged,
    /// A roll-up beside them, of the samples within a range (the end exclusive).
    Rollup {
        resolution_ms: i64,
        range: (i64, i64),
    },
    /// A roll-up in place of the one among the sources, with what was not there when that was
    /// made.
    Refreshed {
        resolution_ms: i64,
        range: (i64, i64),
    },
}

impl Output {
    /// Whether a source goes when this has been made.
    pub(crate) fn replaces(self, source: &Block) -> bool {
        match self {
            Output::Merged => true,
            Output::Rollup { .. } => false,
            Output::Refreshed { .. } => source.resolution_ms > 0,
        }
    }
}

/// A merge under way.
pub(crate) struct Merge {
    pub(crate) path: PathBuf,
    pub(crate) output: Output,
    pub(crate) cuts: Cuts,
    scans: Vec<Scan>,
    writer: BlockWriter,
    damage: Arc<Damage>,
    end_t: i64,
    samples: Samples,
}

/// One source, group by group.
struct Scan {
    block: Arc<Block>,
    group: usize,
    queue: VecDeque<(Labels, BlockSeries)>,
    damaged: bool,
}

/// What became of a step.
pub(crate) enum Step {
    /// There is more to do.
    More(Merge),
    /// The temporary file is complete and durable; `None` when there was nothing to keep.
    /// With the sources, and which of them were damaged.
    Done(Option<PathBuf>, Vec<(Arc<Block>, bool)>),
}

impl Merge {
    /// Starts a merge of `blocks`, which are in the order of their age, to what will be `path`.
    pub(crate) fn begin(
        disk: &dyn Disk,
        watch: &Arc<Watch>,
        path: PathBuf,
        blocks: Vec<Arc<Block>>,
        output: Output,
        cuts: Cuts,
    ) -> io::Result<Merge> {
        let resolution_of_sources = blocks.first().map_or(0, |b| b.resolution_ms);
        let resolution_ms = match output {
            Output::Merged => resolution_of_sources,
            Output::Rollup { resolution_ms, .. } | Output::Refreshed { resolution_ms, .. } => {
                resolution_ms
            }
        };
        let replaced = || blocks.iter().filter(|b| output.replaces(b));
        let oldest = replaced().map(|b| b.age().0).min();
        let options = BlockOptions {
            slice_ms: match resolution_ms {
                0 => SLICE_MS,
                _ => resolution_ms.saturating_mul(ROLLUP_SLICE_BUCKETS),
            },
            resolution_ms,
            level: LEVEL,
            replaces: replaced().map(|b| b.identity()).collect(),
            older: oldest.map_or(0, |oldest| number_of(&path).saturating_sub(oldest)),
        };
        let end_t = match output {
            Output::Merged => blocks.iter().map(|b| b.end_t).max().unwrap_or(0),
            Output::Rollup { range, .. } | Output::Refreshed { range, .. } => range.1,
        };
        let writer = BlockWriter::with_options(disk, &path.with_extension("tmp"), options)?;
        let scan = |block| Scan {
            block,
            group: 0,
            queue: VecDeque::new(),
            damaged: false,
        };
        Ok(Merge {
            path,
            output,
            cuts,
            scans: blocks.into_iter().map(scan).collect(),
            writer,
            damage: Arc::new(Damage {
                watch: Arc::clone(watch),
                missing: None,
            }),
            end_t,
            samples: Samples::default(),
        })
    }

    /// The blocks it reads.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.scans.iter().map(|s| &s.block)
    }

    /// Goes on until about `bytes` more have been written.
    pub(crate) fn step(mut self, bytes: u64) -> io::Result<Step> {
        let until = self.writer.bytes().saturating_add(bytes);
        while self.writer.bytes() < until {
            let Some((labels, sources)) = self.next_series()? else {
                let empty = self.writer.is_empty();
                let sources = self.scans.into_iter().map(|s| (s.block, s.damaged));
                let sources = sources.collect();
                if empty {
                    return Ok(Step::Done(None, sources));
                }
                self.writer.finish(self.end_t)?;
                return Ok(Step::Done(Some(self.path), sources));
            };
            self.writer.begin(labels.clone());
            match self.output {
                Output::Merged => self.merge(&labels, &sources)?,
                Output::Rollup {
                    resolution_ms,
                    range,
                }
                | Output::Refreshed {
                    resolution_ms,
                    range,
                } => {
                    self.roll_up(&labels, &sources, resolution_ms, range)?;
                }
            }
            self.writer.end()?;
        }
        Ok(Step::More(self))
    }

    /// The next series in label order, with its places in the sources.
    fn next_series(&mut self) -> io::Result<Option<(Labels, Vec<(usize, BlockSeries)>)>> {
        for scan in &mut self.scans {
            scan.fill(&self.damage)?;
        }
        let heads = self.scans.iter().filter_map(|s| s.queue.front());
        let Some(labels) = heads.map(|(labels, _)| labels).min().cloned() else {
            return Ok(None);
        };
        let mut sources = Vec::new();
        for (i, scan) in self.scans.iter_mut().enumerate() {
            while let Some((head, _)) = scan.queue.front()
                && *head == labels
                && let Some((_, series)) = scan.queue.pop_front()
            {
                sources.push((i, series));
            }
        }
        Ok(Some((labels, sources)))
    }

    fn merge(&mut self, labels: &Labels, sources: &[(usize, BlockSeries)]) -> io::Result<()> {
        let mut places: Vec<(i64, usize, usize)> = Vec::new();
        let mut cuts: Vec<Arc<[(i64, i64)]>> = Vec::with_capacity(sources.len());
        for (source, (scan, series)) in sources.iter().enumerate() {
            cuts.push(self.cuts.of(labels, self.scans[*scan].block.number).into());
            let frames = series.group.frames.iter().enumerate();
            places.extend(frames.map(|(i, frame)| (frame.slice, source, i)));
        }
        places.sort_unstable();
        for group in places.chunk_by(|a, b| a.0 == b.0) {
            if let [(slice, source, frame)] = *group {
                let (scan, series) = &sources[source];
                let block = Arc::clone(&self.scans[*scan].block);
                let start = slice.saturating_mul(block.slice_ms);
                let end = start.saturating_add(block.slice_ms - 1);
                let is_cut = cuts[source].iter().any(|c| c.0 <= end && c.1 >= start);
                if !is_cut {
                    let copied = self.copy(&block, series, frame);
                    self.tolerate(*scan, copied)?;
                    continue;
                }
            }
            let kinds: &[Kind] = match self.resolution_ms() {
                0 => &[],
                _ => &ROLLED,
            };
            for kind in [Kind::Floats].iter().chain(kinds) {
                let mut pieces = Vec::new();
                for (_, source, frame) in group {
                    let (scan, series) = &sources[*source];
                    let block = Arc::clone(&self.scans[*scan].block);
                    let frame = series.group.frames[*frame];
                    let readable = block.check(&frame, series.at);
                    self.tolerate(*scan, readable)?;
                    let group = Arc::new(GroupFrames {
                        frames: vec![frame],
                    });
                    pieces.push(Source::Block {
                        block,
                        series: BlockSeries {
                            group,
                            ..series.clone()
                        },
                        kind: *kind,
                        deleted: Arc::clone(&cuts[*source]),
                    });
                }
                self.add_merged(pieces, (i64::MIN, i64::MAX), *kind)?;
            }
        }
        Ok(())
    }

    fn resolution_ms(&self) -> i64 {
        self.scans.first().map_or(0, |s| s.block.resolution_ms)
    }

    fn copy(
        &mut self,
        block: &Block,
        series: &BlockSeries,
        frame: usize,
    ) -> Result<(), BlockError> {
        let reference = &series.group.frames[frame];
        let frame = block.frame(reference)?;
        for entry in frame.of_series(series.at) {
            let times = block.times_of(entry)?;
            let (slice, values) = (reference.slice, frame.values(entry));
            self.writer
                .add_encoded(slice, entry.kind, times.as_slice(), values)?;
        }
        Ok(())
    }

    fn add_merged(
        &mut self,
        sources: Vec<Source>,
        bounds: (i64, i64),
        kind: Kind,
    ) -> io::Result<()> {
        self.read(sources, bounds)?;
        match kind {
            Kind::Floats => self.writer.add_samples(&self.samples),
            _ => self.writer.add_floats(kind, &self.samples.floats),
        }
    }

    /// Decodes into `self.samples`.
    fn read(&mut self, sources: Vec<Source>, bounds: (i64, i64)) -> io::Result<()> {
        self.samples.clear();
        let feeds = sources.into_iter().map(Feed::new).collect();
        let mut cursor = Cursor::new(feeds, bounds, Arc::clone(&self.damage));
        loop {
            match cursor.next_run(&mut self.samples) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(ReadError::Io { source, .. }) => {
                    return Err(io::Error::new(source.kind(), source));
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }

    fn roll_up(
        &mut self,
        labels: &Labels,
        sources: &[(usize, BlockSeries)],
        resolution_ms: i64,
        range: (i64, i64),
    ) -> io::Result<()> {
        let (raw, coarse): (Vec<_>, Vec<_>) = sources
            .iter()
            .partition(|(scan, _)| self.scans[*scan].block.resolution_ms == 0);
        self.read(
            self.sources_of(labels, &raw, Kind::Floats),
            (range.0, range.1 - 1),
        )?;
        let inside = |t: i64| range.0 <= t && t < range.1;
        self.samples.floats.retain(|p| inside(p.t));
        self.samples.histograms.retain(|p| inside(p.t));
        let mut rolled = roll_up(&self.samples, resolution_ms, is_counter(labels));
        if !coarse.is_empty() {
            let mut numbers: [Vec<FPoint>; 4] = Default::default();
            for (kind, points) in ROLLED.iter().zip(&mut numbers) {
                let sources = self.sources_of(labels, &coarse, *kind);
                self.read(sources, (i64::MIN, i64::MAX))?;
                std::mem::swap(points, &mut self.samples.floats);
            }
            let sources = self.sources_of(labels, &coarse, Kind::Floats);
            self.read(sources, (i64::MIN, i64::MAX))?;
            let [sum, count, min, max] = numbers;
            let before = Rolled {
                last: std::mem::take(&mut self.samples),
                sum,
                count,
                min,
                max,
            };
            rolled = combine(before, rolled, resolution_ms);
        }
        self.writer.add_samples(&rolled.last)?;
        let numbers = [&rolled.sum, &rolled.count, &rolled.min, &rolled.max];
        for (kind, points) in ROLLED.iter().zip(numbers) {
            self.writer.add_floats(*kind, points)?;
        }
        Ok(())
    }

    /// What one kind of a series is read from.
    fn sources_of(
        &self,
        labels: &Labels,
        places: &[&(usize, BlockSeries)],
        kind: Kind,
    ) -> Vec<Source> {
        let source = |(scan, series): &&(usize, BlockSeries)| {
            let block = Arc::clone(&self.scans[*scan].block);
            let deleted = self.cuts.of(labels, block.number).into();
            Source::Block {
                block,
                series: series.clone(),
                kind,
                deleted,
            }
        };
        places.iter().map(source).collect()
    }

    /// A damaged piece is left out, reported, and its block set aside in the end instead of
    /// removed. A disk that does not read ends the merge; it is tried again later.
    fn tolerate(&mut self, scan: usize, result: Result<(), BlockError>) -> io::Result<()> {
        match result {
            Ok(()) => Ok(()),
            Err(BlockError::Io(e)) => Err(e),
            Err(BlockError::Corrupt(what)) => {
                let scan = &mut self.scans[scan];
                scan.damaged = true;
                self.damage.found(&scan.block, what, None);
                Ok(())
            }
        }
    }
}

impl Scan {
    /// Makes sure that the next series is known, if there is one.
    fn fill(&mut self, damage: &Damage) -> io::Result<()> {
        while self.queue.is_empty() && self.group < self.block.group_count() {
            let mut series: Vec<(Labels, u16, (i64, i64))> = Vec::new();
            let group = self.group;
            self.group += 1;
            let frames = self.block.visit_group(group, &mut |s| {
                series.push((s.labels(), s.at, s.bounds));
            });
            match frames {
                Ok(frames) => {
                    let frames = Arc::new(GroupFrames { frames });
                    let found = series.into_iter().map(|(labels, at, (first_t, last_t))| {
                        let group = Arc::clone(&frames);
                        let series = BlockSeries {
                            group,
                            at,
                            first_t,
                            last_t,
                        };
                        (labels, series)
                    });
                    self.queue.extend(found);
                }
                Err(BlockError::Io(e)) => return Err(e),
                Err(BlockError::Corrupt(what)) => {
                    self.damaged = true;
                    damage.found(&self.block, what, None);
                }
            }
        }
        Ok(())
    }
}
