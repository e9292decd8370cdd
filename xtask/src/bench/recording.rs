//! Genuine scrapes: Debian's exporters on this machine, once a second, under changing load.
//! Kept in `target/bench/recording`, so that runs compare; remove it to record anew.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stackwatch_tests::http;
use stackwatch_tests::stackwatch::free_address;

use super::exposition;
use super::peer::Running;
use crate::machine;

/// Scrapes recorded, one second apart; played as 15 s data they are fifteen phases of ten.
const SCRAPES: usize = 165;

/// One exporter's series over time.
pub(crate) struct Recording {
    pub(crate) job: String,
    pub(crate) series: Vec<Recorded>,
}

/// One series; a value for each scrape.
pub(crate) struct Recorded {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) is_counter: bool,
    pub(crate) values: Vec<f64>,
}

/// The recordings, made when absent.
pub(crate) fn load(root: &Path) -> Result<Vec<Recording>> {
    let dir = root.join("target/bench/recording");
    if !dir.join("node").is_dir() {
        record(&dir)?;
    }
    let mut recordings = Vec::new();
    let mut jobs: Vec<PathBuf> = std::fs::read_dir(&dir)?
        .flatten()
        .map(|e| e.path())
        .collect();
    jobs.sort();
    for job in jobs {
        recordings.push(read(&job)?);
    }
    Ok(recordings)
}

fn read(dir: &Path) -> Result<Recording> {
    let mut series: BTreeMap<Vec<(String, String)>, Recorded> = BTreeMap::new();
    for scrape in 0..SCRAPES {
        let path = dir.join(format!("{scrape:03}.prom"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for line in exposition::parse(&text) {
            let recorded = series.entry(line.labels.clone()).or_insert(Recorded {
                labels: line.labels,
                is_counter: line.is_counter,
                values: Vec::new(),
            });
            recorded.values.push(line.value);
        }
    }
    let job = dir
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    // A series that came or went meanwhile is left out: churn is no part of this stream.
    let series = series
        .into_values()
        .filter(|r| r.values.len() == SCRAPES)
        .collect();
    Ok(Recording { job, series })
}

fn record(dir: &Path) -> Result<()> {
    let mut exporters: Vec<(&str, String, Vec<Running>)> = Vec::new();
    let scratch = tempfile::tempdir()?;
    let mut redis_address = None;
    if let Some(node) = machine::find("prometheus-node-exporter") {
        let address = free_address();
        let mut command = Command::new(node);
        command.arg(format!("--web.listen-address={address}"));
        exporters.push((
            "node",
            address,
            vec![Running::start(command, scratch.path())?],
        ));
    } else {
        bail!(
            "SKIPPED: prometheus-node-exporter is not installed, and nothing else can be recorded"
        );
    }
    let redis = machine::find("redis-server").zip(machine::find("prometheus-redis-exporter"));
    if let Some((server, exporter)) = redis {
        let (at, address) = (free_address(), free_address());
        let port = at.rsplit(':').next().unwrap_or_default();
        let mut command = Command::new(server);
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", port]);
        let database = Running::start(command, scratch.path())?;
        let mut command = Command::new(exporter);
        command.args([
            "-redis.addr",
            &format!("redis://{at}"),
            "-web.listen-address",
            &address,
        ]);
        let exporter = Running::start(command, scratch.path())?;
        exporters.push(("redis", address, vec![exporter, database]));
        redis_address = Some(at);
    } else {
        println!(
            "SKIPPED redis in the recording: redis-server or prometheus-redis-exporter is missing"
        );
    }
    println!("recording {SCRAPES} scrapes, one a second, under changing load");
    std::thread::sleep(Duration::from_secs(2));
    let done = AtomicBool::new(false);
    let partial = dir.with_extension("partial");
    let _ = std::fs::remove_dir_all(&partial);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| burn(&done));
        scope.spawn(|| write_files(&done, scratch.path()));
        scope.spawn(|| use_redis(&done, redis_address.as_deref()));
        let outcome = scrape_all(&exporters, &partial);
        done.store(true, Ordering::Relaxed);
        outcome
    });
    outcome?;
    std::fs::rename(&partial, dir)?;
    Ok(())
}

fn scrape_all(exporters: &[(&str, String, Vec<Running>)], dir: &Path) -> Result<()> {
    let started = Instant::now();
    for scrape in 0..SCRAPES {
        for (job, address, _) in exporters {
            let answer = http::request("GET", address, "/metrics", &[], "")?;
            let dir = dir.join(job);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join(format!("{scrape:03}.prom")), answer.body)?;
        }
        let next = Duration::from_secs(scrape as u64 + 1);
        std::thread::sleep(next.saturating_sub(started.elapsed()));
    }
    Ok(())
}

/// Seconds of load and of rest follow each other irregularly.
fn is_busy(started: Instant, salt: u64) -> bool {
    let second = started.elapsed().as_secs() / 3 + salt;
    second.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 != 0
}

fn burn(done: &AtomicBool) {
    let started = Instant::now();
    let mut sum = 0_u64;
    while !done.load(Ordering::Relaxed) {
        if is_busy(started, 1) {
            for i in 0..2_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_mul(31) ^ i);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn write_files(done: &AtomicBool, dir: &Path) {
    let started = Instant::now();
    let mut round = 0_usize;
    while !done.load(Ordering::Relaxed) {
        if is_busy(started, 77) {
            let path = dir.join(format!("load{}", round % 5));
            let _ = std::fs::write(&path, vec![round as u8; 100_000 * (1 + round % 9)]);
            let _ = std::fs::read(&path);
            round += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn use_redis(done: &AtomicBool, address: Option<&str>) {
    let Some(mut stream) = address.and_then(|a| TcpStream::connect(a).ok()) else {
        return;
    };
    let started = Instant::now();
    let mut buffer = [0; 4096];
    let mut i = 0_u64;
    while !done.load(Ordering::Relaxed) {
        if is_busy(started, 1234) {
            for _ in 0..20 {
                i += 1;
                let key = i.wrapping_mul(2_654_435_761) % 5000;
                let command = match i % 4 {
                    0 => format!(
                        "SETEX s{key} {} {}\r\n",
                        5 + i % 30,
                        "x".repeat((i % 200) as usize + 1)
                    ),
                    1 => format!("LPUSH l{} v{i}\r\n", key % 50),
                    2 => format!("GET s{key}\r\n"),
                    _ => format!("INCR n{}\r\n", key % 300),
                };
                let sent = stream.write_all(command.as_bytes());
                if sent.is_err() || stream.read(&mut buffer).is_err() {
                    return;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where output of helpers goes.
pub(crate) fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null())
}
