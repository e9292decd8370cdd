//! The loop that every target runs: wait for the tick, collect, hand on.

use std::time::Duration;

use model::{SampleBatch, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::clock::{self, Schedule};
use crate::target::Target;

/// Something that can be collected from.
pub(crate) trait Source: Send {
    /// Collects once; the samples are true at `at`. Ends within the target's timeout.
    fn collect(
        &mut self,
        target: &mut Target,
        at: Timestamp,
    ) -> impl Future<Output = SampleBatch> + Send;
}

/// Collects at every tick until `stop`, and gives the target back for whoever goes on with it.
pub(crate) async fn run(
    mut source: impl Source,
    mut target: Target,
    interval: Duration,
    samples: mpsc::Sender<SampleBatch>,
    mut stop: oneshot::Receiver<()>,
) -> Target {
    let schedule = Schedule::new(interval, &(&target.url, target.labels.fingerprint()));
    let mut tick = schedule.next(clock::now());
    loop {
        let at = tokio::select! {
            at = clock::sleep_until(tick) => at,
            _ = &mut stop => return target,
        };
        // A stop in the middle waits for the answer: at most the timeout, usually milliseconds.
        let batch = source.collect(&mut target, at).await;
        tokio::select! {
            sent = samples.send(batch) => if sent.is_err() {
                return target;
            },
            _ = &mut stop => return target,
        }
        let next = schedule.following(tick, clock::now());
        let missed = schedule.between(tick, next);
        if missed > 0 {
            target.status.telemetry().missed_ticks.inc_by(missed);
        }
        tick = next;
    }
}
