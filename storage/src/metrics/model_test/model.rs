//! The naive map, and what may become of it.

use std::collections::BTreeMap;

use model::{
    Hints, Histogram, Labels, Matcher, SampleBatch, Samples, Selection, TimeRange, Timestamp,
};

use crate::metrics::MetricStore;
use crate::{AppendReport, Deleted};

/// A value bit by bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metrics) enum Value {
    Float(u64),
    Histogram(Vec<u64>),
}

pub(in crate::metrics) type Content = BTreeMap<Labels, BTreeMap<i64, Value>>;

/// Instants and values of one batch.
type Batch = Vec<(Labels, i64, Value)>;

/// What the store should hold.
#[derive(Default)]
pub(super) struct Model {
    content: Content,
    /// What of it was accepted since the last sync, batch by batch.
    unsynced: Vec<Batch>,
    /// A sync failed since: what it should have written has gaps.
    sync_failed: bool,
    /// Taken by retention: the log may bring it back.
    retired: Content,
    /// Other values that were offered at instants that had one: they may come to light when
    /// retention takes that one.
    others: BTreeMap<Labels, BTreeMap<i64, Vec<Value>>>,
}

/// Reads all that matches; instants ascend.
pub(in crate::metrics) fn content_of(
    store: &MetricStore,
    matchers: &[Matcher],
    range: TimeRange,
) -> Content {
    let hints = Hints::default();
    let selection = Selection {
        range,
        matchers,
        hints,
    };
    let mut content = Content::new();
    for mut series in store.select(&selection).unwrap() {
        let mut points = BTreeMap::new();
        let mut samples = Samples::default();
        while series.cursor.next_run(&mut samples).unwrap() {}
        let ascending = samples.floats.windows(2).all(|w| w[0].t < w[1].t)
            && samples.histograms.windows(2).all(|w| w[0].t < w[1].t);
        assert!(ascending, "{} is not in order", series.labels);
        let floats = samples
            .floats
            .iter()
            .map(|p| (p.t, Value::Float(p.v.to_bits())));
        let histograms = samples.histograms.iter().map(|p| (p.t, bits(&p.h)));
        for (t, value) in floats.chain(histograms) {
            // Cursors may give more than was asked for, never less.
            if range.contains(Timestamp::from_millis(t)) {
                let twice = points.insert(t, value).is_some();
                assert!(!twice, "{} has two samples at {t}", series.labels);
            }
        }
        if !points.is_empty() {
            let twice = content.insert(series.labels, points).is_some();
            assert!(!twice, "a series was given twice");
        }
    }
    content
}

fn bits(h: &Histogram) -> Value {
    let mut all = vec![
        h.counter_reset_hint as u64,
        h.schema as u64,
        h.zero_threshold.to_bits(),
        h.zero_count.to_bits(),
        h.count.to_bits(),
        h.sum.to_bits(),
    ];
    for spans in [&h.positive_spans, &h.negative_spans] {
        all.push(spans.len() as u64);
        all.extend(
            spans
                .iter()
                .flat_map(|s| [s.offset as u64, u64::from(s.length)]),
        );
    }
    for values in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        all.push(values.len() as u64);
        all.extend(values.iter().map(|v| v.to_bits()));
    }
    Value::Histogram(all)
}

fn values(batch: &SampleBatch) -> Batch {
    let floats = batch.samples.iter();
    let floats = floats.map(|s| {
        (
            s.labels.clone(),
            s.at.millis(),
            Value::Float(s.value.to_bits()),
        )
    });
    let histograms = batch.histograms.iter();
    let histograms = histograms.map(|s| (s.labels.clone(), s.at.millis(), bits(&s.histogram)));
    floats.chain(histograms).collect()
}

fn get<'a>(content: &'a Content, labels: &Labels, t: i64) -> Option<&'a Value> {
    content.get(labels)?.get(&t)
}

fn all(content: &Content) -> impl Iterator<Item = (&Labels, i64, &Value)> {
    content
        .iter()
        .flat_map(|(l, points)| points.iter().map(move |(t, v)| (l, *t, v)))
}

impl Model {
    /// A batch was taken; `read` is what its series hold now.
    pub(super) fn appended(
        &mut self,
        batch: &SampleBatch,
        read: &Content,
        report: &AppendReport,
        clock: i64,
    ) {
        let offered = values(batch);
        let mut taken = Batch::new();
        for (labels, t, value) in all(read) {
            if let Some(before) = get(&self.content, labels, t) {
                assert_eq!(
                    before, value,
                    "{labels} at {t} was changed by a later batch"
                );
                continue;
            }
            let of_batch = offered
                .iter()
                .any(|(l, at, v)| l == labels && *at == t && v == value);
            assert!(of_batch, "{labels} at {t}: {value:?} appeared from nowhere");
            taken.push((labels.clone(), t, value.clone()));
        }
        for (labels, points) in &self.content {
            let there = read.get(labels);
            let lost = points
                .keys()
                .find(|t| there.is_none_or(|p| !p.contains_key(t)));
            let asked_for = offered.iter().any(|(l, ..)| l == labels);
            assert!(
                !asked_for || lost.is_none(),
                "an append removed {labels} at {lost:?}"
            );
        }
        let mut others = 0;
        for (labels, t, value) in &offered {
            if get(&self.content, labels, *t).is_some() {
                others += 1;
                self.other(labels, *t, value.clone());
            }
        }
        // What is in blocks only is not looked for: the store takes it, and nobody sees it.
        let appended = report.appended as usize;
        let may = taken.len()..=taken.len() + others;
        assert!(may.contains(&appended), "{appended} reported, of {may:?}");
        for (labels, t, _) in &offered {
            let newest = self.content.get(labels).and_then(|p| p.last_key_value());
            let fits = *t == clock && newest.is_none_or(|(last, _)| last < t);
            let limited = report.series_limit + report.target_limit > 0;
            if fits && !limited && get(read, labels, *t).is_none() {
                // A scrape may only be refused when somebody's wrong clock has been here.
                let ahead = all(&self.content).any(|(_, newer, _)| newer > *t);
                let early = offered.iter().any(|(l, at, _)| l == labels && at > t);
                assert!(
                    ahead || early,
                    "{labels} at {t} is in order and was refused"
                );
            }
        }
        for (labels, t, value) in &taken {
            let points = self.content.entry(labels.clone()).or_default();
            points.insert(*t, value.clone());
        }
        if !taken.is_empty() {
            self.unsynced.push(taken);
        }
    }

    /// Something else at an instant that has a value.
    fn other(&mut self, labels: &Labels, t: i64, value: Value) {
        let of_series = self.others.entry(labels.clone()).or_default();
        of_series.entry(t).or_default().push(value);
    }

    /// A block was imported.
    pub(super) fn imported(&mut self, series: &BTreeMap<Labels, Samples>) {
        for (labels, samples) in series {
            let floats = samples.floats.iter();
            let floats = floats.map(|p| (p.t, Value::Float(p.v.to_bits())));
            let histograms = samples.histograms.iter().map(|p| (p.t, bits(&p.h)));
            for (t, value) in floats.chain(histograms) {
                if get(&self.content, labels, t).is_some() {
                    self.other(labels, t, value);
                } else {
                    let points = self.content.entry(labels.clone()).or_default();
                    points.insert(t, value);
                }
            }
        }
    }

    /// A batch was refused for want of a disk.
    pub(super) fn refused(&self, batch: &SampleBatch, read: &Content) {
        for (labels, t, _) in values(batch) {
            let (before, now) = (get(&self.content, &labels, t), get(read, &labels, t));
            assert_eq!(before, now, "{labels} at {t}, of a batch that was refused");
        }
    }

    /// All that was accepted is durable.
    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
        self.sync_failed = false;
    }

    /// Nothing new is durable, and not in the order of writing.
    pub(super) fn not_synced(&mut self) {
        self.sync_failed = true;
    }

    /// After a kill everything is as before.
    pub(super) fn reopened(&mut self, found: &Content) {
        self.take_back(found);
        self.compare(found, "after a kill");
    }

    /// After a power cut what was synced is there, and whole batches of the rest.
    pub(super) fn power_cut(&mut self, found: Content) {
        self.take_back(&found);
        for (labels, t, value) in all(&found) {
            let expect = get(&self.content, labels, t);
            assert_eq!(
                Some(value),
                expect,
                "{labels} at {t} appeared at a power cut"
            );
        }
        let mut lost_before = None;
        let mut lost: Content = Content::new();
        for (number, batch) in self.unsynced.iter().enumerate() {
            let there = batch
                .iter()
                .filter(|(l, t, _)| get(&found, l, *t).is_some())
                .count();
            assert!(
                there == 0 || there == batch.len(),
                "{there} of the {} samples of unsynced batch {number} survived: {batch:?}",
                batch.len()
            );
            if there == 0 {
                lost_before = lost_before.or(Some(number));
                for (labels, t, value) in batch {
                    lost.entry(labels.clone())
                        .or_default()
                        .insert(*t, value.clone());
                }
            } else if let Some(lost) = lost_before
                && !self.sync_failed
            {
                panic!("unsynced batch {number} survived, {lost} before it did not");
            }
        }
        for (labels, t, _) in all(&self.content) {
            let there = get(&found, labels, t).is_some();
            let may_miss = get(&lost, labels, t).is_some();
            assert!(there || may_miss, "{labels} at {t} was synced and is gone");
        }
        self.content = found;
        self.synced();
    }

    /// Retention took a piece that ends before `end_ms`.
    pub(super) fn retained(&mut self, found: Content, end_ms: i64) {
        for (labels, t, value) in all(&found) {
            let others = self.others.get(labels).and_then(|points| points.get(&t));
            let is_other = t < end_ms && others.is_some_and(|o| o.contains(value));
            let expect = get(&self.content, labels, t);
            assert!(
                expect == Some(value) || (expect.is_some() && is_other),
                "{labels} at {t} appeared at a removal: {value:?} and not {expect:?}"
            );
        }
        for (labels, t, value) in all(&self.content) {
            if get(&found, labels, t) != Some(value) {
                assert!(
                    t < end_ms,
                    "{labels} at {t} went with a block that ends at {end_ms}"
                );
                let retired = self.retired.entry(labels.clone()).or_default();
                retired.insert(t, value.clone());
            }
        }
        for batch in &mut self.unsynced {
            batch.retain(|(l, t, _)| get(&found, l, *t).is_some());
        }
        self.unsynced.retain(|b| !b.is_empty());
        self.content = found;
    }

    /// What matches is gone, from the disk too.
    pub(super) fn deleted(&mut self, matchers: &[Matcher], range: TimeRange, told: &Deleted) {
        let gone = self.part(matchers, range);
        let samples = gone.values().map(|points| points.len() as u64).sum();
        let series = gone.len() as u64;
        assert_eq!(*told, Deleted { series, samples }, "the count is wrong");
        let is_gone = |labels: &Labels, t: i64| get(&gone, labels, t).is_some();
        for (labels, points) in &mut self.content {
            points.retain(|t, _| !is_gone(labels, *t));
        }
        self.content.retain(|_, points| !points.is_empty());
        for batch in &mut self.unsynced {
            batch.retain(|(labels, t, _)| !is_gone(labels, *t));
        }
        self.unsynced.retain(|b| !b.is_empty());
    }

    /// What the log may have brought back after retention took it, or another value for the
    /// instant of one that is gone.
    fn take_back(&mut self, found: &Content) {
        for (labels, t, value) in all(found) {
            let retired = get(&self.retired, labels, t);
            let others = self.others.get(labels).and_then(|points| points.get(&t));
            let is_other = retired.is_some() && others.is_some_and(|o| o.contains(value));
            if get(&self.content, labels, t).is_none() && (retired == Some(value) || is_other) {
                let points = self.content.entry(labels.clone()).or_default();
                points.insert(t, value.clone());
            }
        }
    }

    /// The part of the content that a selection asks for.
    pub(super) fn part(&self, matchers: &[Matcher], range: TimeRange) -> Content {
        let mut part = Content::new();
        for (labels, t, value) in all(&self.content) {
            let wanted = matchers.iter().all(|m| m.matches_labels(labels));
            if wanted && range.contains(Timestamp::from_millis(t)) {
                part.entry(labels.clone())
                    .or_default()
                    .insert(t, value.clone());
            }
        }
        part
    }

    /// Names the first difference.
    pub(super) fn compare(&self, found: &Content, when: &str) {
        for (labels, t, value) in all(&self.content) {
            assert_eq!(
                get(found, labels, t),
                Some(value),
                "{when}: {labels} at {t}"
            );
        }
        for (labels, t, value) in all(found) {
            let expect = get(&self.content, labels, t);
            assert_eq!(Some(value), expect, "{when}: {labels} at {t} is too much");
        }
    }
}
