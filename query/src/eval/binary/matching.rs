//! Arithmetic and comparisons between two vectors: who meets whom.

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder};

use super::changes_meaning;
use super::element::{Outcome, Side};
use crate::eval::evaluator::Evaluator;
use crate::eval::series::{FastMap, Point, Points, Series, is_metadata, without_metadata};
use crate::eval::{EvalError, PointValue};
use crate::promql::ast::{Binary, Cardinality, Expr, Matching};
use crate::promql::quote::go_quote;

/// Numbers for the distinct label sets by which two sides match.
#[derive(Default)]
pub(super) struct Groups {
    known: FastMap<Labels, usize>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn of(&mut self, series: &[Series], matching: &Matching) -> Vec<usize> {
        series
            .iter()
            .map(|s| {
                let next = self.known.len();
                *self
                    .known
                    .entry(match_labels(&s.labels, matching))
                    .or_insert(next)
            })
            .collect()
    }
}

/// The labels that decide a match.
fn match_labels(labels: &Labels, matching: &Matching) -> Labels {
    let mut b = labels.to_builder();
    if matching.on {
        b.retain(|n, _| matching.labels.iter().any(|l| l == n));
    } else {
        b.retain(|n, _| n != METRIC_NAME && !matching.labels.iter().any(|l| l == n));
    }
    b.build()
}

/// Go's `Labels.String()`: everything, the name too, inside braces.
fn braced(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(n, v)| format!("{n}={}", go_quote(v)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

const NONE: usize = usize::MAX;

struct Join<'a, 'e> {
    ev: &'a Evaluator<'e>,
    expr: &'a Expr,
    b: &'a Binary,
    matching: &'a Matching,
    many: &'a [Series],
    one: &'a [Series],
    /// The result series of each pair (many, one); `NONE` stands for a filled side.
    slots: FastMap<(usize, usize), usize>,
    by_labels: FastMap<(Labels, bool), usize>,
    out: Vec<Series>,
}

impl Evaluator<'_> {
    pub(super) fn matched(
        &self,
        expr: &Expr,
        b: &Binary,
        matching: &Matching,
        left: Vec<Series>,
        right: Vec<Series>,
    ) -> Result<Vec<Series>, EvalError> {
        let mut groups = Groups::default();
        // From here on the "many" side comes first; it is the left one unless `group_right`.
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let many_groups = groups.of(&many, matching);
        let one_groups = groups.of(&one, matching);
        // As in Prometheus, with `group_right` too `fill_left` stands in for the many.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut join = Join {
            ev: self,
            expr,
            b,
            matching,
            many: &many,
            one: &one,
            slots: FastMap::default(),
            by_labels: FastMap::default(),
            out: Vec::new(),
        };
        let mut many_points: Vec<Points<'_>> = many.iter().map(Series::points).collect();
        let mut one_points: Vec<Points<'_>> = one.iter().map(Series::points).collect();
        // What the "one" side has in each group at this step, and whether it was met.
        let mut present: Vec<Option<(usize, Point<'_>)>> = vec![None; groups.len()];
        let mut met = vec![false; groups.len()];
        let mut results: std::collections::HashSet<usize> = std::collections::HashSet::new();
        for t in self.times() {
            self.q.check_cancel()?;
            present.fill(None);
            met.fill(false);
            results.clear();
            for (i, points) in one_points.iter_mut().enumerate() {
                let Some(point) = points.at(t) else { continue };
                if let Some((first, _)) = present[one_groups[i]] {
                    return Err(duplicate_on_one_side(
                        matching,
                        swapped,
                        &one[first].labels,
                        &one[i].labels,
                    ));
                }
                present[one_groups[i]] = Some((i, point));
            }
            for (i, points) in many_points.iter_mut().enumerate() {
                let Some(point) = points.at(t) else { continue };
                let group = many_groups[i];
                let (partner, other) = match (present[group], fill_one) {
                    (Some(found), _) => found,
                    (None, Some(fill)) => (NONE, Point::Float(fill)),
                    (None, None) => continue,
                };
                let pair = (i, partner);
                if matching.cardinality == Cardinality::OneToOne {
                    if met[group] {
                        return Err(EvalError::Failed("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned()));
                    }
                } else if !results.insert(join.slot(pair)) {
                    return Err(EvalError::Failed(
                        "multiple matches for labels: grouping labels must ensure unique matches"
                            .to_owned(),
                    ));
                }
                met[group] = true;
                join.emit(t, pair, point, other, swapped);
            }
            let Some(fill) = fill_many else { continue };
            for group in 0..present.len() {
                if let (Some((i, point)), false) = (present[group], met[group]) {
                    join.emit(t, (NONE, i), Point::Float(fill), point, swapped);
                }
            }
        }
        let out = join.out;
        Ok(out.into_iter().filter(|s| !s.is_empty()).collect())
    }
}

fn duplicate_on_one_side(
    matching: &Matching,
    swapped: bool,
    first: &Labels,
    second: &Labels,
) -> EvalError {
    let side = if swapped { "left" } else { "right" };
    EvalError::Failed(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
        braced(&match_labels(second, matching)),
        braced(first),
        braced(second)
    ))
}

impl Join<'_, '_> {
    fn emit(
        &mut self,
        t: i64,
        pair: (usize, usize),
        many: Point<'_>,
        one: Point<'_>,
        swapped: bool,
    ) {
        fn side(p: Point<'_>) -> Side<'_> {
            match p {
                Point::Float(v) => Side::Float(v),
                Point::Histogram(p) => Side::Histogram(&p.h),
            }
        }
        let (l, r) = if swapped {
            (side(one), side(many))
        } else {
            (side(many), side(one))
        };
        let value = match self.ev.element(self.expr, self.b.op, l, r) {
            Outcome::Nothing => return,
            Outcome::Value(v) => v,
            Outcome::Holds(holds) if self.b.return_bool => {
                PointValue::Float(f64::from(u8::from(holds)))
            }
            Outcome::Holds(true) => l.to_value(),
            Outcome::Holds(false) => return,
        };
        let slot = self.slot(pair);
        self.out[slot].push(t, value);
    }

    fn slot(&mut self, pair: (usize, usize)) -> usize {
        if let Some(slot) = self.slots.get(&pair) {
            return *slot;
        }
        let (labels, drop_name) = self.result_labels(pair);
        let next = self.out.len();
        let slot = *self
            .by_labels
            .entry((labels.clone(), drop_name))
            .or_insert(next);
        if slot == next {
            self.out.push(Series::new(labels, drop_name));
        }
        self.slots.insert(pair, slot);
        slot
    }

    /// The labels of a result, and whether its name goes at the end.
    fn result_labels(&self, (many, one): (usize, usize)) -> (Labels, bool) {
        let op = self.b.op;
        let own = self.many.get(many);
        let partner = self.one.get(one);
        let base = match (own, partner) {
            (Some(s), _) => s.labels.clone(),
            // The missing side is made of what it would have matched by.
            (None, Some(p)) => match_labels(&p.labels, self.matching),
            (None, None) => Labels::empty(),
        };
        let mut b: LabelsBuilder = base.to_builder();
        if changes_meaning(op) {
            b.retain(|n, _| !is_metadata(n));
        }
        if self.matching.cardinality == Cardinality::OneToOne {
            let listed = |n: &str| self.matching.labels.iter().any(|l| l == n);
            b.retain(|n, _| listed(n) == self.matching.on);
        }
        for name in &self.matching.include {
            match partner.and_then(|p| p.labels.get(name)) {
                Some(v) => b.set(name.clone(), v),
                None => b.remove(name),
            };
        }
        let mut labels = b.build();
        let mut drop_name = own.is_some_and(|s| s.drop_name) && !changes_meaning(op);
        if self.b.return_bool {
            drop_name = true;
            if !self.ev.q.options.delayed_name_removal {
                labels = without_metadata(&labels);
            }
        }
        (labels, drop_name)
    }
}
