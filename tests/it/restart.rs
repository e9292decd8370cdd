//! What a restart must not lose, and how the process stops and reloads.

use std::time::Duration;

use stackwatch_tests::eventually;
use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::Stackwatch;

fn config(target: &Sink) -> String {
    format!(
        "collect:\n  interval: 1s\n  docker: false\n  scrape_configs:\n    - job_name: app\n      static_configs:\n        - targets: [\"{}\"]\n",
        target.address()
    )
}

#[test]
fn every_sample_older_than_a_second_survives_many_kills() {
    let dir = tempfile::tempdir().unwrap();
    let target = Sink::start("app_requests_total 1\n");
    let mut stackwatch = Stackwatch::start(dir.path(), &config(&target));
    let mut seen = 0.0;
    for round in 0..5 {
        let enough = seen + 2.0;
        seen = eventually("new samples", Duration::from_secs(15), || {
            stackwatch
                .value("count_over_time(app_requests_total[1h])")
                .filter(|n| *n >= enough)
        });
        std::thread::sleep(Duration::from_millis(1100));
        stackwatch.kill_and_restart();
        let after = stackwatch
            .value("count_over_time(app_requests_total[1h])")
            .unwrap_or(0.0);
        assert!(
            after >= seen,
            "round {round}: {seen} samples before the kill, {after} after"
        );
    }
}

#[test]
fn sigterm_stops_cleanly_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let target = Sink::start("app_requests_total 1\n");
    let mut stackwatch = Stackwatch::start(dir.path(), &config(&target));
    let seen = eventually("samples", Duration::from_secs(15), || {
        stackwatch
            .value("count_over_time(app_requests_total[1h])")
            .filter(|n| *n >= 2.0)
    });
    stackwatch.signal("TERM");
    assert_eq!(stackwatch.exit_code(), Some(0), "{}", stackwatch.log());
    stackwatch.kill_and_restart();
    assert!(
        stackwatch
            .value("count_over_time(app_requests_total[1h])")
            .unwrap_or(0.0)
            >= seen
    );
}

#[test]
fn a_wrong_configuration_is_refused_at_reload_and_the_old_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let target = Sink::start("app_requests_total 1\n");
    let stackwatch = Stackwatch::start(dir.path(), &config(&target));
    eventually("the target", Duration::from_secs(15), || {
        stackwatch.value("up{job=\"app\"} == 1")
    });

    std::fs::write(
        dir.path().join("stackwatch.yml"),
        "collect:\n  intervall: 1s\n",
    )
    .unwrap();
    let answer =
        stackwatch_tests::http::request("POST", stackwatch.listen(), "/-/reload", &[], "").unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("stackwatch.yml:2:") && answer.body.contains("interval"),
        "{}",
        answer.body
    );
    let before = stackwatch
        .value("count_over_time(app_requests_total[1h])")
        .unwrap();
    eventually("scrapes go on", Duration::from_secs(15), || {
        stackwatch
            .value("count_over_time(app_requests_total[1h])")
            .filter(|n| *n > before)
    });

    let renamed = config(&target).replace("job_name: app", "job_name: renamed");
    std::fs::write(dir.path().join("stackwatch.yml"), renamed).unwrap();
    stackwatch.signal("HUP");
    eventually("the new job", Duration::from_secs(15), || {
        stackwatch.value("up{job=\"renamed\"} == 1")
    });
    eventually("the old job's series end", Duration::from_secs(15), || {
        stackwatch.query("up{job=\"app\"}").is_empty().then_some(())
    });
}
