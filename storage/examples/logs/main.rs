//! `cargo run --release -p storage --example logs [MEGABYTES]`: what log lines cost, from the scrubber
//! to the disk and back through LogQL. `cargo xtask bench logs` runs it and says beside what.
//!
//! Each part runs in a process of its own, so that memory is that part's. Lines go the way of pushed
//! ones: scrubbed one by one, stored in batches, synced by the store's thread, maintained every ten
//! seconds of their own time. CPU is the whole process', without the making of the lines.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement for a person at a terminal"
)]

mod lines;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lines::{Lines, STREAMS};
use model::{Direction, Labels, Timestamp};
use prometheus_client::registry::Registry;
use query::logql::eval::{self, Value};
use query::logql::{self, Expr, Limits, LogQuery};
use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels, Scrubber};
use storage::{Config, Storage};

/// 2026-11-20 08:00 UTC, so that the smaller runs end on that day.
const START_MS: i64 = 1_795_161_600_000;
const NS_PER_MS: i64 = 1_000_000;
/// Lines in one batch, as from a sender that waits a second or two.
const BATCH_LINES: usize = 200;
/// Text made in advance.
const CHUNK_BYTES: usize = 8 << 20;
const MAINTAIN_MS: i64 = 10_000;
const HOUR_MS: i64 = 3_600_000;
/// Least time and least runs of a query.
const QUERY_TIME: Duration = Duration::from_millis(1500);
const QUERY_RUNS: u32 = 5;
/// Streams of the small server, lines a second of each, and for how long.
const ACTIVE: (usize, i64, i64) = (40, 10, 1800);

/// Name and text; `NEEDLE` is the id in one of the lines.
const QUERIES: [(&str, &str); 9] = [
    ("rare needle, 1 hit", r#"{service_name=~".+"} |= "NEEDLE""#),
    (
        "rare needle with its ends, 1 hit",
        r#"{service_name=~".+"} |= "request_id=NEEDLE path""#,
    ),
    (
        "no hit",
        r#"{service_name=~".+"} |= "no such text anywhere""#,
    ),
    (
        "no hit, one word",
        r#"{service_name=~".+"} |= "nosuchtextanywhere""#,
    ),
    (
        "regex, no hit",
        r#"{service_name=~".+"} |~ "(?i)segfault|oom.?killer""#,
    ),
    (
        "error count",
        r#"sum(count_over_time({service_name=~".+"} |= "error" [24h]))"#,
    ),
    (
        "count by level, every minute",
        r#"sum by (detected_level) (count_over_time({service_name=~".+"} [1m]))"#,
    ),
    (
        "json, text filter",
        r#"sum(count_over_time({service_name="api"} | json | level="50" [24h]))"#,
    ),
    (
        "json, number filter",
        r#"sum(count_over_time({service_name="api"} | json | responseTime > 880 [24h]))"#,
    ),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--feed", dir, megabytes] => feed(Path::new(dir), megabytes.parse().unwrap()),
        ["--query", dir, number] => query(Path::new(dir), number.parse().unwrap()),
        ["--pack", dir] => pack(Path::new(dir)),
        ["--active", dir] => active(Path::new(dir)),
        [] => all("250"),
        [megabytes] => all(megabytes),
        _ => println!("usage: logs [MEGABYTES]"),
    }
}

fn all(megabytes: &str) {
    let dir = std::env::temp_dir().join(format!("stackwatch-logs-example-{}", std::process::id()));
    let part = |args: &[&str]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        // Else glibc gives each thread an arena; the product's allocator does not.
        command.args(args).env("MALLOC_ARENA_MAX", "1");
        assert!(command.status().unwrap().success());
    };
    let path = dir.to_str().unwrap();
    part(&["--feed", path, megabytes]);
    let ask = |when: &str| {
        println!("\n{when}\n\n| query | wall | CPU | grew | answer |\n|---|---|---|---|---|");
        for number in 0..QUERIES.len() {
            part(&["--query", path, &number.to_string()]);
        }
    };
    ask("as written during the day");
    part(&["--pack", path]);
    ask("after the day was packed anew");
    let other = dir.with_extension("active");
    part(&["--active", other.to_str().unwrap()]);
    for dir in [&dir, &other] {
        let _ = std::fs::remove_dir_all(dir);
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn open(dir: &Path, now_ms: i64) -> Storage {
    let config = Config {
        dir: dir.join("data"),
        ..Config::default()
    };
    Storage::open(config, at(now_ms), &mut Registry::default()).unwrap()
}

fn stream_labels(name: &str) -> Labels {
    Labels::from_pairs([
        ("compose_project", "shop"),
        ("container", name),
        ("host", "vps1"),
        ("service_name", name),
        ("stream", "stdout"),
    ])
}

fn batch(scrubber: &Scrubber, name: &str) -> LogBatch {
    LogBatch {
        stream: scrubber.labels(&stream_labels(name)),
        entries: Vec::new(),
        position: None,
    }
}

fn level(name: &str) -> Labels {
    Labels::from_pairs([("detected_level", name)])
}

/// Stores so much text, and leaves the id of one line beside it.
fn feed(dir: &Path, megabytes: u64) {
    std::fs::create_dir_all(dir).unwrap();
    let storage = open(dir, START_MS);
    let scrubber = Scrubber::default();
    let mut batches: Vec<LogBatch> = STREAMS.iter().map(|s| batch(&scrubber, s)).collect();
    let mut made = Lines::new(START_MS * NS_PER_MS);
    let (mut text, mut about, mut line) = (String::new(), Vec::new(), String::new());
    let (mut lines, mut bytes, mut errors) = (0_u64, 0_u64, 0_u64);
    let (mut making, mut making_cpu) = (Duration::ZERO, 0);
    let mut needle = String::new();
    let levels = ["error", "warn", "info"].map(level);
    let mut clean = ScrubbedLabels::default();
    let (mut maintained_ms, mut last_ns) = (START_MS, 0);
    let began = Instant::now();
    while bytes < megabytes * 1_000_000 {
        let (begun, cpu) = (Instant::now(), thread_cpu_ns());
        text.clear();
        about.clear();
        while text.len() < CHUNK_BYTES {
            let one = made.next_into(&mut line);
            text.push_str(&line);
            about.push((one, text.len()));
        }
        making += begun.elapsed();
        making_cpu += thread_cpu_ns() - cpu;
        let mut from = 0;
        for (one, to) in &about {
            let raw = &text[from..*to];
            from = *to;
            last_ns = one.at_ns;
            bytes += raw.len() as u64;
            lines += 1;
            errors += u64::from(raw.contains("error"));
            if bytes > megabytes * 600_000 && needle.is_empty() {
                let id = raw.split_once("request_id=").map(|(_, rest)| &rest[..36]);
                needle = id.unwrap_or("").to_owned();
            }
            let batch = &mut batches[one.stream];
            // As receivers do: once for lines with the same metadata.
            let metadata = levels
                .iter()
                .find(|l| l.get("detected_level") == Some(one.level));
            if clean.labels() != metadata.unwrap() {
                clean = scrubber.labels(metadata.unwrap());
            }
            batch.entries.push(ScrubbedEntry {
                at_ns: one.at_ns,
                line: scrubber.line(raw.as_bytes()),
                metadata: clean.clone(),
            });
            if batch.entries.len() >= BATCH_LINES {
                storage.append_logs_once(batch).unwrap();
                batch.entries.clear();
            }
        }
        while maintained_ms < last_ns / NS_PER_MS {
            maintained_ms += MAINTAIN_MS;
            storage.maintain(at(maintained_ms));
        }
    }
    for batch in &batches {
        storage.append_logs_once(batch).unwrap();
    }
    storage.sync().unwrap();
    let wall = (began.elapsed() - making).as_secs_f64();
    let cpu = process_cpu() - making_cpu as f64 / 1e9;
    let (resident, peak) = (memory("VmRSS"), memory("VmHWM"));
    let flush_ms = last_ns / NS_PER_MS + 1;
    storage.maintain(at(flush_ms));
    storage.maintain(at(flush_ms + 2 * HOUR_MS));
    let frames = storage.stats().frames;
    storage.close().unwrap();
    let mb = bytes as f64 / 1e6;
    println!(
        "{lines} lines of {:.1} bytes, {mb:.1} MB in {} streams, {errors} with \"error\"",
        bytes as f64 / lines as f64,
        STREAMS.len()
    );
    println!(
        "in: {:.0} MB/s per core, {:.0} MB/s wall; resident {resident:.1} MB, at the peak {peak:.1} MB",
        mb / cpu,
        mb / wall
    );
    told_disk(dir, lines, bytes, frames);
    let facts = format!("{needle} {last_ns} {lines} {bytes}");
    std::fs::write(dir.join("facts"), facts).unwrap();
}

fn told_disk(dir: &Path, lines: u64, bytes: u64, frames: u64) {
    let wal = bytes_under(&dir.join("data/logs/wal"));
    let disk = bytes_under(&dir.join("data/logs")) - wal;
    println!(
        "on disk: {:.1} MB and {:.1} MB of write-ahead log, {:.1} bytes a line without it, 1/{:.2}; {frames} frames",
        disk as f64 / 1e6,
        wal as f64 / 1e6,
        disk as f64 / lines as f64,
        bytes as f64 / disk as f64
    );
}

/// The needle, the last instant, lines and bytes.
fn facts(dir: &Path) -> (String, i64, u64, u64) {
    let text = std::fs::read_to_string(dir.join("facts")).unwrap();
    let mut words = text.split(' ');
    let needle = words.next().unwrap().to_owned();
    let mut number = || words.next().unwrap().parse::<i64>().unwrap();
    (needle, number(), number() as u64, number() as u64)
}

/// Runs one query until its times are steady.
fn query(dir: &Path, number: usize) {
    let (needle, last_ns, ..) = facts(dir);
    let now = last_ns / NS_PER_MS + 3 * HOUR_MS;
    let storage = open(dir, now);
    let (name, text) = QUERIES[number];
    let text = text.replace("NEEDLE", &needle);
    let expr = logql::parse(&text).unwrap();
    // From here on `VmHWM` is the peak since.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let run = || ask(&storage, &expr, last_ns);
    let answer = run();
    let grew = memory("VmHWM") - before;
    let (mut walls, cpu, began) = (Vec::new(), process_cpu(), Instant::now());
    while began.elapsed() < QUERY_TIME || walls.len() < QUERY_RUNS as usize {
        let begun = Instant::now();
        assert_eq!(run(), answer);
        walls.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cpu = (process_cpu() - cpu) * 1e3 / walls.len() as f64;
    walls.sort_by(f64::total_cmp);
    let wall = walls[walls.len() / 2];
    println!("| {name} | {wall:.1} ms | {cpu:.1} ms | {grew:.1} MB | {answer} |");
}

fn ask(storage: &Storage, expr: &Expr, last_ns: i64) -> String {
    let limits = Limits::default();
    let start_ns = START_MS * NS_PER_MS;
    let done = match expr {
        Expr::Log(e) => {
            let query = LogQuery {
                start_ns,
                end_ns: last_ns + 1,
                limit: 100,
                direction: Direction::Backward,
                interval_ns: 0,
                categorize: false,
            };
            eval::log_query(e, storage, &query, at(last_ns / NS_PER_MS), &limits)
        }
        Expr::Metric(e) if expr.selectors()[0].stages.is_empty() => {
            let minute = 60_000 * NS_PER_MS;
            eval::range(e, storage, (start_ns, last_ns), minute, &limits)
        }
        Expr::Metric(e) => eval::instant(e, storage, last_ns, &limits),
    };
    match done.unwrap().value {
        Value::Streams(streams) => {
            let entries = streams.iter().map(|s| s.entries.len()).sum::<usize>();
            format!("{entries} lines")
        }
        Value::Vector(values) => format!("{}", values.iter().map(|(_, v)| v).sum::<f64>()),
        Value::Matrix(series) => {
            let points = series.iter().flat_map(|s| &s.points);
            let sum: f64 = points.map(|(_, v)| v).sum();
            format!("{} series, {sum}", series.len())
        }
        Value::Scalar(value) => format!("{value}"),
    }
}

/// Maintains the store two days later, until nothing changes any more.
fn pack(dir: &Path) {
    let (_, last_ns, lines, bytes) = facts(dir);
    let now = last_ns / NS_PER_MS + 48 * HOUR_MS;
    let storage = open(dir, now);
    println!("\nat rest, opened: resident {:.1} MB", memory("VmRSS"));
    let (cpu, resident) = (process_cpu(), memory("VmRSS"));
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (mut before, mut same, mut steps, mut longest) = (0, 0, 0, 0.0_f64);
    while same < 3 {
        let begun = Instant::now();
        storage.maintain(at(now));
        let bytes = bytes_under(&dir.join("data/logs"));
        same = if bytes == before { same + 1 } else { 0 };
        steps += usize::from(same == 0);
        longest = longest.max(begun.elapsed().as_secs_f64());
        before = bytes;
    }
    let cpu = process_cpu() - cpu;
    println!(
        "\npacked anew: {:.0} MB/s per core in {steps} steps of {longest:.2} s at most, grew {:.1} MB",
        bytes as f64 / 1e6 / cpu,
        memory("VmHWM") - resident
    );
    told_disk(dir, lines, bytes, storage.stats().frames);
    storage.close().unwrap();
}

/// What a small server's streams take: a second of lines at a time, synced and maintained as ever.
fn active(dir: &Path) {
    let scrubber = Scrubber::default();
    let resident = memory("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let storage = open(dir, START_MS);
    let (streams, per_second, seconds) = ACTIVE;
    let mut made = Lines::new(START_MS * NS_PER_MS);
    let mut line = String::new();
    let names: Vec<String> = (0..streams).map(|i| format!("service-{i}")).collect();
    let levels: Vec<ScrubbedLabels> = vec![scrubber.labels(&level("info"))];
    let mut sum = 0.0;
    for second in 0..seconds {
        let second_ns = (START_MS + second * 1000) * NS_PER_MS;
        for name in &names {
            let mut batch = batch(&scrubber, name);
            for i in 0..per_second {
                made.next_into(&mut line);
                batch.entries.push(ScrubbedEntry {
                    at_ns: second_ns + i * NS_PER_MS,
                    line: scrubber.line(line.as_bytes()),
                    metadata: levels[0].clone(),
                });
            }
            storage.append_logs(&batch).unwrap();
        }
        storage.sync().unwrap();
        if second % 10 == 9 {
            storage.maintain(at(START_MS + second * 1000));
        }
        sum += memory("VmRSS");
    }
    println!(
        "\n{streams} streams of {per_second} lines a second for {} minutes: grew {:.1} MB on average, {:.1} MB at most",
        seconds / 60,
        sum / seconds as f64 - resident,
        memory("VmHWM") - resident
    );
}

/// Seconds of all threads, ended ones too, in steps of 10 ms.
fn process_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks = rest.split(' ').skip(11).take(2);
    ticks.map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Megabytes.
fn memory(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(what));
    let digits = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse::<f64>().unwrap() * 1024.0 / 1e6
}

fn bytes_under(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.metadata() {
            Ok(about) if about.is_dir() => bytes_under(&e.path()),
            Ok(about) => about.len(),
            Err(_) => 0,
        })
        .sum()
}
