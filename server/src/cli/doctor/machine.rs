//! What the machine has to give: the data directory, room on the disk, control groups, a right clock.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::Config;
use crate::config::SIZE_MIN;
use crate::config::values::Bytes;

/// Less room than this is soon none.
const FREE_BYTES_LITTLE: u64 = 1 << 30;
/// Processes that keep the clock right.
const CLOCK_DAEMONS: [&str; 6] = [
    "chronyd",
    "ntpd",
    "systemd-timesyn",
    "openntpd",
    "ntpd-rs",
    "ptp4l",
];
/// Processes looked at for one of them.
const PROCESSES_MAX: usize = 20_000;

pub(super) fn look(config: &Config) -> Vec<Finding> {
    let dir = &config.storage.dir;
    let proc = &config.collector.roots.proc;
    vec![
        data_dir(dir),
        disk(
            dir,
            config.storage.free_bytes_min,
            config.storage.size_bytes_max,
        ),
        cgroups(&config.collector.roots.sys),
        clock(proc),
    ]
}

/// The directory, or the nearest one above it that exists.
fn existing(dir: &Path) -> PathBuf {
    let mut at = if dir.is_absolute() {
        dir.to_owned()
    } else {
        std::env::current_dir().unwrap_or_default().join(dir)
    };
    while !at.exists() && at.pop() {}
    at
}

fn data_dir(dir: &Path) -> Finding {
    const CHECK: &str = "data-dir";
    let shown = dir.display();
    let there = existing(dir);
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if !there.is_dir() {
        let text = format!("{} is no directory", there.display());
        return Finding::fail(CHECK, text, "name another with --data-dir or storage.dir");
    }
    if let Err(error) = rustix::fs::access(&there, access) {
        let user = rustix::process::geteuid().as_raw();
        let cure = format!("mkdir -p {shown} && chown -R {user} {shown}");
        return Finding::fail(CHECK, format!("{}: {error}", there.display()), cure);
    }
    Finding::ok(CHECK, format!("{shown} can be written"))
}

fn disk(dir: &Path, free_bytes_min: u64, size_bytes_max: u64) -> Finding {
    const CHECK: &str = "disk";
    let Ok(stat) = rustix::fs::statvfs(existing(dir)) else {
        return Finding::warn(CHECK, "its room cannot be told", "df -h");
    };
    judge_room(
        stat.f_bavail.saturating_mul(stat.f_frsize),
        free_bytes_min,
        size_bytes_max,
    )
}

fn judge_room(free: u64, free_bytes_min: u64, size_bytes_max: u64) -> Finding {
    const CHECK: &str = "disk";
    let megabytes = free >> 20;
    let text = format!("{megabytes} MB free");
    let half = Bytes((free >> 21) << 20);
    let cure = match half < SIZE_MIN {
        true => format!("storage: {{ dir: /a/larger/disk }}, or free {SIZE_MIN} at least"),
        false => format!("storage: {{ retention: {{ size: {half} }} }}"),
    };
    if free < free_bytes_min {
        let text = format!("{text}, less than is kept free; the oldest data go");
        return Finding::fail(CHECK, text, cure);
    }
    if free < FREE_BYTES_LITTLE {
        let text = format!("{text}, and up to {} may be stored", Bytes(size_bytes_max));
        return Finding::warn(CHECK, text, cure);
    }
    Finding::ok(CHECK, text)
}

fn cgroups(sys: &Path) -> Finding {
    const CHECK: &str = "cgroups";
    let root = sys.join("fs/cgroup");
    let boot = "add to the kernel's command line: cgroup_enable=memory swapaccount=1";
    if let Ok(controllers) = std::fs::read_to_string(root.join("cgroup.controllers")) {
        return match controllers.split_whitespace().any(|c| c == "memory") {
            true => Finding::ok(CHECK, "version 2"),
            false => Finding::fail(
                CHECK,
                "version 2 without memory: containers' memory is not told",
                boot,
            ),
        };
    }
    let v1 = |controller: &str| root.join(controller).is_dir();
    match (v1("memory"), v1("cpuacct") || v1("cpu,cpuacct")) {
        (true, true) => Finding::ok(CHECK, "version 1"),
        (false, true) => Finding::fail(
            CHECK,
            "version 1 without memory: containers' memory is not told",
            boot,
        ),
        _ => Finding::fail(
            CHECK,
            format!(
                "no control groups at {}: what containers use is not told",
                root.display()
            ),
            "run the container with -v /sys:/host/sys:ro and collect: { roots: { sys: /host/sys } }",
        ),
    }
}

fn clock(proc: &Path) -> Finding {
    const CHECK: &str = "clock";
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Finding::ok(CHECK, "synchronized");
    }
    let processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let names = processes.take(PROCESSES_MAX).filter_map(|process| {
        let pid = process.file_name();
        pid.to_str()?.parse::<u32>().ok()?;
        std::fs::read_to_string(process.path().join("comm")).ok()
    });
    let daemon = names
        .map(|name| name.trim().to_owned())
        .find(|name| CLOCK_DAEMONS.contains(&name.as_str()));
    match daemon {
        Some(daemon) => Finding::ok(CHECK, format!("{daemon} keeps it")),
        None => Finding::warn(
            CHECK,
            "nobody seems to keep it right; samples and alerts are as true as it is",
            "timedatectl set-ntp true, or apt install chrony",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn room_is_judged_by_what_is_kept_free() {
        let check = |free: u64, expect: Level| {
            assert_eq!(judge_room(free, 200 << 20, 5 << 30).level, expect, "{free}");
        };
        check(100 << 20, Level::Fail);
        check(500 << 20, Level::Warn);
        check(5 << 30, Level::Ok);
        assert!(judge_room(0, 1, 1).fix.contains("larger"));
        let small = judge_room(500 << 20, 200 << 20, 5 << 30);
        assert_eq!(small.fix, "storage: { retention: { size: 250MB } }");
    }

    #[test]
    fn control_groups_of_both_versions_are_known() {
        let check = |make: &dyn Fn(&Path), expect: Level| {
            let sys = tempfile::tempdir().unwrap();
            let root = sys.path().join("fs/cgroup");
            std::fs::create_dir_all(&root).unwrap();
            make(&root);
            let found = cgroups(sys.path());
            assert_eq!(found.level, expect, "{found:?}");
            assert_eq!(found.fix.is_empty(), expect == Level::Ok);
        };
        let write = |text: &'static str| {
            move |root: &Path| std::fs::write(root.join("cgroup.controllers"), text).unwrap()
        };
        check(&write("cpu io memory pids\n"), Level::Ok);
        check(&write("cpu io pids\n"), Level::Fail);
        let dirs = |names: &'static [&'static str]| {
            move |root: &Path| {
                for name in names {
                    std::fs::create_dir(root.join(name)).unwrap();
                }
            }
        };
        check(&dirs(&["memory", "cpu,cpuacct"]), Level::Ok);
        check(&dirs(&["cpuacct"]), Level::Fail);
        check(&dirs(&[]), Level::Fail);
    }

    #[test]
    fn a_directory_that_is_still_to_be_made_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_dir(&dir.path().join("a/b")).level, Level::Ok);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(data_dir(&dir.path().join("file")).level, Level::Fail);
    }
}
