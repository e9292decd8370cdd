//! `cargo xtask bench storage`: the same remote-write stream to each store, one after another.
//!
//! Timestamps lie in the past and ascend, as in real time; only that a day passes in minutes, so
//! memory while feeding is that of a much faster stream than the simulated one. The stream ends
//! at the last midnight (UTC) that is some hours old, so that every store compacts what it would
//! have compacted in real time.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use stackwatch_tests::remote_write::{Sender, WriteRequest};
use stackwatch_tests::{cargo, http};

use super::peer::{ALL, Kind, Peer};
use super::player::{Player, STEP_MS};
use super::recording::{self, Recording};

/// Scrapes of one host in one request: a minute's worth.
const STEPS_PER_REQUEST: usize = 4;
/// Requests made in advance: the generator runs beside the store.
const REQUESTS_AHEAD: usize = 16;
/// The stream ended at least this long ago: longer than a store waits before it compacts a day.
const OLD_MS: i64 = 4 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// Longest wait for compaction after the stream has ended.
const SETTLE_MAX: Duration = Duration::from_secs(240);
/// The data directory has settled when it stays the same for so long.
const SETTLED_FOR: Duration = Duration::from_secs(75);
/// Each query is asked so often; the median counts.
const QUERY_RUNS: usize = 5;

struct Options {
    series: Vec<usize>,
    hours: i64,
    minutes_max: f64,
    only: Vec<String>,
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options {
        series: vec![10_000, 100_000],
        hours: 24,
        minutes_max: 30.0,
        only: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("{arg} wants a value"))?;
        match arg.as_str() {
            "--series" => {
                let numbers = value.split(',').map(str::parse);
                options.series = numbers.collect::<Result<_, _>>().context("--series")?;
            }
            "--hours" => options.hours = value.parse().context("--hours")?,
            "--minutes" => options.minutes_max = value.parse().context("--minutes")?,
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            other => bail!("unknown option {other}"),
        }
    }
    Ok(options)
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let options = options(args)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace root")?;
    let wanted = |kind: Kind| {
        let named = |o: &String| kind.name().starts_with(o.as_str());
        options.only.is_empty() || options.only.iter().any(named)
    };
    let stackwatch = match wanted(Kind::Stackwatch) {
        true => Some(cargo::release_binary()?),
        false => None,
    };
    let recordings = recording::load(root)?;
    for r in &recordings {
        println!("recorded {}: {} series", r.job, r.series.len());
    }
    for series in &options.series {
        let mut results = Vec::new();
        for kind in ALL {
            if !wanted(kind) {
                continue;
            }
            let dir = tempfile::tempdir()?;
            let Some(mut peer) = Peer::find(kind, stackwatch.as_deref(), dir.path()) else {
                println!("SKIPPED {}: not installed", kind.name());
                continue;
            };
            match measure(&mut peer, &recordings, *series, &options) {
                Ok(result) => results.push(result),
                Err(error) => println!("FAILED {}: {error:#}", kind.name()),
            }
        }
        print(&results, *series, options.hours);
    }
    Ok(())
}

/// What one store did with one stream.
struct Outcome {
    kind: Kind,
    figures: Vec<(&'static str, f64)>,
    disk: Vec<(String, u64)>,
    answers: Vec<String>,
}

fn measure(
    peer: &mut Peer,
    recordings: &[Recording],
    series: usize,
    options: &Options,
) -> Result<Outcome> {
    let mut player = Player::new(recordings, series);
    let (series, hosts) = (player.series(), player.hosts());
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_millis() as i64;
    let span = options.hours * 3_600_000;
    let end = (now - OLD_MS) / DAY_MS * DAY_MS;
    let start = end - span;
    // While it is fed this is data that comes late; afterwards it is data of yesterday.
    peer.late_hours = (now - start) / 3_600_000 + 1;
    println!(
        "\n{}: {hosts} hosts, {series} series, {} h",
        peer.kind.name(),
        options.hours
    );
    peer.start()?;
    let idle = peer.cost()?;
    let fed = feed(peer, &mut player, start, span, options.minutes_max)?;
    let after_feed = peer.cost()?;
    println!(
        "  fed {:.2} M samples of {:.1} h in {:.0} s; {} of {} requests not taken whole{}",
        fed.samples as f64 / 1e6,
        fed.end_ms.saturating_sub(start) as f64 / 3.6e6,
        fed.wall.as_secs_f64(),
        fed.refused,
        fed.requests,
        if fed.complaint.is_empty() {
            String::new()
        } else {
            format!(" ({})", fed.complaint)
        }
    );
    peer.flush();
    let steady = settle(peer)?;
    let settled = peer.cost()?;
    let bytes_fed: u64 = peer.disk_bytes().iter().map(|(_, b)| b).sum();
    peer.kill();
    peer.late_hours = 0;
    let started = Instant::now();
    let ready = peer.start()?;
    let count = format!(
        "/api/v1/query?query={}&time={}",
        http::encode("count({job=\"redis\"})"),
        fed.end_ms / 1000
    );
    let (counted, _) = peer.query(&count)?;
    let answered = started.elapsed();
    let restarted = peer.cost()?;
    let (scan, scan_answer) = median(peer, &scan_query(fed.end_ms))?;
    let (rate, rate_answer) = median(peer, &rate_query(start, fed.end_ms))?;
    peer.flush();
    settle(peer)?;
    let compacted = peer.cost()?;
    let written_mb = settled.written_mb + compacted.written_mb;
    let cpu_compacted = compacted.cpu_seconds - restarted.cpu_seconds;
    let disk = peer.disk_bytes();
    let bytes: u64 = disk.iter().map(|(_, b)| b).sum();
    let cpu_all = settled.cpu_seconds - idle.cpu_seconds + cpu_compacted;
    let samples = fed.samples as f64;
    let cpu_feed = after_feed.cpu_seconds - idle.cpu_seconds;
    Ok(Outcome {
        kind: peer.kind,
        figures: vec![
            ("M samples taken", samples / 1e6),
            ("k samples/s per core, taken", samples / cpu_feed / 1e3),
            (
                "k samples/s per core, compaction included",
                samples / cpu_all / 1e3,
            ),
            (
                "k samples/s wall clock",
                samples / fed.wall.as_secs_f64() / 1e3,
            ),
            ("MB resident, peak", settled.rss_peak_mb),
            ("MB resident, settled", steady),
            ("MB resident, after the restart", restarted.rss_mb),
            (
                "bytes resident per series, settled",
                steady * 1e6 / series as f64,
            ),
            (
                "bytes per sample on disk, all files, when fed",
                bytes_fed as f64 / samples,
            ),
            (
                "bytes per sample on disk, all files, compacted",
                bytes as f64 / samples,
            ),
            ("bytes written per sample", written_mb * 1e6 / samples),
            (
                "bytes written per byte kept",
                written_mb * 1e6 / bytes as f64,
            ),
            ("s from kill -9 to ready", ready.as_secs_f64()),
            ("s from kill -9 to the first answer", answered.as_secs_f64()),
            (
                "ms raw scan of ten hosts' CPUs, 24 h",
                scan.as_secs_f64() * 1e3,
            ),
            (
                "ms rate() of all CPUs by mode, 24 h at 5 m",
                rate.as_secs_f64() * 1e3,
            ),
        ],
        disk,
        answers: vec![counted.to_string(), scan_answer, rate_answer],
    })
}

fn scan_query(end_ms: i64) -> String {
    let expr = "sum(count_over_time(node_cpu_seconds_total{instance=~\"host0000.:9100\"}[24h]))";
    format!(
        "/api/v1/query?query={}&time={}",
        http::encode(expr),
        end_ms / 1000
    )
}

fn rate_query(start_ms: i64, end_ms: i64) -> String {
    let expr = "sum by (mode) (rate(node_cpu_seconds_total[5m]))";
    let (start, end) = (start_ms / 1000 + 300, end_ms / 1000);
    format!(
        "/api/v1/query_range?query={}&start={start}&end={end}&step=300",
        http::encode(expr)
    )
}

/// Median time, and a digest of the answer.
fn median(peer: &Peer, path: &str) -> Result<(Duration, String)> {
    let mut times = Vec::new();
    let mut digest = String::new();
    for _ in 0..QUERY_RUNS {
        let (answer, took) = peer.query(path)?;
        let series = answer.as_array().map_or(0, Vec::len);
        let points: usize = answer
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| s["values"].as_array().map_or(1, Vec::len))
            .sum();
        let first = answer[0]["value"][1].as_str().unwrap_or("");
        digest = format!("{series} series, {points} points {first}");
        times.push(took);
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], digest))
}

struct Fed {
    samples: u64,
    requests: u64,
    refused: u64,
    complaint: String,
    end_ms: i64,
    wall: Duration,
}

fn feed(peer: &Peer, player: &mut Player, start: i64, span: i64, minutes_max: f64) -> Result<Fed> {
    let mut sender = Sender::connect(&peer.address, "/api/v1/write")?;
    let (queue, requests) = mpsc::sync_channel::<(Vec<u8>, usize, i64)>(REQUESTS_AHEAD);
    let mut fed = Fed {
        samples: 0,
        requests: 0,
        refused: 0,
        complaint: String::new(),
        end_ms: start,
        wall: Duration::ZERO,
    };
    let limit = Duration::from_secs_f64(minutes_max * 60.0);
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(move || {
            let mut request = WriteRequest::default();
            let mut t = start;
            while t < start + span {
                for host in 0..player.hosts() {
                    let count = player.request(host, t, STEPS_PER_REQUEST, &mut request);
                    if queue.send((request.finish(), count, t)).is_err() {
                        return;
                    }
                }
                t += STEP_MS * STEPS_PER_REQUEST as i64;
            }
        });
        let started = Instant::now();
        for (body, count, t) in requests {
            let (status, complaint) = sender.send(&body)?;
            fed.requests += 1;
            if status / 100 == 2 {
                fed.samples += count as u64;
            } else {
                fed.refused += 1;
                fed.complaint = format!(
                    "{status} {}",
                    complaint.trim().chars().take(200).collect::<String>()
                );
            }
            fed.end_ms = t + STEP_MS * STEPS_PER_REQUEST as i64;
            if started.elapsed() > limit {
                println!("  stopped after {minutes_max} minutes");
                break;
            }
        }
        fed.wall = started.elapsed();
        Ok(())
    })?;
    Ok(fed)
}

/// Waits for compaction to end; the mean resident memory of the last ten seconds.
fn settle(peer: &Peer) -> Result<f64> {
    let started = Instant::now();
    let mut since = Instant::now();
    let mut before = 0;
    let mut memory: Vec<f64> = Vec::new();
    while started.elapsed() < SETTLE_MAX && since.elapsed() < SETTLED_FOR {
        std::thread::sleep(Duration::from_secs(1));
        memory.push(peer.cost()?.rss_mb);
        let bytes: u64 = peer.disk_bytes().iter().map(|(_, b)| b).sum();
        if bytes != before {
            (before, since) = (bytes, Instant::now());
        }
    }
    let last = &memory[memory.len().saturating_sub(10)..];
    Ok(last.iter().sum::<f64>() / last.len().max(1) as f64)
}

fn print(results: &[Outcome], series: usize, hours: i64) {
    let Some(first) = results.first() else { return };
    println!(
        "\n{series} series, {hours} h at 15 s; in brackets: as a multiple of {}",
        first.kind.name()
    );
    print!("{:<46}", "");
    for r in results {
        print!("{:>26}", r.kind.name());
    }
    println!();
    for (i, (name, own)) in first.figures.iter().enumerate() {
        print!("{name:<46}");
        for r in results {
            let value = r.figures[i].1;
            print!("{:>26}", format!("{value:.3} ({:.2}x)", value / own));
        }
        println!();
    }
    for r in results {
        let parts: Vec<String> = r
            .disk
            .iter()
            .map(|(n, b)| format!("{n} {:.1} MB", *b as f64 / 1e6))
            .collect();
        println!("disk, {}: {}", r.kind.name(), parts.join(", "));
        println!("answers, {}: {}", r.kind.name(), r.answers.join("; "));
    }
}
