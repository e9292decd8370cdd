//! Selected series in all the places where they are: blocks, head and roll-ups. In each they wait as
//! little more than numbers; labels and cursor are made of one series at a time.

use std::sync::Arc;

use model::{
    FPoint, Labels, LabelsList, LabelsRef, LabelsWalk, ReadError, SampleCursor, Samples,
    SelectedSeries, SelectedSource,
};

use super::block::{Block, BlockSeries, GroupFrames};
use super::block_frame::Kind;
use super::block_group::FrameRef;
use super::chunk::Chunk;
use super::cursor::{Cursor, Feed, Source};
use super::gaps::Damage;
use super::head_list::{HeadList, HeadPart};
use super::pages::Pages;
use super::rollup::is_counter;
use super::tombstone::join;
use super::window_edges::{WindowEdges, Windows};

/// Ranges of instants that are deleted, both ends inclusive.
pub(super) type Deleted = Arc<[(i64, i64)]>;

/// The selected series of one block, in the order of their labels.
pub(super) struct BlockList {
    block: Arc<Block>,
    pub(super) labels: LabelsList,
    series: Pages<BlockSeries>,
    /// What is deleted of each, where something of the block is.
    deleted: Option<Pages<Deleted>>,
    /// Nothing.
    none: Deleted,
    kind: Kind,
    spread: bool,
    /// What frames and deleted ranges have on the heap.
    more_bytes: usize,
    last_group: Option<Arc<GroupFrames>>,
}

impl BlockList {
    pub(super) fn new(block: &Arc<Block>, kind: Kind, spread: bool) -> BlockList {
        BlockList {
            block: Arc::clone(block),
            labels: LabelsList::default(),
            series: Pages::default(),
            deleted: None,
            none: Arc::from([]),
            kind,
            spread,
            more_bytes: 0,
            last_group: None,
        }
    }

    /// Appends a series, unless all of it is deleted.
    pub(super) fn push(&mut self, labels: &Labels, series: BlockSeries, deleted: &[(i64, i64)]) {
        if is_gone(&series, deleted) {
            return;
        }
        if !deleted.is_empty() && self.deleted.is_none() {
            let mut before = Pages::default();
            (0..self.series.len()).for_each(|_| before.push(Arc::clone(&self.none)));
            self.deleted = Some(before);
        }
        if let Some(all) = &mut self.deleted {
            self.more_bytes += size_of_val(deleted);
            all.push(match deleted {
                [] => Arc::clone(&self.none),
                some => some.into(),
            });
        }
        let group = &series.group;
        if !self
            .last_group
            .as_ref()
            .is_some_and(|l| Arc::ptr_eq(l, group))
        {
            self.more_bytes += group.frames.capacity() * size_of::<FrameRef>();
            self.last_group = Some(Arc::clone(group));
        }
        self.labels.push(labels);
        self.series.push(series);
    }

    fn pop(&mut self) -> Option<Feed> {
        let series = self.series.pop()?;
        let deleted = self.deleted.as_mut().and_then(Pages::pop);
        let source = Source::Block {
            block: Arc::clone(&self.block),
            series,
            kind: self.kind,
            deleted: deleted.unwrap_or_else(|| Arc::clone(&self.none)),
        };
        let mut feed = Feed::new(source);
        feed.spread = self.spread;
        Some(feed)
    }

    /// Bytes on the heap, its labels left out.
    fn series_bytes(&self) -> usize {
        let deleted = self.deleted.as_ref().map_or(0, Pages::held_bytes);
        self.series.held_bytes() + deleted + self.more_bytes
    }

    /// Bytes on the heap.
    pub(super) fn held_bytes(&self) -> usize {
        self.labels.held_bytes() + self.series_bytes()
    }
}

/// Whether nothing of a series is left.
fn is_gone(series: &BlockSeries, deleted: &[(i64, i64)]) -> bool {
    deleted
        .iter()
        .any(|d| d.0 <= series.first_t && series.last_t <= d.1)
}

/// Sorted lists of label sets, gone through together.
#[derive(Clone)]
pub(super) struct Together {
    /// Of each list where it is; `None` where it has ended.
    walks: Vec<Option<LabelsWalk>>,
    /// The lists that are at the least label set.
    least: Vec<usize>,
}

impl Together {
    pub(super) fn new(lists: &[LabelsList]) -> Together {
        let mut together = Together {
            walks: lists.iter().map(|_| Some(LabelsWalk::default())).collect(),
            least: (0..lists.len()).collect(),
        };
        together.advance(lists);
        together
    }

    /// The label set it is at.
    pub(super) fn labels(&self) -> Option<LabelsRef<'_>> {
        let first = self.least.first()?;
        self.walks[*first].as_ref().map(LabelsWalk::labels)
    }

    /// Goes on to the next label set.
    pub(super) fn advance(&mut self, lists: &[LabelsList]) {
        for at in self.least.drain(..) {
            let walk = &mut self.walks[at];
            if !walk.as_mut().is_some_and(|w| w.advance(&lists[at])) {
                *walk = None;
            }
        }
        let mut least: Option<&LabelsWalk> = None;
        for (at, walk) in self.walks.iter().enumerate() {
            let Some(walk) = walk else {
                continue;
            };
            let order = least.map_or(std::cmp::Ordering::Less, |l| walk.order(l));
            if order.is_lt() {
                least = Some(walk);
                self.least.clear();
            }
            if order.is_le() {
                self.least.push(at);
            }
        }
    }
}

/// What holds for all series of a selection.
pub(super) struct Rules {
    /// First and last instant asked for.
    pub(super) bounds: (i64, i64),
    /// Where the function looks at the ends of its windows.
    pub(super) windows: Option<Windows>,
    /// The number of the roll-ups that answer instead of samples.
    pub(super) preferred: Option<usize>,
    /// Only of counters: of others the resets within a bucket are not kept.
    pub(super) preferred_counters_only: bool,
    pub(super) damage: Arc<Damage>,
}

enum Place {
    Head(HeadList),
    Block(BlockList),
    /// A block of roll-ups, and which: the number of its resolution, the finest being 0.
    Rolled(BlockList, usize),
}

/// All of a selection, the places in the order in which they count.
pub(super) struct Places {
    lists: Vec<LabelsList>,
    places: Vec<Place>,
    together: Together,
    rules: Rules,
}

impl Places {
    /// `rolled` has the blocks of each resolution, the finest first.
    pub(super) fn new(
        blocks: Vec<BlockList>,
        head: HeadList,
        rolled: Vec<Vec<BlockList>>,
        rules: Rules,
    ) -> Places {
        let mut places: Vec<Place> = blocks.into_iter().map(Place::Block).collect();
        places.push(Place::Head(head));
        for (level, blocks) in rolled.into_iter().enumerate() {
            places.extend(blocks.into_iter().map(|b| Place::Rolled(b, level)));
        }
        places.retain(|p| p.len() > 0);
        let take = |place: &mut Place| match place {
            Place::Head(list) => std::mem::take(&mut list.labels),
            Place::Block(list) | Place::Rolled(list, _) => std::mem::take(&mut list.labels),
        };
        let lists: Vec<LabelsList> = places.iter_mut().map(take).collect();
        Places {
            together: Together::new(&lists),
            lists,
            places,
            rules,
        }
    }
}

impl Place {
    fn len(&self) -> usize {
        match self {
            Place::Head(list) => list.len(),
            Place::Block(list) | Place::Rolled(list, _) => list.series.len(),
        }
    }

    fn held_bytes(&self) -> usize {
        size_of::<Place>()
            + match self {
                Place::Head(list) => list.samples_bytes(),
                Place::Block(list) | Place::Rolled(list, _) => list.series_bytes(),
            }
    }
}

impl SelectedSource for Places {
    fn next(&mut self) -> Option<SelectedSeries> {
        let labels = self.together.labels()?.to_labels();
        let (mut raw, mut rolled, mut newest) = (Vec::new(), Vec::new(), None);
        for at in &self.together.least {
            match &mut self.places[*at] {
                Place::Head(list) => match list.pop() {
                    Some(HeadPart::Point(point)) if self.together.least.len() == 1 => {
                        newest = Some(point);
                    }
                    part => raw.extend(part.into_iter().flat_map(|p| feeds(p.into_chunks()))),
                },
                Place::Block(list) => raw.extend(list.pop()),
                Place::Rolled(list, level) => rolled.extend(list.pop().map(|f| (*level, f))),
            }
        }
        self.together.advance(&self.lists);
        if newest.is_some() {
            let cursor = Box::new(Newest(newest));
            return Some(SelectedSeries { labels, cursor });
        }
        let rules = &self.rules;
        let feeds = match rolled.is_empty() {
            true => raw,
            false => with_rollups(rules, &labels, raw, &rolled),
        };
        let windows = rules.windows.filter(|_| feeds.iter().any(Feed::is_rollup));
        let cursor = Cursor::new(feeds, rules.bounds, Arc::clone(&rules.damage));
        let cursor: Box<dyn SampleCursor> = match windows {
            Some(windows) => Box::new(WindowEdges::new(cursor, windows)),
            None => Box::new(cursor),
        };
        Some(SelectedSeries { labels, cursor })
    }

    fn each_labels(&self, visit: &mut dyn FnMut(LabelsRef<'_>) -> bool) {
        let mut together = self.together.clone();
        while let Some(labels) = together.labels()
            && visit(labels)
        {
            together.advance(&self.lists);
        }
    }

    fn len_min(&self) -> usize {
        self.places.iter().map(Place::len).max().unwrap_or(0)
    }

    fn held_bytes(&self) -> usize {
        let lists: usize = self.lists.iter().map(LabelsList::held_bytes).sum();
        let places: usize = self.places.iter().map(Place::held_bytes).sum();
        size_of::<Places>() + lists + places
    }
}

/// A cursor over one point, of which there are a hundred thousand at an instant.
struct Newest(Option<FPoint>);

impl SampleCursor for Newest {
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        let point = self.0.take();
        into.floats.extend(point);
        Ok(point.is_some())
    }

    fn held_bytes(&self) -> usize {
        size_of::<Newest>()
    }
}

/// Adds to what a series has of samples what it has of roll-ups, each with the number of its
/// resolution.
fn with_rollups(
    rules: &Rules,
    labels: &Labels,
    raw: Vec<Feed>,
    rolled: &[(usize, Feed)],
) -> Vec<Feed> {
    let of = |level: usize| -> Vec<Feed> {
        let feeds = rolled.iter().filter(|(l, _)| *l == level);
        feeds.map(|(_, feed)| feed.fresh()).collect()
    };
    let mut found = raw;
    if let Some(level) = rules.preferred
        && (!rules.preferred_counters_only || is_counter(labels))
    {
        found = instead(found, of(level));
    }
    let finest = rolled.iter().map(|(level, _)| *level);
    let coarsest = finest.clone().max().unwrap_or(0);
    for level in finest.min().unwrap_or(0)..=coarsest {
        before(&mut found, of(level));
    }
    found
}

/// `coarser` answers instead of the others for the buckets that it has, unless it lacks some of the
/// others' samples.
fn instead(mut found: Vec<Feed>, mut coarser: Vec<Feed>) -> Vec<Feed> {
    coarser.retain(|feed| !found.iter().any(|raw| is_newer(&raw.source, &feed.source)));
    let mut covered: Vec<(i64, i64)> = Vec::new();
    for feed in &coarser {
        if let Source::Block { block, series, .. } = &feed.source {
            let bucket = |t: i64| t.div_euclid(block.resolution_ms);
            let first = bucket(series.first_t) * block.resolution_ms;
            covered.push((first, (bucket(series.last_t) + 1) * block.resolution_ms - 1));
        }
    }
    cut(&mut found, &covered);
    coarser.append(&mut found);
    coarser
}

/// `coarser` answers only for the time before the first sample of the others.
fn before(found: &mut Vec<Feed>, mut coarser: Vec<Feed>) {
    if let Some(first) = found.iter().map(|f| first_of(&f.source)).min() {
        cut(&mut coarser, &[(first, i64::MAX)]);
    }
    found.append(&mut coarser);
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
