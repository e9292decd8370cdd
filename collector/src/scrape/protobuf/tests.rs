use std::time::Duration;

use model::{Labels, SampleBatch, Span, is_stale};
use protobuf::{write, zigzag};

use super::*;
use crate::Status;
use crate::relabel::Relabel;
use crate::target::Target;

/// A target that is scraped again and again.
struct Rig {
    config: ScrapeConfig,
    target: Target,
    status: Status,
    at: i64,
}

fn rig(yaml: &str) -> Rig {
    let labels = Labels::from_pairs([("instance", "i")]);
    let timing = (Duration::from_secs(15), Duration::from_secs(10));
    let status = Status::default();
    Rig {
        config: serde_saphyr::from_str(&format!("job_name: j\n{yaml}")).unwrap(),
        target: Target::new("j", "u", labels, Labels::empty(), timing, status.clone()),
        status,
        at: 0,
    }
}

impl Rig {
    /// What one scrape writes but for the report, of which it is followed by the samples scraped,
    /// those kept and the series added.
    fn scrape(&mut self, body: &[u8]) -> Vec<String> {
        self.at += 1000;
        let at = Timestamp::from_millis(self.at);
        let relabel = Relabel::list(&self.config.metric_relabel_configs).unwrap();
        let mut pass = self.target.pass(at);
        let rules = SeriesRules {
            config: &self.config,
            relabel: &relabel,
            target: pass.target_labels(),
        };
        let parsed = parse_into(&mut pass, body, &rules);
        let batch = match parsed {
            Ok(()) => {
                let collected = pass.done();
                self.target.finish(at, Duration::ZERO, Ok(collected))
            }
            Err(e) => self.target.finish(at, Duration::ZERO, Err(&e)),
        };
        print(&batch, at)
    }

    fn error(&self) -> String {
        self.status.targets().remove(0).last_error
    }
}

fn print(batch: &SampleBatch, now: Timestamp) -> Vec<String> {
    let name = |labels: &Labels| labels.to_string().replace(", instance=\"i\"", "");
    let name = |labels: &Labels| name(labels).replace("{instance=\"i\"}", "");
    let time = |at: Timestamp| match at == now {
        true => String::new(),
        false => format!(" @{}", at.millis()),
    };
    let (mut out, mut report) = (Vec::new(), Vec::new());
    for sample in &batch.samples {
        let name = name(&sample.labels);
        let value = match is_stale(sample.value) {
            true => "stale".to_owned(),
            false => sample.value.to_string(),
        };
        match name.as_str() {
            "up" | "scrape_duration_seconds" => {}
            n if n.starts_with("scrape_") => report.push(value),
            _ => out.push(format!("{name} {value}{}", time(sample.at))),
        }
    }
    for sample in &batch.histograms {
        let h = &sample.histogram;
        let value = match is_stale(h.sum) {
            true => "histogram stale".to_owned(),
            false => format!("histogram of {} in {:?}", h.count, h.positive_buckets),
        };
        out.push(format!(
            "{} {value}{}",
            name(&sample.labels),
            time(sample.at)
        ));
    }
    out.push(report.join(" "));
    out
}

fn family(name: &str, kind: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Vec::new();
    write::bytes(&mut message, 1, name.as_bytes());
    write::bytes(&mut message, 2, b"of \\n");
    write::varint(&mut message, 3, kind);
    for metric in metrics {
        write::bytes(&mut message, 4, metric);
    }
    let mut out = Vec::new();
    write::raw_varint(&mut out, message.len() as u64);
    out.extend(message);
    out
}

fn labelled(labels: &[(&str, &str)]) -> Vec<u8> {
    let mut metric = Vec::new();
    for (name, value) in labels {
        write::message(&mut metric, 1, |out| {
            write::bytes(out, 1, name.as_bytes());
            write::bytes(out, 2, value.as_bytes());
        });
    }
    metric
}

fn gauge(labels: &[(&str, &str)], value: f64) -> Vec<u8> {
    let mut metric = labelled(labels);
    write::message(&mut metric, 2, |out| write::double(out, 1, value));
    metric
}

/// With buckets of one observation each, from that of 1 on, and one classic bucket.
fn histogram(labels: &[(&str, &str)], schema: i64, buckets: usize) -> Vec<u8> {
    let mut metric = labelled(labels);
    write::message(&mut metric, 7, |out| {
        write::varint(out, 1, buckets as u64);
        write::message(out, 3, |out| {
            write::varint(out, 1, 1);
            write::double(out, 2, 1.0);
        });
        write::varint(out, 5, zigzag(schema));
        write::message(out, 12, |out| write::varint(out, 2, buckets as u64));
        for i in 0..buckets {
            write::varint(out, 13, zigzag(i64::from(i == 0)));
        }
    });
    metric
}

const NATIVE: &str = "scrape_native_histograms: true\n";

#[test]
fn series_are_named_as_from_text() {
    let mut rig = rig("");
    let body = [
        family(
            "g",
            1,
            &[gauge(&[("b", "1"), ("a", "2"), ("empty", "")], 1.5)],
        ),
        family("nothing", 1, &[]),
        family("h", 4, &[histogram(&[], 0, 2)]),
    ]
    .concat();
    assert_eq!(
        rig.scrape(&body),
        [
            "g{a=\"2\", b=\"1\"} 1.5",
            "h_count 2",
            "h_sum 0",
            "h_bucket{instance=\"i\", le=\"1.0\"} 1",
            "h_bucket{instance=\"i\", le=\"+Inf\"} 2",
            "5 5 5"
        ]
    );
    let text = b"# TYPE g gauge\ng{a=\"2\",b=\"1\"} 1.5\n# TYPE h histogram\nh_count 2\nh_sum 0\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    let at = Timestamp::from_millis(2000);
    let mut pass = rig.target.pass(at);
    let rules = SeriesRules {
        config: &rig.config,
        relabel: &[],
        target: pass.target_labels(),
    };
    super::super::parse_into(
        &mut pass,
        text,
        crate::exposition::Format::Prometheus,
        &rules,
    )
    .unwrap();
    assert_eq!((pass.scraped, pass.added), (5, 0));
}

#[test]
fn what_targets_say_of_families_is_kept_as_they_mean_it() {
    let mut rig = rig("");
    rig.scrape(&family("g", 1, &[gauge(&[], 1.0)]));
    let (_, metadata) = rig.status.metadata().remove(0);
    assert_eq!(metadata[0].name, "g");
    assert_eq!(metadata[0].help, "of \\n");
}

#[test]
fn histograms_that_vanish_get_markers_that_are_histograms() {
    let mut rig = rig(NATIVE);
    let both = [
        family(
            "h",
            4,
            &[histogram(&[], 0, 2), histogram(&[("a", "b")], 0, 1)],
        ),
        family("g", 1, &[gauge(&[], 1.0)]),
    ]
    .concat();
    assert_eq!(
        rig.scrape(&both),
        [
            "g 1",
            "h histogram of 2 in [1.0, 1.0]",
            "h{a=\"b\"} histogram of 1 in [1.0]",
            "3 3 3"
        ]
    );
    let one = family("h", 4, &[histogram(&[], 0, 3)]);
    assert_eq!(
        rig.scrape(&one),
        [
            "g stale",
            "h histogram of 3 in [1.0, 1.0, 1.0]",
            "h{a=\"b\"} histogram stale",
            "1 1 0"
        ]
    );
    // Now a float under the same name, which then is what ends.
    let float = family("h", 1, &[gauge(&[], 1.0)]);
    assert_eq!(rig.scrape(&float), ["h 1", "1 1 0"]);
    assert_eq!(rig.scrape(b"\xff"), ["h stale", "0 0 0"]);
    assert_eq!(
        rig.error(),
        "metric family 1: proto: unexpected end of message"
    );
}

#[test]
fn relabelling_and_limits_hold_for_histograms() {
    let drop = "metric_relabel_configs: [{ source_labels: [a], regex: b, action: drop }]";
    let body = family(
        "h",
        4,
        &[histogram(&[], 0, 2), histogram(&[("a", "b")], 0, 1)],
    );
    assert_eq!(
        rig(&format!("{NATIVE}{drop}")).scrape(&body),
        ["h histogram of 2 in [1.0, 1.0]", "2 1 1"]
    );
    for (limit, why) in [
        ("sample_limit: 1", "sample limit exceeded (1)"),
        (
            "label_limit: 2",
            "label_limit exceeded (metric: h, number of labels: 3, limit: 2)",
        ),
        (
            "native_histogram_bucket_limit: 1",
            "histogram bucket limit exceeded",
        ),
    ] {
        let mut rig = rig(&format!("{NATIVE}{limit}"));
        let wide = match limit.starts_with("native") {
            true => family("h", 4, &[histogram(&[], -4, 3)]),
            false => body.clone(),
        };
        assert_eq!(rig.scrape(&wide), ["0 0 0"]);
        assert_eq!(rig.error(), format!("metric family h: {why}"));
    }
}

#[test]
fn a_repeated_label_fails_the_scrape() {
    for (labels, name) in [
        (&[("a", "1"), ("a", "2")][..], "a"),
        (&[("__name__", "x")], "__name__"),
        (&[("le", "1")], "le"),
    ] {
        let mut rig = rig("");
        rig.scrape(&family("h", 4, &[histogram(labels, 0, 1)]));
        assert_eq!(
            rig.error(),
            format!("metric family h: label {name:?} is repeated")
        );
    }
    let mut rig = rig("");
    rig.scrape(&family("", 1, &[gauge(&[], 1.0)]));
    assert_eq!(rig.error(), "metric family : sample without a metric name");
}

#[test]
fn no_two_series_share_a_key() {
    let mut rig = rig("");
    let body = family(
        "g",
        1,
        &[
            gauge(&[("a", "b"), ("c", "d")], 1.0),
            gauge(&[("a", "b\u{1}c\u{1}d")], 2.0),
            gauge(&[("a", "b\u{1}c"), ("d", "")], 3.0),
        ],
    );
    assert_eq!(rig.scrape(&body).last().unwrap(), "3 3 3");
}

#[test]
fn a_histogram_with_endless_labels_and_buckets_is_refused() {
    for (label_bytes, buckets, why) in [
        (
            1 << 20,
            80,
            "label bytes exceeded (metric: h_count, bytes of all labels: ",
        ),
        (
            20_000,
            4000,
            "the labels of all series have more than 51200000 bytes",
        ),
    ] {
        let mut metric = labelled(&[("a", &"x".repeat(label_bytes))]);
        write::message(&mut metric, 7, |out| {
            for i in 0..buckets {
                write::message(out, 3, |out| write::double(out, 2, f64::from(i)));
            }
        });
        let mut rig = rig("");
        assert_eq!(rig.scrape(&family("h", 4, &[metric])), ["0 0 0"]);
        let error = rig.error();
        assert!(
            error.starts_with(&format!("metric family h: {why}")),
            "{error}"
        );
    }
    let spans = |_: usize| {
        let mut metric = Vec::new();
        write::message(&mut metric, 7, |out| {
            for _ in 0..1 << 16 {
                write::bytes(out, 12, b"");
            }
        });
        metric
    };
    let many: Vec<_> = (0..17).map(spans).collect();
    let mut rig = rig(NATIVE);
    rig.scrape(&family("h", 4, &many));
    assert_eq!(
        rig.error(),
        "metric family h: more than 1048576 native buckets in one scrape"
    );
}

#[test]
fn times_are_honoured_unless_they_are_not() {
    let mut metric = histogram(&[], 0, 1);
    write::varint(&mut metric, 6, 500);
    let body = family("h", 4, &[metric]);
    let mut own = rig(NATIVE);
    assert_eq!(
        own.scrape(&body),
        ["h histogram of 1 in [1.0] @500", "1 1 1"]
    );
    assert_eq!(own.scrape(&[]), ["0 0 0"]);
    let mut ours = rig(&format!("{NATIVE}honor_timestamps: false"));
    assert_eq!(ours.scrape(&body), ["h histogram of 1 in [1.0]", "1 1 1"]);
    assert_eq!(ours.scrape(&[]), ["h histogram stale", "0 0 0"]);
}

#[test]
fn histograms_are_made_as_coarse_as_the_job_wants() {
    let fine = Histogram {
        schema: 3,
        count: 16.0,
        positive_spans: vec![Span {
            offset: 1,
            length: 16,
        }],
        positive_buckets: vec![1.0; 16],
        ..Histogram::default()
    };
    let check = |yaml: &str, schema: i32, buckets: &[f64]| {
        let config = serde_saphyr::from_str(&format!("job_name: j\n{yaml}")).unwrap();
        let h = bounded(fine.clone(), &config).unwrap();
        assert_eq!((h.schema, &h.positive_buckets[..]), (schema, buckets));
    };
    check("", 3, &[1.0; 16]);
    check("native_histogram_bucket_limit: 16", 3, &[1.0; 16]);
    check("native_histogram_bucket_limit: 15", 2, &[2.0; 8]);
    check("native_histogram_bucket_limit: 2", 0, &[8.0; 2]);
    check("native_histogram_min_bucket_factor: 1.1", 2, &[2.0; 8]);
    check("native_histogram_min_bucket_factor: 2", 0, &[8.0; 2]);
}

#[test]
fn the_factor_between_buckets_decides_the_schema() {
    for (factor, schema) in [
        (0.0, 8),
        (1.0, 8),
        (1.002, 8),
        (1.005, 7),
        (1.01, 6),
        (1.02, 5),
        (1.04, 4),
        (1.09, 3),
        (1.1, 2),
        (1.189, 2),
        (1.4, 1),
        (2.0, 0),
        (4.0, -1),
        (65536.0, -4),
        (1e9, -4),
        (f64::INFINITY, -4),
        (f64::NAN, 8),
    ] {
        assert_eq!(finest_schema(factor), schema, "{factor}");
    }
}
