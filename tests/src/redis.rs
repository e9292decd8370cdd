//! Real redis-servers, each in a folder of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;
use crate::stackwatch::free_address;

/// A program that is killed on drop.
pub struct Program(Child);

impl Program {
    /// Starts it in `dir`, its output in `dir/NAME.log`; `None` when it is not installed.
    ///
    /// # Panics
    /// When its log cannot be made.
    #[must_use]
    pub fn start(name: &str, dir: &Path, args: &[&str]) -> Option<Program> {
        std::fs::create_dir_all(dir).unwrap();
        let base = Path::new(name).file_name().unwrap().to_string_lossy();
        let log = std::fs::File::create(dir.join(format!("{base}.log"))).unwrap();
        let child = Command::new(name)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        child.ok().map(Program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that answers.
pub struct Redis {
    _program: Program,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What redis-cli needs besides the port.
    cli: Vec<String>,
}

impl Redis {
    /// Starts a server with these arguments, in a new folder below `dir`; `None` when redis-server
    /// is not installed.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start(dir: &Path, args: &[&str]) -> Option<Redis> {
        Redis::start_with(dir, args, &[])
    }

    /// As [`Redis::start`], for a server that redis-cli reaches with these arguments only.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn start_with(dir: &Path, args: &[&str], cli: &[&str]) -> Option<Redis> {
        let port: u16 = free_address().rsplit(':').next()?.parse().ok()?;
        let text = port.to_string();
        // A configuration file comes first; a Sentinel must be able to write it.
        let mut words = args.to_vec();
        // TLS replaces the plain port.
        let key = if args.contains(&"--tls-port") {
            "--tls-port"
        } else {
            "--port"
        };
        let text = text.as_str();
        words.retain(|w| *w != "--tls-port");
        words.extend([key, text, "--bind", "127.0.0.1"]);
        if key == "--tls-port" {
            words.extend(["--port", "0"]);
        }
        let program = Program::start("redis-server", &dir.join(text), &words)?;
        let redis = Redis {
            _program: program,
            port,
            cli: cli.iter().map(|&a| a.to_owned()).collect(),
        };
        eventually("redis-server answers", Duration::from_secs(15), || {
            // A Sentinel does not know ECHO, and needs no rights to say so.
            (redis.cli(&["PING"]) == "PONG").then_some(())
        });
        Some(redis)
    }

    /// Runs a command by redis-cli; what it printed.
    ///
    /// # Panics
    /// When there is no redis-cli.
    pub fn cli(&self, words: &[&str]) -> String {
        let out = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(&self.cli)
            .args(words)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.trim_end().to_owned()
    }
}
