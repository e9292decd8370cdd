//! Functions over windows that slide along the lines, which are read once.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use model::{Direction, Labels, LogEntry, MatchOp, Matcher};

use super::extract::{Extractor, check_error};
use super::source::{Read, Source, Wanted, now_of};
use super::vectors::Vectors;
use super::window::{Function, Sample};
use super::{EvalError, Steps};
use crate::logql::ast::{Grouping, RangeAggregation, RangeOp};
use crate::logql::sieve;

/// Bytes of a sample held in a window, or of a step's change.
const SAMPLE_BYTES: usize = size_of::<Sample>();

/// The values of a function at every step. `grouping` is that of a sum around it, if there is one.
pub(super) fn evaluate(
    aggregation: &RangeAggregation,
    grouping: Option<&Grouping>,
    source: &Source<'_>,
    steps: Steps,
) -> Result<Vectors, EvalError> {
    let range = &aggregation.range;
    let function = Function::of(aggregation);
    let grouping = grouping.or(aggregation.grouping.as_ref());
    let mut extractor = Extractor::new(aggregation.op, range, grouping, now_of(steps.last()))?;
    // Where the windows are, seen from the lines.
    let shifted = Steps {
        start_ns: steps.start_ns.saturating_sub(range.offset_ns),
        ..steps
    };
    let interval_ns = range.interval_ns;
    let window = (
        shifted
            .start_ns
            .saturating_sub(interval_ns)
            .saturating_add(1),
        shifted.last().saturating_add(1),
    );
    let sieve = sieve::of(&range.selector.stages);
    let wanted = Wanted {
        matchers: &range.selector.matchers,
        window,
        direction: Direction::Forward,
        sieve: &sieve,
        no_texts: !extractor.reads_texts(),
    };
    let counts = range.unwrap.is_none() || aggregation.op == RangeOp::Absent;
    let mut sums = Sums::default();
    let mut windows = Windows::new(function, shifted, interval_ns);
    let mut stopped = Ok(());
    let mut is_full = None;
    let mut visit = |stream: &Labels, entry: &LogEntry| {
        let Some((series, value)) = extractor.sample(source, stream, entry) else {
            return ControlFlow::Continue(());
        };
        let fits = if counts {
            let first = shifted.first_from(entry.at_ns);
            let past = shifted.first_from(entry.at_ns.saturating_add(interval_ns));
            sums.add(
                source,
                series,
                (first, past.min(shifted.count)),
                value as i64,
            )
        } else {
            stopped = windows.advance(source, entry.at_ns, extractor.series());
            if stopped.is_err() {
                return ControlFlow::Break(());
            }
            windows.add(source, series, (entry.at_ns, value))
        };
        if !fits {
            is_full = Some(entry.at_ns);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let read = source.read(&wanted, &mut visit)?;
    stopped?;
    let read = match is_full {
        Some(at_ns) => {
            source.warn_full();
            Read::Until(at_ns)
        }
        None => read,
    };
    // Steps whose window was not read to its end are left out, unless there are no others.
    let complete = match read {
        Read::All => shifted.count,
        Read::Until(at_ns) => shifted.first_from(at_ns).clamp(1, shifted.count),
    };
    let vectors = if counts {
        sums.finish(function, complete, shifted.count, extractor.into_series())?
    } else {
        windows.emit_until(source, complete, extractor.series())?;
        windows.finish(shifted.count, extractor.into_series())
    };
    if aggregation.op == RangeOp::Absent {
        return Ok(absent(&vectors, complete, &range.selector.matchers));
    }
    Ok(vectors)
}

/// What enters and leaves the windows of a series, by step: enough to count.
#[derive(Default)]
struct Sums(Vec<Changes>);

#[derive(Default)]
struct Changes {
    entering: Vec<Change>,
    leaving: Vec<Change>,
}

#[derive(Clone, Copy)]
struct Change {
    step: u32,
    lines: u32,
    total: i64,
}

/// Adds a change; whether it took a new place. Lines come in the order of time, so that only the
/// last step can be met again.
fn push(list: &mut Vec<Change>, step: usize, total: i64) -> bool {
    if let Some(last) = list.last_mut().filter(|last| last.step as usize == step) {
        last.lines = last.lines.saturating_add(1);
        last.total = last.total.saturating_add(total);
        return false;
    }
    list.push(Change {
        step: step as u32,
        lines: 1,
        total,
    });
    true
}

impl Sums {
    /// Adds a line that is in the windows of the steps `first..past`; whether there was room.
    fn add(
        &mut self,
        source: &Source<'_>,
        series: u32,
        (first, past): (usize, usize),
        value: i64,
    ) -> bool {
        if first >= past {
            return true;
        }
        let series = series as usize;
        if self.0.len() <= series {
            self.0.resize_with(series + 1, Changes::default);
        }
        let changes = &mut self.0[series];
        let grown = usize::from(push(&mut changes.entering, first, value))
            + usize::from(push(&mut changes.leaving, past, value));
        source.hold(grown * SAMPLE_BYTES)
    }

    fn finish(
        self,
        function: Function,
        complete: usize,
        count: usize,
        labels: Vec<Labels>,
    ) -> Result<Vectors, EvalError> {
        let mut vectors = Vectors::new(labels, count);
        let mut wrong: Option<(usize, usize)> = None;
        for (series, changes) in self.0.into_iter().enumerate() {
            let is_wrong = check_error(&vectors.labels[series]).is_err();
            let mut leaving = changes.leaving.iter().peekable();
            let mut entering = changes.entering.iter().peekable();
            let (mut lines, mut total) = (0_u64, 0_i64);
            let mut step = 0;
            while step < complete {
                while let Some(c) = entering.next_if(|c| c.step as usize <= step) {
                    lines += u64::from(c.lines);
                    total = total.saturating_add(c.total);
                }
                while let Some(c) = leaving.next_if(|c| c.step as usize <= step) {
                    lines -= u64::from(c.lines).min(lines);
                    total = total.saturating_sub(c.total);
                }
                if lines == 0 {
                    // Nothing until the next line enters.
                    match entering.peek() {
                        Some(next) => step = next.step as usize,
                        None => break,
                    }
                    continue;
                }
                if is_wrong {
                    if wrong.is_none_or(|(s, _)| step < s) {
                        wrong = Some((step, series));
                    }
                    break;
                }
                vectors.steps[step].push((series as u32, function.of_total(total)));
                step += 1;
            }
        }
        match wrong {
            Some((_, series)) => check_error(&vectors.labels[series]).map(|()| vectors),
            None => Ok(vectors),
        }
    }
}

/// The samples of the windows at the step that is being filled.
struct Windows {
    function: Function,
    steps: Steps,
    interval_ns: i64,
    samples: Vec<VecDeque<Sample>>,
    /// Series with samples.
    active: Vec<u32>,
    next_step: usize,
    values: Vec<Vec<(u32, f64)>>,
}

impl Windows {
    fn new(function: Function, steps: Steps, interval_ns: i64) -> Self {
        Windows {
            function,
            steps,
            interval_ns,
            samples: Vec::new(),
            active: Vec::new(),
            next_step: 0,
            values: Vec::new(),
        }
    }

    /// Computes the steps that end before an instant: no further line can be in their windows.
    fn advance(
        &mut self,
        source: &Source<'_>,
        at_ns: i64,
        labels: &[Labels],
    ) -> Result<(), EvalError> {
        if self.next_step < self.steps.count && self.steps.at(self.next_step) < at_ns {
            let until = self.steps.first_from(at_ns).min(self.steps.count);
            self.emit_until(source, until, labels)?;
        }
        Ok(())
    }

    fn emit_until(
        &mut self,
        source: &Source<'_>,
        until: usize,
        labels: &[Labels],
    ) -> Result<(), EvalError> {
        while self.next_step < until {
            let step = self.next_step;
            if self.active.is_empty() {
                self.next_step = until;
                break;
            }
            source.check_cancel()?;
            let begin = self.steps.at(step).saturating_sub(self.interval_ns);
            let mut values = Vec::with_capacity(self.active.len());
            let (samples, function) = (&mut self.samples, self.function);
            let mut failed = Ok(());
            self.active.retain(|series| {
                let window = &mut samples[*series as usize];
                let gone = window.iter().take_while(|(at, _)| *at <= begin).count();
                window.drain(..gone);
                source.release(gone * SAMPLE_BYTES);
                if window.is_empty() {
                    return false;
                }
                if failed.is_ok() {
                    failed = check_error(&labels[*series as usize]);
                }
                values.push((*series, function.apply(window.make_contiguous())));
                true
            });
            failed?;
            source.hold(values.len() * SAMPLE_BYTES);
            self.values.resize(step, Vec::new());
            self.values.push(values);
            self.next_step += 1;
        }
        Ok(())
    }

    /// Adds a sample; whether there was room.
    fn add(&mut self, source: &Source<'_>, series: u32, sample: Sample) -> bool {
        let i = series as usize;
        if self.samples.len() <= i {
            self.samples.resize_with(i + 1, VecDeque::new);
        }
        if self.samples[i].is_empty() {
            self.active.push(series);
        }
        self.samples[i].push_back(sample);
        source.hold(SAMPLE_BYTES)
    }

    fn finish(mut self, count: usize, labels: Vec<Labels>) -> Vectors {
        self.values.resize(count, Vec::new());
        Vectors {
            labels,
            steps: self.values,
        }
    }
}

/// 1 with the labels of the selector where there is no line.
fn absent(present: &Vectors, complete: usize, matchers: &[Matcher]) -> Vectors {
    let mut labels = Labels::empty().to_builder();
    let mut not_equal: Vec<&str> = Vec::new();
    for m in matchers {
        if m.op() == MatchOp::Equal && labels.get(m.name()).is_none() {
            labels.set(m.name(), m.value());
        } else {
            not_equal.push(m.name());
        }
    }
    for name in not_equal {
        labels.remove(name);
    }
    let mut vectors = Vectors::new(vec![labels.build()], present.steps.len());
    for (step, values) in vectors.steps.iter_mut().enumerate().take(complete) {
        if present.steps[step].is_empty() {
            values.push((0, 1.0));
        }
    }
    vectors
}
