//! Reads on threads of their own: bounded in number and time, stopped when the client leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Bounds for the work of requests.
pub(crate) struct Workshop {
    seats: Arc<Semaphore>,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkError {
    /// It took longer than allowed, waiting for a seat included.
    Timeout,
    /// It panicked; the panic has been logged.
    Panicked,
}

impl Workshop {
    /// At most `seats` pieces of work at a time; others wait for their turn.
    pub(crate) fn new(seats: usize) -> Self {
        Workshop {
            seats: Arc::new(Semaphore::new(seats.max(1))),
        }
    }

    /// Runs `work` on a blocking thread. The flag it gets is set when nobody waits any more:
    /// after `timeout`, or when this future is dropped because the client has gone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&cancel.0);
        let done = async {
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else {
                return Err(WorkError::Panicked);
            };
            tokio::task::spawn_blocking(move || {
                // The seat is given back when the thread is done, not when the client leaves.
                let _seat = seat;
                work(flag)
            })
            .await
            .map_err(|_| WorkError::Panicked)
        };
        tokio::time::timeout(timeout, done)
            .await
            .unwrap_or(Err(WorkError::Timeout))
    }
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_told_when_its_time_is_over() {
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        let outcome = Workshop::new(1)
            .run(Duration::from_millis(20), move |cancel| {
                while !cancel.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                let _ = told.blocking_send(());
            })
            .await;
        assert_eq!(outcome, Err(WorkError::Timeout));
        assert_eq!(heard.recv().await, Some(()));
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome() {
        let outcome: Result<(), _> = Workshop::new(1)
            .run(Duration::from_secs(5), |_| panic!("on purpose"))
            .await;
        assert_eq!(outcome, Err(WorkError::Panicked));
    }
}
