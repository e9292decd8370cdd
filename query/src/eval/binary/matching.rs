//! Arithmetic and comparisons between two vectors: who meets whom.

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder};

use super::changes_meaning;
use super::element::{Outcome, Side};
use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::query::Query;
use crate::eval::series::{FastMap, Point, Points, Series, is_metadata, without_metadata};
use crate::promql::ast::{Binary, Cardinality, Expr, Matching};
use crate::promql::quote::go_quote;

/// What a group takes beside its labels: its place in the table, which is half full at worst.
const GROUP_BYTES: usize = 2 * size_of::<(Labels, usize)>();

/// Numbers for the distinct label sets by which two sides match.
#[derive(Default)]
pub(super) struct Groups {
    known: FastMap<Labels, usize>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn of<'l>(
        &mut self,
        q: &Query<'_>,
        series: impl Iterator<Item = &'l Labels>,
        matching: &Matching,
    ) -> Result<Vec<usize>, EvalError> {
        let mut of = Vec::with_capacity(series.size_hint().0);
        for (i, labels) in series.enumerate() {
            q.check_now_and_then(i)?;
            let key = match_labels(labels, matching);
            let next = self.known.len();
            let bytes = key.heap_bytes() + GROUP_BYTES;
            let group = *self.known.entry(key).or_insert(next);
            if group == next {
                q.charge_bytes(bytes)?;
            }
            of.push(group);
        }
        Ok(of)
    }
}

/// The labels that decide a match.
fn match_labels(labels: &Labels, matching: &Matching) -> Labels {
    Labels::from_sorted(labels.iter().filter(|(n, _)| {
        let listed = matching.labels.iter().any(|l| l == n);
        if matching.on {
            listed
        } else {
            *n != METRIC_NAME && !listed
        }
    }))
}

/// Go's `Labels.String()`: everything, the name too, inside braces.
pub(crate) fn braced(labels: &Labels) -> String {
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
        many: &[Series],
        one: &[Series],
        swapped: bool,
    ) -> Result<Vec<Series>, EvalError> {
        let mut groups = Groups::default();
        let many_groups = groups.of(self.q, many.iter().map(|s| &s.labels), matching)?;
        let one_groups = groups.of(self.q, one.iter().map(|s| &s.labels), matching)?;
        // As in Prometheus, with `group_right` too `fill_left` stands in for the many.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut join = Join {
            ev: self,
            expr,
            b,
            matching,
            many,
            one,
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
            // An error only where there is something to match: one empty side ends it.
            let mut duplicate = None;
            for (i, points) in one_points.iter_mut().enumerate() {
                let Some(point) = points.at(t) else { continue };
                match present[one_groups[i]] {
                    Some((first, _)) => {
                        duplicate.get_or_insert((first, i));
                    }
                    None => present[one_groups[i]] = Some((i, point)),
                }
            }
            let refuse = |(first, second): (usize, usize)| {
                let (first, second) = (&one[first].labels, &one[second].labels);
                duplicate_on_one_side(matching, swapped, first, second)
            };
            if let Some(pair) = duplicate.filter(|_| fill_many.is_some() || fill_one.is_some()) {
                return Err(refuse(pair));
            }
            for (i, points) in many_points.iter_mut().enumerate() {
                let Some(point) = points.at(t) else { continue };
                if let Some(pair) = duplicate {
                    return Err(refuse(pair));
                }
                let group = many_groups[i];
                let (partner, other) = match (present[group], fill_one) {
                    (Some(found), _) => found,
                    (None, Some(fill)) => (NONE, Point::Float(fill)),
                    (None, None) => continue,
                };
                let pair = (i, partner);
                // Values that do not go together are no match.
                if !join.emit(t, pair, point, other, swapped) {
                    continue;
                }
                let met_before = std::mem::replace(&mut met[group], true);
                // An error even where a comparison leaves neither: since 3.x the answer does not
                // depend on the values.
                if matching.cardinality == Cardinality::OneToOne && met_before {
                    return Err(EvalError::Failed("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".to_owned()));
                }
                if matching.cardinality != Cardinality::OneToOne && !results.insert(join.slot(pair))
                {
                    return Err(EvalError::Failed(
                        "multiple matches for labels: grouping labels must ensure unique matches"
                            .to_owned(),
                    ));
                }
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
    /// Adds what the operation makes of the two; whether it is defined for them.
    fn emit(
        &mut self,
        t: i64,
        pair: (usize, usize),
        many: Point<'_>,
        one: Point<'_>,
        swapped: bool,
    ) -> bool {
        let (l, r) = if swapped {
            (Side::of(one), Side::of(many))
        } else {
            (Side::of(many), Side::of(one))
        };
        let value = match self.ev.element(self.expr, self.b.op, l, r) {
            Outcome::Nothing => return false,
            outcome => self.ev.kept(self.b, outcome, l),
        };
        if let Some(value) = value {
            let slot = self.slot(pair);
            self.out[slot].push(t, value);
        }
        true
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

    fn result_labels(&self, (many, one): (usize, usize)) -> (Labels, bool) {
        let own = self.many.get(many).map(|s| (&s.labels, s.drop_name));
        let partner = self.one.get(one).map(|s| &s.labels);
        let delayed = self.ev.q.options.delayed_name_removal;
        result_labels(self.b, self.matching, delayed, own, partner)
    }
}

/// The labels of a result, and whether its name goes at the end.
pub(super) fn result_labels(
    b: &Binary,
    matching: &Matching,
    delayed: bool,
    own: Option<(&Labels, bool)>,
    partner: Option<&Labels>,
) -> (Labels, bool) {
    let base = match (own, partner) {
        (Some((labels, _)), _) => labels.clone(),
        // The missing side is made of what it would have matched by.
        (None, Some(partner)) => match_labels(partner, matching),
        (None, None) => Labels::empty(),
    };
    let kept = base.iter().filter(|(n, _)| {
        let listed = || matching.labels.iter().any(|l| l == n);
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        !(changes_meaning(b.op) && is_metadata(n)) && (!one_to_one || listed() == matching.on)
    });
    let mut labels = Labels::from_sorted(kept);
    if !matching.include.is_empty() {
        let mut with: LabelsBuilder = labels.to_builder();
        for name in &matching.include {
            match partner.and_then(|p| p.get(name)) {
                Some(v) => with.set(name.clone(), v),
                None => with.remove(name),
            };
        }
        labels = with.build();
    }
    let mut drop_name = own.is_some_and(|(_, drop)| drop) && !changes_meaning(b.op);
    if b.return_bool {
        drop_name = true;
        if !delayed {
            labels = without_metadata(&labels);
        }
    }
    (labels, drop_name)
}
