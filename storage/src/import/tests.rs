use std::collections::BTreeMap;

use model::{Sample, SampleBatch, Samples, Timestamp};

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
