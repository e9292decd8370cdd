//! Results as Loki's JSON.

use std::time::Duration;

use model::{Labels, Timestamp, number};
use query::logql::eval::{Entry, Evaluation, Series, Stats, Stream, Value};

use crate::api::json;

/// How a result is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// The client wants metadata and parsed labels as a third element instead of among the labels.
    pub(super) categorized: bool,
    /// The instant of a query at one instant.
    pub(super) at: Timestamp,
    /// How long it took.
    pub(super) took: Duration,
}

/// The whole answer.
pub(super) fn write(done: &Evaluation, shown: Shown) -> String {
    let mut out = String::from("{\"status\":\"success\",");
    if !done.warnings.is_empty() {
        out.push_str("\"warnings\":");
        json::array(&mut out, &done.warnings, |out, text| {
            json::string(out, text);
        });
        out.push(',');
    }
    // Grafana reads on without looking back: how entries are written must stand before them.
    out.push_str("\"data\":{\"resultType\":");
    out.push_str(match (&done.value, shown.categorized) {
        (Value::Streams(_), false) => "\"streams\"",
        (Value::Streams(_), true) => "\"streams\",\"encodingFlags\":[\"categorize-labels\"]",
        (Value::Matrix(_), _) => "\"matrix\"",
        (Value::Vector(_), _) => "\"vector\"",
        (Value::Scalar(_), _) => "\"scalar\"",
    });
    out.push_str(",\"result\":");
    let mut returned = 0;
    match &done.value {
        Value::Streams(streams) => {
            returned = streams.iter().map(|s| s.entries.len()).sum();
            json::array(&mut out, streams, |out, s| stream(out, s, shown));
        }
        Value::Matrix(series) => {
            returned = series.iter().map(|s| s.points.len()).sum();
            json::array(&mut out, series, matrix_row);
        }
        Value::Vector(samples) => {
            returned = samples.len();
            json::array(&mut out, samples, |out, (labels, value)| {
                vector_row(out, labels, shown.at, *value);
            });
        }
        Value::Scalar(value) => {
            point(&mut out, shown.at, *value);
        }
    }
    stats(&mut out, &done.stats, returned, shown.took);
    out.push_str("}}");
    out
}

fn stream(out: &mut String, stream: &Stream, shown: Shown) {
    out.push_str("{\"stream\":");
    json::labels(out, &stream.labels);
    out.push_str(",\"values\":");
    json::array(out, &stream.entries, |out, e| entry(out, e, shown));
    out.push('}');
}

fn entry(out: &mut String, entry: &Entry, shown: Shown) {
    out.push_str("[\"");
    out.push_str(&entry.at_ns.to_string());
    out.push_str("\",");
    json::string(out, &entry.line);
    if shown.categorized {
        apart(out, &entry.metadata, &entry.parsed);
    }
    out.push(']');
}

/// The third element of an entry.
pub(super) fn apart(out: &mut String, metadata: &Labels, parsed: &Labels) {
    let mut separator = ",{";
    for (key, labels) in [
        ("\"structuredMetadata\":", metadata),
        ("\"parsed\":", parsed),
    ] {
        if !labels.is_empty() {
            out.push_str(separator);
            out.push_str(key);
            json::labels(out, labels);
            separator = ",";
        }
    }
    out.push_str(if separator == "," { "}" } else { ",{}" });
}

pub(super) fn matrix_row(out: &mut String, series: &Series) {
    out.push_str("{\"metric\":");
    json::labels(out, &series.labels);
    out.push_str(",\"values\":");
    json::array(out, &series.points, |out, (at, value)| {
        point(out, *at, *value);
    });
    out.push('}');
}

pub(super) fn vector_row(out: &mut String, labels: &Labels, at: Timestamp, value: f64) {
    out.push_str("{\"metric\":");
    json::labels(out, labels);
    out.push_str(",\"value\":");
    point(out, at, value);
    out.push('}');
}

fn point(out: &mut String, at: Timestamp, value: f64) {
    out.push('[');
    json::timestamp(out, at);
    out.push_str(",\"");
    out.push_str(&number::format_fixed(value));
    out.push_str("\"]");
}

/// What Grafana shows of it, and the names a client may look for.
pub(super) fn stats(out: &mut String, stats: &Stats, returned: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    let per_second = |n: u64| match n {
        0 => 0,
        n => (n as f64 / seconds.max(1e-6)) as u64,
    };
    out.push_str(&format!(
        ",\"stats\":{{\"summary\":{{\"bytesProcessedPerSecond\":{},\"linesProcessedPerSecond\":{},\"totalBytesProcessed\":{},\"totalLinesProcessed\":{},\"execTime\":{seconds},\"queueTime\":0,\"subqueries\":0,\"totalEntriesReturned\":{returned},\"splits\":0,\"shards\":0,\"totalPostFilterLines\":{},\"totalStructuredMetadataBytesProcessed\":{}}},\"querier\":{{}},\"ingester\":{{}},\"cache\":{{}},\"index\":{{}}}}",
        per_second(stats.bytes),
        per_second(stats.lines),
        stats.bytes,
        stats.lines,
        stats.lines_kept,
        stats.metadata_bytes,
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Value, categorized: bool) -> String {
        let done = Evaluation {
            value,
            stats: Stats::default(),
            warnings: Vec::new(),
            is_full: false,
        };
        let text = write(
            &done,
            Shown {
                categorized,
                at: Timestamp::from_millis(1500),
                took: Duration::from_millis(2),
            },
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let (result, _) = text.split_once(",\"stats\"").unwrap();
        result.to_owned()
    }

    #[test]
    fn results_have_lokis_shapes() {
        let labels = Labels::from_pairs([("a", "b")]);
        let at = Timestamp::from_millis(1000);
        for (value, expect) in [
            (Value::Scalar(2.0), r#""scalar","result":[1.500,"2"]"#),
            (
                Value::Vector(vec![(labels.clone(), 1e21)]),
                r#""vector","result":[{"metric":{"a":"b"},"value":[1.500,"1000000000000000000000"]}]"#,
            ),
            (
                Value::Matrix(vec![Series {
                    labels: labels.clone(),
                    points: vec![(at, f64::NAN), (at, f64::INFINITY)],
                }]),
                r#""matrix","result":[{"metric":{"a":"b"},"values":[[1,"NaN"],[1,"+Inf"]]}]"#,
            ),
        ] {
            assert_eq!(
                shown(value, false),
                format!("{{\"status\":\"success\",\"data\":{{\"resultType\":{expect}")
            );
        }
        let entry = |metadata: &Labels, parsed: &Labels| Entry {
            at_ns: 7,
            line: "x\"".to_owned(),
            metadata: metadata.clone(),
            parsed: parsed.clone(),
        };
        let none = Labels::empty();
        let streams = Value::Streams(vec![Stream {
            labels: labels.clone(),
            entries: vec![
                entry(&none, &none),
                entry(&labels, &none),
                entry(&none, &labels),
                entry(&labels, &labels),
            ],
        }]);
        assert_eq!(
            shown(streams.clone(), true),
            r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"a":"b"},"values":[["7","x\"",{}],["7","x\"",{"structuredMetadata":{"a":"b"}}],["7","x\"",{"parsed":{"a":"b"}}],["7","x\"",{"structuredMetadata":{"a":"b"},"parsed":{"a":"b"}}]]}]"#
        );
        assert!(shown(streams, false).contains(r#"[["7","x\""],["7","#));
    }
}
