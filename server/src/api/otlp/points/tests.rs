use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use model::SampleBatch;
use proptest::prelude::*;
use storage::AppendReport;

use super::*;
use crate::wire::otlp::json::to_protobuf;

/// What a request becomes: series, times and values as text, and the tally.
fn received(json: &str) -> (Vec<String>, crate::api::receive::Tally) {
    let bytes = to_protobuf(json.as_bytes()).unwrap();
    let stored = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&stored);
    let append = move |batch: &SampleBatch| {
        let mut into = into.lock().unwrap();
        for s in &batch.samples {
            into.push(format!("{} {} {}", s.labels, s.value, s.at.millis()));
        }
        for s in &batch.histograms {
            let h = &s.histogram;
            into.push(format!(
                "{} count {} zero {} schema {} {:?} {:?}",
                s.labels,
                h.count,
                h.zero_count,
                h.schema,
                h.positive_spans
                    .iter()
                    .map(|s| (s.offset, s.length))
                    .collect::<Vec<_>>(),
                h.positive_buckets
            ));
        }
        Ok(AppendReport {
            appended: (batch.samples.len() + batch.histograms.len()) as u64,
            ..AppendReport::default()
        })
    };
    let cancel = AtomicBool::new(false);
    let mut receiver = Receiver::new(&append, &cancel);
    let done = receive(&bytes, &mut receiver, &MetadataTable::default());
    assert!(done.is_ok());
    let tally = receiver.finish().unwrap();
    let lines = stored.lock().unwrap().clone();
    (lines, tally)
}

fn request(metric: &str) -> String {
    let attributes = [
        ("service.namespace", "shop"),
        ("service.name", "cart"),
        ("service.instance.id", "i-1"),
        ("host.name", "box"),
    ]
    .map(|(k, v)| format!(r#"{{"key":"{k}","value":{{"stringValue":"{v}"}}}}"#))
    .join(",");
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{attributes}]}},"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#
    )
}

const ATTRIBUTES: &str = r#""timeUnixNano":"5000000000","attributes":[{"key":"http.method","value":{"stringValue":"GET"}},{"key":"http_method","value":{"intValue":7}}]"#;
const OWN: &str = r#"http_method="GET;7", instance="i-1", job="shop/cart""#;
const TARGET_INFO: &str = r#"target_info{host_name="box", instance="i-1", job="shop/cart"} 1 5000"#;

#[test]
fn sums_gauges_and_the_target_are_series() {
    let sum = format!(
        r#"{{"name":"requests","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{{ATTRIBUTES},"asInt":"3"}}]}}}},
           {{"name":"load","unit":"1","gauge":{{"dataPoints":[{{{ATTRIBUTES},"asDouble":0.5}},{{{ATTRIBUTES},"flags":1}}]}}}}"#
    );
    let (lines, tally) = received(&request(&sum));
    assert_eq!(
        lines,
        [
            format!("requests_total{{{OWN}}} 3 5000"),
            format!("load_ratio{{{OWN}}} 0.5 5000"),
            format!("load_ratio{{{OWN}}} NaN 5000"),
            TARGET_INFO.to_owned(),
        ]
    );
    assert_eq!(tally.invalid, 0);
}

#[test]
fn delta_sums_are_refused_by_name() {
    let sum = format!(
        r#"{{"name":"requests","sum":{{"aggregationTemporality":1,"dataPoints":[{{{ATTRIBUTES},"asInt":"3"}}]}}}}"#
    );
    let (lines, tally) = received(&request(&sum));
    assert_eq!(lines, [""; 0]);
    assert_eq!(tally.invalid, 1);
    assert!(
        tally.complaint().contains("temporality"),
        "{}",
        tally.complaint()
    );
    assert!(
        tally.complaint().contains("requests"),
        "{}",
        tally.complaint()
    );
}

#[test]
fn histograms_and_summaries_have_their_parts() {
    let metrics = format!(
        r#"{{"name":"took","unit":"s","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{ATTRIBUTES},"count":"6","sum":9.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.1,2]}}]}}}},
           {{"name":"size","summary":{{"dataPoints":[{{{ATTRIBUTES},"count":2,"sum":3,"quantileValues":[{{"quantile":0.5,"value":1}}]}}]}}}}"#
    );
    let (lines, _) = received(&request(&metrics));
    let le = |le: &str| format!("took_seconds_bucket{{{OWN}, le=\"{le}\"}}");
    assert_eq!(
        lines,
        [
            format!("took_seconds_sum{{{OWN}}} 9.5 5000"),
            format!("took_seconds_count{{{OWN}}} 6 5000"),
            format!("{} 1 5000", le("0.1")),
            format!("{} 3 5000", le("2")),
            format!("{} 6 5000", le("+Inf")),
            format!("size_sum{{{OWN}}} 3 5000"),
            format!("size_count{{{OWN}}} 2 5000"),
            format!("size{{{OWN}, quantile=\"0.5\"}} 1 5000"),
            TARGET_INFO.to_owned(),
        ]
    );
}

#[test]
fn exponential_histograms_become_native_ones() {
    let metric = |scale: i32, counts: &str| {
        request(&format!(
            r#"{{"name":"took","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{{{ATTRIBUTES},"count":"10","sum":1,"scale":{scale},"zeroCount":1,"positive":{{"offset":-1,"bucketCounts":{counts}}}}}]}}}}"#
        ))
    };
    // Small gaps are filled with empty buckets, large ones start another run.
    let (lines, _) = received(&metric(3, "[1,0,2,0,0,0,4]"));
    assert_eq!(
        lines[1],
        format!("took{{{OWN}}} count 10 zero 1 schema 3 [(0, 3), (3, 1)] [1.0, 0.0, 2.0, 4.0]")
    );
    // Two halvings: buckets -1 | 0 1 2 3 | 4 5.
    let (lines, _) = received(&metric(10, "[1,2,3,4,5,6,7]"));
    assert_eq!(
        lines[1],
        format!("took{{{OWN}}} count 10 zero 1 schema 8 [(0, 3)] [1.0, 14.0, 13.0]")
    );
    let (_, tally) = received(&metric(-5, "[1]"));
    assert_eq!(tally.invalid, 1);
}

proptest! {
    #[test]
    fn sparse_buckets_keep_every_count(
        offset in any::<i32>(),
        counts in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..100], 0..60),
        scale_down in 0..100_i32,
    ) {
        let all: u64 = counts.iter().sum();
        let (spans, buckets) = sparse(&Buckets { offset, counts }, scale_down);
        prop_assert_eq!(buckets.iter().sum::<f64>(), all as f64);
        let named: u32 = spans.iter().map(|s| s.length).sum();
        prop_assert_eq!(named as usize, buckets.len());
    }

    #[test]
    fn damaged_requests_never_panic(at in 0_usize..400, to in any::<u8>(), cut in 0_usize..400) {
        let json = request(&format!(
            r#"{{"name":"took","unit":"s","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{ATTRIBUTES},"count":"6","sum":9.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.1,2]}}]}}}}"#
        ));
        let mut bytes = to_protobuf(json.as_bytes()).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.truncate(bytes.len() - cut % 20);
        let append = |_: &SampleBatch| Ok(AppendReport::default());
        let cancel = AtomicBool::new(false);
        let mut receiver = Receiver::new(&append, &cancel);
        let _ = receive(&bytes, &mut receiver, &MetadataTable::default());
    }
}
