//! `cargo xtask load [MINUTES]`: what stackwatch costs beside a real stack.
//!
//! Twenty containers print five lines a second each while the release binary watches them with
//! nothing configured but one webhook; then one container dies and the page is timed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use stackwatch_tests::cargo;
use stackwatch_tests::docker::{self, Container};
use stackwatch_tests::http;
use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::free_address;

use crate::machine;

const CONTAINERS: usize = 20;
/// Ends by itself once told to: a death that somebody asked the engine for is none to page about.
const CHATTY: &str = "i=0; while [ ! -e /die ]; do echo \"line=$i level=info user=u$i@example.com path=/api/orders/$i status=200 duration=12ms\"; i=$((i+1)); sleep 0.2; done; exit 7";

pub(crate) fn run(args: &[String]) -> Result<()> {
    let minutes: f64 = args
        .first()
        .map_or(Ok(10.0), |a| a.parse())
        .context("MINUTES is a number")?;
    let _engine = machine::Docker::ensure()?;
    if !docker::available() {
        bail!("no Docker engine answers");
    }
    let binary = cargo::release_binary()?;
    let binary_bytes = std::fs::metadata(&binary)?.len();

    let containers: Vec<Container> = (0..CONTAINERS)
        .map(|i| Container::run("load", &format!("app{i}"), CHATTY))
        .collect();
    let webhook = Sink::start("");
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("stackwatch.yml"), config(&webhook))?;
    let listen = free_address();
    let mut child = Command::new(&binary)
        .args(["--listen", &listen])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log"))?)
        .spawn()?;
    let pid = child.id();

    let started = Instant::now();
    let end = Duration::from_secs_f64(minutes * 60.0);
    let mut samples: Vec<u64> = Vec::new();
    while started.elapsed() < end {
        std::thread::sleep(Duration::from_secs(1));
        let Some(rss) = status_kib(pid, "VmRSS:") else {
            bail!(
                "stackwatch ended early:\n{}",
                std::fs::read_to_string(dir.path().join("log"))?
            );
        };
        samples.push(rss);
    }
    let cpu = cpu_seconds(pid).context("reading its CPU time")?;
    let elapsed = started.elapsed().as_secs_f64();
    let peak = status_kib(pid, "VmHWM:").context("reading its peak memory")?;
    let last_minute = &samples[samples.len().saturating_sub(60)..];
    let steady = last_minute.iter().sum::<u64>() / last_minute.len().max(1) as u64;

    let series = number(&listen, "count({__name__=~\".+\"})");
    let lines: usize = containers
        .iter()
        .map(|c| stored_lines(&listen, &c.name))
        .sum();

    let died = SystemTime::now();
    if docker::docker(&["exec", &containers[0].name, "sh", "-c", ": > /die"]).is_none() {
        bail!("docker exec failed");
    }
    let limit = Instant::now() + Duration::from_secs(90);
    let page = loop {
        let firing = |r: &stackwatch_tests::sink::Received| {
            r.json()["status"] == "firing" && r.body.contains(&containers[0].name)
        };
        if let Some(page) = webhook.accepted().into_iter().find(firing) {
            break Some(page.at.duration_since(died)?);
        }
        if Instant::now() > limit {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let _ = Command::new("kill").arg(pid.to_string()).status();
    let _ = child.wait();

    println!(
        "{CONTAINERS} containers, 5 lines/s each, 15 s interval, {:.1} minutes",
        elapsed / 60.0
    );
    println!(
        "resident memory     steady {:.1} MB, peak {:.1} MB",
        mib(steady),
        mib(peak)
    );
    println!(
        "CPU                 {cpu:.2} s = {:.2} % of a core",
        100.0 * cpu / elapsed
    );
    println!("binary              {:.1} MB", binary_bytes as f64 / 1e6);
    println!("series              {series}");
    println!(
        "log lines stored    at least {lines} (the API returns up to 5,000 for each container)"
    );
    println!(
        "data directory      {:.1} MB",
        bytes_under(&dir.path().join("data"))? as f64 / 1e6
    );
    match page {
        Some(delay) => println!(
            "death to webhook    {:.1} s (for: 0s, group_wait: 0s)",
            delay.as_secs_f64()
        ),
        None => bail!(
            "the page did not arrive within 90 s:\n{}",
            std::fs::read_to_string(dir.path().join("log"))?
        ),
    }
    Ok(())
}

fn config(webhook: &Sink) -> String {
    format!(
        "alerting:\n  route: {{ receiver: hook, group_by: [alertname, name], group_wait: 0s, group_interval: 10s }}\n  receivers:\n    - name: hook\n      webhook_configs: [ {{ url: \"http://{}/\" }} ]\n",
        webhook.address()
    )
}

/// A line of `/proc/PID/status`, in KiB.
fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines()
        .find_map(|l| l.strip_prefix(key))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

/// User and system time so far.
fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn number(listen: &str, expr: &str) -> String {
    let path = format!("/api/v1/query?query={}", http::encode(expr));
    let Ok(answer) = http::request("GET", listen, &path, &[], "") else {
        return "?".to_owned();
    };
    answer.json()["data"]["result"][0]["value"][1]
        .as_str()
        .unwrap_or("?")
        .to_owned()
}

fn stored_lines(listen: &str, container: &str) -> usize {
    let path = format!(
        "/loki/api/v1/query_range?limit=5000&query={}",
        http::encode(&format!("{{container=\"{container}\"}}"))
    );
    let Ok(answer) = http::request("GET", listen, &path, &[], "") else {
        return 0;
    };
    let answer = answer.json();
    let streams = answer["data"]["result"].as_array();
    streams
        .into_iter()
        .flatten()
        .filter_map(|s| s["values"].as_array())
        .map(Vec::len)
        .sum()
}

fn bytes_under(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)?.flatten() {
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            bytes_under(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(sum)
}

fn mib(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}
