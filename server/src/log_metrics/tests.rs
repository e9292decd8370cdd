//! What lines come to.

use collector::LogSeries as _;
use scrub::{ScrubbedEntry, Scrubber};

use super::*;

/// The metrics of a section of the configuration, or what is wrong with it.
fn metrics(yaml: &str) -> Result<Vec<LogMetric>, String> {
    let sections: Vec<LogMetricSection> =
        crate::config::yaml::parse("t", yaml).map_err(|e| e.to_string())?;
    let mut problems = Vec::new();
    let metrics = LogMetricSection::check_all(&sections, &mut |at, problem| {
        problems.push(format!("{}:{}: {problem}", at.line(), at.column()));
    });
    match problems.is_empty() {
        true => Ok(metrics),
        false => Err(problems.join("\n")),
    }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

static SCRUBBER: std::sync::LazyLock<Scrubber> = std::sync::LazyLock::new(Scrubber::default);

fn batch(stream: Pairs<'_>, lines: &[(&str, Pairs<'_>)]) -> LogBatch {
    let labels = |pairs: Pairs<'_>| SCRUBBER.labels(&Labels::from_pairs(pairs.iter().copied()));
    LogBatch {
        stream: labels(stream),
        entries: lines
            .iter()
            .map(|(line, metadata)| ScrubbedEntry {
                at_ns: 1,
                line: SCRUBBER.keep(line.as_bytes()).unwrap(),
                metadata: labels(metadata),
            })
            .collect(),
        position: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// Every series whose name begins so, as `name{label=value} value`, `since` behind it.
fn told(counts: &LogMetrics, seconds: i64, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    counts.tell(at(seconds), &mut |t| {
        let mut labels: Vec<String> = t.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        labels.extend(t.bound.map(|b| format!("le={b}")));
        if t.name.starts_with(name) {
            let since = t.since.map(|s| format!(" since {}", s.millis() / 1000));
            let (name, suffix, value) = (t.name, t.suffix, t.value);
            let (labels, since) = (labels.join(","), since.unwrap_or_default());
            lines.push(format!("{name}{suffix}{{{labels}}} {value}{since}"));
        }
    });
    lines
}

#[test]
fn lines_count_by_service_and_level() {
    let counts = LogMetrics::new(&[], at(10));
    let web = &[
        ("service_name", "web"),
        ("container", "shop-web-1"),
        ("compose_project", "shop"),
        ("stream", "stdout"),
    ];
    counts.count(
        &batch(
            web,
            &[
                ("four", &[("detected_level", "info")]),
                ("level=error x", &[("detected_level", "error")]),
            ],
        ),
        at(11),
    );
    let web = &[
        ("service_name", "web"),
        ("container", "shop-web-1"),
        ("compose_project", "shop"),
        ("stream", "stderr"),
    ];
    counts.count(
        &batch(web, &[("12", &[("detected_level", "info")])]),
        at(12),
    );
    // Pushed, with what its sender knows.
    counts.count(
        &batch(
            &[("app", "api")],
            &[("{\"level\":\"warning\"}", &[]), ("none", &[])],
        ),
        at(12),
    );
    counts.count(
        &batch(&[("x", "y"), ("level", "ERR")], &[("z", &[])]),
        at(12),
    );
    let shop = "service_name=web,container=shop-web-1,compose_project=shop,level";
    assert_eq!(
        told(&counts, 25, "log_"),
        [
            format!("log_lines_total{{{shop}=info}} 2 since 10"),
            format!("log_bytes_total{{{shop}=info}} 6 since 10"),
            format!("log_lines_total{{{shop}=error}} 1 since 10"),
            format!("log_bytes_total{{{shop}=error}} 13 since 10"),
            "log_lines_total{service_name=api,level=unknown} 1 since 10".to_owned(),
            "log_bytes_total{service_name=api,level=unknown} 4 since 10".to_owned(),
            "log_lines_total{service_name=api,level=warn} 1 since 10".to_owned(),
            "log_bytes_total{service_name=api,level=warn} 19 since 10".to_owned(),
            "log_lines_total{service_name=unknown_service,level=error} 1 since 10".to_owned(),
            "log_bytes_total{service_name=unknown_service,level=error} 1 since 10".to_owned(),
        ]
    );
    counts.count(
        &batch(
            &[("app", "api")],
            &[("none", &[]), ("x", &[("level", "fatal")])],
        ),
        at(26),
    );
    let api = told(&counts, 40, "log_lines");
    assert_eq!(api[2], "log_lines_total{service_name=api,level=unknown} 2");
    assert_eq!(
        api[4],
        "log_lines_total{service_name=api,level=fatal} 1 since 25"
    );
}

#[test]
fn services_beyond_the_bound_are_one() {
    let counts = LogMetrics::new(&[], at(0));
    for i in 0..500 {
        // Only the position of their source moved.
        let service = format!("silent-{i}");
        counts.count(&batch(&[("app", service.as_str())], &[]), at(0));
    }
    for i in 0..600 {
        let container = format!("ci-{i}");
        let stream = &[("service_name", "ci"), ("container", container.as_str())];
        counts.count(
            &batch(stream, &[("x", &[("detected_level", "info")])]),
            at(1),
        );
    }
    let lines = told(&counts, 15, "log_lines");
    assert_eq!(lines.len(), 501);
    assert_eq!(
        lines[500],
        "log_lines_total{service_name=other,level=info} 100 since 0"
    );
    let notes = counts.tell(at(30), &mut |_| {});
    assert!(notes[0].contains("500 services"), "{notes:?}");
}

const KONG: &str = r#"
- name: kong_errors_total
  type: counter
  match: '{container="kong"} | json | status >= 500'
  labels: [status]
- name: kong_sent_bytes_total
  type: counter
  match: '{container="kong"} | json'
  value: bytes(size)
- name: kong_seconds
  type: histogram
  match: '{container="kong"} | json'
  value: duration(took)
  labels: [service_name]
  buckets: [0.1, 1]
- { name: kong_queue, type: gauge, match: '{container="kong"} | json', value: queue }
"#;

#[test]
fn fields_of_lines_become_metrics() {
    let counts = LogMetrics::new(&metrics(KONG).unwrap(), at(0));
    let kong = &[("container", "kong"), ("service_name", "kong")];
    let lines = [
        "{\"status\":502,\"took\":\"90ms\",\"size\":\"1KB\",\"queue\":3}",
        "{\"status\":200,\"took\":\"0.1s\",\"size\":\"24\",\"queue\":2}",
        "{\"status\":502,\"took\":\"2s\"}",
        "{\"status\":500,\"took\":\"soon\"}",
        "no JSON",
    ];
    let lines: Vec<(&str, Pairs<'_>)> = lines.iter().map(|line| (*line, &[][..])).collect();
    counts.count(&batch(kong, &lines), at(1));
    counts.count(&batch(&[("container", "web")], &lines), at(1));
    assert_eq!(
        told(&counts, 15, "kong_"),
        [
            "kong_errors_total{status=502} 2 since 0",
            "kong_errors_total{status=500} 1 since 0",
            "kong_sent_bytes_total{} 1024 since 0",
            "kong_seconds_bucket{service_name=kong,le=0.1} 2 since 0",
            "kong_seconds_bucket{service_name=kong,le=1} 2 since 0",
            "kong_seconds_bucket{service_name=kong,le=inf} 3 since 0",
            "kong_seconds_sum{service_name=kong} 2.19 since 0",
            "kong_seconds_count{service_name=kong} 3 since 0",
            "kong_queue{} 2",
        ]
    );
    assert_eq!(
        told(&counts, 30, "log_metric_errors_total"),
        [
            "log_metric_errors_total{metric=kong_errors_total} 0",
            "log_metric_errors_total{metric=kong_sent_bytes_total} 1",
            "log_metric_errors_total{metric=kong_seconds} 2",
            "log_metric_errors_total{metric=kong_queue} 1",
        ]
    );
    let families = counts.families();
    let family = families.iter().find(|f| f.name == "kong_seconds").unwrap();
    assert_eq!(
        (family.kind, family.help.as_str()),
        (Kind::Histogram, "Taken from log lines")
    );
}

#[test]
fn another_configuration_keeps_what_it_leaves_alone() {
    let counts = LogMetrics::new(&metrics(KONG).unwrap(), at(0));
    let kong = batch(
        &[("container", "kong")],
        &[("{\"status\":502,\"queue\":1}", &[])],
    );
    counts.count(&kong, at(1));
    let changed = KONG.replace("status >= 500", "status >= 400");
    counts.configure(&metrics(&changed).unwrap());
    counts.count(&kong, at(2));
    assert_eq!(
        told(&counts, 15, "kong_"),
        ["kong_errors_total{status=502} 1 since 0", "kong_queue{} 1"]
    );
    counts.configure(&[]);
    counts.count(&kong, at(20));
    assert!(told(&counts, 30, "kong_").is_empty());
    assert_eq!(told(&counts, 30, "log_lines").len(), 1);
}

#[test]
fn label_sets_are_bounded_for_each_metric_and_for_all() {
    let one = |i: usize, kind: &str| {
        format!(
            "- {{ name: m{i}, type: {kind}, match: '{{a=\"b\"}} | logfmt', value: v, labels: [l] }}\n"
        )
    };
    let check = |yaml: &str, expect: usize| {
        let counts = LogMetrics::new(&metrics(yaml).unwrap(), at(0));
        let lines: Vec<String> = (0..600).map(|i| format!("v=1 l={i}")).collect();
        let lines: Vec<(&str, Pairs<'_>)> = lines.iter().map(|l| (l.as_str(), &[][..])).collect();
        counts.count(&batch(&[("a", "b")], &lines), at(1));
        let all = told(&counts, 15, "m");
        let sums: Vec<&String> = all
            .iter()
            .filter(|l| l.starts_with("m0{") || l.starts_with("m0_count"))
            .collect();
        assert_eq!(sums.len(), expect + 1, "{yaml:.60}");
        assert!(sums.iter().any(|l| l.contains("{l=other}")), "{yaml:.60}");
    };
    check(&one(0, "counter"), 500);
    let all: String = (0..100).map(|i| one(i, "histogram")).collect();
    check(&all, 14);
    let more: String = (0..101).map(|i| one(i, "gauge")).collect();
    assert_eq!(
        metrics(&more),
        Err("101:11: metric m100: more than 100 metrics".to_owned())
    );
}

#[test]
fn what_cannot_be_taken_is_said_with_its_place() {
    #[track_caller]
    fn check(section: &str, expect: &str) {
        let yaml = format!("- {{ {section} }}");
        let found = metrics(&yaml).unwrap_err();
        assert!(found.contains(expect), "{section}: {found}");
    }
    let lines = "match: '{a=\"b\"}'";
    check(
        &format!("name: 9x, type: counter, {lines}"),
        "1:11: metric 9x: a name has letters",
    );
    check(
        &format!("name: up, type: counter, {lines}"),
        "metric up: there is another up",
    );
    check(
        &format!("name: log_lines_total, type: counter, {lines}"),
        "there is another log_lines_total",
    );
    check(
        &format!("name: x, type: gauge, {lines}"),
        "value is missing",
    );
    check(
        &format!("name: x, type: sum, {lines}"),
        "unknown value \"sum\"",
    );
    check(
        &format!("name: x, type: counter, {lines}, valu: y"),
        "unknown key \"valu\"",
    );
    check("name: x, type: counter", "missing key \"match\"");
    check(
        "name: x, type: counter, match: '{a=\"b\"} |= err'",
        "match: parse error at line 1, col 12",
    );
    check(
        "name: x, type: counter, match: 'rate({a=\"b\"}[1m])'",
        "what stands here selects lines",
    );
    check(
        "name: x, type: counter, match: '{a=\"b\"} | unwrap t'",
        "stands in value",
    );
    check(
        "name: x, type: counter, match: '{a=\"b\"} | regexp \"(\"'",
        "match: ",
    );
    check(
        &format!("name: x, type: counter, {lines}, value: speed(t)"),
        "neither a label nor duration(label)",
    );
    check(
        &format!("name: x, type: counter, {lines}, labels: [a, a]"),
        "it is there twice",
    );
    check(
        &format!("name: x, type: counter, {lines}, labels: [a-b]"),
        "label \"a-b\"",
    );
    check(
        &format!("name: x, type: counter, {lines}, buckets: [1]"),
        "only a histogram has them",
    );
    let histogram = format!("name: x, type: histogram, {lines}, value: t");
    check(
        &format!("{histogram}, labels: [le]"),
        "the bounds of a histogram have this name",
    );
    check(
        &format!("{histogram}, buckets: [2, 1]"),
        "in ascending order",
    );
    check(&format!("{histogram}, buckets: [.inf]"), "1 to 64 bounds");
    let two = format!("- {{ {histogram} }}\n- {{ name: x_sum, type: counter, {lines} }}");
    assert!(
        metrics(&two)
            .unwrap_err()
            .contains("2:11: metric x_sum: there is another x_sum")
    );
}
