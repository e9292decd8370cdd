//! A process under measurement.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stackwatch_tests::stackwatch::free_address;

/// A query of Prometheus over many series takes its time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(300);
const READY_TIME_MAX: Duration = Duration::from_secs(120);
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);
/// Processor time within a second of a process that has nothing to do.
const IDLE_MAX: Duration = Duration::from_millis(20);

/// Who.
pub(super) enum Kind {
    /// The one in the path.
    Prometheus,
    /// This binary.
    Stackwatch(PathBuf),
}

/// What a query cost.
pub(super) struct Measured {
    pub(super) median: Duration,
    /// Processor time of all threads, mean of the warm runs: what a busy machine does not change
    /// much. Told in steps of 10 ms by the number of runs.
    pub(super) cpu: Duration,
    /// Resident before the first run.
    pub(super) before_kib: u64,
    /// By how much the resident set was larger at most than before the first run.
    pub(super) grew_kib: u64,
    /// Of the result.
    pub(super) points: usize,
    /// Of all values that are numbers.
    pub(super) sum: f64,
}

pub(super) struct Subject {
    child: Child,
    listen: String,
}

impl Subject {
    /// Starts it on its data under `dir` and waits until it is ready.
    pub(super) fn start(kind: &Kind, dir: &Path) -> Result<Subject> {
        let listen = free_address();
        let mut command = match kind {
            Kind::Prometheus => {
                let config = dir.join("prometheus.yml");
                std::fs::write(&config, "global: { evaluation_interval: 1h }\n")?;
                let mut command = Command::new("prometheus");
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!(
                        "--storage.tsdb.path={}",
                        dir.join("tsdb").display()
                    ))
                    .arg(format!("--web.listen-address={listen}"))
                    .args(["--web.enable-remote-write-receiver", "--log.level=warn"]);
                command
            }
            Kind::Stackwatch(program) => {
                // Six hours pass in minutes, behind samples of its own that are from today.
                let config = "server: { remote_write_receiver: true }\n\
                    storage: { out_of_order_window: 7h }\n\
                    collect: { docker: false, host: false, interval: 1h }\n\
                    logs: { docker: false }\nrules: { packs: [] }\n";
                std::fs::write(dir.join("stackwatch.yml"), config)?;
                let mut command = Command::new(program);
                command
                    .args(["--config", "stackwatch.yml", "--data-dir", "data"])
                    .args(["--listen", &listen]);
                command
            }
        };
        let log = std::fs::File::create(dir.join("log"))?;
        let child = command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let mut subject = Subject { child, listen };
        let limit = Instant::now() + READY_TIME_MAX;
        while subject.get("/-/ready").is_err() {
            if subject.child.try_wait()?.is_some() || Instant::now() > limit {
                let log = std::fs::read_to_string(dir.join("log"))?;
                bail!("not ready:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(subject)
    }

    pub(super) fn listen(&self) -> &str {
        &self.listen
    }

    /// Ends it as an operator would.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("kill").arg(pid).status()?.success());
        self.child.wait()?;
        Ok(())
    }

    /// Waits for `least`, then until it has nothing to do any more: neither is measured while it
    /// tidies up.
    pub(super) fn settle(&self, least: Duration) -> Result<()> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        std::thread::sleep(least);
        let limit = Instant::now() + SETTLE_TIME_MAX;
        loop {
            let before = cpu_time(&proc)?;
            std::thread::sleep(Duration::from_secs(1));
            let busy = cpu_time(&proc)?.saturating_sub(before);
            if busy <= IDLE_MAX || Instant::now() > limit {
                return Ok(());
            }
        }
    }

    /// The body of a good answer.
    pub(super) fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.listen)?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        // HTTP/1.0: the body ends with the connection and comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.listen);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head_end = answer.windows(4).position(|w| w == b"\r\n\r\n");
        let body = answer.split_off(head_end.context("no head")? + 4);
        let status = answer.get(9..12).unwrap_or_default();
        if status != b"200" {
            let said = body.get(..500).unwrap_or(&body);
            bail!("{path}: {}", String::from_utf8_lossy(said));
        }
        Ok(body)
    }

    /// Runs a query once cold and `runs` times warm.
    pub(super) fn measure(&self, path: &str, runs: usize) -> Result<Measured> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        // Sets the high-water mark back.
        std::fs::write(proc.join("clear_refs"), "5")?;
        let before = status_kib(&proc, "VmRSS:")?;
        let (points, sum) = summary(&self.get(path)?)?;
        let mut times = Vec::with_capacity(runs);
        let cpu_before = cpu_time(&proc)?;
        for _ in 0..runs {
            let began = Instant::now();
            self.get(path)?;
            times.push(began.elapsed());
        }
        let cpu = cpu_time(&proc)?.saturating_sub(cpu_before) / runs.max(1) as u32;
        times.sort_unstable();
        Ok(Measured {
            median: times[times.len() / 2],
            cpu,
            before_kib: before,
            grew_kib: status_kib(&proc, "VmHWM:")?.saturating_sub(before),
            points,
            sum,
        })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status_kib(proc: &Path, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(proc.join("status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix(field));
    let number = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
    number.with_context(|| format!("no {field} in the process' status"))
}

/// User and system time of a process, threads that are gone included.
fn cpu_time(proc: &Path) -> Result<Duration> {
    let stat = std::fs::read_to_string(proc.join("stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    // Linux tells user space in hundredths, whatever it counts itself.
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}

/// Points of a result, and the sum of their values.
fn summary(body: &[u8]) -> Result<(usize, f64)> {
    let answer: serde_json::Value = serde_json::from_slice(body)?;
    let (mut points, mut sum) = (0, 0.0);
    for series in answer["data"]["result"].as_array().into_iter().flatten() {
        let one = series.get("value").into_iter();
        let many = series["values"].as_array().into_iter().flatten();
        for point in one.chain(many) {
            points += 1;
            let value = point[1].as_str().and_then(|v| v.parse().ok());
            sum += value.filter(|v: &f64| v.is_finite()).unwrap_or(0.0);
        }
    }
    Ok((points, sum))
}
