//! The memory that reads share.
//!
//! Every worker may use a small share without asking. A read that needs more starts again with
//! what is free of the rest, when that is enough to begin with, and otherwise waits as it would
//! for a worker. What it does not need any more it gives back: its answer holds only what has not
//! been sent. While somebody waits, an answer that is read slowly is cut off. So the sum of all
//! shares never exceeds the queries' part of the memory budget, whatever is asked at the same
//! time, and no client keeps others waiting by not reading.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::peer::Door;
use crate::api::held_body::{Hold, holding};

/// What is counted is rounded up to this many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Workers together may use one of so many parts without asking.
const SMALL_PART: usize = 4;
/// How long an answer may take to be sent when somebody waits for memory: a megabyte at 2 Mbit/s.
const SENDING_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two answers that are cut off: memory is free soon after.
const CUT_PAUSE: Duration = Duration::from_millis(250);

/// What large reads share.
pub(crate) struct Memory {
    /// A permit per [`UNIT_BYTES`].
    free: Arc<Semaphore>,
    units: usize,
    small: usize,
    reserved: Gauge,
    sending: Arc<Mutex<Sending>>,
}

/// Answers that hold a share.
#[derive(Debug, Default)]
struct Sending {
    /// Since when each is sent, the longest first, and how to end it.
    answers: BTreeMap<(Instant, u64), Door>,
    ordinal: u64,
    /// When the last was cut off.
    cut: Option<Instant>,
}

impl Memory {
    /// `bytes` for reads on `workers` threads.
    pub(crate) fn new(bytes: u64, workers: usize, reserved: Gauge) -> Memory {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let all_small = bytes / SMALL_PART;
        let units = ((bytes - all_small) / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Memory {
            free: Arc::new(Semaphore::new(units)),
            units,
            small: all_small / workers.max(1),
            reserved,
            sending: Arc::default(),
        }
    }

    /// Bytes of the largest share there can be.
    pub(crate) fn largest(&self) -> usize {
        self.units * UNIT_BYTES
    }

    /// Bytes a worker may use without asking.
    pub(crate) fn small(&self) -> usize {
        self.small
    }

    /// Whether nobody has a share.
    #[cfg(test)]
    pub(crate) fn is_free(&self) -> bool {
        self.free.available_permits() == self.units
    }

    /// A share of what is free, `least` to `most` bytes, or all there is when that is less. Those
    /// who wait are served in the order they came. `door` is that of the client.
    pub(crate) async fn share(&self, least: usize, most: usize, door: &Door) -> Option<Share> {
        let units = |bytes: usize| bytes.div_ceil(UNIT_BYTES).min(self.units);
        let permits = |units: usize| u32::try_from(units).unwrap_or(u32::MAX);
        let least = units(least);
        let free = Arc::clone(&self.free);
        let mut acquired = pin!(free.acquire_many_owned(permits(least)));
        let mut patience = Duration::ZERO;
        let mut permit = loop {
            if let Ok(permit) = tokio::time::timeout(patience, acquired.as_mut()).await {
                // The semaphore is never closed.
                break permit.ok()?;
            }
            patience = self.cut_off(Instant::now());
        };
        // Nothing is free while others wait; then it stays at the least.
        let more = units(most)
            .saturating_sub(least)
            .min(self.free.available_permits());
        let free = Arc::clone(&self.free);
        if let Ok(more) = free.try_acquire_many_owned(permits(more)) {
            permit.merge(more);
        }
        let mut share = Share {
            permit,
            reserved: self.reserved.clone(),
            counted: 0,
            sending: Arc::clone(&self.sending),
            door: door.clone(),
        };
        share.count();
        Some(share)
    }

    /// Cuts off the answer that has been sent longest, if that is too long; how long to wait
    /// before the next try.
    fn cut_off(&self, now: Instant) -> Duration {
        let mut sending = lock(&self.sending);
        let since = |then: Instant| now.saturating_duration_since(then);
        let pause = sending
            .cut
            .map_or(Duration::ZERO, |cut| CUT_PAUSE.saturating_sub(since(cut)));
        if !pause.is_zero() {
            return pause;
        }
        let Some(longest) = sending.answers.first_entry() else {
            return SENDING_TIME_MAX;
        };
        let age = since(longest.key().0);
        if age < SENDING_TIME_MAX {
            return SENDING_TIME_MAX - age;
        }
        longest.remove().show();
        sending.cut = Some(now);
        tracing::info!(
            seconds = age.as_secs(),
            "an answer that is read slowly is cut off: another query waits for memory"
        );
        CUT_PAUSE
    }
}

fn lock(sending: &Mutex<Sending>) -> MutexGuard<'_, Sending> {
    sending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory that was reserved, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    reserved: Gauge,
    counted: i64,
    sending: Arc<Mutex<Sending>>,
    door: Door,
}

impl Share {
    /// Bytes by now.
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT_BYTES
    }

    /// Gives back all but `bytes`.
    fn shrink(&mut self, bytes: usize) {
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.permit.split(surplus));
        self.count();
    }

    fn count(&mut self) {
        let now = self.bytes() as i64;
        self.reserved.inc_by(now - self.counted);
        self.counted = now;
    }

    /// `body`, which holds its share until it has been sent or given up: no more of it than is
    /// left to send, when that is known.
    pub(crate) fn held_by(self, body: Body) -> Body {
        let mut sending = lock(&self.sending);
        sending.ordinal += 1;
        let key = (Instant::now(), sending.ordinal);
        sending.answers.insert(key, self.door.clone());
        drop(sending);
        holding(body, Sent { share: self, key })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.reserved.dec_by(self.counted);
    }
}

/// What an answer holds while it is sent.
struct Sent {
    share: Share,
    key: (Instant, u64),
}

impl Hold for Sent {
    fn left(&mut self, bytes: u64) {
        self.share
            .shrink(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        lock(&self.share.sending).answers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicBool;

    use std::pin::Pin;

    use axum::body::HttpBody;

    use super::*;
    use crate::api::pieces::{Pieces, Room};

    async fn whole(memory: &Memory, bytes: usize) -> Option<Share> {
        memory.share(bytes, bytes, &Door::default()).await
    }

    /// A long answer, and its bytes.
    fn answer() -> (Body, usize) {
        let room = Room {
            answer: usize::MAX,
            together: usize::MAX,
            cancel: &AtomicBool::new(false),
        };
        let mut pieces = Pieces::default();
        let items = vec!["x".repeat(1000); 300];
        let written = pieces.array(items, room, String::len, |out, item| out.push_str(item));
        written.unwrap();
        let length = pieces.len();
        (pieces.body(), length)
    }

    #[tokio::test(start_paused = true)]
    async fn shares_never_exceed_what_there_is() {
        let gauge = Gauge::default();
        let memory = Memory::new(64 << 10, 4, gauge.clone());
        assert_eq!(memory.small(), 4 << 10);
        let mut first = whole(&memory, 40 << 10).await.unwrap();
        let wait = Duration::from_secs(60);
        let second = tokio::time::timeout(wait, whole(&memory, 40 << 10)).await;
        assert!(second.is_err());
        first.shrink(1);
        assert_eq!(gauge.get(), 1 << 10);
        let second = whole(&memory, 40 << 10).await.unwrap();
        drop((first, second));
        assert_eq!(gauge.get(), 0);
        // More than there is: all of it.
        assert!(whole(&memory, 1 << 30).await.is_some());
    }

    #[tokio::test]
    async fn a_share_is_what_is_free_when_that_is_enough_to_begin() {
        let memory = Memory::new(64 << 10, 4, Gauge::default());
        let first = whole(&memory, 7 << 10).await.unwrap();
        let door = Door::default();
        let second = memory.share(12 << 10, 48 << 10, &door).await.unwrap();
        assert_eq!(second.bytes(), 41 << 10);
        drop(first);
        let third = memory.share(1 << 10, 4 << 10, &door).await.unwrap();
        assert_eq!(third.bytes(), 4 << 10);
    }

    #[tokio::test]
    async fn an_answer_holds_what_has_not_left() {
        let memory = Memory::new(1 << 20, 1, Gauge::default());
        let held = || memory.largest() - memory.free.available_permits() * UNIT_BYTES;
        let share = whole(&memory, 1 << 20).await.unwrap();
        assert_eq!(held(), memory.largest());
        let (body, mut left) = answer();
        let mut body = share.held_by(body);
        loop {
            assert_eq!(held(), left.next_multiple_of(UNIT_BYTES));
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let Some(frame) = frame else {
                break;
            };
            left -= frame.unwrap().data_ref().unwrap().len();
        }
        assert_eq!((held(), left), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_cuts_off_the_answers_sent_longest() {
        let memory = Memory::new(4 << 20, 1, Gauge::default());
        let doors = [Door::default(), Door::default(), Door::default()];
        let mut bodies = Vec::new();
        for door in &doors {
            let share = memory.share(1 << 20, 1 << 20, door).await.unwrap();
            bodies.push(share.held_by(answer().0));
            tokio::time::advance(CUT_PAUSE).await;
        }
        // As long as nobody waits they may take their time.
        tokio::time::advance(Duration::from_secs(50)).await;
        let begun = Instant::now();
        bodies.push(whole(&memory, 1 << 20).await.unwrap().held_by(answer().0));
        assert!(lock(&memory.sending).cut.is_none());
        let cut = async {
            for (door, body) in doors.iter().zip(bodies.drain(..3)) {
                door.shown().await;
                drop(body);
            }
        };
        let (share, ()) = tokio::join!(whole(&memory, memory.largest() - (512 << 10)), cut);
        assert!(share.is_some());
        assert!(begun.elapsed() < SENDING_TIME_MAX);
        // The newest has its time first.
        drop(share);
        assert_eq!(bodies.len(), 1);
        let waiting = whole(&memory, memory.largest());
        assert!(
            tokio::time::timeout(SENDING_TIME_MAX / 2, waiting)
                .await
                .is_err()
        );
        assert_eq!(lock(&memory.sending).answers.len(), 1);
    }
}
