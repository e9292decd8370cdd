use std::fs;
use std::io::Write;

use super::super::assemble::Line;
use super::*;

/// A log of which the engine writes line after line.
struct Log {
    dir: tempfile::TempDir,
    next: i64,
}

fn anchor(number: i64) -> Option<Anchor> {
    let text = format!("line {number}");
    Some(Anchor::of(&Line {
        at_ns: number,
        length: text.len(),
        text: text.into(),
    }))
}

impl Log {
    fn new() -> Self {
        let log = Log {
            dir: tempfile::tempdir().unwrap(),
            next: 1,
        };
        File::create(log.path()).unwrap();
        log
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("x-json.log")
    }

    fn raw(&self, bytes: &[u8]) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.path())
            .unwrap();
        file.write_all(bytes).unwrap();
    }

    fn write(&mut self, lines: i64) {
        for _ in 0..lines {
            let time = stamp::short(self.next);
            self.raw(
                format!(
                    "{{\"log\":\"line {}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n",
                    self.next
                )
                .as_bytes(),
            );
            self.next += 1;
        }
    }

    fn rotate(&self, files_max: usize) {
        for number in (0..files_max - 1).rev() {
            let _ = fs::rename(
                numbered(&self.path(), number),
                numbered(&self.path(), number + 1),
            );
        }
        File::create(self.path()).unwrap();
    }

    fn open(&self, since: i64, from: Option<i64>) -> (JsonFiles, [bool; 2]) {
        let anchors = [from.and_then(anchor), None];
        JsonFiles::open(&self.path(), since, anchors).unwrap()
    }
}

/// Numbers of lines until nothing comes, `!` and a name for a gap.
fn read(files: &mut JsonFiles) -> String {
    let mut out = Vec::new();
    loop {
        match files.step().unwrap() {
            Step::Lines => {
                let lines = files.lines().split(|byte| *byte == b'\n');
                for line in lines.filter(|line| !line.is_empty()) {
                    out.push(
                        json_record::parse(line)
                            .map_or_else(|| "?".to_owned(), |record| record.at_ns.to_string()),
                    );
                }
            }
            Step::Gap(kind) => out.push(format!("!{kind:?}")),
            Step::Idle => return out.join(" "),
            Step::Gone => {
                out.push("gone".to_owned());
                return out.join(" ");
            }
        }
    }
}

#[test]
fn lines_come_once_through_rotations() {
    let mut log = Log::new();
    log.write(2);
    let (mut files, _) = log.open(0, None);
    assert_eq!(read(&mut files), "1 2");
    assert!(!files.has_news());
    log.write(1);
    assert!(files.has_news());
    log.rotate(3);
    log.write(1);
    log.rotate(3);
    log.write(2);
    assert_eq!(read(&mut files), "3 4 5 6");
    // Rotated and nothing written yet.
    log.rotate(3);
    assert_eq!(read(&mut files), "");
    log.write(1);
    assert_eq!(read(&mut files), "7");
}

#[test]
fn files_that_were_missed_are_a_gap() {
    let mut log = Log::new();
    log.write(1);
    let (mut files, _) = log.open(0, None);
    assert_eq!(read(&mut files), "1");
    log.write(1);
    for _ in 0..3 {
        log.rotate(2);
        log.write(1);
    }
    // Its rest is still there for whoever has it open; two files after it are not.
    assert_eq!(read(&mut files), "2 !Rotated 4 5");
}

#[test]
fn reading_goes_on_at_the_last_line_stored() {
    let mut log = Log::new();
    log.write(3);
    log.rotate(4);
    log.write(3);
    log.rotate(4);
    log.write(3);
    let check = |since: i64, from: Option<i64>, found: bool, expect: &str| {
        let (mut files, found_now) = log.open(since, from);
        assert_eq!((read(&mut files).as_str(), found_now[0]), (expect, found));
    };
    check(8, Some(8), true, "7 8 9");
    check(7, Some(8), true, "4 5 6 7 8 9");
    check(0, Some(8), true, "1 2 3 4 5 6 7 8 9");
    check(8, None, false, "7 8 9");
    // Not there any more: from the start.
    check(90, Some(99), false, "1 2 3 4 5 6 7 8 9");
    // A stream that is silent since long.
    check(8, Some(2), false, "7 8 9");
}

#[test]
fn a_search_from_the_end_stops_at_the_block_that_has_it() {
    let mut log = Log::new();
    log.write(12_000);
    let (mut files, found) = log.open(11_900, Some(11_950));
    assert!(found[0]);
    let numbers = read(&mut files);
    let first: i64 = numbers.split(' ').next().unwrap().parse().unwrap();
    assert!((8_000..11_900).contains(&first), "{first}");
    assert!(numbers.ends_with(" 12000"));
}

#[test]
fn a_torn_record_and_zeros_are_left_out() {
    let mut log = Log::new();
    log.write(1);
    log.raw(br#"{"log":"torn"#);
    log.write(1);
    log.raw(&[0; 5000]);
    log.write(1);
    log.raw(&[b'x'; RECORD_BYTES_MAX + BLOCK_BYTES]);
    log.raw(b"\n");
    log.write(1);
    let (mut files, _) = log.open(0, None);
    assert_eq!(read(&mut files), "1 2 3 !Damaged 4");
    log.raw(br#"{"log":"torn"#);
    assert_eq!(read(&mut files), "");
    log.rotate(3);
    log.write(1);
    assert_eq!(read(&mut files), "!Damaged 5");
}

#[test]
fn a_truncated_file_is_read_from_its_start() {
    let mut log = Log::new();
    log.write(5);
    let (mut files, _) = log.open(0, None);
    assert_eq!(read(&mut files), "1 2 3 4 5");
    File::create(log.path()).unwrap();
    log.write(1);
    assert_eq!(read(&mut files), "!Truncated 6");
    // Even when it has grown beyond what it was.
    File::create(log.path()).unwrap();
    log.write(9);
    assert_eq!(read(&mut files), "!Truncated 7 8 9 10 11 12 13 14 15");
}

#[test]
fn what_was_removed_is_read_to_its_end() {
    let mut log = Log::new();
    log.write(1);
    let (mut files, _) = log.open(0, None);
    log.write(1);
    fs::remove_file(log.path()).unwrap();
    assert_eq!(read(&mut files), "1 2 gone");
}
