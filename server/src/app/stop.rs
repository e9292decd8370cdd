//! Stopping, against the data's order, within a deadline.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{App, RunError};
use crate::rules_loop::Command;

/// After this the process ends whatever is unfinished; what was accepted is in the log on disk.
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests in progress get this long.
const REQUESTS_GRACE: Duration = Duration::from_secs(2);
/// Batches in the queues get until this long before the deadline.
const SYNC_RESERVE: Duration = Duration::from_secs(3);

impl App {
    /// Stops everything and syncs the store.
    ///
    /// # Errors
    /// When the deadline passes or the last sync fails.
    pub async fn stop(self) -> Result<(), RunError> {
        let begun = Instant::now();
        let deadline = begun + DEADLINE;
        tracing::info!("stopping");

        // Nobody asks any more.
        let _ = self.stop_server.send(());
        let mut server = self.server;
        if timeout_at(begun + REQUESTS_GRACE, &mut server)
            .await
            .is_err()
        {
            server.abort();
        }

        // No rule fires any more, no new data comes in.
        let running = self.running;
        let _ = running.rules_commands.try_send(Command::Stop);
        running.collector.abort();
        for task in &running.others {
            task.abort();
        }
        // Awaiting the aborted collector drops its senders, which ends the ingest threads.
        let _ = running.collector.await;
        let rules = join(running.rules_thread);
        let ingest = join_all(running.ingest_threads);
        let drained = async {
            rules.await;
            ingest.await;
        };
        tokio::pin!(drained);
        if timeout_at(deadline - SYNC_RESERVE, &mut drained)
            .await
            .is_err()
        {
            running.give_up.store(true, Ordering::Relaxed);
            tracing::warn!("some batches were not stored in time");
        }

        // Pages that wait are in the outbox on disk.
        running.alerting.abort();

        let storage = running.storage;
        let closed = tokio::task::spawn_blocking(move || storage.close());
        match timeout_at(deadline, closed).await {
            Ok(Ok(Ok(()))) => {
                tracing::info!(took = ?begun.elapsed(), "stopped");
                Ok(())
            }
            Ok(Ok(Err(e))) => Err(RunError::Stop(format!("the last sync failed: {e}"))),
            Ok(Err(_)) => Err(RunError::Stop(
                "the store failed inside stackwatch".to_owned(),
            )),
            Err(_) => Err(RunError::Stop(format!(
                "the store did not finish within {} s",
                DEADLINE.as_secs()
            ))),
        }
    }
}

async fn join(thread: std::thread::JoinHandle<()>) {
    // A panic of the thread has been logged by itself.
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}

async fn join_all(threads: Vec<std::thread::JoinHandle<()>>) {
    for thread in threads {
        join(thread).await;
    }
}
