use std::collections::BTreeMap;
use std::time::Duration;

use model::{Sample, SampleBatch, Samples, SeriesReader as _, Timestamp};

use super::*;
use crate::Storage;
use crate::store::testing::{self, NOW, open};

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn floats(times: impl IntoIterator<Item = i64>) -> Samples {
    Samples {
        floats: times
            .into_iter()
            .map(|t| FPoint { t, v: t as f64 })
            .collect(),
        histograms: Vec::new(),
    }
}

/// The instants of each series; values are instants too.
fn read(storage: &Storage) -> BTreeMap<String, Vec<i64>> {
    let times = |floats: Vec<(i64, f64)>| {
        assert!(floats.iter().all(|(t, v)| *v == *t as f64));
        floats.into_iter().map(|(t, _)| t).collect()
    };
    let all = testing::read(storage).into_iter();
    all.map(|(name, floats)| (name, times(floats))).collect()
}

#[test]
fn days_become_blocks_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    let start = NOW - 3 * DAY_MS;
    let times = || (0..200).map(|i| start + i * 900_000);
    import.add(&labels("a"), &floats(times())).unwrap();
    import.add(&labels("b"), &floats(times().take(50))).unwrap();
    import.add(&labels("b"), &floats(times().skip(50))).unwrap();
    assert!(
        read(&storage).is_empty(),
        "nothing is visible before the end"
    );
    let report = import.finish().unwrap();
    assert_eq!((report.samples, report.blocks), (400, 3));
    assert_eq!(report.range, Some((start, start + 199 * 900_000)));
    let expect: BTreeMap<_, _> = [
        ("a".to_owned(), times().collect()),
        ("b".to_owned(), times().collect()),
    ]
    .into();
    assert_eq!(read(&storage), expect);
    drop(storage);
    assert_eq!(read(&open(dir.path())), expect);
}

#[test]
fn samples_of_the_past_come_beside_what_is_in_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let sample = Sample {
        labels: labels("a"),
        at: Timestamp::from_millis(NOW),
        value: NOW as f64,
    };
    let batch = SampleBatch::from(vec![sample]);
    storage
        .append_samples(&batch, Timestamp::from_millis(NOW))
        .unwrap();
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    import
        .add(&labels("a"), &floats([NOW - 90_000, NOW - 60_000, NOW]))
        .unwrap();
    import.finish().unwrap();
    let expect = vec![NOW - 90_000, NOW - 60_000, NOW];
    assert_eq!(read(&storage)["a"], expect);
    drop(storage);
    assert_eq!(read(&open(dir.path()))["a"], expect);
}

#[test]
fn the_first_value_of_an_instant_stays_whatever_is_imported_or_merged_later() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let at = |t| Timestamp::from_millis(t);
    let import = |points: &[(i64, f64)]| {
        let floats = points.iter().map(|(t, v)| FPoint { t: *t, v: *v });
        let samples = Samples {
            floats: floats.collect(),
            histograms: Vec::new(),
        };
        let mut import = storage.import(at(NOW)).unwrap();
        import.add(&labels("a"), &samples).unwrap();
        import.finish().unwrap();
    };
    import(&[(NOW - 60_000, 1.0)]);
    let sample = Sample {
        labels: labels("a"),
        at: at(NOW - 30_000),
        value: 2.0,
    };
    storage
        .append_samples(&vec![sample].into(), at(NOW))
        .unwrap();
    // Each begins earlier than what is there.
    import(&[
        (NOW - 90_000, 3.0),
        (NOW - 60_000, 30.0),
        (NOW - 30_000, 30.0),
    ]);
    import(&[
        (NOW - 120_000, 4.0),
        (NOW - 90_000, 40.0),
        (NOW - 60_000, 40.0),
    ]);
    let expect = [
        (NOW - 120_000, 4.0),
        (NOW - 90_000, 3.0),
        (NOW - 60_000, 1.0),
        (NOW - 30_000, 2.0),
    ];
    assert_eq!(testing::read(&storage)["a"], expect);
    storage.close().unwrap();
    let storage = open(dir.path());
    assert_eq!(testing::read(&storage)["a"], expect);
    for _ in 0..5 {
        storage.maintain(at(NOW + 2 * DAY_MS));
    }
    assert_eq!(storage.blocks().len(), 1);
    assert_eq!(testing::read(&storage)["a"], expect);
    drop(storage);
    assert_eq!(testing::read(&open(dir.path()))["a"], expect);
}

#[test]
fn blocks_do_not_each_take_an_open_file() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let config = crate::Config {
            dir: dir.path().to_owned(),
            retention_metrics: Duration::from_secs(1000 * 24 * 3600),
            ..crate::Config::default()
        };
        let registry = &mut prometheus_client::registry::Registry::default();
        Storage::open(config, Timestamp::from_millis(NOW), registry).unwrap()
    };
    let storage = open();
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    let times = || (0..80).map(|day| NOW - (80 - day) * DAY_MS);
    import.add(&labels("a"), &floats(times())).unwrap();
    assert_eq!(import.finish().unwrap().blocks, 80);
    let open_files = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = all.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        targets.filter(|file| file.starts_with(dir.path())).count()
    };
    let expect: BTreeMap<_, _> = [("a".to_owned(), times().collect())].into();
    assert_eq!(read(&storage), expect);
    assert!(open_files() < 20, "{}", open_files());
    drop(storage);
    let storage = open();
    assert_eq!(read(&storage), expect);
    assert!(open_files() < 20, "{}", open_files());
}

#[test]
fn any_order_of_series_and_time_comes_out_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    for name in ["c", "a", "b", "a"] {
        let times = [
            NOW - 5_000,
            NOW - 9_000,
            NOW - 7_000,
            NOW - 9_000,
            NOW + DAY_MS,
        ];
        import.add(&labels(name), &floats(times)).unwrap();
    }
    for t in [NOW - 1_000, NOW - 2_000] {
        import
            .add_unsorted(&labels("d"), FPoint { t, v: t as f64 })
            .unwrap();
    }
    let report = import.finish().unwrap();
    assert_eq!(report.too_far_future, 4);
    assert_eq!(report.duplicates, 4);
    let times = vec![NOW - 9_000, NOW - 7_000, NOW - 5_000];
    let all = read(&storage);
    assert_eq!([&all["a"], &all["b"], &all["c"]], [&times; 3]);
    assert_eq!(all["d"], [NOW - 2_000, NOW - 1_000]);
}

#[test]
fn an_import_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    for day in 0..60 {
        import
            .add(&labels("a"), &floats([NOW - (60 - day) * DAY_MS]))
            .unwrap();
    }
    drop(import);
    assert!(read(&storage).is_empty());
    let blocks = std::fs::read_dir(dir.path().join("metrics/blocks")).unwrap();
    assert_eq!(blocks.count(), 0);
}

/// 26 hours that end now, a sample a minute, of a gauge, a counter and one that `rules` speak of.
fn a_day_rolled_up_after_one_restart(
    before_now: i64,
    metrics: Duration,
    rules: Vec<(Vec<model::Matcher>, Duration)>,
) {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let mut import = storage.import(Timestamp::from_millis(NOW)).unwrap();
    let start = NOW - before_now;
    let times = || (0..26 * 60).map(|i| start + i * 60_000);
    for name in ["debug", "gauge", "x_total"] {
        import.add(&labels(name), &floats(times())).unwrap();
    }
    import.finish().unwrap();
    storage.close().unwrap();
    let config = crate::Config {
        dir: dir.path().to_owned(),
        retention_metrics: metrics,
        retention_rules: rules,
        rollups: vec![crate::Rollup {
            resolution: Duration::from_secs(300),
            retention: Duration::from_secs(90 * 24 * 3600),
        }],
        ..crate::Config::default()
    };
    let at = |t| Timestamp::from_millis(t);
    let registry = &mut prometheus_client::registry::Registry::default();
    let storage = Storage::open(config, at(NOW), registry).unwrap();
    // Until nothing but roll-ups is left, while something else goes on.
    for hours in 0..4 * 24 {
        let now = at(NOW + hours * 3_600_000);
        let sample = Sample {
            labels: labels("alive"),
            at: now,
            value: 1.0,
        };
        storage.append_samples(&vec![sample].into(), now).unwrap();
        storage.maintain(now);
    }
    let of_the_import = |b: &&crate::BlockFigures| b.start_ms < NOW;
    let blocks = storage.blocks();
    assert!(
        blocks
            .iter()
            .filter(of_the_import)
            .all(|b| b.resolution_ms > 0)
    );
    let imported = model::Matcher::new("__name__", model::MatchOp::NotEqual, "alive").unwrap();
    for (function, expect) in [
        ("sum_over_time", times().map(|t| t as f64).sum::<f64>()),
        ("count_over_time", times().count() as f64),
    ] {
        let selection = model::Selection {
            range: model::TimeRange::ALL,
            matchers: std::slice::from_ref(&imported),
            hints: model::Hints {
                function,
                ..model::Hints::default()
            },
        };
        let mut names = Vec::new();
        for mut series in storage.select(&selection).unwrap() {
            let mut samples = Samples::default();
            while series.cursor.next_run(&mut samples).unwrap() {}
            let found = match function {
                // As many points as there were samples.
                "count_over_time" => samples.floats.len() as f64,
                _ => samples.floats.iter().map(|p| p.v).sum(),
            };
            assert_eq!(found, expect, "{function} {}", series.labels);
            names.push(series.labels.metric_name().to_owned());
        }
        assert_eq!(names, ["debug", "gauge", "x_total"]);
    }
}

#[test]
fn what_a_shorter_retention_removes_has_been_rolled_up_before() {
    let hours = |h: u64| Duration::from_secs(h * 3600);
    let debug = |keep| vec![(vec![model::Matcher::equal("__name__", "debug")], keep)];
    for age in [26, 1000] {
        a_day_rolled_up_after_one_restart(age * 3_600_000, hours(6), Vec::new());
        a_day_rolled_up_after_one_restart(age * 3_600_000, hours(6), debug(hours(1)));
        a_day_rolled_up_after_one_restart(age * 3_600_000, hours(6), debug(hours(48)));
    }
}
