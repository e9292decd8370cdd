//! The samples of one series that are not plain floats in order: histograms, and what came
//! late. Few series have any.

use std::sync::Arc;

use model::{FPoint, HPoint, Samples, TimeRange};

use super::chunk::{Chunk, ChunkTimes, ChunkValues, Data, Part};
use super::column::{encode_times, encode_values};
use super::wal_histogram::{heap_bytes, pack};

/// Samples that are kept as they are; then they become a chunk.
const OPEN_MAX: usize = 60;
/// Reckoned for the entry in the map and the allocations.
const ENTRY_BYTES: usize = size_of::<Others>() + 64;

/// Both kinds of samples; chunks may overlap.
#[derive(Default)]
pub(crate) struct Others {
    closed: Vec<Chunk>,
    /// Samples in the closed chunks.
    closed_samples: usize,
    /// In time order; shared with readers that are at it.
    open: Arc<Samples>,
    bytes: usize,
}

impl Others {
    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.closed_samples + self.open.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Inserts a float, unless its instant has one; gives the bytes it took.
    pub(crate) fn insert_float(&mut self, p: FPoint) -> usize {
        let open = Arc::make_mut(&mut self.open);
        let at = open.floats.partition_point(|o| o.t <= p.t);
        if at > 0 && open.floats[at - 1].t == p.t {
            return 0;
        }
        if open.floats.len() == open.floats.capacity() {
            open.floats.reserve_exact(4 + open.floats.len() / 2);
        }
        open.floats.insert(at, p);
        self.grown()
    }

    /// Inserts a histogram, unless its instant has one; gives the bytes it took.
    pub(crate) fn insert_histogram(&mut self, p: HPoint) -> usize {
        let open = Arc::make_mut(&mut self.open);
        let at = open.histograms.partition_point(|o| o.t <= p.t);
        if at > 0 && open.histograms[at - 1].t == p.t {
            return 0;
        }
        open.histograms.insert(at, p);
        self.grown()
    }

    fn grown(&mut self) -> usize {
        if self.open.floats.len() >= OPEN_MAX || self.open.histograms.len() >= OPEN_MAX {
            self.close();
        }
        let before = self.bytes;
        self.reckon();
        // A chunk that closed may have freed more than it took.
        self.bytes = self.bytes.max(before);
        self.bytes - before
    }

    fn reckon(&mut self) {
        let open = &self.open;
        let histograms: usize = open.histograms.iter().map(|p| heap_bytes(&p.h)).sum();
        let closed: usize = self.closed.iter().map(chunk_bytes).sum();
        self.bytes = match self.is_empty() {
            true => 0,
            false => ENTRY_BYTES + closed + 16 * open.floats.capacity() + histograms,
        };
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.closed_samples += open.len();
        self.closed.reserve_exact(2);
        if let (Some(first), Some(last)) = (open.floats.first(), open.floats.last()) {
            let times: Vec<i64> = open.floats.iter().map(|p| p.t).collect();
            let values: Vec<f64> = open.floats.iter().map(|p| p.v).collect();
            let (mut times_column, mut values_column) = (Vec::new(), Vec::new());
            encode_times(&times, &mut times_column);
            encode_values(&values, &mut values_column);
            self.closed.push(Chunk {
                first_t: first.t,
                last_t: last.t,
                data: Data::Floats {
                    times: ChunkTimes::Column(Part::whole(times_column)),
                    values: ChunkValues::Column(Part::whole(values_column)),
                    count: times.len(),
                },
            });
        }
        if let (Some(first), Some(last)) = (open.histograms.first(), open.histograms.last()) {
            self.closed.push(Chunk {
                first_t: first.t,
                last_t: last.t,
                data: Data::Histograms(pack(&open.histograms)),
            });
        }
    }

    /// First and last instant.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let closed = self.closed.iter().map(|c| (c.first_t, c.last_t));
        let all = closed.chain(open_bounds(&self.open));
        all.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
    }

    /// Appends the chunks that share an instant with `range`; what they hold is shared.
    pub(crate) fn chunks(&self, range: TimeRange, into: &mut Vec<Chunk>) {
        let (start, end) = (range.start.millis(), range.end.millis());
        let open = open_bounds(&self.open).map(|(first_t, last_t)| Chunk {
            first_t,
            last_t,
            data: Data::Points(Arc::clone(&self.open)),
        });
        let all = self.closed.iter().cloned().chain(open);
        into.extend(
            all.filter(|c| c.first_t <= end && c.last_t >= start)
                .map(|c| Chunk {
                    first_t: c.first_t.max(start),
                    ..c
                }),
        );
    }

    /// Adds the days, each `day_ms` long, that have samples.
    pub(crate) fn days(&self, day_ms: i64, into: &mut std::collections::BTreeSet<i64>) {
        let mut samples = Samples::default();
        for chunk in &self.closed {
            let (first, last) = (
                chunk.first_t.div_euclid(day_ms),
                chunk.last_t.div_euclid(day_ms),
            );
            into.extend([first, last]);
            if last > first + 1 {
                // Bytes in memory that were encoded here decode.
                let _ = chunk.decode(&mut samples);
            }
        }
        for samples in [&samples, &self.open] {
            into.extend(samples.floats.iter().map(|p| p.t.div_euclid(day_ms)));
            into.extend(samples.histograms.iter().map(|p| p.t.div_euclid(day_ms)));
        }
    }

    /// Forgets chunks that end before `t`; gives the bytes freed.
    pub(crate) fn drop_before(&mut self, t: i64) -> usize {
        let before = self.bytes;
        let all = std::mem::take(&mut self.closed);
        for chunk in all {
            if chunk.last_t >= t {
                self.closed.push(chunk);
            } else {
                self.closed_samples = self.closed_samples.saturating_sub(chunk.samples());
            }
        }
        if open_bounds(&self.open).is_some_and(|(first, _)| first < t) {
            let open = Arc::make_mut(&mut self.open);
            open.floats.retain(|p| p.t >= t);
            open.histograms.retain(|p| p.t >= t);
        }
        self.reckon();
        before.saturating_sub(self.bytes)
    }

    /// Takes over the samples of `other`.
    pub(crate) fn merge(&mut self, mut other: Others) {
        other.close();
        self.closed.append(&mut other.closed);
        self.closed_samples += other.closed_samples;
        self.bytes += other.bytes;
    }

    /// Forgets the samples in `range`.
    pub(crate) fn delete(&mut self, range: TimeRange) {
        let before = self.len();
        let mut samples = Samples::default();
        let mut chunks = Vec::new();
        self.chunks(TimeRange::ALL, &mut chunks);
        for chunk in chunks {
            // Bytes in memory that were encoded here decode.
            let _ = chunk.decode(&mut samples);
        }
        let kept = |t: i64| !range.contains(model::Timestamp::from_millis(t));
        samples.floats.retain(|p| kept(p.t));
        samples.histograms.retain(|p| kept(p.t));
        if samples.len() < before {
            *self = Others::default();
            for p in samples.floats {
                self.insert_float(p);
            }
            for p in samples.histograms {
                self.insert_histogram(p);
            }
        }
    }
}

fn open_bounds(open: &Samples) -> Option<(i64, i64)> {
    let floats = open.floats.first().zip(open.floats.last());
    let histograms = open.histograms.first().zip(open.histograms.last());
    let floats = floats.map(|(a, b)| (a.t, b.t));
    let histograms = histograms.map(|(a, b)| (a.t, b.t));
    let all = floats.into_iter().chain(histograms);
    all.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
}

fn chunk_bytes(chunk: &Chunk) -> usize {
    size_of::<Chunk>() + chunk.kept_bytes()
}
