//! The instants of head chunks, once for all series of a scrape.
//!
//! Series that are appended together at the same instants share one list; a chunk is a part
//! of it. A series that leaves the rhythm keeps its own instants from then on, until its
//! next chunk.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A chunk begins only in lists that are shorter, so that lists end and are freed.
const LIST_JOIN_MAX: usize = 360;
/// A list of one series goes on no longer than this: eight bytes each are too many for one.
const ALONE_MAX: usize = 8;

/// Where the instants of a chunk begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) list: u32,
    pub(crate) start: u16,
}

/// All lists.
#[derive(Default)]
pub(crate) struct SharedTimes {
    lists: Vec<List>,
    free: Vec<u32>,
    /// The list that was last extended: what begins at the same instant joins it.
    latest: u32,
    bytes: usize,
}

#[derive(Default)]
struct List {
    times: Vec<i64>,
    /// Chunks that refer to it.
    users: u32,
    /// Changes when the number is used again.
    generation: u32,
}

/// Copies of lists for readers, one per list and reader.
#[derive(Default)]
pub(crate) struct TimesCopies(HashMap<(u32, u32), Arc<[i64]>, RandomState>);

impl SharedTimes {
    /// Begins a chunk at `t`.
    pub(crate) fn join(&mut self, t: i64) -> Place {
        let latest = self.latest;
        if let Some(list) = self.lists.get_mut(latest as usize)
            && list.users > 0
            && list.times.len() < LIST_JOIN_MAX
            && list.times.last() == Some(&t)
        {
            list.users += 1;
            let start = (list.times.len() - 1) as u16;
            return Place {
                list: latest,
                start,
            };
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.lists.push(List::default());
            (self.lists.len() - 1) as u32
        });
        let list = &mut self.lists[number as usize];
        list.users = 1;
        list.times.push(t);
        self.bytes += 8;
        self.latest = number;
        Place {
            list: number,
            start: 0,
        }
    }

    /// Whether the next instant of a chunk with `count` samples at `place` is (now) `t`.
    pub(crate) fn goes_on(&mut self, place: Place, count: usize, t: i64) -> bool {
        let at = usize::from(place.start) + count;
        let Some(list) = self.lists.get_mut(place.list as usize) else {
            return false;
        };
        match list.times.get(at) {
            Some(known) => *known == t,
            None if list.users == 1 && list.times.len() >= ALONE_MAX => false,
            None => {
                if list.times.len() == list.times.capacity() {
                    list.times.reserve_exact(16);
                }
                list.times.push(t);
                self.bytes += 8;
                self.latest = place.list;
                true
            }
        }
    }

    /// The instants of a chunk.
    pub(crate) fn get(&self, place: Place, count: usize) -> &[i64] {
        let start = usize::from(place.start);
        let list = self.lists.get(place.list as usize);
        list.and_then(|l| l.times.get(start..start + count))
            .unwrap_or_default()
    }

    /// A chunk needs its instants no longer.
    pub(crate) fn release(&mut self, place: Place) {
        let Some(list) = self.lists.get_mut(place.list as usize) else {
            return;
        };
        list.users = list.users.saturating_sub(1);
        if list.users == 0 {
            self.bytes -= 8 * list.times.len();
            list.times = Vec::new();
            list.generation = list.generation.wrapping_add(1);
            self.free.push(place.list);
        }
    }

    /// A copy of the whole list at `place` that holds at least `count` instants of the chunk.
    pub(crate) fn copy(&self, copies: &mut TimesCopies, place: Place, count: usize) -> Arc<[i64]> {
        let Some(list) = self.lists.get(place.list as usize) else {
            return Arc::from([]);
        };
        let copy = copies
            .0
            .entry((place.list, list.generation))
            .or_insert_with(|| Arc::from(list.times.as_slice()));
        if copy.len() < usize::from(place.start) + count {
            *copy = Arc::from(list.times.as_slice());
        }
        Arc::clone(copy)
    }

    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        self.bytes == 0 && self.lists.iter().all(|l| l.users == 0)
    }

    /// Estimated memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.lists.len() * size_of::<List>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_scrape_share_a_list_and_it_goes_with_the_last() {
        let mut times = SharedTimes::default();
        let (a, b) = (times.join(10), times.join(10));
        assert_eq!(a, b);
        for (count, t) in [(1, 20), (2, 30)] {
            assert!(times.goes_on(a, count, t) && times.goes_on(b, count, t));
        }
        assert!(!times.goes_on(b, 2, 31));
        let late = times.join(30);
        assert_eq!((late.list, late.start), (a.list, 2));
        assert_eq!(times.get(a, 3), [10, 20, 30]);
        let mut copies = TimesCopies::default();
        let copy = times.copy(&mut copies, a, 3);
        assert!(Arc::ptr_eq(&copy, &times.copy(&mut copies, late, 1)));
        for place in [a, b, late] {
            times.release(place);
        }
        assert_eq!(times.bytes, 0);
        let place = times.join(99);
        assert_eq!(times.copy(&mut copies, place, 1)[0], 99);
    }

    #[test]
    fn a_list_of_one_series_stays_short() {
        let mut times = SharedTimes::default();
        let place = times.join(0);
        let count = (1..100)
            .take_while(|i| times.goes_on(place, *i, *i as i64))
            .count();
        assert_eq!(count, ALONE_MAX - 1);
    }
}
