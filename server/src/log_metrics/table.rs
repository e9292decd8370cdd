//! Sums by the values of a few labels, of bounded number.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use model::Timestamp;

/// Value of every label of what has no place of its own.
pub(super) const OTHER: &str = "other";
/// Longer values are cut, in bytes.
const VALUE_BYTES_MAX: usize = 256;
/// What nothing was added to for so long makes room when there is none.
const IDLE: Duration = Duration::from_secs(3600);

/// Sums by label values. The series of a sum that made room ends, and begins at 0 if it comes again.
pub(super) struct Table<V> {
    slots: Vec<Slot<V>>,
    by_key: HashMap<Box<str>, usize>,
    /// Everything that found no room.
    other: Option<Slot<V>>,
    max: usize,
    /// Nothing is idle before then.
    full_until: Timestamp,
    key: String,
}

struct Slot<V> {
    key: Box<str>,
    values: Box<[Box<str>]>,
    touched: Timestamp,
    sum: V,
}

impl<V> Table<V> {
    pub(super) fn new(max: usize) -> Self {
        Table {
            slots: Vec::new(),
            by_key: HashMap::new(),
            other: None,
            max,
            full_until: Timestamp::from_millis(0),
            key: String::new(),
        }
    }

    /// Sets how many sums there may be. Those that are there stay.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Whether something found no room.
    pub(super) fn is_full(&self) -> bool {
        self.other.is_some()
    }

    /// The sum of these values, made when it is new.
    pub(super) fn find<'a>(
        &mut self,
        values: impl Iterator<Item = &'a str> + Clone,
        now: Timestamp,
        make: impl FnOnce() -> V,
    ) -> &mut V {
        self.key.clear();
        for value in values.clone().map(cut) {
            // With its length before it no two lists share a key. Writing to a text cannot fail.
            let _ = write!(self.key, "{}:{value}", value.len());
        }
        let place = match self.by_key.get(self.key.as_str()) {
            Some(i) => Some(*i),
            None => self.room(now),
        };
        let Some(i) = place else {
            let other = self.other.get_or_insert_with(|| Slot {
                key: Box::default(),
                values: values.map(|_| OTHER.into()).collect(),
                touched: now,
                sum: make(),
            });
            return &mut other.sum;
        };
        if self.slots.get(i).is_none_or(|slot| *slot.key != *self.key) {
            let slot = Slot {
                key: self.key.as_str().into(),
                values: values.map(|v| cut(v).into()).collect(),
                touched: now,
                sum: make(),
            };
            self.by_key.insert(slot.key.clone(), i);
            match self.slots.get_mut(i) {
                Some(idle) => {
                    self.by_key.remove(&idle.key);
                    *idle = slot;
                }
                None => self.slots.push(slot),
            }
        }
        let slot = &mut self.slots[i];
        slot.touched = now;
        &mut slot.sum
    }

    /// Where a new sum may go.
    fn room(&mut self, now: Timestamp) -> Option<usize> {
        if self.slots.len() < self.max {
            return Some(self.slots.len());
        }
        if now < self.full_until {
            return None;
        }
        let (i, idle) = self
            .slots
            .iter()
            .enumerate()
            .min_by_key(|(_, s)| s.touched)?;
        let idle_at = idle.touched.plus(IDLE);
        if idle_at <= now {
            return Some(i);
        }
        self.full_until = idle_at;
        None
    }

    /// Every sum with its values, that of all others last.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&[Box<str>], &mut V)> {
        let all = self.slots.iter_mut().chain(&mut self.other);
        all.map(|slot| (&*slot.values, &mut slot.sum))
    }
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(VALUE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(m: i64) -> Timestamp {
        Timestamp::from_millis(m * 60_000)
    }

    fn add(table: &mut Table<u64>, values: &[&str], at: i64) {
        *table.find(values.iter().copied(), minutes(at), || 0) += 1;
    }

    fn shown(table: &mut Table<u64>) -> String {
        let all = table.iter_mut();
        let all = all.map(|(values, sum)| format!("{}={sum}", values.join("/")));
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sums_beyond_the_bound_are_one() {
        let mut table = Table::new(2);
        add(&mut table, &["a", "b"], 0);
        add(&mut table, &["ab", ""], 0);
        add(&mut table, &["a", "b"], 1);
        assert!(!table.is_full());
        add(&mut table, &["c", "d"], 1);
        add(&mut table, &["e", "f"], 1);
        assert!(table.is_full());
        assert_eq!(shown(&mut table), "a/b=2 ab/=1 other/other=2");
    }

    #[test]
    fn what_is_idle_for_an_hour_makes_room() {
        let mut table = Table::new(2);
        add(&mut table, &["a"], 0);
        add(&mut table, &["b"], 10);
        add(&mut table, &["c"], 59);
        add(&mut table, &["c"], 60);
        add(&mut table, &["d"], 61);
        assert_eq!(shown(&mut table), "c=1 b=1 other=2");
        add(&mut table, &["a"], 70);
        assert_eq!(shown(&mut table), "c=1 a=1 other=2");
    }

    #[test]
    fn values_are_cut() {
        let mut table = Table::new(2);
        add(&mut table, &["é".repeat(1000).as_str()], 0);
        add(&mut table, &["é".repeat(2000).as_str()], 0);
        assert_eq!(shown(&mut table).len(), VALUE_BYTES_MAX + 2);
    }
}
