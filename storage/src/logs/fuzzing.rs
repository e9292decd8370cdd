//! The door for `fuzz/`: files of frames, fed with anything.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use model::{Direction, Labels, Sieve, Skim, Timestamp};
use scrub::{LogBatch, ScrubbedEntry, Scrubber};

use super::*;
use crate::disk::faulty::FaultyDisk;
use crate::telemetry::Telemetry;

const DIR: &str = "/logs";
const FILE: &str = "/logs/1970-01-01/0000000001.frames";

#[expect(clippy::panic, reason = "a finding")]
fn open(disk: &FaultyDisk) -> LogStore {
    let mut registry = prometheus_client::registry::Registry::default();
    let watch = Arc::new(Watch::new(Telemetry::new(&mut registry)));
    let opened = LogStore::open(Arc::new(disk.clone()), watch, Path::new(DIR), 1 << 20);
    opened.unwrap_or_else(|e| panic!("the store does not start: {e}"))
}

/// Lines of two streams, as they were cut and packed anew.
fn genuine() -> &'static [Vec<u8>; 2] {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = FaultyDisk::default();
        let store = open(&disk);
        let scrubber = Scrubber::default();
        for (i, name) in ["a", "b", "a"].into_iter().enumerate() {
            let entry = |n: usize| ScrubbedEntry {
                at_ns: (i * 50 + n / 2) as i64,
                line: scrubber.line(format!("request {n} error={}", n % 3).as_bytes()),
                metadata: scrubber.labels(&Labels::from_pairs([("level", (n % 2).to_string())])),
            };
            let batch = LogBatch {
                stream: scrubber.labels(&Labels::from_pairs([("app", name)])),
                entries: (0..60).map(entry).collect(),
                position: None,
            };
            let _ = store.append(&batch);
            store.maintain(Timestamp::from_millis(0));
            store.maintain(Timestamp::from_millis(LINE_AGE_MAX_MS));
        }
        let cut = disk.content(Path::new(FILE));
        for _ in 0..3 {
            store.maintain(Timestamp::from_millis(3 * 86_400_000));
        }
        [cut, disk.content(Path::new(FILE))]
    })
}

/// The input is a list of changes to a genuine file: by its first byte one that was packed anew or
/// not; three bytes for each place, and one to put there. A store opens on it, whatever its
/// checksums say, reads it in all ways and packs it.
pub fn frames(input: &[u8]) {
    let Some((selector, changes)) = input.split_first() else {
        return;
    };
    let mut content = genuine()[usize::from(selector % 2)].clone();
    for change in changes.chunks_exact(4) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize;
        let at = place % content.len();
        content[at] = change[3];
    }
    let disk = FaultyDisk::default();
    let _ = disk.create_dir(Path::new("/logs/1970-01-01"));
    disk.set_content(Path::new(FILE), &content);
    let store = open(&disk);
    let mut sieve = Sieve::new();
    sieve.require_any(&[" 17 error"]);
    for packed in [false, true] {
        for (direction, sieve, no_texts) in [
            (Direction::Forward, None, false),
            (Direction::Backward, Some(&sieve), false),
            (Direction::Forward, None, true),
        ] {
            let selection = LogSelection {
                matchers: &[],
                start_ns: i64::MIN,
                end_ns: i64::MAX,
                direction,
                skim: Skim {
                    sieve,
                    no_texts,
                    passed_over: None,
                },
            };
            let _ = store.read(&selection, &mut |_, _| ControlFlow::Continue(()));
        }
        if !packed {
            for _ in 0..3 {
                store.maintain(Timestamp::from_millis(3 * 86_400_000));
            }
        }
    }
}
