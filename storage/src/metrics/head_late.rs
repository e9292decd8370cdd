//! Samples that came late: older than the newest of their series, or before what is in blocks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use model::TimeRange;

use super::chunk::Chunk;
use super::head_others::Others;

type OfSeries = HashMap<u32, Others, RandomState>;

/// By number of the series. Those that are on their way to a block stay readable, while further
/// ones come.
#[derive(Default)]
pub(crate) struct LateSamples {
    waiting: OfSeries,
    leaving: OfSeries,
    bytes: usize,
}

impl LateSamples {
    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.leaving.is_empty()
    }

    pub(crate) fn has(&self, id: u32) -> bool {
        self.waiting.contains_key(&id) || self.leaving.contains_key(&id)
    }

    /// Instant of the newest sample of a series.
    pub(crate) fn newest(&self, id: u32) -> Option<i64> {
        let of_series = [self.waiting.get(&id), self.leaving.get(&id)];
        let bounds = of_series.into_iter().flatten().filter_map(Others::bounds);
        bounds.map(|(_, last)| last).max()
    }

    /// Has `insert` put a sample of a series in; it returns by how many bytes that grew.
    pub(crate) fn insert(&mut self, id: u32, insert: impl FnOnce(&mut Others) -> usize) {
        self.bytes += insert(self.waiting.entry(id).or_default());
    }

    /// Appends copies of what a series has in `range`.
    pub(crate) fn chunks(&self, id: u32, range: TimeRange, into: &mut Vec<Chunk>) {
        for late in [&self.leaving, &self.waiting] {
            if let Some(others) = late.get(&id) {
                others.chunks(range, into);
            }
        }
    }

    /// All there are set out for a block; gives their series in no particular order.
    pub(crate) fn set_out(&mut self) -> Vec<u32> {
        for (id, others) in std::mem::take(&mut self.waiting) {
            match self.leaving.entry(id) {
                Entry::Vacant(v) => {
                    v.insert(others);
                }
                Entry::Occupied(mut o) => o.get_mut().merge(others),
            }
        }
        self.leaving.keys().copied().collect()
    }

    /// Copies of what a series has, in `range`, that is setting out.
    pub(crate) fn leaving(&self, id: u32, range: TimeRange) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if let Some(others) = self.leaving.get(&id) {
            others.chunks(range, &mut chunks);
        }
        chunks
    }

    /// The days, each `day_ms` long, of those that are setting out.
    pub(crate) fn leaving_days(&self, day_ms: i64) -> Vec<i64> {
        let mut days = BTreeSet::new();
        for others in self.leaving.values() {
            others.days(day_ms, &mut days);
        }
        days.into_iter().collect()
    }

    /// Behind the last one that is setting out.
    pub(crate) fn leaving_end(&self) -> Option<i64> {
        let bounds = self.leaving.values().filter_map(Others::bounds);
        bounds.map(|(_, last)| last.saturating_add(1)).max()
    }

    /// Those that set out are in blocks.
    pub(crate) fn arrived(&mut self) {
        let bytes: usize = self.leaving.values().map(Others::bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.leaving = HashMap::default();
    }

    /// Forgets what the series `ids` have in `range`.
    pub(crate) fn delete(&mut self, ids: &[u32], range: TimeRange) {
        for late in [&mut self.waiting, &mut self.leaving] {
            for id in ids {
                if let Some(others) = late.get_mut(id) {
                    others.delete(range);
                }
            }
            late.retain(|_, others| !others.is_empty());
        }
        let all = self.waiting.values().chain(self.leaving.values());
        self.bytes = all.map(Others::bytes).sum();
    }
}
