//! Series in memory, as a reader.

use std::collections::BTreeMap;

use model::CounterResetHint::{Gauge, NotReset, Reset, Unknown};
use model::{
    FPoint, HPoint, Labels, Matcher, ReadError, SampleCursor, Samples, Selected, SelectedSeries,
    Selection, SeriesReader, TimeRange,
};

use super::series::Item;
use crate::histogram::detects_reset;

/// A small store for tests; points of a series must be added in time order.
#[derive(Clone, Debug, Default)]
pub struct MemoryReader {
    series: BTreeMap<Labels, Samples>,
    starts: BTreeMap<Labels, Vec<(i64, i64)>>,
}

impl MemoryReader {
    /// Adds one float point.
    pub fn push(&mut self, labels: &Labels, t: i64, v: f64) {
        let samples = self.series.entry(labels.clone()).or_default();
        samples.floats.push(FPoint { t, v });
    }

    /// Adds a described series whose item `i` is at `i * step_ms`.
    pub fn load(&mut self, labels: &Labels, items: &[Item], step_ms: i64) {
        let samples = self.series.entry(labels.clone()).or_default();
        let known: Vec<i64> = samples.histograms.iter().map(|p| p.t).collect();
        for (i, item) in items.iter().enumerate() {
            let t = step_ms.saturating_mul(i as i64);
            match item {
                Item::Gap => {}
                Item::Float(v) => samples.floats.push(FPoint { t, v: *v }),
                Item::Histogram(h, _) => samples.histograms.push(HPoint { t, h: h.clone() }),
            }
        }
        samples.floats.sort_by_key(|p| p.t);
        samples.histograms.sort_by_key(|p| p.t);
        // A sample that is loaded again is the same one.
        samples.floats.dedup_by_key(|p| p.t);
        samples.histograms.dedup_by_key(|p| p.t);
        set_hints(samples, &known);
    }

    /// Adds start timestamps: item `i` is the start of the sample at `i * step_ms`, in seconds
    /// relative to it.
    pub fn load_starts(&mut self, labels: &Labels, items: &[Item], step_ms: i64) {
        let starts = self.starts.entry(labels.clone()).or_default();
        for (i, item) in items.iter().enumerate() {
            if let Item::Float(seconds) = item {
                let t = step_ms.saturating_mul(i as i64);
                let relative = (seconds * 1000.0).round() as i64;
                starts.push((t, t.saturating_add(relative)));
            }
        }
        starts.sort_unstable();
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.series.clear();
        self.starts.clear();
    }
}

/// Gives histograms the hints a store of chunks would: within a chunk nothing was reset; a
/// reset or another layout starts a new one, and what precedes its first is not known. Those of
/// `known` times have theirs.
fn set_hints(samples: &mut Samples, known: &[i64]) {
    let mut previous: Option<HPoint> = None;
    for p in &mut samples.histograms {
        let before = previous.replace(p.clone());
        if p.h.counter_reset_hint == Gauge || known.binary_search(&p.t).is_ok() {
            continue;
        }
        let float_between = |before: &HPoint| {
            let next = samples.floats.partition_point(|f| f.t <= before.t);
            samples.floats.get(next).is_some_and(|f| f.t < p.t)
        };
        let before = before.filter(|b| b.h.counter_reset_hint != Gauge && !float_between(b));
        let mut h = (*p.h).clone();
        let written_reset = h.counter_reset_hint == Reset;
        h.counter_reset_hint = Unknown;
        let same_chunk = before.is_some_and(|b| {
            !written_reset
                && h.schema == b.h.schema
                && h.zero_threshold == b.h.zero_threshold
                && h.custom_values == b.h.custom_values
                && !detects_reset(&h, &b.h)
        });
        if same_chunk {
            h.counter_reset_hint = NotReset;
        }
        p.h = h.into();
    }
}

struct Cursor(Option<Samples>, Vec<(i64, i64)>);

impl SampleCursor for Cursor {
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        let Some(mut run) = self.0.take() else {
            return Ok(false);
        };
        into.floats.append(&mut run.floats);
        into.histograms.append(&mut run.histograms);
        Ok(true)
    }

    fn start_timestamps(&self) -> Vec<(i64, i64)> {
        self.1.clone()
    }
}

impl SeriesReader for MemoryReader {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        let (start, end) = (selection.range.start.millis(), selection.range.end.millis());
        let inside = |t: i64| start <= t && t <= end;
        let matches = |l: &Labels| selection.matchers.iter().all(|m| m.matches_labels(l));
        let found = self.series.iter().filter(|(l, _)| matches(l));
        Ok(found
            .map(|(labels, samples)| {
                let mut run = samples.clone();
                run.floats.retain(|p| inside(p.t));
                run.histograms.retain(|p| inside(p.t));
                SelectedSeries {
                    labels: labels.clone(),
                    cursor: Box::new(Cursor(
                        Some(run),
                        self.starts.get(labels).cloned().unwrap_or_default(),
                    )),
                }
            })
            .collect())
    }

    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let (start, end) = (range.start.millis(), range.end.millis());
        Ok(self
            .series
            .iter()
            .filter(|(l, s)| {
                let matched =
                    sets.is_empty() || sets.iter().any(|m| m.iter().all(|m| m.matches_labels(l)));
                let inside = |t: i64| start <= t && t <= end;
                matched
                    && (s.floats.iter().any(|p| inside(p.t))
                        || s.histograms.iter().any(|p| inside(p.t)))
            })
            .map(|(l, _)| l.clone())
            .collect())
    }
}
