//! What was found and not passed on yet.

use super::Hit;

/// Most lines have fewer finds than this, and need no memory of their own.
const FEW: usize = 12;

/// Hits in the order in which they were noted.
pub(super) struct Hits {
    few: [Hit; FEW],
    count: usize,
    /// All of them, once there are more than a few.
    more: Vec<Hit>,
}

impl Hits {
    pub(super) fn new() -> Self {
        Hits {
            few: [Hit { end: 0, trigger: 0 }; FEW],
            count: 0,
            more: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, hit: Hit) {
        if let Some(place) = self.few.get_mut(self.count) {
            *place = hit;
            self.count += 1;
            return;
        }
        if self.more.is_empty() {
            self.more.extend(self.few);
        }
        self.more.push(hit);
    }

    /// Hands the first ones by their ends to `hit`, as long as `is_known`, and keeps the rest.
    pub(super) fn pass_on(&mut self, is_known: impl Fn(&Hit) -> bool, mut hit: impl FnMut(Hit)) {
        let all = match self.more.as_mut_slice() {
            [] => &mut self.few[..self.count],
            more => more,
        };
        all.sort_unstable();
        let known = all.partition_point(is_known);
        for known in &all[..known] {
            hit(*known);
        }
        let rest = all.len() - known;
        all.rotate_left(known);
        match self.more.is_empty() {
            true => self.count = rest,
            false => self.more.truncate(rest),
        }
        if self.more.is_empty() && rest == 0 {
            self.count = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_passed_on_in_order_few_or_many() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, 5 * FEW] {
            let mut hits = Hits::new();
            for round in 0..3 {
                for n in (0..count).rev() {
                    let end = round * count + n;
                    hits.push(Hit { end, trigger: 0 });
                }
            }
            let mut ends = Vec::new();
            hits.pass_on(|hit| hit.end < 2 * count, |hit| ends.push(hit.end));
            hits.push(Hit {
                end: 3 * count,
                trigger: 0,
            });
            hits.pass_on(|_| true, |hit| ends.push(hit.end));
            assert_eq!(ends, (0..=3 * count).collect::<Vec<_>>());
            hits.pass_on(|_| true, |_| panic!("passed on twice"));
        }
    }
}
