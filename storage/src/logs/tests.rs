//! The log store against a naive list, through cuts, restarts and faults.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use model::{Direction, Skim};
use proptest::prelude::*;
use scrub::{LogBatch, ScrubbedEntry, Scrubber, SourcePosition};

use super::*;
use crate::disk::faulty::FaultyDisk;

const DIR: &str = "/data/logs";
const HOUR_NS: i64 = 3_600_000_000_000;
pub(super) const DAY_NS: i64 = 24 * HOUR_NS;

pub(super) fn open(disk: &FaultyDisk) -> LogStore {
    open_with(disk, 8 << 20)
}

fn open_with(disk: &FaultyDisk, head_bytes_max: u64) -> LogStore {
    let disk = Arc::new(disk.clone());
    LogStore::open(disk, Watch::for_test(), Path::new(DIR), head_bytes_max).unwrap()
}

pub(super) fn stream(i: u32) -> Labels {
    Labels::from_pairs([
        ("service_name", format!("s{i}")),
        ("stream", "stdout".to_owned()),
    ])
}

/// Made once: that takes longer than most tests.
static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(Scrubber::default);

/// Lines of stream `i`; the position says how many lines the source has given.
fn batch(i: u32, lines: &[(i64, String)], position: Option<u64>) -> LogBatch {
    let scrubber = &*SCRUBBER;
    let metadata = Labels::from_pairs([("container_id", format!("c{i}"))]);
    LogBatch {
        stream: scrubber.labels(&stream(i)),
        entries: lines
            .iter()
            .map(|(at_ns, line)| ScrubbedEntry {
                at_ns: *at_ns,
                line: scrubber.line(line.as_bytes()),
                metadata: scrubber.labels(&metadata),
            })
            .collect(),
        position: position.map(|p| SourcePosition {
            source: format!("docker/{i}"),
            position: p.to_be_bytes().to_vec(),
        }),
    }
}

pub(super) fn append(store: &LogStore, i: u32, lines: &[(i64, &str)]) {
    let lines: Vec<_> = lines.iter().map(|(t, l)| (*t, (*l).to_owned())).collect();
    store.append(&batch(i, &lines, None)).unwrap();
}

pub(super) type Seen = Vec<(i64, Labels, String)>;

pub(super) fn read(
    store: &LogStore,
    matchers: &[Matcher],
    range: (i64, i64),
    direction: Direction,
) -> Seen {
    let mut seen = Seen::new();
    let selection = LogSelection {
        matchers,
        start_ns: range.0,
        end_ns: range.1,
        direction,
        skim: Skim::default(),
    };
    let visit = &mut |labels: &Labels, e: &LogEntry| {
        assert!(e.metadata.get("container_id").is_some());
        seen.push((e.at_ns, labels.clone(), e.line.clone()));
        ControlFlow::Continue(())
    };
    store.read(&selection, visit).unwrap();
    seen
}

pub(super) fn everything(store: &LogStore) -> Seen {
    read(store, &[], (i64::MIN, i64::MAX), Direction::Forward)
}

pub(super) fn lines(seen: &Seen) -> Vec<&str> {
    seen.iter().map(|(_, _, l)| l.as_str()).collect()
}

/// Everything in memory becomes frames.
pub(super) fn cut_all(store: &LogStore) {
    let mut cutter = store.cutter.lock().unwrap();
    store.sync_wal().unwrap();
    assert!(store.cut(&mut cutter, &Cut::All));
}

#[test]
fn lines_of_several_streams_come_in_time_order_and_ties_in_order_of_reception() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(10, "a"), (30, "c")]);
    append(&store, 2, &[(20, "b"), (30, "d")]);
    for stage in ["memory", "frames", "both", "reopened"] {
        match stage {
            "frames" => cut_all(&store),
            "both" => append(&store, 1, &[(30, "e"), (5, "late")]),
            _ => {}
        }
        let reopened = open(&disk.copy());
        let store = if stage == "reopened" {
            &reopened
        } else {
            &store
        };
        let all = everything(store);
        let back = read(store, &[], (i64::MIN, i64::MAX), Direction::Backward);
        if stage == "both" || stage == "reopened" {
            assert_eq!(lines(&all), ["late", "a", "b", "c", "d", "e"]);
            assert_eq!(lines(&back), ["e", "d", "c", "b", "a", "late"]);
        } else {
            assert_eq!(lines(&all), ["a", "b", "c", "d"]);
            assert_eq!(lines(&back), ["d", "c", "b", "a"]);
        }
        // The end is outside.
        let part = read(store, &[], (10, 30), Direction::Forward);
        assert_eq!(lines(&part), ["a", "b"]);
        let one = [Matcher::equal("service_name", "s2")];
        let part = read(store, &one, (0, 100), Direction::Forward);
        assert_eq!(lines(&part), ["b", "d"]);
    }
}

#[test]
fn how_much_there_is_can_be_told_without_reading() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(10, "abc"), (30, "defgh")]);
    append(&store, 2, &[(20, "x")]);
    let sizes = |store: &LogStore, (start_ns, end_ns)| {
        let selection = LogSelection {
            matchers: &[Matcher::equal("service_name", "s1")],
            start_ns,
            end_ns,
            direction: Direction::Forward,
            skim: Skim::default(),
        };
        let mut found = Vec::new();
        store.sizes(&selection, &mut |labels, piece| {
            assert_eq!(labels.get("service_name"), Some("s1"));
            found.push((piece.min_ns, piece.max_ns, piece.lines, piece.bytes));
        });
        found
    };
    assert_eq!(sizes(&store, (0, 30)), [(10, 10, 1, 3)]);
    cut_all(&store);
    // The frame as a whole, with its columns.
    let frame = sizes(&store, (0, 30));
    assert!(matches!(frame[..], [(10, 30, 2, 8..40)]), "{frame:?}");
    assert_eq!(sizes(&open(&disk.copy()), (0, 30)), frame);
    assert_eq!(sizes(&store, (31, 40)), []);
}

#[test]
fn a_visit_that_breaks_sees_no_more() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(1, "a"), (2, "b"), (3, "c")]);
    let mut seen = 0;
    let selection = LogSelection {
        matchers: &[],
        start_ns: 0,
        end_ns: 9,
        direction: Direction::Backward,
        skim: Skim::default(),
    };
    let visit = &mut |_: &Labels, e: &LogEntry| {
        seen += 1;
        match e.line.as_str() {
            "b" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    store.read(&selection, visit).unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn a_position_is_durable_with_its_lines_and_survives_the_end_of_its_segment() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    store
        .append(&batch(1, &[(1, "a".to_owned())], Some(1)))
        .unwrap();
    store
        .append(&batch(2, &[(1, "b".to_owned())], Some(7)))
        .unwrap();
    store.append(&batch(2, &[], Some(8))).unwrap();
    store.forget("docker/2");
    store.sync().unwrap();
    store
        .append(&batch(1, &[(2, "c".to_owned())], Some(2)))
        .unwrap();
    assert_eq!(
        store.position("docker/1"),
        Some(2_u64.to_be_bytes().to_vec())
    );
    drop(store);
    disk.power_cut(0);
    let store = open(&disk);
    assert_eq!(
        store.position("docker/1"),
        Some(1_u64.to_be_bytes().to_vec())
    );
    assert_eq!(store.position("docker/2"), None);
    assert_eq!(lines(&everything(&store)), ["a", "b"]);
    // All lines become frames, the old segment goes, the position stays.
    cut_all(&store);
    drop(store);
    assert!(
        !disk
            .files()
            .contains(&PathBuf::from("/data/logs/wal/0000000001.wal"))
    );
    disk.power_cut(0);
    let store = open(&disk);
    assert_eq!(
        store.position("docker/1"),
        Some(1_u64.to_be_bytes().to_vec())
    );
    assert_eq!(lines(&everything(&store)), ["a", "b"]);
}

#[test]
fn full_frames_leave_memory_at_the_sync_and_old_lines_at_maintenance() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let long = "x".repeat(1000);
    for t in 0..300 {
        append(&store, 1, &[(t, long.as_str())]);
    }
    append(&store, 2, &[(5, "quiet")]);
    store.sync().unwrap();
    let (bytes, streams, frames) = store.figures();
    assert_eq!((streams, frames), (2, 2));
    assert!(bytes < 100_000, "{bytes}");
    let now = Timestamp::from_millis(1_000);
    store.maintain(now);
    assert_eq!(store.figures().2, 2);
    let later = Timestamp::from_millis(1_000 + LINE_AGE_MAX_MS);
    store.maintain(later);
    let (bytes, _, frames) = store.figures();
    assert_eq!((bytes, frames), (0, 4));
    assert_eq!(everything(&store).len(), 301);
    drop(store);
    assert_eq!(everything(&open(&disk)).len(), 301);
}

#[test]
fn memory_stays_bounded_without_maintenance() {
    let disk = FaultyDisk::default();
    let store = open_with(&disk, 100_000);
    let line = "y".repeat(200);
    for t in 0..3000 {
        append(&store, t as u32 % 20, &[(t, line.as_str())]);
        assert!(store.figures().0 <= 101_000);
    }
    assert_eq!(everything(&store).len(), 3000);
}

#[test]
fn a_full_disk_makes_the_source_wait_and_loses_nothing() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    store
        .append(&batch(1, &[(1, "a".to_owned())], Some(1)))
        .unwrap();
    for room in 0..30 {
        disk.set_room(Some(room));
        let refused = store.append(&batch(1, &[(2, "b".to_owned())], Some(2)));
        assert!(matches!(refused, Err(WriteError::DiskFull { .. })));
        assert_eq!(
            store.position("docker/1"),
            Some(1_u64.to_be_bytes().to_vec())
        );
        assert_eq!(lines(&everything(&store)), ["a"]);
        assert!(!store.watch.health().ok);
        let mut cutter = store.cutter.lock().unwrap();
        assert!(!store.cut(&mut cutter, &Cut::All));
    }
    disk.set_room(None);
    store
        .append(&batch(1, &[(2, "b".to_owned())], Some(2)))
        .unwrap();
    cut_all(&store);
    assert!(store.watch.health().ok, "{:?}", store.watch.health());
    assert_eq!(lines(&everything(&store)), ["a", "b"]);
    drop(store);
    assert_eq!(lines(&everything(&open(&disk))), ["a", "b"]);
}

#[test]
fn lines_that_could_not_be_synced_go_to_frames_once_the_disk_works() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(1, "a")]);
    disk.set_failing(true);
    assert!(store.sync().is_err());
    assert!(store.sync().is_err(), "still nowhere durable");
    assert!(!store.watch.health().ok);
    disk.set_failing(false);
    store.sync().unwrap();
    assert!(store.watch.health().ok, "{:?}", store.watch.health());
    drop(store);
    disk.power_cut(0);
    assert_eq!(lines(&everything(&open(&disk))), ["a"]);
}

#[test]
fn a_frame_file_cut_anywhere_opens_and_the_log_fills_the_gap() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    for i in 0..3 {
        append(&store, i, &[(i64::from(i), "first"), (10, "second")]);
    }
    // Frames are written, but the log still has everything, as after a crash in between.
    let before_cut = disk.copy();
    cut_all(&store);
    let path = file::file_path(Path::new(DIR), 0, 1);
    let whole = disk.content(&path);
    let wal = PathBuf::from("/data/logs/wal/0000000001.wal");
    let expect = everything(&store);
    for len in 0..=whole.len() {
        let copy = before_cut.copy();
        copy.create_dir(path.parent().unwrap()).unwrap();
        copy.set_content(&path, &whole[..len]);
        assert!(copy.files().contains(&wal));
        assert_eq!(everything(&open(&copy)), expect, "cut at {len}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        let copy = before_cut.copy();
        copy.create_dir(path.parent().unwrap()).unwrap();
        copy.set_content(&path, &damaged);
        let store = open(&copy);
        assert_eq!(everything(&store), expect, "flip at {at}");
    }
}

#[test]
fn a_damaged_frame_costs_only_itself() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    for i in 0..4 {
        append(&store, i, &[(i64::from(i), "line")]);
        cut_all(&store);
    }
    store.lock().wal.close_segment();
    append(&store, 9, &[(9, "more")]);
    cut_all(&store);
    // The log still has the line of the last frame.
    let last = store.lock().files[0].frames[4].offset as usize;
    drop(store);
    let path = file::file_path(Path::new(DIR), 0, 1);
    let whole = disk.content(&path);
    for at in (HEADER_BYTES as usize..last).step_by(5) {
        let copy = disk.copy();
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        copy.set_content(&path, &damaged);
        let store = open(&copy);
        assert_eq!(everything(&store).len(), 4, "flip at {at}");
        assert!(!store.watch.health().notices.is_empty());
    }
}

#[test]
fn each_day_has_its_files_and_retention_takes_whole_files() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    for day in 0..3 {
        append(&store, 1, &[(day * DAY_NS, "line")]);
        cut_all(&store);
    }
    let pieces = store.pieces();
    assert_eq!(pieces.len(), 2, "not the newest day's");
    store.remove(&pieces[0].path);
    assert_eq!(everything(&store).len(), 2);
    drop(store);
    assert_eq!(everything(&open(&disk)).len(), 2);
    assert!(
        !disk
            .files()
            .iter()
            .any(|p| p.starts_with("/data/logs/1970-01-01"))
    );
}

#[test]
fn streams_are_listed_by_matchers_and_time() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    append(&store, 1, &[(10, "x")]);
    cut_all(&store);
    append(&store, 2, &[(20, "x")]);
    assert_eq!(store.streams(&[], 0, 100), [stream(1), stream(2)]);
    assert_eq!(store.streams(&[], 11, 100), [stream(2)]);
    let set = vec![Matcher::equal("service_name", "s1")];
    assert_eq!(store.streams(&[set], 0, 100), [stream(1)]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32, Vec<i64>),
    Maintain,
    Sync,
    CutAll,
    Pack,
    Reopen,
    PowerCut(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let times = prop::collection::vec(-3..40_i64, 0..6);
    let step = prop_oneof![
        8 => (0..4_u32, times).prop_map(|(i, t)| Step::Append(i, t)),
        1 => Just(Step::Maintain),
        2 => Just(Step::Sync),
        1 => Just(Step::CutAll),
        1 => Just(Step::Pack),
        1 => Just(Step::Reopen),
        1 => (0..60_usize).prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Each source counts its lines in its position: whatever happens, what is stored of it
    /// is exactly what its position says.
    #[test]
    fn lines_and_positions_agree_through_everything(steps in steps()) {
        let disk = FaultyDisk::default();
        let mut store = open(&disk);
        // Per stream its lines in order of reception; per stream how many are durable.
        let mut sent: BTreeMap<u32, Vec<(i64, String)>> = BTreeMap::new();
        let mut durable: BTreeMap<u32, usize> = BTreeMap::new();
        let mut clock = 0;
        for step in steps {
            match step {
                Step::Append(i, times) => {
                    clock += 7 * HOUR_NS;
                    let all = sent.entry(i).or_default();
                    let lines: Vec<_> = times
                        .iter()
                        .enumerate()
                        .map(|(n, dt)| (clock + dt, format!("{i}.{}", all.len() + n)))
                        .collect();
                    all.extend(lines.iter().cloned());
                    store.append(&batch(i, &lines, Some(all.len() as u64))).unwrap();
                }
                Step::Maintain => store.maintain(Timestamp::from_millis(clock / 1_000_000)),
                Step::Sync => {
                    store.sync().unwrap();
                    durable = sent.iter().map(|(i, l)| (*i, l.len())).collect();
                }
                Step::CutAll => cut_all(&store),
                Step::Pack => {
                    let now = Timestamp::from_millis((clock + 3 * DAY_NS) / 1_000_000);
                    (0..4).for_each(|_| store.pack(now));
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&disk);
                }
                Step::PowerCut(kept) => {
                    drop(store);
                    disk.power_cut(kept);
                    store = open(&disk);
                    for (i, lines) in &mut sent {
                        let position = store.position(&format!("docker/{i}"));
                        let count = position.map_or(0, |p| {
                            u64::from_be_bytes(p.try_into().unwrap()) as usize
                        });
                        prop_assert!(count >= durable.get(i).copied().unwrap_or(0));
                        lines.truncate(count);
                    }
                }
            }
            for (i, lines) in &sent {
                let one = [Matcher::equal("service_name", format!("s{i}"))];
                let seen = read(&store, &one, (i64::MIN, i64::MAX), Direction::Forward);
                let mut expect = lines.clone();
                expect.sort_by_key(|(t, _)| *t);
                let seen: Vec<_> = seen.into_iter().map(|(t, _, l)| (t, l)).collect();
                prop_assert_eq!(seen, expect);
            }
            let all = everything(&store);
            prop_assert!(all.windows(2).all(|w| w[0].0 <= w[1].0));
        }
    }
}

#[test]
fn a_quiet_stream_does_not_keep_a_loud_ones_log() {
    let disk = FaultyDisk::default();
    let store = open_with(&disk, 1 << 20);
    append(&store, 1, &[(1, "quiet")]);
    let loud = "x".repeat(200_000);
    // Two segments of the log.
    for at in 2..90 {
        append(&store, 2, &[(at, &loud)]);
        store.sync().unwrap();
    }
    let kept = store.lock().wal.bytes();
    assert!(kept > WAL_PER_HEAD << 20, "the quiet stream keeps it");
    store.maintain(Timestamp::from_millis(1));
    assert!(store.lock().wal.bytes() < kept);
    assert_eq!(everything(&open(&disk.copy())).len(), 89);
}

#[test]
fn a_line_pushed_again_is_stored_once() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let push = |lines: &[(i64, &str)]| {
        let lines: Vec<_> = lines.iter().map(|(t, l)| (*t, (*l).to_owned())).collect();
        store.append_once(&batch(1, &lines, None)).unwrap();
    };
    push(&[(5, "a"), (5, "b"), (5, "a"), (7, "c")]);
    push(&[(5, "b"), (6, "b"), (7, "c"), (8, "c")]);
    push(&[(3, "a"), (3, "a")]);
    let seen = read(&store, &[], (0, 100), Direction::Forward);
    let seen: Vec<_> = seen
        .iter()
        .map(|(at, _, line)| (*at, line.as_str()))
        .collect();
    let expected = [(3, "a"), (5, "a"), (5, "b"), (6, "b"), (7, "c"), (8, "c")];
    assert_eq!(seen, expected);
    // A tailed line that looks the same is another one.
    append(&store, 1, &[(8, "c")]);
    assert_eq!(read(&store, &[], (8, 9), Direction::Forward).len(), 2);
}

#[test]
fn streams_in_memory_are_bounded() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let (scrubber, one_more) = (&*SCRUBBER, batch(1 << 20, &[(1, "x".to_owned())], None));
    let of_stream = |i: usize| LogBatch {
        stream: scrubber.labels(&stream(i as u32)),
        ..one_more.clone()
    };
    for i in 0..PUSHED_STREAMS_MAX {
        store.append_once(&of_stream(i)).unwrap();
    }
    let refused = store.append_once(&one_more);
    assert!(matches!(refused, Err(WriteError::TooManyStreams { .. })));
    assert!(!store.watch.is_failing("logs log"));
    // Our own sources have places left.
    for i in PUSHED_STREAMS_MAX..STREAMS_MAX {
        store.append(&of_stream(i)).unwrap();
    }
    let refused = store.append(&one_more);
    assert!(matches!(refused, Err(WriteError::TooManyStreams { .. })));
    // Those that are there go on, and room is made as they leave memory.
    append(&store, 7, &[(2, "y")]);
    store.maintain(Timestamp::from_millis(0));
    store.maintain(Timestamp::from_millis(2 * CROWDED_AGE_MAX_MS));
    store.append_once(&one_more).unwrap();
}

#[test]
fn metadata_counts_as_memory_and_towards_a_full_frame() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let mut stored = batch(0, &[], None);
    let scrubber = &*SCRUBBER;
    for n in 0..40_i64 {
        let metadata = Labels::from_pairs([
            ("container_id", "c".to_owned()),
            ("trace", format!("{n}{}", "x".repeat(50_000))),
        ]);
        stored.entries.push(ScrubbedEntry {
            at_ns: n,
            line: scrubber.line(b"x"),
            metadata: scrubber.labels(&metadata),
        });
    }
    store.append(&stored).unwrap();
    assert!(store.figures().0 > 40 * 50_000);
    store.sync().unwrap();
    let (head, _, frames) = store.figures();
    assert!(frames >= 13, "{frames} frames");
    assert!(head < 128 << 10, "{head} bytes wait");
    assert_eq!(everything(&store).len(), 40);
}

#[test]
fn labels_of_pushed_streams_are_bounded_until_retention_takes_them() {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    let scrubber = &*SCRUBBER;
    let one = batch(1, &[(HOUR_NS, "x".to_owned())], None);
    let of_stream = |i: usize| {
        let labels = Labels::from_pairs([("a", format!("{i}{}", "x".repeat(20_000)))]);
        LogBatch {
            stream: scrubber.labels(&labels),
            ..one.clone()
        }
    };
    let mut taken = 0;
    let refused = loop {
        if let Err(e) = store.append_once(&of_stream(taken)) {
            break e;
        }
        taken += 1;
    };
    assert!(
        matches!(refused, WriteError::TooManyLabels { .. }),
        "{refused}"
    );
    assert!((700..=840).contains(&taken), "{taken}");
    // Also when they have left memory, and after a restart; what is known goes on.
    cut_all(&store);
    store.maintain(Timestamp::from_millis(0));
    assert!(store.append_once(&of_stream(taken)).is_err());
    drop(store);
    let store = open(&disk);
    assert!(store.append_once(&of_stream(taken)).is_err());
    store.append_once(&of_stream(0)).unwrap();
    append(&store, 3, &[(2 * DAY_NS, "our own")]);
    cut_all(&store);
    for piece in store.pieces() {
        store.remove(&piece.path);
    }
    store.maintain(Timestamp::from_millis(0));
    store.append_once(&of_stream(taken)).unwrap();
}

/// Frames of three streams whose lines come in no order of time, and some lines in memory.
pub(super) fn store_with_overlaps() -> LogStore {
    let disk = FaultyDisk::default();
    let store = open(&disk);
    for round in 0..6_i64 {
        for i in 0..3_u32 {
            let lines = (0..20_i64).map(|n| {
                let at = (n * 379 + round * 101 + i64::from(i)) % 1000;
                (at, format!("{i} {round} {n} {}", "x".repeat(50)))
            });
            store
                .append(&batch(i, &lines.collect::<Vec<_>>(), None))
                .unwrap();
        }
        if round < 5 {
            cut_all(&store);
        }
    }
    store
}

pub(super) fn sources_of(store: &LogStore, window: Window) -> Sources {
    store.lines_in(&[], &window)
}

pub(super) fn all_of(store: &LogStore, window: Window) -> Seen {
    read(
        store,
        &[],
        (window.start_ns, window.end_ns),
        window.direction,
    )
}
