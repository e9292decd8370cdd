//! Reading: from matchers to series, over blocks and head.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{
    Hints, Labels, Matcher, ReadBounds, ReadError, SampleCursor, SelectedSeries, Selection,
    TimeRange, Timestamp,
};

use super::MetricStore;
use super::block::{Block, BlockError, BlockSeries};
use super::block_frame::Kind;
use super::chunk::Chunk;
use super::cursor::{Cursor, Feed, Source};
use super::rollup::is_counter;
use super::tombstone::{Tombstone, deleted, join};
use super::window_edges::{WindowEdges, Windows};
use crate::telemetry::FileKind;

/// Buckets that a window has at least where a roll-up answers instead of samples: what it is
/// off by at its ends is a part of one.
const WINDOW_BUCKETS_MIN: i64 = 4;

/// A series found, with its sources in the order in which they count.
type Found = (Labels, Vec<Feed>);

impl MetricStore {
    /// See [`model::SeriesReader::select`]. Roll-ups answer for the time before the first raw
    /// sample of a series, the finest first, and instead of samples where step and window are
    /// coarser; what they have instead goes by the function that will see it.
    pub(crate) fn select(
        &self,
        selection: &Selection<'_>,
    ) -> Result<Vec<SelectedSeries>, ReadError> {
        self.select_within(selection, &ReadBounds::default())
    }

    /// As [`MetricStore::select`], given up past `bounds`.
    pub(crate) fn select_within(
        &self,
        selection: &Selection<'_>,
        bounds: &ReadBounds,
    ) -> Result<Vec<SelectedSeries>, ReadError> {
        let range = selection.range;
        let newest_only = selection.hints.newest_only;
        let mut snapshot = self.snapshot(selection.matchers, range, bounds, newest_only);
        let mut tally = Tally::new(bounds);
        tally.add_head(&snapshot);
        tally.check()?;
        let mut found: Vec<Found> = Vec::new();
        for block in snapshot.blocks.iter().filter(|b| b.resolution_ms == 0) {
            let more = self.find(block, &snapshot, selection, Kind::Floats, &mut tally)?;
            found = merge(found, more);
        }
        let head = std::mem::take(&mut snapshot.head).into_iter();
        found = merge(found, head.map(|(l, chunks)| (l, feeds(chunks))).collect());
        let mut rollups: Vec<&Arc<Block>> = snapshot.blocks.iter().collect();
        rollups.retain(|b| b.resolution_ms > 0);
        rollups.sort_by_key(|b| b.resolution_ms);
        let same = |a: &&Arc<Block>, b: &&Arc<Block>| a.resolution_ms == b.resolution_ms;
        let levels: Vec<&[&Arc<Block>]> = rollups.chunk_by(same).collect();
        let coarsest = coarsest_ms(&selection.hints);
        let preferred = levels.iter().rev().find(|l| l[0].resolution_ms <= coarsest);
        if let Some(level) = preferred {
            let mut coarser = self.find_rolled(level, &snapshot, selection, &mut tally)?;
            if let "rate" | "increase" = selection.hints.function {
                // Of others the resets within a bucket are not kept.
                coarser.retain(|(labels, _)| is_counter(labels));
            }
            found = merge_instead(found, coarser);
        }
        for level in levels {
            let coarser = self.find_rolled(level, &snapshot, selection, &mut tally)?;
            found = merge_before(found, coarser);
        }
        tally.check()?;
        let bounds = (range.start.millis(), range.end.millis());
        let windows = Windows::of(selection);
        let series = |(labels, sources): Found| {
            let windows = windows.filter(|_| sources.iter().any(Feed::is_rollup));
            let cursor = Cursor::new(sources, bounds, Arc::clone(&self.watch));
            let cursor: Box<dyn SampleCursor> = match windows {
                Some(windows) => Box::new(WindowEdges::new(cursor, windows)),
                None => Box::new(cursor),
            };
            SelectedSeries { labels, cursor }
        };
        Ok(found.into_iter().map(series).collect())
    }

    /// The series of roll-ups of one resolution, with what the function asks of their buckets.
    fn find_rolled(
        &self,
        blocks: &[&Arc<Block>],
        snapshot: &Snapshot,
        selection: &Selection<'_>,
        tally: &mut Tally<'_>,
    ) -> Result<Vec<Found>, ReadError> {
        let (kind, spread) = match selection.hints.function {
            "sum_over_time" => (Kind::Sum, false),
            "min_over_time" => (Kind::Min, false),
            "max_over_time" => (Kind::Max, false),
            "count_over_time" => (Kind::Count, true),
            "avg_over_time" => (Kind::Sum, true),
            _ => (Kind::Floats, false),
        };
        let mut found: Vec<Found> = Vec::new();
        for block in blocks {
            // A point stands until the next one.
            let start = selection.range.start.millis();
            let start = start.saturating_sub(block.resolution_ms);
            let wider = Selection {
                range: TimeRange::new(Timestamp::from_millis(start), selection.range.end),
                ..selection.clone()
            };
            let mut more = self.find(block, snapshot, &wider, kind, tally)?;
            for (_, feeds) in &mut more {
                feeds.iter_mut().for_each(|f| f.spread = spread);
            }
            found = merge(found, more);
        }
        Ok(found)
    }

    /// The series of one block, less what is deleted.
    fn find(
        &self,
        block: &Arc<Block>,
        snapshot: &Snapshot,
        selection: &Selection<'_>,
        kind: Kind,
        tally: &mut Tally<'_>,
    ) -> Result<Vec<Found>, ReadError> {
        tally.check()?;
        let none: Arc<[(i64, i64)]> = Arc::from([]);
        let concerning = snapshot.concerning(block);
        let mut found: Vec<Found> = Vec::new();
        self.select_block(block, selection, &mut |labels, series| {
            tally.add(SERIES_BYTES + labels.heap_bytes());
            if tally.check().is_err() {
                return ControlFlow::Break(());
            }
            let deleted = match concerning.is_empty() {
                true => Arc::clone(&none),
                false => deleted(&concerning, &labels, block.number).into(),
            };
            if !is_gone(&series, &deleted) {
                let source = Source::Block {
                    block: Arc::clone(block),
                    series,
                    kind,
                    deleted,
                };
                found.push((labels, vec![Feed::new(source)]));
            }
            ControlFlow::Continue(())
        })?;
        tally.check()?;
        Ok(found)
    }

    /// See [`model::SeriesReader::series`].
    pub(crate) fn series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<Labels>, ReadError> {
        self.series_within(sets, range, &ReadBounds::default())
    }

    /// As [`MetricStore::series`], given up past `bounds`.
    pub(crate) fn series_within(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        bounds: &ReadBounds,
    ) -> Result<Vec<Labels>, ReadError> {
        let everything = [Vec::new()];
        let sets = if sets.is_empty() { &everything } else { sets };
        let mut found: Vec<Found> = Vec::new();
        for matchers in sets {
            let mut tally = Tally::new(bounds);
            let labels = found.iter().map(|(labels, _)| labels.heap_bytes());
            tally.add(labels.sum::<usize>() + found.len() * size_of::<Found>());
            tally.check()?;
            let snapshot = self.snapshot(matchers, range, bounds, true);
            tally.add_head(&snapshot);
            let selection = plain(matchers, range);
            for block in &snapshot.blocks {
                let mut more = self.find(block, &snapshot, &selection, Kind::Floats, &mut tally)?;
                for (_, sources) in &mut more {
                    sources.clear();
                }
                found = merge(found, more);
            }
            tally.check()?;
            let head = snapshot.head.into_iter();
            found = merge(
                found,
                head.map(|(labels, _)| (labels, Vec::new())).collect(),
            );
        }
        Ok(found.into_iter().map(|(labels, _)| labels).collect())
    }

    /// See [`model::SeriesReader::label_names`]: from the index where a block lies within the
    /// range and nothing narrows the choice.
    pub(crate) fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        bounds: &ReadBounds,
    ) -> Result<Vec<String>, ReadError> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut add = |name: &str| {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        };
        self.labels_of(sets, range, bounds, &mut |part| match part {
            Part::Block(block) => {
                block.label_names().for_each(&mut add);
                Ok(true)
            }
            Part::Series(labels) => {
                labels.iter().for_each(|(name, _)| add(name));
                Ok(true)
            }
        })?;
        Ok(names.into_iter().collect())
    }

    /// See [`model::SeriesReader::label_values`]; as [`MetricStore::label_names`].
    pub(crate) fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        self.label_values_within(name, sets, range, &ReadBounds::default())
    }

    /// As [`MetricStore::label_values`], given up past `bounds`.
    pub(crate) fn label_values_within(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        bounds: &ReadBounds,
    ) -> Result<Vec<String>, ReadError> {
        let mut values: BTreeSet<String> = BTreeSet::new();
        let mut add = |value: &str| {
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        };
        self.labels_of(sets, range, bounds, &mut |part| match part {
            Part::Block(block) => block.label_values(name, &mut add),
            Part::Series(labels) => {
                if let Some(value) = labels.get(name) {
                    add(value);
                }
                Ok(true)
            }
        })?;
        Ok(values.into_iter().collect())
    }

    /// Hands whole blocks where their index says it all, and otherwise series to `visit`. It
    /// answers `false` when the index of a block does not say it, and gets its series then.
    fn labels_of(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
        bounds: &ReadBounds,
        visit: &mut dyn FnMut(Part<'_>) -> Result<bool, BlockError>,
    ) -> Result<(), ReadError> {
        let everything = [Vec::new()];
        let sets = if sets.is_empty() { &everything } else { sets };
        for matchers in sets {
            let mut tally = Tally::new(bounds);
            tally.check()?;
            let snapshot = self.snapshot(matchers, range, bounds, true);
            tally.add_head(&snapshot);
            let selection = plain(matchers, range);
            for block in &snapshot.blocks {
                let whole = block.range();
                if matchers.is_empty()
                    && range.start <= whole.start
                    && whole.end <= range.end
                    && snapshot.concerning(block).is_empty()
                    && matches!(visit(Part::Block(block)), Ok(true))
                {
                    continue;
                }
                let found = self.find(block, &snapshot, &selection, Kind::Floats, &mut tally)?;
                for (labels, _) in found {
                    let _ = visit(Part::Series(&labels));
                }
            }
            tally.check()?;
            for (labels, _) in &snapshot.head {
                let _ = visit(Part::Series(labels));
            }
        }
        Ok(())
    }

    /// Blocks and head chunks of one moment: between them nothing is missing.
    fn snapshot(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        bounds: &ReadBounds,
        newest_only: bool,
    ) -> Snapshot {
        let state = self.read();
        let most = bounds.bytes_max;
        let head = state.head.snapshot(matchers, range, most, newest_only);
        Snapshot {
            blocks: state.blocks.clone(),
            tombstones: Arc::clone(&state.tombstones),
            head,
        }
    }

    fn select_block(
        &self,
        block: &Block,
        selection: &Selection<'_>,
        found: &mut dyn FnMut(Labels, BlockSeries) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut damaged = |what| self.watch.corrupt(FileKind::Block, &block.path, what);
        block
            .select_while(selection.matchers, selection.range, found, &mut damaged)
            .map_err(|e| ReadError::Io {
                what: block.path.display().to_string(),
                source: Arc::new(e),
            })
    }
}

/// What a series takes in each place it is found, beside its labels and what was copied out of the
/// head: its entry, its cursor and the feed from there.
const SERIES_BYTES: usize = size_of::<Found>() + size_of::<Cursor>() + size_of::<Feed>();

/// Bytes held by now, against the bounds of a look-up.
struct Tally<'a> {
    bounds: &'a ReadBounds,
    bytes: usize,
}

impl<'a> Tally<'a> {
    fn new(bounds: &'a ReadBounds) -> Tally<'a> {
        Tally { bounds, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn add_head(&mut self, snapshot: &Snapshot) {
        for (labels, chunks) in &snapshot.head {
            self.add(SERIES_BYTES + labels.heap_bytes() + Chunk::bytes_of(chunks));
        }
    }

    fn check(&self) -> Result<(), ReadError> {
        self.bounds.check(self.bytes)
    }
}

/// A selection of which only the labels matter.
fn plain(matchers: &[Matcher], range: TimeRange) -> Selection<'_> {
    Selection {
        range,
        matchers,
        hints: Hints::default(),
    }
}

/// What there is at one moment.
struct Snapshot {
    blocks: Vec<Arc<Block>>,
    tombstones: Arc<Vec<Tombstone>>,
    head: Vec<(Labels, Vec<Chunk>)>,
}

impl Snapshot {
    /// Deletions that a block has to obey.
    fn concerning(&self, block: &Block) -> Vec<Tombstone> {
        let concerns = |t: &&Tombstone| t.concerns(block.number, block.range());
        self.tombstones.iter().filter(concerns).cloned().collect()
    }
}

/// Whether nothing of a series is left.
fn is_gone(series: &BlockSeries, deleted: &[(i64, i64)]) -> bool {
    deleted
        .iter()
        .any(|d| d.0 <= series.first_t && series.last_t <= d.1)
}

/// Where labels come from.
enum Part<'a> {
    Block(&'a Block),
    Series(&'a Labels),
}

/// Merges two lists that are sorted by labels. Consecutive blocks have mostly the same
/// series, and equality is one comparison of bytes.
fn merge(before: Vec<Found>, more: Vec<Found>) -> Vec<Found> {
    if before.is_empty() {
        return more;
    }
    let mut merged = Vec::with_capacity(before.len().max(more.len()));
    let mut before = before.into_iter().peekable();
    for (labels, sources) in more {
        while let Some(next) = before.peek()
            && next.0 != labels
            && next.0 < labels
            && let Some(next) = before.next()
        {
            merged.push(next);
        }
        match before.next_if(|next| next.0 == labels) {
            Some(mut same) => {
                same.1.extend(sources);
                merged.push(same);
            }
            None => merged.push((labels, sources)),
        }
    }
    merged.extend(before);
    merged
}

/// The coarsest roll-up that may answer although there are samples: no point of the graph is
/// missing, and what it shows is off by no more than a part of a bucket at each end of a window.
fn coarsest_ms(hints: &Hints) -> i64 {
    match (hints.function, hints.window_ms) {
        ("", 0) => hints.step_ms,
        (
            "rate" | "increase" | "sum_over_time" | "min_over_time" | "max_over_time"
            | "count_over_time" | "avg_over_time",
            window_ms,
        ) => hints.step_ms.min(window_ms / WINDOW_BUCKETS_MIN),
        _ => 0,
    }
}

/// As [`merge`], when `coarser` answers instead of the others for the buckets that it has, unless
/// it lacks some of the others' samples.
fn merge_instead(mut found: Vec<Found>, mut coarser: Vec<Found>) -> Vec<Found> {
    let places = coarser.iter().enumerate().map(|(i, (l, _))| (l.clone(), i));
    let places: HashMap<Labels, usize, RandomState> = places.collect();
    for (labels, feeds) in &mut found {
        let Some(at) = places.get(labels) else {
            continue;
        };
        let rolled = &mut coarser[*at].1;
        rolled.retain(|feed| !feeds.iter().any(|raw| is_newer(&raw.source, &feed.source)));
        let mut covered: Vec<(i64, i64)> = Vec::new();
        for feed in &*rolled {
            if let Source::Block { block, series, .. } = &feed.source {
                let bucket = |t: i64| t.div_euclid(block.resolution_ms);
                let first = bucket(series.first_t) * block.resolution_ms;
                covered.push((first, (bucket(series.last_t) + 1) * block.resolution_ms - 1));
            }
        }
        cut(feeds, &covered);
    }
    coarser.retain(|(_, feeds)| !feeds.is_empty());
    merge(coarser, found)
}

/// Whether raw samples came after a roll-up of their time was made.
fn is_newer(raw: &Source, rollup: &Source) -> bool {
    let Source::Block { block, series, .. } = rollup else {
        return false;
    };
    let overlaps = |first_t, last_t| first_t <= series.last_t && last_t >= series.first_t;
    match raw {
        // What is rolled up has left the head, but for what came late.
        Source::Head(chunks) => chunks.iter().any(|c| overlaps(c.first_t, c.last_t)),
        Source::Block {
            block: raw,
            series: known,
            ..
        } => {
            let is_later = raw.is_fresh() && raw.number > block.number;
            is_later && overlaps(known.first_t, known.last_t)
        }
    }
}

/// Takes the samples in `ranges` (both ends inclusive) away.
fn cut(feeds: &mut Vec<Feed>, ranges: &[(i64, i64)]) {
    feeds.retain_mut(|feed| match &mut feed.source {
        Source::Block {
            series, deleted, ..
        } => {
            let mut cuts = deleted.to_vec();
            cuts.extend_from_slice(ranges);
            *deleted = join(cuts).into();
            !is_gone(series, deleted)
        }
        Source::Head(chunks) => {
            chunks.retain(|c| !ranges.iter().any(|r| r.0 <= c.first_t && c.last_t <= r.1));
            !chunks.is_empty()
        }
    });
}

/// As [`merge`], when `coarser` answers only for the time before the first sample of the others.
fn merge_before(found: Vec<Found>, mut coarser: Vec<Found>) -> Vec<Found> {
    let firsts = found.iter().filter_map(|(labels, feeds)| {
        let first = feeds.iter().map(|f| first_of(&f.source)).min()?;
        Some((labels, first))
    });
    let firsts: HashMap<&Labels, i64, RandomState> = firsts.collect();
    for (labels, feeds) in &mut coarser {
        let Some(first) = firsts.get(labels) else {
            continue;
        };
        cut(feeds, &[(*first, i64::MAX)]);
    }
    coarser.retain(|(_, feeds)| !feeds.is_empty());
    merge(found, coarser)
}

/// Chunks of the head as few runs that follow each other: histograms and late samples may lie
/// among the others.
fn feeds(chunks: Vec<Chunk>) -> Vec<Feed> {
    if chunks.is_sorted_by(|a, b| a.last_t < b.first_t) {
        return vec![Feed::new(Source::Head(chunks))];
    }
    let alone = |chunk| Feed::new(Source::Head(vec![chunk]));
    chunks.into_iter().map(alone).collect()
}

fn first_of(source: &Source) -> i64 {
    match source {
        Source::Head(chunks) => chunks.iter().map(|c| c.first_t).min().unwrap_or(i64::MAX),
        Source::Block { series, .. } => series.first_t,
    }
}

#[cfg(test)]
mod tests;
