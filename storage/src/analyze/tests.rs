use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Sample, SampleBatch, Timestamp};

use super::*;
use crate::store::testing::{NOW, open};

#[test]
fn series_samples_churn_and_values_are_counted_over_blocks_and_head() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    // Four hours: half of it goes to a block.
    for i in 0..240_i64 {
        let at = Timestamp::from_millis(NOW - 4 * 3_600_000 + i * 60_000);
        let sample = |name: &str, pod: i64, value: f64| Sample {
            labels: Labels::from_pairs([
                ("__name__", name.to_owned()),
                ("job", "x".to_owned()),
                ("pod", pod.to_string()),
            ]),
            at,
            value,
        };
        // A pod lives half an hour.
        let batch = vec![
            sample("steady", 0, 1.0),
            sample("steady", 1, i as f64),
            sample("churning", i / 30, (i as f64).sin()),
        ];
        let report = storage
            .append_samples(&SampleBatch::from(batch), at)
            .unwrap();
        assert_eq!(report.appended, 3);
    }
    storage.maintain(Timestamp::from_millis(NOW));
    assert!(storage.stats().blocks > 0);

    let blocks = storage.blocks();
    assert_eq!(blocks.len() as u64, storage.stats().blocks);
    assert!(blocks.iter().all(|b| b.start_ms < b.end_ms && b.bytes > 0));
    assert!(blocks.iter().all(|b| b.series <= 10 && b.samples > 0));

    let none = ReadBounds::default();
    let (pieces, head) = storage.head_figures(&none).unwrap();
    let (first_t, last_t) = head.unwrap();
    assert!(
        pieces >= 3 && NOW - 4 * 3_600_000 < first_t && last_t < NOW,
        "{pieces}"
    );
    let analysis = storage.analyze(TimeRange::ALL, 10, &none).unwrap();
    assert_eq!(analysis.series, 10);
    assert_eq!(analysis.samples, 720);
    assert!(analysis.samples_on_disk > 0 && analysis.samples_on_disk <= 720);
    assert!(analysis.block_bytes > 0 && !analysis.is_partial);
    let names = |list: &[MetricUsage]| list.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&analysis.metrics_by_series), ["churning", "steady"]);
    assert_eq!(names(&analysis.metrics_by_bytes), ["churning", "steady"]);
    let churning = &analysis.metrics_by_churn[0];
    assert_eq!(
        (
            churning.series,
            churning.samples,
            churning.created,
            churning.ended
        ),
        (8, 240, 7, 7)
    );
    assert_eq!(names(&analysis.metrics_by_churn), ["churning"]);
    let pod = &analysis.labels_by_values[0];
    assert_eq!((pod.name.as_str(), pod.values, pod.series), ("pod", 8, 10));
    assert_eq!(pod.series_without, 2, "one for each metric name");
    let job = &analysis.pairs_by_series[0];
    assert_eq!(
        (job.name.as_str(), job.value.as_str(), job.series),
        ("job", "x", 10)
    );

    let start = Timestamp::from_millis(NOW - 600_000);
    let range = TimeRange::new(start, Timestamp::MAX);
    let late = storage.analyze(range, 1, &none).unwrap();
    let canceled = ReadBounds {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..none
    };
    let outcome = storage.analyze(range, 1, &canceled);
    assert!(matches!(outcome, Err(ReadError::Canceled)));
    assert_eq!((late.series, late.metrics_by_series.len()), (3, 1));
}
