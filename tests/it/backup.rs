//! Backups of a stackwatch that runs: whole, restorable, or not there at all.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::{Stackwatch, binary};
use stackwatch_tests::{eventually, skipped};

use crate::disk_full::SmallDisk;

const LIMIT: Duration = Duration::from_secs(30);

fn config(target: &Sink) -> String {
    format!(
        "collect:\n  interval: 1s\n  host: false\n  docker: false\n  scrape_configs:\n    - job_name: app\n      static_configs: [ {{ targets: [\"{}\"] }} ]\n",
        target.address()
    )
}

/// Runs a sub-command beside `stackwatch`.
pub(crate) fn command(stackwatch: &Stackwatch, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .arg("--data-dir")
        .arg(stackwatch.data())
        .args(["--listen", stackwatch.listen()])
        .stdin(Stdio::null());
    command
}

pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn backup(stackwatch: &Stackwatch, to: &Path) -> Output {
    let to = to.to_str().unwrap();
    command(stackwatch, &["backup", to]).output().unwrap()
}

pub(crate) fn restore(from: &Path, to: &Path) -> Output {
    let mut restore = Command::new(binary());
    restore.arg("restore").arg(from).arg("--data-dir").arg(to);
    restore.output().unwrap()
}

/// Names of unfinished snapshots in the data directory.
fn left_overs(stackwatch: &Stackwatch) -> usize {
    std::fs::read_dir(stackwatch.data().join("snapshots")).map_or(0, Iterator::count)
}

#[test]
fn a_restored_backup_answers_what_the_running_one_answered() {
    let dir = tempfile::tempdir().unwrap();
    let target = Sink::start("app_requests_total 7\n");
    let stackwatch = Stackwatch::start(dir.path(), &config(&target));
    let count = |s: &Stackwatch| s.value("count_over_time(app_requests_total[1h])");
    eventually("samples", LIMIT, || {
        count(&stackwatch).filter(|n| *n >= 3.0)
    });

    let saved = dir.path().join("saved");
    let made = backup(&stackwatch, &saved);
    assert!(made.status.success(), "{}", text(&made));
    assert_eq!(left_overs(&stackwatch), 0);
    let again = backup(&stackwatch, &saved);
    assert!(
        text(&again).contains("it holds a backup"),
        "{}",
        text(&again)
    );
    let in_use = restore(&saved, &stackwatch.data());
    assert!(text(&in_use).contains("is not empty"), "{}", text(&in_use));

    // The export of the running one is made from a snapshot, too.
    let out = command(
        &stackwatch,
        &["tsdb", "export", "--match", "app_requests_total"],
    );
    let exported = { out }.output().unwrap();
    let lines = String::from_utf8(exported.stdout).unwrap();
    assert!(lines.starts_with("app_requests_total{"), "{lines}");
    assert!(
        lines.lines().count() >= 4 && lines.ends_with("# EOF\n"),
        "{lines}"
    );

    let other = tempfile::tempdir().unwrap();
    let restored = restore(&saved, &other.path().join("data"));
    assert!(restored.status.success(), "{}", text(&restored));
    drop(stackwatch);
    let copy = Stackwatch::start(other.path(), "collect: { host: false, docker: false }\n");
    assert!(count(&copy).is_some_and(|n| n >= 3.0), "{}", copy.log());
    assert_eq!(
        copy.value("last_over_time(app_requests_total[1h])"),
        Some(7.0)
    );
    assert!(!copy.log().contains("damaged"), "{}", copy.log());
}

#[test]
fn a_kill_in_the_middle_of_a_backup_leaves_a_whole_one_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let target = Sink::start("app_requests_total 7\n");
    let mut stackwatch = Stackwatch::start(dir.path(), &config(&target));
    let count = "count_over_time(app_requests_total[1h])";
    eventually("samples", LIMIT, || stackwatch.value(count));
    for round in 0..6 {
        let saved = dir.path().join(format!("saved{round}"));
        let to = saved.to_str().unwrap().to_owned();
        let running = command(&stackwatch, &["backup", &to])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 * round));
        stackwatch.kill();
        // Finding nobody there, the command may have taken the directory itself.
        let ended = running.wait_with_output().unwrap();
        stackwatch.kill_and_restart();
        assert_eq!(
            ended.status.success(),
            saved.join("BACKUP").exists(),
            "{}",
            text(&ended)
        );
        assert_eq!(left_overs(&stackwatch), 0, "{}", text(&ended));
        if ended.status.success() {
            let restored = restore(&saved, &dir.path().join(format!("restored{round}")));
            assert!(restored.status.success(), "{}", text(&restored));
        }
        assert!(stackwatch.value(count).is_some(), "{}", stackwatch.log());
    }
}

#[test]
fn a_backup_to_a_full_disk_fails_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("small")) else {
        return skipped("mounting a small file system takes root");
    };
    let target = Sink::start("app_requests_total 7\n");
    let stackwatch = Stackwatch::start(dir.path(), &config(&target));
    eventually("samples", LIMIT, || stackwatch.value("app_requests_total"));
    let hog = disk.fill();
    let saved = disk.path().join("saved");
    let refused = backup(&stackwatch, &saved);
    assert!(!refused.status.success());
    assert!(
        text(&refused).contains("No space left"),
        "{}",
        text(&refused)
    );
    assert!(!saved.exists() && left_overs(&stackwatch) == 0);
    std::fs::remove_file(hog).unwrap();
    let made = backup(&stackwatch, &saved);
    assert!(made.status.success(), "{}", text(&made));
    assert!(saved.join("BACKUP").exists() && stackwatch.value("app_requests_total").is_some());

    // The way back, likewise.
    let hog = disk.fill();
    let target = disk.path().join("restored");
    let refused = restore(&saved, &target);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("No space left"),
        "{}",
        text(&refused)
    );
    assert!(!target.exists());
    std::fs::remove_file(hog).unwrap();
    assert!(restore(&saved, &target).status.success());
}
