//! Gathers samples in any order into runs that are sorted by series, in bounded memory.

use std::collections::BTreeMap;

use model::{FPoint, Labels, Samples};

/// Memory for samples that wait to be sorted. A file that is not sorted by series becomes one
/// block for each day and this much of it.
pub const SORT_BYTES_MAX: usize = 64 << 20;
/// Reckoned per series besides its labels and points.
const SERIES_BYTES: usize = 200;

pub(super) struct Sorter {
    bytes_max: usize,
    series: BTreeMap<Labels, Samples>,
    bytes: usize,
    /// The series that is growing. Files are mostly sorted by series: its further points follow.
    last: Option<(Labels, Samples)>,
}

impl Default for Sorter {
    fn default() -> Self {
        Sorter {
            bytes_max: SORT_BYTES_MAX,
            series: BTreeMap::new(),
            bytes: 0,
            last: None,
        }
    }
}

impl Sorter {
    /// Takes a point; gives sorted series back when too many have been gathered.
    pub(super) fn push(
        &mut self,
        labels: &Labels,
        point: FPoint,
    ) -> impl Iterator<Item = (Labels, Samples)> + use<> {
        self.bytes += size_of::<FPoint>();
        let is_last = self.last.as_ref().is_some_and(|(l, _)| l == labels);
        if !is_last {
            self.put_last();
            let known = self.series.remove(labels);
            if known.is_none() {
                self.bytes += SERIES_BYTES + labels.heap_bytes();
            }
            self.last = Some((labels.clone(), known.unwrap_or_default()));
        }
        if let Some((_, samples)) = &mut self.last {
            samples.floats.push(point);
        }
        let full = self.bytes > self.bytes_max;
        let mut all = BTreeMap::new();
        if full {
            if self.series.is_empty() {
                self.put_last();
            }
            all = std::mem::take(&mut self.series);
            let kept = self.last.as_ref().map_or(0, |(labels, samples)| {
                SERIES_BYTES + labels.heap_bytes() + samples.floats.len() * size_of::<FPoint>()
            });
            self.bytes = kept;
        }
        all.into_iter()
    }

    /// Everything that is left, sorted.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Labels, Samples)> + use<> {
        self.put_last();
        self.bytes = 0;
        std::mem::take(&mut self.series).into_iter()
    }

    fn put_last(&mut self) {
        if let Some((labels, samples)) = self.last.take() {
            self.series.insert(labels, samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_sorted_and_whole_and_memory_is_bounded() {
        let mut sorter = Sorter {
            bytes_max: 500_000,
            ..Sorter::default()
        };
        let labels = |i: u32| Labels::from_pairs([("i", format!("{i:03}"))]);
        let names: Vec<Labels> = (0..100).map(labels).collect();
        let mut counts = [0_usize; 100];
        let mut runs = 0;
        let points = 50_000_u32;
        let mut take = |run: Vec<(Labels, Samples)>| {
            assert!(run.is_sorted_by(|a, b| a.0 < b.0));
            runs += usize::from(!run.is_empty());
            for (labels, samples) in run {
                let at = names.binary_search(&labels).unwrap();
                counts[at] += samples.floats.len();
            }
        };
        for i in 0..points {
            let point = FPoint {
                t: i64::from(i),
                v: 0.0,
            };
            take(sorter.push(&names[(i % 100) as usize], point).collect());
            assert!(sorter.bytes <= 500_000);
        }
        take(sorter.drain().collect());
        assert_eq!(counts, [points as usize / 100; 100]);
        assert_eq!(runs, 2);
    }
}
