//! Quantiles of the observations of some minutes, in bounded memory. Pure.
//!
//! Few observations are kept as they are, and their quantiles are exact (nearest rank). More are
//! summarised by the biased quantiles of Cormode, Korn, Muthukrishnan and Srivastava ("Effective
//! computation of biased quantiles over data streams", 2005) for targeted quantiles, one summary for
//! each time from which a window may begin; Prometheus' client library for Go does the same.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Timestamp;

use super::mapping::SummaryOptions;

/// Points of one summary; beyond, neighbours are joined whatever that costs in exactness.
const POINTS_MAX: usize = 4096;

/// A quantile that is asked for, and how far from its rank the answer may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Objective {
    pub(super) quantile: f64,
    pub(super) error: f64,
}

impl Objective {
    pub(super) const fn new(quantile: f64, error: f64) -> Objective {
        Objective { quantile, error }
    }
}

/// The observations of a sliding window.
#[derive(Debug)]
pub(super) struct Window {
    objectives: Arc<[Objective]>,
    /// The window moves in steps of so many milliseconds.
    step_ms: i64,
    /// So many steps long.
    steps: i64,
    kept_max: usize,
    /// The step we are in: numbered since 1970, never falling.
    now: i64,
    /// Observations not yet in the summaries: their step, value, and how often.
    kept: Vec<(i64, f64, u64)>,
    /// By the step from which on they know everything that is not kept; oldest first.
    summaries: VecDeque<(i64, Stream)>,
}

impl Window {
    pub(super) fn new(options: &SummaryOptions) -> Window {
        let steps = i64::from(options.age_buckets.max(1));
        let age = model::time::duration_millis(options.max_age);
        Window {
            objectives: Arc::clone(&options.objectives),
            step_ms: (age / steps).max(1),
            steps,
            kept_max: options.kept_max.max(1),
            now: i64::MIN,
            kept: Vec::new(),
            summaries: VecDeque::new(),
        }
    }

    /// Takes an observation that stands for `times`.
    pub(super) fn observe(&mut self, value: f64, times: u64, at: Timestamp) {
        self.move_to(at);
        self.kept.push((self.now, value, times));
        if self.kept.len() >= self.kept_max {
            self.summarise();
        }
    }

    /// Bytes that all its observations take.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.kept.capacity() * size_of::<(i64, f64, u64)>();
        let points = self.summaries.iter().map(|(_, s)| s.points.capacity());
        kept + points.sum::<usize>() * size_of::<Point>()
    }

    /// Each quantile that is asked for; NaN when there was nothing.
    pub(super) fn quantiles(&mut self, at: Timestamp) -> Vec<f64> {
        self.move_to(at);
        let first = self.first();
        let objectives = Arc::clone(&self.objectives);
        if self
            .summaries
            .front()
            .is_some_and(|(from, _)| *from == first)
        {
            if !self.kept.is_empty() {
                self.summarise();
            }
            let summary = self.summaries.front();
            let query =
                |o: &Objective| summary.map_or(f64::NAN, |(_, s)| s.query(o.quantile, &objectives));
            return objectives.iter().map(query).collect();
        }
        let mut all: Vec<(f64, u64)> = self.kept.iter().map(|(_, v, n)| (*v, *n)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let count = all
            .iter()
            .fold(0u64, |n, (_, times)| n.saturating_add(*times));
        let nearest_rank = |o: &Objective| {
            let mut rest = (count as f64 * o.quantile).ceil().max(1.0);
            for (value, times) in &all {
                rest -= *times as f64;
                if rest <= 0.0 {
                    return *value;
                }
            }
            all.last().map_or(f64::NAN, |(value, _)| *value)
        };
        objectives.iter().map(nearest_rank).collect()
    }

    /// The step with which the window begins.
    fn first(&self) -> i64 {
        self.now.saturating_sub(self.steps - 1)
    }

    /// What is older than the window goes. A clock set back a little stands still.
    fn move_to(&mut self, at: Timestamp) {
        let now = at.millis().div_euclid(self.step_ms);
        if now < self.first() {
            // Set back far, or it was far ahead: what there is could stay for ever.
            self.kept.clear();
            self.summaries.clear();
        } else if now <= self.now {
            return;
        }
        self.now = now;
        let first = self.first();
        self.kept.retain(|(step, _, _)| *step >= first);
        self.kept.shrink_to(2 * self.kept.len());
        while self
            .summaries
            .front()
            .is_some_and(|(from, _)| *from < first)
        {
            self.summaries.pop_front();
        }
    }

    /// Puts what is kept into the summaries of all windows that will hold it.
    fn summarise(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.sort_by(|a, b| a.1.total_cmp(&b.1));
        for from in self.first()..=self.now {
            // What went into summaries before came before the first step that has none yet.
            if self.summaries.back().is_none_or(|(last, _)| *last < from) {
                self.summaries.push_back((from, Stream::default()));
            }
        }
        for (from, summary) in &mut self.summaries {
            let new = kept.iter().filter(|(step, _, _)| step >= from);
            let new: Vec<(f64, u64)> = new.map(|(_, value, times)| (*value, *times)).collect();
            summary.merge(&new, &self.objectives);
        }
        kept.clear();
        self.kept = kept;
    }

    #[cfg(test)]
    fn points(&self) -> usize {
        self.summaries.iter().map(|(_, s)| s.points.len()).sum()
    }
}

/// Biased quantiles of a stream.
#[derive(Debug, Default)]
struct Stream {
    /// By value.
    points: Vec<Point>,
    count: u64,
}

/// `width` observations since the point before, of ranks that are known up to `slack`.
#[derive(Clone, Copy, Debug)]
struct Point {
    value: f64,
    width: u64,
    slack: u64,
}

impl Stream {
    /// How many observations a point of this rank may stand for.
    fn allowed(&self, rank: f64, objectives: &[Objective]) -> f64 {
        let count = self.count as f64;
        let of = |o: &Objective| match o.quantile * count <= rank {
            true => 2.0 * o.error * rank / o.quantile,
            false => 2.0 * o.error * (count - rank) / (1.0 - o.quantile),
        };
        // `min` passes over what is no number.
        objectives.iter().map(of).fold(f64::MAX, f64::min)
    }

    /// Takes observations in the order of their values.
    fn merge(&mut self, new: &[(f64, u64)], objectives: &[Objective]) {
        if new.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.points.len() + new.len());
        let mut rank = 0.0;
        let mut old = self.points.iter().copied().peekable();
        for &(value, width) in new {
            while let Some(point) = old.next_if(|point| point.value <= value) {
                rank += point.width as f64;
                merged.push(point);
            }
            let slack = match old.peek() {
                Some(next) => (self.allowed(rank, objectives).floor() - 1.0)
                    .clamp(0.0, u64::MAX as f64)
                    .max(next.slack as f64),
                // The largest so far is known exactly.
                None => 0.0,
            };
            merged.push(Point {
                value,
                width,
                slack: slack as u64,
            });
            self.count = self.count.saturating_add(width);
            rank += width as f64;
        }
        merged.extend(old);
        self.points = merged;
        self.compress(objectives);
        while self.points.len() > POINTS_MAX {
            self.halve();
        }
    }

    /// Joins points that together are still exact enough, from the largest down.
    fn compress(&mut self, objectives: &[Objective]) {
        let Some(mut upper) = self.points.pop() else {
            return;
        };
        let mut rank = self.count as f64 - upper.width as f64;
        let mut kept = Vec::with_capacity(self.points.len() + 1);
        for point in std::mem::take(&mut self.points).into_iter().rev() {
            let joined = point.width as f64 + upper.width as f64 + upper.slack as f64;
            if joined <= self.allowed(rank, objectives) {
                upper.width = upper.width.saturating_add(point.width);
            } else {
                kept.push(upper);
                upper = point;
            }
            rank -= point.width as f64;
        }
        kept.push(upper);
        kept.reverse();
        kept.shrink_to_fit();
        self.points = kept;
    }

    /// Joins every point with its neighbour.
    fn halve(&mut self) {
        let join = |pair: &[Point]| {
            let mut last = pair[pair.len() - 1];
            last.width = pair.iter().fold(0, |n: u64, p| n.saturating_add(p.width));
            last
        };
        self.points = self.points.chunks(2).map(join).collect();
    }

    fn query(&self, quantile: f64, objectives: &[Objective]) -> f64 {
        let wanted = (quantile * self.count as f64).ceil();
        let wanted = wanted + (self.allowed(wanted, objectives) / 2.0).ceil();
        let mut rank = 0.0;
        let mut before = f64::NAN;
        for point in &self.points {
            let after = rank + point.width as f64 + point.slack as f64;
            if after > wanted && !before.is_nan() {
                return before;
            }
            rank += point.width as f64;
            before = point.value;
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn window(kept_max: usize) -> Window {
        Window::new(&SummaryOptions {
            objectives: [
                Objective::new(0.5, 0.05),
                Objective::new(0.9, 0.01),
                Objective::new(0.99, 0.001),
            ]
            .into(),
            max_age: Duration::from_secs(600),
            age_buckets: 5,
            kept_max,
        })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_040_000 + seconds * 1000)
    }

    #[test]
    fn few_observations_have_exact_quantiles() {
        let mut window = window(500);
        assert!(window.quantiles(at(0)).iter().all(|q| q.is_nan()));
        window.observe(0.2, 1, at(0));
        assert_eq!(window.quantiles(at(0)), [0.2, 0.2, 0.2]);
        for i in 1..=100 {
            window.observe(f64::from(i), 1, at(0));
        }
        assert_eq!(window.quantiles(at(0)), [50.0, 90.0, 99.0]);
        // One that stands for many.
        window.observe(1000.0, 10_000, at(0));
        assert_eq!(window.quantiles(at(0)), [1000.0; 3]);
    }

    /// Numbers in an order that tells nothing of their size, each once.
    fn shuffled(count: u64) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| (i * 7919 % count) as f64)
    }

    #[test]
    fn many_observations_are_estimated_within_their_error() {
        let count = 100_003;
        let mut window = window(500);
        for value in shuffled(count) {
            window.observe(value, 1, at(0));
        }
        let expect = [(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)];
        for (found, (quantile, error)) in window.quantiles(at(0)).iter().zip(expect) {
            let rank = found / count as f64;
            assert!((rank - quantile).abs() <= error, "{quantile}: {rank}");
        }
        assert!(window.points() < 5 * 1000, "{}", window.points());
    }

    #[test]
    fn observations_leave_with_their_age() {
        // Also where all of them are in summaries.
        for kept_max in [500, 10] {
            let mut window = window(kept_max);
            for _ in 0..100 {
                window.observe(1.0, 1, at(0));
            }
            for _ in 0..20 {
                window.observe(5.0, 1, at(300));
            }
            assert_eq!(window.quantiles(at(301))[0], 1.0);
            assert_eq!(window.quantiles(at(601))[0], 5.0);
            assert!(window.quantiles(at(1000))[0].is_nan());
            // A clock set back, a little and by far.
            window.observe(7.0, 1, at(900));
            assert_eq!(window.quantiles(at(1500))[0], 7.0);
            window.observe(8.0, 1, at(0));
            assert_eq!(window.quantiles(at(0))[0], 8.0);
        }
    }

    #[test]
    fn what_has_left_takes_no_memory() {
        for kept_max in [500, 10] {
            let mut window = window(kept_max);
            for i in 0..1000 {
                window.observe(f64::from(i), 1, at(0));
            }
            assert!(window.bytes() > 0);
            window.quantiles(at(1000));
            assert_eq!(window.bytes(), 0);
        }
    }

    #[test]
    fn memory_is_bounded_where_no_error_is_allowed() {
        let mut exact = window(500);
        exact.objectives = [Objective::new(0.5, 0.0)].into();
        for value in shuffled(50_021) {
            exact.observe(value, 1, at(0));
        }
        assert!(exact.points() <= 5 * POINTS_MAX);
        let rank = exact.quantiles(at(0))[0] / 50_021.0;
        assert!((rank - 0.5).abs() < 0.01, "{rank}");
    }
}
