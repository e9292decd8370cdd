//! Containers' logs from a real engine to the store: nothing lost, nothing twice, gaps marked.
//!
//! `STACKWATCH_LOG_LINES` makes the first test longer (lines; 200000 by default).

mod kinds;

use std::time::{Duration, Instant};

use stackwatch_tests::docker::IMAGE;
use stackwatch_tests::engine::PrivateEngine;
use stackwatch_tests::log_reader::{Entry, entries};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(240);
/// Lines between two pauses of the container.
const BURST: u32 = 5_000;

fn config(engine: &PrivateEngine, logs: &str) -> String {
    format!(
        "collect: {{ host: false, interval: 5s, docker: {{ socket: '{}' }} }}\nlogs: {{ docker: {{ {logs} }} }}\n",
        engine.address()
    )
}

/// `docker run -d` under a name, of one service whatever the name.
fn run(engine: &PrivateEngine, name: &str, options: &[&str], script: &str) {
    let name = format!("--name={name}");
    let service = "--label=com.docker.compose.service=counter";
    let words = ["run", "-d", "--network=none", &name, service];
    let words = [&words[..], options, &[IMAGE, "sh", "-c", script]].concat();
    assert!(engine.docker(&words).is_some(), "docker run {name}");
}

/// Numbers from `first` on, in bursts.
fn counting(first: u32, lines: u32) -> String {
    format!(
        "i={first}; while [ $i -lt {end} ]; do seq $i $((i+{BURST}-1)); i=$((i+{BURST})); sleep 0.3; done",
        end = first + lines
    )
}

/// A repeatable chance.
struct Chance(u64);

impl Chance {
    fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(from + self.0 % (to - from))
    }
}

fn numbers(stored: &[Entry]) -> Vec<u32> {
    stored.iter().filter_map(|e| e.line.parse().ok()).collect()
}

/// Waits until `last` is stored.
fn until_stored(stackwatch: &Stackwatch, last: u32) {
    let selector = format!("{{service_name=\"counter\",stream=\"stdout\"}} |= \"{last}\"");
    eventually(&format!("line {last}"), LIMIT, || {
        (!stackwatch.lines(&selector).is_empty()).then_some(())
    });
}

/// What the engine holds of a container.
fn held(engine: &PrivateEngine, name: &str) -> Vec<u32> {
    let held = engine.docker(&["logs", name]).unwrap();
    held.lines().map(|line| line.parse().unwrap()).collect()
}

/// Each number of `held`, which ascend, once and nothing else.
fn check(stored: &[Entry], held: &[u32]) {
    let mut found = numbers(stored);
    found.sort_unstable();
    found.dedup();
    let repeated = stored.len() - found.len();
    let missing: Vec<u32> = held
        .iter()
        .copied()
        .filter(|number| found.binary_search(number).is_err())
        .collect();
    let gaps = stored.iter().filter(|e| e.labels["gap"].is_string());
    assert!(
        missing.is_empty() && repeated == 0 && found.len() == held.len() && gaps.count() == 0,
        "{} missing from {:?} to {:?}, {repeated} too many",
        missing.len(),
        missing.first(),
        missing.last()
    );
}

fn survive(read: &str, engine_options: &[&str], log_options: &[&str]) {
    let Some(mut engine) = PrivateEngine::start(engine_options) else {
        return skipped("no Docker engine of its own");
    };
    let wished = std::env::var("STACKWATCH_LOG_LINES").ok();
    let total: u32 = wished.map_or(200_000, |lines| lines.parse().unwrap());
    // The first container writes most, the second what is left.
    let first = total / BURST * 9 / 10 * BURST;
    let dir = tempfile::tempdir().unwrap();
    let mut stackwatch = Stackwatch::start(dir.path(), &config(&engine, read));
    run(&engine, "counter-1", log_options, &counting(1, first));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let started = Instant::now();
    let mut kills = 0;
    let mut engine_restarts = 0;
    let runs = |engine: &PrivateEngine| {
        let state = engine.docker(&["inspect", "-f", "{{.State.Running}}", "counter-1"]);
        state.as_deref() == Some("true")
    };
    while runs(&engine) {
        std::thread::sleep(chance.millis(100, 900));
        stackwatch.kill();
        std::thread::sleep(chance.millis(0, 600));
        kills += 1;
        if kills % 4 == 2 {
            // Containers run on meanwhile, and wait for it when their pipe is full.
            engine.stop();
            engine.start_again(engine_options);
            engine_restarts += 1;
        }
        let _ = stackwatch.restart();
        assert!(started.elapsed() < LIMIT, "the container does not end");
    }
    println!("{kills} kills, {engine_restarts} restarts of the engine");
    until_stored(&stackwatch, first);
    // With an engine that is stopped go the lines it has taken from a pipe and not written yet.
    let mut expect = held(&engine, "counter-1");
    assert!(
        expect.len() as u32 > first * 9 / 10,
        "{} lines",
        expect.len()
    );
    // Made anew, as by an update: the service's log goes on.
    assert!(engine.docker(&["rm", "counter-1"]).is_some());
    run(
        &engine,
        "counter-2",
        log_options,
        &counting(first + 1, total - first),
    );
    until_stored(&stackwatch, total);
    let stored = entries(&stackwatch, "{service_name=\"counter\",stream=\"stdout\"}");
    expect.extend(held(&engine, "counter-2"));
    println!("{} lines of {total}", expect.len());
    check(&stored, &expect);
    // The proof says so itself.
    let answer = stackwatch.get("/api/v1/logs/streams").json();
    for stream in answer["data"]["streams"].as_array().unwrap() {
        let sum = |name: &str| stream[name].as_u64().unwrap();
        let known = sum("linesStored") + sum("linesDuplicate") + sum("linesDropped");
        assert_eq!(sum("linesSeen"), known, "{stream}");
        assert_eq!(sum("suspectedGaps"), 0, "{stream}");
    }
}

#[test]
fn every_line_is_stored_once_whatever_is_killed() {
    let log = ["--log-opt=max-size=2m", "--log-opt=max-file=50"];
    survive("read: auto", &["--live-restore"], &log);
}

#[test]
fn every_line_is_stored_once_by_the_api_too() {
    let log = ["--log-opt=max-size=10m", "--log-opt=max-file=10"];
    survive("read: api", &["--live-restore"], &log);
}

/// While nobody reads, more is written than the engine keeps.
fn lose(read: &str) {
    let Some(engine) = PrivateEngine::start(&[]) else {
        return skipped("no Docker engine of its own");
    };
    let dir = tempfile::tempdir().unwrap();
    let mut stackwatch = Stackwatch::start(dir.path(), &config(&engine, read));
    let log = ["--log-opt=max-size=1m", "--log-opt=max-file=3"];
    run(
        &engine,
        "counter-1",
        &log,
        "seq 1 1000; sleep 8; seq 1001 200000; sleep 10000",
    );
    until_stored(&stackwatch, 1000);
    stackwatch.kill();
    let held = eventually("the container has written all", LIMIT, || {
        let held = engine.docker(&["logs", "counter-1"])?;
        held.ends_with("200000").then_some(held)
    });
    let held: Vec<u32> = held.lines().map(|line| line.parse().unwrap()).collect();
    assert!(held[0] > 2000, "the engine still holds {}", held[0]);
    let _ = stackwatch.restart();
    until_stored(&stackwatch, 200_000);
    let stored = entries(&stackwatch, "{service_name=\"counter\",stream=\"stdout\"}");
    let expect: Vec<u32> = (1..=1000).chain(held).collect();
    let found = numbers(&stored);
    assert!(
        found == expect,
        "{} lines, {} expected",
        found.len(),
        expect.len()
    );
    let gaps: Vec<&Entry> = stored
        .iter()
        .filter(|e| e.labels["gap"].is_string())
        .collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].labels["gap"], "rotated");
    let gap_at = stored.iter().position(|e| e.labels["gap"].is_string());
    assert_eq!(gap_at, Some(1000));
    let answer = stackwatch.get("/api/v1/logs/streams").json();
    assert_eq!(answer["data"]["streams"][0]["suspectedGaps"], 1);
}

#[test]
fn lines_that_the_engine_lost_are_marked() {
    lose("read: auto");
}

#[test]
fn lines_that_the_engine_lost_are_marked_by_the_api_too() {
    lose("read: api");
}
