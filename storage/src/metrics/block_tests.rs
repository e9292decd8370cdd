//! Blocks as a whole: written, opened, selected from, damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::{FPoint, HPoint, Histogram, Labels, MatchOp, Matcher, Samples, TimeRange, Timestamp};
use proptest::prelude::*;

use super::block::{Block, BlockError, Identity};
use super::block_cache::BlockCache;
use super::block_frame::Kind;
use super::block_writer::{BlockOptions, BlockWriter};
use crate::disk::faulty::FaultyDisk;

const PATH: &str = "/blocks/0000000001.blk";
const HOUR: i64 = 3_600_000;

fn labels(i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("m{:03}", i / 100)),
        ("i", format!("{i:05}")),
        ("job", format!("j{}", i % 2)),
    ])
}

fn samples(times: impl Iterator<Item = i64>, v: f64) -> Samples {
    Samples {
        floats: times.map(|t| FPoint { t, v: v + t as f64 }).collect(),
        histograms: Vec::new(),
    }
}

fn write(disk: &FaultyDisk, series: &BTreeMap<Labels, Samples>, end: i64) {
    let mut writer = BlockWriter::create(disk, Path::new(PATH)).unwrap();
    for (labels, samples) in series {
        writer.add(labels, samples).unwrap();
    }
    writer.finish(end).unwrap();
}

fn open(disk: &FaultyDisk) -> Block {
    let path = Path::new(PATH);
    let cache = Arc::new(BlockCache::new(Arc::new(disk.clone())));
    let block = Block::open(path, &cache);
    block.ok().unwrap()
}

fn read(block: &Block, matchers: &[Matcher], range: TimeRange) -> BTreeMap<Labels, Samples> {
    let mut found = BTreeMap::new();
    let mut read_one = |labels, series: super::block::BlockSeries| {
        let mut samples = Samples::default();
        for frame in &series.group.frames {
            let decoded = block.decode(frame, series.at, Kind::Floats, &mut samples);
            assert!(decoded.is_ok());
        }
        found.insert(labels, samples);
    };
    let mut damaged = |what: &str, _: Option<(i64, i64)>| panic!("{what}");
    block
        .select(matchers, range, &mut read_one, &mut damaged)
        .unwrap();
    found
}

/// 1000 series of two jobs over six hours; a few start late, end early or have gaps.
fn ordinary() -> BTreeMap<Labels, Samples> {
    let of = |i: usize| {
        let jitter = |k: i64| (k * k * 7919 + i as i64 % 2) % 5;
        let (from, to) = (
            if i % 50 == 7 { 100 } else { 0 },
            if i % 50 == 9 { 700 } else { 1440 },
        );
        let times = (from..to).filter(|k| i % 50 != 11 || k % 100 != 3);
        samples(times.map(|k| k * 15_000 + jitter(k)), i as f64)
    };
    (0..1000).map(|i| (labels(i), of(i))).collect()
}

#[test]
fn what_was_written_is_selected() {
    let disk = FaultyDisk::default();
    let series = ordinary();
    write(&disk, &series, 6 * HOUR);
    let block = open(&disk);
    assert_eq!(
        (block.series, block.start_t, block.end_t),
        (1000, 0, 6 * HOUR)
    );
    assert_eq!(read(&block, &[], TimeRange::ALL), series);
    let one = [Matcher::equal("i", "00123")];
    let found = read(&block, &one, TimeRange::ALL);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&labels(123)]);
    let of_job = [
        Matcher::equal("job", "j1"),
        Matcher::new("__name__", MatchOp::NotRegex, "m00[1-9]").unwrap(),
    ];
    assert_eq!(read(&block, &of_job, TimeRange::ALL).len(), 50);
    let late = TimeRange::new(Timestamp::from_millis(4 * HOUR), Timestamp::MAX);
    assert_eq!(
        read(&block, &[], late).len(),
        980,
        "those that ended are not in it"
    );
    let mut values = Vec::new();
    let known = block.label_values("job", &mut |v| values.push(v.to_owned()));
    assert!(matches!(known, Ok(true)));
    assert_eq!(values, ["j0", "j1"]);
    assert_eq!(
        block.label_names().collect::<Vec<_>>(),
        ["__name__", "i", "job"]
    );
}

#[test]
fn series_of_one_scrape_share_their_timestamps() {
    let disk = FaultyDisk::default();
    let of = |n: usize| {
        let times = (0..n).flat_map(|_| (0..480).map(|k| k * 15_000 + k * k * 7919 % 97));
        let times: Vec<i64> = times.collect();
        let series = (0..n).map(|i| {
            let points = times[i * 480..(i + 1) * 480].iter();
            let floats = points.map(|t| FPoint { t: *t, v: 1.0 }).collect();
            let histograms = Vec::new();
            (labels(i), Samples { floats, histograms })
        });
        write(&disk, &series.collect(), 2 * HOUR);
        disk.content(Path::new(PATH)).len()
    };
    let (one, many) = (of(1), of(100));
    assert!(many - one < 100 * 8, "{one} {many}");
}

#[test]
fn histograms_and_floats_of_one_series_come_back() {
    let disk = FaultyDisk::default();
    let mut all = samples((0..2000).map(|k| k * 15_000), 0.5);
    all.floats.truncate(900);
    let h = |t: i64| HPoint {
        t,
        h: Arc::new(Histogram {
            count: t as f64,
            positive_buckets: vec![1.0, t as f64],
            ..Histogram::default()
        }),
    };
    all.histograms = (900..2000).map(|k| h(k * 15_000)).collect();
    let series = BTreeMap::from([(labels(1), all)]);
    write(&disk, &series, 2000 * 15_000);
    assert_eq!(read(&open(&disk), &[], TimeRange::ALL), series);
}

#[test]
fn what_replaces_others_says_so() {
    let disk = FaultyDisk::default();
    let replaced = [3, 4, 9].map(|number| Identity {
        number,
        bytes: number << 40,
        footer_crc: u32::MAX - number as u32,
    });
    let options = BlockOptions {
        replaces: replaced.to_vec(),
        resolution_ms: 300_000,
        ..BlockOptions::default()
    };
    let mut writer = BlockWriter::with_options(&disk, Path::new(PATH), options).unwrap();
    writer.begin(labels(1));
    for kind in [Kind::Floats, Kind::Sum, Kind::Max] {
        let v = kind as u8 as f64;
        writer.add_floats(kind, &[FPoint { t: 5, v }]).unwrap();
    }
    writer.end().unwrap();
    writer.begin(labels(2));
    writer.end().unwrap();
    writer.finish(6).unwrap();
    let block = open(&disk);
    assert_eq!(
        (&block.replaces[..], block.resolution_ms),
        (&replaced[..], 300_000)
    );
    assert_eq!((block.series, block.samples), (1, 1));
    let mut found = Samples::default();
    let mut visit = |_, series: super::block::BlockSeries| {
        let frame = &series.group.frames[0];
        assert!(
            block
                .decode(frame, series.at, Kind::Max, &mut found)
                .is_ok()
        );
    };
    let mut damaged = |what: &str, _: Option<(i64, i64)>| panic!("{what}");
    block
        .select(&[], TimeRange::ALL, &mut visit, &mut damaged)
        .unwrap();
    assert_eq!(found.floats, [FPoint { t: 5, v: 5.0 }]);
}

#[test]
fn every_flipped_byte_is_found_before_it_does_harm() {
    let disk = FaultyDisk::default();
    let series = (0..200).map(|i| {
        (
            labels(i),
            samples((0..40).map(|k| k * 15_000 + k), i as f64),
        )
    });
    let series: BTreeMap<Labels, Samples> = series.collect();
    write(&disk, &series, HOUR);
    let path = Path::new(PATH);
    let whole = disk.content(path);
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        disk.set_content(path, &bytes);
        let cache = Arc::new(BlockCache::new(Arc::new(disk.clone())));
        let block = match Block::open(path, &cache) {
            Ok(block) => block,
            Err(BlockError::Corrupt(_)) => continue,
            Err(BlockError::Io(e)) => panic!("{e}"),
        };
        let (mut reported, mut right) = (0, 0);
        let mut seen = Vec::new();
        let mut visit = |labels, series| seen.push((labels, series));
        let matchers = [Matcher::new("i", MatchOp::Regex, "0.*").unwrap()];
        block
            .select(&matchers, TimeRange::ALL, &mut visit, &mut |_, _| {
                reported += 1;
            })
            .unwrap();
        for (labels, found) in seen {
            let mut samples = Samples::default();
            let mut good = true;
            for frame in &found.group.frames {
                good &= block
                    .decode(frame, found.at, Kind::Floats, &mut samples)
                    .is_ok();
            }
            if good {
                assert_eq!(samples, series[&labels], "flip at {at}");
                right += 1;
            } else {
                reported += 1;
            }
        }
        assert!(reported > 0, "flip at {at} went unnoticed");
        assert!(right < series.len() || reported > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_series_come_back(
        series in prop::collection::btree_map(
            0_usize..300,
            prop::collection::btree_map(-20_000_000_i64..20_000_000, any::<u64>(), 1..60),
            1..40,
        ),
    ) {
        let disk = FaultyDisk::default();
        let of = |points: BTreeMap<i64, u64>| Samples {
            floats: points.into_iter().map(|(t, v)| FPoint { t, v: f64::from_bits(v) }).collect(),
            histograms: Vec::new(),
        };
        let series: BTreeMap<Labels, Samples> =
            series.into_iter().map(|(i, points)| (labels(i), of(points))).collect();
        write(&disk, &series, 20_000_000);
        let bits = |all: BTreeMap<Labels, Samples>| {
            let points = |s: Samples| crate::metrics::arbitrary::bits_of(&s.floats);
            all.into_iter().map(|(l, s)| (l, points(s))).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(read(&open(&disk), &[], TimeRange::ALL)), bits(series));
    }
}
