//! A reader against an engine of which every connection breaks somewhere.

use super::*;
use crate::logs::position::Position;
use prometheus_client::metrics::counter::Counter;

/// What a container wrote: stream, time in nanoseconds, text with its line end if it has one.
type Written = (Stream, i64, String);

/// How engines read `since`.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// Up to 20.10: for each line.
    EachLine,
    /// From 23 on: until the first line that passes.
    FirstLine,
}

const CHUNK: usize = 16 * 1024;

/// A small generator of repeatable chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn stamp(at_ns: i64) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at_ns)).unwrap();
    format!("{at:.9} ")
}

/// The bytes an engine sends for `since`.
fn served(written: &[Written], since: Option<i64>, meaning: Since) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut passed = false;
    for (stream, at_ns, text) in written {
        let passes = since.is_none_or(|since| *at_ns >= since);
        passed |= passes;
        if !(passes || (passed && matches!(meaning, Since::FirstLine))) {
            continue;
        }
        for chunk in text.as_bytes().chunks(CHUNK) {
            let chunk = [stamp(*at_ns).as_bytes(), chunk].concat();
            bytes.extend_from_slice(&[*stream as u8 + 1, 0, 0, 0]);
            bytes.extend_from_slice(&(chunk.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&chunk);
        }
    }
    bytes
}

fn reader(positions: [Option<Position>; 2]) -> Reader {
    reader_with(Joining::Off, None, positions)
}

fn reader_with(joining: Joining, quota: Option<u64>, positions: [Option<Position>; 2]) -> Reader {
    let labels = Labels::from_pairs([("service_name", "web")]);
    let around = Around {
        scrubber: Arc::new(Scrubber::default()),
        telemetry: Telemetry::default(),
        counts: Counts::default(),
    };
    let options = Options {
        line_bytes_max: 1 << 20,
        joining,
        quota,
        line_times: false,
    };
    Reader::new(around, &options, "id", &labels, positions)
}

/// As if no clock was ever set back.
const NOW: i64 = i64::MAX;

impl Reader {
    fn begin_again(&mut self) {
        let since = self.since(NOW);
        self.reconnect(since);
    }
}

/// What a store keeps.
#[derive(Default)]
struct Stored {
    lines: [Vec<String>; 2],
    positions: [Option<Position>; 2],
    gaps: usize,
}

impl Stored {
    fn take(&mut self, reader: &mut Reader, mut limit: usize) {
        while limit > 0
            && let Some((batch, position)) = reader.take()
        {
            limit -= 1;
            let at = usize::from(batch.stream.labels().get("stream") == Some("stderr"));
            for entry in batch.entries {
                if entry.metadata.labels().get("gap").is_some() {
                    self.gaps += 1;
                } else {
                    self.lines[at].push(entry.line.into_string());
                }
            }
            self.positions[at] = Some(position);
        }
    }

    fn check(&self, written: &[Written]) {
        for stream in Stream::ALL {
            let expect: Vec<&str> = written
                .iter()
                .filter(|(of, ..)| *of == stream)
                .map(|(.., text)| text.trim_end_matches('\n'))
                .collect();
            let lines = &self.lines[stream as usize];
            if *lines != expect {
                let at = lines.iter().zip(&expect).position(|(a, b)| a != b);
                panic!(
                    "{stream:?}: {} of {} lines, first difference at {at:?}",
                    lines.len(),
                    expect.len()
                );
            }
        }
        assert_eq!(self.gaps, 0);
    }
}

/// Both streams, long lines, equal times, times that step back a little across the streams,
/// and a last line without an end.
fn program(chance: &mut Chance, lines: usize) -> Vec<Written> {
    let mut now = 1_700_000_000_000_000_000;
    let mut last = [0; 2];
    let mut written: Vec<Written> = (0..lines)
        .map(|n| {
            now += [0, 1, 1_000, 3_000_000, 900_000_000][chance.below(5)];
            let stream = Stream::ALL[usize::from(chance.below(4) == 0)];
            let skew = chance.below(2_000_000) as i64;
            // Within a stream time does not step back, and two lines differ in time.
            let at = (now - skew).max(last[stream as usize] + 1);
            last[stream as usize] = at;
            let long = if chance.below(20) == 0 {
                chance.below(50_000)
            } else {
                0
            };
            (stream, at, format!("line {} {}\n", n % 7, "x".repeat(long)))
        })
        .collect();
    if let Some((.., text)) = written.last_mut() {
        *text = "no end".to_owned();
    }
    written
}

#[test]
fn whatever_breaks_each_line_is_stored_once() {
    for meaning in [Since::EachLine, Since::FirstLine] {
        for seed in 1..9 {
            let mut chance = Chance(seed);
            let written = program(&mut chance, 300);
            let mut stored = Stored::default();
            let mut reader_now = reader([None; 2]);
            let mut read_to = 0;
            for _ in 0..60 {
                // The program is ahead of the connection by some lines.
                read_to = (read_to + chance.below(40)).min(written.len());
                let bytes = served(&written[..read_to], reader_now.since(NOW), meaning);
                reader_now.begin_again();
                let cut = bytes.len() - chance.below(bytes.len().min(40_000) + 1);
                for piece in bytes[..cut].chunks(1 + chance.below(30_000)) {
                    reader_now.push(piece);
                    while reader_now.read(0).unwrap() {
                        stored.take(&mut reader_now, 2);
                    }
                    if chance.below(2) == 0 {
                        stored.take(&mut reader_now, 1 + chance.below(2));
                    }
                }
                match chance.below(3) {
                    // We are killed: batches not taken are lost, the store's positions are all.
                    0 => reader_now = reader(stored.positions),
                    // The connection broke.
                    _ => stored.take(&mut reader_now, 2),
                }
            }
            // The container ended: a last read to the end.
            let bytes = served(&written, reader_now.since(NOW), meaning);
            reader_now.begin_again();
            reader_now.push(&bytes);
            while reader_now.read(0).unwrap() {
                stored.take(&mut reader_now, 2);
            }
            reader_now.finish();
            stored.take(&mut reader_now, 2);
            stored.check(&written);
        }
    }
}

#[test]
fn a_stream_that_was_silent_for_days_does_not_replay_the_other() {
    let day = 86_400_000_000_000;
    let mut written = vec![(Stream::Stderr, day, "early\n".to_owned())];
    written.extend((0..100).map(|n| (Stream::Stdout, (2 + n) * day, format!("{n}\n"))));
    let mut stored = Stored::default();
    let mut first = reader([None; 2]);
    first.push(&served(&written, first.since(NOW), Since::EachLine));
    assert!(!first.read(0).unwrap());
    stored.take(&mut first, 2);
    let mut second = reader(stored.positions);
    assert_eq!(second.since(NOW), Some(101 * day - OVERLAP_NS));
    written.push((Stream::Stderr, 101 * day + 1, "late\n".to_owned()));
    let bytes = served(&written, second.since(NOW), Since::EachLine);
    second.begin_again();
    second.push(&bytes);
    assert!(!second.read(0).unwrap());
    stored.take(&mut second, 2);
    stored.check(&written);
}

#[test]
fn lines_rotated_away_leave_a_marker() {
    let second = 1_000_000_000;
    let at = |n: i64| (Stream::Stdout, n * second, format!("{n}\n"));
    let mut stored = Stored::default();
    let mut first = reader([None; 2]);
    first.push(&served(&[at(100), at(101)], None, Since::FirstLine));
    assert!(!first.read(0).unwrap());
    stored.take(&mut first, 2);
    first.begin_again();
    first.push(&served(
        &[at(200), at(201)],
        first.since(NOW),
        Since::FirstLine,
    ));
    assert!(!first.read(0).unwrap());
    assert!(first.is_holding() && !first.has_entries());
    first.settle();
    stored.take(&mut first, 2);
    assert_eq!(stored.lines[0], ["100", "101", "200", "201"]);
    assert_eq!(stored.gaps, 1);
}

#[test]
fn batches_are_due_at_their_size_and_carry_labels() {
    let mut reader = reader([None; 2]);
    let line = |n: i64| {
        (
            Stream::Stderr,
            n,
            format!("level=warn token=abc{n} {}\n", "x".repeat(9_000)),
        )
    };
    let written: Vec<Written> = (1..=8).map(line).collect();
    reader.push(&served(&written, None, Since::EachLine));
    assert!(reader.read(0).unwrap());
    let (batch, _) = reader.take().unwrap();
    let expect = Labels::from_pairs([("service_name", "web"), ("stream", "stderr")]);
    assert_eq!(batch.stream.labels(), &expect);
    assert_eq!(batch.position.unwrap().source, "docker/id/stderr");
    let entry = &batch.entries[0];
    assert!(
        entry
            .line
            .as_str()
            .starts_with("level=warn token=<secret> x")
    );
    let expect = Labels::from_pairs([("container_id", "id"), ("detected_level", "warn")]);
    assert_eq!(entry.metadata.labels(), &expect);
    assert!(!reader.read(0).unwrap());
}

/// An engine up to 20.10 whose follower begins the file anew.
#[test]
fn lines_that_an_engine_sends_again_are_stored_once() {
    let at = |n: i64| (Stream::Stdout, n, format!("{n}\n"));
    let all: Vec<Written> = (1..=6).map(at).collect();
    let mut stored = Stored::default();
    let mut reader = reader([None; 2]);
    let again = [&all[..4], &all[1..]].concat();
    reader.push(&served(&again, None, Since::EachLine));
    assert_eq!(reader.read(0), Err(FrameError::Repeats));
    stored.take(&mut reader, 9);
    assert_eq!(stored.lines[0].len(), 4);
    let since = reader.since(NOW);
    reader.reconnect(since);
    reader.push(&served(&all, since, Since::EachLine));
    assert_eq!(reader.read(0), Ok(false));
    stored.take(&mut reader, 9);
    stored.check(&all);
}

#[test]
fn a_clock_set_back_under_way_loses_nothing() {
    let hour = 3_600_000_000_000;
    let times = [10 * hour, 10 * hour + 1, 9 * hour, 9 * hour + 1, 11 * hour];
    let all: Vec<Written> = times
        .iter()
        .enumerate()
        .map(|(n, at)| (Stream::Stdout, *at, format!("{n}\n")))
        .collect();
    for meaning in [Since::EachLine, Since::FirstLine] {
        let mut stored = Stored::default();
        let mut reader_now = reader([None; 2]);
        let mut breaks = 0;
        let mut since = None;
        loop {
            reader_now.reconnect(since);
            reader_now.push(&served(&all, since, meaning));
            let read = reader_now.read(0);
            stored.take(&mut reader_now, 9);
            if read == Ok(false) {
                break;
            }
            breaks += 1;
            since = reader_now.since(NOW);
        }
        assert_eq!(breaks, 1);
        stored.check(&all);
        // A restart knows that times are out of order.
        let mut second = reader(stored.positions);
        let since = second.since(NOW);
        second.reconnect(since);
        second.push(&served(&all, since, meaning));
        assert_eq!(second.read(0), Ok(false));
        second.settle();
        stored.take(&mut second, 9);
        stored.check(&all);
    }
}

#[test]
fn an_entry_of_many_lines_is_read_again_until_it_is_stored() {
    let line = |n: i64, text: &str| (Stream::Stdout, n, format!("{text}\n"));
    let all = [
        line(1, "a"),
        line(2, "Exception: x"),
        line(3, "\tat f(x)"),
        line(4, "\tat g(x)"),
        line(5, "b"),
    ];
    // Killed behind each line.
    for cut in 1..all.len() {
        let mut stored = Stored::default();
        let mut first = reader_with(Joining::Traces, None, [None; 2]);
        first.push(&served(&all[..cut], None, Since::EachLine));
        assert_eq!(first.read(0), Ok(false));
        stored.take(&mut first, 9);
        let mut second = reader_with(Joining::Traces, None, stored.positions);
        let since = second.since(NOW);
        second.reconnect(since);
        second.push(&served(&all, since, Since::EachLine));
        assert_eq!(second.read(0), Ok(false));
        second.finish();
        stored.take(&mut second, 9);
        let expect = ["a", "Exception: x\n\tat f(x)\n\tat g(x)", "b"];
        assert_eq!(stored.lines[0], expect, "cut at {cut}");
    }
}

#[test]
fn what_a_quota_leaves_out_is_counted_and_not_read_again() {
    let line = |n: i64| (Stream::Stdout, n, "0123456789\n".to_owned());
    let all: Vec<Written> = (1..=8).map(line).collect();
    let mut first = reader_with(Joining::Off, Some(30), [None; 2]);
    first.push(&served(&all, None, Since::EachLine));
    assert_eq!(first.read(0), Ok(false));
    let (batch, position) = first.take().unwrap();
    // Three lines and the notice.
    assert_eq!(batch.entries.len(), 4);
    assert_eq!(position.used.dropped_lines, 5);
    let counts = first.around.counts.clone();
    let sums = [&counts.seen, &counts.stored, &counts.dropped].map(Counter::get);
    assert_eq!(sums, [8, 3, 5]);
    let mut second = reader_with(Joining::Off, Some(30), [Some(position), None]);
    let since = second.since(NOW);
    second.reconnect(since);
    let more: Vec<Written> = (1..=9).map(line).collect();
    second.push(&served(&more, since, Since::EachLine));
    assert_eq!(second.read(0), Ok(false));
    let (batch, position) = second.take().unwrap();
    assert_eq!((batch.entries.len(), position.used.dropped_lines), (0, 6));
}

/// The container's files instead of its stream.
#[test]
fn a_file_is_read_from_the_last_line_stored() {
    let mut reader_now = reader([None; 2]);
    reader_now.begin_file(0, [false; 2]);
    for n in 1..=3 {
        assert!(!reader_now.record(Stream::Stdout, n, format!("{n}\n").as_bytes()));
    }
    let mut stored = Stored::default();
    stored.take(&mut reader_now, 9);
    let mut second = reader(stored.positions);
    second.begin_file(0, [true, false]);
    second.mark_gap(GapKind::Damaged);
    for n in 2..=4 {
        second.record(Stream::Stdout, n, format!("{n}\n").as_bytes());
    }
    assert!(!second.is_expecting());
    second.mark_gap(GapKind::Damaged);
    second.record(Stream::Stderr, 5, b"5\n");
    stored.take(&mut second, 9);
    assert_eq!(stored.lines, [vec!["1", "2", "3", "4"], vec!["5"]]);
    // What was damaged before the last line stored was marked then.
    assert_eq!(stored.gaps, 1);
}
