//! Reads on threads of their own: bounded in number, in waiting line and in time, fair between
//! clients, stopped when the client leaves.
//!
//! Rules are not evaluated here: they have a thread of their own, and these threads give way to
//! it, so that no dashboard delays an alert.

mod memory;
mod peer;
mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::telemetry::QueueMetrics;
pub(crate) use memory::{Memory, Share};
pub(crate) use peer::{Client, Door, Peer};
use queue::{Job, Queue};

/// Requests that may wait for a worker. A dashboard has some forty panels; each waiting request
/// holds its parsed expression and a connection, of which there are more.
pub(crate) const WAITING_MAX: usize = 128;
/// Changes under way at a time. Their stores commit one after the other; more would only wait
/// there, each on a thread.
const WRITERS_MAX: usize = 4;
/// An idle worker ends after this.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Stack of a worker: expressions are evaluated recursively, and the parser bounds their depth.
const STACK_BYTES: usize = 4 << 20;
/// How far below others the system puts a worker, in steps of `nice`: with 5, one worker gets a
/// third of the processor time of one rule evaluation when there is too little for both.
const NICENESS: i32 = 5;

/// Bounds for the work of requests.
pub(crate) struct Workshop {
    shared: Arc<Shared>,
    writers: Arc<Semaphore>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    workers_max: usize,
    metrics: QueueMetrics,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// Its time was over before a worker was free.
    #[error("query timed out in query queue")]
    TimeoutWaiting,
    /// It took longer than allowed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// As many wait already as may.
    #[error(
        "too many queries: {workers} run and {WAITING_MAX} wait already; try again soon, or raise query.concurrency"
    )]
    Full {
        /// How many run at a time.
        workers: usize,
    },
    /// It panicked; the panic has been logged.
    #[error("the query failed inside stackwatch; its log says more")]
    Panicked,
}

impl Workshop {
    /// At most `workers` pieces of work at a time, and [`WAITING_MAX`] that wait for their turn.
    pub(crate) fn new(workers: usize) -> Self {
        Workshop::counted(workers, QueueMetrics::default())
    }

    /// As [`Workshop::new`], and `metrics` tells how it goes.
    pub(crate) fn counted(workers: usize, metrics: QueueMetrics) -> Self {
        Workshop {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                arrived: Condvar::new(),
                workers_max: workers.max(1),
                metrics,
            }),
            writers: Arc::new(Semaphore::new(WRITERS_MAX)),
        }
    }

    /// How many wait and run.
    #[cfg(test)]
    pub(crate) fn waiting_and_running(&self) -> (usize, i64) {
        let waiting = self.shared.lock().len();
        (waiting, self.shared.metrics.running.get())
    }

    /// As [`Workshop::run_for`], for a client that is not known.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        timeout: Duration,
        work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        self.run_for(&Client::default(), timeout, work).await
    }

    /// Runs `work` that changes something: it does not wait behind reads, and it is finished
    /// even when its client leaves. [`WRITERS_MAX`] at a time; others wait in the order they came.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        // The semaphore is never closed; without a seat the work would merely go uncounted.
        let seat = Arc::clone(&self.writers).acquire_owned().await.ok();
        let done = tokio::task::spawn_blocking(move || {
            let _seat = seat;
            work()
        });
        done.await.map_err(|_| WorkError::Panicked)
    }

    /// Runs `work` on a worker; waiting clients take turns. The flag it gets is set when nobody
    /// waits any more: after `timeout`, or when this future is dropped because the client has gone.
    pub(crate) async fn run_for<T: Send + 'static>(
        &self,
        client: &Client,
        timeout: Duration,
        work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let visit = Visit {
            gone: Arc::new(AtomicBool::new(false)),
            begun: Arc::new(AtomicBool::new(false)),
            metrics: self.shared.metrics.clone(),
            done: false,
        };
        let (answer, answered) = oneshot::channel();
        let (gone, begun) = (Arc::clone(&visit.gone), Arc::clone(&visit.begun));
        let job = Job {
            gone: Arc::clone(&gone),
            run: Box::new(move || {
                begun.store(true, Ordering::Relaxed);
                // Nobody may be there any more; then there is nobody to tell.
                let _ = answer.send(catch_unwind(AssertUnwindSafe(|| work(gone))));
            }),
        };
        self.shared.submit(client.key(), job)?;
        let mut visit = visit;
        let outcome = match tokio::time::timeout(timeout, answered).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(_) => Err(WorkError::Panicked),
            Err(_) if visit.begun.load(Ordering::Relaxed) => Err(WorkError::Timeout),
            Err(_) => Err(WorkError::TimeoutWaiting),
        };
        visit.done = true;
        if let Err(WorkError::Timeout | WorkError::TimeoutWaiting) = outcome {
            self.shared.metrics.refused("timeout");
        }
        outcome
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.shared.lock().close();
        self.shared.arrived.notify_all();
    }
}

impl Shared {
    fn submit(self: &Arc<Self>, client: &str, job: Job) -> Result<(), WorkError> {
        let mut queue = self.lock();
        if !queue.push(client, job, WAITING_MAX) {
            drop(queue);
            self.metrics.refused("full");
            return Err(WorkError::Full {
                workers: self.workers_max,
            });
        }
        self.metrics.waiting.set(queue.len() as i64);
        if queue.idle < queue.len() && queue.workers < self.workers_max {
            queue.workers += 1;
            drop(queue);
            let shared = Arc::clone(self);
            let started = std::thread::Builder::new()
                .name("query".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || shared.work());
            if let Err(error) = started {
                tracing::warn!(%error, "a query thread could not be started");
                let mut queue = self.lock();
                queue.workers -= 1;
                if queue.workers == 0 {
                    // Nobody would ever take it.
                    queue.clear();
                }
            }
        } else {
            drop(queue);
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn work(&self) {
        give_way();
        let mut queue = self.lock();
        loop {
            let Some(job) = queue.pop() else {
                if queue.closed() {
                    break;
                }
                queue.idle += 1;
                let (woken, waited) = self
                    .arrived
                    .wait_timeout(queue, IDLE_MAX)
                    .unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                queue.idle -= 1;
                if waited.timed_out() && queue.len() == 0 {
                    break;
                }
                continue;
            };
            self.metrics.waiting.set(queue.len() as i64);
            drop(queue);
            self.metrics.running.inc();
            (job.run)();
            self.metrics.running.dec();
            queue = self.lock();
        }
        queue.workers -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the calling thread behind others. When the system refuses, it merely is not behind.
fn give_way() {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// Tells the work, when dropped, that nobody waits for it any more.
struct Visit {
    gone: Arc<AtomicBool>,
    begun: Arc<AtomicBool>,
    metrics: QueueMetrics,
    done: bool,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        if !self.done {
            self.metrics.refused("client_gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workshop(workers: usize) -> Arc<Workshop> {
        Arc::new(Workshop::new(workers))
    }

    /// Occupies the only worker until the sender is dropped.
    async fn occupied() -> (Arc<Workshop>, std::sync::mpsc::Sender<()>) {
        let shop = workshop(1);
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (busy, is_busy) = oneshot::channel();
        let other = Arc::clone(&shop);
        tokio::spawn(async move {
            let work = move |_| {
                let _ = busy.send(());
                let _ = held.recv();
            };
            other
                .run_for(&Client::default(), Duration::from_secs(60), work)
                .await
        });
        is_busy.await.unwrap();
        (shop, hold)
    }

    #[tokio::test]
    async fn work_is_told_when_its_time_is_over() {
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        let outcome = workshop(1)
            .run_for(
                &Client::default(),
                Duration::from_millis(20),
                move |cancel| {
                    while !cancel.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    let _ = told.blocking_send(());
                },
            )
            .await;
        assert_eq!(outcome, Err(WorkError::Timeout));
        assert_eq!(heard.recv().await, Some(()));
    }

    #[tokio::test]
    async fn a_panic_is_an_outcome_and_the_worker_goes_on() {
        let shop = workshop(1);
        let outcome: Result<(), _> = shop
            .run_for(&Client::default(), Duration::from_secs(5), |_| {
                panic!("on purpose")
            })
            .await;
        assert_eq!(outcome, Err(WorkError::Panicked));
        let next = shop
            .run_for(&Client::default(), Duration::from_secs(5), |_| 7)
            .await;
        assert_eq!(next, Ok(7));
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_that_it_was_the_queue() {
        let (shop, hold) = occupied().await;
        let outcome = shop
            .run_for(&Client::default(), Duration::from_millis(10), |_| ())
            .await;
        assert_eq!(outcome, Err(WorkError::TimeoutWaiting));
        drop(hold);
    }

    #[tokio::test]
    async fn the_line_is_bounded_and_those_who_left_do_not_count() {
        let (shop, hold) = occupied().await;
        let wait = |shop: &Arc<Workshop>| {
            let shop = Arc::clone(shop);
            tokio::spawn(async move {
                shop.run_for(&Client::default(), Duration::from_secs(60), |_| ())
                    .await
            })
        };
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| wait(&shop)).collect();
        while shop.shared.lock().len() < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            wait(&shop).await.unwrap(),
            Err(WorkError::Full { workers: 1 })
        );
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        let last = wait(&shop);
        while shop.shared.lock().len() != 1 {
            tokio::task::yield_now().await;
        }
        drop(hold);
        assert_eq!(last.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn clients_take_turns() {
        let (shop, hold) = occupied().await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for (i, name) in ["greedy", "greedy", "greedy", "modest"]
            .into_iter()
            .enumerate()
        {
            let (own, order) = (Arc::clone(&shop), Arc::clone(&order));
            all.push(tokio::spawn(async move {
                let note = move |_| order.lock().unwrap().push(name);
                own.run_for(&Client::named(name), Duration::from_secs(60), note)
                    .await
            }));
            while shop.shared.lock().len() <= i {
                tokio::task::yield_now().await;
            }
        }
        drop(hold);
        for one in all {
            one.await.unwrap().unwrap();
        }
        let order = order.lock().unwrap().clone();
        assert_eq!(order, ["greedy", "modest", "greedy", "greedy"]);
    }
}
