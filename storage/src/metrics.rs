//! Series and samples: write-ahead log, head in memory, blocks on disk.

mod adopt;
#[cfg(test)]
pub(crate) mod arbitrary;
mod bits;
mod block;
mod block_cache;
mod block_frame;
mod block_group;
mod block_index;
#[cfg(test)]
mod block_tests;
mod block_writer;
mod chunk;
mod column;
mod column_integers;
pub(crate) mod compact;
mod compact_merge;
pub(crate) mod compact_run;
#[cfg(test)]
mod compact_tests;
mod cursor;
mod directory;
mod flush;
mod freeze;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
mod histogram_column;
#[cfg(test)]
mod model_test;
mod postings;
mod replay;
mod rollup;
mod select;
#[cfg(test)]
mod tests;
mod tombstone;
mod usage;
mod wal_record;
mod xor;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use model::{Labels, SampleBatch, TimeRange, Timestamp};

pub(crate) use self::block_writer::BlockWriter;
pub use self::compact_run::Deleted;
pub(crate) use self::compact_run::Policy;
pub(crate) use self::usage::Usage;

use self::block::Block;
use self::block_cache::BlockCache;
use self::directory::{block_path, open_blocks, open_tombstones, remove_file};
use self::flush::{early_flush_end, flush_in_place, write_block};
use self::head::{Head, Outcome, WINDOW_MS};
use self::replay::Replay;
use self::wal_record::NumberedSample;
use crate::disk::Disk;
use crate::error::WriteError;
use crate::health::Watch;
use crate::retention::{Piece, PieceKind};
use crate::telemetry::{FileKind, Refusal};
use crate::wal::{Unsynced, Wal};
use crate::{AppendReport, FUTURE_MAX, SERIES_BYTES_ASSUMED};

/// A window is flushed this long after its end, so that what was on the way arrives.
const FLUSH_DELAY_MS: i64 = 10 * 60 * 1000;
/// The topic in health while new series are refused.
const SERIES_LIMIT: &str = "series limit";

/// The metric half of the store.
pub(crate) struct MetricStore {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    blocks_dir: PathBuf,
    cache: Arc<BlockCache>,
    head_bytes_max: usize,
    series_max: usize,
    /// One append at a time; taken before `state`.
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// One flush at a time; taken before `writer`.
    flusher: Mutex<Flusher>,
    /// One step of compaction at a time; taken before `flusher`.
    compactor: Mutex<compact_run::Compactor>,
    /// Samples of new series refused since the last maintenance.
    series_refused: AtomicU64,
    /// How often the log could not be synced, and how many of these failures have been made
    /// good by bringing everything to a block.
    syncs_failed: AtomicU64,
    syncs_redeemed: AtomicU64,
}

struct Writer {
    wal: Wal,
    payload: Vec<u8>,
    planned: Vec<NumberedSample>,
}

#[derive(Default)]
struct State {
    head: Head,
    /// Oldest first; they do not overlap.
    blocks: Vec<Arc<Block>>,
    /// Deletions that these blocks do not know yet.
    tombstones: Arc<Vec<tombstone::Tombstone>>,
}

struct Flusher {
    next_number: u64,
}

impl MetricStore {
    /// Opens the blocks under `dir` and replays the log into the head.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        watch: Arc<Watch>,
        dir: &Path,
        head_bytes_max: u64,
    ) -> io::Result<MetricStore> {
        let blocks_dir = dir.join("blocks");
        disk.create_dir(&blocks_dir)?;
        let cache = Arc::new(BlockCache::default());
        let (blocks, mut next_number) = open_blocks(disk.as_ref(), &watch, &blocks_dir, &cache)?;
        let mut state = State::default();
        let raw = blocks.iter().filter(|b| b.resolution_ms == 0);
        if let Some(end) = raw.map(|b| b.end_t).max() {
            state.head.raise_floor(end);
        }
        state.blocks = blocks;
        state.tombstones = open_tombstones(disk.as_ref(), &watch, &blocks_dir, &mut next_number);
        let head_bytes_max = head_bytes_max as usize;
        let mut replay = Replay::default();
        let wal = Wal::open(
            Arc::clone(&disk),
            Arc::clone(&watch),
            dir.join("wal"),
            FileKind::MetricWal,
            &mut |segment, record_type, payload| {
                let mark = replay.record(&mut state.head, segment, record_type, payload)?;
                if state.head.bytes() > head_bytes_max
                    && let Some(to) = early_flush_end(&state.head)
                {
                    let path = block_path(&blocks_dir, next_number);
                    replay.let_go_of(&state.head);
                    flush_in_place(disk.as_ref(), &watch, &cache, &mut state, to, &path);
                    next_number += 1;
                }
                Ok(mark)
            },
        )?;
        watch.telemetry.samples_appended.inc_by(replay.samples);
        let series_max = (head_bytes_max as u64 / SERIES_BYTES_ASSUMED).max(1) as usize;
        Ok(MetricStore {
            disk,
            watch,
            blocks_dir,
            cache,
            head_bytes_max,
            series_max,
            writer: Mutex::new(Writer {
                wal,
                payload: Vec::new(),
                planned: Vec::new(),
            }),
            state: RwLock::new(state),
            flusher: Mutex::new(Flusher { next_number }),
            compactor: Mutex::default(),
            series_refused: AtomicU64::new(0),
            syncs_failed: AtomicU64::new(0),
            syncs_redeemed: AtomicU64::new(0),
        })
    }

    /// See [`crate::Storage::append_samples`].
    pub(crate) fn append(
        &self,
        batch: &SampleBatch,
        now: Timestamp,
    ) -> Result<AppendReport, WriteError> {
        let result = self.append_to_head(batch, now);
        let telemetry = &self.watch.telemetry;
        match &result {
            Ok((report, _)) => {
                telemetry.samples_appended.inc_by(report.appended);
                telemetry.refuse(Refusal::Duplicate, report.duplicate);
                telemetry.refuse(Refusal::OutOfOrder, report.out_of_order);
                telemetry.refuse(Refusal::TooOld, report.too_old);
                telemetry.refuse(Refusal::TooFarFuture, report.too_far_future);
                telemetry.refuse(Refusal::SeriesLimit, report.series_limit);
                self.series_refused
                    .fetch_add(report.series_limit, Ordering::AcqRel);
                if report.appended > 0 {
                    self.watch.solved("metrics log");
                }
            }
            Err(e) => {
                telemetry.refuse(Refusal::Disk, batch.samples.len() as u64);
                self.watch
                    .write_failed("metrics log", FileKind::MetricWal, e);
            }
        }
        let (report, head_bytes) = result?;
        // Between two maintenance rounds a burst must not outgrow the budget by much.
        if head_bytes > self.head_bytes_max + self.head_bytes_max / 4 {
            self.flush_if_over_budget();
        }
        Ok(report)
    }

    fn append_to_head(
        &self,
        batch: &SampleBatch,
        now: Timestamp,
    ) -> Result<(AppendReport, usize), WriteError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = &mut *writer;
        let mut report = AppendReport::default();
        let latest = now.plus(FUTURE_MAX).millis();
        writer.planned.clear();
        let mut new: Vec<&Labels> = Vec::new();
        let mut new_ids: HashMap<&Labels, u32, RandomState> = HashMap::default();
        let mut mark = i64::MIN;
        {
            let state = self.read();
            let head = &state.head;
            for s in &batch.samples {
                let t = s.at.millis();
                if t > latest {
                    report.too_far_future += 1;
                    continue;
                }
                let known = head.find(&s.labels);
                match head.check(known, t) {
                    Outcome::Appended => {}
                    other => {
                        report.count(other);
                        continue;
                    }
                }
                let id = match known.or_else(|| new_ids.get(&s.labels).copied()) {
                    Some(id) => id,
                    None if head.series_count() + new.len() >= self.series_max => {
                        report.series_limit += 1;
                        continue;
                    }
                    None => {
                        let id = head.id_of_new(new.len());
                        new.push(&s.labels);
                        new_ids.insert(&s.labels, id);
                        id
                    }
                };
                mark = mark.max(t);
                let v = s.value;
                writer.planned.push(NumberedSample { id, t, v });
            }
            if writer.planned.is_empty() {
                return Ok((report, head.bytes()));
            }
        }
        let segment = writer.wal.begin()?;
        let mut defined: Vec<u32> = Vec::new();
        let definition_bytes = {
            // Nobody else changes series while the writer is held, but a flush may remove them.
            let state = self.read();
            let head = &state.head;
            let mut definitions: Vec<(u32, &Labels)> = Vec::new();
            for s in &writer.planned {
                if let Some(series) = head.get(s.id)
                    && series.wal_segment != segment
                {
                    definitions.push((s.id, &series.labels));
                    defined.push(s.id);
                }
            }
            for labels in &new {
                if let Some(id) = new_ids.get(labels) {
                    definitions.push((*id, labels));
                }
            }
            writer.payload.clear();
            wal_record::encode(
                definitions.into_iter(),
                &writer.planned,
                &mut writer.payload,
            )
        };
        writer
            .wal
            .append(wal_record::SAMPLES, &writer.payload, mark)?;
        writer.wal.repeats(definition_bytes);
        writer.payload.shrink_to(1 << 20);
        let mut state = self.write();
        let head = &mut state.head;
        for labels in new {
            let id = head.create(labels.clone());
            if let Some(series) = head.get_mut(id) {
                series.wal_segment = segment;
            }
            report.new_series += 1;
        }
        for id in defined {
            if let Some(series) = head.get_mut(id) {
                series.wal_segment = segment;
            }
        }
        for s in &writer.planned {
            report.count(head.push(s.id, s.t, s.v));
        }
        Ok((report, head.bytes()))
    }

    /// What must be synced; see [`Wal::unsynced`].
    pub(crate) fn unsynced(&self) -> Vec<Unsynced> {
        self.lock_writer().wal.unsynced()
    }

    /// Tells the log how a sync went.
    pub(crate) fn sync_done(&self, part: &Unsynced, failed: bool) -> Result<(), WriteError> {
        if !failed {
            self.lock_writer().wal.synced(part);
            return Ok(());
        }
        let error = self.lock_writer().wal.sync_failed(part);
        self.watch
            .write_failed("metrics sync", FileKind::MetricWal, &error);
        self.syncs_failed.fetch_add(1, Ordering::AcqRel);
        Err(error)
    }

    /// Whether all that was synced is durable: not while a failed sync waits for its block.
    pub(crate) fn is_trusted(&self) -> Result<(), WriteError> {
        let redeemed = self.syncs_redeemed.load(Ordering::Acquire);
        match self.syncs_failed.load(Ordering::Acquire) == redeemed {
            true => Ok(()),
            false => Err(WriteError::sync_before(&self.blocks_dir)),
        }
    }

    /// Flushes what is due, and reports figures.
    pub(crate) fn maintain(&self, now: Timestamp) {
        let mut flusher = self.lock_flusher();
        loop {
            let failed = self.syncs_failed.load(Ordering::Acquire);
            let distrust = failed != self.syncs_redeemed.load(Ordering::Acquire);
            let due = self.due(now, distrust);
            if let Some(to) = due
                && !self.flush_to(&mut flusher, to)
            {
                break;
            }
            if distrust {
                self.syncs_redeemed.store(failed, Ordering::Release);
                self.watch.solved("metrics sync");
            }
            if due.is_none() {
                break;
            }
        }
        drop(flusher);
        self.report_refused_series();
        let state = self.read();
        let telemetry = &self.watch.telemetry;
        telemetry.series.set(state.head.series_count() as i64);
        telemetry.head_bytes.set(state.head.bytes() as i64);
    }

    /// Says in health who fills the memory when samples of new series were refused.
    fn report_refused_series(&self) {
        let refused = self.series_refused.swap(0, Ordering::AcqRel);
        if refused == 0 {
            self.watch.solved(SERIES_LIMIT);
            return;
        }
        let max = self.series_max;
        let most = self.read().head.most_series();
        let most = most.map_or_else(String::new, |(what, count)| {
            format!("; {count} of them are {what}")
        });
        let text =
            format!("all {max} series are in use, {refused} samples of new ones refused{most}");
        self.watch.failed(SERIES_LIMIT, &text);
    }

    fn flush_if_over_budget(&self) {
        // Somebody is flushing already: the next append looks again.
        if let Ok(mut flusher) = self.flusher.try_lock() {
            let to = early_flush_end(&self.read().head);
            if let Some(to) = to {
                self.flush_to(&mut flusher, to);
            }
        }
    }

    /// Up to where the head should be flushed now.
    fn due(&self, now: Timestamp, everything: bool) -> Option<i64> {
        let state = self.read();
        let (min_t, max_t) = state.head.bounds()?;
        if everything {
            return Some(max_t.saturating_add(1));
        }
        let window_end = (min_t.div_euclid(WINDOW_MS) + 1).saturating_mul(WINDOW_MS);
        if max_t.max(now.millis()) >= window_end.saturating_add(FLUSH_DELAY_MS) {
            return Some(window_end);
        }
        let full = state.head.bytes() > self.head_bytes_max
            || state.head.series_count() >= self.series_max;
        full.then(|| early_flush_end(&state.head)).flatten()
    }

    /// Moves samples before `to` into a block. On failure they stay in memory and in the log.
    fn flush_to(&self, flusher: &mut Flusher, to: i64) -> bool {
        // A block is durable at once. Were the log behind it lost at a power cut, half of a
        // batch that reaches beyond `to` would be there, and later batches without earlier ones.
        for part in self.unsynced() {
            let failed = part.sync().is_err();
            // What failed is in health, and the next maintenance brings everything to a block.
            let _ = self.sync_done(&part, failed);
        }
        let ids = {
            // An append between its look at the head and its write holds the writer.
            let _writer = self.lock_writer();
            let mut state = self.write();
            state.head.raise_floor(to);
            state.head.sorted_ids()
        };
        let path = block_path(&self.blocks_dir, flusher.next_number);
        flusher.next_number += 1;
        let started = std::time::Instant::now();
        let written = write_block(self.disk.as_ref(), &self.cache, &path, to, ids, &mut |id, visit| {
            // The lock is held for one series at a time.
            let found = self.read().head.get(id).map(|s| {
                let range = TimeRange::new(Timestamp::MIN, Timestamp::from_millis(to - 1));
                (s.labels.clone(), s.chunks(range).collect::<Vec<_>>())
            });
            found.map_or(Ok(()), |(labels, chunks)| visit(labels, chunks))
        });
        let block = match written {
            Ok(block) => block,
            Err(e) => {
                let error = WriteError::from_io("write", &path, e);
                self.watch
                    .write_failed("metrics block", FileKind::Block, &error);
                return false;
            }
        };
        let mut writer = self.lock_writer();
        {
            let mut state = self.write();
            state.blocks.extend(block.map(Arc::new));
            state.head.drop_before(to);
        }
        writer.wal.close_segment();
        let floor = self.read().head.floor_t().unwrap_or(to);
        writer.wal.drop_below(floor);
        drop(writer);
        self.watch
            .telemetry
            .flush_seconds
            .observe(started.elapsed().as_secs_f64());
        self.watch.solved("metrics block");
        true
    }

    /// What retention may choose from.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let state = self.read();
        let blocks = state.blocks.iter().map(|b| Piece {
            kind: PieceKind::Block,
            path: b.path.clone(),
            bytes: b.bytes,
            end_ms: b.end_t,
            keep: None,
        });
        blocks.collect()
    }

    /// Removes the block with this path.
    pub(crate) fn remove(&self, path: &Path) {
        self.write().blocks.retain(|b| b.path != path);
        remove_file(self.disk.as_ref(), path);
    }

    /// Series, head bytes, blocks, most series.
    pub(crate) fn figures(&self) -> (u64, u64, u64, u64) {
        let state = self.read();
        (
            state.head.series_count() as u64,
            state.head.bytes() as u64,
            state.blocks.len() as u64,
            self.series_max as u64,
        )
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_flusher(&self) -> std::sync::MutexGuard<'_, Flusher> {
        self.flusher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AppendReport {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Appended => self.appended += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::OutOfOrder => self.out_of_order += 1,
            Outcome::TooOld => self.too_old += 1,
        }
    }
}
