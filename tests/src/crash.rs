//! Kills the real process at random moments while samples arrive, and looks afterwards
//! whether every acknowledged one is there and nothing else is.
//!
//! What is promised: a request answered 204 is in the write-ahead log, so that it survives a
//! kill of the process from that moment on (a power cut: after at most one second, which no
//! kill can show; the store's model test does). A request is one batch: all of it or nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::http;
use crate::remote_write::{EncodedLabels, Sender, WriteRequest};
use crate::stackwatch::Stackwatch;

const WRITERS: u64 = 3;
/// Series of one writer at one time; a quarter is missing from each batch.
const SERIES: u64 = 40;
/// A series ends and another begins after this many batches.
const BATCHES_PER_GENERATION: i64 = 50;
/// The stream's clock starts this long ago and passes faster than ours, so that blocks are cut.
const HISTORY_MS: i64 = 100 * 60_000;
/// More than come about on two cores; what is left of them is waited for, see [`wait_for`].
const BATCHES_PER_ROUND: i64 = 1000;
/// Every so many rounds the process lives long enough for its regular maintenance (10 s).
const LONG_ROUND: u32 = 20;
/// Every so many rounds what is older than the last two rounds is verified too.
const FULL_ROUND: u32 = 100;
/// A start that takes longer than this is shown with what the process said meanwhile.
const SLOW_START: Duration = Duration::from_secs(2);
/// Samples fetched with one query stay below this share of an hour of the stream.
const QUERY_MS: i64 = 10 * 60_000;

/// What happened.
#[derive(Debug, Default)]
pub struct Report {
    /// The seed that all random choices followed from.
    pub seed: u64,
    /// Times the process was killed; some of them while it started.
    pub kills: u32,
    /// Of these, before it was ready.
    pub kills_at_start: u32,
    /// Requests answered 204, and their samples.
    pub acknowledged: u64,
    /// Samples of these requests.
    pub samples: u64,
    /// Requests under way at a kill that turned out to be stored, and not stored.
    pub unanswered: (u64, u64),
    /// Requests refused; none of their samples is looked for.
    pub refused: u64,
    /// From the start of the process until it is ready, every time, ascending.
    pub starts: Vec<Duration>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = |share: f64| {
            let at = (self.starts.len() as f64 * share) as usize;
            let found = self.starts.get(at.min(self.starts.len().saturating_sub(1)));
            found.map_or(0.0, Duration::as_secs_f64)
        };
        write!(
            f,
            "seed {}: {} kills ({} of them during the start), {} requests with {} samples acknowledged and found, \
             {} unanswered ones found whole and {} absent, {} refused; ready after {:.3} s (median), {:.3} s (longest)",
            self.seed,
            self.kills,
            self.kills_at_start,
            self.acknowledged,
            self.samples,
            self.unanswered.0,
            self.unanswered.1,
            self.refused,
            start(0.5),
            start(1.0)
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Acknowledged,
    /// The process died over it.
    Unanswered,
    /// It was not there after a restart, so it must stay away.
    Absent,
    /// Answered with an error; a part may be there.
    Refused,
}

/// SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Series numbers and values of the batch of `writer` at `t`, which follow from the two.
fn batch(writer: u64, t: i64, step: i64) -> Vec<(u64, f64)> {
    let generation = (t / step / BATCHES_PER_GENERATION) as u64;
    (0..SERIES)
        .filter(|i| !mix(writer << 56 ^ t as u64 ^ i << 48).is_multiple_of(4))
        .map(|i| {
            // A tenth of the series come and go.
            let number = if i < SERIES / 10 {
                i + 1000 * (generation % 100_000)
            } else {
                i
            };
            (number, value(writer, number, t))
        })
        .collect()
}

fn value(writer: u64, series: u64, t: i64) -> f64 {
    match series % 3 {
        0 => (t / 1000) as f64,
        1 => (mix(t as u64 ^ writer) % 1000) as f64 / 8.0,
        _ => mix(t as u64 ^ series) as f64 / 3.0,
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |d| d.as_millis() as i64)
}

/// Waits until `t` is not in the future: what lies far ahead is refused, and a kill among
/// refusals shows nothing.
fn wait_for(t: i64) {
    let ahead = t - now_ms();
    if ahead > 0 {
        std::thread::sleep(Duration::from_millis(ahead as u64));
    }
}

fn request(writer: u64, t: i64, step: i64) -> Vec<u8> {
    let mut request = WriteRequest::default();
    for (series, value) in batch(writer, t, step) {
        let labels = [
            ("__name__", "crash".to_owned()),
            ("job", "crash".to_owned()),
            ("series", series.to_string()),
            ("writer", writer.to_string()),
        ];
        request.push(&EncodedLabels::new(&labels), [(t, value)]);
    }
    request.finish()
}

struct Stream {
    step: i64,
    clock: AtomicI64,
    fates: [BTreeMap<i64, Fate>; WRITERS as usize],
}

impl Stream {
    /// Writes until the process dies.
    fn write(
        address: &str,
        writer: u64,
        step: i64,
        clock: &AtomicI64,
        fates: &mut BTreeMap<i64, Fate>,
    ) {
        let Ok(mut sender) = Sender::connect(address, "/api/v1/write") else {
            return;
        };
        // What was under way is sent again, as senders do.
        let again = fates
            .iter()
            .rev()
            .take(1)
            .find(|(_, f)| **f != Fate::Acknowledged);
        let mut again = again.map(|(t, _)| *t).filter(|t| t % 2 == 0);
        loop {
            let t = again.take().unwrap_or_else(|| {
                let t = clock.fetch_add(step, Ordering::Relaxed);
                wait_for(t);
                // One in ten comes late.
                let late = if mix(t as u64).is_multiple_of(10) {
                    7 * step + 1
                } else {
                    0
                };
                t - late
            });
            let body = request(writer, t, step);
            fates.insert(t, Fate::Unanswered);
            let fate = match sender.send(&body) {
                Ok((204, _)) => Fate::Acknowledged,
                Ok(_) => Fate::Refused,
                Err(_) => return,
            };
            fates.insert(t, fate);
        }
    }

    /// Compares everything from `from` on with what the API gives.
    ///
    /// # Panics
    /// When something is missing or too much.
    fn verify(&mut self, stackwatch: &Stackwatch, from: i64, report: &mut Report) {
        let end = self.clock.load(Ordering::Relaxed) + 1;
        for (writer, fates) in self.fates.iter_mut().enumerate() {
            let writer = writer as u64;
            let mut start = from;
            while start < end {
                let stop = (start + QUERY_MS).min(end);
                let found = stored(stackwatch, writer, start, stop);
                settle(writer, start..stop, self.step, fates, found, report);
                start = stop;
            }
        }
    }
}

/// Samples of `writer` in `start..stop` by instant and series.
fn stored(
    stackwatch: &Stackwatch,
    writer: u64,
    start: i64,
    stop: i64,
) -> BTreeMap<i64, BTreeMap<u64, f64>> {
    // A range selector is left-open and right-closed, or closed at both ends, by age of the
    // language: both hold what lies between.
    let expr = format!("crash{{writer=\"{writer}\"}}[{}ms]", stop - start + 1);
    let path = format!(
        "/api/v1/query?query={}&time={}",
        http::encode(&expr),
        (stop as f64) / 1000.0
    );
    let answer = stackwatch.get(&path);
    assert_eq!(answer.status, 200, "{expr}: {}", answer.body);
    let mut found: BTreeMap<i64, BTreeMap<u64, f64>> = BTreeMap::new();
    for series in answer.json()["data"]["result"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let number: u64 = series["metric"]["series"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        for point in series["values"].as_array().into_iter().flatten() {
            let t = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
            let value: f64 = point[1].as_str().unwrap().parse().unwrap();
            if (start..stop).contains(&t) {
                found.entry(t).or_default().insert(number, value);
            }
        }
    }
    found
}

fn settle(
    writer: u64,
    range: std::ops::Range<i64>,
    step: i64,
    fates: &mut BTreeMap<i64, Fate>,
    mut found: BTreeMap<i64, BTreeMap<u64, f64>>,
    report: &mut Report,
) {
    for (t, fate) in fates.range_mut(range) {
        let there = found.remove(t).unwrap_or_default();
        let expect: BTreeMap<u64, f64> = batch(writer, *t, step).into_iter().collect();
        match *fate {
            Fate::Acknowledged => assert_eq!(there, expect, "acknowledged: writer {writer} at {t}"),
            Fate::Absent => assert!(there.is_empty(), "came back: writer {writer} at {t}"),
            Fate::Unanswered if there.is_empty() => {
                *fate = Fate::Absent;
                report.unanswered.1 += 1;
            }
            Fate::Unanswered => {
                assert_eq!(there, expect, "torn: writer {writer} at {t}");
                *fate = Fate::Acknowledged;
                report.unanswered.0 += 1;
            }
            Fate::Refused => {
                let known = there.iter().all(|(s, v)| expect.get(s) == Some(v));
                assert!(known, "invented: writer {writer} at {t}: {there:?}");
            }
        }
    }
    assert!(found.is_empty(), "invented: writer {writer}: {found:?}");
}

/// Runs `program` in `dir`, kills it `kills` times, and verifies after every kill.
///
/// # Panics
/// When a promise is broken; the message and the last line before it name the seed.
#[must_use]
pub fn run(program: &Path, dir: &Path, kills: u32, seed: u64) -> Report {
    println!("crash: {kills} kills, seed {seed}");
    let config = "server: { remote_write_receiver: true }\n\
                  collect: { interval: 1s, docker: false }\n\
                  logs: { docker: false }\n";
    let now = now_ms();
    let step = (HISTORY_MS / (i64::from(kills) * BATCHES_PER_ROUND)).max(20) / 2 * 2 + 1;
    let mut stream = Stream {
        step,
        clock: AtomicI64::new(now - HISTORY_MS),
        fates: Default::default(),
    };
    let mut report = Report {
        seed,
        ..Report::default()
    };
    let mut random = seed;
    let mut below = |end: u64| {
        random = mix(random);
        random % end
    };
    let first = now - HISTORY_MS - 8 * step;
    let (mut recent, mut before) = (first, first);
    let mut stackwatch = Stackwatch::start_program(program, dir, config);
    while report.kills < kills {
        let life = match report.kills % LONG_ROUND {
            LONG_ROUND_AT => Duration::from_millis(10_500 + below(1_000)),
            _ => Duration::from_millis(5 + below(400)),
        };
        let (address, clock) = (stackwatch.listen().to_owned(), &stream.clock);
        std::thread::scope(|scope| {
            for (writer, fates) in stream.fates.iter_mut().enumerate() {
                let address = &address;
                scope.spawn(move || Stream::write(address, writer as u64, step, clock, fates));
            }
            std::thread::sleep(life);
            stackwatch.kill();
        });
        report.kills += 1;
        if below(8) == 0 && report.kills < kills {
            // Killed while it reads back what the last kill left.
            stackwatch.spawn_again();
            std::thread::sleep(Duration::from_millis(below(60)));
            stackwatch.kill();
            report.kills += 1;
            report.kills_at_start += 1;
        }
        let start = stackwatch.restart();
        if start > SLOW_START {
            let log = stackwatch.log();
            let (_, said) = log.rsplit_once("stackwatch starts").unwrap_or_default();
            println!("crash: kill {}, ready after {start:?}:{said}", report.kills);
        }
        report.starts.push(start);
        let from = if report.kills.is_multiple_of(FULL_ROUND) {
            first
        } else {
            before
        };
        stream.verify(&stackwatch, from, &mut report);
        (before, recent) = (recent, stream.clock.load(Ordering::Relaxed) - 8 * step);
    }
    let started = Instant::now();
    stream.verify(&stackwatch, first, &mut report);
    println!(
        "crash: everything read back in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    for (writer, fates) in stream.fates.iter().enumerate() {
        for (t, fate) in fates {
            match fate {
                Fate::Acknowledged => {
                    report.acknowledged += 1;
                    report.samples += batch(writer as u64, *t, step).len() as u64;
                }
                Fate::Refused => report.refused += 1,
                Fate::Unanswered | Fate::Absent => {}
            }
        }
    }
    report.starts.sort_unstable();
    println!("crash: {report}");
    report
}

/// Which round of [`LONG_ROUND`] is the long one.
const LONG_ROUND_AT: u32 = 3;
