//! Many containers at once, and their engine restarted in the middle.

use std::time::Duration;

use stackwatch_tests::docker::IMAGE;
use stackwatch_tests::engine::PrivateEngine;
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(240);
const CONTAINERS: usize = 50;
/// Started at a time.
const AT_ONCE: usize = 10;

/// Counts its lines; asked to end it does, with a code that would be an alarm at any other time.
const SCRIPT: &str =
    "trap 'exit 3' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 2 & wait $!; done";

fn run(engine: &PrivateEngine, number: usize) {
    let name = format!("--name=many-{number}");
    let project = "--label=com.docker.compose.project=many";
    let service = format!("--label=com.docker.compose.service=s{number}");
    let options = [
        "run",
        "-d",
        "--network=none",
        "--restart=always",
        &name,
        project,
        &service,
    ];
    let words = [&options[..], &[IMAGE, "sh", "-c", SCRIPT]].concat();
    assert!(engine.docker(&words).is_some(), "docker run {name}");
}

/// Without `live-restore` containers are ended with their engine and started again, with it they run on.
/// Neither is an alarm, and nothing is lost.
#[test]
fn fifty_containers_at_once_and_their_engine_restarted() {
    let Some(mut engine) = PrivateEngine::start(&[]) else {
        return skipped("no Docker engine of its own");
    };
    let dir = tempfile::tempdir().unwrap();
    let address = engine.address();
    let config = format!(
        "collect: {{ host: false, interval: 1s, docker: {{ socket: '{address}' }} }}\nrules: {{ interval: 1s }}\n"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    for first in (0..CONTAINERS).step_by(AT_ONCE) {
        std::thread::scope(|scope| {
            for number in first..first + AT_ONCE {
                let engine = &engine;
                scope.spawn(move || run(engine, number));
            }
        });
    }
    let all = CONTAINERS as f64;
    let becomes = |expr: &str, expect: f64| {
        let mut last = None;
        let found = || {
            last = stackwatch.value(expr);
            last.filter(|v| *v == expect)
        };
        eventually(&format!("{expr} = {expect}"), LIMIT, found);
    };
    let watched = || {
        becomes("docker_engine_up", 1.0);
        becomes("sum(container_running)", all);
        becomes("count(container_memory_usage_bytes{name!=\"\"})", all);
    };
    watched();
    let none = |expr: &str| {
        let found = stackwatch.query(expr);
        assert!(found.is_empty(), "{expr}: {found:?}");
    };
    let started = || {
        stackwatch
            .value("max(container_started_time_seconds)")
            .unwrap()
    };

    // They end and begin anew.
    let first = started();
    engine.stop();
    becomes("docker_engine_up", 0.0);
    engine.start_again(&["--live-restore"]);
    watched();
    becomes(
        &format!("count(container_started_time_seconds > {first})"),
        all,
    );

    // They go on meanwhile.
    let second = started();
    engine.stop();
    becomes("docker_engine_up", 0.0);
    becomes("up{job=\"cadvisor\"}", 0.0);
    engine.start_again(&["--live-restore"]);
    watched();
    becomes("max(container_started_time_seconds)", second);
    none("resets(container_cpu_usage_seconds_total{name!=\"\"}[1h]) > 1");
    becomes("sum(container_restarts_total)", 0.0);
    becomes("sum(container_oom_events_total)", 0.0);
    none("count_over_time(ALERTS{alertname=~\"Container.*|Docker.*\",alertstate=\"firing\"}[1h])");

    // Each line of both runs, in order, in spite of all.
    for number in 0..CONTAINERS {
        let selector = format!("{{container=\"many-{number}\",stream=\"stdout\"}}");
        let whole = || {
            let lines = stackwatch.lines(&selector);
            let begins = lines.iter().filter(|line| *line == "line 0").count();
            (begins == 2).then_some(lines)
        };
        let lines = eventually(&format!("both runs of {selector}"), LIMIT, whole);
        let mut expect = 0;
        for line in &lines {
            if line == "line 0" {
                expect = 0;
            }
            assert_eq!(*line, format!("line {expect}"), "{selector}: {lines:?}");
            expect += 1;
        }
    }
}
