//! The series both sides are given.
//!
//! Evaluation times, windows, offsets and steps are whole seconds; samples never are, so that no
//! window begins exactly at one. Values are multiples of 1/4 small enough that sums are exact.

use stackwatch_tests::remote_write::{EncodedLabels, WriteRequest};

use super::generator::Random;

/// Between samples, in seconds.
const INTERVAL: i64 = 15;
const SAMPLES: i64 = 160;
/// Prometheus' stale marker.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The time the data cover, in whole seconds since 1970; `start` is a multiple of ten minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Span {
    /// The latest that is over at `now`.
    pub(super) fn before(now: i64) -> Span {
        let length = INTERVAL * SAMPLES;
        let start = (now - length - 60).div_euclid(600) * 600;
        Span {
            start,
            end: start + length,
        }
    }

    /// A time to evaluate at. It leaves a remainder of 7 by 10, and steps and windows are
    /// multiples of 10, so no step of a subquery is on the edge of its window.
    pub(super) fn instant(self, random: &mut Random) -> i64 {
        self.start + 7 + 10 * random.below(((self.end - self.start) / 10 + 40) as u64) as i64
    }

    /// Start, end and step of a range query.
    pub(super) fn range(self, random: &mut Random) -> (i64, i64, i64) {
        let start = self.instant(random) - 100;
        let step = *random.pick(&[10, 20, 30, 50, 60, 90]);
        let steps = random.below(30) as i64;
        (start, start + steps * step + *random.pick(&[0, 0, 2]), step)
    }
}

/// All series, as remote-write requests in order of time.
pub(super) fn requests(span: Span) -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let series = series(&mut random);
    let mut requests = Vec::new();
    let mut states: Vec<f64> = series.iter().map(|s| s.first).collect();
    for i in 0..SAMPLES {
        let mut request = WriteRequest::default();
        for (series, state) in series.iter().zip(&mut states) {
            let Some(value) = series.shape.next(state, i, &mut random) else {
                continue;
            };
            let t = (span.start + i * INTERVAL) * 1000 + series.jitter;
            request.push(&series.labels, [(t, value)]);
        }
        requests.push(request.finish());
    }
    requests
}

/// How a series goes on.
enum Shape {
    /// Up and down by quarters, with gaps.
    Gauge,
    /// As a gauge; now and then NaN, an infinity or a stale marker.
    Wild,
    /// Up by up to so many quarters, with resets to the half if told so; never near zero.
    Counter { by: u64, resets: bool },
    /// A bucket of a histogram: so many times what its histogram counted, the same for all its
    /// buckets, so that they stay cumulative.
    Bucket { times: u64, histogram: u64 },
    /// The value it began with; samples only from so many until so many.
    Constant { from: i64, until: i64 },
}

impl Shape {
    fn next(&self, state: &mut f64, i: i64, random: &mut Random) -> Option<f64> {
        let gap = i % 40 > 30 && random.below(3) > 0;
        match self {
            Shape::Gauge => {
                *state += (random.below(41) as f64 - 20.0) / 4.0;
                (!gap).then_some(*state)
            }
            Shape::Wild => {
                *state += (random.below(41) as f64 - 20.0) / 4.0;
                let special = match random.below(30) {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => f64::NEG_INFINITY,
                    3 => STALE,
                    _ => *state,
                };
                (!gap).then_some(special)
            }
            Shape::Counter { by, resets } => {
                *state += random.below(by + 1) as f64 / 4.0;
                if *resets && random.below(25) == 0 {
                    *state = (*state / 2.0).floor();
                }
                (!gap).then_some(*state)
            }
            Shape::Bucket { times, histogram } => {
                let counted = Random::new(histogram * 1000 + i as u64).below(4);
                *state += (times * counted) as f64;
                (i % 40 < 36).then_some(*state)
            }
            Shape::Constant { from, until } => {
                if i == *until {
                    return Some(STALE);
                }
                (*from <= i && i < *until).then_some(*state)
            }
        }
    }
}

struct Series {
    labels: EncodedLabels,
    shape: Shape,
    first: f64,
    /// Milliseconds after the whole second.
    jitter: i64,
}

fn series(random: &mut Random) -> Vec<Series> {
    let mut out: Vec<Series> = Vec::new();
    let mut add = |labels: &[(&str, &str)], shape: Shape, first: f64| {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        out.push(Series {
            labels: EncodedLabels::new(&labels),
            shape,
            first,
            jitter: 137 + 2 * random.below(300) as i64,
        });
    };
    for job in ["a", "b"] {
        for instance in ["0", "1", "2"] {
            let with = |name| [("__name__", name), ("job", job), ("instance", instance)];
            let n: f64 = instance.parse().unwrap_or(0.0);
            add(&with("gauge"), Shape::Gauge, 10.0 * n);
            add(&with("wild"), Shape::Wild, -5.0 * n);
            let counter = Shape::Counter {
                by: 8,
                resets: true,
            };
            add(&with("hits_total"), counter, 4e6 + 100.0 * n);
        }
    }
    for (i, instance) in ["0", "1", "2", "3"].into_iter().enumerate() {
        let with = |name| [("__name__", name), ("job", "c"), ("instance", instance)];
        let (from, until) = [(0, 200), (30, 200), (0, 90), (50, 120)][i];
        // Values that differ from series to series at any time.
        add(
            &with("steady"),
            Shape::Constant { from, until },
            i as f64 * 3.25 - 4.0,
        );
        let team = ["x", "y", "x", ""][i];
        let meta = [
            ("__name__", "meta"),
            ("job", "m"),
            ("instance", instance),
            ("team", team),
        ];
        let present: Vec<_> = meta.into_iter().filter(|(_, v)| !v.is_empty()).collect();
        add(
            &present,
            Shape::Constant {
                from: 0,
                until: 200,
            },
            1.0,
        );
    }
    for (histogram, job) in [(1, "a"), (2, "b")] {
        for (times, le) in [(1, "0.1"), (3, "0.5"), (4, "1"), (7, "2.5"), (7, "+Inf")] {
            let labels = [("__name__", "lat_bucket"), ("job", job), ("le", le)];
            let bucket = Shape::Bucket { times, histogram };
            add(&labels, bucket, 1000.0 * times as f64);
        }
    }
    for (i, value) in [
        "space here",
        "quote\"d",
        "back\\slash",
        "ünïcödé ☃",
        "a.b*c+",
        "{}",
    ]
    .into_iter()
    .enumerate()
    {
        let labels = [("__name__", "odd"), ("job", "o"), ("path", value)];
        add(&labels, Shape::Gauge, i as f64);
    }
    out
}
