//! Packing files anew, through restarts, faults and readers.

use model::{Direction, Sieve, Skim};

use super::tests::{DAY_NS, append, cut_all, everything, lines, open, stream};
use super::*;
use crate::disk::faulty::{FaultyDisk, Weather};

/// Noon of the day after tomorrow, seen from the first day.
const LATER: Timestamp = Timestamp::from_millis(2 * 86_400_000 + 43_200_000);

/// Maintains until everything has been packed that can be.
fn pack_all(store: &LogStore) {
    for _ in 0..40 {
        store.pack(LATER);
    }
}

fn packed(store: &LogStore) -> Vec<bool> {
    store
        .lock()
        .files
        .iter()
        .map(|f| f.file.is_packed)
        .collect()
}

/// Two streams with many frames on the first day, one line on the second and one on the third.
fn fill(store: &LogStore) {
    for round in 0..6_i64 {
        for i in 0..2_u32 {
            let made: Vec<(i64, String)> = (0..40)
                .map(|n| {
                    (
                        round * 1000 + n,
                        format!("line {n} of {round} in {i}, id={round}x{n}"),
                    )
                })
                .collect();
            let made: Vec<(i64, &str)> = made.iter().map(|(t, l)| (*t, l.as_str())).collect();
            append(store, i, &made);
        }
        cut_all(store);
    }
    append(store, 1, &[(DAY_NS, "second day")]);
    cut_all(store);
    append(store, 1, &[(2 * DAY_NS, "third day")]);
    cut_all(store);
}

#[test]
fn days_that_are_over_are_packed_and_read_the_same() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    let before = everything(&store);
    let frames = store.figures().2;
    pack_all(&store);
    assert_eq!(packed(&store), [true, true, false], "today's goes on");
    assert_eq!(everything(&store), before);
    assert_eq!(store.figures().2, frames - 10, "one of each stream");
    let mut forward = before.clone();
    forward.reverse();
    let range = (i64::MIN, i64::MAX);
    let back = tests::read(&store, &[], range, Direction::Backward);
    let times = |seen: &[(i64, Labels, String)]| seen.iter().map(|s| s.0).collect::<Vec<_>>();
    assert_eq!(times(&back), times(&forward));
    for (i, piece) in store.pieces().iter().enumerate() {
        assert_eq!(
            piece.bytes as usize,
            disk.content(&piece.path).len(),
            "piece {i}"
        );
    }
    drop(store);
    let store = open(&disk);
    assert_eq!(everything(&store), before);
    assert_eq!(packed(&store), [true, true, false]);
    // Packing again does nothing.
    let files = disk.files();
    pack_all(&store);
    assert_eq!(packed(&store), [true, true, false]);
    assert_eq!(disk.files().len(), files.len());
}

#[test]
fn late_lines_of_a_packed_day_get_a_file_of_their_own() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    pack_all(&store);
    append(&store, 0, &[(7, "late")]);
    cut_all(&store);
    assert_eq!(packed(&store), [true, true, false, false]);
    let before = everything(&store);
    pack_all(&store);
    assert_eq!(packed(&store), [true, true, false, true]);
    assert_eq!(everything(&store), before);
    drop(store);
    assert_eq!(everything(&open(&disk)), before);
}

#[test]
fn frames_of_packed_files_are_passed_over_by_their_words() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    pack_all(&store);
    let seen = |text: &str| {
        let mut sieve = Sieve::new();
        sieve.require_any(&[text]);
        let (looked_at, visited) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let passed_over = |p: model::PassedOver| {
            looked_at.set(looked_at.get() + p.lines);
            ControlFlow::Continue(())
        };
        let selection = LogSelection {
            matchers: &[],
            start_ns: 0,
            end_ns: DAY_NS,
            direction: Direction::Backward,
            skim: Skim {
                sieve: Some(&sieve),
                no_texts: false,
                passed_over: Some(&passed_over),
            },
        };
        let visit = &mut |_: &Labels, e: &LogEntry| {
            assert!(e.line.contains(text));
            visited.set(visited.get() + 1);
            ControlFlow::Continue(())
        };
        store.read(&selection, visit).unwrap();
        (looked_at.get(), visited.get())
    };
    assert_eq!(seen(" of 3 "), (400, 80));
    assert_eq!(seen(" of 77 in"), (0, 0), "no frame has this word");
    assert_eq!(seen("of 77 in"), (0, 0));
    assert_eq!(seen("of 77"), (480, 0), "which may go on");
    assert_eq!(seen("id=5x"), (400, 80));
}

#[test]
fn a_damaged_filter_is_not_asked() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    pack_all(&store);
    let (path, at) = {
        let state = store.lock();
        let f = &state.files[0];
        (
            f.file.path.clone(),
            f.frames[0].offset + f.frames[0].lead_bytes,
        )
    };
    let mut content = disk.content(&path);
    // The filter is all zeros where it is read, so that it would deny everything.
    content[at as usize - 40..at as usize].fill(0);
    drop(store);
    disk.set_content(&path, &content);
    let store = open(&disk);
    assert!(
        store.watch.health().notices.is_empty(),
        "an old one is not looked at"
    );
    let mut sieve = Sieve::new();
    sieve.require_any(&[" of 3 "]);
    let mut seen = 0;
    let selection = LogSelection {
        matchers: &[],
        start_ns: 0,
        end_ns: DAY_NS,
        direction: Direction::Forward,
        skim: Skim {
            sieve: Some(&sieve),
            ..Skim::default()
        },
    };
    let visit = &mut |_: &Labels, _: &LogEntry| {
        seen += 1;
        ControlFlow::Continue(())
    };
    store.read(&selection, visit).unwrap();
    assert_eq!(seen, 80);
    assert!(!store.watch.health().notices.is_empty());
}

#[test]
fn whoever_reads_meanwhile_reads_on() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    let before = everything(&store);
    let mut seen = Vec::new();
    let selection = LogSelection {
        matchers: &[],
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        direction: Direction::Forward,
        skim: Skim::default(),
    };
    let visit = &mut |_: &Labels, e: &LogEntry| {
        store.pack(LATER);
        seen.push(e.line.clone());
        ControlFlow::Continue(())
    };
    store.read(&selection, visit).unwrap();
    assert_eq!(seen, lines(&before));
    assert_eq!(packed(&store), [true, true, false]);
}

#[test]
fn a_file_that_retention_takes_meanwhile_is_gone() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    let path = store.lock().files[0].file.path.clone();
    // Begun, not finished.
    let job = loop {
        let job = store.next_to_pack(LATER, &HashSet::new()).unwrap();
        if let Some(job) = job {
            break job;
        }
    };
    store.packer.lock().unwrap().set_job(job);
    store.remove(&path);
    pack_all(&store);
    assert_eq!(lines(&everything(&store)), ["second day", "third day"]);
    let left: Vec<PathBuf> = disk.files();
    assert!(
        !left.iter().any(|p| p.starts_with("/data/logs/1970-01-01")),
        "{left:?}"
    );
}

#[test]
fn a_file_with_damage_stays_as_it_is() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    let (path, at) = {
        let state = store.lock();
        let f = &state.files[0];
        (
            f.file.path.clone(),
            f.frames[3].offset + f.frames[3].bytes - 1,
        )
    };
    // Else the write-ahead log has the lines.
    store.lock().wal.close_segment();
    store.lock().drop_covered().unwrap();
    let mut content = disk.content(&path);
    content[at as usize] ^= 1;
    drop(store);
    disk.set_content(&path, &content);
    let store = open(&disk);
    let before = everything(&store);
    assert_eq!(before.len(), 482 - 40);
    pack_all(&store);
    assert_eq!(packed(&store), [false, true, false]);
    assert_eq!(everything(&store), before);
    assert_eq!(disk.content(&path), content);
    assert!(!store.watch.health().notices.is_empty());
    assert!(
        !disk
            .files()
            .iter()
            .any(|p| p.extension().is_some_and(|e| e == "tmp"))
    );
}

#[test]
fn a_kill_or_power_cut_at_any_point_costs_nothing() {
    for seed in 0..100 {
        let disk = FaultyDisk::seeded(seed);
        let store = open(&disk);
        fill(&store);
        store.sync().unwrap();
        let before = everything(&store);
        disk.set_weather(Weather {
            writes: 60,
            syncs: 60,
            names: 60,
            reads: 10,
        });
        for _ in 0..seed % 9 {
            store.packer.lock().unwrap().pause_no_longer();
            store.pack(LATER);
        }
        disk.set_weather(Weather::default());
        assert_eq!(everything(&store), before, "seed {seed}, running");
        drop(store);
        if seed % 3 > 0 {
            disk.power_cut_at_random();
        }
        let store = open(&disk);
        assert_eq!(everything(&store), before, "seed {seed}, restarted");
        let is_left_over = |p: &PathBuf| p.extension().is_some_and(|e| e == "tmp");
        assert!(!disk.files().iter().any(is_left_over), "seed {seed}");
        pack_all(&store);
        assert_eq!(packed(&store)[..2], [true, true], "seed {seed}");
        assert_eq!(everything(&store), before, "seed {seed}, packed");
        drop(store);
        disk.power_cut_at_random();
        assert_eq!(
            everything(&open(&disk)),
            before,
            "seed {seed}, packed and restarted"
        );
    }
}

#[test]
fn a_full_disk_is_tried_again_later() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    fill(&store);
    let before = everything(&store);
    // The write-ahead log begins a segment first.
    store.pack(LATER);
    disk.set_room(Some(10));
    store.pack(LATER);
    assert!(!store.watch.health().ok);
    disk.set_room(None);
    pack_all(&store);
    assert_eq!(packed(&store), [false, false, false], "not at once");
    pack_all(&store);
    assert_eq!(packed(&store), [true, true, false]);
    assert!(store.watch.health().ok, "{:?}", store.watch.health());
    assert_eq!(everything(&store), before);
}

#[test]
fn texts_are_left_out_only_where_lines_cannot_be_taken_for_each_other() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(1, "a"), (5, "b")]);
    cut_all(&store);
    append(&store, 1, &[(5, "c"), (9, "d")]);
    append(&store, 2, &[(5, "e"), (6, "f")]);
    cut_all(&store);
    append(&store, 2, &[(8, "g")]);
    let mut seen = Vec::new();
    let selection = LogSelection {
        matchers: &[],
        start_ns: 0,
        end_ns: 100,
        direction: Direction::Forward,
        skim: Skim {
            no_texts: true,
            ..Skim::default()
        },
    };
    let visit = &mut |labels: &Labels, e: &LogEntry| {
        seen.push((e.at_ns, *labels == stream(2), e.line.clone()));
        ControlFlow::Continue(())
    };
    store.read(&selection, visit).unwrap();
    let text = |at, second, line: &str| (at, second, line.to_owned());
    let expect = [
        text(1, false, "a"),
        text(5, false, "b"),
        text(5, false, "c"),
        text(5, true, ""),
        text(6, true, ""),
        text(8, true, "g"),
        text(9, false, "d"),
    ];
    assert_eq!(seen, expect);
}

#[test]
fn many_frames_are_read_ahead_and_come_in_order() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    for t in 0..60_i64 {
        append(&store, (t % 3) as u32, &[(t * 10, "x"), (t * 10 + 15, "y")]);
        cut_all(&store);
    }
    let all = everything(&store);
    assert_eq!(all.len(), 120);
    assert!(all.is_sorted_by_key(|s| s.0));
    // One that ends early leaves no thread behind.
    let mut count = 0;
    let selection = LogSelection {
        matchers: &[],
        start_ns: 0,
        end_ns: i64::MAX,
        direction: Direction::Backward,
        skim: Skim::default(),
    };
    let visit = &mut |_: &Labels, _: &LogEntry| {
        count += 1;
        match count < 50 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    store.read(&selection, visit).unwrap();
    assert_eq!(store.workers.free(), 2);
}
