//! Series in the middle of an evaluation.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::labels::METRIC_NAME;
use model::{FPoint, HPoint, Labels};

use super::query::Task;
use super::{EvalError, PointValue};

pub(crate) type FastMap<K, V> = HashMap<K, V, RandomState>;

/// One series of an intermediate result; points lie on the evaluator's steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// The metric name is to go at the end of the query.
    pub(crate) drop_name: bool,
    pub(crate) floats: Vec<FPoint>,
    pub(crate) histograms: Vec<HPoint>,
}

impl Series {
    pub(crate) fn new(labels: Labels, drop_name: bool) -> Self {
        Series {
            labels,
            drop_name,
            floats: Vec::new(),
            histograms: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn push(&mut self, t: i64, value: PointValue) {
        match value {
            PointValue::Float(v) => self.floats.push(FPoint { t, v }),
            PointValue::Histogram(h) => self.histograms.push(HPoint { t, h }),
        }
    }

    /// The points of both kinds in time order.
    pub(crate) fn points(&self) -> Points<'_> {
        Series::points_of(&self.floats, &self.histograms)
    }

    /// Points of both kinds in time order.
    pub(crate) fn points_of<'a>(floats: &'a [FPoint], histograms: &'a [HPoint]) -> Points<'a> {
        Points { floats, histograms }
    }
}

/// Walks floats and histograms together.
#[derive(Clone)]
pub(crate) struct Points<'a> {
    floats: &'a [FPoint],
    histograms: &'a [HPoint],
}

/// A borrowed value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point<'a> {
    Float(f64),
    Histogram(&'a HPoint),
}

impl<'a> Points<'a> {
    /// The time of the next point, without taking it.
    pub(crate) fn peek(&self) -> Option<i64> {
        match (self.floats.first(), self.histograms.first()) {
            (Some(f), Some(h)) => Some(f.t.min(h.t)),
            (Some(f), None) => Some(f.t),
            (None, Some(h)) => Some(h.t),
            (None, None) => None,
        }
    }

    /// The point at `t`, all before it skipped.
    pub(crate) fn at(&mut self, t: i64) -> Option<Point<'a>> {
        while self.peek().is_some_and(|next| next < t) {
            self.next();
        }
        if self.peek() == Some(t) {
            self.next().map(|(_, p)| p)
        } else {
            None
        }
    }
}

impl<'a> Iterator for Points<'a> {
    type Item = (i64, Point<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let histogram_first = match (self.floats.first(), self.histograms.first()) {
            (Some(f), Some(h)) => h.t < f.t,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (None, None) => return None,
        };
        if histogram_first {
            let (first, rest) = self.histograms.split_first()?;
            self.histograms = rest;
            Some((first.t, Point::Histogram(first)))
        } else {
            let (first, rest) = self.floats.split_first()?;
            self.floats = rest;
            Some((first.t, Point::Float(first.v)))
        }
    }
}

/// The labels without metric name, type and unit, which an operation that changes the
/// meaning of the values invalidates. Source: prometheus schema.IsMetadataLabel.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if labels.iter().any(|(n, _)| is_metadata(n)) {
        Labels::from_sorted(labels.iter().filter(|(n, _)| !is_metadata(n)))
    } else {
        labels.clone()
    }
}

pub(crate) fn is_metadata(name: &str) -> bool {
    name == METRIC_NAME || name == "__type__" || name == "__unit__"
}

pub(crate) fn same_labelset() -> EvalError {
    EvalError::Failed("vector cannot contain metrics with the same labelset".to_owned())
}

/// Joins series of equal labels whose points never share an instant.
pub(crate) fn merge_same_labels(
    task: &Task<'_>,
    input: Vec<Series>,
) -> Result<Vec<Series>, EvalError> {
    let mut places: FastMap<Labels, usize> = FastMap::default();
    places.reserve(input.len());
    let mut out: Vec<Series> = Vec::with_capacity(input.len());
    for (i, s) in input.into_iter().enumerate() {
        task.check_now_and_then(i)?;
        match places.get(&s.labels) {
            None => {
                places.insert(s.labels.clone(), out.len());
                out.push(s);
            }
            Some(at) => merge_into(&mut out[*at], s)?,
        }
    }
    Ok(out)
}

fn merge_into(into: &mut Series, from: Series) -> Result<(), EvalError> {
    let mut there = into.points();
    if from.points().any(|(t, _)| there.at(t).is_some()) {
        return Err(same_labelset());
    }
    into.floats.extend(from.floats);
    into.floats.sort_unstable_by_key(|p| p.t);
    into.histograms.extend(from.histograms);
    into.histograms.sort_by_key(|p| p.t);
    Ok(())
}
