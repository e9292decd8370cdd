//! `sort`, `sort_desc` and `sort_by_label`: meaningful for instant queries only.

use std::cmp::Ordering;

use crate::eval::evaluator::{Evaluator, Val};
use crate::eval::{EvalError, annotations};
use crate::promql::ast::{Call, Expr};

impl Evaluator<'_> {
    pub(super) fn sort(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let mut series = self.vector(&c.args[0])?;
        if self.steps > 1 {
            self.q.note(annotations::sort_in_range(), expr);
        }
        series.iter_mut().for_each(|s| s.histograms.clear());
        series.retain(|s| !s.is_empty());
        if self.steps == 1 {
            let descending = c.function.name == "sort_desc";
            series = self.q.sorted(series, |x, y| {
                let (x, y) = (x.floats[0].v, y.floats[0].v);
                match (x.is_nan(), y.is_nan()) {
                    (true, true) => Ordering::Equal,
                    (true, false) => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    _ if descending => y.total_cmp(&x),
                    _ => x.total_cmp(&y),
                }
            })?;
        }
        Ok(Val::Vector(series))
    }

    pub(super) fn sort_by_label(&self, expr: &Expr, c: &Call) -> Result<Val, EvalError> {
        let series = self.vector(&c.args[0])?;
        if self.steps > 1 {
            self.q.note(annotations::sort_in_range(), expr);
        }
        let mut names = Vec::new();
        for arg in &c.args[1..] {
            names.push(self.string(arg)?);
        }
        let descending = c.function.name == "sort_by_label_desc";
        let sorted = self.q.sorted(series, |x, y| {
            let mut by_named = names.iter().map(|name| {
                natural(
                    x.labels.get(name).unwrap_or(""),
                    y.labels.get(name).unwrap_or(""),
                )
            });
            let order = by_named
                .find(|order| order.is_ne())
                .unwrap_or_else(|| x.labels.cmp(&y.labels));
            if descending { order.reverse() } else { order }
        })?;
        Ok(Val::Vector(sorted))
    }
}

/// Text order in which runs of digits compare as numbers, and what is between them as a whole.
fn natural(mut x: &str, mut y: &str) -> Ordering {
    while !x.is_empty() && !y.is_empty() {
        let (a, b) = (run(x), run(y));
        let order = if a.starts_with(|c: char| c.is_ascii_digit())
            && b.starts_with(|c: char| c.is_ascii_digit())
        {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            a.cmp(b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (x, y) = (&x[a.len()..], &y[b.len()..]);
    }
    x.len().cmp(&y.len())
}

/// The digits a text begins with, or what comes before the first.
fn run(s: &str) -> &str {
    match digits(s) {
        0 => &s[..s.find(|c: char| c.is_ascii_digit()).unwrap_or(s.len())],
        n => &s[..n],
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
        assert_eq!(natural("a1", "a-1"), Ordering::Less);
        assert_eq!(natural("é2", "é10"), Ordering::Less);
        assert_eq!(natural("", "0"), Ordering::Less);
    }
}
