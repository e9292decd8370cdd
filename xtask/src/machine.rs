//! What the tests need from the machine: Debian packages and a running Docker engine.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A program the tests start, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 21] = [
    ("cc", "build-essential"),
    // The allocator is built by it.
    ("make", "build-essential"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("busybox", "busybox-static"),
    ("amtool", "prometheus-alertmanager"),
    ("promtool", "prometheus"),
    ("vmagent", "victoria-metrics"),
    ("aiosmtpd", "python3-aiosmtpd"),
    ("openssl", "openssl"),
    ("redis-server", "redis-server"),
    ("prometheus-redis-exporter", "prometheus-redis-exporter"),
    ("nginx", "nginx-light"),
    // The server itself is not on the path; this one comes with it.
    ("pg_ctlcluster", "postgresql"),
    (
        "prometheus-postgres-exporter",
        "prometheus-postgres-exporter",
    ),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("prometheus-pushgateway", "prometheus-pushgateway"),
    // The server itself is not on the path; this one comes with it.
    ("busctl", "systemd"),
    ("dbus-daemon", "dbus"),
    ("dnsmasq", "dnsmasq-base"),
    (
        "prometheus-blackbox-exporter",
        "prometheus-blackbox-exporter",
    ),
];

/// Installs what is missing where apt-get and the right to use it are there; says what stays missing.
pub(crate) fn install_packages() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, p)| *p)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = find("apt-get").and(privilege()) else {
        println!(
            "SKIPPED set-up: no apt-get, or neither root nor sudo; tests that need {missing:?} will say so and skip"
        );
        return Ok(());
    };
    println!("installing {missing:?}");
    let apt = |args: &[&str]| -> Result<()> {
        let mut words: Vec<&str> = prefix.clone();
        words.extend([
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "RUNLEVEL=1",
            "apt-get",
            "-q",
            "-y",
            "-o",
            "Dpkg::Use-Pty=0",
        ]);
        words.extend(args);
        run_quietly(&words)
    };
    apt(&["update"])?;
    let mut install = vec!["install", "--no-install-recommends", "iptables"];
    install.extend(missing);
    apt(&install)
}

/// The engine that the tests talk to; stopped on drop when we started it.
pub(crate) struct Docker {
    started: Option<(Child, std::path::PathBuf)>,
}

impl Docker {
    /// Uses the engine that answers, else starts `dockerd --storage-driver=vfs` (root only), else
    /// says that the Docker tests will be skipped.
    pub(crate) fn ensure() -> Result<Docker> {
        if answers() {
            return Ok(Docker { started: None });
        }
        if find("dockerd").is_none() || privilege().is_none_or(|p| !p.is_empty()) {
            println!("SKIPPED Docker engine: none answers, and starting dockerd takes root");
            return Ok(Docker { started: None });
        }
        mount_cgroup_v1_hierarchies();
        let dir = std::env::temp_dir().join(format!("stackwatch-dockerd-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let log = std::fs::File::create(dir.join("dockerd.log"))?;
        println!(
            "starting dockerd (log: {})",
            dir.join("dockerd.log").display()
        );
        let child = Command::new("dockerd")
            .args(["--storage-driver=vfs", "--data-root"])
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"))
            // An engine that was killed leaves its number in the usual place, where somebody else may have it now.
            .arg("--pidfile")
            .arg(dir.join("dockerd.pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting dockerd")?;
        let docker = Docker {
            started: Some((child, dir.clone())),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(dir.join("dockerd.log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                bail!(
                    "dockerd did not answer within 60 s; its last lines:\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(docker)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let Some((child, dir)) = &mut self.started else {
            return;
        };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// Whether an engine answers on the default socket.
pub(crate) fn answers() -> bool {
    Command::new("docker")
        .arg("info")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// A machine without a service manager may lack the cgroup mounts that dockerd wants.
fn mount_cgroup_v1_hierarchies() {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        || Path::new("/sys/fs/cgroup/memory").exists()
    {
        return;
    }
    println!("note: /sys/fs/cgroup is not mounted; dockerd may refuse to start");
}

/// The words in front of a command that needs root: none as root, `sudo -n` where that works.
fn privilege() -> Option<Vec<&'static str>> {
    let id = Command::new("id").arg("-u").output().ok()?;
    if String::from_utf8_lossy(&id.stdout).trim() == "0" {
        return Some(Vec::new());
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stderr(Stdio::null())
        .status();
    sudo.is_ok_and(|s| s.success()).then(|| vec!["sudo", "-n"])
}

/// Where a program is, looking beyond PATH for what Debian keeps in sbin.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    dirs.map(|d| Path::new(d).join(program))
        .find(|p| p.is_file())
}

fn run_quietly(words: &[&str]) -> Result<()> {
    let out = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        let tail: Vec<&str> = text.lines().rev().take(10).collect();
        bail!(
            "{} failed:\n{}",
            words.join(" "),
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(())
}
