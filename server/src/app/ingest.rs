//! From the collector's channels into the store, one thread per kind of batch.
//!
//! The store is synchronous and may wait for the disk, hence threads. A batch the disk refuses
//! is tried again until it is taken or the process stops; meanwhile the channel fills and the
//! collector waits, which is the policy of both channels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::SampleBatch;
use scrub::LogBatch;
use storage::{AppendReport, Storage, WriteError};
use tokio::sync::mpsc;

use super::supervise::{TaskState, Tasks, panic_text};
use crate::clock::Clock;
use crate::log_metrics::LogMetrics;
use crate::telemetry::{AppMetrics, ResultLabel, TaskLabel};

/// Batches of samples that may wait. One scrape interval brings one per target; more than a
/// moment's worth only means memory.
pub(crate) const SAMPLE_BATCHES_MAX: usize = 16;
/// Batches of lines that may wait; the container engine's files hold the rest.
pub(crate) const LOG_BATCHES_MAX: usize = 16;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A write needs little stack; two of these threads live as long as the process.
const STACK_BYTES: usize = 512 << 10;

/// What the two threads share.
#[derive(Clone)]
pub(crate) struct Ingest {
    pub(crate) storage: Storage,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: AppMetrics,
    pub(crate) clock: Clock,
    /// Counts lines that were stored.
    pub(crate) log_metrics: Arc<LogMetrics>,
    /// Set to stop waiting for a disk that refuses.
    pub(crate) give_up: Arc<AtomicBool>,
}

/// What becomes of a batch after one attempt.
enum Attempt {
    Taken,
    /// The disk refused; the same batch may succeed later.
    Again(WriteError),
    /// It can never be taken.
    Never(WriteError),
}

impl Ingest {
    /// The thread for samples; it ends when every sender is gone and the queue is empty.
    pub(crate) fn samples(
        self,
        queue: mpsc::Receiver<SampleBatch>,
    ) -> std::io::Result<JoinHandle<()>> {
        self.thread("ingest samples", queue, |ingest, batch| {
            let now = (ingest.clock)();
            match ingest.storage.append_samples(batch, now) {
                Ok(report) => {
                    ingest.count(&report);
                    Attempt::Taken
                }
                Err(e) => attempt(e),
            }
        })
    }

    /// The thread for lines.
    pub(crate) fn logs(self, queue: mpsc::Receiver<LogBatch>) -> std::io::Result<JoinHandle<()>> {
        self.thread("ingest logs", queue, |ingest, batch| {
            match ingest.storage.append_logs(batch) {
                Ok(()) => {
                    ingest.log_metrics.count(batch, (ingest.clock)());
                    Attempt::Taken
                }
                Err(e) => attempt(e),
            }
        })
    }

    fn thread<T: Send + 'static>(
        self,
        name: &'static str,
        mut queue: mpsc::Receiver<T>,
        write: impl Fn(&Ingest, &T) -> Attempt + Send + 'static,
    ) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                self.tasks.set(name, TaskState::Running);
                while let Some(batch) = queue.blocking_recv() {
                    self.metrics
                        .batches_waiting
                        .get_or_create(&TaskLabel { task: name })
                        .set(queue.len() as i64);
                    let done =
                        catch_unwind(AssertUnwindSafe(|| self.until_taken(name, &batch, &write)));
                    if let Err(panic) = done {
                        // The batch that did it is gone; the next ones are tried.
                        self.metrics.batches_dropped.inc();
                        self.tasks.panicked(name, &panic_text(&*panic));
                        std::thread::sleep(RETRY_MIN);
                        self.tasks.set(name, TaskState::Running);
                    }
                }
            })
    }

    fn until_taken<T>(
        &self,
        name: &'static str,
        batch: &T,
        write: &impl Fn(&Ingest, &T) -> Attempt,
    ) {
        let mut wait = RETRY_MIN;
        let mut refused = false;
        loop {
            match write(self, batch) {
                Attempt::Taken => {
                    if refused {
                        tracing::info!(task = name, "the store takes data again");
                    }
                    return;
                }
                Attempt::Never(error) => {
                    self.metrics.batches_dropped.inc();
                    tracing::error!(task = name, %error, "a batch was given up");
                    return;
                }
                Attempt::Again(error) => {
                    self.metrics.write_failures.inc();
                    if !refused {
                        tracing::error!(task = name, %error, "the store refuses data; collection waits");
                    }
                    refused = true;
                    if self.give_up.load(Ordering::Relaxed) {
                        self.metrics.batches_dropped.inc();
                        return;
                    }
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn count(&self, report: &AppendReport) {
        for (result, count) in [
            ("appended", report.appended),
            ("repeated", report.repeated),
            ("duplicate", report.duplicate),
            ("out_of_order", report.out_of_order),
            ("too_old", report.too_old),
            ("too_far_future", report.too_far_future),
            ("series_limit", report.series_limit),
            ("target_limit", report.target_limit),
        ] {
            if count > 0 {
                self.metrics
                    .samples
                    .get_or_create(&ResultLabel { result })
                    .inc_by(count);
            }
        }
    }
}

fn attempt(error: WriteError) -> Attempt {
    match error {
        WriteError::BatchTooLarge { .. } => Attempt::Never(error),
        WriteError::DiskFull { .. }
        | WriteError::Io { .. }
        | WriteError::LogsWaiting { .. }
        | WriteError::TooManyStreams { .. }
        | WriteError::TooManyLabels { .. } => Attempt::Again(error),
    }
}
