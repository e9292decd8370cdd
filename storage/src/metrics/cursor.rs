//! The samples of one series, from blocks and head, merged in time order.

use std::sync::Arc;

use model::{FPoint, ReadError, SampleCursor, Samples};

use super::block::{Block, BlockError, BlockSeries};
use super::block_frame::Kind;
use super::block_group::FrameRef;
use super::chunk::Chunk;
use super::gaps::Damage;

/// While sources interleave, a run has at least this many points before it is handed out.
const RUN_POINTS: usize = 256;

/// Where a run of samples is.
#[derive(Clone)]
pub(crate) enum Source {
    /// A series of a block; of its samples, those within the ranges (both ends inclusive)
    /// are deleted.
    Block {
        block: Arc<Block>,
        series: BlockSeries,
        kind: Kind,
        deleted: Arc<[(i64, i64)]>,
    },
    /// Chunks that follow each other.
    Head(Vec<Chunk>),
}

/// Merges sources, each of which is in time order. Of samples of one instant that of the
/// source listed first is given: blocks may overlap, and while a block takes over from the
/// head, both have the same samples. Holds one decoded chunk of each source that overlaps.
pub(crate) struct Cursor {
    feeds: Vec<Feed>,
    damage: Arc<Damage>,
    /// First and last instant asked for; pieces outside are not read.
    bounds: (i64, i64),
    /// Instant of the last sample given out.
    last_t: Option<i64>,
}

/// One source, read piece by piece.
pub(crate) struct Feed {
    pub(crate) source: Source,
    /// Of a roll-up: each bucket comes as as many points as it had samples.
    pub(crate) spread: bool,
    /// The next piece to decode.
    next: usize,
    /// What was decoded for others to go first; most series never need it.
    buffer: Option<Box<Buffer>>,
}

/// Decoded but not given out yet, from these positions on.
#[derive(Default)]
struct Buffer {
    samples: Samples,
    floats_at: usize,
    histograms_at: usize,
}

impl Cursor {
    /// `bounds` are the first and last instant of interest.
    pub(crate) fn new(feeds: Vec<Feed>, bounds: (i64, i64), damage: Arc<Damage>) -> Cursor {
        Cursor {
            feeds,
            damage,
            bounds,
            last_t: None,
        }
    }

    /// Decodes the next piece of a feed behind what is in `into`, less what was given out or
    /// is deleted. A damaged piece is passed over and reported in health, so that it costs
    /// two hours of one series and not every query over that time.
    fn decode(&mut self, feed: usize, into: &mut Samples) -> Result<(), ReadError> {
        let feed = &mut self.feeds[feed];
        let before = (into.floats.len(), into.histograms.len());
        let deleted = match &feed.source {
            Source::Head(chunks) => {
                let decoded = chunks.get(feed.next).map_or(Ok(()), |c| c.decode(into));
                feed.next += 1;
                if decoded.is_err() {
                    return Err(ReadError::Corrupt("head chunk".to_owned()));
                }
                None
            }
            Source::Block {
                block,
                series,
                kind,
                deleted,
            } => {
                let frame = &series.group.frames[feed.next];
                feed.next += 1;
                let decoded = block.decode(frame, series.at, *kind, into);
                let spread = |()| match feed.spread {
                    true => spread(block, frame, series.at, into, before.0),
                    false => Ok(()),
                };
                match decoded.and_then(spread) {
                    Ok(()) => {}
                    Err(BlockError::Io(e)) => {
                        return Err(ReadError::Io {
                            what: block.path.display().to_string(),
                            source: Arc::new(e),
                        });
                    }
                    Err(BlockError::Corrupt(what)) => {
                        into.floats.truncate(before.0);
                        into.histograms.truncate(before.1);
                        let start = frame.slice.saturating_mul(block.slice_ms);
                        let end = start.saturating_add(block.slice_ms - 1);
                        let lost = (start.max(series.first_t), end.min(series.last_t));
                        self.damage.found(block, what, Some(lost));
                        return Ok(());
                    }
                }
                Some(deleted)
            }
        };
        if let Some(last) = self.last_t {
            let known = into.floats[before.0..].partition_point(|p| p.t <= last);
            into.floats.drain(before.0..before.0 + known);
            let known = into.histograms[before.1..].partition_point(|p| p.t <= last);
            into.histograms.drain(before.1..before.1 + known);
        }
        for (from, to) in deleted.into_iter().flat_map(|d| d.iter()) {
            cut(&mut into.floats, before.0, |p| p.t, (*from, *to));
            cut(&mut into.histograms, before.1, |p| p.t, (*from, *to));
        }
        Ok(())
    }

    /// What was appended last is given out.
    fn given(&mut self, into: &Samples) {
        let last = into.floats.last().map(|p| p.t);
        let last = last.max(into.histograms.last().map(|p| p.t));
        self.last_t = self.last_t.max(last);
    }
}

/// Puts in place of the sums (or numbers) of buckets, which are in `into` from `from` on, as many
/// points as there were samples, evenly over the bucket, of their mean: what counts them or
/// takes their mean then has the right weights, beside samples too.
fn spread(
    block: &Block,
    frame: &FrameRef,
    series: u16,
    into: &mut Samples,
    from: usize,
) -> Result<(), BlockError> {
    let mut counts = Samples::default();
    block.decode(frame, series, Kind::Count, &mut counts)?;
    let buckets = into.floats.split_off(from);
    if buckets.len() != counts.floats.len() {
        return Err(BlockError::Corrupt("buckets"));
    }
    for (bucket, count) in buckets.iter().zip(&counts.floats) {
        let before = bucket.t.div_euclid(block.resolution_ms) * block.resolution_ms - 1;
        let length = bucket.t - before;
        let points = (count.v as i64).clamp(1, length);
        let v = bucket.v / count.v;
        let at = |i| before + length * i / points;
        into.floats
            .extend((1..=points).map(|i| FPoint { t: at(i), v }));
    }
    Ok(())
}

/// Removes points within a range, both ends inclusive, from position `from` on.
fn cut<T>(points: &mut Vec<T>, from: usize, t: impl Fn(&T) -> i64, range: (i64, i64)) {
    let start = from + points[from..].partition_point(|p| t(p) < range.0);
    let end = from + points[from..].partition_point(|p| t(p) <= range.1);
    if start < end {
        points.drain(start..end);
    }
}

impl Feed {
    pub(crate) fn new(source: Source) -> Feed {
        Feed {
            source,
            spread: false,
            next: 0,
            buffer: None,
        }
    }

    /// The same, at its beginning.
    pub(crate) fn fresh(&self) -> Feed {
        Feed {
            spread: self.spread,
            ..Feed::new(self.source.clone())
        }
    }

    /// Whether its points stand for buckets.
    pub(crate) fn is_rollup(&self) -> bool {
        matches!(&self.source, Source::Block { block, .. } if block.resolution_ms > 0)
    }

    /// Bytes on the heap before anything is decoded.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.source {
            Source::Block { deleted, .. } => size_of_val(&**deleted),
            Source::Head(chunks) => Chunk::bytes_of(chunks),
        }
    }

    /// Bounds of the next piece to decode, wider than its samples may be.
    fn upcoming(&mut self, bounds: (i64, i64)) -> Option<(i64, i64)> {
        match &self.source {
            Source::Head(chunks) => chunks.get(self.next).map(|c| (c.first_t, c.last_t)),
            Source::Block { block, series, .. } => loop {
                let frame = series.group.frames.get(self.next)?;
                let start = frame.slice.saturating_mul(block.slice_ms);
                let end = start.saturating_add(block.slice_ms - 1);
                let start = match self.spread {
                    true => start,
                    false => start.max(series.first_t),
                };
                let end = end.min(series.last_t);
                // A point stands for its bucket, and for the time until the next one.
                if start > end || end < bounds.0.saturating_sub(block.resolution_ms) {
                    self.next += 1;
                    continue;
                }
                return (start <= bounds.1).then_some((start, end));
            },
        }
    }

    /// Instant of the first buffered sample.
    fn buffered(&self) -> Option<i64> {
        let buffer = self.buffer.as_ref()?;
        let float = buffer.samples.floats.get(buffer.floats_at).map(|p| p.t);
        let histogram = buffer.samples.histograms.get(buffer.histograms_at);
        let histogram = histogram.map(|p| p.t);
        match (float, histogram) {
            (Some(f), Some(h)) => Some(f.min(h)),
            (f, h) => f.or(h),
        }
    }

    /// Moves buffered samples up to and including `until` that are later than `after`.
    fn give(&mut self, until: i64, after: Option<i64>, into: &mut Samples) {
        let Some(buffer) = &mut self.buffer else {
            return;
        };
        let fresh = |t: i64| after.is_none_or(|a| t > a);
        let floats = &buffer.samples.floats[buffer.floats_at..];
        let count = floats.partition_point(|p| p.t <= until);
        buffer.floats_at += count;
        into.floats
            .extend(floats[..count].iter().filter(|p| fresh(p.t)));
        let histograms = &buffer.samples.histograms[buffer.histograms_at..];
        let count = histograms.partition_point(|p| p.t <= until);
        buffer.histograms_at += count;
        let histograms = histograms[..count].iter().filter(|p| fresh(p.t));
        into.histograms.extend(histograms.cloned());
    }
}

impl SampleCursor for Cursor {
    fn held_bytes(&self) -> usize {
        let feeds = self.feeds.capacity() * size_of::<Feed>();
        size_of::<Cursor>() + feeds + self.feeds.iter().map(Feed::heap_bytes).sum::<usize>()
    }

    fn resolution_ms(&self, t: i64) -> i64 {
        let of = |feed: &Feed| match &feed.source {
            Source::Block {
                block,
                series,
                deleted,
                ..
            } => {
                // Where it is cut others answer.
                let gone = deleted.iter().any(|d| d.0 <= t && t <= d.1);
                let has = series.first_t <= t && t <= series.last_t && !gone;
                if has { block.resolution_ms } else { 0 }
            }
            Source::Head(_) => 0,
        };
        self.feeds.iter().map(of).max().unwrap_or(0)
    }

    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        let before = into.len();
        loop {
            // The feed with the earliest sample or piece, the first listed at equal instants,
            // and how far it can go before another one has something to say.
            let mut first: Option<(i64, usize, Option<i64>)> = None;
            let mut limit = i64::MAX;
            for i in 0..self.feeds.len() {
                let feed = &mut self.feeds[i];
                let (t, end) = match feed.buffered() {
                    Some(t) => (t, None),
                    None => match feed.upcoming(self.bounds) {
                        Some((start, end)) => (start, Some(end)),
                        None => continue,
                    },
                };
                match first {
                    Some((earliest, ..)) if t >= earliest => limit = limit.min(t),
                    _ => {
                        if let Some((earliest, ..)) = first {
                            limit = limit.min(earliest);
                        }
                        first = Some((t, i, end));
                    }
                }
            }
            let Some((t, i, piece_end)) = first else {
                return Ok(into.len() > before);
            };
            match piece_end {
                Some(end) if end < limit => {
                    self.decode(i, into)?;
                    self.given(into);
                    if into.len() > before {
                        return Ok(true);
                    }
                }
                Some(_) => {
                    let mut buffer = self.feeds[i].buffer.take().unwrap_or_default();
                    buffer.samples.clear();
                    let decoded = self.decode(i, &mut buffer.samples);
                    (buffer.floats_at, buffer.histograms_at) = (0, 0);
                    self.feeds[i].buffer = Some(buffer);
                    decoded?;
                }
                None => {
                    // At the limit itself only the sample that is first there.
                    let until = limit.saturating_sub(1).max(t);
                    let last_t = self.last_t;
                    self.feeds[i].give(until, last_t, into);
                    self.given(into);
                    if into.len() >= before + RUN_POINTS {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Watch;
    use crate::metrics::chunk::Chunk;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sources_that_overlap_are_merged_and_the_first_wins(
            chunks in prop::collection::vec(prop::collection::btree_set(0_i64..60, 1..20), 0..6),
        ) {
            let mut expect = std::collections::BTreeMap::new();
            let mut sources = Vec::new();
            for (i, times) in chunks.iter().enumerate() {
                let v = i as f64;
                let floats: Vec<FPoint> = times.iter().map(|t| FPoint { t: *t, v }).collect();
                for t in times {
                    expect.entry(*t).or_insert(v);
                }
                let histograms = Vec::new();
                let chunk = Chunk::of(Samples { floats, histograms });
                sources.push(Feed::new(Source::Head(vec![chunk])));
            }
            let damage = Arc::new(Damage {
                watch: Watch::for_test(),
                missing: None,
            });
            let mut cursor = Cursor::new(sources, (0, 60), damage);
            let mut samples = Samples::default();
            while cursor.next_run(&mut samples).unwrap() {}
            let found: Vec<(i64, f64)> = samples.floats.iter().map(|p| (p.t, p.v)).collect();
            prop_assert_eq!(found, expect.into_iter().collect::<Vec<_>>());
        }
    }
}
