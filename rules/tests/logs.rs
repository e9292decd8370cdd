//! Rules over log lines: which language an expression is, when lines count, and what a failure does.

mod support;

use std::sync::Arc;

use model::ControlStore;
use model::control::MemoryControlStore;
use rules::file::{RuleSpec, parse};
use rules::{GroupStatus, Health, RuleExpr};
use support::Bench;

fn memory() -> Arc<dyn ControlStore> {
    Arc::new(MemoryControlStore::default())
}

fn file(expr: &str, more: &str) -> String {
    format!(
        "groups: [{{ name: g, interval: 60s, rules: [{{ alert: A, expr: '{expr}' {more} }}] }}]"
    )
}

/// `promql`, `logql`, `both`, or the first complaint.
fn language(expr: &str, more: &str) -> String {
    let text = file(expr, more);
    let parsed = match parse("r.yml", &text) {
        Ok(parsed) => parsed,
        Err(found) => return found[0].message.clone(),
    };
    let RuleSpec::Alert(alert) = &parsed.groups[0].rules[0] else {
        unreachable!("an alert")
    };
    let language = match &*alert.expr {
        RuleExpr::Metrics(_) => "promql",
        RuleExpr::Logs(_) => "logql",
        RuleExpr::Both(_) => "both",
    };
    let noted = if parsed.notes.is_empty() {
        ""
    } else {
        ", noted"
    };
    format!("{language}{noted}")
}

#[track_caller]
fn check(expr: &str, expect: &str) {
    assert_eq!(language(expr, ""), expect, "{expr}");
}

#[test]
fn what_only_logql_can_read_is_logql() {
    check("up == 0", "promql");
    check(
        "sum(count_over_time({app=\"x\"} |= \"err\" [5m])) > 3",
        "logql",
    );
    check(
        "sum by (app) (rate({app=~\".+\"} | json | status >= 500 [1m])) > 0.5",
        "logql",
    );
    check("count_over_time({app=\"x\"} != \"ok\" [5m])", "logql");
    check("bytes_rate({app=\"x\"}[5m]) > 1e6", "logql");
    check(
        "avg_over_time({app=\"x\"} | unwrap t [5m]) by (host) > 1",
        "logql",
    );
    check("absent_over_time({app=\"x\"} |= \"done\" [1d])", "logql");
}

#[test]
fn what_both_can_read_is_promql_if_it_can_work_and_the_file_does_not_say_otherwise() {
    let both = "absent_over_time({app=\"x\"}[5m])";
    check(both, "promql, noted");
    check("rate({app=\"x\",__name__=\"a_total\"}[5m]) > 3", "promql");
    check("rate(a_total{app=\"x\"}[5m]) > 3", "promql");
    // Every target has metrics whose labels are the same without the name: PromQL would fail.
    check("sum by (app) (rate({app=~\"x.*\"}[1m])) > 1000", "logql");
    check(
        "sum(count_over_time({app=\"x\"}[5m] offset 1h)) > 3",
        "logql",
    );
    check(
        "count_over_time({app=\"x\"}[5m]) > 3 and on() up == 1",
        "both",
    );
    check("rate({app=\"x\"}[5m:1m]) > 3", "promql");
    check("rate({app=\"x\"}[5m] @ 7) > 3", "promql");
    check(
        "max_over_time(sum(rate({app=\"x\"}[1m]))[1h:1m]) > 3",
        "promql",
    );
    check("increase({app=\"x\"}[5m]) > 3", "promql");
    let counted = "count_over_time({app=\"x\"}[5m]) > 3";
    assert_eq!(language(counted, ", engine: promql"), "promql");
    check("count_over_time({__name__=~\"a.*\"}[5m]) > 3", "promql");
    check("{app=\"x\"} == 1", "promql");
    assert_eq!(language(both, ", engine: promql"), "promql");
    assert_eq!(language(both, ", engine: logql"), "logql");
    let group = "groups: [{ name: g, engine: logql, rules: [{ record: r, expr: 'rate({a=\"b\"}[1m])' }, { record: s, engine: promql, expr: up }] }]";
    let parsed = parse("r.yml", group).unwrap();
    let kinds = parsed.groups[0].rules.iter().map(|rule| match rule {
        RuleSpec::Record(r) => matches!(*r.expr, RuleExpr::Logs(_)),
        RuleSpec::Alert(_) => unreachable!("recording rules"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [true, false]);
    // A rule that changes its language is another one.
    let spec = |engine: &str| {
        parse("r.yml", &file(both, engine))
            .unwrap()
            .groups
            .remove(0)
    };
    assert_ne!(spec(", engine: logql"), spec(", engine: promql"));
    assert_eq!(spec(", engine: promql"), spec(""));
}

#[test]
fn the_error_is_that_of_the_language_it_looks_like() {
    let parse = "could not parse expression: ";
    check("sum(", &format!("{parse}unclosed left parenthesis"));
    check(
        "rate({app=\"x\"} |= err [5m])",
        &format!("{parse}syntax error: unexpected IDENTIFIER, expecting STRING or ip"),
    );
    check(
        "rate({app=\"x\"} | jsn | a=\"b\" [5m])",
        &format!("{parse}syntax error: unexpected |"),
    );
    check(
        "{app=\"x\"} |= \"err\"",
        "a rule needs numbers, this expression selects lines; count them: count_over_time(… [5m])",
    );
    check(
        "{app=\"x\"} != \"err\"",
        "a rule needs numbers, this expression selects lines; count them: count_over_time(… [5m])",
    );
    let (logs, metrics) = (", engine: logql", ", engine: promql");
    assert!(language("up == 0", logs).starts_with(parse));
    assert!(language("rate({a=\"b\"} |= \"c\" [5m])", metrics).starts_with(parse));
    let unknown = language("up", ", engine: sql");
    assert!(unknown.contains("sql"), "{unknown}");
}

#[test]
fn terms_over_lines_stand_among_metrics() {
    let logs = "sum(rate({app=\"x\"} |= \"err\" [5m]))";
    check(
        &format!("{logs} > 1 and on() up{{job=\"db\"}} == 1"),
        "both",
    );
    check(&format!("({logs} / on() requests:rate5m) > 0.1"), "both");
    check(
        &format!("label_join({logs}, \"a\", \"b\") > 1 unless up"),
        "both",
    );
    check(&format!("histogram_quantile(0.9, x) > {logs}"), "both");
    let moment = "beside metrics, lines can be computed with at the instant of evaluation only: no subquery, @ or offset around them";
    check(&format!("max_over_time({logs}[1h:1m]) > 1 and up"), moment);
    check("rate({app=\"x\"} |= \"e\" [5m]) offset 5m > up", moment);
    check(
        &format!("{logs} > 1 and on() up{{"),
        "could not parse expression: unexpected end of input inside braces",
    );
    // Places are those of the text as written.
    let text = file(&format!("{logs} + unknown_function(up)"), "");
    let found = parse("r.yml", &text).unwrap_err();
    assert_eq!(
        found[0].column,
        1 + text.find("unknown_function").unwrap(),
        "{}",
        found[0]
    );
}

const ERRORS: &str = r#"
groups:
  - name: g
    interval: 60s
    rules:
      - alert: Errors
        expr: sum by (app) (count_over_time({app=~".+"} |= "err" [1m])) > 1
        labels: { severity: page }
        annotations: { summary: '{{ $labels.app }}: {{ $value }} errors' }
      - record: app:lines:count1m
        expr: sum by (app) (count_over_time({app=~".+"}[1m]))
        engine: logql
"#;

fn rule(status: &GroupStatus, i: usize) -> (Health, String) {
    let rule = &status.rules[i];
    (rule.health, rule.last_error.clone().unwrap_or_default())
}

#[test]
fn lines_fire_an_alert_and_become_a_series() {
    let b = Bench::new(ERRORS, &memory());
    let at = 600_000;
    for ms in [0, 10_000, 54_000] {
        b.env.lines.push("{app=\"shop\"}", at * 1000 + ms, "err");
        b.env.lines.push("{app=\"quiet\"}", at * 1000 + ms, "fine");
    }
    b.eval(at + 60);
    assert_eq!(b.state(), format!("firing {} 3", at + 60));
    let alert = "{alertname=\"Errors\", app=\"shop\", severity=\"page\"}";
    assert_eq!(b.sent(), [format!("{alert} {}-{}", at + 60, at + 300)]);
    let status = b.group().status();
    assert_eq!(
        status.rules[0].expr,
        "(sum by (app)(count_over_time({app=~\".+\"} |= \"err\"[1m])) > 1)"
    );
    assert_eq!(rule(&status, 0), (Health::Ok, String::new()));
    assert_eq!(
        b.points("app:lines:count1m{app=\"quiet\"}"),
        format!("{}:3", at + 60)
    );
    b.eval(at + 180);
    assert_eq!(b.state(), "");
    assert_eq!(
        b.points("app:lines:count1m{app=\"quiet\"}"),
        format!("{}:3 {}:stale", at + 60, at + 180)
    );
}

#[test]
fn windows_end_five_seconds_ago_so_that_late_lines_are_in_one() {
    let b = Bench::new(ERRORS, &memory());
    let at = 600_000;
    // Two lines of the last second, which come when the evaluation is over.
    b.eval(at);
    for ms in [700, 600] {
        b.env.lines.push("{app=\"shop\"}", at * 1000 - ms, "err");
    }
    b.eval(at + 60);
    assert_eq!(b.state(), format!("firing {} 2", at + 60));
    // Where the group says when, it is so.
    let text = ERRORS.replace("interval: 60s", "interval: 60s\n    query_offset: 0s");
    let b = Bench::new(&text, &memory());
    for ms in [700, 600] {
        b.env.lines.push("{app=\"shop\"}", at * 1000 - ms, "err");
    }
    b.eval(at);
    assert_eq!(b.state(), format!("firing {at} 2"));
    b.eval(at + 60);
    assert_eq!(b.state(), "");
}

#[test]
fn what_was_not_read_to_its_end_is_an_error_and_changes_no_alert() {
    let b = Bench::new(ERRORS, &memory());
    let at = 600_000;
    for ms in [0, 10_000, 54_000] {
        b.env.lines.push("{app=\"shop\"}", at * 1000 + ms, "err");
        b.env
            .lines
            .push("{app=\"shop\"}", (at + 60) * 1000 + ms, "err");
    }
    b.eval(at + 60);
    assert_eq!(b.state(), format!("firing {} 3", at + 60));
    b.env.log_limits.lock().unwrap().read_bytes_max = 4;
    b.eval(at + 120);
    assert_eq!(b.state(), format!("firing {} 3", at + 60));
    let (health, error) = rule(&b.group().status(), 0);
    assert_eq!(health, Health::Err);
    assert!(error.contains("stopped there"), "{error}");
    b.env.log_limits.lock().unwrap().read_bytes_max = 1000;
    b.env.log_limits.lock().unwrap().cancel = Some(Arc::new(true.into()));
    b.eval(at + 121);
    assert_eq!(
        rule(&b.group().status(), 0),
        (Health::Err, "query was canceled".to_owned())
    );
}

#[test]
fn lines_that_a_stage_cannot_read_are_an_error_as_in_loki() {
    let text = ERRORS.replace("|= \"err\"", "| json");
    let text = text.replace("sum by (app)", "sum by (app, code)");
    let b = Bench::new(&text, &memory());
    let at = 600_000;
    b.env
        .lines
        .push("{app=\"shop\"}", at * 1000, "{\"code\": \"7");
    b.eval(at + 60);
    let (health, error) = rule(&b.group().status(), 0);
    assert_eq!((health, b.state().as_str()), (Health::Err, ""));
    assert!(error.contains("JSONParser"), "{error}");
}

#[test]
fn an_alert_may_need_both_lines_and_metrics() {
    let text = r#"
groups:
  - name: g
    interval: 60s
    rules:
      - alert: Both
        expr: |
          sum by (app) (count_over_time({app=~".+"} |= "err" [1m])) > 1  # lines
            and on (app) (up == 1)
        annotations: { summary: '{{ $value }}' }
"#;
    let b = Bench::new(text, &memory());
    let at = 600_000;
    for app in ["a", "b"] {
        for ms in 0..3 {
            b.env
                .lines
                .push(&format!("{{app=\"{app}\"}}"), at * 1000 + ms, "err");
        }
    }
    b.put("up{app=\"a\", job=\"x\"}", at, 1.0);
    b.put("up{app=\"b\", job=\"x\"}", at, 0.0);
    b.eval(at + 30);
    assert_eq!(b.state(), format!("firing {} 3", at + 30));
    assert_eq!(
        b.sent(),
        [format!(
            "{{alertname=\"Both\", app=\"a\"}} {}-{}",
            at + 30,
            at + 270
        )]
    );
    let shown = b.group().status().rules[0].expr.clone();
    assert!(
        shown.starts_with("sum by (app) (count_over_time("),
        "{shown}"
    );
}
