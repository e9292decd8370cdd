//! Reading: from matchers to series, over blocks and head.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Labels, Matcher, ReadBounds, ReadError, SelectedSeries, Selection, TimeRange};

use super::MetricStore;
use super::block::{Block, BlockError, BlockSeries};
use super::block_frame::Kind;
use super::chunk::Chunk;
use super::cursor::{Cursor, Source};
use super::tombstone::{Tombstone, deleted, join};
use crate::telemetry::FileKind;

/// A series found, with its sources in the order in which they count.
type Found = (Labels, Vec<Source>);

impl MetricStore {
    /// See [`model::SeriesReader::select`]. Roll-ups answer for the time before the first raw
    /// sample of a series, the finest first; what they have instead of samples goes by the
    /// function that will see it.
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
        let snapshot = self.snapshot(selection.matchers, range, bounds);
        let mut tally = Tally::new(bounds);
        tally.add(snapshot.head.len());
        tally.check()?;
        let mut found: Vec<Found> = Vec::new();
        for block in snapshot.blocks.iter().filter(|b| b.resolution_ms == 0) {
            let more = self.find(block, &snapshot, selection, Kind::Floats, &mut tally)?;
            found = merge(found, more);
        }
        let head_part = snapshot.head.iter().map(|(labels, chunks)| {
            (
                labels.clone(),
                chunks.iter().cloned().map(Source::Head).collect(),
            )
        });
        found = merge_unsorted(found, head_part);
        let mut rollups: Vec<&Arc<Block>> = snapshot.blocks.iter().collect();
        rollups.retain(|b| b.resolution_ms > 0);
        rollups.sort_by_key(|b| b.resolution_ms);
        let kind = match selection.hints.function {
            "sum_over_time" => Kind::Sum,
            "min_over_time" => Kind::Min,
            "max_over_time" => Kind::Max,
            _ => Kind::Floats,
        };
        for same in rollups.chunk_by(|a, b| a.resolution_ms == b.resolution_ms) {
            let mut coarser: Vec<Found> = Vec::new();
            for block in same {
                let more = self.find(block, &snapshot, selection, kind, &mut tally)?;
                coarser = merge(coarser, more);
            }
            found = merge_before(found, coarser);
        }
        tally.check()?;
        let bounds = (range.start.millis(), range.end.millis());
        let series = |(labels, sources)| SelectedSeries {
            labels,
            cursor: Box::new(Cursor::new(sources, bounds, Arc::clone(&self.watch))),
        };
        Ok(found.into_iter().map(series).collect())
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
            tally.add(1);
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
                found.push((labels, vec![source]));
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
            tally.add(found.len());
            tally.check()?;
            let snapshot = self.snapshot(matchers, range, bounds);
            tally.add(snapshot.head.len());
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
            found = merge_unsorted(found, head.map(|(labels, _)| (labels, Vec::new())));
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
            let snapshot = self.snapshot(matchers, range, bounds);
            tally.add(snapshot.head.len());
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
    fn snapshot(&self, matchers: &[Matcher], range: TimeRange, bounds: &ReadBounds) -> Snapshot {
        let state = self.read();
        // One more than may be shows that there are too many.
        let most = bounds.series_max.saturating_add(1);
        let head = state.head.snapshot(matchers, range, most);
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

/// Series found by now, against the bounds of a look-up.
struct Tally<'a> {
    bounds: &'a ReadBounds,
    found: usize,
}

impl<'a> Tally<'a> {
    fn new(bounds: &'a ReadBounds) -> Tally<'a> {
        Tally { bounds, found: 0 }
    }

    fn add(&mut self, series: usize) {
        self.found += series;
    }

    fn check(&self) -> Result<(), ReadError> {
        self.bounds.check(self.found)
    }
}

/// A selection of which only the labels matter.
fn plain(matchers: &[Matcher], range: TimeRange) -> Selection<'_> {
    Selection {
        range,
        matchers,
        hints: model::Hints::default(),
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

/// As [`merge`], when `coarser` answers only for the time before the first sample of the others.
fn merge_before(found: Vec<Found>, mut coarser: Vec<Found>) -> Vec<Found> {
    let firsts = found.iter().filter_map(|(labels, sources)| {
        let first = sources.iter().map(first_of).min()?;
        Some((labels, first))
    });
    let firsts: HashMap<&Labels, i64, RandomState> = firsts.collect();
    for (labels, sources) in &mut coarser {
        let Some(first) = firsts.get(labels) else {
            continue;
        };
        for source in sources {
            if let Source::Block { deleted, .. } = source {
                let mut cuts = deleted.to_vec();
                cuts.push((*first, i64::MAX));
                *deleted = join(cuts).into();
            }
        }
    }
    merge(found, coarser)
}

fn first_of(source: &Source) -> i64 {
    match source {
        Source::Head(chunk) => chunk.first_t,
        Source::Block { series, .. } => series.first_t,
    }
}

/// As [`merge`] when `more` is in no order: what is known already is found by its hash, so
/// that only the rest has to be sorted.
fn merge_unsorted(mut before: Vec<Found>, more: impl Iterator<Item = Found>) -> Vec<Found> {
    let mut rest: Vec<Found> = Vec::new();
    if before.is_empty() {
        rest.extend(more);
    } else {
        let places = before.iter().enumerate().map(|(i, (l, _))| (l.clone(), i));
        let places: HashMap<Labels, usize, RandomState> = places.collect();
        for (labels, sources) in more {
            match places.get(&labels) {
                Some(at) => before[*at].1.extend(sources),
                None => rest.push((labels, sources)),
            }
        }
    }
    rest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    merge(before, rest)
}
