//! Samples come and go: promtool's blocks and ours, sample by sample; interrupted, on a full disk,
//! and beside a stackwatch that runs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use stackwatch_tests::skipped;
use stackwatch_tests::stackwatch::{Stackwatch, binary};

use crate::backup::{command, text};
use crate::disk_full::SmallDisk;

/// `stackwatch tsdb WHAT FILE --data-dir DATA`.
fn tsdb(what: &str, file: &Path, data: &Path) -> Output {
    let mut command = Command::new(binary());
    command.args(["tsdb", what]).arg(file);
    command.arg("--data-dir").arg(data);
    // Nobody's configuration may be lying about.
    command.current_dir(data.parent().unwrap());
    command.stdin(Stdio::null()).output().unwrap()
}

fn import(file: &Path, data: &Path) {
    let done = tsdb("import", file, data);
    assert!(done.status.success(), "{}", text(&done));
}

fn export(data: &Path, file: &Path) -> String {
    let done = tsdb("export", file, data);
    assert!(done.status.success(), "{}", text(&done));
    std::fs::read_to_string(file).unwrap()
}

/// Lines of series as exporters write them and of values as mathematicians do, over five hours of
/// two days.
fn open_metrics() -> String {
    let values = [
        "0",
        "-0",
        "5e-324",
        "1.7976931348623157e+308",
        "+Inf",
        "-Inf",
        "NaN",
        "0.30000000000000004",
        "0.3333333333333333",
        "123456789012345680",
    ];
    let mut lines = String::new();
    // 22:00 to 03:00.
    let start = 1_763_676_000_u64;
    for series in 0..40 {
        for (i, second) in (start..start + 5 * 3600).step_by(60).enumerate() {
            let labels = format!(r#"job="a",path="/p{series}",text="sl\\ash \"q\" \n é""#);
            let millis = series * 7;
            let counter = i * series;
            writeln!(
                lines,
                "requests_total{{{labels}}} {counter} {second}.{millis:03}"
            )
            .unwrap();
        }
    }
    for series in 0..10 {
        for (i, second) in (start..start + 5 * 3600).step_by(300).enumerate() {
            let value = values[(series + i) % values.len()];
            writeln!(lines, "temperature{{room=\"{series}\"}} {value} {second}").unwrap();
        }
    }
    lines + "# EOF\n"
}

/// Has promtool make blocks; `None` when there is no promtool.
fn promtool_blocks(text: &Path, blocks: &Path) -> Option<()> {
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([text, blocks])
        .output()
        .ok()?;
    assert!(made.status.success(), "{}", crate::backup::text(&made));
    Some(())
}

#[test]
fn text_and_promtools_blocks_carry_every_sample_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("in.om"), open_metrics()).unwrap();
    import(&at("in.om"), &at("from-text"));
    let ours = export(&at("from-text"), &at("ours.om"));
    assert_eq!(ours.lines().count(), open_metrics().lines().count());

    let Some(()) = promtool_blocks(&at("in.om"), &at("blocks")) else {
        return skipped("no promtool");
    };
    import(&at("blocks"), &at("from-blocks"));
    assert!(
        export(&at("from-blocks"), &at("theirs.om")) == ours,
        "their blocks of the text"
    );

    promtool_blocks(&at("ours.om"), &at("blocks-of-ours")).unwrap();
    import(&at("blocks-of-ours"), &at("back"));
    assert!(
        export(&at("back"), &at("back.om")) == ours,
        "their blocks of our export"
    );
}

#[test]
fn an_import_that_is_killed_leaves_nothing_and_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let text = open_metrics();
    let mut importing = Command::new(binary())
        .args(["tsdb", "import", "-", "--data-dir"])
        .arg(&data)
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let half = &text.as_bytes()[..text.len() / 2];
    importing.stdin.as_mut().unwrap().write_all(half).unwrap();
    importing.kill().unwrap();
    importing.wait().unwrap();
    assert_eq!(export(&data, &dir.path().join("none.om")), "# EOF\n");
    let blocks = std::fs::read_dir(data.join("metrics/blocks"));
    assert_eq!(blocks.map_or(0, Iterator::count), 0);

    std::fs::write(dir.path().join("in.om"), &text).unwrap();
    import(&dir.path().join("in.om"), &data);
    let all = export(&data, &dir.path().join("all.om"));
    assert_eq!(all.lines().count(), text.lines().count());
}

#[test]
fn a_full_disk_ends_import_and_export_and_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("small")) else {
        return skipped("mounting a small file system takes root");
    };
    let full = disk.path().join("full");
    let good = dir.path().join("good");
    std::fs::write(dir.path().join("in.om"), open_metrics()).unwrap();
    import(&dir.path().join("in.om"), &good);
    // What every start writes is there already.
    let empty = dir.path().join("empty.om");
    std::fs::write(&empty, "# EOF\n").unwrap();
    import(&empty, &full);

    let hog = disk.fill();
    let refused = tsdb("import", &dir.path().join("in.om"), &full);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused).to_lowercase();
    assert!(
        said.contains("disk full") || said.contains("no space left"),
        "{said}"
    );
    let blocks = std::fs::read_dir(full.join("metrics/blocks"));
    assert_eq!(blocks.map_or(0, Iterator::count), 0, "{said}");

    let out = disk.path().join("out.om");
    let refused = tsdb("export", &out, &good);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused);
    assert!(
        said.contains("out.om") && said.contains("No space left"),
        "{said}"
    );
    assert!(!out.exists());

    std::fs::remove_file(hog).unwrap();
    import(&dir.path().join("in.om"), &full);
    assert!(export(&full, &out) == export(&good, &dir.path().join("good.om")));
}

#[test]
fn beside_a_running_stackwatch_an_import_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), "collect: { host: false, docker: false }\n");
    let file = dir.path().join("in.om");
    std::fs::write(&file, open_metrics()).unwrap();
    let refused = tsdb("import", &file, &stackwatch.data());
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("stop it, import, and start it again"),
        "{}",
        text(&refused)
    );

    // What asks the running one does.
    let run = |args: &[&str]| command(&stackwatch, args).output().unwrap();
    let analyzed = run(&["tsdb", "analyze"]);
    assert!(analyzed.status.success(), "{}", text(&analyzed));
    let since = run(&["query", "vector(1)", "--start", "0", "--step", "100000000"]);
    assert!(
        since.status.success(),
        "an end is not needed: {}",
        text(&since)
    );
    let reloaded = run(&["reload"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded));
    std::fs::write(dir.path().join("stackwatch.yml"), "colect: {}\n").unwrap();
    let refused = Command::new(binary())
        .args(["reload", "--url", stackwatch.listen()])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("did you mean collect?"),
        "{}",
        text(&refused)
    );
}
