//! Aggregation operators. Input series come one after the other; what a group has gathered is
//! kept per step, not what it was gathered from.

mod choose;
mod count_values;
mod gather;
mod quantile;
mod reduce;

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::Labels;
use model::labels::METRIC_NAME;

use super::EvalError;
use super::evaluator::Evaluator;
use super::series::Series;
use crate::promql::ast::{Aggregate, AggregateOp, Expr};

impl Evaluator<'_> {
    pub(crate) fn aggregate(&self, expr: &Expr, a: &Aggregate) -> Result<Vec<Series>, EvalError> {
        match a.op {
            AggregateOp::CountValues => {
                let param = a.param.as_ref();
                let label = param.map(|p| self.string(p)).transpose()?;
                let label = label.unwrap_or_default();
                if let Some(p) = param {
                    count_values::check_label(p)?;
                }
                self.count_values(a, &label)
            }
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => {
                let param = self.parameter(a)?;
                self.choose(expr, a, &param)
            }
            AggregateOp::Quantile => {
                let param = self.parameter(a)?;
                self.quantile(a, &param)
            }
            _ => self.reduce(a),
        }
    }

    fn parameter(&self, a: &Aggregate) -> Result<Vec<f64>, EvalError> {
        match &a.param {
            Some(p) => self.scalar(p),
            None => Ok(vec![f64::NAN; self.steps]),
        }
    }

    /// The series of each group, by index; groups in order of first appearance.
    fn groups<'l>(
        &self,
        a: &Aggregate,
        series: impl Iterator<Item = &'l Labels>,
    ) -> Vec<Vec<usize>> {
        let mut grouping = Grouping::new(a);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (i, labels) in series.enumerate() {
            let at = grouping.of(labels);
            if at == groups.len() {
                groups.push(Vec::new());
            }
            groups[at].push(i);
        }
        groups
    }
}

/// The extremes of a parameter over all steps, which stand for all of it in warnings and errors;
/// `None` if any is NaN.
fn least_and_most(param: &[f64]) -> Option<(f64, f64)> {
    let mut extremes = (f64::INFINITY, f64::NEG_INFINITY);
    for v in param {
        if v.is_nan() {
            return None;
        }
        extremes = (extremes.0.min(*v), extremes.1.max(*v));
    }
    Some(extremes)
}

/// Numbers groups as they appear.
struct Grouping<'a> {
    a: &'a Aggregate,
    hasher: RandomState,
    /// Numbers of groups, to be found by their labels.
    places: HashTable<u32>,
    /// What an aggregation leaves of a series' labels, group by group.
    labels: Vec<Labels>,
}

impl<'a> Grouping<'a> {
    fn new(a: &'a Aggregate) -> Self {
        Grouping {
            a,
            hasher: RandomState::default(),
            places: HashTable::new(),
            labels: Vec::new(),
        }
    }

    /// The number of the group of a series; the count of groups before for a new one.
    fn of(&mut self, series: &Labels) -> usize {
        let Grouping { a, hasher, .. } = self;
        let kept = || series.iter().filter(|(n, _)| keeps(a, n));
        let hash = hash_of(hasher, kept());
        let is_it = |group: &u32| self.labels[*group as usize].iter().eq(kept());
        if let Some(group) = self.places.find(hash, is_it) {
            return *group as usize;
        }
        let next = self.labels.len();
        self.labels.push(Labels::from_sorted(kept()));
        // A query has bytes for some ten million groups at most.
        self.places.insert_unique(hash, next as u32, |group| {
            hash_of(hasher, self.labels[*group as usize].iter())
        });
        next
    }

    /// Bytes that the newest group takes here.
    fn bytes(&self) -> usize {
        // Lists and tables are up to half empty, and a table has a byte more for each place.
        let place = 2 * (size_of::<u32>() + 1) + 2 * size_of::<Labels>();
        self.labels.last().map_or(0, |l| place + l.heap_bytes())
    }

    /// The labels of a group.
    fn labels(&self, group: usize) -> Labels {
        self.labels.get(group).cloned().unwrap_or_default()
    }

    /// The labels of all groups, in order.
    fn into_labels(self) -> Vec<Labels> {
        self.labels
    }
}

fn hash_of<'l>(hasher: &RandomState, labels: impl Iterator<Item = (&'l str, &'l str)>) -> u64 {
    let mut state = hasher.build_hasher();
    labels.for_each(|label| label.hash(&mut state));
    state.finish()
}

fn keeps(a: &Aggregate, name: &str) -> bool {
    let listed = || a.grouping.iter().any(|g| g == name);
    if a.without {
        name != METRIC_NAME && !listed()
    } else {
        listed()
    }
}
