//! The state machine of alerts: Prometheus', and what survives a restart.

mod support;

use std::sync::Arc;

use model::control::MemoryControlStore;
use model::{ControlError, ControlStore, ControlWrite, Histogram, HistogramSample, Timestamp};
use support::{Bench, labels};

fn memory() -> Arc<dyn ControlStore> {
    Arc::new(MemoryControlStore::default())
}

const DOWN: &str = r#"
groups:
  - name: g
    interval: 60s
    rules:
      - alert: Down
        expr: up == 0
        for: 2m
        labels: { severity: critical, where: '{{ $labels.instance }}' }
        annotations: { summary: '{{ $labels.instance }} is down ({{ $value }})' }
"#;

#[test]
fn an_alert_is_pending_for_its_hold_then_fires_then_resolves() {
    let b = Bench::new(DOWN, &memory());
    let (up, at) = ("up{instance=\"a\"}", 600_000);
    let alert = "{alertname=\"Down\", instance=\"a\", severity=\"critical\", where=\"a\"}";
    b.put(up, at, 1.0);
    b.eval(at);
    assert_eq!((b.state().as_str(), b.sent()), ("", vec![]));

    b.put(up, at + 50, 0.0);
    b.eval(at + 60);
    assert_eq!(b.state(), format!("pending {} 0", at + 60));
    b.eval(at + 120);
    assert!(b.sent().is_empty());
    b.eval(at + 180);
    assert_eq!(b.state(), format!("firing {} 0", at + 60));
    // Valid for four intervals (or resend delays) from now on.
    assert_eq!(
        b.sent(),
        [format!("{alert} {}-{}", at + 180, at + 180 + 240)]
    );

    // Sent again only when more than the resend delay has passed.
    b.eval(at + 240);
    assert!(b.sent().is_empty());
    b.eval(at + 300);
    assert_eq!(
        b.sent(),
        [format!("{alert} {}-{}", at + 180, at + 300 + 240)]
    );

    b.put(up, at + 350, 1.0);
    b.eval(at + 360);
    assert_eq!(b.state(), "");
    let resolved = format!("{alert} {}-{}", at + 180, at + 360);
    assert_eq!(b.sent(), std::slice::from_ref(&resolved));
    // The end is told again for 15 minutes, then forgotten.
    b.put(up, at + 1200, 1.0);
    b.eval(at + 480);
    assert_eq!(b.sent(), std::slice::from_ref(&resolved));
    b.eval(at + 360 + 900);
    assert_eq!(b.sent(), [resolved]);
    b.put(up, at + 1400, 1.0);
    b.eval(at + 360 + 960);
    b.eval(at + 360 + 1100);
    assert!(b.sent().is_empty());

    let series = |state: &str| {
        b.points(&format!(
            "ALERTS{{alertname=\"Down\",alertstate=\"{state}\",instance=\"a\",severity=\"critical\",where=\"a\"}}"
        ))
    };
    assert_eq!(
        series("pending"),
        format!("{}:1 {}:1 {}:stale", at + 60, at + 120, at + 180)
    );
    assert_eq!(
        series("firing"),
        format!(
            "{}:1 {}:1 {}:1 {}:stale",
            at + 180,
            at + 240,
            at + 300,
            at + 360
        )
    );
    assert_eq!(
        b.points(
            "ALERTS_FOR_STATE{alertname=\"Down\",instance=\"a\",severity=\"critical\",where=\"a\"}"
        ),
        format!(
            "{0}:{1} {2}:{1} {3}:{1} {4}:{1} {5}:{1} {6}:stale",
            at + 60,
            at + 60,
            at + 120,
            at + 180,
            at + 240,
            at + 300,
            at + 360
        )
    );
}

#[test]
fn a_pending_alert_that_recovers_is_never_heard_of() {
    let b = Bench::new(DOWN, &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    assert!(b.state().starts_with("pending"));
    b.put("up{instance=\"a\"}", 600_050, 1.0);
    b.eval(600_060);
    b.eval(600_120);
    assert_eq!((b.state().as_str(), b.sent()), ("", vec![]));
}

#[test]
fn keep_firing_for_bridges_gaps() {
    let text = DOWN.replace("for: 2m", "keep_firing_for: 2m");
    let b = Bench::new(&text, &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    assert_eq!(
        b.state(),
        "firing 600000 0",
        "without `for` it fires at once"
    );
    b.put("up{instance=\"a\"}", 600_050, 1.0);
    b.eval(600_060);
    b.eval(600_120);
    assert_eq!(b.state(), "firing 600000 0");
    b.eval(600_180);
    assert_eq!(b.state(), "");
    assert!(b.sent().iter().any(|s| s.ends_with("600000-600180")));
}

#[test]
fn two_results_with_the_same_labels_fail_the_rule_and_change_no_alert() {
    let text = DOWN
        .replace("where: '{{ $labels.instance }}'", "instance: x")
        .replace("for: 2m", "for: 0s");
    let b = Bench::new(&text, &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    assert!(b.state().starts_with("firing"));
    b.put("up{instance=\"b\"}", 600_050, 0.0);
    let report = b.eval(600_060);
    assert_eq!((report.rules, report.failures), (1, 1));
    assert_eq!(
        b.error(0).as_deref(),
        Some("vector contains metrics with the same labelset after applying alert labels")
    );
    assert_eq!(b.state(), "firing 600000 0");
}

#[test]
fn a_limit_drops_all_alerts_of_the_rule() {
    let text = DOWN.replace("interval: 60s", "interval: 60s\n    limit: 1");
    let b = Bench::new(&text, &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    assert!(b.state().starts_with("pending"));
    b.put("up{instance=\"b\"}", 600_050, 0.0);
    b.eval(600_060);
    assert_eq!(
        b.error(0).as_deref(),
        Some("exceeded limit of 1 with 2 alerts")
    );
    assert_eq!(b.state(), "");
}

#[test]
fn an_annotation_that_fails_becomes_its_error_and_the_alert_goes_out() {
    let text = DOWN.replace("for: 2m", "for: 0s").replace(
        "{{ $labels.instance }} is down ({{ $value }})",
        "{{ query \"none\" | first }}",
    );
    let b = Bench::new(&text, &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    let sent = b.env.sent.lock().unwrap();
    let text = sent[0].annotations.get("summary").unwrap_or("");
    assert!(
        text.starts_with("<error expanding template: error executing template __alert_Down: template: __alert_Down:1:")
            && text.ends_with("error calling first: first() called on vector with no elements>"),
        "{text}"
    );
    assert_eq!(
        sent[0].generator_url,
        "http://sw/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
    );
}

#[test]
fn recorded_series_are_seen_by_the_next_rule_and_end_when_they_vanish() {
    let text = r#"
groups:
  - name: g
    query_offset: 10s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: { team: ops }
      - alert: Few
        expr: job:up:sum < 2
"#;
    let b = Bench::new(text, &memory());
    b.put("up{job=\"x\",instance=\"a\"}", 599_000, 1.0);
    b.put("up{job=\"x\",instance=\"a\"}", 599_980, 1.0);
    b.eval(600_000);
    assert_eq!(b.points("job:up:sum{job=\"x\",team=\"ops\"}"), "599990:1");
    assert_eq!(b.sent().len(), 1);
    b.put("up{job=\"x\",instance=\"a\"}", 600_030, model::STALE_NAN);
    b.eval(600_060);
    assert_eq!(
        b.points("job:up:sum{job=\"x\",team=\"ops\"}"),
        "599990:1 600050:stale"
    );
}

#[test]
fn native_histograms_are_recorded_and_count_as_zero_in_an_alert() {
    let text = r#"
groups:
  - name: g
    rules:
      - record: job:latency:sum
        expr: sum by (job) (latency)
      - alert: Slow
        expr: histogram_count(job:latency:sum) > 2
      - alert: Odd
        expr: job:latency:sum
        annotations: { value: "{{ $value }}" }
"#;
    let b = Bench::new(text, &memory());
    let histogram = Histogram {
        count: 3.0,
        sum: 1.5,
        zero_count: 3.0,
        ..Histogram::default()
    };
    b.env.series.push_histogram(HistogramSample {
        labels: labels("latency{job=\"x\",instance=\"a\"}"),
        at: Timestamp::from_millis(599_990_000),
        histogram: Arc::new(histogram),
    });
    assert_eq!(b.eval(600_000).failures, 0);
    let sent = b.env.sent.lock().unwrap();
    assert_eq!(sent.len(), 2, "{sent:?}");
    let odd = sent
        .iter()
        .find(|a| a.labels.get("alertname") == Some("Odd"));
    assert_eq!(odd.unwrap().annotations.get("value"), Some("0"));
}

#[test]
fn a_store_that_refuses_is_the_rules_error() {
    let b = Bench::new(
        "groups: [{ name: g, rules: [{ record: r, expr: vector(1) }] }]",
        &memory(),
    );
    *b.env.refuse_writes.lock().unwrap() = true;
    assert_eq!(b.eval(600_000).failures, 1);
    assert_eq!(b.error(0).as_deref(), Some("storing the result: disk full"));
    *b.env.refuse_writes.lock().unwrap() = false;
    assert_eq!(b.eval(600_060).failures, 0);
    assert_eq!(b.error(0), None);
}

#[test]
fn a_kill_changes_nothing_for_a_firing_alert() {
    let control = memory();
    let b = Bench::new(DOWN, &control);
    for s in [0, 60, 120, 180, 240] {
        b.put("up{instance=\"a\"}", 600_000 + s, 0.0);
        b.eval(600_000 + s);
    }
    b.sent();
    // The process is gone; what it had in memory too.
    let b = Bench::with(b.env, DOWN, &control);
    assert_eq!(
        b.state(),
        "firing 600000 0",
        "known before the first evaluation"
    );
    b.put("up{instance=\"a\"}", 600_290, 0.0);
    assert_eq!(
        b.eval(600_300).sent,
        0,
        "last sent at 600240: not due again yet"
    );
    assert_eq!(b.eval(600_360).sent, 1);
    // Same start as before: alerting takes it for the same incident.
    assert!(b.sent()[0].ends_with("600120-600600"), "fired at 600120");
}

#[test]
fn a_firing_alert_is_not_resolved_before_the_first_scrapes_after_a_start() {
    let control = memory();
    let text = DOWN.replace("for: 2m", "for: 0s");
    let b = Bench::new(&text, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    // Ten minutes of downtime: the last sample is beyond the lookback.
    let b = Bench::with(b.env, &text, &control);
    b.sent();
    b.eval(600_600);
    assert_eq!(b.state(), "firing 600000 0");
    assert!(b.sent()[0].ends_with("600000-600840"), "still firing");
    b.put("up{instance=\"a\"}", 600_610, 0.0);
    b.eval(600_660);
    assert_eq!(b.state(), "firing 600000 0");

    // And once the time to settle is over, an alert that is not seen is resolved.
    let b = Bench::with(b.env, &text, &control);
    b.put("up{instance=\"a\"}", 600_670, 1.0);
    b.sent();
    b.eval(600_680);
    assert!(b.state().starts_with("firing"));
    b.eval(600_740);
    assert_eq!(b.state(), "");
    assert!(b.sent().iter().any(|s| s.ends_with("600000-600740")));
}

#[test]
fn an_alert_of_before_ends_as_soon_as_everything_was_collected_again() {
    let control = memory();
    let text = DOWN.replace("for: 2m", "for: 0s");
    let b = Bench::new(&text, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    let b = Bench::with(b.env, &text, &control);
    b.put("up{instance=\"a\"}", 600_050, 1.0);
    *b.env.collected_at.lock().unwrap() = Some(600_055);
    b.eval(600_060);
    assert!(b.state().starts_with("firing"), "others may come to know");
    *b.env.collected_at.lock().unwrap() = Some(600_001);
    b.eval(600_061);
    assert_eq!(b.state(), "");
}

#[test]
fn a_pending_alert_goes_on_after_a_restart_but_downtime_does_not_count() {
    let control = memory();
    let b = Bench::new(DOWN, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    b.eval(600_060);
    // A quick restart: it fires when it would have fired.
    let b = Bench::with(b.env, DOWN, &control);
    b.put("up{instance=\"a\"}", 600_110, 0.0);
    b.eval(600_120);
    assert_eq!(b.state(), "firing 600000 0");

    let control = memory();
    let b = Bench::new(DOWN, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    b.eval(600_060);
    // An hour nobody watched: one minute of two is still to go.
    let b = Bench::with(b.env, DOWN, &control);
    b.put("up{instance=\"a\"}", 603_650, 0.0);
    b.eval(603_660);
    assert!(b.state().starts_with("firing 603540"), "{}", b.state());

    let control = memory();
    let b = Bench::new(DOWN, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    let b = Bench::with(b.env, DOWN, &control);
    b.put("up{instance=\"a\"}", 603_650, 0.0);
    b.eval(603_660);
    assert_eq!(b.state(), "pending 603600 0");
    b.eval(603_720);
    assert_eq!(b.state(), "firing 603600 0");
}

#[test]
fn a_resolve_that_nobody_heard_is_sent_after_a_restart() {
    let control = memory();
    let text = DOWN.replace("for: 2m", "for: 0s");
    let b = Bench::new(&text, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    b.put("up{instance=\"a\"}", 600_050, 1.0);
    b.eval(600_060);
    let b = Bench::with(b.env, &text, &control);
    b.sent();
    b.put("up{instance=\"a\"}", 600_150, 1.0);
    b.eval(600_180);
    assert_eq!(b.sent().len(), 1);
    assert_eq!(b.state(), "");
}

#[test]
fn an_alert_that_was_handed_over_is_known_after_a_kill_at_that_moment() {
    let control = memory();
    let text = DOWN.replace("for: 2m", "for: 0s");
    let b = Bench::new(&text, &control);
    // What is on disk at the moment alerting hears of the alert, which is when we are killed.
    let killed = memory();
    let (from, to) = (Arc::clone(&control), Arc::clone(&killed));
    *b.env.on_send.lock().unwrap() = Some(Box::new(move || {
        let rows = from.scan("rules.alerts").unwrap();
        let put = rows.into_iter().map(|(key, value)| ControlWrite::Put {
            table: "rules.alerts",
            key,
            value,
        });
        to.commit(put.collect()).unwrap();
    }));
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    b.sent();
    // It recovers before anybody looks again; its end is told all the same.
    b.env.on_send.lock().unwrap().take();
    let b = Bench::with(b.env, &text, &killed);
    b.put("up{instance=\"a\"}", 600_050, 1.0);
    b.eval(600_060);
    b.eval(600_120);
    let sent = b.sent();
    assert!(
        sent.iter().any(|s| s.ends_with("600000-600120")),
        "{sent:?}"
    );
}

#[test]
fn rows_of_rules_that_are_gone_are_forgotten() {
    let control = memory();
    let b = Bench::new(DOWN, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    assert_eq!(control.scan("rules.alerts").unwrap().len(), 1);
    let _b = Bench::new(&DOWN.replace("alert: Down", "alert: Other"), &control);
    assert_eq!(control.scan("rules.alerts").unwrap().len(), 0);
}

#[test]
fn a_quiet_group_writes_nothing_and_a_busy_one_writes_once() {
    #[derive(Default)]
    struct Counting(MemoryControlStore, std::sync::atomic::AtomicUsize);
    impl ControlStore for Counting {
        fn scan(&self, t: &'static str) -> Result<Vec<(String, Vec<u8>)>, ControlError> {
            self.0.scan(t)
        }
        fn commit(&self, w: Vec<ControlWrite>) -> Result<(), ControlError> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.commit(w)
        }
    }
    let counting = Arc::new(Counting::default());
    let control: Arc<dyn ControlStore> = counting.clone();
    let commits = || counting.1.load(std::sync::atomic::Ordering::Relaxed);
    let b = Bench::new(DOWN, &control);
    b.put("up{instance=\"a\"}", 600_000, 1.0);
    b.eval(600_000);
    assert_eq!(commits(), 0);
    b.put("up{instance=\"a\"}", 600_010, 0.0);
    b.put("up{instance=\"b\"}", 600_010, 0.0);
    b.eval(600_060);
    assert_eq!(commits(), 1);
}

#[test]
fn a_reload_keeps_alerts_of_rules_that_stay_and_ends_series_of_those_that_go() {
    let control = memory();
    let two = format!("{DOWN}      - record: r\n        expr: vector(1)\n");
    let b = Bench::new(&two, &control);
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.eval(600_000);
    let before = b.group();
    let same = rules::file::parse("r.yml", &format!("# a comment\n{two}")).unwrap();
    b.groups.reload(vec![same]).unwrap();
    assert!(
        Arc::ptr_eq(&before, &b.group()),
        "an unchanged group keeps running"
    );

    // Another `for`, same name and labels: the alert goes on. The recording rule is gone.
    let changed = rules::file::parse("r.yml", &DOWN.replace("for: 2m", "for: 1m")).unwrap();
    b.groups.reload(vec![changed]).unwrap();
    assert!(before.is_retired());
    assert_eq!(b.state(), "pending 600000 0");
    assert_eq!(
        before
            .eval(support::seconds(600_030), &b.engine, &b.env)
            .rules,
        0
    );
    b.eval(600_060);
    assert_eq!(b.state(), "firing 600000 0");
    assert_eq!(b.env.series.points(&labels("r")), "600000:1 600060:stale");

    b.groups.reload(Vec::new()).unwrap();
    assert!(b.groups.groups().is_empty());
    assert!(control.scan("rules.alerts").unwrap().is_empty());
}

#[test]
fn late_evaluations_count_the_slots_they_missed() {
    let b = Bench::new(DOWN, &memory());
    let group = b.group();
    let first = group.next_eval(support::seconds(600_000));
    let fourth = first.plus(std::time::Duration::from_secs(180));
    group.eval(first, &b.engine, &b.env);
    let report = group.eval(fourth, &b.engine, &b.env);
    assert_eq!(report.missed, 2);
    assert_eq!(group.status().iterations_missed, 2);
}

#[test]
fn a_clock_set_back_does_not_hold_up_what_must_be_sent() {
    let b = Bench::new(&DOWN.replace("for: 2m", "for: 0s"), &memory());
    b.put("up{instance=\"a\"}", 600_000, 0.0);
    b.put("up{instance=\"a\"}", 596_350, 0.0);
    b.eval(600_000);
    b.sent();
    b.eval(596_400);
    assert_eq!(b.sent().len(), 1);
}
