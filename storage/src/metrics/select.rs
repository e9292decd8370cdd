//! Reading: from matchers to series, over blocks and head.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    Hints, Labels, LabelsList, LabelsRef, LabelsWalk, Matcher, ReadBounds, ReadError, Selected,
    Selection, TimeRange, Timestamp,
};

use super::MetricStore;
use super::block::{Block, BlockError, BlockSeries};
use super::block_frame::Kind;
use super::gaps::Damage;
use super::head_list::HeadList;
use super::places::{BlockList, Places, Rules, Together};
use super::tombstone::{Tombstone, deleted};
use super::window_edges::Windows;

/// Buckets that a window has at least where a roll-up answers instead of samples: what it is
/// off by at its ends is a part of one.
const WINDOW_BUCKETS_MIN: i64 = 4;

impl MetricStore {
    /// See [`model::SeriesReader::select`]. Roll-ups answer for the time before the first raw
    /// sample of a series, the finest first, and instead of samples where step and window are
    /// coarser; what they have instead goes by the function that will see it.
    pub(crate) fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        self.select_within(selection, &ReadBounds::default())
    }

    /// As [`MetricStore::select`], given up past `bounds`.
    pub(crate) fn select_within(
        &self,
        selection: &Selection<'_>,
        bounds: &ReadBounds,
    ) -> Result<Selected, ReadError> {
        let range = selection.range;
        let newest_only = selection.hints.newest_only;
        let mut snapshot = self.snapshot(selection.matchers, range, bounds, newest_only);
        let mut tally = Tally::new(bounds);
        self.tell_gaps(range, bounds);
        tally.add(snapshot.head.held_bytes())?;
        let mut raw = Vec::new();
        for block in snapshot.blocks.iter().filter(|b| b.resolution_ms == 0) {
            let list = BlockList::new(block, Kind::Floats, false);
            raw.push(self.find(block, list, &snapshot, selection, &mut tally)?);
        }
        let mut rollups: Vec<&Arc<Block>> = snapshot.blocks.iter().collect();
        rollups.retain(|b| b.resolution_ms > 0);
        rollups.sort_by_key(|b| b.resolution_ms);
        let same = |a: &&Arc<Block>, b: &&Arc<Block>| a.resolution_ms == b.resolution_ms;
        let levels: Vec<&[&Arc<Block>]> = rollups.chunk_by(same).collect();
        let coarsest = coarsest_ms(&selection.hints);
        let preferred = levels.iter().rposition(|l| l[0].resolution_ms <= coarsest);
        let mut rolled = Vec::new();
        for level in levels {
            rolled.push(self.find_rolled(level, &snapshot, selection, &mut tally)?);
        }
        let damage = Arc::new(self.damage(bounds));
        let rules = Rules {
            bounds: (range.start.millis(), range.end.millis()),
            windows: Windows::of(selection),
            preferred,
            preferred_counters_only: matches!(selection.hints.function, "rate" | "increase"),
            damage,
        };
        let head = std::mem::take(&mut snapshot.head);
        Ok(Selected::new(Places::new(raw, head, rolled, rules)))
    }

    /// The series of roll-ups of one resolution, with what the function asks of their buckets.
    fn find_rolled(
        &self,
        blocks: &[&Arc<Block>],
        snapshot: &Snapshot,
        selection: &Selection<'_>,
        tally: &mut Tally<'_>,
    ) -> Result<Vec<BlockList>, ReadError> {
        let (kind, spread) = match selection.hints.function {
            "sum_over_time" => (Kind::Sum, false),
            "min_over_time" => (Kind::Min, false),
            "max_over_time" => (Kind::Max, false),
            "count_over_time" => (Kind::Count, true),
            "avg_over_time" => (Kind::Sum, true),
            _ => (Kind::Floats, false),
        };
        let mut found = Vec::new();
        for block in blocks {
            // A point stands until the next one.
            let start = selection.range.start.millis();
            let start = start.saturating_sub(block.resolution_ms);
            let wider = Selection {
                range: TimeRange::new(Timestamp::from_millis(start), selection.range.end),
                ..selection.clone()
            };
            let list = BlockList::new(block, kind, spread);
            found.push(self.find(block, list, snapshot, &wider, tally)?);
        }
        Ok(found)
    }

    /// Appends the series of one block to `list`, less what is deleted.
    fn find(
        &self,
        block: &Arc<Block>,
        mut list: BlockList,
        snapshot: &Snapshot,
        selection: &Selection<'_>,
        tally: &mut Tally<'_>,
    ) -> Result<BlockList, ReadError> {
        tally.check(0)?;
        let concerning = snapshot.concerning(block);
        self.select_block(block, selection, tally.bounds, &mut |labels, series| {
            let deleted = match concerning.is_empty() {
                true => Vec::new(),
                false => deleted(&concerning, &labels, block.number),
            };
            list.push(&labels, series, &deleted);
            match tally.check(list.held_bytes()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        tally.add(list.held_bytes())?;
        Ok(list)
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
        let mut lists: Vec<LabelsList> = Vec::new();
        let mut tally = Tally::new(bounds);
        for matchers in sets {
            let mut kept = |list: LabelsList, tally: &mut Tally<'_>| {
                let bytes = list.held_bytes();
                lists.push(list);
                tally.add(bytes)
            };
            let snapshot = self.snapshot(matchers, range, bounds, true);
            tally.check(snapshot.head.held_bytes())?;
            self.tell_gaps(range, bounds);
            let selection = plain(matchers, range);
            for block in &snapshot.blocks {
                let list = BlockList::new(block, Kind::Floats, false);
                let mut own = tally.clone();
                let list = self.find(block, list, &snapshot, &selection, &mut own)?;
                kept(list.labels, &mut tally)?;
            }
            kept(snapshot.head.labels, &mut tally)?;
        }
        let mut found = Vec::new();
        let mut together = Together::new(&lists);
        while let Some(labels) = together.labels() {
            let labels = labels.to_labels();
            tally.add(size_of::<Labels>() + labels.heap_bytes())?;
            found.push(labels);
            together.advance(&lists);
        }
        Ok(found)
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
                if let Some((_, value)) = labels.iter().find(|(n, _)| *n == name) {
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
            tally.check(0)?;
            let snapshot = self.snapshot(matchers, range, bounds, true);
            self.tell_gaps(range, bounds);
            tally.add(snapshot.head.held_bytes())?;
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
                let list = BlockList::new(block, Kind::Floats, false);
                let mut own = tally.clone();
                let found = self.find(block, list, &snapshot, &selection, &mut own)?;
                visit_all(&found.labels, visit);
            }
            visit_all(&snapshot.head.labels, visit);
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

    /// Says which blocks of the range are there and not read.
    fn tell_gaps(&self, range: TimeRange, bounds: &ReadBounds) {
        if let Some(missing) = &bounds.missing {
            self.gaps.tell(range, missing);
        }
    }

    fn damage(&self, bounds: &ReadBounds) -> Damage {
        Damage {
            watch: Arc::clone(&self.watch),
            missing: bounds.missing.clone(),
        }
    }

    fn select_block(
        &self,
        block: &Block,
        selection: &Selection<'_>,
        bounds: &ReadBounds,
        found: &mut dyn FnMut(Labels, BlockSeries) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let damage = self.damage(bounds);
        let mut damaged = |what, lost| damage.found(block, what, lost);
        block
            .select_while(selection.matchers, selection.range, found, &mut damaged)
            .map_err(|e| ReadError::Io {
                what: block.path.display().to_string(),
                source: Arc::new(e),
            })
    }
}

/// Hands each set of a list to `visit`.
fn visit_all(list: &LabelsList, visit: &mut dyn FnMut(Part<'_>) -> Result<bool, BlockError>) {
    let mut walk = LabelsWalk::default();
    while walk.advance(list) {
        let _ = visit(Part::Series(walk.labels()));
    }
}

/// Bytes held by now, against the bounds of a look-up.
#[derive(Clone)]
struct Tally<'a> {
    bounds: &'a ReadBounds,
    bytes: usize,
}

impl<'a> Tally<'a> {
    fn new(bounds: &'a ReadBounds) -> Tally<'a> {
        Tally { bounds, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.check(0)
    }

    /// Whether there is room for so many bytes more.
    fn check(&self, more: usize) -> Result<(), ReadError> {
        self.bounds.check(self.bytes.saturating_add(more))
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
    head: HeadList,
}

impl Snapshot {
    /// Deletions that a block has to obey.
    fn concerning(&self, block: &Block) -> Vec<Tombstone> {
        let concerns = |t: &&Tombstone| t.concerns(block.number, block.range());
        self.tombstones.iter().filter(concerns).cloned().collect()
    }
}

/// Where labels come from.
enum Part<'a> {
    Block(&'a Block),
    Series(LabelsRef<'a>),
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

#[cfg(test)]
mod tests;
