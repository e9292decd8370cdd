//! The whole store on a real directory.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Hints, Sample, Samples};
use scrub::{ScrubbedEntry, Scrubber, SourcePosition};

use super::*;

const NOW: i64 = 1_700_000_000_000;

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_owned(),
        sync_interval: Duration::from_millis(10),
        ..Config::default()
    }
}

fn open(dir: &Path) -> Storage {
    Storage::open(config(dir), at(NOW), &mut Registry::default()).unwrap()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn samples(t: i64, count: u32, value: f64) -> SampleBatch {
    let sample = |i: u32| Sample {
        labels: Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]),
        at: at(t),
        value,
    };
    (0..count).map(sample).collect::<Vec<_>>().into()
}

fn lines(t_ns: i64, line: &str, position: u8) -> LogBatch {
    let scrubber = Scrubber::default();
    LogBatch {
        stream: scrubber.labels(&Labels::from_pairs([("service_name", "db")])),
        entries: vec![ScrubbedEntry {
            at_ns: t_ns,
            line: scrubber.line(line.as_bytes()),
            metadata: scrubber.labels(&Labels::empty()),
        }],
        position: Some(SourcePosition {
            source: "docker/x".to_owned(),
            position: vec![position],
        }),
    }
}

fn all_points(storage: &Storage) -> Vec<(i64, f64)> {
    let selection = Selection {
        range: TimeRange::ALL,
        matchers: &[],
        hints: Hints::default(),
    };
    let mut points = Vec::new();
    for mut series in storage.select(&selection).unwrap() {
        let mut samples = Samples::default();
        while series.cursor.next_run(&mut samples).unwrap() {}
        points.extend(samples.floats.iter().map(|p| (p.t, p.v)));
    }
    points
}

#[test]
fn a_look_up_ends_at_its_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    storage
        .append_samples(&samples(NOW, 20, 1.0), at(NOW))
        .unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let within = |bytes_max| {
        let bounds = ReadBounds {
            bytes_max,
            setting: "query.bytes_max",
            cancel: Some(Arc::clone(&cancel)),
            ..ReadBounds::default()
        };
        storage.within(bounds).unwrap()
    };
    let selection = Selection {
        range: TimeRange::ALL,
        matchers: &[],
        hints: Hints::default(),
    };
    let all = storage.select(&selection).unwrap();
    // What is found takes what is reckoned: neither half of it nor twice as much.
    let held = all.held_bytes();
    let within_twice = within(2 * held).select(&selection).unwrap();
    assert_eq!(within_twice.count(), all.count());
    let refused = within(held / 2).select(&selection).err().unwrap();
    assert_eq!(
        refused.to_string(),
        format!(
            "the series that match take more than {} KB, which is more than query.bytes_max has room for: select fewer series or a shorter time",
            (held / 2) >> 10
        )
    );
    // Of labels alone less is kept.
    assert!(within(held / 8).series(&[], TimeRange::ALL).is_err());
    assert!(within(held / 8).label_names(&[], TimeRange::ALL).is_err());
    cancel.store(true, Ordering::Relaxed);
    let gone = within(2 * held).label_values("i", &[], TimeRange::ALL);
    assert!(matches!(gone, Err(ReadError::Canceled)));
}

fn line_count(storage: &Storage) -> usize {
    let selection = LogSelection {
        matchers: &[],
        start_ns: i64::MIN,
        end_ns: i64::MAX,
        direction: model::Direction::Forward,
        skim: model::Skim::default(),
    };
    let mut count = 0;
    let visit = &mut |_: &Labels, _: &LogEntry| {
        count += 1;
        ControlFlow::Continue(())
    };
    storage.read(&selection, visit).unwrap();
    count
}

#[test]
fn everything_is_there_after_dropping_without_closing() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u8 {
        let storage = open(dir.path());
        assert_eq!(all_points(&storage).len(), usize::from(round) * 20);
        assert_eq!(line_count(&storage), usize::from(round));
        let expect = round.checked_sub(1).map(|r| vec![r]);
        assert_eq!(storage.log_position("docker/x"), expect);
        assert_eq!(
            storage.control().scan("t").unwrap().len(),
            usize::from(round)
        );
        let t = NOW + i64::from(round) * 15_000;
        storage.append_samples(&samples(t, 20, 1.0), at(t)).unwrap();
        storage.append_logs(&lines(t, "line", round)).unwrap();
        let put = model::ControlWrite::Put {
            table: "t",
            key: round.to_string(),
            value: vec![round],
        };
        storage.control().commit(vec![put]).unwrap();
        if round == 1 {
            storage.close().unwrap();
        }
    }
}

#[test]
fn a_second_process_is_refused_by_name_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let refused = Storage::open(config(dir.path()), at(NOW), &mut Registry::default());
    let message = refused.err().unwrap().to_string();
    assert!(message.contains("in use"), "{message}");
    assert!(
        message.contains(&dir.path().display().to_string()),
        "{message}"
    );
    drop(storage);
    open(dir.path());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = Storage::open(config(&file), at(NOW), &mut Registry::default());
    let message = refused.err().unwrap().to_string();
    assert!(message.contains(&file.display().to_string()), "{message}");
}

#[test]
fn a_reader_sees_all_of_a_batch_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..300 {
                let t = NOW + i * 1_000;
                let batch = samples(t, 50, i as f64);
                storage.append_samples(&batch, at(t)).unwrap();
                if i % 100 == 99 {
                    storage.maintain(at(t));
                }
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let count = all_points(&storage).len();
            assert_eq!(count % 50, 0);
        }
    });
    assert_eq!(all_points(&storage).len(), 15_000);
}

#[test]
fn retention_by_size_removes_the_oldest_and_counts_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let small = Config {
        // The control store alone has a megabyte.
        size_bytes_max: 2_000_000,
        ..config(dir.path())
    };
    let storage = Storage::open(small, at(NOW), &mut registry).unwrap();
    let (mut t, mut value) = (NOW, 0.5_f64);
    let mut minute = || {
        value = (value * 3.9) * (1.0 - value);
        // Nothing of it repeats: these are eight bytes each, packed as they may be.
        let mut batch = samples(t, 100, value);
        for (i, sample) in (1_u32..).zip(&mut batch.samples) {
            sample.value /= f64::from(i);
        }
        storage.append_samples(&batch, at(t)).unwrap();
        t += 60_000;
        storage.maintain(at(t));
    };
    while storage.stats().blocks < 1 || storage.stats().disk_bytes < 1_800_000 {
        minute();
    }
    let oldest = all_points(&storage)[0].0;
    for _ in 0..600 {
        minute();
    }
    storage.maintain(at(t));
    assert!(all_points(&storage)[0].0 > oldest);
    assert!(storage.stats().disk_bytes <= 2_000_000);
    assert!(storage.health().ok);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for name in [
        "stackwatch_storage_series ",
        "stackwatch_storage_samples_appended_total ",
        "stackwatch_storage_wal_fsync_duration_seconds_count ",
        "stackwatch_storage_head_bytes ",
        "stackwatch_storage_disk_bytes{kind=\"block\"}",
        "stackwatch_storage_pieces_removed_total{kind=\"block\",reason=\"size\"}",
    ] {
        assert!(text.contains(name), "{name} missing in\n{text}");
    }
}

#[test]
fn a_directory_removed_while_running_shows_in_health_and_takes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let config = Config {
        dir: dir.clone(),
        ..Config::default()
    };
    let now = Timestamp::from_millis(0);
    let storage = Storage::open(config, now, &mut Registry::default()).unwrap();
    assert!(storage.health().ok);
    let aside = parent.path().join("aside");
    std::fs::rename(&dir, &aside).unwrap();
    storage.maintain(now);
    let problems = storage.health().problems;
    let told = |text: &String| text.contains("was removed or replaced while running");
    assert!(problems.iter().any(told), "{problems:?}");
    let refused = storage.append_samples(&samples(NOW, 1, 1.0), at(NOW));
    assert!(told(&refused.unwrap_err().to_string()));
    let refused = storage.append_logs(&lines(NOW * 1_000_000, "a line", 7));
    assert!(told(&refused.unwrap_err().to_string()));
    std::fs::rename(&aside, &dir).unwrap();
    storage.maintain(now);
    assert!(storage.health().ok);
    append(&storage, NOW);
}

fn append(storage: &Storage, t: i64) {
    let report = storage.append_samples(&samples(t, 3, 1.5), at(t)).unwrap();
    assert_eq!(report.appended, 3);
}

#[test]
fn cleaning_ends_when_all_that_was_deleted_is_off_the_disk() {
    const BLOCKS: i64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for minute in 0..BLOCKS {
        append(&storage, NOW + minute * 60_000);
        storage.metrics().flush_all().unwrap();
    }
    let last = NOW + BLOCKS * 60_000;
    append(&storage, last);
    let one = vec![Matcher::equal("i", "1")];
    storage.delete_series(&[one], TimeRange::ALL).unwrap();
    storage.maintain(at(last));
    assert!(
        storage.metrics().open_deletions() > 0,
        "or this shows nothing"
    );
    assert_eq!(storage.clean_tombstones(at(last)).unwrap(), 0);
    // What says which samples are not to be seen is gone, and they are not seen.
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(storage.metrics().open_deletions(), 0);
    assert_eq!(all_points(&storage).len(), 2 * (BLOCKS as usize + 1));
    let values = storage.label_values("i", &[], TimeRange::ALL).unwrap();
    assert_eq!(values, ["0", "2"]);
}

/// Files under a directory with this ending.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.to_string_lossy().ends_with(ending));
    paths
}

#[test]
fn what_was_set_aside_is_told_after_a_restart_and_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("metrics/blocks");
    let storage = open(dir.path());
    append(&storage, NOW);
    storage.metrics().flush_all().unwrap();
    append(&storage, NOW + 60_000);
    storage.metrics().flush_all().unwrap();
    drop(storage);
    let paths = files(&blocks, ".blk");
    assert_eq!(paths.len(), 2);
    std::fs::write(&paths[0], vec![b'x'; 100_000]).unwrap();
    for _ in 0..2 {
        let storage = open(dir.path());
        let health = storage.health();
        assert!(health.ok && health.warnings.len() == 1, "{health:?}");
        assert!(health.warnings[0].contains("1 damaged file (100000 bytes) was set aside"));
        assert!(health.warnings[0].contains("blk.corrupt"));
        let losses = storage.losses();
        assert!(
            losses.len() == 1 && losses[0].contains(".blk"),
            "{losses:?}"
        );
        let left_out = LeftOut::of(dir.path());
        assert_eq!((left_out.files, left_out.lines.len()), (1, 1));
        assert_eq!(all_points(&storage).len(), 3);
    }
    let bytes = open(dir.path()).stats().disk_bytes;
    let short = Config {
        size_bytes_max: bytes - 50_000,
        ..config(dir.path())
    };
    let storage = Storage::open(short, at(NOW), &mut Registry::default()).unwrap();
    storage.maintain(at(NOW));
    assert!(files(&blocks, ".corrupt").is_empty());
    assert_eq!(storage.health().warnings, Vec::<String>::new());
    assert_eq!(all_points(&storage).len(), 3, "and nothing else went");
}

/// Sets the version that files say they are of.
fn set_version(paths: &[PathBuf], version: impl Fn(&Path) -> u16) {
    for path in paths {
        let mut content = std::fs::read(path).unwrap();
        content[4..6].copy_from_slice(&version(path).to_le_bytes());
        std::fs::write(path, content).unwrap();
    }
}

#[test]
fn files_of_another_format_are_left_as_they_are_and_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = |part: &str| dir.path().join(part);
    let storage = open(dir.path());
    for minute in 0..3 {
        append(&storage, NOW + minute * 60_000);
        storage.metrics().flush_all().unwrap();
    }
    storage
        .append_logs(&lines(NOW * 1_000_000, "a line", 7))
        .unwrap();
    let later = at(NOW + 24 * 3_600_000);
    // The age of lines counts from the first maintenance that sees them.
    storage.maintain(at(NOW + 180_000));
    storage.maintain(later);
    append(&storage, NOW + 180_000);
    storage
        .append_logs(&lines(NOW * 1_000_000, "another", 8))
        .unwrap();
    let first = TimeRange::new(at(NOW), at(NOW));
    storage.delete_series(&[Vec::new()], first).unwrap();
    let expect = (all_points(&storage), line_count(&storage));
    assert_eq!((expect.0.len(), expect.1), (9, 2));
    drop(storage);
    let kinds = [
        files(&path("metrics/blocks"), ".blk"),
        files(&path("metrics/blocks"), "tombstones"),
        files(&path("metrics/wal"), ".wal"),
        files(&path("logs/wal"), ".wal"),
        files(&path("logs/2023-11-14"), ".frames"),
    ];
    assert!(kinds.iter().all(|k| !k.is_empty()), "{kinds:?}");
    let all = kinds.concat();
    let read = || {
        let content = all.iter().map(|p| std::fs::read(p).unwrap());
        content.collect::<Vec<_>>()
    };
    let ours = read();
    let version = |path: &Path| {
        let at = all.iter().position(|p| p == path).unwrap();
        u16::from_le_bytes([ours[at][4], ours[at][5]])
    };
    set_version(&all, |path| version(path) + 1);
    let theirs = read();
    let lines_before = expect.1;
    for start in 0..2 {
        let short = Config {
            size_bytes_max: 1,
            retention_metrics: Duration::from_secs(1),
            retention_logs: Duration::from_secs(1),
            ..config(dir.path())
        };
        let storage = Storage::open(short, later, &mut Registry::default()).unwrap();
        storage.maintain(later);
        assert_eq!((all_points(&storage), line_count(&storage)), (vec![], 0));
        let health = storage.health();
        let told = |text: &&String| text.contains("of a format that this version does not read");
        assert!(health.ok && health.notices.is_empty(), "{health:?}");
        assert_eq!(health.warnings.iter().filter(told).count(), 1, "{health:?}");
        let losses = storage.losses();
        let begins = format!("{} files are of a format", all.len());
        assert!(
            losses.len() == 1 && losses[0].starts_with(&begins),
            "{losses:?}"
        );
        if start == 1 {
            storage
                .append_logs(&lines(later.millis() * 1_000_000, "a third", 9))
                .unwrap();
        }
    }
    assert_eq!(LeftOut::of(dir.path()).files, all.len() as u64);
    assert!(read() == theirs, "a file was changed");
    set_version(&all, version);
    let storage = open(dir.path());
    assert_eq!(all_points(&storage), expect.0);
    assert_eq!(line_count(&storage), lines_before + 1);
    assert_eq!(storage.losses(), Vec::<String>::new());
}

#[test]
fn files_removed_by_hand_are_noticed_and_what_is_still_in_memory_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = |part: &str| dir.path().join(part);
    let storage = open(dir.path());
    append(&storage, NOW);
    storage.metrics().flush_all().unwrap();
    append(&storage, NOW + 60_000);
    storage
        .append_logs(&lines(NOW * 1_000_000, "a line", 7))
        .unwrap();
    for file in [
        files(&path("metrics/blocks"), ".blk"),
        files(&path("metrics/wal"), ".wal"),
        files(&path("logs/wal"), ".wal"),
    ]
    .concat()
    {
        std::fs::remove_file(file).unwrap();
    }
    storage.maintain(at(NOW + 60_000));
    let health = storage.health();
    let told = health.notices.iter();
    let told = told.filter(|n| n.contains("was removed by somebody else"));
    assert!(told.count() >= 3, "{health:?}");
    assert_eq!(all_points(&storage).len(), 3);
    append(&storage, NOW + 120_000);
    storage.maintain(at(NOW + 120_000));
    assert!(storage.health().ok, "{:?}", storage.health());
    drop(storage);
    let storage = open(dir.path());
    assert_eq!(all_points(&storage).len(), 6);
    assert_eq!(line_count(&storage), 1);
    for part in ["logs", "metrics"] {
        std::fs::remove_dir_all(path(part)).unwrap();
    }
    storage.maintain(at(NOW));
    append(&storage, NOW + 180_000);
    storage
        .append_logs(&lines(NOW * 1_000_000, "a line", 7))
        .unwrap();
    storage.maintain(at(NOW));
    assert!(storage.health().ok, "{:?}", storage.health());
    drop(storage);
    let storage = open(dir.path());
    assert_eq!((all_points(&storage).len(), line_count(&storage)), (6, 1));
}

#[test]
fn a_file_that_cannot_be_read_is_left_there_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let blocks = dir.path().join("metrics/blocks");
    let storage = open(dir.path());
    append(&storage, NOW);
    storage.metrics().flush_all().unwrap();
    drop(storage);
    let block = files(&blocks, ".blk").remove(0);
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(&block, &elsewhere).unwrap();
    // A name that opens as nothing readable, for root too.
    std::fs::create_dir(&block).unwrap();
    for foreign in ["notes.tmp", "0000000077.txt"] {
        std::fs::write(blocks.join(foreign), "mine").unwrap();
    }
    let storage = open(dir.path());
    let health = storage.health();
    assert!(health.ok && health.warnings.len() == 1, "{health:?}");
    assert!(health.warnings[0].contains("cannot read") && health.warnings[0].contains(".blk"));
    drop(storage);
    std::fs::remove_dir(&block).unwrap();
    std::fs::rename(&elsewhere, &block).unwrap();
    let storage = open(dir.path());
    assert_eq!(all_points(&storage).len(), 3);
    assert_eq!(storage.health().warnings, Vec::<String>::new());
    for foreign in ["notes.tmp", "0000000077.txt"] {
        assert!(blocks.join(foreign).exists(), "{foreign} is somebody's");
    }
    drop(storage);
    std::fs::remove_dir_all(dir.path().join("metrics/wal")).unwrap();
    std::fs::write(dir.path().join("metrics/wal"), "").unwrap();
    let Err(refused) = Storage::open(config(dir.path()), at(NOW), &mut Registry::default()) else {
        panic!("there is no place for the log");
    };
    assert!(format!("{refused}").contains("metrics/wal"), "{refused}");
}
