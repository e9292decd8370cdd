//! What other systems send us and read from us: requests made from the published specifications,
//! and real senders and readers.

mod exporter;
mod hostile;
mod messages;
mod otlp;
mod peers;
mod same_as_prometheus;
mod scraped;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stackwatch_tests::http::{self, Response};
use stackwatch_tests::protobuf::Message;
use stackwatch_tests::stackwatch::Stackwatch;

const RECEIVERS: &str = "server: { remote_write_receiver: true, otlp_receiver: true }\n\
                         collect: { docker: false, interval: 1h }\n";
const STALE: u64 = 0x7ff0_0000_0000_0002;

fn start(dir: &Path) -> Stackwatch {
    Stackwatch::start(dir, RECEIVERS)
}

/// Milliseconds since the epoch.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis() as i64
}

const ONE: &str = "application/x-protobuf";
const TWO: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Sends a remote write request as it is.
fn post(address: &str, content_type: &str, body: &[u8]) -> Response {
    let headers = [
        ("Content-Type", content_type),
        ("Content-Encoding", "snappy"),
    ];
    http::request("POST", address, "/api/v1/write", &headers, body).unwrap()
}

/// What 2.0 says was written: samples, histograms, exemplars.
fn written(response: &Response) -> [&str; 3] {
    ["samples", "histograms", "exemplars"].map(|what| {
        let name = format!("x-prometheus-remote-write-{what}-written");
        response.header(&name).unwrap_or("none")
    })
}

/// The only series of a raw range query at `t` milliseconds, its values or histograms.
fn raw(address: &str, selector: &str, t: i64, field: &str) -> Vec<Value> {
    let query = http::encode(&format!("{selector}[1h]"));
    let path = format!("/api/v1/query?query={query}&time={}", t as f64 / 1000.0);
    let answer = http::request("GET", address, &path, &[], "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let result = answer["data"]["result"].as_array().unwrap();
    assert!(result.len() <= 1, "{answer}");
    result.first().map_or_else(Vec::new, |series| {
        series[field].as_array().cloned().unwrap_or_default()
    })
}

/// Whether two points are the same: all but the boundaries of buckets to the last bit. (Those
/// are powers of two with fractions, of which Prometheus has a table that is rounded down here
/// and there.)
fn same(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_str().and_then(|s| s.parse::<f64>().ok());
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let exact = ["count", "sum"]
                .iter()
                .all(|name| a.get(*name) == b.get(*name));
            let pair = (a.get("buckets"), b.get("buckets"));
            exact
                && match pair {
                    (Some(a), Some(b)) => same(a, b),
                    (a, b) => a == b,
                }
        }
        // Rule, lower, upper, count; the count is whole or a half in these tests.
        (Value::String(_), Value::String(_)) => match (number(a), number(b)) {
            (Some(x), Some(y)) => a == b || (x - y).abs() <= 3e-16 * x.abs(),
            _ => a == b,
        },
        _ => a == b,
    }
}

/// A series of 1.0.
fn series_one(labels: &[(&[u8], &[u8])], samples: &[(i64, f64)]) -> Message {
    let mut series = Message::new();
    for (name, value) in labels {
        series = series.message(1, Message::new().bytes(1, name).bytes(2, value));
    }
    for (t, v) in samples {
        series = series.message(2, Message::new().double(1, *v).varint(2, *t));
    }
    series
}

/// `name{job="wire"}` of 1.0.
fn named(name: &str, samples: &[(i64, f64)]) -> Message {
    let labels: [(&[u8], &[u8]); 2] = [(b"__name__", name.as_bytes()), (b"job", b"wire")];
    series_one(&labels, samples)
}

/// The shapes of histograms that exist, at `t`; the fields are those of 1.0 and 2.0. With each,
/// what our API says of it: count, sum, and buckets as boundaries, lower, upper, count.
fn histograms(t: i64) -> Vec<(&'static str, Message, Value)> {
    let span = |offset, length: u32| Message::new().sint(1, offset).varint(2, length);
    let whole = Message::new()
        .varint(1, 11_u64)
        .double(3, 18.4)
        .sint(4, 0)
        .double(5, 0.001)
        .varint(6, 2_u64)
        .message(8, span(0, 1))
        .sints(9, &[1])
        .message(11, span(0, 2))
        .message(11, span(1, 2))
        .sints(12, &[1, 1, -1, 3])
        .varint(15, t);
    let gauge = Message::new()
        .double(2, 2.5)
        .double(3, -1.25)
        .sint(4, 3)
        .double(5, 1e-128)
        .double(7, 0.5)
        .message(11, span(-3, 1))
        .doubles(13, &[2.0])
        .varint(14, 3)
        .varint(15, t)
        .varint(17, t - 1000);
    let custom = Message::new()
        .varint(1, 6_u64)
        .double(3, 9.5)
        .sint(4, -53)
        .message(11, span(0, 3))
        .sints(12, &[1, 1, 1])
        .varint(15, t)
        .doubles(16, &[0.1, 2.0]);
    // Buckets 1 and 2 of schema 9 are bucket 1 of schema 8.
    let fine = Message::new()
        .varint(1, 5_u64)
        .double(3, 5.0)
        .sint(4, 9)
        .message(11, span(1, 2))
        .sints(12, &[2, 1])
        .varint(15, t);
    let fine_bound = 2_f64.powf(1.0 / 256.0).to_string();
    vec![
        (
            "whole",
            whole,
            serde_json::json!({"count": "11", "sum": "18.4", "buckets": [
                [1, "-1", "-0.5", "1"], [3, "-0.001", "0.001", "2"], [0, "0.5", "1", "1"],
                [0, "1", "2", "2"], [0, "4", "8", "1"], [0, "8", "16", "4"]]}),
        ),
        (
            "gauge",
            gauge,
            serde_json::json!({"count": "2.5", "sum": "-1.25", "buckets": [
                [3, "-1e-128", "1e-128", "0.5"],
                [0, "0.7071067811865475", "0.7711054127039704", "2"]]}),
        ),
        (
            "custom",
            custom,
            serde_json::json!({"count": "6", "sum": "9.5", "buckets": [
                [3, "-Inf", "0.1", "1"], [0, "0.1", "2", "2"], [0, "2", "+Inf", "3"]]}),
        ),
        (
            "fine",
            fine,
            serde_json::json!({"count": "5", "sum": "5", "buckets": [
                [0, "1", fine_bound, "5"]]}),
        ),
    ]
}
