//! Measures what active series cost, and a start after a kill, on recorded scrapes:
//! `cargo run --release -p storage --example restart -- DIR [SERIES] [HOURS] [HEAD_MB]`.
//!
//! DIR has a folder per job with one text exposition per recorded second, as
//! `cargo xtask bench storage` leaves them in `target/bench/recording`. Hosts with SERIES
//! (100,000) series in all are scraped every 15 s for HOURS (3), and then up to just before
//! the head is flushed again, which is when a start takes longest. One process appends and
//! ends without a word; another opens what it left.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for a person at a terminal"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use model::{Labels, Sample, SampleBatch, Timestamp};
use prometheus_client::registry::Registry;
use storage::{Config, Storage};

const START: i64 = 1_763_683_200_000;
const STEP_MS: i64 = 15_000;
/// Recorded scrapes, one a second, that a step of 15 s covers.
const STEP: usize = 15;
/// One step in so many jumps to another place of the recording.
const JUMP: u64 = 40;
/// Counters with more decimals are added up as floats.
const DECIMALS_MAX: usize = 9;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(default, |a| a.parse().unwrap());
    let dir = std::env::temp_dir().join(format!("storage-restart-{}", std::process::id()));
    let part = std::env::var("STORAGE_RESTART").ok();
    let config = |dir: &str| Config {
        dir: dir.into(),
        head_bytes_max: (number(3, 64) as u64) << 20,
        ..Config::default()
    };
    match part.as_deref().and_then(|p| p.split_once('=')) {
        None => {
            for part in ["append", "open", "open"] {
                let mut command = Command::new(std::env::current_exe().unwrap());
                let value = format!("{part}={}", dir.display());
                command.args(&args).env("STORAGE_RESTART", value);
                assert!(command.status().unwrap().success());
            }
            if std::env::var_os("STORAGE_RESTART_KEEP").is_none() {
                std::fs::remove_dir_all(dir).unwrap();
            }
        }
        Some(("append", dir)) => append(&args[0], number(1, 100_000), number(2, 3), config(dir)),
        Some((_, dir)) => open(config(dir)),
    }
}

/// A series of one job.
struct Track {
    labels: Vec<(String, String)>,
    values: Vec<f64>,
    /// For counters: how many decimals.
    decimals: Option<usize>,
}

struct Host {
    job: usize,
    labels: Vec<Labels>,
    /// Where counters stand, in units of their last decimal.
    counters: Vec<i64>,
    at: usize,
    random: u64,
    phase_ms: i64,
}

fn append(recording: &str, series: usize, hours: usize, config: Config) {
    let dir = config.dir.clone();
    let (jobs, mut hosts) = play(Path::new(recording), series);
    let series: usize = hosts.iter().map(|h| h.labels.len()).sum();
    let ts = Timestamp::from_millis;
    let before = status_kib("VmRSS:");
    let mut registry = Registry::default();
    let storage = Storage::open(config, ts(START), &mut registry).unwrap();
    let (mut count, mut refused, mut steps_since, mut steps_between) = (0_u64, 0, 0, usize::MAX);
    let (mut spent, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let (mut blocks, mut head_bytes_max, mut rss_max, mut sum) = (0, 0, 0, (0_u64, 0_u64));
    for step in 0.. {
        for host in &mut hosts {
            let batch = host.scrape(&jobs, START + step as i64 * STEP_MS);
            let at = batch.samples[0].at;
            let began = Instant::now();
            let report = storage.append_samples(&batch, at).unwrap();
            let took = began.elapsed();
            (spent, slowest) = (spent + took, slowest.max(took));
            count += report.appended;
            refused += report.series_limit + report.target_limit;
        }
        storage.maintain(ts(START + (step as i64 + 1) * STEP_MS));
        let stats = storage.stats();
        steps_since += 1;
        if stats.blocks > blocks {
            steps_between = steps_since;
            steps_since = 0;
        }
        blocks = stats.blocks;
        head_bytes_max = head_bytes_max.max(stats.head_bytes);
        let rss = status_kib("VmRSS:") - before;
        rss_max = rss_max.max(rss);
        sum = (sum.0 + rss, sum.1 + 1);
        if step + 1 >= hours * 240 && steps_since + 2 >= steps_between {
            break;
        }
    }
    storage.sync().unwrap();
    let stats = storage.stats();
    println!(
        "{series} series of {} hosts, {count} samples appended, {refused} refused: {:.2} M/s in append, slowest batch {slowest:?}",
        hosts.len(),
        count as f64 / spent.as_secs_f64() / 1e6
    );
    println!(
        "a flush every {steps_between} steps; head at most {} KiB reckoned; RSS of the store {} KiB on average, {rss_max} KiB at most, {} KiB now, {} KiB high water",
        head_bytes_max / 1024,
        sum.0 / sum.1,
        status_kib("VmRSS:") - before,
        status_kib("VmHWM:") - before
    );
    let (blocks, log) = (
        bytes(&dir.join("metrics/blocks")),
        bytes(&dir.join("metrics/wal")),
    );
    println!(
        "{} blocks, {} KiB; log {} KiB; {} KiB written = {:.2} B/sample; processor {:.2} s",
        stats.blocks,
        blocks / 1024,
        log / 1024,
        written() / 1024,
        written() as f64 / count as f64,
        processor_seconds()
    );
    // As after a kill: nothing is dropped.
    std::process::exit(0);
}

fn open(config: Config) {
    let before = status_kib("VmRSS:");
    let began = Instant::now();
    let mut registry = Registry::default();
    let far = Timestamp::from_millis(START + 7_200_000);
    let storage = Storage::open(config, far, &mut registry).unwrap();
    let took = began.elapsed();
    let stats = storage.stats();
    println!(
        "opened in {took:?}, processor {:.2} s: {} series, {} samples; {} blocks; head {} KiB reckoned; RSS {} KiB, {} KiB high water",
        processor_seconds(),
        stats.series,
        stats.samples,
        stats.blocks,
        stats.head_bytes / 1024,
        status_kib("VmRSS:") - before,
        status_kib("VmHWM:") - before
    );
    std::process::exit(0);
}

fn play(recording: &Path, series: usize) -> (Vec<Vec<Track>>, Vec<Host>) {
    let mut folders: Vec<_> = std::fs::read_dir(recording)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.sort();
    let names: Vec<String> = folders
        .iter()
        .map(|f| f.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let jobs: Vec<Vec<Track>> = folders.iter().map(|f| tracks(f)).collect();
    let node = names.iter().position(|n| n == "node").unwrap_or(0);
    let (mut hosts, mut count): (Vec<Host>, usize) = (Vec::new(), 0);
    while count < series {
        let number = hosts.len();
        // Three node exporters to one of each other.
        let job = match number % 4 {
            3 => number / 4 % jobs.len(),
            _ => node,
        };
        let host = Host::new(&jobs[job], job, &names[job], number);
        count += host.labels.len();
        hosts.push(host);
    }
    (jobs, hosts)
}

fn tracks(folder: &Path) -> Vec<Track> {
    let mut scrapes: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    scrapes.sort();
    let mut found: std::collections::BTreeMap<String, (bool, Vec<f64>)> = Default::default();
    for scrape in &scrapes {
        let text = std::fs::read_to_string(scrape).unwrap();
        let mut is_counter = false;
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                is_counter = !kind.ends_with("gauge") && !kind.ends_with("untyped");
            }
            if let Some((series, value)) = line.rsplit_once(' ')
                && !line.starts_with('#')
            {
                let is_counter = is_counter && !series.contains("quantile=");
                let track = found.entry(series.to_owned());
                let track = track.or_insert((is_counter, Vec::new()));
                track.1.push(value.parse().unwrap());
            }
        }
    }
    found.retain(|_, (_, values)| values.len() == scrapes.len());
    let tracks = found
        .into_iter()
        .map(|(series, (is_counter, values))| Track {
            labels: labels_of(&series),
            decimals: is_counter.then(|| decimals(&values)).flatten(),
            values,
        });
    tracks.collect()
}

fn decimals(values: &[f64]) -> Option<usize> {
    let text = values.iter().map(f64::to_string);
    let most = text
        .map(|t| t.split_once('.').map_or(0, |(_, d)| d.len()))
        .max()?;
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    (most <= DECIMALS_MAX && largest * power(most) < 1e17).then_some(most)
}

fn power(decimals: usize) -> f64 {
    10_f64.powi(decimals as i32)
}

fn scaled(value: f64, decimals: usize) -> i64 {
    (value * power(decimals)).round() as i64
}

/// `name{a="b"}`.
fn labels_of(series: &str) -> Vec<(String, String)> {
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    let mut pairs = vec![("__name__".to_owned(), name.to_owned())];
    for pair in rest.trim_end_matches('}').split("\",") {
        if let Some((name, value)) = pair.split_once("=\"") {
            let value = value.trim_end_matches('"');
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    pairs
}

impl Host {
    fn new(tracks: &[Track], job: usize, job_name: &str, number: usize) -> Host {
        let mut random = number as u64 + 1;
        let at = next(&mut random) as usize % (tracks[0].values.len() - STEP);
        let labels = tracks.iter().map(|t| {
            let mut pairs = t.labels.clone();
            pairs.push(("instance".to_owned(), format!("host{number:05}:9100")));
            pairs.push(("job".to_owned(), job_name.to_owned()));
            Labels::from_pairs(pairs)
        });
        let labels = labels.collect();
        let counters = tracks.iter().map(|t| {
            let start = t.decimals.map_or(0, |d| scaled(t.values[at], d));
            // Machines have been up for different times.
            start + (next(&mut random) % (start.unsigned_abs() + 1)) as i64
        });
        Host {
            job,
            labels,
            counters: counters.collect(),
            at,
            phase_ms: (next(&mut random) % STEP_MS as u64) as i64,
            random,
        }
    }

    /// The next scrape, within the step that begins at `t`.
    fn scrape(&mut self, jobs: &[Vec<Track>], t: i64) -> SampleBatch {
        let tracks = &jobs[self.job];
        let scrapes = tracks[0].values.len();
        if self.at + STEP >= scrapes || next(&mut self.random).is_multiple_of(JUMP) {
            self.at = next(&mut self.random) as usize % (scrapes - STEP);
        }
        let (from, to) = (self.at, self.at + STEP);
        self.at = to;
        let at = Timestamp::from_millis(t + self.phase_ms);
        let mut batch = SampleBatch::default();
        for (i, track) in tracks.iter().enumerate() {
            let value = match track.decimals {
                None => track.values[to],
                Some(d) => {
                    let grown = scaled(track.values[to], d) - scaled(track.values[from], d);
                    self.counters[i] += grown.max(0);
                    self.counters[i] as f64 / power(d)
                }
            };
            batch.samples.push(Sample {
                labels: self.labels[i].clone(),
                at,
                value,
            });
        }
        batch
    }
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn status_kib(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(what));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Bytes sent to the disk by this process.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    line.and_then(|l| l.parse().ok()).unwrap_or(0)
}

fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}
