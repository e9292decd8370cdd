//! Compaction, deletion, retention by selector and roll-ups, on a disk in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{
    FPoint, Hints, Labels, MatchOp, Matcher, Sample, Samples, Selection, TimeRange, Timestamp,
};

use super::MetricStore;
use super::compact_run::{Deleted, Policy};
use crate::config::Rollup;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::health::Watch;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const STEP: i64 = 60_000;

type Content = BTreeMap<String, Vec<(i64, u64)>>;

fn open(disk: &FaultyDisk) -> MetricStore {
    let disk = Arc::new(disk.clone());
    let config = crate::Config {
        out_of_order_window: Duration::ZERO,
        ..crate::Config::default()
    };
    MetricStore::open(disk, Watch::for_test(), Path::new("/data"), &config).unwrap()
}

fn at(t: i64) -> Timestamp {
    Timestamp::from_millis(t)
}

fn policy() -> Policy {
    Policy {
        retention: Duration::from_secs(15 * 24 * 3600),
        rules: Vec::new(),
        rollups: Vec::new(),
        late: Duration::ZERO,
        horizon: Timestamp::MAX,
    }
}

fn labels(i: i64) -> Labels {
    let name = if i == 0 { "a_total" } else { "gauge" };
    Labels::from_pairs([("__name__", name.to_owned()), ("i", i.to_string())])
}

/// A counter that is reset now and then, and gauges, one of which ends early.
fn value(i: i64, t: i64) -> f64 {
    let k = t / STEP;
    if i == 0 {
        (k % 500) as f64
    } else {
        (k * k * 7919 % 1000) as f64 / 10.0
    }
}

/// Appends whole hours, with maintenance as it would be.
fn fill(store: &MetricStore, hours: std::ops::Range<i64>) {
    for t in (hours.start * HOUR..hours.end * HOUR).step_by(STEP as usize) {
        let series = (0..5).filter(|i| *i != 4 || t < 5 * HOUR);
        let samples: Vec<Sample> = series
            .map(|i| Sample {
                labels: labels(i),
                at: at(t),
                value: value(i, t),
            })
            .collect();
        store.append(&samples.into(), at(t)).unwrap();
        if t % HOUR == 0 {
            store.maintain(at(t));
        }
    }
}

fn read_as(store: &MetricStore, function: &'static str, matchers: &[Matcher]) -> Content {
    let hints = Hints {
        function,
        ..Hints::default()
    };
    let selection = Selection {
        range: TimeRange::ALL,
        matchers,
        hints,
    };
    let mut content = Content::new();
    for mut series in store.select(&selection).unwrap() {
        let mut samples = Samples::default();
        while series.cursor.next_run(&mut samples).unwrap() {}
        assert!(samples.floats.windows(2).all(|w| w[0].t < w[1].t));
        let points = samples.floats.iter().map(|p| (p.t, p.v.to_bits()));
        content.insert(series.labels.to_string(), points.collect());
    }
    content.retain(|_, points| !points.is_empty());
    content
}

fn everything(store: &MetricStore) -> Content {
    read_as(store, "", &[])
}

/// Background work until there is none.
fn settle(store: &MetricStore, now: i64, policy: &Policy) {
    for _ in 0..50 {
        store.maintain_blocks(at(now), policy);
    }
    assert!(store.watch.health().ok, "{:?}", store.watch.health());
}

fn blocks(disk: &FaultyDisk) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|p| p.extension().is_some_and(|e| e == "blk"));
    files
}

#[test]
fn the_blocks_of_a_day_become_one_and_nothing_changes() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    let before = everything(&store);
    let many = blocks(&disk);
    let old: Vec<(PathBuf, Vec<u8>)> = many.iter().map(|p| (p.clone(), disk.content(p))).collect();
    assert_eq!(many.len(), 12);
    settle(&store, 26 * HOUR, &policy());
    assert_eq!(blocks(&disk).len(), 1);
    assert_eq!(everything(&store), before);
    drop(store);
    // As if the power had gone before the old ones were removed.
    for (path, content) in &old {
        disk.set_content(path, content);
    }
    let store = open(&disk);
    assert_eq!(everything(&store), before);
    assert_eq!(blocks(&disk).len(), 1);
    assert_eq!(store.series(&[], TimeRange::ALL).unwrap().len(), 5);
    assert_eq!(
        store.label_values("i", &[], TimeRange::ALL).unwrap().len(),
        5
    );
}

#[test]
fn who_reads_blocks_reads_on_while_they_are_merged_or_removed() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    let before = everything(&store);
    let selection = Selection {
        range: TimeRange::ALL,
        matchers: &[],
        hints: Hints::default(),
    };
    let read = |found: model::Selected| -> Content {
        let mut content = Content::new();
        for mut series in found {
            let mut samples = Samples::default();
            while series.cursor.next_run(&mut samples).unwrap() {}
            let points = samples.floats.iter().map(|p| (p.t, p.v.to_bits()));
            content.insert(series.labels.to_string(), points.collect());
        }
        content
    };
    let (first, second) = (
        store.select(&selection).unwrap(),
        store.select(&selection).unwrap(),
    );
    settle(&store, 26 * HOUR, &policy());
    let merged = blocks(&disk);
    assert_eq!(merged.len(), 1);
    assert_eq!(read(first), before);
    let third = store.select(&selection).unwrap();
    store.remove(&merged[0]);
    assert!(blocks(&disk).is_empty());
    assert_eq!(read(second), before);
    assert_eq!(read(third), before);
}

#[test]
fn a_merge_whose_disk_is_full_is_tried_again() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    let before = everything(&store);
    for room in [0, 10, 1000] {
        disk.set_room(Some(room));
        store.maintain_blocks(at(26 * HOUR), &policy());
        assert!(!store.watch.health().ok);
        assert_eq!(everything(&store), before);
        assert!(
            disk.files()
                .iter()
                .all(|p| p.extension().is_none_or(|e| e != "tmp"))
        );
    }
    disk.set_room(None);
    settle(&store, 26 * HOUR, &policy());
    assert_eq!(blocks(&disk).len(), 1);
    assert_eq!(everything(&store), before);
}

#[test]
fn a_damaged_source_is_set_aside_and_the_rest_merged() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    let before = everything(&store);
    drop(store);
    let path = blocks(&disk)[3].clone();
    let mut bytes = disk.content(&path);
    bytes[40] ^= 1;
    disk.set_content(&path, &bytes);
    let store = open(&disk);
    settle(&store, 26 * HOUR, &policy());
    let after = everything(&store);
    assert_eq!(blocks(&disk).len(), 1);
    assert!(
        disk.files()
            .iter()
            .any(|p| p.to_string_lossy().ends_with(".blk.corrupt"))
    );
    let lost = |t: &i64| (6 * HOUR..8 * HOUR).contains(t);
    for (series, points) in &before {
        let kept: Vec<_> = points.iter().filter(|p| !lost(&p.0)).copied().collect();
        assert_eq!(after[series], kept);
    }
}

#[test]
fn a_source_with_any_damage_is_set_aside_and_not_removed() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    // Two blocks that share time: what they have is not copied, but decoded.
    for first in [0, 7] {
        let (path, mut writer) = store.begin_block().unwrap();
        let floats = (0..50).map(|i| FPoint {
            t: first + i * i * 1_000,
            v: i as f64,
        });
        let samples = Samples {
            floats: floats.collect(),
            histograms: Vec::new(),
        };
        writer.add(&labels(1), &samples).unwrap();
        writer.finish(HOUR).unwrap();
        store.adopt(&[path]).unwrap();
    }
    drop(store);
    let path = blocks(&disk)[0].clone();
    let whole = disk.content(&path);
    // With another version it is no block of ours, and left as it is.
    let version = 4..6;
    for place in (0..whole.len()).step_by(2).filter(|p| !version.contains(p)) {
        let copy = disk.copy();
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        copy.set_content(&path, &damaged);
        let store = open(&copy);
        settle(&store, 26 * HOUR, &policy());
        let files = copy.files();
        let is_kept = |file: &PathBuf| file.to_string_lossy().ends_with(".blk.corrupt");
        let is_lost = !store.watch.losses().is_empty();
        assert_eq!(files.iter().any(is_kept), is_lost, "{place}");
    }
}

#[test]
fn deleted_samples_are_gone_at_once_and_for_good_and_their_space_is_freed() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..30);
    settle(&store, 30 * HOUR, &policy());
    let mut expect = everything(&store);
    let all_bytes: usize = blocks(&disk).iter().map(|p| disk.content(p).len()).sum();
    let gauges = [Matcher::equal("__name__", "gauge")];
    let range = TimeRange::new(at(10 * HOUR), at(29 * HOUR - 1));
    let deleted = store.delete_series(&[gauges.to_vec()], range).unwrap();
    let samples = 3 * 19 * 60;
    assert_eq!(deleted, Deleted { series: 3, samples });
    for (series, points) in &mut expect {
        let is_gauge = series.starts_with("gauge");
        points.retain(|(t, _)| !is_gauge || !range.contains(at(*t)));
    }
    assert_eq!(everything(&store), expect);
    drop(store);
    disk.power_cut(0);
    let store = open(&disk);
    assert_eq!(everything(&store), expect);
    settle(&store, 30 * HOUR, &policy());
    assert!(store.read().tombstones.is_empty());
    assert_eq!(everything(&store), expect);
    let left: usize = blocks(&disk).iter().map(|p| disk.content(p).len()).sum();
    assert!(left < all_bytes * 2 / 3, "{left} of {all_bytes}");
    // What comes later is not concerned.
    fill(&store, 30..31);
    assert!(
        everything(&store)[&labels(1).to_string()]
            .iter()
            .any(|p| p.0 >= 30 * HOUR)
    );
}

#[test]
fn a_series_deleted_as_a_whole_leaves_the_lists_at_once() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..5);
    let one = vec![Matcher::equal("i", "2")];
    store.delete_series(&[one], TimeRange::ALL).unwrap();
    let values = || store.label_values("i", &[], TimeRange::ALL).unwrap();
    assert_eq!(values(), ["0", "1", "3", "4"]);
    assert_eq!(store.series(&[], TimeRange::ALL).unwrap().len(), 4);
    settle(&store, 6 * HOUR, &policy());
    assert_eq!(values(), ["0", "1", "3", "4"]);
}

#[test]
fn a_rule_keeps_some_series_shorter_and_some_longer() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..50);
    let hours = |h: u64| Duration::from_secs(h * 3600);
    let policy = Policy {
        retention: hours(240),
        rules: vec![
            (vec![Matcher::equal("i", "1")], hours(24)),
            (vec![Matcher::equal("i", "0")], hours(1000)),
        ],
        ..policy()
    };
    settle(&store, 60 * HOUR, &policy);
    let first = |i: i64| everything(&store)[&labels(i).to_string()][0].0;
    assert_eq!(
        (first(0), first(1), first(2)),
        (0, 36 * HOUR, 0),
        "never more than is due"
    );
    settle(&store, 300 * HOUR, &policy);
    let left = everything(&store);
    // What is in memory still does not count here.
    assert_eq!((first(0), first(1)), (0, 48 * HOUR));
    let kept: Vec<Duration> = store
        .pieces_kept(&policy)
        .iter()
        .filter_map(|p| p.keep)
        .collect();
    assert!(kept.iter().all(|k| *k == hours(1000)));
    assert_eq!(
        left[&labels(2).to_string()][0].0,
        48 * HOUR,
        "its block is not old enough"
    );
}

#[test]
fn a_rollup_answers_where_the_samples_are_gone() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..50);
    let policy = Policy {
        rollups: vec![Rollup {
            resolution: Duration::from_secs(3600),
            retention: Duration::from_secs(400 * 24 * 3600),
        }],
        ..policy()
    };
    settle(&store, 50 * HOUR, &policy);
    let raw = everything(&store);
    let coarse = |b: &crate::retention::Piece| b.keep == Some(policy.rollups[0].retention);
    let pieces = store.pieces_kept(&policy);
    assert_eq!(pieces.iter().filter(|p| coarse(p)).count(), 2);
    assert_eq!(
        everything(&store)[&labels(1).to_string()].len(),
        50 * 60,
        "raw ones win"
    );
    for piece in pieces.iter().filter(|p| !coarse(p) && p.end_ms <= DAY) {
        store.remove(&piece.path);
    }
    let one = [Matcher::new("i", MatchOp::Equal, "1").unwrap()];
    let of = |function| {
        read_as(&store, function, &one)
            .remove(&labels(1).to_string())
            .unwrap()
    };
    let series = &raw[&labels(1).to_string()];
    let bucket = |h: i64| series.iter().filter(move |p| p.0 / HOUR == h);
    let last: Vec<_> = (0..24).map(|h| *bucket(h).next_back().unwrap()).collect();
    assert_eq!(of("")[..24], last);
    assert_eq!(
        of("")[24..],
        series[24 * 60..],
        "and from then on every sample"
    );
    let highest = |h| {
        bucket(h)
            .map(|p| f64::from_bits(p.1))
            .fold(f64::MIN, f64::max)
    };
    let max: Vec<_> = last
        .iter()
        .map(|p| (p.0, highest(p.0 / HOUR).to_bits()))
        .collect();
    assert_eq!(of("max_over_time")[..24], max);
    drop(store);
    let store = open(&disk);
    assert_eq!(
        read_as(&store, "", &one)[&labels(1).to_string()][..24],
        last
    );
    // The log from before the restart was not passed over because of a roll-up.
    assert_eq!(
        everything(&store)[&labels(2).to_string()].last().unwrap().0,
        50 * HOUR - STEP
    );
}

#[test]
fn samples_that_come_after_the_rollup_are_seen_at_once_and_get_into_it() {
    let disk = FaultyDisk::default();
    let config = crate::Config {
        out_of_order_window: Duration::from_secs(48 * 3600),
        ..crate::Config::default()
    };
    let store = MetricStore::open(
        Arc::new(disk.clone()),
        Watch::for_test(),
        Path::new("/data"),
        &config,
    )
    .unwrap();
    fill(&store, 0..26);
    let policy = Policy {
        rollups: vec![Rollup {
            resolution: Duration::from_secs(3600),
            retention: Duration::from_secs(400 * 24 * 3600),
        }],
        ..policy()
    };
    settle(&store, 26 * HOUR, &policy);
    let numbers = |is_rollup: bool| -> Vec<(u64, PathBuf)> {
        let state = store.read();
        let blocks = state.blocks.iter();
        let blocks = blocks.filter(|b| (b.resolution_ms > 0) == is_rollup);
        blocks.map(|b| (b.number, b.path.clone())).collect()
    };
    let coarse = || numbers(true);
    let first = coarse();
    assert_eq!(first.len(), 1);
    let day = Selection {
        range: TimeRange::new(at(0), at(DAY - 1)),
        matchers: &[],
        hints: Hints {
            function: "max_over_time",
            step_ms: HOUR,
            window_ms: 4 * HOUR,
            newest_only: false,
        },
    };
    // The largest value of hour 3 of a series, and how many points answer for it.
    let hour_3 = |i: i64| {
        let found = store.select(&day).unwrap();
        let mut found: Vec<_> = found.filter(|s| s.labels == labels(i)).collect();
        let mut samples = Samples::default();
        while found[0].cursor.next_run(&mut samples).unwrap() {}
        let points = samples.floats.iter().filter(|p| p.t / HOUR == 3);
        let values: Vec<f64> = points.map(|p| p.v).collect();
        let highest = values.iter().copied().fold(f64::MIN, f64::max);
        (values.len(), highest)
    };
    assert_eq!(hour_3(1).0, 1);
    let late = Sample {
        labels: labels(1),
        at: at(3 * HOUR + 17),
        value: 5000.0,
    };
    store.append(&vec![late].into(), at(26 * HOUR)).unwrap();
    assert_eq!(hour_3(1), (61, 5000.0), "out of memory");
    assert_eq!(hour_3(2).0, 1, "others stay with the roll-up");
    store.flush_all().unwrap();
    assert_eq!(hour_3(1), (61, 5000.0), "out of its block");
    settle(&store, 26 * HOUR, &policy);
    assert_eq!(hour_3(1), (1, 5000.0), "out of the roll-up");
    let second = coarse();
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
    for (_, path) in numbers(false) {
        store.remove(&path);
    }
    assert_eq!(hour_3(1), (1, 5000.0));
    settle(&store, 26 * HOUR, &policy);
    assert_eq!(coarse(), second, "and that was all");
}

#[test]
fn samples_older_than_they_are_kept_wait_until_they_are_rolled_up() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    let policy = Policy {
        rollups: [300, 3600]
            .map(|seconds| Rollup {
                resolution: Duration::from_secs(seconds),
                retention: Duration::from_secs(400 * 24 * 3600),
            })
            .to_vec(),
        ..policy()
    };
    let now = 100 * DAY;
    store.maintain(at(now));
    let due = || {
        let mut pieces = store.pieces_kept(&policy);
        pieces.retain(|p| {
            let keep = p.keep.unwrap();
            keep < policy.rollups[0].retention && p.end_ms + keep.as_millis() as i64 <= now
        });
        pieces.len()
    };
    assert_eq!(due(), 0);
    settle(&store, now, &policy);
    assert_eq!(due(), 2);
    assert_eq!(
        store.pieces_kept(&policy).len(),
        2 + 2,
        "a month is one roll-up"
    );
}

#[test]
fn a_block_from_a_time_of_longer_retention_is_rolled_up_as_a_whole() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..26);
    settle(&store, 26 * HOUR, &policy());
    let policy = Policy {
        retention: Duration::from_secs(2 * 24 * 3600),
        rollups: vec![Rollup {
            resolution: Duration::from_secs(3600),
            retention: Duration::from_secs(400 * 24 * 3600),
        }],
        ..policy()
    };
    let now = 100 * DAY;
    store.maintain(at(now));
    settle(&store, now, &policy);
    let raw: Vec<PathBuf> = {
        let state = store.read();
        let raw = state.blocks.iter().filter(|b| b.resolution_ms == 0);
        raw.map(|b| b.path.clone()).collect()
    };
    raw.iter().for_each(|path| store.remove(path));
    let points = &everything(&store)[&labels(1).to_string()];
    let hours: Vec<i64> = points.iter().map(|p| p.0 / HOUR).collect();
    assert_eq!(hours, (0..26).collect::<Vec<i64>>());
}

#[test]
fn blocks_that_nobody_could_read_outlive_deletions_which_wait_for_them() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..10);
    let mut expect = everything(&store);
    drop(store);
    let all = blocks(&disk);
    // One cannot be read, one is away for a moment.
    let (unreadable, away) = (&all[0], &all[1]);
    disk.set_readable(unreadable, false);
    let store = open(&disk);
    let content = disk.content(away);
    disk.remove(away).unwrap();
    store.drop_vanished();
    disk.set_content(away, &content);
    let one = vec![Matcher::equal("i", "2")];
    store.delete_series(&[one], TimeRange::ALL).unwrap();
    for _ in 0..50 {
        store.maintain_blocks(at(10 * HOUR), &policy());
    }
    assert!(blocks(&disk).contains(unreadable) && blocks(&disk).contains(away));
    drop(store);
    disk.set_readable(unreadable, true);
    let store = open(&disk);
    expect.remove(&labels(2).to_string());
    assert_eq!(everything(&store), expect);
    settle(&store, 10 * HOUR, &policy());
    assert!(store.read().tombstones.is_empty());
    assert_eq!(everything(&store), expect);
}

#[test]
fn a_block_of_another_directory_removes_none_here() {
    let there = FaultyDisk::default();
    let store = open(&there);
    fill(&store, 0..26);
    let mut expect = everything(&store);
    settle(&store, 26 * HOUR, &policy());
    drop(store);
    let here = FaultyDisk::default();
    let store = open(&here);
    fill(&store, 30..40);
    for (series, points) in everything(&store) {
        expect.entry(series).or_default().extend(points);
    }
    drop(store);
    let copied = there.content(&blocks(&there)[0]);
    here.set_content(Path::new("/data/blocks/0000000900.blk"), &copied);
    let kept = blocks(&here);
    let store = open(&here);
    assert_eq!(blocks(&here), kept);
    let mut found = everything(&store);
    for points in found.values_mut().chain(expect.values_mut()) {
        points.retain(|p| p.0 < 24 * HOUR || p.0 >= 30 * HOUR);
    }
    assert_eq!(found, expect);
}

#[test]
fn deletions_that_could_not_be_read_once_hold_when_they_can_be() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store, 0..5);
    let delete = |store: &MetricStore, i: &str| {
        store.delete_series(&[vec![Matcher::equal("i", i)]], TimeRange::ALL)
    };
    for _ in 0..3 {
        delete(&store, "2").unwrap();
    }
    fill(&store, 5..6);
    let mut expect = everything(&store);
    drop(store);
    let path = Path::new("/data/blocks/tombstones");
    disk.set_readable(path, false);
    let store = open(&disk);
    let health = store.watch.health();
    assert!(
        health
            .warnings
            .iter()
            .any(|w| w.starts_with("deletions in")),
        "{health:?}"
    );
    assert_eq!(store.watch.losses().len(), 1);
    assert!(delete(&store, "1").is_err());
    fill(&store, 6..26);
    settle(&store, 26 * HOUR, &policy());
    let names = ["0", "1", "2", "3"].map(|i| labels(i.parse().unwrap()).to_string());
    let after = everything(&store);
    for name in &names {
        let points = after[name].iter().filter(|p| p.0 >= 6 * HOUR);
        expect.entry(name.clone()).or_default().extend(points);
    }
    drop(store);
    disk.set_readable(path, true);
    let store = open(&disk);
    assert_eq!(everything(&store), expect);
    settle(&store, 26 * HOUR, &policy());
    assert_eq!(everything(&store), expect);
}
