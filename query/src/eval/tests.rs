//! What the scripts cannot say: stock options, limits, cancellation, extremes.

mod limits;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::Timestamp;
use proptest::prelude::*;

use super::{Engine, EngineOptions, EvalError, Limits, Value};
use crate::promql::parser::{CHAIN_MAX, DEPTH_MAX};
use crate::promqltest::{MemoryReader, series};

fn reader(lines: &[&str]) -> MemoryReader {
    let mut reader = MemoryReader::default();
    for line in lines {
        let (labels, items) = series::parse(line).unwrap();
        reader.load(&labels, &items, 60_000);
    }
    reader
}

fn shown(value: &Value) -> String {
    match value {
        Value::Scalar { value, .. } => value.to_string(),
        Value::String { value, .. } => value.clone(),
        Value::Vector(v) => {
            let all: Vec<String> = v
                .iter()
                .map(|s| format!("{} {}", s.labels, s.value.float().unwrap()))
                .collect();
            all.join("; ")
        }
        Value::Matrix(m) => {
            let all: Vec<String> = m
                .iter()
                .map(|s| {
                    let points: Vec<String> = s
                        .points
                        .floats
                        .iter()
                        .map(|p| format!("{}@{}", p.v, p.t / 1000))
                        .collect();
                    format!("{} {}", s.labels, points.join(" "))
                })
                .collect();
            all.join("; ")
        }
    }
}

const DATA: [&str; 4] = [
    r#"up{job="a"} 1 1 0 1"#,
    r#"up{job="b"} 1 1 1 1"#,
    r#"requests_total{job="a"} 0 60 120 180"#,
    r#"other{job="a"} 1 _ stale 4"#,
];

/// Evaluates at three minutes.
fn check(text: &str, expect: &str) {
    let expr = crate::parse(text).unwrap();
    let at = Timestamp::from_millis(180_000);
    let result = Engine::default().instant(&expr, &reader(&DATA), at, &Limits::default());
    let found = match result {
        Ok(r) => shown(&r.value),
        Err(e) => format!("error: {e}"),
    };
    assert_eq!(found, expect, "{text}");
}

#[test]
fn a_note_tells_of_the_place_that_is_evaluated_last() {
    let check = |text: &str, expect: &[&str]| {
        let expr = crate::parse(text).unwrap();
        let at = Timestamp::from_millis(180_000);
        let found = Engine::default()
            .instant(&expr, &reader(&DATA), at, &Limits::default())
            .unwrap();
        let places: Vec<&str> = found
            .infos
            .iter()
            .map(|i| i.rsplit(' ').next().unwrap())
            .collect();
        assert_eq!(places, expect, "{text}");
    };
    check("rate(up[5m]) + rate(up[5m])", &["(1:21)"]);
    check("rate(up[5m]) * rate(up[4m])", &["(1:21)"]);
    check("sum(rate(up[5m])) /\nsum(rate(up[5m]))", &["(2:10)"]);
    check("rate(requests_total[5m])", &[]);
}

#[test]
fn aggregations_note_what_they_ignore_where_upstream_does() {
    let data = ["h {{schema:0 count:1 sum:1 buckets:[1]}}x3", "f 1 1 NaN 1"];
    let check = |text: &str, expect: &str| {
        let expr = crate::parse(text).unwrap();
        let at = Timestamp::from_millis(180_000);
        let found = Engine::default().instant(&expr, &reader(&data), at, &Limits::default());
        let found = found.unwrap();
        assert_eq!([found.infos, found.warnings].concat(), [expect], "{text}");
    };
    let ignored = |op: &str, place: &str| {
        format!("PromQL info: ignored histogram in {op} aggregation ({place})")
    };
    check("topk(1, h)", &ignored("topk", "1:1"));
    check("bottomk(30, h)", &ignored("bottomk", "1:1"));
    check("max(h)", &ignored("max", "1:5"));
    let wrong = "PromQL warning: quantile value should be between 0 and 1, got NaN (1:10)";
    check("quantile(scalar(nosuch), f)", wrong);
    let mixed = "PromQL warning: encountered a mix of histograms and floats for aggregation (1:5)";
    check("sum({__name__=~\"f|h\"})", mixed);
    check("avg({__name__=~\"f|h\"})", mixed);
}

#[test]
fn sorting_has_no_effect_where_there_is_more_than_one_step() {
    let check = |text: &str, steps: u32, expect: usize| {
        let expr = crate::parse(text).unwrap();
        let (start, step) = (Timestamp::from_millis(60_000), Duration::from_secs(60));
        let end = start.plus(step * (steps - 1));
        let limits = Limits::default();
        let found = Engine::default().range(&expr, &reader(&DATA), start, end, step, &limits);
        assert_eq!(found.unwrap().warnings.len(), expect, "{text} {steps}");
    };
    check("sort(up)", 3, 1);
    check("sort(up)", 1, 0);
    check("sort(up @ 60)", 3, 0);
    check("last_over_time(sort_by_label(up, 'job')[3m:1m])", 1, 1);
}

#[test]
fn ambiguous_partners_are_an_error_only_where_somebody_could_meet_them() {
    check("nosuch + on () up", "");
    check("up * on () group_right nosuch", "");
    let duplicate = "error: found duplicate series for the match group {} on the right hand-side of the operation: [{__name__=\"up\", job=\"a\"}, {__name__=\"up\", job=\"b\"}];many-to-many matching not allowed: matching labels must be unique on one side";
    check("other + on () up", duplicate);
    check("nosuch + on () fill (0) up", duplicate);
    // Whether a comparison holds does not matter, other than in 2.x.
    let several = "error: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
    check("up > on () other", several);
    check("up == on () requests_total / requests_total", several);
    check("up == on () requests_total", several);
}

#[test]
fn a_label_that_grouping_drops_is_dropped_with_counted_values() {
    check("count_values without (job) (\"job\", up)", "{} 2");
    check("count_values by (job) (\"job\", up)", "{job=\"1\"} 2");
    check("count_values without (job) (\"__name__\", up)", "{} 2");
}

#[test]
fn clamping_knows_infinities_from_nan_as_go_does() {
    check("clamp(up{job=\"a\"}, Inf, NaN)", "{job=\"a\"} inf");
    check("clamp(up{job=\"a\"}, NaN, Inf)", "{job=\"a\"} NaN");
    check("clamp_max(up{job=\"a\"} * NaN, -Inf)", "{job=\"a\"} -inf");
    check("clamp_min(up{job=\"a\"}, NaN)", "{job=\"a\"} NaN");
}

#[test]
fn stock_options_drop_names_at_once() {
    check("up == 1", r#"up{job="a"} 1; up{job="b"} 1"#);
    check("up + 1", r#"{job="a"} 2; {job="b"} 2"#);
    check("sum by (__name__) (-up)", "{} -2");
    check(
        r#"abs({job="a"})"#,
        "error: vector cannot contain metrics with the same labelset",
    );
    check(
        r#"label_replace(rate(requests_total[3m]), "__name__", "r", "", "")"#,
        r#"r{job="a"} 1"#,
    );
}

#[test]
fn windows_are_open_to_the_left() {
    check("count_over_time(requests_total[2m])", r#"{job="a"} 2"#);
    check("requests_total[1m]", r#"requests_total{job="a"} 180@180"#);
    check("other @ 150", "");
    check("count_over_time(other[10m])", r#"{job="a"} 2"#);
    check(
        "max_over_time(up[3m:1m] offset 1m)",
        r#"{job="a"} 1; {job="b"} 1"#,
    );
}

#[test]
fn a_range_query_gives_a_sorted_matrix() {
    let expr = crate::parse("up or vector(7)").unwrap();
    let millis = Timestamp::from_millis;
    let result = Engine::default()
        .range(
            &expr,
            &reader(&DATA),
            millis(60_000),
            millis(180_000),
            Duration::from_secs(60),
            &Limits::default(),
        )
        .unwrap();
    assert_eq!(
        shown(&result.value),
        r#"{} 7@60 7@120 7@180; up{job="a"} 1@60 0@120 1@180; up{job="b"} 1@60 1@120 1@180"#
    );
}

#[test]
fn limits_and_cancellation_end_a_query() {
    let data = reader(&DATA);
    let at = Timestamp::from_millis(180_000);
    let engine = Engine::default();
    let failure = |text: &str, limits: &Limits| {
        let expr = crate::parse(text).unwrap();
        engine.instant(&expr, &data, at, limits).unwrap_err()
    };
    let few = Limits {
        samples_max: 3,
        ..Limits::default()
    };
    assert!(matches!(
        failure("count_over_time(up[10m])", &few),
        EvalError::TooManySamples
    ));
    assert!(matches!(
        failure("sum_over_time(vector(1)[100y:1ms])", &Limits::default()),
        EvalError::TooManySamples
    ));
    let canceled = Limits {
        cancel: Some(Arc::new(AtomicBool::new(true))),
        ..Limits::default()
    };
    assert!(matches!(failure("up", &canceled), EvalError::Canceled));
}

#[test]
fn the_deepest_expressions_fit_a_two_megabyte_stack() {
    let n = DEPTH_MAX - 2;
    let parens = |text: String| "(".repeat(n / 3) + &text + &")".repeat(n / 3);
    let texts = [
        "up+".repeat(CHAIN_MAX) + "up",
        "1+".repeat(CHAIN_MAX) + "1",
        "up or ".repeat(CHAIN_MAX) + "up",
        "2*".repeat(CHAIN_MAX / 2) + "up" + &">1".repeat(CHAIN_MAX / 2),
        parens("up-".repeat(CHAIN_MAX / 2) + &parens("up+".repeat(100) + "up")),
        "abs(".repeat(n) + "up" + &")".repeat(n),
        "(".repeat(n) + "up" + &")".repeat(n),
        "up+".repeat(n) + "up",
        "-".repeat(n) + "up",
        "sum(".repeat(n) + "up" + &")".repeat(n),
        "max_over_time(".repeat(n / 2) + "up" + &"[5m:1m])".repeat(n / 2),
    ];
    let run = move || {
        let data = reader(&DATA);
        for text in texts {
            let expr = crate::parse(&text).unwrap();
            let at = Timestamp::from_millis(180_000);
            let _ = Engine::default().instant(&expr, &data, at, &Limits::default());
            let again = crate::parse(&expr.to_string()).unwrap();
            assert_eq!(expr.clone().to_string(), again.to_string());
            let _ = crate::pretty(&expr);
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.unwrap().join().unwrap();
}

/// The result, or the error, and then what was noticed, of a query one step long at 3 minutes.
fn told(lines: &[&str], text: &str) -> Vec<String> {
    let at = Timestamp::from_millis(180_000);
    let expr = crate::parse(text).unwrap();
    match Engine::default().instant(&expr, &reader(lines), at, &Limits::default()) {
        Err(e) => vec![e.to_string()],
        Ok(e) => std::iter::once(shown(&e.value))
            .chain(e.warnings)
            .chain(e.infos)
            .collect(),
    }
}

#[test]
fn parameters_are_judged_only_where_there_is_something_to_apply_them_to() {
    let warning = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:20)";
    assert_eq!(
        told(&DATA, "quantile_over_time(2, requests_total[5m])"),
        [r#"{job="a"} inf"#, warning]
    );
    assert_eq!(told(&DATA, "quantile_over_time(2, none[5m])"), [""]);
    assert_eq!(
        told(&DATA, "double_exponential_smoothing(none[5m], 1, 2)"),
        [""]
    );
    assert_eq!(
        told(&DATA, "double_exponential_smoothing(up[5m], 0.5, 1)"),
        ["invalid trend factor. Expected: 0 < tf < 1, got: 1.000000"]
    );
}

#[test]
fn of_many_wrong_parameters_the_extremes_are_told() {
    let at = Timestamp::from_millis;
    let told = |text: &str| {
        let expr = crate::parse(text).unwrap();
        let step = Duration::from_secs(60);
        let limits = Limits::default();
        let data = reader(&DATA);
        let found = Engine::default().range(&expr, &data, at(0), at(180_000), step, &limits);
        found.map_or_else(|e| vec![e.to_string()], |e| e.warnings)
    };
    let quantile = |q: &str| {
        format!("PromQL warning: quantile value should be between 0 and 1, got {q} (1:10)")
    };
    assert_eq!(
        told("quantile(time() / 60 - 1, up)"),
        [quantile("-1"), quantile("2")]
    );
    let ratio = |r: &str, to: &str| {
        format!(
            "PromQL warning: ratio value should be between -1 and 1, got {r}, capping to {to} (1:13)"
        )
    };
    assert_eq!(
        told("limit_ratio(time() / 20 - 5, up)"),
        [ratio("-5", "-1"), ratio("4", "1")]
    );
    assert_eq!(
        told("topk(9223372036854774784, up)"),
        ["Scalar value 9.223372036854775e+18 overflows int64"]
    );
}

#[test]
fn a_rate_without_a_result_says_nothing_of_the_name() {
    let info = "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"up\" (1:6)";
    assert_eq!(told(&DATA, "rate(up[30s])"), [""]);
    assert_eq!(told(&DATA, r#"rate(up{job="b"}[3m])"#)[1..], [info]);
}

#[test]
fn matches_are_counted_before_comparisons_decide() {
    let data = [
        r#"a{x="1", y="1"} 1 1 1 1"#,
        r#"a{x="1", y="2"} 2 2 2 2"#,
        r#"b{x="1", z="1"} 9 9 9 9"#,
    ];
    let clash = "multiple matches for labels: grouping labels must ensure unique matches";
    assert_eq!(told(&data, "a > on(x) group_left(y) b"), [clash]);
    let explicit = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
    assert_eq!(told(&data, "a > on(x) b"), [explicit]);
    let mixed = [
        r#"a{x="1", y="1"} {{count:1}}x3"#,
        r#"a{x="1", y="2"} 2 2 2 2"#,
        r#"b{x="1", z="1"} 9 9 9 9"#,
    ];
    assert_eq!(told(&mixed, "a - on(x) b")[0], r#"{x="1"} -7"#);
}

#[test]
fn info_looks_at_series_by_the_labels_that_exist() {
    let data = [
        r#"m{job="a", instance="i"} 1 1 1 1"#,
        r#"n{job="a"} 1 1 1 1"#,
        "o 1 1 1 1",
        r#"target_info{job="a", data="d"} 1 1 1 1"#,
        r#"target_info{data="e"} 1 1 1 1"#,
    ];
    assert_eq!(told(&data, "info(o)"), [r#"o 1"#]);
    assert_eq!(told(&data, "info(n)"), [r#"n{data="d", job="a"} 1"#]);
    assert_eq!(
        told(&data, r#"info({__name__=~"m|n"})"#),
        [r#"m{instance="i", job="a"} 1; n{job="a"} 1"#]
    );
    let twice = [
        "n{job=\"a\"} 1 1 1 1",
        r#"target_info{job="a", data="d"} 1 1 1 1"#,
        r#"target_info{job="a", data="e"} 1 1 1 1"#,
    ];
    let error = "found duplicate series for info metric: existing {__name__=\"target_info\", data=\"d\", job=\"a\"} @ 180000, new {__name__=\"target_info\", data=\"e\", job=\"a\"} @ 180000";
    assert_eq!(told(&twice, "info(n)"), [error]);
}

#[test]
fn the_metric_that_does_not_fit_a_sum_is_named() {
    let data = [
        "h1 {{schema:0 count:1 buckets:[1]}}x3",
        "h2 {{schema:-53 count:1 custom_values:[1] buckets:[1]}}x3",
    ];
    let warning = "PromQL warning: vector contains a mix of histograms with exponential and custom buckets schemas for metric name \"h2\" (1:5)";
    assert_eq!(told(&data, r#"sum({__name__=~"h."})"#), ["", warning]);
}

fn text() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "up",
        "requests_total",
        "other",
        "1",
        "time()",
        "vector(-2)",
        "up @ 9e15",
        "up offset -200y",
        "other @ end() offset 290y",
        "NaN",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 2, |inner| {
        let range = "[5m]|[1h:7m]|[290y:100y]|[3m:30s] offset -1d|[5m:1m] @ 100";
        let ranges: Vec<&'static str> = range.split('|').collect();
        let functions: Vec<&'static str> =
            "rate increase delta irate deriv resets changes avg_over_time stddev_over_time mad_over_time absent_over_time ts_of_max_over_time last_over_time"
                .split(' ')
                .collect();
        let unary: Vec<&'static str> =
            "abs sort absent timestamp hour year round histogram_count -".split(' ').collect();
        let ops: Vec<&'static str> =
            "+ - * / % ^ == !=bool > and or unless atan2 </".split(' ').collect();
        let aggregates: Vec<&'static str> =
            "sum,|avg,|topk,2,|quantile,0.5,|limit_ratio,-0.5,|count_values,\"v\",|stddev,|group,"
                .split('|')
                .collect();
        let select = prop::sample::select;
        prop_oneof![
            (select(functions), inner.clone(), select(ranges))
                .prop_map(|(f, e, r)| format!("{f}(({e} or up){r})")),
            (select(unary), inner.clone()).prop_map(|(f, e)| format!("{f}({e})")),
            (inner.clone(), select(ops), inner.clone())
                .prop_map(|(a, op, b)| format!("({a}) {} ({b})", op.replace("=bool", "= bool"))),
            (select(aggregates), inner).prop_map(|(a, e)| {
                let (op, param) = a.split_once(',').unwrap();
                format!("{op} by (job) ({param}{e})")
            }),
        ]
    })
}

/// Days of summing in one series, were it not stopped.
#[test]
fn a_query_is_stopped_in_the_middle_of_a_series() {
    let cancel = Arc::new(AtomicBool::new(false));
    let limits = Limits {
        cancel: Some(Arc::clone(&cancel)),
        ..Limits::default()
    };
    let stopper = std::thread::spawn(move || {
        std::thread::yield_now();
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let text = "sum_over_time(sum_over_time(vector(1)[20d:1s])[20d:1s])";
    let expr = crate::parse(text).unwrap();
    let at = Timestamp::from_millis(0);
    let stopped = Engine::default().instant(&expr, &reader(&[]), at, &limits);
    stopper.join().unwrap();
    assert!(matches!(stopped, Err(EvalError::Canceled)));
}

proptest! {
    #[test]
    fn no_expression_panics_at_any_time(
        text in text(),
        at in prop::sample::select(vec![0, 180_000, -1, i64::MIN, i64::MAX, 253_402_300_799_000]),
    ) {
        if let Ok(expr) = crate::parse(&text) {
            let engine = Engine::new(EngineOptions { delayed_name_removal: at == 0, ..EngineOptions::default() });
            let limits = Limits { samples_max: 20_000, ..Limits::default() };
            let data = reader(&DATA);
            let at = Timestamp::from_millis(at);
            let _ = engine.instant(&expr, &data, at, &limits);
            let step = Duration::from_secs(45);
            let _ = engine.range(&expr, &data, at.minus(step * 5), at, step, &limits);
        }
    }
}
