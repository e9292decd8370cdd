//! What names become by a mapping file.

use super::*;

fn mapper(file: &str) -> Result<Mapper, String> {
    MappingFile::parse(file).and_then(|file| Mapper::new(&file))
}

/// `name{label=value}` of what a StatsD name becomes.
fn mapped(file: &str, name: &str, of: Type) -> String {
    let mut mapper = mapper(file).unwrap();
    // The second time it is remembered.
    let again = mapper.map(name, of).map(|m| m.name.clone());
    let found = mapper.map(name, of);
    assert_eq!(again, found.as_ref().map(|m| m.name.clone()));
    let Some(found) = found else {
        return "-".to_owned();
    };
    let labels: Vec<String> = found
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let drop = if found.rule.drop { "drop " } else { "" };
    format!("{drop}{}{{{}}}", found.name, labels.join(","))
}

#[track_caller]
fn check(file: &str, cases: &[(&str, &str)]) {
    for (name, expect) in cases {
        assert_eq!(mapped(file, name, Type::Counter), *expect, "{name}");
    }
}

/// The examples of statsd_exporter's manual.
#[test]
fn globs_and_expressions_make_names_and_labels() {
    check(
        r#"
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels: { processor: "$1", action: "$2", outcome: "$3", job: "test_dispatcher" }
- match: "*.signup.*.*"
  name: "signup_events_total"
  labels: { provider: "$2", outcome: "$3", job: "${1}_server" }
- match: 'test\.(\w+)\.(\w+)\.counter'
  match_type: regex
  name: "${2}_total"
  labels: { provider: "$1" }
- match: "drop.me"
  action: drop
- match: "."
  match_type: regex
  action: drop
  name: "dropped"
"#,
        &[
            (
                "test.dispatcher.FooProcessor.send.success",
                "dispatcher_events_total{action=send,job=test_dispatcher,outcome=success,processor=FooProcessor}",
            ),
            (
                "foo_product.signup.facebook.failure",
                "signup_events_total{job=foo_product_server,outcome=failure,provider=facebook}",
            ),
            // An expression need not match the whole.
            ("my.test.web.hits.counter", "hits_total{provider=web}"),
            ("drop.me", "drop {}"),
            ("anything", "drop dropped{}"),
        ],
    );
    check(
        "mappings: [{match: 'a.*', name: b}]",
        &[("a.b.c", "-"), ("a.", "b{}")],
    );
    check(
        "mappings: [{match: 'a.*', name: '${1}_x'}]",
        &[("a.2-b", "_2_b_x{}")],
    );
}

#[test]
fn the_first_glob_wins_unless_the_finest_shall() {
    let rules = "mappings: [{match: 'a.*.*', name: x}, {match: 'a.*.c', name: y}, {match: 'a.b.*', name: z}, \
                 {match: 'a.b.c', name: w}]";
    let names =
        |file: &str| ["a.q.c", "a.b.q", "a.b.c", "a.q.q"].map(|n| mapped(file, n, Type::Gauge));
    assert_eq!(names(rules), ["x{}", "x{}", "x{}", "x{}"]);
    let finest = format!("defaults: {{glob_disable_ordering: true}}\n{rules}");
    assert_eq!(names(&finest), ["y{}", "z{}", "w{}", "x{}"]);
    // Globs go first even where an expression is written before them.
    check(
        "mappings: [{match: 'a.*', match_type: regex, name: r}, {match: 'a.b', name: g}]",
        &[("a.b", "g{}"), ("a.c", "r{}")],
    );
}

#[test]
fn a_mapping_may_be_for_one_type_only() {
    let file = "mappings: [{match: 'a', match_metric_type: counter, name: c}, {match: 'a', \
                match_metric_type: timer, name: t}]";
    assert_eq!(mapped(file, "a", Type::Counter), "c{}");
    assert_eq!(mapped(file, "a", Type::Observer), "t{}");
    assert_eq!(mapped(file, "a", Type::Gauge), "-");
}

#[test]
fn observers_are_described_by_the_mapping_or_the_defaults() {
    let observer = |file: &str| (*mapper(file).unwrap().rules[0].observer).clone();
    let Observer::Summary(plain) = observer("mappings: [{match: a, name: a}]") else {
        panic!("no summary");
    };
    assert_eq!(plain.objectives[2], Objective::new(0.99, 0.001));
    assert_eq!(plain.max_age, Duration::from_secs(600));
    let Observer::Summary(own) = observer(
        "defaults: {summary_options: {max_age: 5m, age_buckets: 2, buf_cap: 100}}
mappings: [{match: a, name: a, quantiles: [{quantile: 0.7, error: 0.002}]}]",
    ) else {
        panic!("no summary");
    };
    assert_eq!(*own.objectives, [Objective::new(0.7, 0.002)]);
    assert_eq!(
        (own.max_age, own.age_buckets, own.kept_max),
        (Duration::from_secs(300), 2, 100)
    );
    for (file, buckets) in [
        (
            "mappings: [{match: a, name: a, timer_type: histogram}]",
            &DEFAULT_BUCKETS[..],
        ),
        (
            "defaults: {timer_type: histogram, buckets: [1, 2]}\nmappings: [{match: a, name: a}]",
            &[1.0, 2.0],
        ),
        (
            "defaults: {observer_type: histogram, histogram_options: {buckets: [1]}}
mappings: [{match: a, name: a, histogram_options: {buckets: [3, .inf]}}]",
            &[3.0],
        ),
    ] {
        assert_eq!(
            observer(file),
            Observer::Histogram(buckets.to_vec()),
            "{file}"
        );
    }
    let unmapped = mapper("defaults: {observer_type: histogram, ttl: 1m}").unwrap();
    assert!(matches!(*unmapped.observer, Observer::Histogram(_)));
    assert_eq!(unmapped.ttl, Duration::from_secs(60));
}

#[test]
fn files_that_make_no_sense_are_refused_with_the_place() {
    let refused = |file: &str, why: &str| {
        let error = mapper(file).map(drop).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(
        "mappings: [{match: a.b, name: x}, {match: a}]",
        "mapping 2 (\"a\"): there is no name",
    );
    refused(
        "mappings: [{match: 'a*', name: x}]",
        "is no piece of a glob",
    );
    refused("mappings: [{match: '(', match_type: regex, name: x}]", "(");
    refused("mappings: [{match: a, name: 0x}]", "no name of a metric");
    refused(
        "mappings: [{match: a, name: x, labels: {'b.c': d}}]",
        "no name of a label",
    );
    refused(
        "mappings: [{match: a, name: x, labels: {__name__: d}}]",
        "no name of a label",
    );
    refused(
        "mappings: [{match: a, name: x, timer_type: wrong}]",
        "wrong",
    );
    refused("mappings: [{match: a, name: x, ttl: soon}]", "soon");
    refused("mappings: [{match: a, name: x, labls: {}}]", "labls");
    refused(
        "mappings: [{match: a, name: x, observer_type: histogram, buckets: [2, 1]}]",
        "buckets must rise",
    );
    refused(
        "mappings: [{match: a, name: x, observer_type: histogram, summary_options: {}}]",
        "summary_options of a histogram",
    );
    refused("defaults: {quantiles: [{quantile: 2}]}", "between 0 and 1");
    assert_eq!(mapper("").unwrap().len(), 0);
}
