//! The memory that reads share.
//!
//! Every worker may use a small share without asking. A read that needs more starts again with
//! a large share, of which there are only so many; it waits for one as it would for a worker.
//! So the sum of all shares never exceeds the queries' part of the memory budget, whatever is
//! asked at the same time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted is rounded up to this many bytes.
const UNIT_BYTES: usize = 1 << 10;
/// Workers together may use one of so many parts without asking.
const SMALL_PART: usize = 4;

/// What large reads share.
pub(crate) struct Memory {
    /// A permit per [`UNIT_BYTES`].
    free: Arc<Semaphore>,
    units: usize,
    small: usize,
    reserved: Gauge,
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
        }
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

    /// A share of `bytes`, or all there is when that is less. Those who wait are served in the
    /// order they came.
    pub(crate) async fn share(&self, bytes: usize) -> Option<Share> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let free = Arc::clone(&self.free);
        let permit = free.acquire_many_owned(units).await.ok()?;
        let mut share = Share {
            permit,
            reserved: self.reserved.clone(),
            counted: 0,
        };
        share.count();
        Some(share)
    }
}

/// Memory that was reserved, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    reserved: Gauge,
    counted: i64,
}

impl Share {
    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.permit.split(surplus));
        self.count();
    }

    fn count(&mut self) {
        let now = (self.permit.num_permits() * UNIT_BYTES) as i64;
        self.reserved.inc_by(now - self.counted);
        self.counted = now;
    }

    /// `body`, which holds its share until it has been sent or given up.
    pub(crate) fn held_by(self, body: Body) -> Body {
        Body::new(Held { body, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.reserved.dec_by(self.counted);
    }
}

struct Held {
    body: Body,
    _share: Share,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn shares_never_exceed_what_there_is() {
        let gauge = Gauge::default();
        let memory = Memory::new(64 << 10, 4, gauge.clone());
        assert_eq!(memory.small(), 4 << 10);
        let mut first = memory.share(40 << 10).await.unwrap();
        let wait = Duration::from_millis(5);
        assert!(
            tokio::time::timeout(wait, memory.share(40 << 10))
                .await
                .is_err()
        );
        first.shrink(1);
        assert_eq!(gauge.get(), 1 << 10);
        let second = memory.share(40 << 10).await.unwrap();
        drop((first, second));
        assert_eq!(gauge.get(), 0);
        // More than there is: all of it.
        assert!(memory.share(1 << 30).await.is_some());
    }

    #[tokio::test]
    async fn an_answer_holds_its_share_until_it_has_left() {
        let memory = Memory::new(8 << 10, 1, Gauge::default());
        let share = memory.share(6 << 10).await.unwrap();
        let body = share.held_by(Body::from("answer"));
        assert_eq!(memory.free.available_permits(), 0);
        let sent = axum::body::to_bytes(body, 100).await.unwrap();
        assert_eq!(sent, "answer");
        assert_eq!(memory.free.available_permits(), 6);
    }
}
