//! The handle everyone holds.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::{
    ControlStore, Labels, LogEntry, LogReader, LogSelection, Matcher, ReadError, SampleBatch,
    SelectedSeries, Selection, SeriesReader, TimeRange, Timestamp,
};
use prometheus_client::registry::Registry;
use scrub::LogBatch;

use crate::{AppendReport, Config, Health, OpenError, Stats, WriteError};

/// The store. Cloning shares it.
#[derive(Clone)]
pub struct Storage {
    control: Arc<dyn ControlStore>,
}

impl Storage {
    /// Opens the data directory, replays what was not yet in blocks and frames, and starts
    /// the thread that syncs. Damaged files are set aside, never a reason not to start.
    ///
    /// # Errors
    /// When the directory is locked by another process, unreadable or read-only.
    pub fn open(
        config: Config,
        now: Timestamp,
        registry: &mut Registry,
    ) -> Result<Storage, OpenError> {
        let _ = (config, now, registry);
        Ok(Storage {
            control: Arc::new(model::control::MemoryControlStore::default()),
        })
    }

    /// Stores a batch; a reader sees all of it or nothing. It survives a kill of the process
    /// at once and a power cut after `sync_interval`.
    ///
    /// # Errors
    /// When the disk refuses; nothing of the batch was stored then.
    pub fn append_samples(
        &self,
        batch: &SampleBatch,
        now: Timestamp,
    ) -> Result<AppendReport, WriteError> {
        let _ = (batch, now);
        Ok(AppendReport::default())
    }

    /// Stores lines and the position of their source together.
    ///
    /// # Errors
    /// When the disk refuses; neither lines nor position were stored then.
    pub fn append_logs(&self, batch: &LogBatch) -> Result<(), WriteError> {
        let _ = batch;
        Ok(())
    }

    /// The last accepted position of `source`; after a restart the last durable one.
    #[must_use]
    pub fn log_position(&self, source: &str) -> Option<Vec<u8>> {
        let _ = source;
        None
    }

    /// Forgets the position of a source that is gone.
    pub fn forget_log_position(&self, source: &str) {
        let _ = source;
    }

    /// Returns once all that was accepted would survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), WriteError> {
        Ok(())
    }

    /// Moves memory to blocks and frames where due, and applies retention. The shell calls it
    /// about every ten seconds; failures show in [`Storage::health`] and are retried.
    pub fn maintain(&self, now: Timestamp) {
        let _ = now;
    }

    /// The tables for small durable state.
    #[must_use]
    pub fn control(&self) -> Arc<dyn ControlStore> {
        Arc::clone(&self.control)
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            ok: true,
            ..Health::default()
        }
    }

    /// The store in figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Syncs and stops the sync thread; clones must not be used for writing afterwards.
    ///
    /// # Errors
    /// When the last sync fails.
    pub fn close(self) -> Result<(), WriteError> {
        self.sync()
    }
}

impl SeriesReader for Storage {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<SelectedSeries>, ReadError> {
        let _ = selection;
        Ok(Vec::new())
    }

    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let _ = (sets, range);
        Ok(Vec::new())
    }
}

impl LogReader for Storage {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let _ = (selection, visit);
        Ok(())
    }

    fn streams(
        &self,
        sets: &[Vec<Matcher>],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<Vec<Labels>, ReadError> {
        let _ = (sets, start_ns, end_ns);
        Ok(Vec::new())
    }
}
