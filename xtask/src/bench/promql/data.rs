//! What both are fed: the same for every run but for the time.

use stackwatch_tests::remote_write::{EncodedLabels, WriteRequest};

/// Samples of each series: 6 h.
pub(super) const SAMPLES: i64 = 6 * 240;
const INTERVAL_MS: i64 = 15_000;
const INSTANCES: usize = 100;
/// Samples of a series in one request: 10 minutes. All series advance together, because a head
/// takes nothing that is much older than its newest sample.
const SAMPLES_PER_REQUEST: i64 = 40;
const SERIES_PER_REQUEST: usize = 500;
const LE: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf",
];

/// When the samples are.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// Just after the last one, in seconds.
    pub(super) end: i64,
}

impl Span {
    /// Samples up to about `now` (seconds), at multiples of 15 s.
    pub(super) fn before(now: i64) -> Span {
        Span { end: now / 60 * 60 }
    }

    fn start_ms(self) -> i64 {
        self.end * 1000 - SAMPLES * INTERVAL_MS
    }
}

type Pairs = Vec<(&'static str, String)>;

/// Labels of all series, each with whether it is a counter.
pub(super) fn series() -> impl Iterator<Item = (Pairs, bool)> {
    (0..INSTANCES).flat_map(|i| {
        let base = move |name: &str| -> Pairs {
            vec![
                ("__name__", name.to_owned()),
                ("instance", format!("host-{i:02}.example.com:9100")),
                ("job", "api".to_owned()),
            ]
        };
        let with = move |name: &str, more: &[(&'static str, String)]| {
            let mut pairs = base(name);
            pairs.extend_from_slice(more);
            pairs.sort();
            pairs
        };
        let mut all: Vec<(Pairs, bool)> = Vec::new();
        for handler in 0..10 {
            for code in ["200", "301", "404", "500"] {
                let handler = ("handler", format!("/api/v1/handler{handler}"));
                let pairs = with("http_requests_total", &[handler, ("code", code.to_owned())]);
                all.push((pairs, true));
            }
        }
        for method in ["GET", "POST", "PUT"] {
            for le in LE {
                let more = [("method", method.to_owned()), ("le", le.to_owned())];
                all.push((with("latency_seconds_bucket", &more), true));
            }
        }
        for sensor in 0..23 {
            let more = [("sensor", format!("s{sensor}"))];
            all.push((with("temperature_celsius", &more), false));
        }
        let version = if i % 3 == 0 { "1.8" } else { "1.9" };
        all.push((with("node_info", &[("version", version.to_owned())]), false));
        all
    })
}

/// Remote-write requests with all samples, in time order.
pub(super) fn requests(span: Span) -> impl Iterator<Item = Vec<u8>> {
    let mut all: Vec<(EncodedLabels, Walk)> = series()
        .zip(1_u64..)
        .map(|((labels, counter), seed)| {
            let walk = Walk {
                value: 0.0,
                random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                counter,
            };
            (EncodedLabels::new(&labels), walk)
        })
        .collect();
    let requests_per_block = all.len().div_ceil(SERIES_PER_REQUEST);
    (0..SAMPLES / SAMPLES_PER_REQUEST).flat_map(move |block| {
        let first = span.start_ms() + block * SAMPLES_PER_REQUEST * INTERVAL_MS;
        let mut bodies = Vec::with_capacity(requests_per_block);
        for part in all.chunks_mut(SERIES_PER_REQUEST) {
            let mut request = WriteRequest::default();
            for (labels, walk) in part {
                let times = (0..SAMPLES_PER_REQUEST).map(|i| first + i * INTERVAL_MS);
                request.push(labels, times.map(|t| (t, walk.next())));
            }
            bodies.push(request.finish());
        }
        bodies
    })
}

/// A counter that is reset now and then, or a gauge with one decimal.
struct Walk {
    value: f64,
    random: u64,
    counter: bool,
}

impl Walk {
    fn next(&mut self) -> f64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let n = (self.random >> 33) % 1000;
        self.value = match (self.counter, n) {
            (true, 0) => 0.0,
            (true, n) => self.value + (n % 50) as f64,
            (false, n) => 20.0 + (n % 100) as f64 / 10.0,
        };
        self.value
    }
}
