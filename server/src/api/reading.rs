//! Reading stored series for a client: on a worker, within bounds, stopped when it leaves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{Gap, Missing, ReadBounds, SeriesReader};
use tokio::time::Instant;

use super::pieces::Room;
use super::prometheus::envelope::{ErrorType, Failure};
use super::workshop::{Client, Share};
use super::{Api, Parts};
use crate::clock::rfc3339;

/// An answer that is not part of a share has at most one of so many parts of what its worker
/// may use: it stays until its client has read it.
const SMALL_ANSWER_PART: usize = 4;
/// A large read begins when so large a part of `query.bytes_max` is free.
const LEAST_PART: usize = 4;

/// What one read may use.
pub(crate) struct Reading {
    /// The parts.
    pub(crate) parts: Arc<Parts>,
    /// Memory it may hold, in bytes.
    pub(crate) bytes_max: usize,
    /// Bytes its answer may have.
    pub(crate) answer_max: usize,
    /// Set when nobody waits any more.
    pub(crate) cancel: Arc<AtomicBool>,
    /// What its answer lacks.
    missing: Arc<Missing>,
    bounded: Option<Box<dyn SeriesReader>>,
}

impl Reading {
    fn new(
        parts: Arc<Parts>,
        bytes_max: usize,
        answer_max: usize,
        cancel: Arc<AtomicBool>,
    ) -> Self {
        let mut reading = Reading {
            parts,
            bytes_max,
            answer_max,
            cancel,
            missing: Arc::default(),
            bounded: None,
        };
        reading.bounded = reading.parts.series.within(reading.bounds());
        reading
    }

    /// The bounds of this read.
    pub(crate) fn bounds(&self) -> ReadBounds {
        ReadBounds {
            bytes_max: self.bytes_max,
            setting: "query.bytes_max",
            cancel: Some(Arc::clone(&self.cancel)),
            missing: Some(Arc::clone(&self.missing)),
        }
    }

    /// What its answer may take.
    pub(crate) fn room(&self) -> Room<'_> {
        Room {
            answer: self.answer_max,
            together: self.bytes_max,
            cancel: &self.cancel,
        }
    }

    /// Warnings for its answer: what is damaged of the time it is about.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.missing.gaps().iter().map(warning).collect()
    }

    /// The store, with the bounds of this read.
    pub(crate) fn series(&self) -> &dyn SeriesReader {
        self.bounded.as_deref().unwrap_or(&*self.parts.series)
    }
}

fn warning(Gap { what, range }: &Gap) -> String {
    match range {
        Some(range) => {
            let (start, end) = (rfc3339(range.start), rfc3339(range.end));
            format!("{what}: samples from {start} to {end} are missing")
        }
        None => format!("{what}: samples are missing, of what time is not known"),
    }
}

impl Api {
    /// Runs `work` with what a worker may use; when that is too little, with a share of what is
    /// free up to `query.bytes_max`; when that is too little, with a share of all of it. The
    /// answer keeps what it needs of the share until it is sent.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        client: &Client,
        timeout: Duration,
        work: impl Fn(&Reading) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<(T, Option<Share>), Failure> {
        let parts = self.parts()?;
        let deadline = Instant::now() + timeout;
        let work = Arc::new(work);
        let full = self.config().query_bytes_max();
        let small = self.memory().small().min(full);
        let (own, own_parts) = (Arc::clone(&work), Arc::clone(&parts));
        let first = self
            .workshop()
            .run_for(client, timeout, move |cancel| {
                own(&Reading::new(
                    own_parts,
                    small,
                    small / SMALL_ANSWER_PART,
                    cancel,
                ))
            })
            .await?;
        match first {
            Err(failure) if failure.kind == ErrorType::Memory => {}
            done => return done.map(|value| (value, None)),
        }
        let largest = self.memory().largest().min(full);
        let mut least = full / LEAST_PART;
        loop {
            let share = self.memory().share(least, full, client.door());
            let share = tokio::time::timeout_at(deadline, share).await.map_err(|_| {
                Failure::new(
                    ErrorType::Timeout,
                    "query timed out waiting for memory: other queries hold what memory.budget leaves for them",
                )
            })?;
            let held = share.as_ref().map_or(largest, Share::bytes);
            let bytes_max = if held < largest { held } else { full };
            let left = deadline.saturating_duration_since(Instant::now());
            let (own, own_parts) = (Arc::clone(&work), Arc::clone(&parts));
            let outcome = self
                .workshop()
                .run_for(client, left, move |cancel| {
                    // The share goes with the work, which may go on a little after its client left.
                    let value = own(&Reading::new(own_parts, bytes_max, bytes_max, cancel))?;
                    Ok((value, share))
                })
                .await?;
            match outcome {
                Err(Failure {
                    kind: ErrorType::Memory,
                    ..
                }) if held < largest => least = full,
                done => return done,
            }
        }
    }
}
