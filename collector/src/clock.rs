//! When to collect: the only place in this crate that reads the wall clock.

use std::hash::{BuildHasher, Hash};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Timestamp;

/// A wake-up this late still counts as on time: equal distances between samples compress
/// better, at the price of a sample that is younger than it says by as much.
const TOLERANCE_MS: i64 = 2;

/// Now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

/// The ticks of one target: every `interval`, at an offset of its own, so that targets spread.
/// The same target has the same offset after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
}

impl Schedule {
    pub(crate) fn new(interval: Duration, target: &impl Hash) -> Schedule {
        let interval_ms = model::time::duration_millis(interval).max(1);
        let hash = foldhash::quality::FixedState::default().hash_one(target);
        Schedule {
            interval_ms,
            offset_ms: (hash % interval_ms.unsigned_abs()) as i64,
        }
    }

    /// The first tick after `now`.
    pub(crate) fn next(&self, now: Timestamp) -> Timestamp {
        let ticks = (now.millis() - self.offset_ms).div_euclid(self.interval_ms) + 1;
        Timestamp::from_millis(ticks * self.interval_ms + self.offset_ms)
    }

    /// The tick after `tick`, which has just been served. Woken a little early, that is not
    /// `tick` again; with the clock set back, it is the next one by the new time.
    pub(crate) fn following(&self, tick: Timestamp, now: Timestamp) -> Timestamp {
        let next = self.next(now);
        if next == tick {
            return tick.plus(Duration::from_millis(self.interval_ms as u64));
        }
        next
    }

    /// How many ticks lie after `last` and before `next`.
    pub(crate) fn between(&self, last: Timestamp, next: Timestamp) -> u64 {
        let ticks = (next.millis() - last.millis()) / self.interval_ms - 1;
        ticks.max(0) as u64
    }
}

/// Sleeps until `tick` and gives the time to stamp on what is collected then.
pub(crate) async fn sleep_until(tick: Timestamp) -> Timestamp {
    tokio::time::sleep(tick.since(now())).await;
    stamp(tick, now())
}

fn stamp(tick: Timestamp, now: Timestamp) -> Timestamp {
    if (now.millis() - tick.millis()).abs() <= TOLERANCE_MS {
        tick
    } else {
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_distance_and_their_offset() {
        let schedule = Schedule::new(Duration::from_secs(15), &"node");
        let first = schedule.next(Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(schedule.next(first).millis() - first.millis(), 15_000);
        assert_eq!(
            schedule.next(first.plus(Duration::from_millis(1))),
            schedule.next(first)
        );
        assert_eq!(
            schedule.between(first, first.plus(Duration::from_secs(45))),
            2
        );
    }

    #[test]
    fn no_tick_is_served_twice_and_none_waits_for_a_clock_that_was_set_back() {
        let schedule = Schedule::new(Duration::from_secs(15), &"node");
        let tick = schedule.next(Timestamp::from_millis(1_700_000_000_000));
        let (ms, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        let after = tick.plus(Duration::from_secs(15));
        assert_eq!(schedule.following(tick, tick.minus(ms)), after);
        assert_eq!(schedule.following(tick, tick.plus(ms)), after);
        let back = schedule.following(tick, tick.minus(hour));
        assert_eq!(back, after.minus(hour));
    }

    #[test]
    fn a_wake_up_nearly_on_time_is_on_time() {
        let t = Timestamp::from_millis;
        assert_eq!(stamp(t(1000), t(1002)), t(1000));
        assert_eq!(stamp(t(1000), t(1003)), t(1003));
    }
}
