//! `and`, `or`, `unless`.

use super::matching::Groups;
use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::series::{Series, merge_same_labels};
use crate::promql::ast::{BinaryOp, Matching};

impl Evaluator<'_> {
    pub(super) fn set_operation(
        &self,
        op: BinaryOp,
        matching: &Matching,
        mut left: Vec<Series>,
        mut right: Vec<Series>,
    ) -> Result<Vec<Series>, EvalError> {
        let mut groups = Groups::default();
        let left_groups = groups.of(self.q, left.iter().map(|s| &s.labels), matching)?;
        let right_groups = groups.of(self.q, right.iter().map(|s| &s.labels), matching)?;
        // For each group, whether the deciding side has a point at each step.
        let (deciding, deciding_groups) = if op == BinaryOp::Or {
            (&left, &left_groups)
        } else {
            (&right, &right_groups)
        };
        let mut present: Vec<Vec<bool>> = vec![Vec::new(); groups.len()];
        for (s, group) in deciding.iter().zip(deciding_groups) {
            self.q.check_cancel()?;
            let steps = &mut present[*group];
            if steps.is_empty() {
                self.q.charge_bytes(self.steps)?;
            }
            steps.resize(self.steps, false);
            for (t, _) in s.points() {
                steps[self.index(t)] = true;
            }
        }
        let keep_present = op == BinaryOp::And;
        let (filtered, filtered_groups) = if op == BinaryOp::Or {
            (&mut right, &right_groups)
        } else {
            (&mut left, &left_groups)
        };
        for (s, group) in filtered.iter_mut().zip(filtered_groups) {
            self.q.check_cancel()?;
            let steps = &present[*group];
            let keep = |t: i64| steps.get(self.index(t)).copied().unwrap_or(false) == keep_present;
            s.floats.retain(|p| keep(p.t));
            s.histograms.retain(|p| keep(p.t));
        }
        if op == BinaryOp::Or {
            left.append(&mut right);
        }
        left.retain(|s| !s.is_empty());
        if op == BinaryOp::Or && !self.q.options.delayed_name_removal {
            return merge_same_labels(self.q, left);
        }
        Ok(left)
    }
}
