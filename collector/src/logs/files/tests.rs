//! Folders with files that are written, rotated, emptied and removed.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use scrub::Scrubber;

use super::position::Position;
use super::tailer::{Round, Tailer};
use super::*;
use crate::logs::lines::{LINE_BYTES_MAX, LineTelemetry, Lines};

const SECOND: i64 = 1_000_000_000;

/// A folder, and a tailer that is started again at will.
struct Folder {
    dir: tempfile::TempDir,
    config: String,
    now_ns: i64,
    stored: std::collections::BTreeMap<String, Vec<u8>>,
    tailer: Option<Tailer>,
    last: Round,
}

impl Folder {
    fn new(pattern: &str) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{{path: '{}'}}", dir.path().join(pattern).display());
        Folder {
            dir,
            config,
            now_ns: 1_700_000_000 * SECOND,
            stored: Default::default(),
            tailer: None,
            last: Round::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn copy_and_empty(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
        self.write(from, "");
    }

    /// Into the same file.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn restart(&mut self) {
        self.tailer = None;
    }

    /// One round, whose batches are stored; the lines it brought.
    fn round(&mut self) -> Vec<String> {
        self.now_ns += SECOND;
        let (config, stored) = (&self.config, &self.stored);
        let tailer = self.tailer.get_or_insert_with(|| {
            let config: LogFilesConfig = serde_saphyr::from_str(config).unwrap();
            config.check().unwrap();
            let lines = Lines::new(Arc::new(Scrubber::default()), LineTelemetry::default());
            Tailer::new(vec![config], "h".to_owned(), lines, stored.clone())
        });
        let round = tailer.round(self.now_ns);
        let mut lines = Vec::new();
        for batch in &round.batches {
            let position = batch.position.clone().unwrap();
            assert!(Position::decode(&position.position).is_some());
            self.stored.insert(position.source, position.position);
            lines.extend(batch.entries.iter().map(|e| e.line.as_str().to_owned()));
        }
        for source in &round.gone {
            self.stored.remove(source);
        }
        let problems = round.problems.iter();
        let others = problems.filter(|problem| !problem.contains("files more than"));
        assert_eq!(others.count(), 0, "{:?}", round.problems);
        self.last = round;
        lines
    }

    fn check(&mut self, expect: &[&str]) {
        assert_eq!(self.round(), expect);
    }
}

#[test]
fn whole_lines_come_once_with_labels_and_level() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\nlevel=error two\r\nthr");
    folder.append("b.log.gz", "x\n");
    assert_eq!(folder.round(), ["one", "level=error two"]);
    let batch = &folder.last.batches[0];
    let filename = folder.path("a.log").display().to_string();
    let expect = model::Labels::from_pairs([
        ("filename", filename.as_str()),
        ("host", "h"),
        ("job", "files"),
        ("service_name", "files"),
    ]);
    assert_eq!(batch.stream.labels(), &expect);
    assert_eq!(
        batch.entries[1].metadata.labels().get("detected_level"),
        Some("error")
    );
    assert!(batch.entries[0].at_ns < batch.entries[1].at_ns);
    folder.check(&[]);
    folder.append("a.log", "ee\nfour\n");
    folder.check(&["three", "four"]);
}

#[test]
fn a_restart_neither_repeats_nor_loses_lines() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\ntwo\nthr");
    folder.check(&["one", "two"]);
    folder.restart();
    folder.append("a.log", "ee\n");
    folder.check(&["three"]);
    folder.restart();
    folder.check(&[]);
}

#[test]
fn a_file_that_is_renamed_is_read_to_its_end() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
    folder.append("a.log", "two\n");
    folder.rename("a.log", "a.log.1");
    folder.append("a.log", "four\n");
    let mut lines = folder.round();
    lines.sort();
    assert_eq!(lines, ["four", "two"]);
    // Its writer has not noticed yet, and never ends its last line.
    folder.append("a.log.1", "three\nend");
    folder.check(&["three"]);
    folder.now_ns += 61 * SECOND;
    folder.check(&["end"]);
    folder.now_ns += 61 * SECOND;
    folder.check(&[]);
    assert_eq!((folder.last.files, folder.stored.len()), (1, 1));
}

#[test]
fn a_file_that_is_renamed_while_nobody_looks_is_read_to_its_end() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
    folder.restart();
    folder.append("a.log", "two\n");
    folder.rename("a.log", "a.log.1");
    folder.append("a.log", "three\n");
    let mut lines = folder.round();
    lines.sort();
    assert_eq!(lines, ["three", "two"]);
    folder.check(&[]);
}

#[test]
fn a_file_that_is_copied_and_emptied_is_read_from_its_beginning() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\ntwo\n");
    folder.check(&["one", "two"]);
    // What was written between the last look and the copy is in the copy only.
    folder.append("a.log", "three\n");
    folder.copy_and_empty("a.log", "a.log.1");
    folder.append("a.log", "four, of a file that is longer at once\n");
    folder.check(&["four, of a file that is longer at once"]);
    folder.check(&["three"]);
    folder.check(&[]);
    // Nothing was written between these.
    folder.copy_and_empty("a.log", "a.log.2");
    folder.check(&[]);
    folder.append("a.log", "five\n");
    folder.check(&["five"]);
    folder.restart();
    folder.check(&[]);
}

#[test]
fn a_file_that_is_copied_and_emptied_while_nobody_looks_is_read_once() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
    folder.restart();
    folder.append("a.log", "two\n");
    folder.copy_and_empty("a.log", "a.log.1");
    folder.append("a.log", "three\n");
    let mut lines = folder.round();
    lines.sort();
    assert_eq!(lines, ["three", "two"]);
}

#[test]
fn files_that_a_pattern_names_after_their_rotation_too_are_read_once() {
    let mut folder = Folder::new("a.log*");
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
    folder.rename("a.log", "a.log.1");
    folder.append("a.log", "two\n");
    folder.check(&["two"]);
    folder.rename("a.log.1", "a.log.2");
    folder.copy_and_empty("a.log", "a.log.1");
    folder.check(&[]);
    folder.restart();
    folder.append("a.log", "three\n");
    folder.check(&["three"]);
}

#[test]
fn a_number_that_the_kernel_gives_again_is_another_file() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
    folder.restart();
    // The same number for certain: the same file with other content.
    folder.write("a.log", "another\nfile\n");
    folder.check(&["another", "file"]);
}

#[test]
fn lines_that_are_too_long_are_cut_once() {
    let mut folder = Folder::new("*.log");
    let long = "x".repeat(3 * LINE_BYTES_MAX);
    folder.append("a.log", &long);
    let lines = folder.round();
    assert_eq!((lines.len(), lines[0].len()), (1, LINE_BYTES_MAX));
    let metadata = folder.last.batches[0].entries[0].metadata.labels().clone();
    assert_eq!(metadata.get("truncated"), Some("true"));
    // The rest is left out, also over a restart.
    folder.restart();
    folder.append("a.log", "rest\nnext\n");
    let mut lines = folder.round();
    while folder.last.more {
        lines.extend(folder.round());
    }
    assert_eq!(lines, ["next"]);
}

#[test]
fn many_bytes_come_in_bounded_rounds_and_in_order() {
    let mut folder = Folder::new("*.log");
    let text: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    folder.append("a.log", &text);
    folder.append("b.log", "other\n");
    let mut lines = folder.round();
    assert!(folder.last.more && lines.len() < 100_000);
    while folder.last.more {
        lines.extend(folder.round());
    }
    let from = |prefix: &str| lines.iter().filter(|l| l.starts_with(prefix)).count();
    assert_eq!((from("line"), from("other")), (200_000, 1));
    let numbers: Vec<usize> = lines
        .iter()
        .filter_map(|l| l.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(numbers.is_sorted());
}

#[test]
fn secrets_and_personal_data_are_scrubbed() {
    let mut folder = Folder::new("*.log");
    folder.append("a.log", "user jane.doe@example.org password=hunter2\n");
    let line = &folder.round()[0];
    assert!(
        !line.contains("jane.doe") && !line.contains("hunter2"),
        "{line}"
    );
}

#[test]
fn only_what_comes_after_the_start_is_read_when_so_configured() {
    let mut folder = Folder::new("*.log");
    folder.config = folder.config.replace('}', ", tail_from_end: true}");
    folder.append("a.log", "old\n");
    folder.check(&[]);
    folder.append("a.log", "new\n");
    folder.append("b.log", "of a new file\n");
    let mut lines = folder.round();
    lines.sort();
    assert_eq!(lines, ["new", "of a new file"]);
    folder.restart();
    folder.rename("a.log", "a.log.1");
    folder.append("a.log", "after rotation\n");
    folder.check(&["after rotation"]);
}

#[test]
fn what_is_no_file_is_left_out_and_what_cannot_be_read_is_said() {
    let mut folder = Folder::new("*");
    fs::create_dir(folder.path("folder.log")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path("s.log"));
    folder.append("a.log", "one\n");
    folder.check(&["one"]);
}

#[test]
fn configurations_are_checked() {
    let parse = |text: &str| serde_saphyr::from_str::<LogFilesConfig>(text);
    let check = |text: &str| parse(text).unwrap().check();
    assert_eq!(check("/var/log/a.log"), Ok(()));
    assert_eq!(check("{path: /a, job: web, labels: {app: shop}}"), Ok(()));
    assert!(check("a.log").unwrap_err().contains("absolute"));
    assert!(
        check("{path: /a, labels: {'a-b': c}}")
            .unwrap_err()
            .contains("a-b")
    );
    assert!(parse("{path: /a, pathh: b}").is_err());
}

#[test]
fn of_too_many_files_those_that_are_written_to_are_followed() {
    let mut folder = Folder::new("*.log");
    let write_at = |folder: &Folder, name: &str, at_ns: i64| {
        folder.append(name, &format!("{name} at {at_ns}\n"));
        let file = fs::File::options()
            .append(true)
            .open(folder.path(name))
            .unwrap();
        let at = Duration::from_nanos(at_ns.unsigned_abs());
        file.set_modified(std::time::UNIX_EPOCH + at).unwrap();
    };
    let begin = folder.now_ns;
    // The names say nothing.
    for n in 0..300_i64 {
        write_at(
            &folder,
            &format!("{:03}.log", (n * 7) % 300),
            begin - n * SECOND,
        );
    }
    let mut lines: Vec<String> = (0..40).flat_map(|_| folder.round()).collect();
    assert_eq!(lines.len(), 256);
    assert!(lines.iter().all(|line| {
        let at: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        at > begin - 256 * SECOND
    }));
    assert!(folder.last.problems[0].starts_with("44 files more"));

    // One that was left out is written to: an idle one makes room, but not one that moves.
    folder.now_ns += 3600 * SECOND;
    let left_out = format!("{:03}.log", (299 * 7) % 300);
    let at = folder.now_ns;
    write_at(&folder, &left_out, at);
    lines = (0..3).flat_map(|_| folder.round()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.starts_with(&left_out)));

    // What was closed goes on where it was once something comes.
    let name = format!("{:03}.log", (255 * 7) % 300);
    folder.now_ns += 3600 * SECOND;
    let at = folder.now_ns;
    for n in 0..256 {
        write_at(&folder, &format!("{:03}.log", (n * 7) % 300), at);
    }
    lines = (0..40).flat_map(|_| folder.round()).collect();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with(&name)).count(),
        1
    );
    assert_eq!(lines.len(), 256);
}
