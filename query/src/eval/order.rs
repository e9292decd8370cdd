//! Sorting that can be stopped: the standard library's sorts run to their end.

use std::cmp::Ordering;

use super::EvalError;
use super::query::Task;

/// Elements sorted or merged between two looks at whether anybody still waits: a millisecond or
/// two by labels.
const RUN: usize = 1024;

impl Task<'_> {
    /// `items` in order; equal ones keep theirs.
    ///
    /// # Errors
    /// [`EvalError::Canceled`].
    pub(crate) fn sorted<T>(
        &self,
        mut items: Vec<T>,
        order: impl Fn(&T, &T) -> Ordering,
    ) -> Result<Vec<T>, EvalError> {
        for run in items.chunks_mut(RUN) {
            self.check_cancel()?;
            run.sort_by(&order);
        }
        let mut length = RUN;
        while length < items.len() {
            let mut merged = Vec::with_capacity(items.len());
            let mut rest = items.into_iter();
            while rest.len() > 0 {
                let first: Vec<T> = rest.by_ref().take(length).collect();
                let second: Vec<T> = rest.by_ref().take(length).collect();
                self.merge(first, second, &order, &mut merged)?;
            }
            items = merged;
            length *= 2;
        }
        Ok(items)
    }

    fn merge<T>(
        &self,
        first: Vec<T>,
        second: Vec<T>,
        order: &impl Fn(&T, &T) -> Ordering,
        merged: &mut Vec<T>,
    ) -> Result<(), EvalError> {
        // Mostly what comes from the store is in order already.
        let apart = match (first.last(), second.first()) {
            (Some(last), Some(first)) => order(last, first).is_le(),
            _ => true,
        };
        let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
        while !apart && let (Some(a), Some(b)) = (first.peek(), second.peek()) {
            self.check_now_and_then(merged.len())?;
            let next = match order(a, b) {
                Ordering::Greater => second.next(),
                Ordering::Less | Ordering::Equal => first.next(),
            };
            merged.extend(next);
        }
        merged.extend(first);
        merged.extend(second);
        Ok(())
    }

    /// For loops over series: looks at every so many of them whether anybody still waits.
    ///
    /// # Errors
    /// [`EvalError::Canceled`].
    pub(crate) fn check_now_and_then(&self, done: usize) -> Result<(), EvalError> {
        if done.is_multiple_of(RUN) {
            self.check_cancel()
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::eval::query::Query;
    use crate::promqltest::MemoryReader;
    use crate::{Engine, Limits};

    fn sorted(items: Vec<(u32, usize)>, canceled: bool) -> Result<Vec<(u32, usize)>, EvalError> {
        let (engine, reader) = (Engine::default(), MemoryReader::default());
        let limits = Limits {
            cancel: Some(Arc::new(AtomicBool::new(canceled))),
            ..Limits::default()
        };
        let expr = crate::parse("1").unwrap();
        let query = Query::new(&engine, &reader, &limits, (0, 0, 0), &expr);
        query.sorted(items, |a, b| a.0.cmp(&b.0))
    }

    #[test]
    fn runs_are_merged_in_order_and_equal_elements_keep_theirs() {
        for count in [0, 1, RUN - 1, RUN, RUN + 1, 5 * RUN + 7] {
            // A fixed mix of 97 values, each many times.
            let items: Vec<(u32, usize)> = (0..count)
                .map(|i| ((i as u32).wrapping_mul(2_654_435_761) % 97, i))
                .collect();
            let mut expect = items.clone();
            expect.sort_by_key(|item| item.0);
            assert_eq!(sorted(items, false).unwrap(), expect, "{count}");
        }
    }

    #[test]
    fn a_sort_nobody_waits_for_ends() {
        let items = vec![(1, 1); 10];
        assert!(matches!(sorted(items, true), Err(EvalError::Canceled)));
    }
}
