//! `rules/packs/stackwatch.yml`.

use crate::scene::{Line, always, check, fires, play, quiet, rate, step};

#[test]
fn the_monitoring_itself() {
    fires("Watchdog", 1, vec![]);
    let up = |v: f64| -> Vec<Line> { vec![("up{job=\"j\",instance=\"i\"}", always(v))] };
    check("ScrapeTargetDown", 5, up(0.0), up(1.0));
    let mut docker = up(0.0);
    docker.push(("docker_engine_up{job=\"j\",instance=\"i\"}", always(0.0)));
    quiet("ScrapeTargetDown", 5, docker);
    macro_rules! grows {
        ($alert:literal, $series:literal) => {
            check(
                $alert,
                15,
                vec![($series, rate(0.05))],
                vec![($series, always(7.0))],
            );
        };
    }
    grows!(
        "RuleEvaluationFailing",
        "stackwatch_rule_evaluation_failures_total{rule_group=\"g\"}"
    );
    grows!(
        "RuleGroupLate",
        "stackwatch_rule_group_iterations_missed_total{rule_group=\"g\"}"
    );
    grows!(
        "NotificationsFailing",
        "stackwatch_notifications_failed_total{receiver=\"r\",integration=\"slack\"}"
    );
    // Fails for `minutes`, then delivers what waited; another receiver works all the time.
    let failing = |minutes: f64| -> Vec<Line> {
        let end = minutes * 60.0;
        vec![
            (
                "stackwatch_notifications_failed_total{receiver=\"r\",integration=\"slack\"}",
                Box::new(move |s| Some((s.min(end) / 20.0).floor())),
            ),
            (
                "stackwatch_notification_latency_seconds_count{receiver=\"r\",integration=\"slack\"}",
                step(end, 0.0, 1.0),
            ),
            (
                "stackwatch_notification_latency_seconds_count{receiver=\"q\",integration=\"slack\"}",
                rate(0.05),
            ),
        ]
    };
    quiet("NotificationsFailing", 40, failing(4.0));
    let fired = play("NotificationsFailing", 40, &failing(20.0));
    assert_eq!((fired.first(), fired.last()), (Some(&6), Some(&19)));
    grows!(
        "StorageWriteErrors",
        "stackwatch_storage_write_errors_total"
    );
    grows!(
        "SamplesRefused",
        "stackwatch_storage_samples_refused_total{reason=\"target_limit\"}"
    );
    quiet(
        "SamplesRefused",
        15,
        vec![(
            "stackwatch_storage_samples_refused_total{reason=\"duplicate\"}",
            rate(0.05),
        )],
    );
    let outbox = |age: f64, dead: f64| -> Vec<Line> {
        vec![
            ("stackwatch_outbox_oldest_age_seconds", always(age)),
            ("stackwatch_outbox_dead_letters", always(dead)),
        ]
    };
    check(
        "NotificationsStuck",
        2,
        outbox(400.0, 0.0),
        outbox(10.0, 0.0),
    );
    fires("NotificationsStuck", 2, outbox(0.0, 1.0));
    check(
        "StorageCorruption",
        5,
        vec![("stackwatch_storage_corruptions_total", always(1.0))],
        vec![("stackwatch_storage_corruptions_total", always(0.0))],
    );
}
