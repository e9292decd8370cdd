//! The series of one target from one collection to the next: label sets are built once,
//! and what vanishes is noticed.

use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};
use model::Labels;

/// Keys unseen are kept while they are fewer than the seen ones plus this.
const IDLE_KEYS: usize = 1000;

/// Series of one target, found by a key: the text the target wrote, or a source's own spelling.
pub(crate) struct SeriesCache {
    slots: Vec<Slot>,
    /// `None`: relabelling dropped it.
    by_key: HashMap<Box<str>, (Option<u32>, u64)>,
    by_labels: HashMap<Labels, u32>,
    /// The pass under way.
    pass: u64,
    /// The last pass that succeeded; 0 when the last one failed or there was none.
    alive: u64,
    /// Keys that the last successful pass saw.
    usual: usize,
}

struct Slot {
    labels: Labels,
    /// Last pass in which it was seen, and the one before that.
    last: u64,
    previous: u64,
    /// Whether it gets a staleness marker: not when its source says when it was true.
    tracked: bool,
    /// Whether it was a native histogram last.
    histogram: bool,
}

/// A series that came, before its labels are known.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// Whether it gets a staleness marker when it vanishes.
    pub(crate) tracked: bool,
    /// Whether it is a native histogram, whose marker is one too.
    pub(crate) histogram: bool,
}

/// What a key stands for in this pass.
pub(crate) enum Lookup {
    /// A series, seen for the first time in this pass.
    Series {
        /// Its labels.
        labels: Labels,
        /// Whether the last successful pass did not have it.
        added: bool,
    },
    /// A series this pass had already.
    Duplicate(Labels),
    /// A series that relabelling drops.
    Dropped,
}

impl SeriesCache {
    pub(crate) fn new() -> SeriesCache {
        SeriesCache {
            slots: Vec::new(),
            by_key: HashMap::new(),
            by_labels: HashMap::new(),
            pass: 1,
            alive: 0,
            usual: 0,
        }
    }

    /// Finds the series of `key`; `make` gives its labels the first time, `None` to drop it.
    pub(crate) fn find<E>(
        &mut self,
        key: &str,
        seen: Seen,
        make: impl FnOnce() -> Result<Option<Labels>, E>,
    ) -> Result<Lookup, E> {
        let slot = match self.by_key.get_mut(key) {
            Some((slot, last)) => {
                *last = self.pass;
                *slot
            }
            None => {
                let slot = make()?.map(|labels| self.slot_of(labels));
                self.by_key.insert(key.into(), (slot, self.pass));
                slot
            }
        };
        let Some(slot) = slot.and_then(|s| self.slots.get_mut(s as usize)) else {
            return Ok(Lookup::Dropped);
        };
        slot.tracked = seen.tracked;
        if slot.last == self.pass {
            return Ok(Lookup::Duplicate(slot.labels.clone()));
        }
        let added = self.alive == 0 || slot.last != self.alive;
        (slot.previous, slot.last) = (slot.last, self.pass);
        slot.histogram = seen.histogram;
        Ok(Lookup::Series {
            labels: slot.labels.clone(),
            added,
        })
    }

    /// The series of `key` between two passes: it counts as alive, and may come again in the next one.
    pub(crate) fn find_between(&mut self, key: &str, make: impl FnOnce() -> Labels) -> Labels {
        let slot = match self.by_key.get(key) {
            Some((Some(slot), _)) => *slot,
            _ => {
                let slot = self.slot_of(make());
                self.by_key.insert(key.into(), (Some(slot), self.alive));
                slot
            }
        };
        let slot = &mut self.slots[slot as usize];
        slot.last = self.alive;
        slot.histogram = false;
        slot.labels.clone()
    }

    /// Ends a pass that succeeded; `vanished` hears of each series the last one had and this one not,
    /// and whether it was a native histogram.
    pub(crate) fn commit(&mut self, mut vanished: impl FnMut(&Labels, bool)) {
        if self.alive != 0 {
            for slot in &self.slots {
                if slot.last == self.alive && slot.tracked {
                    vanished(&slot.labels, slot.histogram);
                }
            }
        }
        self.alive = self.pass;
        self.pass += 1;
        self.usual = self.evict(self.alive, 0);
    }

    /// Ends a pass that failed: every series of the last successful one vanishes.
    pub(crate) fn fail(&mut self, mut vanished: impl FnMut(&Labels, bool)) {
        if self.alive != 0 {
            for slot in &self.slots {
                let was_alive = slot.last == self.alive
                    || (slot.last == self.pass && slot.previous == self.alive);
                if was_alive && slot.tracked {
                    vanished(&slot.labels, slot.histogram);
                }
            }
        }
        self.alive = 0;
        // What keeps failing must not grow with each try either.
        self.evict(self.pass, self.usual);
        self.pass += 1;
    }

    /// Forgets what keys stood for, not which series are alive: for a source whose
    /// configuration changed.
    pub(crate) fn forget_keys(&mut self) {
        self.by_key.clear();
    }

    fn slot_of(&mut self, labels: Labels) -> u32 {
        let next = self.slots.len() as u32;
        match self.by_labels.entry(labels) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                self.slots.push(Slot {
                    labels: entry.key().clone(),
                    last: 0,
                    previous: 0,
                    tracked: true,
                    histogram: false,
                });
                *entry.insert(next)
            }
        }
    }

    /// Forgets what the pass `live` did not see, once that is most of what is kept and of what
    /// is `usual`. The number of keys seen.
    fn evict(&mut self, live: u64, usual: usize) -> usize {
        let seen = self.by_key.values().filter(|(_, at)| *at == live).count();
        if self.by_key.len() <= 2 * seen.max(usual) + IDLE_KEYS {
            return seen;
        }
        let mut moved = vec![None; self.slots.len()];
        let mut kept = Vec::with_capacity(seen);
        for (slot, to) in std::mem::take(&mut self.slots).into_iter().zip(&mut moved) {
            if slot.last == live {
                *to = Some(kept.len() as u32);
                kept.push(slot);
            }
        }
        self.slots = kept;
        let follow = |slot: u32| moved.get(slot as usize).copied().flatten();
        self.by_key.retain(|_, (slot, at)| {
            *slot = slot.and_then(follow);
            *at == live
        });
        self.by_labels.retain(|_, slot| match follow(*slot) {
            Some(to) => {
                *slot = to;
                true
            }
            None => false,
        });
        self.by_key.shrink_to_fit();
        self.by_labels.shrink_to_fit();
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOAT: Seen = Seen {
        tracked: true,
        histogram: false,
    };

    /// One pass: `keys` are metric names; gives those added and those vanished.
    fn pass(cache: &mut SeriesCache, keys: &[&str], ok: bool) -> (Vec<String>, Vec<String>) {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for key in keys {
            let make = || Ok::<_, ()>(Some(Labels::from_pairs([("__name__", *key)])));
            if let Ok(Lookup::Series {
                labels,
                added: true,
            }) = cache.find(key, FLOAT, make)
            {
                new.push(labels.to_string());
            }
        }
        let note = |l: &Labels, _| gone.push(l.to_string());
        if ok {
            cache.commit(note);
        } else {
            cache.fail(note);
        }
        (new, gone)
    }

    #[test]
    fn what_vanishes_is_told_once() {
        let mut cache = SeriesCache::new();
        assert_eq!(pass(&mut cache, &["a", "b"], true).0, ["a", "b"]);
        assert_eq!(
            pass(&mut cache, &["b", "c"], true),
            (vec!["c".into()], vec!["a".into()])
        );
        assert_eq!(pass(&mut cache, &["b", "c"], true), (vec![], vec![]));
        assert_eq!(pass(&mut cache, &["a", "b", "c"], true).0, ["a"]);
    }

    #[test]
    fn a_failed_pass_ends_every_series_of_the_last_good_one() {
        let mut cache = SeriesCache::new();
        pass(&mut cache, &["a", "b"], true);
        assert_eq!(pass(&mut cache, &["b", "x"], false).1, ["a", "b"]);
        assert_eq!(pass(&mut cache, &[], false).1, Vec::<String>::new());
        assert_eq!(pass(&mut cache, &["b"], true).0, ["b"]);
    }

    #[test]
    fn a_series_between_passes_vanishes_unless_the_next_pass_has_it() {
        let mut cache = SeriesCache::new();
        pass(&mut cache, &["a"], true);
        for key in ["b", "c"] {
            cache.find_between(key, || Labels::from_pairs([("__name__", key)]));
        }
        assert_eq!(
            pass(&mut cache, &["a", "b"], true),
            (vec![], vec!["c".into()])
        );
    }

    #[test]
    fn churn_does_not_grow_the_cache() {
        let mut cache = SeriesCache::new();
        for round in 0..50 {
            let names: Vec<String> = (0..100).map(|i| format!("m{round}_{i}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            pass(&mut cache, &names, true);
        }
        assert!(cache.by_key.len() <= 1300, "{} keys", cache.by_key.len());
        assert_eq!(pass(&mut cache, &["m49_7"], true).0, Vec::<String>::new());
    }

    #[test]
    fn churn_that_fails_does_not_grow_the_cache() {
        let mut cache = SeriesCache::new();
        pass(&mut cache, &["a", "b"], true);
        for round in 0..50 {
            let names: Vec<String> = (0..100).map(|i| format!("m{round}_{i}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            pass(&mut cache, &names, false);
        }
        assert!(cache.by_key.len() <= 1300, "{} keys", cache.by_key.len());
        assert!(cache.slots.len() <= 1300, "{} series", cache.slots.len());
        assert_eq!(pass(&mut cache, &["a"], true).0, ["a"]);
    }

    #[test]
    fn two_spellings_of_one_series_are_duplicates() {
        let mut cache = SeriesCache::new();
        let make = || Ok::<_, ()>(Some(Labels::from_pairs([("__name__", "a")])));
        assert!(matches!(
            cache.find("a", FLOAT, make),
            Ok(Lookup::Series { .. })
        ));
        assert!(matches!(
            cache.find("a{}", FLOAT, make),
            Ok(Lookup::Duplicate(_))
        ));
    }
}
