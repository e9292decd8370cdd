//! `sum avg count min max group stddev stdvar`: many values, one result.

use super::Grouping;
use super::gather::Gathered;
use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::series::Series;
use crate::promql::ast::Aggregate;

/// Values that groups gather together in one piece of memory, unless one group has more steps: many
/// small groups take no allocation each, and few do not take much.
const SLOTS_PER_PAGE: usize = 1024;

impl Evaluator<'_> {
    pub(super) fn reduce(&self, a: &Aggregate) -> Result<Vec<Series>, EvalError> {
        let stream = self.stream(&a.expr)?;
        let mut grouping = Grouping::new(a);
        let page_groups = (SLOTS_PER_PAGE / self.steps.max(1)).max(1);
        let mut pages: Vec<Gathered> = Vec::new();
        let mut count = 0;
        self.each(stream, &mut |_, s| {
            let group = grouping.of(&s.labels);
            if group == count {
                self.q.charge_bytes(grouping.bytes())?;
                count += 1;
            }
            if group / page_groups == pages.len() {
                let page = Gathered::new(a.op, page_groups, self.steps);
                self.q.charge_bytes(page.bytes())?;
                pages.push(page);
            }
            pages[group / page_groups].add(self, a, group % page_groups, s)
        })?;
        let mut labels = grouping.into_labels().into_iter();
        let mut out = Vec::with_capacity(count);
        for mut page in pages {
            self.q.check_cancel()?;
            for (place, labels) in labels.by_ref().take(page_groups).enumerate() {
                let series = page.finish(self, a, place, labels);
                if !series.is_empty() {
                    self.q.charge(series.samples())?;
                    self.q.charge_bytes(size_of::<Series>())?;
                    out.push(series);
                }
            }
            // Its slots are free; what its labels took, the series have.
            self.q.release_bytes(page.bytes());
        }
        Ok(out)
    }
}
