//! Reading: from matchers to series, over blocks and head.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Labels, Matcher, ReadError, SelectedSeries, Selection, TimeRange};

use super::MetricStore;
use super::block::{Block, BlockError, BlockSeries};
use super::block_frame::Kind;
use super::chunk::Chunk;
use super::cursor::{Cursor, Source};
use crate::telemetry::FileKind;

/// A series found, with its sources in the order in which they count.
type Found = (Labels, Vec<Source>);

impl MetricStore {
    /// See [`model::SeriesReader::select`].
    pub(crate) fn select(
        &self,
        selection: &Selection<'_>,
    ) -> Result<Vec<SelectedSeries>, ReadError> {
        let range = selection.range;
        let (blocks, head_part) = self.snapshot(selection.matchers, range);
        let none: Arc<[(i64, i64)]> = Arc::from([]);
        let mut found: Vec<Found> = Vec::new();
        for block in &blocks {
            let mut more: Vec<Found> = Vec::new();
            self.select_block(block, selection.matchers, range, &mut |labels, series| {
                let source = Source::Block {
                    block: Arc::clone(block),
                    series,
                    kind: Kind::Floats,
                    deleted: Arc::clone(&none),
                };
                more.push((labels, vec![source]));
            })?;
            found = merge(found, more);
        }
        let head_part = head_part
            .into_iter()
            .map(|(labels, chunks)| (labels, chunks.into_iter().map(Source::Head).collect()));
        found = merge_unsorted(found, head_part);
        let bounds = (range.start.millis(), range.end.millis());
        let series = |(labels, sources)| SelectedSeries {
            labels,
            cursor: Box::new(Cursor::new(sources, bounds, Arc::clone(&self.watch))),
        };
        Ok(found.into_iter().map(series).collect())
    }

    /// See [`model::SeriesReader::series`].
    pub(crate) fn series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<Labels>, ReadError> {
        let everything = [Vec::new()];
        let sets = if sets.is_empty() { &everything } else { sets };
        let mut found: Vec<Found> = Vec::new();
        for matchers in sets {
            let (blocks, head_part) = self.snapshot(matchers, range);
            for block in &blocks {
                let mut more: Vec<Found> = Vec::new();
                self.select_block(block, matchers, range, &mut |labels, _| {
                    more.push((labels, Vec::new()));
                })?;
                found = merge(found, more);
            }
            let head_part = head_part
                .into_iter()
                .map(|(labels, _)| (labels, Vec::new()));
            found = merge_unsorted(found, head_part);
        }
        Ok(found.into_iter().map(|(labels, _)| labels).collect())
    }

    /// See [`model::SeriesReader::label_names`]: from the index where a block lies within the
    /// range and nothing narrows the choice.
    pub(crate) fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut add = |name: &str| {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        };
        self.labels_of(sets, range, &mut |part| match part {
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
        let mut values: BTreeSet<String> = BTreeSet::new();
        let mut add = |value: &str| {
            if !values.contains(value) {
                values.insert(value.to_owned());
            }
        };
        self.labels_of(sets, range, &mut |part| match part {
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
        visit: &mut dyn FnMut(Part<'_>) -> Result<bool, BlockError>,
    ) -> Result<(), ReadError> {
        let everything = [Vec::new()];
        let sets = if sets.is_empty() { &everything } else { sets };
        for matchers in sets {
            let (blocks, head_part) = self.snapshot(matchers, range);
            for block in &blocks {
                let whole = block.range();
                if matchers.is_empty()
                    && range.start <= whole.start
                    && whole.end <= range.end
                    && matches!(visit(Part::Block(block)), Ok(true))
                {
                    continue;
                }
                self.select_block(block, matchers, range, &mut |labels, _| {
                    let _ = visit(Part::Series(&labels));
                })?;
            }
            for (labels, _) in &head_part {
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
    ) -> (Vec<Arc<Block>>, Vec<(Labels, Vec<Chunk>)>) {
        let state = self.read();
        let head_part = state
            .head
            .select(matchers)
            .into_iter()
            .filter_map(|id| state.head.get(id))
            .map(|s| (s.labels.clone(), s.chunks(range).collect::<Vec<_>>()))
            .filter(|(_, chunks)| !chunks.is_empty())
            .collect();
        (state.blocks.clone(), head_part)
    }

    fn select_block(
        &self,
        block: &Block,
        matchers: &[Matcher],
        range: TimeRange,
        found: &mut dyn FnMut(Labels, BlockSeries),
    ) -> Result<(), ReadError> {
        let mut damaged = |what| self.watch.corrupt(FileKind::Block, &block.path, what);
        block
            .select(matchers, range, found, &mut damaged)
            .map_err(|e| ReadError::Io {
                what: block.path.display().to_string(),
                source: Arc::new(e),
            })
    }
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
