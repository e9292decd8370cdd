//! What scrapes and remote writers send: series that come and go, late, repeated and
//! contradicting samples, and every kind of float.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{
    FPoint, HPoint, Histogram, HistogramSample, Labels, MatchOp, Matcher, STALE_NAN, Sample,
    SampleBatch, Samples, Span, Timestamp,
};

use crate::disk::faulty::Rng;

/// Series alive at one time.
const ALIVE: u64 = 24;
/// Series with histograms are those whose number leaves this rest by 8.
const HISTOGRAM_REST: u64 = 5;

/// Instants remembered, of which some are sent again with another value.
const SENT_MAX: usize = 2_000;

/// State of the generator.
#[derive(Default)]
pub(super) struct Workload {
    /// Numbers below are of series that ended.
    oldest: u64,
    counter: u64,
    /// Numbers of series and instants that they got something at.
    sent: VecDeque<(u64, i64)>,
}

fn labels(i: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("m{}", i % 5)),
        ("i", i.to_string()),
        ("instance", format!("host{}:9100", i % 3)),
        ("job", ["node", "redis"][i as usize % 2].to_owned()),
    ])
}

impl Workload {
    /// A scrape, mostly; at `clock` or before.
    pub(super) fn batch(&mut self, rng: &mut Rng, clock: i64) -> SampleBatch {
        if rng.chance(100) {
            self.oldest += rng.below(4);
        }
        let mut batch = SampleBatch::default();
        let late = rng.chance(150);
        let at = if late {
            clock - rng.below(3 * 3_600_000) as i64
        } else {
            clock
        };
        for i in self.oldest..self.oldest + ALIVE {
            if rng.chance(400) {
                continue;
            }
            let repeats = if rng.chance(50) { rng.below(5) } else { 0 };
            self.one(rng, &mut batch, i, at);
            for _ in 0..repeats {
                let at = at + [0, 1, 1_000, -1_000, 15_000, 3_600_000][rng.below(6) as usize];
                self.one(rng, &mut batch, i, at);
            }
        }
        if rng.chance(150) {
            self.contradict(rng, &mut batch);
        }
        if rng.chance(100) {
            // Somebody else's clock.
            let skew = rng.below(40 * 60_000) as i64 - 20 * 60_000;
            self.one(rng, &mut batch, rng.clone().below(ALIVE), clock + skew);
        }
        batch
    }

    /// Other values at instants that have one, and something earlier with them.
    fn contradict(&mut self, rng: &mut Rng, batch: &mut SampleBatch) {
        if self.sent.is_empty() {
            return;
        }
        for _ in 0..1 + rng.below(4) {
            let from = rng.below(self.sent.len() as u64) as usize;
            let earlier = rng.below(2 * 3_600_000) as i64;
            let run: Vec<(u64, i64)> = self.sent.range(from..).take(40).copied().collect();
            let (first, first_at) = run[0];
            self.one(rng, batch, first, first_at - earlier);
            for (i, at) in run {
                if i == first || rng.chance(100) {
                    self.one(rng, batch, i, at);
                }
            }
        }
    }

    /// What an import might bring, as blocks have it.
    pub(super) fn import(&mut self, rng: &mut Rng) -> BTreeMap<Labels, Samples> {
        let mut batch = SampleBatch::default();
        self.contradict(rng, &mut batch);
        let mut series: BTreeMap<Labels, Samples> = BTreeMap::new();
        for s in batch.samples {
            let (t, v) = (s.at.millis(), s.value);
            let of = series.entry(s.labels).or_default();
            of.floats.push(FPoint { t, v });
        }
        for s in batch.histograms {
            let (t, h) = (s.at.millis(), s.histogram);
            let of = series.entry(s.labels).or_default();
            of.histograms.push(HPoint { t, h });
        }
        for samples in series.values_mut() {
            samples.floats.sort_by_key(|p| p.t);
            samples.floats.dedup_by_key(|p| p.t);
            samples.histograms.sort_by_key(|p| p.t);
            samples.histograms.dedup_by_key(|p| p.t);
        }
        series
    }

    fn one(&mut self, rng: &mut Rng, batch: &mut SampleBatch, i: u64, at: i64) {
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((i, at));
        let at = Timestamp::from_millis(at);
        if i % 8 == HISTOGRAM_REST && super::HISTOGRAMS {
            let histogram = Arc::new(self.histogram(rng));
            let labels = labels(i);
            batch.histograms.push(HistogramSample {
                labels,
                at,
                histogram,
            });
            return;
        }
        let value = self.value(rng, i);
        let labels = labels(i);
        batch.samples.push(Sample { labels, at, value });
    }

    fn value(&mut self, rng: &mut Rng, i: u64) -> f64 {
        self.counter += rng.below(50);
        if rng.chance(30) {
            return match rng.below(7) {
                0 => STALE_NAN,
                1 => f64::NAN,
                2 => f64::from_bits(rng.next()),
                3 => -0.0,
                4 => f64::NEG_INFINITY,
                5 => f64::MIN_POSITIVE / 8.0,
                _ => f64::from_bits(0x7ff8_0000_0000_0000 | rng.below(1 << 40)),
            };
        }
        match i % 6 {
            0 => 1.0,
            1 => self.counter as f64,
            2 => (rng.below(1000) as f64) / 10.0,
            3 => self.counter as f64 * 4096.0,
            4 => rng.below(1 << 53) as f64 / 7.0,
            _ => 1_700_000_000.25,
        }
    }

    fn histogram(&mut self, rng: &mut Rng) -> Histogram {
        self.counter += rng.below(50);
        let length = 1 + rng.below(2) as u32 * 3;
        let whole = rng.chance(800);
        let mut count = |base: u64| match whole {
            true => (base + rng.below(9)) as f64,
            false => (base + rng.below(9)) as f64 / 3.0,
        };
        let positive: Vec<f64> = (0..length)
            .map(|k| count(self.counter / 10 + u64::from(k)))
            .collect();
        Histogram {
            schema: 3,
            zero_threshold: 1e-128,
            zero_count: count(0),
            count: positive.iter().sum(),
            sum: count(self.counter),
            positive_spans: vec![Span { offset: -2, length }],
            positive_buckets: positive,
            ..Histogram::default()
        }
    }

    /// Selects all series of `batch` and few others.
    pub(super) fn matcher_for(batch: &SampleBatch) -> Matcher {
        let floats = batch.samples.iter().map(|s| &s.labels);
        let all = floats.chain(batch.histograms.iter().map(|h| &h.labels));
        let mut numbers: Vec<&str> = all.filter_map(|l| l.get("i")).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Matcher::new("i", MatchOp::Regex, numbers.join("|")).unwrap()
    }

    /// A selector as a query might have it.
    pub(super) fn matchers(&self, rng: &mut Rng) -> Vec<Matcher> {
        let new = |name, op, value: &str| Matcher::new(name, op, value).unwrap();
        match rng.below(6) {
            0 => Vec::new(),
            1 => vec![new("__name__", MatchOp::Equal, "m3")],
            2 => vec![new("job", MatchOp::NotEqual, "node")],
            3 => vec![new("instance", MatchOp::Regex, "host[01].*")],
            4 => vec![new("i", MatchOp::Equal, &self.oldest.to_string())],
            _ => vec![
                new("absent", MatchOp::Equal, ""),
                new("__name__", MatchOp::NotRegex, "m[12]"),
            ],
        }
    }

    /// Small heads flush early and refuse series.
    pub(super) fn head_bytes_max(&self, rng: &mut Rng) -> u64 {
        [64 << 20, 64 << 20, 200_000, 60_000][rng.below(4) as usize]
    }
}
