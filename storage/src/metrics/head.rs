//! Series that were written to lately, and their samples that are not in a block yet.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::{Labels, Matcher, TimeRange};

use super::chunk::{CHUNK_SAMPLES, Chunk, ChunkBuilder};
use super::postings::{Candidates, Postings};

/// Blocks cover windows of this length, in milliseconds, and chunks do not cross them.
pub(crate) const WINDOW_MS: i64 = 2 * 3600 * 1000;

/// Reckoned per series besides labels and samples: the struct, the map entry, its place in
/// the lists of about ten labels.
const SERIES_BYTES: usize = size_of::<HeadSeries>() + 16 + 40 + 10 * 12;

/// What the head says to a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Appended,
    Duplicate,
    OutOfOrder,
    TooOld,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Head {
    ids: HashMap<Labels, u32, RandomState>,
    series: Vec<Option<Box<HeadSeries>>>,
    /// Numbers to use again, last first.
    free: Vec<u32>,
    postings: Postings,
    /// Samples before this instant are in blocks and are not taken any more.
    floor_t: Option<i64>,
    /// Bounds of the samples in memory; `None` when there are none.
    bounds: Option<(i64, i64)>,
    bytes: usize,
}

/// One series.
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    closed: Vec<Chunk>,
    open: ChunkBuilder,
    last_t: i64,
    /// The segment of the write-ahead log that last had its definition.
    pub(crate) wal_segment: u64,
}

impl Head {
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        self.ids.get(labels).copied()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&HeadSeries> {
        self.series.get(id as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut HeadSeries> {
        self.series.get_mut(id as usize)?.as_deref_mut()
    }

    pub(crate) fn series_count(&self) -> usize {
        self.ids.len()
    }

    /// The metric name and job with the most series, as a selector, and how many these are.
    pub(crate) fn most_series(&self) -> Option<(String, usize)> {
        let mut counts: HashMap<(&str, &str), usize, RandomState> = HashMap::default();
        for labels in self.ids.keys() {
            let job = labels.get("job").unwrap_or("");
            *counts.entry((labels.metric_name(), job)).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(who, count)| (*count, *who));
        most.map(|((name, job), count)| (format!("{name}{{job={job:?}}}"), count))
    }

    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// First and last instant in memory.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        self.bounds
    }

    pub(crate) fn floor_t(&self) -> Option<i64> {
        self.floor_t
    }

    /// From now on samples before `t` are refused.
    pub(crate) fn raise_floor(&mut self, t: i64) {
        self.floor_t = Some(self.floor_t.map_or(t, |f| f.max(t)));
    }

    /// The number that the `nth` series created from now on will get.
    pub(crate) fn id_of_new(&self, nth: usize) -> u32 {
        match self.free.len().checked_sub(nth + 1) {
            Some(at) => self.free[at],
            None => (self.series.len() + nth - self.free.len()) as u32,
        }
    }

    /// A new series without samples; `labels` must not be known yet.
    pub(crate) fn create(&mut self, labels: Labels) -> u32 {
        let id = self.id_of_new(0);
        let series = Some(Box::new(HeadSeries {
            labels: labels.clone(),
            closed: Vec::new(),
            open: ChunkBuilder::default(),
            last_t: i64::MIN,
            wal_segment: 0,
        }));
        match self.free.pop() {
            Some(_) => self.series[id as usize] = series,
            None => self.series.push(series),
        }
        self.bytes += SERIES_BYTES + labels.heap_bytes();
        self.postings.insert(id, &labels);
        self.ids.insert(labels, id);
        id
    }

    /// What [`Head::push`] would say, for a series not yet created when `id` is `None`.
    pub(crate) fn check(&self, id: Option<u32>, t: i64) -> Outcome {
        if self.floor_t.is_some_and(|f| t < f) {
            return Outcome::TooOld;
        }
        match id.and_then(|id| self.get(id)) {
            Some(s) if !s.is_empty() && t == s.last_t => Outcome::Duplicate,
            Some(s) if !s.is_empty() && t < s.last_t => Outcome::OutOfOrder,
            _ => Outcome::Appended,
        }
    }

    /// Appends a sample where [`Head::check`] allows it.
    pub(crate) fn push(&mut self, id: u32, t: i64, v: f64) -> Outcome {
        let outcome = self.check(Some(id), t);
        if outcome != Outcome::Appended {
            return outcome;
        }
        if let Some(series) = self.get_mut(id) {
            let before = series.heap_bytes();
            series.push(t, v);
            let after = series.heap_bytes();
            self.bytes = self.bytes + after - before;
        }
        self.bounds = Some(match self.bounds {
            None => (t, t),
            Some((min, max)) => (min.min(t), max.max(t)),
        });
        Outcome::Appended
    }

    /// Numbers of the series for which all matchers hold, in no particular order.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let holds = |id: &u32| {
            self.get(*id)
                .is_some_and(|s| matchers.iter().all(|m| m.matches_labels(&s.labels)))
        };
        match self.postings.candidates(matchers) {
            Candidates::Some(ids) => ids.into_iter().filter(holds).collect(),
            Candidates::All => self.ids.values().copied().filter(holds).collect(),
        }
    }

    /// All series numbers, in the order of their labels.
    pub(crate) fn sorted_ids(&self) -> Vec<u32> {
        let mut pairs: Vec<(&Labels, u32)> = self.ids.iter().map(|(l, id)| (l, *id)).collect();
        pairs.sort_unstable();
        pairs.into_iter().map(|(_, id)| id).collect()
    }

    /// Forgets chunks that end before `t`, and series that have none left.
    pub(crate) fn drop_before(&mut self, t: i64) {
        let (mut gone, mut gone_labels) = (Vec::new(), Vec::new());
        let mut bounds: Option<(i64, i64)> = None;
        for (id, slot) in self.series.iter_mut().enumerate() {
            let Some(series) = slot else {
                continue;
            };
            let before = series.heap_bytes();
            series.drop_before(t);
            self.bytes = self.bytes + series.heap_bytes() - before;
            match series.bounds() {
                Some((first, last)) => {
                    let first = first.max(t);
                    bounds =
                        Some(bounds.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
                }
                None => {
                    self.bytes = self
                        .bytes
                        .saturating_sub(SERIES_BYTES + series.labels.heap_bytes());
                    gone.push(id as u32);
                    gone_labels.push(series.labels.clone());
                    *slot = None;
                }
            }
        }
        for labels in &gone_labels {
            self.ids.remove(labels);
        }
        self.postings.remove(&gone, &gone_labels);
        self.free.extend(gone);
        self.ids.shrink_to(self.ids.len() * 2);
        self.bounds = bounds;
    }
}

impl HeadSeries {
    fn push(&mut self, t: i64, v: f64) {
        let crosses = self.open.count() > 0
            && self.open.first_t().div_euclid(WINDOW_MS) != t.div_euclid(WINDOW_MS);
        if crosses || self.open.count() >= CHUNK_SAMPLES {
            self.closed.push(self.open.snapshot());
            self.open = ChunkBuilder::default();
        }
        self.open.push(t, v);
        self.last_t = t;
    }

    fn is_empty(&self) -> bool {
        self.open.count() == 0 && self.closed.is_empty()
    }

    fn heap_bytes(&self) -> usize {
        let chunks: usize = self.closed.iter().map(Chunk::heap_bytes).sum();
        chunks + self.closed.capacity() * size_of::<Chunk>() + self.open.heap_bytes()
    }

    fn bounds(&self) -> Option<(i64, i64)> {
        let open = (self.open.count() > 0).then(|| self.open.first_t());
        let first = self.closed.first().map(|c| c.first_t).or(open)?;
        Some((first, self.last_t))
    }

    fn drop_before(&mut self, t: i64) {
        self.closed.retain(|c| c.last_t >= t);
        self.closed.shrink_to_fit();
        if self.open.count() > 0 && self.open.last_t() < t {
            self.open = ChunkBuilder::default();
        }
    }

    /// Chunks that share an instant with `range`, oldest first.
    pub(crate) fn chunks(&self, range: TimeRange) -> impl Iterator<Item = Chunk> {
        let (start, end) = (range.start.millis(), range.end.millis());
        let open =
            (self.open.count() > 0 && self.open.first_t() <= end && self.open.last_t() >= start)
                .then(|| self.open.snapshot());
        self.closed
            .iter()
            .filter(move |c| c.first_t <= end && c.last_t >= start)
            .cloned()
            .chain(open)
    }
}
