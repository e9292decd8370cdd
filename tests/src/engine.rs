//! A Docker engine of the test's own, which it may stop and start as it likes.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::docker::{IMAGE, imported};
use crate::eventually;

const LIMIT: Duration = Duration::from_secs(90);

/// The engine; its containers are removed on drop. They have no network.
pub struct PrivateEngine {
    dir: tempfile::TempDir,
    daemon: Option<Child>,
}

impl PrivateEngine {
    /// An engine with the test's image; `None` where none can be started, as without root.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    pub fn start(options: &[&str]) -> Option<PrivateEngine> {
        let id = Command::new("id").arg("-u").output().ok()?;
        if String::from_utf8_lossy(&id.stdout).trim() != "0" {
            return None;
        }
        let mut engine = PrivateEngine {
            dir: tempfile::tempdir().unwrap(),
            daemon: None,
        };
        engine.spawn(options)?;
        let mut import = engine.command();
        import.args(["import", "-", IMAGE]);
        imported(import).then_some(engine)
    }

    /// Starts it again after [`PrivateEngine::stop`].
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&mut self, options: &[&str]) {
        assert!(self.spawn(options).is_some(), "{}", self.log());
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        let _ = Command::new("kill").arg(daemon.id().to_string()).status();
        eventually("the engine ends", LIMIT, || daemon.try_wait().unwrap());
    }

    /// `unix:///…`, as a configuration has it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Runs `docker` and gives its trimmed standard output, `None` when it fails.
    #[must_use]
    pub fn docker(&self, args: &[&str]) -> Option<String> {
        let out = self.command().args(args).stdin(Stdio::null()).output();
        let out = out.ok().filter(|out| out.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    fn command(&self) -> Command {
        let mut docker = Command::new("docker");
        docker.args(["-H", &self.address()]).stderr(Stdio::null());
        docker
    }

    fn spawn(&mut self, options: &[&str]) -> Option<()> {
        let path = |name: &str| self.dir.path().join(name);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path("log"))
            .ok()?;
        let daemon = Command::new("dockerd")
            .args(["--storage-driver=vfs", "--bridge=none"])
            .args(["--iptables=false", "--ip6tables=false", "-H"])
            .arg(self.address())
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().ok()?)
            .stderr(log)
            .spawn()
            .ok()?;
        self.daemon = Some(daemon);
        let deadline = std::time::Instant::now() + LIMIT;
        while self.docker(&["info"]).is_none() {
            let ended = self.daemon.as_mut()?.try_wait().ok()?.is_some();
            if ended || std::time::Instant::now() > deadline {
                println!("dockerd does not answer:\n{}", self.log());
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        // Containers may run without it.
        if self.daemon.is_some() || self.spawn(&[]).is_some() {
            let all = self.docker(&["ps", "-aq"]).unwrap_or_default();
            let mut words = vec!["rm", "-f"];
            words.extend(all.lines());
            let _ = self.docker(&words);
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = daemon.wait();
        }
        // With live-restore it leaves its folder mounted onto itself.
        let data = self.dir.path().join("data");
        let _ = Command::new("umount")
            .arg(data)
            .stderr(Stdio::null())
            .status();
    }
}
