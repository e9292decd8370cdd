//! Text files of a machine, through rotation of both kinds and `kill -9`.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use stackwatch_tests::eventually;
use stackwatch_tests::stackwatch::Stackwatch;

const LIMIT: Duration = Duration::from_secs(30);
const STEPS: usize = 8;
const LINES: usize = 100;

/// Appends numbered lines behind those that there are.
fn append(file: &Path, written: &mut usize) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(file).unwrap();
    for _ in 0..LINES {
        *written += 1;
        writeln!(file, "line {written} of jane.doe@example.org").unwrap();
    }
}

#[test]
fn each_line_is_stored_once_through_rotation_and_kills() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let file = logs.join("app.log");
    let config = format!(
        "collect: {{ docker: false, host: false }}\nlogs: {{ files: [{{ path: '{}/*.log', job: app, labels: {{ tier: web }} }}] }}\n",
        logs.display()
    );
    let mut stackwatch = Stackwatch::start(dir.path(), &config);
    let filename = file.display();
    let selector = format!("{{job=\"app\", tier=\"web\", filename=\"{filename}\"}}");
    let mut written = 0;
    append(&file, &mut written);
    let until_stored = |stackwatch: &Stackwatch, written: usize| {
        eventually("all lines so far", LIMIT, || {
            (stackwatch.lines(&selector).len() >= written).then_some(())
        });
    };
    until_stored(&stackwatch, written);
    for step in 0..STEPS {
        append(&file, &mut written);
        let killed = step % 3 == 2;
        if killed {
            stackwatch.kill();
            append(&file, &mut written);
        }
        let rotated = logs.join(format!("app.log.{step}"));
        if step % 2 == 0 {
            std::fs::rename(&file, rotated).unwrap();
        } else {
            std::fs::copy(&file, rotated).unwrap();
            std::fs::write(&file, "").unwrap();
        }
        append(&file, &mut written);
        if killed {
            let _ = stackwatch.restart();
        }
        until_stored(&stackwatch, written);
    }
    let mut numbers: Vec<usize> = stackwatch
        .lines(&selector)
        .iter()
        .map(|line| {
            assert!(!line.contains("jane.doe"), "{line}");
            line.split(' ').nth(1).unwrap().parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=written).collect::<Vec<_>>());
}
