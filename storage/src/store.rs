//! The handle everyone holds.

mod room;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{
    ControlStore, Labels, LogEntry, LogReader, LogSelection, Matcher, ReadBounds, ReadError,
    SampleBatch, Selected, Selection, SeriesReader, TimeRange, Timestamp,
};
use prometheus_client::registry::Registry;
use scrub::LogBatch;

use crate::analyze::{self, Analysis};
use crate::backup::{self, BackupError, SnapshotReport};
use crate::control::Control;
use crate::disk::{Disk, RealDisk};
use crate::health::Watch;
use crate::import::Import;
use crate::left_out::LeftOut;
use crate::lock::{self, DirLock};
use crate::logs::{LogStore, LogWatcher};
use crate::metrics::{Deleted, MetricStore, Policy};
use crate::retention;
use crate::telemetry::{Refusal, Telemetry};
use crate::{AppendReport, BlockFigures, Config, Health, OpenError, Stats, WriteError};

/// Longest time between two syncs, whatever the configuration says.
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Steps of compaction that finishing deletions may take: 800 GB of blocks.
const CLEAN_STEPS_MAX: usize = 100_000;

/// The store. Cloning shares it; the last clone to go stops the sync thread.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

/// Owns the thread.
struct Shared {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// All but the thread.
struct Inner {
    config: Config,
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    metrics: MetricStore,
    logs: LogStore,
    control: Arc<Control>,
    /// What earlier starts had set aside.
    set_aside_before: Vec<String>,
    disk_bytes: Mutex<u64>,
    shortage: Mutex<room::Shortage>,
    stop: Mutex<bool>,
    stopped: Condvar,
    lock: DirLock,
    /// The data directory was gone when it was last looked for: what is written would be lost.
    displaced: AtomicBool,
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
        let started = Instant::now();
        let lock = lock::acquire(&config.dir)?;
        if backup::is_unfinished(&config.dir) {
            return Err(OpenError::Restoring { dir: config.dir });
        }
        backup::remove_left_overs(&config.dir);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let watch = Arc::new(Watch::new(Telemetry::new(registry)));
        let set_aside_before = LeftOut::set_aside(disk.as_ref(), &config.dir).lines;
        let metrics_dir = config.dir.join("metrics");
        let logs_dir = config.dir.join("logs");
        let failed = |path: PathBuf| {
            move |source| OpenError::Io {
                operation: "open",
                path,
                source,
            }
        };
        let metrics =
            MetricStore::open(Arc::clone(&disk), Arc::clone(&watch), &metrics_dir, &config)
                .map_err(failed(metrics_dir.clone()))?;
        let logs = LogStore::open(
            Arc::clone(&disk),
            Arc::clone(&watch),
            &logs_dir,
            config.log_head_bytes_max,
        )
        .map_err(failed(logs_dir.clone()))?;
        let control = Arc::new(Control::open(&config.dir, Arc::clone(&watch)));
        let interval = config.sync_interval.min(SYNC_INTERVAL_MAX);
        let inner = Arc::new(Inner {
            config,
            disk,
            watch,
            metrics,
            logs,
            control,
            set_aside_before,
            disk_bytes: Mutex::new(0),
            shortage: Mutex::default(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            lock,
            displaced: AtomicBool::new(false),
        });
        inner.make_room(now);
        // Else the rest can wait until everything has started.
        if inner.metrics.catch_up() {
            inner.maintain(now);
        }
        let for_thread = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("storage-sync".to_owned())
            .spawn(move || for_thread.sync_loop(interval))
            .map_err(|source| OpenError::Io {
                operation: "start the sync thread for",
                path: inner.config.dir.clone(),
                source,
            })?;
        let storage = Storage {
            shared: Arc::new(Shared {
                inner,
                thread: Mutex::new(Some(thread)),
            }),
        };
        let stats = storage.stats();
        tracing::info!(
            dir = %storage.shared.inner.config.dir.display(),
            series = stats.series,
            blocks = stats.blocks,
            frames = stats.frames,
            disk_bytes = stats.disk_bytes,
            seconds = started.elapsed().as_secs_f64(),
            "storage opened"
        );
        Ok(storage)
    }

    /// Stores a batch; a reader sees all of it or nothing. It survives a kill of the process
    /// at once and a power cut after `sync_interval`.
    ///
    /// # Errors
    /// When the disk refuses or the data directory is gone; nothing of the batch was stored then.
    pub fn append_samples(
        &self,
        batch: &SampleBatch,
        now: Timestamp,
    ) -> Result<AppendReport, WriteError> {
        let inner = &self.shared.inner;
        if let Err(e) = inner.is_in_place() {
            let samples = batch.samples.len() + batch.histograms.len();
            let telemetry = &inner.watch.telemetry;
            telemetry.refuse(Refusal::Disk, samples as u64);
            return Err(e);
        }
        inner.metrics.append(batch, now)
    }

    /// Stores lines and the position of their source together; durable as samples are.
    ///
    /// # Errors
    /// As [`Storage::append_samples`]; neither lines nor position were stored then.
    pub fn append_logs(&self, batch: &LogBatch) -> Result<(), WriteError> {
        self.shared.inner.is_in_place()?;
        self.shared.inner.logs.append(batch)
    }

    /// Stores lines whose sender may repeat what it got no answer for: those that are in memory
    /// with the same stream, time, text and metadata are passed over. Lines stay in memory until
    /// their stream has 128 KiB of them, up to an hour. Returns what was stored.
    ///
    /// # Errors
    /// As [`Storage::append_logs`].
    pub fn append_logs_once<'b>(
        &self,
        batch: &'b LogBatch,
    ) -> Result<Cow<'b, LogBatch>, WriteError> {
        self.shared.inner.is_in_place()?;
        self.shared.inner.logs.append_once(batch)
    }

    /// Hands every batch of lines that is accepted from now on to `watcher`, until that breaks.
    pub fn watch_logs(&self, watcher: Box<LogWatcher>) {
        self.shared.inner.logs.watch(watcher);
    }

    /// The last accepted position of `source`; after a restart the last durable one.
    #[must_use]
    pub fn log_position(&self, source: &str) -> Option<Vec<u8>> {
        self.shared.inner.logs.position(source)
    }

    /// All sources that have a position.
    #[must_use]
    pub fn log_sources(&self) -> Vec<String> {
        self.shared.inner.logs.sources()
    }

    /// Forgets the position of a source that is gone.
    pub fn forget_log_position(&self, source: &str) {
        self.shared.inner.logs.forget(source);
    }

    /// Returns once all that was accepted would survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), WriteError> {
        self.shared.inner.sync()
    }

    /// Moves memory to blocks and frames where due, and applies retention. The shell calls it
    /// about every ten seconds; failures show in [`Storage::health`] and are retried.
    pub fn maintain(&self, now: Timestamp) {
        self.shared.inner.maintain(now);
    }

    /// Deletes samples within `range` (both ends inclusive) of the series for which all matchers
    /// of one of `sets` hold. Durable and obeyed by readers when it returns; the space is freed
    /// in the background. Samples appended later are not concerned.
    ///
    /// # Errors
    /// When the disk refuses; nothing is deleted then, though the next start may find that the
    /// deletion had reached the disk.
    pub fn delete_series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Deleted, WriteError> {
        self.shared.inner.metrics.delete_series(sets, range)
    }

    /// Finishes all deletions: what was deleted is neither in a block nor in the log when it
    /// gives 0; else so many are still open, and health says why. Backups and snapshots keep
    /// what they have.
    ///
    /// # Errors
    /// When the disk does not take what is in memory; nothing was finished then.
    pub fn clean_tombstones(&self, now: Timestamp) -> Result<usize, WriteError> {
        let inner = &self.shared.inner;
        inner.metrics.flush_all()?;
        inner.maintain(now);
        let policy = inner.make_room(now);
        for _ in 0..CLEAN_STEPS_MAX {
            if !inner.metrics.maintain_blocks(now, &policy) {
                break;
            }
        }
        Ok(inner.metrics.open_deletions())
    }

    /// The tables for small durable state.
    #[must_use]
    pub fn control(&self) -> Arc<dyn ControlStore> {
        Arc::clone(&self.shared.inner.control) as Arc<dyn ControlStore>
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.inner.watch.health()
    }

    /// What has been stored and could not be read since the start, as far as it was asked for:
    /// files that the disk refuses or that are of another format, damaged ones and damaged pieces,
    /// and those that were set aside before; some 20 of each at most. Who copied all there is had
    /// all of it when this is empty afterwards.
    #[must_use]
    pub fn losses(&self) -> Vec<String> {
        let inner = &self.shared.inner;
        let mut losses = inner.watch.losses();
        losses.extend_from_slice(&inner.set_aside_before);
        losses
    }

    /// The store in figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &self.shared.inner;
        let (series, head_bytes, blocks, series_max) = inner.metrics.figures();
        let (log_head_bytes, log_streams, frames) = inner.logs.figures();
        let disk_bytes = inner
            .disk_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Stats {
            series,
            series_max,
            samples: inner.watch.telemetry.samples_appended.get(),
            head_bytes,
            log_head_bytes,
            log_lines: inner.watch.telemetry.log_lines.get(),
            log_streams,
            blocks,
            frames,
            disk_bytes: *disk_bytes,
        }
    }

    /// Makes a consistent copy of the data directory in `target`, which must be empty or absent.
    /// On the same file system most of it is hard links; what is appended meanwhile does not
    /// wait. `now` is written down as the time of the backup.
    ///
    /// # Errors
    /// When `target` holds anything, or the disk refuses; nothing is left behind then.
    pub fn snapshot(&self, target: &Path, now: Timestamp) -> Result<SnapshotReport, BackupError> {
        let inner = &self.shared.inner;
        inner.sync()?;
        let parts = backup::Parts {
            dir: &inner.config.dir,
            freeze: [&|visit| inner.metrics.freeze(visit), &|visit| {
                inner.logs.freeze(visit)
            }],
            control: &|| {
                let copy = inner.control.copy();
                copy.map_err(|e| BackupError::Control(e.0))
            },
        };
        backup::snapshot(&parts, target, now)
    }

    /// What is in memory: pieces of series, and first and last instant in milliseconds, late
    /// samples aside. Copies what it counts, within `bounds`.
    ///
    /// # Errors
    /// At `bounds`.
    pub fn head_figures(
        &self,
        bounds: &ReadBounds,
    ) -> Result<(usize, Option<(i64, i64)>), ReadError> {
        self.shared.inner.metrics.head_figures(bounds)
    }

    /// The blocks of samples, oldest first.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockFigures> {
        self.shared.inner.metrics.block_figures()
    }

    /// Which metrics and labels take how much within `range`; lists of at most `limit`. Reads the
    /// blocks of the range in full; `bounds` end it, whose bytes are those copied out of memory.
    ///
    /// # Errors
    /// When the disk cannot be read, or at `bounds`.
    pub fn analyze(
        &self,
        range: TimeRange,
        limit: usize,
        bounds: &ReadBounds,
    ) -> Result<Analysis, ReadError> {
        analyze::analyze(&self.shared.inner.metrics, range, limit, bounds)
    }

    /// Begins to take in samples of the past. Everything in memory goes to blocks first.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn import(&self, now: Timestamp) -> Result<Import, WriteError> {
        Import::new(self.clone(), now)
    }

    pub(crate) fn metrics(&self) -> &MetricStore {
        &self.shared.inner.metrics
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.inner.config.dir
    }

    /// Syncs and stops the sync thread; clones must not be used for writing afterwards.
    ///
    /// # Errors
    /// When the last sync fails.
    pub fn close(self) -> Result<(), WriteError> {
        self.shared.stop();
        self.shared.inner.control.back_up();
        self.shared.inner.sync()
    }
}

impl Shared {
    fn stop(&self) {
        let inner = &self.inner;
        *inner.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        inner.stopped.notify_all();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the sync thread had panicked");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    fn sync_loop(&self, interval: Duration) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stop {
            (stop, _) = self
                .stopped
                .wait_timeout(stop, interval)
                .unwrap_or_else(PoisonError::into_inner);
            if *stop {
                return;
            }
            drop(stop);
            // Failures are in health and metrics, and are retried the next time.
            let _ = self.sync();
            stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn sync(&self) -> Result<(), WriteError> {
        let started = Instant::now();
        let parts = self.metrics.unsynced();
        let mut result = Ok(());
        for part in &parts {
            let failed = part.sync().is_err();
            let done = self.metrics.sync_done(part, failed);
            result = result.and(done);
        }
        result = result.and(self.metrics.is_trusted());
        result = result.and(self.logs.sync());
        if !parts.is_empty() {
            let seconds = started.elapsed().as_secs_f64();
            self.watch.telemetry.fsync_seconds.observe(seconds);
        }
        result
    }

    fn maintain(&self, now: Timestamp) {
        if self.check_place() {
            self.metrics.drop_vanished();
            self.logs.drop_vanished();
        }
        // Then make room: a full disk lets nothing else succeed.
        let policy = self.make_room(now);
        self.metrics.maintain(now);
        self.metrics.maintain_blocks(now, &policy);
        self.logs.maintain(now);
        self.control.maintain();
        self.watch.settle();
    }

    /// Removes what is too old or too much; gives what is to be kept.
    fn make_room(&self, now: Timestamp) -> Policy {
        let mut pieces = self.metrics.pieces();
        pieces.extend(self.logs.pieces());
        let policy = self.policy(retention::horizon(&pieces));
        self.retain(now, &policy);
        policy
    }

    fn policy(&self, horizon: Timestamp) -> Policy {
        Policy {
            retention: self.config.retention_metrics,
            rules: self.config.retention_rules.clone(),
            rollups: self.config.rollups.clone(),
            late: self.config.out_of_order_window,
            horizon,
        }
    }

    /// Whether the data directory is where it was.
    fn check_place(&self) -> bool {
        const TOPIC: &str = "data directory";
        let is_in_place = self.lock.is_in_place();
        self.displaced.store(!is_in_place, Ordering::Release);
        if is_in_place {
            self.watch.solved(TOPIC);
        } else {
            let dir = self.config.dir.display();
            let text =
                format!("{dir} was removed or replaced while running; nothing is stored: restart");
            self.watch.failed(TOPIC, &text);
        }
        is_in_place
    }

    /// Whether the data directory was where it belongs when it was last looked for.
    fn is_in_place(&self) -> Result<(), WriteError> {
        match self.displaced.load(Ordering::Acquire) {
            false => Ok(()),
            true => {
                let e = io::Error::other("it was removed or replaced while running: restart");
                Err(WriteError::from_io("write", &self.config.dir, e))
            }
        }
    }
}

impl SeriesReader for Storage {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        self.shared.inner.metrics.select(selection)
    }

    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        self.shared.inner.metrics.series(sets, range)
    }

    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let bounds = ReadBounds::default();
        self.shared.inner.metrics.label_names(sets, range, &bounds)
    }

    fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        self.shared.inner.metrics.label_values(name, sets, range)
    }

    fn within(&self, bounds: ReadBounds) -> Option<Box<dyn SeriesReader>> {
        let inner = Arc::clone(&self.shared.inner);
        Some(Box::new(Bounded { inner, bounds }))
    }
}

/// The store, for a reader that must not take too much of it.
struct Bounded {
    inner: Arc<Inner>,
    bounds: ReadBounds,
}

impl SeriesReader for Bounded {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        self.inner.metrics.select_within(selection, &self.bounds)
    }

    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        self.inner.metrics.series_within(sets, range, &self.bounds)
    }

    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        self.inner.metrics.label_names(sets, range, &self.bounds)
    }

    fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let metrics = &self.inner.metrics;
        metrics.label_values_within(name, sets, range, &self.bounds)
    }
}

impl LogReader for Storage {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.shared.inner.logs.read(selection, visit)
    }

    fn sizes(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, model::LogPiece),
    ) -> Result<(), ReadError> {
        self.shared.inner.logs.sizes(selection, visit);
        Ok(())
    }

    fn streams(
        &self,
        sets: &[Vec<Matcher>],
        start_ns: i64,
        end_ns: i64,
    ) -> Result<Vec<Labels>, ReadError> {
        Ok(self.shared.inner.logs.streams(sets, start_ns, end_ns))
    }
}
