//! What other systems send: remote write 1.0 and 2.0, remote read, Loki's pushes, OTLP as protobuf
//! and JSON, snappy. The first byte says which. Nothing panics, and a histogram that is taken means
//! something: its spans name its buckets.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the server's module, of which only decoders are used")]

use libfuzzer_sys::fuzz_target;

#[path = "../../server/src"]
mod server {
    pub(crate) mod wire;
}

use server::wire::remote_write::{Item, Request, Series, Version};
use server::wire::{histogram, loki_push, otlp, remote_read, snappy};

fuzz_target!(|input: &[u8]| {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    match which % 8 {
        0 => remote_write(Version::One, bytes),
        1 => remote_write(Version::Two, bytes),
        2 => drop(remote_read::decode(bytes)),
        3 => otlp(bytes),
        4 => {
            if let Ok(request) = otlp::json::to_protobuf(bytes) {
                otlp(&request);
            }
        }
        5 => logs(bytes),
        6 => {
            if let Ok(request) = serde_json::from_slice::<loki_push::JsonRequest>(bytes) {
                let _ = request.streams::<()>(|stream| stream.entries(|_| Ok(())));
            }
            if let Ok(request) = otlp::json::logs_to_protobuf(bytes) {
                logs(&request);
            }
        }
        _ => {
            if let Ok(decoded) = snappy::decode(bytes) {
                remote_write(Version::One, &decoded);
            }
        }
    }
});

/// As Loki's push request and as OTLP logs.
fn logs(bytes: &[u8]) {
    for stream in loki_push::streams(bytes).flatten() {
        assert!(stream.entries().count() <= bytes.len());
    }
    for of_resource in otlp::logs::resources(bytes).flatten() {
        let _ = otlp::logs::resource(of_resource);
        for of_scope in otlp::logs::scopes(of_resource).flatten() {
            let _ = otlp::logs::scope(of_scope);
            assert!(otlp::logs::records(of_scope).count() <= bytes.len());
        }
    }
}

fn remote_write(version: Version, bytes: &[u8]) {
    let Ok(mut request) = Request::new(version, bytes) else {
        return;
    };
    let mut series = Series::default();
    while let Ok(Some(item)) = request.next(&mut series) {
        let Item::Series = item else { continue };
        if let Ok(labels) = series.labels() {
            let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        }
        for message in &series.histograms {
            let Ok((at, Ok(h))) = histogram::decode(message) else {
                continue;
            };
            assert!(matches!(h.schema, -53 | -4..=8));
            for (spans, buckets) in [
                (&h.positive_spans, &h.positive_buckets),
                (&h.negative_spans, &h.negative_buckets),
            ] {
                let named: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
                assert_eq!(named, buckets.len() as u64);
            }
            // What is sent on is read back.
            let mut again = Vec::new();
            histogram::encode(&mut again, at, &h);
            assert!(matches!(histogram::decode(&again), Ok((t, Ok(_))) if t == at));
        }
    }
}

fn otlp(bytes: &[u8]) {
    for resource in otlp::resources(bytes).flatten() {
        let _ = otlp::resource_attributes(resource);
        for scope in otlp::scopes(resource).flatten() {
            for metric in otlp::metrics(scope).flatten() {
                let Ok(metric) = otlp::Metric::decode(metric) else {
                    continue;
                };
                let _ = otlp::names::metric_name(&metric);
                for point in metric.points().flatten() {
                    for (name, _) in &point.attributes {
                        let _ = otlp::names::label_name(name);
                    }
                }
            }
        }
    }
}
