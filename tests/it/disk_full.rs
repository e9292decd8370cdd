//! A disk that fills: said at once, nothing damaged, and over when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::{Stackwatch, binary, free_address};
use stackwatch_tests::{eventually, skipped};

use crate::backup::text;

/// A small file system of its own; unmounted on drop.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
            .arg(at)
            .output()
            .ok()?;
        mounted.status.success().then(|| SmallDisk(at.to_owned()))
    }
}

impl SmallDisk {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes somebody's file until nothing fits any more.
    pub(crate) fn fill(&self) -> PathBuf {
        let hog = self.0.join("somebody-elses-file");
        let filled = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", hog.display()))
            .output()
            .unwrap();
        assert!(!filled.status.success(), "the disk is full now");
        hog
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_reported_and_collection_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("data")) else {
        return skipped("mounting a small file system takes root");
    };
    let target = Sink::start("app_requests_total 1\n");
    let config = format!(
        "collect:\n  interval: 1s\n  host: false\n  docker: false\n  scrape_configs:\n    - job_name: app\n      static_configs: [ {{ targets: [\"{}\"] }} ]\n",
        target.address()
    );
    let mut stackwatch = Stackwatch::start(dir.path(), &config);
    let count = "count_over_time(app_requests_total[1h])";
    let limit = Duration::from_secs(60);
    let before = eventually("samples", limit, || {
        stackwatch.value(count).filter(|n| *n >= 3.0)
    });

    let hog = disk.fill();
    let health = eventually("a health report of the full disk", limit, || {
        let health = stackwatch.get("/health");
        (health.status == 503).then_some(health)
    });
    assert!(
        health.body.to_lowercase().contains("disk full"),
        "{}",
        health.body
    );
    assert!(
        stackwatch.value(count).unwrap_or(0.0) >= before,
        "reads go on"
    );

    std::fs::remove_file(&hog).unwrap();
    eventually("health again", limit, || {
        (stackwatch.get("/health").status == 200).then_some(())
    });
    let after = eventually("new samples", limit, || {
        stackwatch.value(count).filter(|n| *n > before)
    });
    std::thread::sleep(Duration::from_millis(1500));
    stackwatch.kill_and_restart();
    assert!(
        stackwatch.value(count).unwrap_or(0.0) >= after,
        "what was stored after the trouble is durable"
    );
    stackwatch.kill();
}

#[test]
fn a_first_start_on_a_full_disk_says_so_and_leaves_nothing_broken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk")) else {
        return skipped("mounting a small file system takes root");
    };
    let hog = disk.fill();
    std::os::unix::fs::symlink("disk/data", dir.path().join("data")).unwrap();
    std::fs::create_dir(disk.path().join("data")).unwrap();
    let config = "collect: { host: false, docker: false }\nlogs: { docker: false }\n";
    std::fs::write(dir.path().join("stackwatch.yml"), config).unwrap();
    let first = Command::new(binary())
        .args(["--config", "stackwatch.yml", "--data-dir", "data"])
        .args(["--listen", &free_address()])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(!first.status.success());
    let said = text(&first);
    assert!(said.contains("disk full"), "{said}");
    assert!(!said.contains("damaged"), "{said}");
    std::fs::remove_file(hog).unwrap();
    let stackwatch = Stackwatch::start(dir.path(), config);
    assert!(!stackwatch.log().contains("damaged"));
    let health = stackwatch.get("/health");
    assert_eq!(health.status, 200, "{}", health.body);
}
