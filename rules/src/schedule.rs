//! When a group is due: every group has its own slot within its interval, so that they do not
//! all run at once and a restart keeps each at its place.
//! Source: prometheus/rules/group.go `EvalTimestamp`.

use std::time::Duration;

use model::{Labels, Timestamp};

/// The slot of one group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    /// `interval` is at least a millisecond.
    pub(crate) fn new(file: &str, name: &str, interval: Duration) -> Schedule {
        let interval_ms = model::time::duration_millis(interval).max(1);
        let hash = Labels::from_pairs([("file", file), ("name", name)]).fingerprint();
        // FNV's low bits follow the last characters closely; fold the high ones in.
        let hash = hash ^ (hash >> 32);
        Schedule {
            interval_ms,
            offset_ms: (hash % interval_ms.unsigned_abs()) as i64,
        }
    }

    /// The last slot at or before `now`.
    pub(crate) fn slot(&self, now: Timestamp) -> Timestamp {
        let since = now.millis() - self.offset_ms;
        Timestamp::from_millis(since - since.rem_euclid(self.interval_ms) + self.offset_ms)
    }

    /// The first slot after `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(self.slot(now).millis().saturating_add(self.interval_ms))
    }

    /// Slots between an evaluation at `last` and one at `at`, both not counted.
    pub(crate) fn missed(&self, last: Timestamp, at: Timestamp) -> u64 {
        let slots = (self.slot(at).millis() - self.slot(last).millis()) / self.interval_ms;
        u64::try_from(slots - 1).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_an_interval_apart_and_a_late_evaluation_counts_what_it_skipped() {
        let s = Schedule::new("a.yml", "g", Duration::from_secs(60));
        let now = Timestamp::from_millis(1_700_000_123_456);
        let (slot, next) = (s.slot(now), s.next(now));
        assert!(slot <= now && now < next);
        assert_eq!(next.since(slot), Duration::from_secs(60));
        assert_eq!(s.slot(next), next);
        assert_eq!(s.missed(slot, next), 0);
        assert_eq!(s.missed(slot, next.plus(Duration::from_secs(60))), 1);
        assert_eq!(s.missed(slot, slot), 0);
        // A negative time has slots too.
        assert!(s.slot(Timestamp::from_millis(-1)).millis() <= -1);
    }

    #[test]
    fn groups_spread_over_the_interval() {
        let offsets: std::collections::BTreeSet<i64> = (0..50)
            .map(|i| {
                Schedule::new("a.yml", &format!("group{i}"), Duration::from_secs(60)).offset_ms
                    / 10_000
            })
            .collect();
        assert_eq!(offsets.len(), 6);
    }
}
