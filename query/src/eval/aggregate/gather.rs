//! What groups of an aggregation have gathered, step by step.

use std::ops::Range;
use std::sync::Arc;

use model::{FPoint, HPoint, Labels};

use crate::eval::evaluator::Evaluator;
use crate::eval::kahan::{Kahan, Mean};
use crate::eval::series::{FastMap, Series};
use crate::eval::{EvalError, PointValue, annotations};
use crate::histogram::HistogramSum;
use crate::promql::ast::{Aggregate, AggregateOp};

/// What a step has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Nothing,
    Floats,
    Histograms,
    /// Floats and histograms, or layouts that do not go together: no result.
    Mixed,
}

/// Welford's: count, mean, aggregate.
#[derive(Clone)]
struct Spread(f64, Kahan, Kahan);

/// Floats, a slot per group and step.
enum Floats {
    Sum(Vec<Kahan>),
    Avg(Vec<Mean>),
    Count(Vec<f64>),
    Max(Vec<f64>),
    Min(Vec<f64>),
    Group,
    Spread(Vec<Spread>),
}

/// Some groups: slots of the first one come first, step by step.
pub(super) struct Gathered {
    steps: usize,
    /// By group.
    drop_name: Vec<bool>,
    states: Vec<State>,
    floats: Floats,
    /// By slot.
    histograms: FastMap<usize, HistogramSum>,
}

impl Gathered {
    pub(super) fn new(op: AggregateOp, groups: usize, steps: usize) -> Gathered {
        let slots = groups.saturating_mul(steps);
        let floats = match op {
            AggregateOp::Sum => Floats::Sum(vec![Kahan::default(); slots]),
            AggregateOp::Avg => Floats::Avg(vec![Mean::new(0.0); slots]),
            AggregateOp::Count => Floats::Count(vec![0.0; slots]),
            AggregateOp::Max => Floats::Max(vec![0.0; slots]),
            AggregateOp::Min => Floats::Min(vec![0.0; slots]),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                Floats::Spread(vec![Spread(0.0, Kahan::default(), Kahan::default()); slots])
            }
            _ => Floats::Group,
        };
        Gathered {
            steps,
            drop_name: vec![false; groups],
            states: vec![State::Nothing; slots],
            floats,
            histograms: FastMap::default(),
        }
    }

    /// Bytes on the heap, but for histograms.
    pub(super) fn bytes(&self) -> usize {
        let slot = match &self.floats {
            Floats::Sum(_) => size_of::<Kahan>(),
            Floats::Avg(_) => size_of::<Mean>(),
            Floats::Count(_) | Floats::Max(_) | Floats::Min(_) => size_of::<f64>(),
            Floats::Group => 0,
            Floats::Spread(_) => size_of::<Spread>(),
        };
        // Lists of them are up to half empty.
        self.states.len().saturating_mul(slot + 1)
            + self.drop_name.len()
            + 2 * size_of::<Gathered>()
    }

    /// Where the slots of a group are.
    fn slots(&self, group: usize) -> Range<usize> {
        group * self.steps..(group + 1) * self.steps
    }

    /// Adds a series to a group.
    pub(super) fn add(
        &mut self,
        ev: &Evaluator<'_>,
        a: &Aggregate,
        group: usize,
        series: &Series,
    ) -> Result<(), EvalError> {
        self.drop_name[group] |= series.drop_name;
        let own = self.slots(group);
        let states = &mut self.states[own.clone()];
        let points = &series.floats;
        let mixed = match &mut self.floats {
            Floats::Sum(all) => each(ev, points, states, &mut all[own], Kahan::new, Kahan::add),
            Floats::Avg(all) => each(ev, points, states, &mut all[own], Mean::new, Mean::add),
            Floats::Count(all) => {
                let slots = &mut all[own];
                each(ev, points, states, slots, |_| 1.0, |n, _| *n += 1.0)
            }
            Floats::Max(all) => each(
                ev,
                points,
                states,
                &mut all[own],
                |v| v,
                |best, v| {
                    if v > *best || best.is_nan() {
                        *best = v;
                    }
                },
            ),
            Floats::Min(all) => each(
                ev,
                points,
                states,
                &mut all[own],
                |v| v,
                |best, v| {
                    if v < *best || best.is_nan() {
                        *best = v;
                    }
                },
            ),
            Floats::Group => {
                for p in points {
                    states[ev.index(p.t)] = State::Floats;
                }
                false
            }
            Floats::Spread(all) => {
                each(ev, points, states, &mut all[own], Spread::new, Spread::add)
            }
        };
        if mixed {
            let text = annotations::mixed_floats_histograms_aggregation();
            ev.q.note(text, &a.expr);
        }
        for (n, p) in series.histograms.iter().enumerate() {
            if n % HISTOGRAMS_BETWEEN_CHECKS == 0 {
                ev.q.check_cancel()?;
            }
            let slot = group * self.steps + ev.index(p.t);
            self.add_histogram(ev, a, slot, p, series.labels.metric_name())?;
        }
        Ok(())
    }

    fn add_histogram(
        &mut self,
        ev: &Evaluator<'_>,
        a: &Aggregate,
        slot: usize,
        p: &HPoint,
        metric: &str,
    ) -> Result<(), EvalError> {
        let state = &mut self.states[slot];
        match &mut self.floats {
            Floats::Count(slots) => {
                slots[slot] += 1.0;
                *state = State::Floats;
            }
            Floats::Group => *state = State::Floats,
            Floats::Sum(_) | Floats::Avg(_) => match *state {
                State::Nothing => {
                    ev.q.charge(crate::eval::stream::histogram_samples(
                        std::slice::from_ref(p),
                    ))?;
                    let mean = a.op == AggregateOp::Avg;
                    self.histograms.insert(slot, HistogramSum::new(&p.h, mean));
                    *state = State::Histograms;
                }
                State::Histograms => {
                    let sums = &mut self.histograms;
                    if sums.get_mut(&slot).is_some_and(|s| s.add(&p.h).is_err()) {
                        *state = State::Mixed;
                        sums.remove(&slot);
                        let text = annotations::mixed_exponential_custom(metric);
                        ev.q.note(text, &a.expr);
                    }
                }
                State::Floats => {
                    *state = State::Mixed;
                    let text = annotations::mixed_floats_histograms_aggregation();
                    ev.q.note(text, &a.expr);
                }
                State::Mixed => {}
            },
            _ => {
                let text = annotations::histogram_ignored_in_aggregation(a.op.as_str());
                ev.q.note(text, &a.expr);
            }
        }
        Ok(())
    }

    /// The result of a group.
    pub(super) fn finish(
        &mut self,
        ev: &Evaluator<'_>,
        a: &Aggregate,
        group: usize,
        labels: Labels,
    ) -> Series {
        let mut series = Series::new(labels, self.drop_name[group]);
        let own = self.slots(group);
        let states = &self.states[own.clone()];
        let present = states.iter().filter(|s| **s == State::Floats).count();
        series.floats.reserve_exact(present);
        for (step, (slot, state)) in own.zip(states).enumerate() {
            let value = match state {
                State::Nothing | State::Mixed => continue,
                State::Floats => PointValue::Float(match &self.floats {
                    Floats::Sum(slots) => slots[slot].value(),
                    Floats::Avg(slots) => slots[slot].value(),
                    Floats::Count(slots) | Floats::Max(slots) | Floats::Min(slots) => slots[slot],
                    Floats::Group => 1.0,
                    Floats::Spread(slots) => {
                        let Spread(n, _, aggregate) = &slots[slot];
                        let variance = aggregate.value() / n;
                        if a.op == AggregateOp::Stddev {
                            variance.sqrt()
                        } else {
                            variance
                        }
                    }
                }),
                State::Histograms => {
                    let Some(sum) = self.histograms.remove(&slot) else {
                        continue;
                    };
                    let (sum, notes) = sum.finish();
                    if notes.reset_collision {
                        let text = annotations::reset_collision("aggregation");
                        ev.q.note(text, &a.expr);
                    }
                    if notes.bounds_reconciled {
                        let text = annotations::custom_buckets_reconciled("aggregation");
                        ev.q.note(text, &a.expr);
                    }
                    PointValue::Histogram(Arc::new(sum))
                }
            };
            series.push(ev.time(step), value);
        }
        series
    }
}

/// Adding histograms takes about a microsecond each.
const HISTOGRAMS_BETWEEN_CHECKS: usize = 1 << 12;

/// Adds floats to their steps; whether one met histograms.
fn each<T>(
    ev: &Evaluator<'_>,
    points: &[FPoint],
    states: &mut [State],
    slots: &mut [T],
    first: impl Fn(f64) -> T,
    add: impl Fn(&mut T, f64),
) -> bool {
    let mut mixed = false;
    // Points mostly follow each other step by step, which saves a division.
    let (mut step, mut expected) = (0, ev.start);
    for p in points {
        if p.t != expected {
            step = ev.index(p.t);
        }
        if let (Some(state), Some(slot)) = (states.get_mut(step), slots.get_mut(step)) {
            match state {
                State::Floats => add(slot, p.v),
                State::Nothing => {
                    *slot = first(p.v);
                    *state = State::Floats;
                }
                State::Histograms => {
                    *state = State::Mixed;
                    mixed = true;
                }
                State::Mixed => {}
            }
        }
        step += 1;
        expected = p.t.saturating_add(ev.step);
    }
    mixed
}

impl Spread {
    fn new(v: f64) -> Spread {
        // An infinity or NaN has no spread.
        let start = if v.is_finite() { 0.0 } else { f64::NAN };
        Spread(1.0, Kahan::new(v), Kahan::new(start))
    }

    fn add(&mut self, v: f64) {
        let Spread(n, mean, aggregate) = self;
        *n += 1.0;
        let delta = v - mean.value();
        mean.add(delta / *n);
        aggregate.add(delta * (v - mean.value()));
    }
}
