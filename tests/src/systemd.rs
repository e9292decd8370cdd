//! A real systemd that manages units of its own, with a message bus: the manager of a user, which
//! speaks as the system's does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;

/// Where Debian keeps the program, which is not on the path.
const PROGRAM: &str = "/lib/systemd/systemd";
/// Where a systemd that runs the machine leaves a folder; without it none starts for a user.
const BOOTED: &str = "/run/systemd/system";

/// A systemd that is ended on drop, with all that it has started.
pub struct Systemd {
    child: Child,
    runtime: PathBuf,
}

impl Systemd {
    /// Starts one below `dir` with these unit files (name and text) and those of `wants`; `None` when
    /// systemd or dbus-daemon is not installed, or a machine without systemd is not ours to change.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start(dir: &Path, units: &[(&str, &str)], wants: &str) -> Option<Systemd> {
        let (runtime, folder) = (dir.join("run"), dir.join("units"));
        std::fs::create_dir_all(&runtime).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let own = [
            ("default.target", format!("[Unit]\nWants=dbus.service {wants}\n")),
            ("dbus.socket", "[Socket]\nListenStream=%t/bus\n".to_owned()),
            (
                "dbus.service",
                "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\nExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation\nExecReload=true\n".to_owned(),
            ),
        ];
        let given = units.iter().map(|(name, text)| (*name, (*text).to_owned()));
        for (name, text) in own.into_iter().chain(given) {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let found = Command::new("dbus-daemon").arg("--version").output();
        if !Path::new(PROGRAM).exists() || found.is_err() {
            return None;
        }
        let mut command = if Path::new(BOOTED).exists() {
            Command::new(PROGRAM)
        } else {
            // Seen by it and its children alone.
            let script =
                format!("mount -t tmpfs tmpfs /run && mkdir -p {BOOTED} && exec {PROGRAM} \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script, PROGRAM]);
            command
        };
        let log = std::fs::File::create(dir.join("systemd.log")).unwrap();
        let child = command
            .arg("--user")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("HOME", dir)
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("XDG_CONFIG_HOME", dir)
            // With what every manager of a user has.
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .ok()?;
        let mut systemd = Systemd { child, runtime };
        let limit = Duration::from_secs(20);
        let answers = eventually("systemd answers on its bus", limit, || {
            if systemd.child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let address = format!("--address={}", systemd.address());
            let asked = Command::new("busctl")
                .args([&address, "status", "org.freedesktop.systemd1"])
                .output();
            asked.is_ok_and(|o| o.status.success()).then_some(true)
        });
        answers.then_some(systemd)
    }

    /// Where its bus listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("bus")
    }

    /// The same as D-Bus spells it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// systemctl's exit status.
    ///
    /// # Panics
    /// When there is none.
    pub fn systemctl(&self, words: &[&str]) -> bool {
        let mut command = Command::new("systemctl");
        command
            .arg("--user")
            .args(words)
            .env("XDG_RUNTIME_DIR", &self.runtime);
        command.status().unwrap().success()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // It ends what it has started; killed, it would leave that behind.
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let mut tries = if asked.is_ok() { 200 } else { 0 };
        while tries > 0 && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
            tries -= 1;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
