//! `sort`, `sort_desc` and `sort_by_label`: meaningful for instant queries only.

use std::cmp::Ordering;

use crate::eval::evaluator::{Evaluator, Val};
use crate::eval::{EvalError, annotations};
use crate::promql::ast::{Call, Expr};

impl Evaluator<'_> {
    pub(super) fn sort(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let mut series = self.vector(&c.args[0])?;
        if self.q.step > 0 {
            self.q.note(annotations::sort_in_range(), expr);
        }
        let mut ignored = false;
        for s in &mut series {
            ignored |= !s.histograms.is_empty();
            s.histograms.clear();
        }
        if ignored {
            let text = annotations::histogram_ignored_in_aggregation("sort");
            self.q.note(text, &c.args[0]);
        }
        series.retain(|s| !s.is_empty());
        if self.steps == 1 {
            let descending = c.function.name == "sort_desc";
            series.sort_by(|x, y| {
                let (x, y) = (x.floats[0].v, y.floats[0].v);
                match (x.is_nan(), y.is_nan()) {
                    (true, true) => Ordering::Equal,
                    (true, false) => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    _ if descending => y.total_cmp(&x),
                    _ => x.total_cmp(&y),
                }
            });
        }
        Ok(Val::Vector(series))
    }

    pub(super) fn sort_by_label(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let mut series = self.vector(&c.args[0])?;
        if self.q.step > 0 {
            self.q.note(annotations::sort_in_range(), expr);
        }
        let mut names = Vec::new();
        for arg in &c.args[1..] {
            names.push(self.string(arg)?);
        }
        let descending = c.function.name == "sort_by_label_desc";
        series.sort_by(|x, y| {
            let by_named = names.iter().map(|name| {
                natural(
                    x.labels.get(name).unwrap_or(""),
                    y.labels.get(name).unwrap_or(""),
                )
            });
            let order = by_named
                .fold(Ordering::Equal, Ordering::then)
                .then_with(|| x.labels.cmp(&y.labels));
            if descending { order.reverse() } else { order }
        });
        Ok(Val::Vector(series))
    }
}

/// Text order in which runs of digits compare as numbers.
fn natural(mut x: &str, mut y: &str) -> Ordering {
    loop {
        let (xd, yd) = (digits(x), digits(y));
        if xd > 0 && yd > 0 {
            let (xn, yn) = (
                x[..xd].trim_start_matches('0'),
                y[..yd].trim_start_matches('0'),
            );
            let order = xn.len().cmp(&yn.len()).then_with(|| xn.cmp(yn));
            if order != Ordering::Equal {
                return order;
            }
            (x, y) = (&x[xd..], &y[yd..]);
            continue;
        }
        match (x.chars().next(), y.chars().next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a != b => return a.cmp(&b),
            (Some(a), Some(b)) => (x, y) = (&x[a.len_utf8()..], &y[b.len_utf8()..]),
        }
    }
}

fn digits(s: &str) -> usize {
    s.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_inside_text_sort_by_value() {
        assert_eq!(natural("cpu2", "cpu10"), Ordering::Less);
        assert_eq!(natural("cpu02", "cpu2"), Ordering::Equal);
        assert_eq!(natural("a", "b1"), Ordering::Less);
    }
}
