//! A Prometheus with an empty store that takes remote write.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stackwatch_tests::{eventually, http};

pub(crate) struct Prometheus {
    child: Child,
    listen: String,
}

impl Prometheus {
    /// Starts one with its data in `dir`; `None` when none is installed.
    pub(crate) fn start(dir: &Path) -> Option<Prometheus> {
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: { evaluation_interval: 1m }\n").unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = free.local_addr().unwrap().to_string();
        drop(free);
        let log = std::fs::File::create(dir.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={listen}"))
            .args(["--web.enable-remote-write-receiver", "--log.level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .ok()?;
        let prometheus = Prometheus { child, listen };
        eventually("prometheus is ready", Duration::from_secs(30), || {
            let answer = http::request("GET", &prometheus.listen, "/-/ready", &[], "");
            answer.is_ok_and(|a| a.status == 200).then_some(())
        });
        Some(prometheus)
    }

    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
