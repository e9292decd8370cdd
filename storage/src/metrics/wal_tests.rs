//! The samples' log, cut and damaged at every byte: whole batches come back or none of one,
//! no wrong value does, and what is lost is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Histogram, HistogramSample, Labels, STALE_NAN, SampleBatch, Span, TimeRange};

use super::MetricStore;
use super::model_test::model::{Content, content_of};
use super::tests::{DIR, at, batch, open_as, sync};
use crate::Config;
use crate::disk::faulty::FaultyDisk;

const START: i64 = 1_700_000_000_000;
const BATCHES: i64 = 8;

fn open(disk: &FaultyDisk) -> MetricStore {
    let config = Config {
        out_of_order_window: Duration::from_secs(3600),
        ..Config::default()
    };
    open_as(disk, &config)
}

fn everything(store: &MetricStore) -> Content {
    content_of(store, &[], TimeRange::ALL)
}

fn samples_of(content: &Content) -> usize {
    content.values().map(BTreeMap::len).sum()
}

fn histogram(k: i64) -> Histogram {
    Histogram {
        schema: 3,
        zero_threshold: 1e-128,
        count: k as f64 + 1.0,
        sum: k as f64 / 3.0,
        positive_spans: vec![Span {
            offset: k as i32 % 3,
            length: 1,
        }],
        positive_buckets: vec![k as f64],
        ..Histogram::default()
    }
}

/// Series that were there before and one that is new, of every kind of float; a late sample,
/// a repeated one, a contradicting one, and histograms, one of them late.
fn mixed(k: i64) -> SampleBatch {
    let t = START + k * 15_000;
    let known = (0..4).map(|i| (i, t, f64::from(i) + (k * k) as f64 / 10.0));
    let mut all: Vec<_> = known.collect();
    all.push((
        100 + k as u32,
        t,
        [STALE_NAN, -0.0, f64::NAN, 5e-324][k as usize % 4],
    ));
    if k > 0 {
        all.push((0, t - 22_500, 1.0 / k as f64));
        all.push((1, t - 15_000, 1.0 + ((k - 1) * (k - 1)) as f64 / 10.0));
        all.push((2, t - 15_000, 9e99));
    }
    let mut batch = batch(all);
    let mut histogram_at = |t: i64| {
        batch.histograms.push(HistogramSample {
            labels: Labels::from_pairs([("__name__", "h"), ("job", "node")]),
            at: at(t),
            histogram: Arc::new(histogram(k)),
        });
    };
    histogram_at(t);
    histogram_at(t - 7_500);
    batch
}

/// A log of [`BATCHES`] mixed batches on `disk`, and what the store had after each of them.
fn written(disk: &FaultyDisk, sync_each: i64) -> (PathBuf, Vec<Content>) {
    let store = open(disk);
    let mut after = vec![Content::new()];
    for k in 0..BATCHES {
        let report = store.append(&mixed(k), at(START + k * 15_000)).unwrap();
        assert_eq!(report.late, if k == 0 { 1 } else { 2 });
        after.push(everything(&store));
        if k % sync_each == sync_each - 1 {
            sync(&store);
        }
    }
    (Path::new(DIR).join("wal/0000000001.wal"), after)
}

#[test]
fn a_log_of_all_kinds_of_samples_cut_at_any_byte_opens_with_whole_batches() {
    for sync_each in [1, 3] {
        let disk = FaultyDisk::default();
        let (path, after) = written(&disk, sync_each);
        let whole = disk.content(&path);
        let mut most = 0;
        for cut in 0..=whole.len() {
            let copy = disk.copy();
            copy.set_content(&path, &whole[..cut]);
            let store = open(&copy);
            let found = everything(&store);
            let batches = after.iter().position(|content| *content == found);
            let batches = batches.unwrap_or_else(|| panic!("cut at {cut}: a torn batch"));
            assert!(batches >= most, "cut at {cut}: less than before");
            most = batches;
            // What comes next stays as well.
            let next = store.append(&mixed(BATCHES), at(START + BATCHES * 15_000));
            assert!(next.unwrap().appended > 0, "cut at {cut}");
            let before = everything(&store);
            drop(store);
            assert_eq!(everything(&open(&copy)), before, "cut at {cut}");
        }
        assert_eq!(most as i64, BATCHES);
    }
}

/// Damages every byte of the log; gives the share of samples that are lost then on average and
/// at most, in percent.
fn damage_everywhere(sync_each: i64) -> (f64, f64) {
    let disk = FaultyDisk::default();
    let (path, after) = written(&disk, sync_each);
    let whole = disk.content(&path);
    let all = after.last().unwrap();
    let (mut worst, mut sum) = (0, 0);
    for place in 0..whole.len() {
        let mut most = 0;
        for change in [1, 0x80] {
            let mut damaged = whole.clone();
            damaged[place] ^= change;
            let copy = disk.copy();
            copy.set_content(&path, &damaged);
            let store = open(&copy);
            let found = everything(&store);
            for (labels, points) in &found {
                for (t, value) in points {
                    let expect = all.get(labels).and_then(|points| points.get(t));
                    assert_eq!(Some(value), expect, "byte {place}: {labels} at {t}");
                }
            }
            // A warning where the version was hit: that may be another format.
            let health = store.watch.health();
            let is_told = !health.notices.is_empty() || !health.warnings.is_empty();
            assert!(is_told, "byte {place}: nobody is told");
            most = most.max(samples_of(all) - samples_of(&found));
            let next = store.append(&mixed(BATCHES), at(START + BATCHES * 15_000));
            assert!(next.unwrap().appended > 0, "byte {place}");
            let before = everything(&store);
            drop(store);
            assert_eq!(
                everything(&open(&copy)),
                before,
                "byte {place}: started again"
            );
        }
        worst = worst.max(most);
        sum += most;
    }
    let percent = |n: usize, of: usize| 100.0 * n as f64 / of as f64;
    let lost = (
        percent(sum, whole.len() * samples_of(all)),
        percent(worst, samples_of(all)),
    );
    println!("a damaged byte, synced after each {sync_each}: lost {lost:?} % of the samples");
    lost
}

#[test]
fn a_damaged_byte_anywhere_in_a_run_makes_no_wrong_value_and_is_told() {
    for sync_each in [1, BATCHES + 1] {
        damage_everywhere(sync_each);
    }
}
