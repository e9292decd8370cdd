//! `count_values`: how many series have each value, the value becoming a label.

use super::Grouping;
use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::functions::labels::{is_label_name, literal_bytes};
use crate::eval::series::{FastMap, Point, Series};
use crate::promql::ast::{Aggregate, Expr};
use crate::promql::quote::go_quote_bytes;
use model::labels::METRIC_NAME;
use model::{FPoint, Labels, number};

/// What an entry of a map takes, about.
const KNOWN_BYTES: usize = 64;
/// Points counted between two looks at whether anybody still waits.
const POINTS_BETWEEN_CHECKS: usize = 1 << 14;

/// The label must have a name that one may have.
pub(super) fn check_label(param: &Expr) -> Result<(), EvalError> {
    if is_label_name(param) {
        return Ok(());
    }
    Err(EvalError::Failed(format!(
        "invalid label name {}",
        go_quote_bytes(&literal_bytes(param))
    )))
}

impl Evaluator<'_> {
    pub(super) fn count_values(
        &self,
        a: &Aggregate,
        label: &str,
    ) -> Result<Vec<Series>, EvalError> {
        let stream = self.stream(&a.expr)?;
        let mut found = Found::default();
        let mut grouping = Grouping::new(a);
        // Grouping comes last: a label it drops is dropped with the values in it, and `without`
        // always drops the name.
        let is_name = label == METRIC_NAME;
        let dropped = a.without && (is_name || a.grouping.iter().any(|g| g == label));
        // A float's text is made once for each group: group and bits give the result's number.
        let mut known: FastMap<(usize, u64), u32> = FastMap::default();
        self.each(stream, &mut |_, s| {
            let group = grouping.of(&s.labels);
            let base = grouping.labels(group);
            let drop_name = s.drop_name && !is_name;
            for (n, (t, point)) in s.points().enumerate() {
                if n % POINTS_BETWEEN_CHECKS == 0 {
                    self.q.check_cancel()?;
                }
                let key = match point {
                    Point::Float(v) => Some((group, v.to_bits())),
                    Point::Histogram(_) => None,
                };
                let at = match key.and_then(|k| known.get(&k)) {
                    Some(at) => *at,
                    None => {
                        let value = match point {
                            Point::Float(v) => number::format_fixed(v),
                            Point::Histogram(p) => crate::histogram::describe(&p.h),
                        };
                        let mut b = base.to_builder();
                        if !dropped {
                            b.set(label, value);
                        }
                        let (at, new) = found.place(b.build());
                        self.q.charge_bytes(new + KNOWN_BYTES)?;
                        if let Some(key) = key {
                            known.insert(key, at);
                        }
                        at
                    }
                };
                found.labels[at as usize].1 |= drop_name;
                let count = found
                    .counts
                    .entry((at, self.index(t) as u32))
                    .or_insert(0.0);
                if *count == 0.0 {
                    self.q.charge(2)?;
                }
                *count += 1.0;
            }
            Ok(())
        })?;
        Ok(self.counted(found))
    }

    fn counted(&self, found: Found) -> Vec<Series> {
        let mut out: Vec<Series> = found
            .labels
            .into_iter()
            .map(|(labels, drop_name)| Series::new(labels, drop_name))
            .collect();
        let mut counts: Vec<((u32, u32), f64)> = found.counts.into_iter().collect();
        counts.sort_unstable_by_key(|(place, _)| *place);
        for ((at, step), v) in counts {
            let t = self.time(step as usize);
            out[at as usize].floats.push(FPoint { t, v });
        }
        out
    }
}

/// What has been counted.
#[derive(Default)]
struct Found {
    places: FastMap<Labels, u32>,
    labels: Vec<(Labels, bool)>,
    /// By result and step.
    counts: FastMap<(u32, u32), f64>,
}

impl Found {
    /// The number of the result with these labels, and the bytes it takes if it is new.
    fn place(&mut self, labels: Labels) -> (u32, usize) {
        let next = self.labels.len() as u32;
        if let Some(at) = self.places.get(&labels) {
            return (*at, 0);
        }
        let bytes = labels.heap_bytes() + KNOWN_BYTES;
        self.places.insert(labels.clone(), next);
        self.labels.push((labels, false));
        (next, bytes)
    }
}
