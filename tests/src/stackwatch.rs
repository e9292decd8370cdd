//! The real binary in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::{cargo, eventually, http};

/// The binary, built once per test run so that a test never runs yesterday's, or the one that
/// `STACKWATCH_BINARY` names.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("STACKWATCH_BINARY") {
            return PathBuf::from(given);
        }
        let built = cargo::command()
            .args(["build", "--quiet", "--package", "stackwatch"])
            .status();
        assert!(
            built.is_ok_and(|s| s.success()),
            "stackwatch does not build"
        );
        // target/debug/deps/it-… → target/debug/stackwatch
        let test = std::env::current_exe().unwrap();
        test.parent()
            .and_then(Path::parent)
            .unwrap()
            .join("stackwatch")
    })
}

/// A running stackwatch; killed on drop.
pub struct Stackwatch {
    child: Child,
    program: PathBuf,
    dir: PathBuf,
    listen: String,
}

impl Stackwatch {
    /// Starts with this configuration in `dir` (data in `dir/data`, log appended to `dir/log`) and
    /// waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready within 30 s; its log is shown.
    #[must_use]
    pub fn start(dir: &Path, config: &str) -> Stackwatch {
        Stackwatch::start_program(binary(), dir, config)
    }

    /// As [`Stackwatch::start`], with a binary made elsewhere.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn start_program(program: &Path, dir: &Path, config: &str) -> Stackwatch {
        let listen = free_address();
        std::fs::write(dir.join("stackwatch.yml"), config).unwrap();
        let child = spawn(program, dir, &listen);
        let mut running = Stackwatch {
            child,
            program: program.to_owned(),
            dir: dir.to_owned(),
            listen,
        };
        running.until_ready();
        running
    }

    /// `kill -9`, then starts again on the same address and data.
    ///
    /// # Panics
    /// As [`Stackwatch::start`].
    pub fn kill_and_restart(&mut self) {
        self.kill();
        let _ = self.restart();
    }

    /// Starts a killed one again on the same address and data; how long until it was ready.
    ///
    /// # Panics
    /// As [`Stackwatch::start`].
    pub fn restart(&mut self) -> Duration {
        let started = Instant::now();
        self.spawn_again();
        self.until_ready();
        started.elapsed()
    }

    /// As [`Stackwatch::restart`], without waiting.
    pub fn spawn_again(&mut self) {
        self.child = spawn(&self.program, &self.dir, &self.listen);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it cannot be signalled.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    ///
    /// # Panics
    /// When `kill` fails.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|s| s.success()));
    }

    /// Waits for the process to end by itself; its exit code.
    ///
    /// # Panics
    /// When it does not end within 15 s.
    pub fn exit_code(&mut self) -> Option<i32> {
        eventually("stackwatch ends", Duration::from_secs(15), || {
            self.child.try_wait().unwrap()
        })
        .code()
    }

    /// A figure of `/proc/PID/status`, in KiB: `VmRSS`, `VmHWM`.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory_kib(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc().join("status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(what));
        let digits = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
        digits.parse().unwrap()
    }

    /// From here on `VmHWM` is the peak since.
    ///
    /// # Panics
    /// When it has ended.
    pub fn forget_peak(&self) {
        std::fs::write(self.proc().join("clear_refs"), "5").unwrap();
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// GET; panics when nobody answers.
    ///
    /// # Panics
    /// When the connection fails.
    #[must_use]
    pub fn get(&self, path: &str) -> http::Response {
        http::request("GET", &self.listen, path, &[], "")
            .unwrap_or_else(|e| panic!("GET {path}: {e}\n{}", self.log()))
    }

    /// The result array of an instant query.
    ///
    /// # Panics
    /// When the query fails.
    #[must_use]
    pub fn query(&self, expr: &str) -> Vec<serde_json::Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", http::encode(expr)));
        assert_eq!(answer.status, 200, "{expr}: {}", answer.body);
        answer.json()["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// The value of the first series of an instant query.
    #[must_use]
    pub fn value(&self, expr: &str) -> Option<f64> {
        self.query(expr)
            .first()
            .and_then(|s| s["value"][1].as_str())
            .and_then(|v| v.parse().ok())
    }

    /// Lines of the streams that match, oldest first, over the last hour.
    ///
    /// # Panics
    /// When the query fails.
    #[must_use]
    pub fn lines(&self, selector: &str) -> Vec<String> {
        let path = format!(
            "/loki/api/v1/query_range?query={}&direction=forward&limit=5000",
            http::encode(selector)
        );
        let answer = self.get(&path);
        assert_eq!(answer.status, 200, "{selector}: {}", answer.body);
        let mut entries: Vec<(String, String)> = Vec::new();
        for stream in answer.json()["data"]["result"]
            .as_array()
            .into_iter()
            .flatten()
        {
            for entry in stream["values"].as_array().into_iter().flatten() {
                entries.push((
                    entry[0].as_str().unwrap().to_owned(),
                    entry[1].as_str().unwrap().to_owned(),
                ));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.into_iter().map(|(_, line)| line).collect()
    }

    fn until_ready(&mut self) {
        let ready = |listen: &str| {
            http::request("GET", listen, "/-/ready", &[], "").is_ok_and(|r| r.status == 200)
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !ready(&self.listen) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "not ready ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Stackwatch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            println!("--- the last lines of stackwatch's log:");
            for line in tail.iter().rev() {
                println!("{line}");
            }
        }
    }
}

fn spawn(program: &Path, dir: &Path, listen: &str) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    Command::new(program)
        .args([
            "--config",
            "stackwatch.yml",
            "--data-dir",
            "data",
            "--listen",
            listen,
        ])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A loopback address that was free a moment ago.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}
