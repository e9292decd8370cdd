//! What is taken and what is refused: late samples, clocks that are wrong, targets with too many
//! series, series that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use model::{Histogram, HistogramSample, Labels, SampleBatch, TimeRange, Timestamp};

use super::MetricStore;
use super::model_test::model::{Content, content_of};
use super::tests::{at, batch, labels, open_as};
use crate::disk::faulty::FaultyDisk;
use crate::{AppendReport, Config, FUTURE_MAX};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
const START: i64 = 1_700_006_400_000;

fn config() -> Config {
    Config {
        out_of_order_window: Duration::from_secs(3600),
        ..Config::default()
    }
}

fn everything(store: &MetricStore) -> Content {
    content_of(store, &[], TimeRange::ALL)
}

fn instants(content: &Content, labels: &Labels) -> Vec<i64> {
    let points = content.get(labels);
    points.map_or_else(Vec::new, |p| p.keys().copied().collect())
}

fn take(store: &MetricStore, now: i64, samples: &[(u32, i64, f64)]) -> AppendReport {
    let batch = batch(samples.iter().copied());
    store.append(&batch, at(now)).unwrap()
}

/// Opens it again, as after a kill and after a power cut that finds all synced: nothing changes.
fn reopened(disk: &FaultyDisk, store: MetricStore, config: &Config) -> MetricStore {
    let before = everything(&store);
    drop(store);
    let store = open_as(disk, config);
    assert_eq!(everything(&store), before);
    store
}

#[test]
fn late_samples_inside_the_window_are_kept_in_order_of_time_in_head_log_and_block() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    take(&store, START, &[(1, START, 1.0), (2, START, 1.0)]);
    for (age, value) in [(1, 2.0), (HOUR, 3.0), (MINUTE, 4.0)] {
        let report = take(&store, START, &[(1, START - age, value)]);
        assert_eq!((report.appended, report.late), (1, 1), "{age}");
    }
    let expect = [START - HOUR, START - MINUTE, START - 1, START];
    assert_eq!(instants(&everything(&store), &labels(1)), expect);
    let store = reopened(&disk, store, &config());
    // Its window goes to a block, and late ones come after that too.
    let now = START + 2 * HOUR + 20 * MINUTE;
    take(&store, now, &[(1, now, 5.0)]);
    let before = everything(&store);
    store.maintain(at(now));
    assert!(store.figures().2 > 0, "no block");
    assert_eq!(everything(&store), before);
    let late = now - 40 * MINUTE;
    let report = take(&store, now, &[(2, late, 6.0)]);
    assert_eq!((report.appended, report.late), (1, 1));
    assert_eq!(instants(&everything(&store), &labels(2)), [START, late]);
    reopened(&disk, store, &config());
}

#[test]
fn late_samples_are_counted_by_reason() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    take(&store, START, &[(1, START, 1.0)]);
    take(&store, START, &[(1, START - MINUTE, f64::NAN)]);
    let refusals = |report: AppendReport| {
        let r = report;
        assert_eq!((r.appended, r.late), (0, 0), "{r:?}");
        (r.repeated, r.duplicate, r.out_of_order, r.too_old)
    };
    for (t, value, expect) in [
        (START, 1.0, (1, 0, 0, 0)),
        (START, 1.5, (0, 1, 0, 0)),
        (START, -1.0, (0, 1, 0, 0)),
        (START - MINUTE, f64::NAN, (1, 0, 0, 0)),
        (START - MINUTE, -f64::NAN, (0, 1, 0, 0)),
        (START - HOUR - 1, 1.0, (0, 0, 1, 0)),
    ] {
        let report = take(&store, START, &[(1, t, value)]);
        assert_eq!(refusals(report), expect, "{value} at {t}");
    }
    // Behind a flush it is the block that it is too old for.
    take(&store, START + 3 * HOUR, &[(1, START + 3 * HOUR, 1.0)]);
    store.maintain(at(START + 3 * HOUR));
    let report = take(&store, START + 3 * HOUR, &[(1, START - MINUTE, 1.0)]);
    assert_eq!(refusals(report), (0, 0, 0, 1));
}

#[test]
fn without_a_window_every_late_sample_is_refused() {
    let disk = FaultyDisk::default();
    let config = Config {
        out_of_order_window: Duration::ZERO,
        ..config()
    };
    let store = open_as(&disk, &config);
    take(&store, START, &[(1, START, 1.0)]);
    let report = take(&store, START, &[(1, START - 1, 1.0)]);
    assert_eq!((report.appended, report.out_of_order), (0, 1));
}

#[test]
fn a_clock_that_was_ahead_and_is_set_right_stops_nobody() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    let ahead = START + 5 * HOUR;
    take(&store, ahead, &[(1, ahead, 1.0)]);
    store.maintain(at(ahead));
    // The clock is set back: known and new series go on, and it is told.
    for minute in 0..30 {
        let now = START + minute * MINUTE;
        let report = take(&store, now, &[(1, now, 2.0), (2, now, 3.0)]);
        assert_eq!(report.appended, 2, "minute {minute}: {report:?}");
        store.maintain(at(now));
    }
    assert!(
        store.watch.health().problems[0].contains("went back"),
        "{:?}",
        store.watch.health()
    );
    let content = everything(&store);
    assert_eq!(instants(&content, &labels(1)).len(), 31);
    assert_eq!(instants(&content, &labels(2)).len(), 30);
    reopened(&disk, store, &config());
}

#[test]
fn samples_too_far_in_the_future_are_refused_and_those_before_are_taken() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    let far = START + FUTURE_MAX.as_millis() as i64;
    let report = take(&store, START, &[(1, far, 1.0), (2, far + 1, 1.0)]);
    assert_eq!((report.appended, report.too_far_future), (1, 1));
    let report = take(&store, START, &[(3, i64::MAX, 1.0), (4, i64::MIN, 1.0)]);
    assert_eq!(report.too_far_future, 1);
    // Who is right is not stopped by who is ahead.
    let report = take(&store, START, &[(5, START, 1.0)]);
    assert_eq!(report.appended, 1);
    reopened(&disk, store, &config());
}

fn of_target(instance: &str, series: std::ops::Range<u32>, t: i64) -> SampleBatch {
    let sample = |i: u32| model::Sample {
        labels: Labels::from_pairs([
            ("__name__", "m".to_owned()),
            ("i", i.to_string()),
            ("instance", instance.to_owned()),
            ("job", "app".to_owned()),
        ]),
        at: at(t),
        value: 1.0,
    };
    series.map(sample).collect::<Vec<_>>().into()
}

#[test]
fn a_target_with_too_many_series_is_named_and_others_are_not_harmed() {
    let disk = FaultyDisk::default();
    let config = Config {
        series_per_target_max: 50,
        ..config()
    };
    let store = open_as(&disk, &config);
    let report = store.append(&of_target("bad:1", 0..80, START), at(START));
    let report = report.unwrap();
    assert_eq!((report.appended, report.target_limit), (50, 30));
    let report = store.append(&of_target("worse:1", 0..200, START), at(START));
    assert_eq!(report.unwrap().target_limit, 150);
    let report = store.append(&of_target("good:1", 0..40, START), at(START));
    assert_eq!(report.unwrap().appended, 40);
    store.maintain(at(START));
    let warnings = store.watch.health().warnings;
    let expect = "job=\"app\", instance=\"worse:1\" has all 50 series a target may \
                  have, 150 samples of new ones refused; 1 more targets have too many";
    assert_eq!(warnings, [expect]);
    // That it is up, or down, is told all the same.
    let mut report = of_target("bad:1", 0..1, START);
    let mut up = report.samples[0].labels.to_builder();
    up.set("__name__", "up");
    report.samples[0].labels = up.build();
    let stored = store.append(&report, at(START)).unwrap();
    assert_eq!((stored.appended, stored.target_limit), (1, 0));
    // The limit holds after a restart too, for the series that are there.
    let store = reopened(&disk, store, &config);
    let next = START + MINUTE;
    let report = store.append(&of_target("bad:1", 0..80, next), at(next));
    let report = report.unwrap();
    assert_eq!((report.appended, report.target_limit), (50, 30));
}

#[test]
fn series_that_come_and_go_leave_no_memory_behind() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    let mut after = Vec::new();
    for minute in 0..48 * 60_i64 {
        let t = START + minute * MINUTE;
        // A container lives for twenty minutes and has ten series; ten others stay.
        let container = of_target(&format!("container{}:1", minute / 20), 0..10, t);
        let lasting = of_target("host:1", 0..10, t);
        for batch in [container, lasting] {
            let report = store.append(&batch, at(t)).unwrap();
            assert_eq!(report.appended, batch.samples.len() as u64);
        }
        if minute % 10 == 0 {
            store.maintain(at(t));
        }
        if minute % (8 * 60) == 8 * 60 - 1 {
            let (series, bytes, ..) = store.figures();
            after.push((series, bytes));
        }
    }
    // Memory has the series of the last hours, whatever came before: 1,440 in all.
    println!("series and head bytes every 8 h: {after:?}");
    let (series, bytes) = after[1];
    assert!(series <= 10 + 10 * 7, "{after:?}");
    for (s, b) in &after[1..] {
        assert!(*s <= series && *b <= bytes + bytes / 5, "{after:?}");
    }
    let store = reopened(&disk, store, &config());
    assert!(store.figures().0 <= series, "{:?}", store.figures());
}

#[test]
fn native_histograms_keep_every_bit_through_head_log_block_and_compaction() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    let labels = Labels::from_pairs([("__name__", "h")]);
    let odd = [
        f64::NAN,
        -0.0,
        5e-324,
        f64::INFINITY,
        f64::from_bits(0x7ff8_0000_dead_beef),
    ];
    let one = |k: i64| Histogram {
        counter_reset_hint: [
            model::CounterResetHint::Unknown,
            model::CounterResetHint::Reset,
            model::CounterResetHint::NotReset,
            model::CounterResetHint::Gauge,
        ][(k / 40) as usize % 4],
        schema: [-4, 0, 3, 8][(k / 60) as usize % 4],
        zero_threshold: odd[(k / 100) as usize % 5].abs(),
        zero_count: k as f64,
        count: 3.0 * k as f64,
        sum: if k % 7 == 0 {
            odd[k as usize % 5]
        } else {
            k as f64 / 7.0
        },
        positive_spans: vec![
            model::Span {
                offset: -3,
                length: 1 + (k / 30) as u32 % 3,
            },
            model::Span {
                offset: 2,
                length: 1,
            },
        ],
        positive_buckets: (0..2 + k / 30 % 3).map(|b| (k + b) as f64).collect(),
        negative_spans: vec![model::Span {
            offset: 0,
            length: 1,
        }],
        negative_buckets: vec![k as f64 / 2.0],
        ..Histogram::default()
    };
    for k in 0..600 {
        let t = START + k * MINUTE;
        let histogram = |t: i64, k: i64| HistogramSample {
            labels: labels.clone(),
            at: Timestamp::from_millis(t),
            histogram: Arc::new(one(k)),
        };
        let mut batch = SampleBatch::default();
        batch.histograms.push(histogram(t, k));
        if k % 10 == 9 {
            // A late one, and the same again.
            batch.histograms.push(histogram(t - 5 * MINUTE - 1, k));
            batch.histograms.push(histogram(t - 5 * MINUTE - 1, k));
        }
        let report = store.append(&batch, at(t)).unwrap();
        assert_eq!(
            report.appended + report.repeated,
            batch.histograms.len() as u64
        );
    }
    let before = everything(&store);
    assert_eq!(before[&labels].len(), 660);
    let store = reopened(&disk, store, &config());
    for k in 0..40 {
        let now = at(START + 600 * MINUTE + k * DAY / 20);
        store.maintain(now);
        assert_eq!(everything(&store), before);
        store.maintain_blocks(now, &super::model_test::policy());
        assert_eq!(everything(&store), before);
    }
    assert!(store.figures().2 > 0, "no block");
    reopened(&disk, store, &config());
}

const DAY: i64 = 24 * HOUR;

#[test]
fn a_deletion_of_what_is_in_memory_survives_a_kill_and_a_power_cut() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    for k in 0..10 {
        let t = START + k * MINUTE;
        take(&store, t, &[(1, t, k as f64), (8, t, 1.0), (2, t, 2.0)]);
    }
    take(&store, START + 9 * MINUTE, &[(1, START + 1, 7.0)]);
    let range = TimeRange::new(at(START), at(START + 4 * MINUTE));
    let matchers = [vec![model::Matcher::equal("__name__", "m1")]];
    let deleted = store.delete_series(&matchers, range).unwrap();
    assert_eq!((deleted.series, deleted.samples), (2, 11));
    let content = everything(&store);
    assert_eq!(instants(&content, &labels(1)).len(), 5);
    assert_eq!(instants(&content, &labels(8)).len(), 5);
    assert_eq!(instants(&content, &labels(2)).len(), 10);
    drop(store);
    disk.power_cut(0);
    let store = open_as(&disk, &config());
    assert_eq!(everything(&store), content);
    // What comes after it is not concerned.
    let report = take(&store, START + 9 * MINUTE, &[(1, START + MINUTE, 3.0)]);
    assert_eq!(report.appended, 1);
    reopened(&disk, store, &config());
}

#[test]
fn readers_never_miss_what_was_there_while_it_moves_to_blocks_and_blocks_are_merged() {
    let disk = FaultyDisk::default();
    let config = Config {
        head_bytes_max: 200_000,
        ..config()
    };
    let store = open_as(&disk, &config);
    let (clock, done) = (AtomicI64::new(START), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let now = at(clock.load(Ordering::Acquire));
                store.maintain(now);
                store.maintain_blocks(now, &super::model_test::policy());
            }
        });
        let reader = scope.spawn(|| {
            let (mut before, mut rounds) = (Content::new(), 0);
            while !done.load(Ordering::Acquire) {
                let now = everything(&store);
                for (labels, points) in &before {
                    let there = now.get(labels);
                    let missing = points
                        .iter()
                        .find(|(t, v)| there.and_then(|p| p.get(t)) != Some(*v));
                    assert_eq!(missing, None, "{labels} after {rounds} rounds");
                }
                (before, rounds) = (now, rounds + 1);
            }
            rounds
        });
        let mut taken = 0;
        for step in 0..1500_i64 {
            let now = START + step * 2 * MINUTE;
            clock.store(now, Ordering::Release);
            let first = step as u32 / 50;
            let mut all: Vec<_> = (first..first + 6).map(|i| (i, now, step as f64)).collect();
            if step % 3 == 0 {
                all.push((first, now - HOUR / 2 - 1, 0.5));
            }
            let report = take(&store, now, &all);
            assert_eq!(report.appended, all.len() as u64, "{report:?}");
            taken += all.len();
        }
        done.store(true, Ordering::Release);
        let rounds = reader.join().unwrap();
        println!("{taken} samples, read {rounds} times");
        let content = everything(&store);
        assert_eq!(
            content
                .values()
                .map(std::collections::BTreeMap::len)
                .sum::<usize>(),
            taken
        );
    });
    assert!(store.figures().2 > 0, "no block");
    reopened(&disk, store, &config);
}

/// Streams of `series` each that began `behind` the fresh ones and go on in order beside them.
fn catch_up(window: Duration, behind: i64) {
    let disk = FaultyDisk::default();
    let config = Config {
        out_of_order_window: window,
        head_bytes_max: 200_000,
        ..config()
    };
    let mut store = open_as(&disk, &config);
    let rounds = 200;
    for round in 0..rounds {
        let now = START + round * 5_000;
        // The fresh one in a batch of its own, as of another sender.
        take(&store, now, &[(0, now, 1.0)]);
        let t = START - behind + round * 15_000;
        let all: Vec<_> = (1..200).map(|i| (i, t, f64::from(i) * t as f64)).collect();
        let report = take(&store, now, &all);
        assert_eq!(report.appended, 199, "round {round}: {report:?}");
        let again = take(&store, now, &all);
        assert_eq!(
            again.appended + again.repeated,
            199,
            "round {round}: {again:?}"
        );
        // As when the memory is full: the floor passes the stream.
        if round == 10 {
            store.flush_all().unwrap();
        }
        if round % 7 == 0 {
            store.maintain(at(now));
            store.maintain_blocks(at(now), &super::model_test::policy());
        }
        if round % 50 == 49 {
            store = reopened(&disk, store, &config);
        }
    }
    assert!(store.figures().2 > 0, "no block");
    let content = everything(&store);
    for i in 0..200 {
        assert_eq!(instants(&content, &labels(i)).len() as i64, rounds, "{i}");
    }
}

#[test]
fn a_stream_that_catches_up_beside_fresh_samples_is_taken_behind_flushes() {
    catch_up(Duration::from_secs(3600), 3 * HOUR);
    catch_up(Duration::ZERO, 3 * HOUR);
    catch_up(Duration::from_secs(3600), 50 * HOUR);
}

#[test]
fn behind_blocks_the_newest_sample_of_a_series_is_taken_as_far_back_as_anything_is_kept() {
    let disk = FaultyDisk::default();
    let store = open_as(&disk, &config());
    take(&store, START, &[(1, START, 1.0)]);
    store.flush_all().unwrap();
    let take = |t| {
        let report = take(&store, START, &[(2, t, 1.0)]);
        (report.appended, report.late, report.too_old)
    };
    let kept = config().retention_metrics.as_millis() as i64;
    assert_eq!(take(START - kept - 1), (0, 0, 1));
    assert_eq!(take(START - kept), (1, 1, 0));
    assert_eq!(take(START - 30 * HOUR), (1, 1, 0));
    // Out of order in itself: the window is for that.
    assert_eq!(take(START - 31 * HOUR), (0, 0, 1));
    assert_eq!(take(START - 29 * HOUR), (1, 1, 0));
    assert_eq!(everything(&store)[&labels(2)].len(), 3);
}
