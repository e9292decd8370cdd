//! Series and samples: write-ahead log, head in memory, blocks on disk.

mod adopt;
#[cfg(test)]
pub(crate) mod arbitrary;
mod bits;
mod block;
mod block_cache;
mod block_files;
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
pub(crate) mod fuzzing;
mod gaps;
mod head;
mod head_late;
mod head_list;
mod head_others;
mod head_series;
mod head_times;
mod histogram_bytes;
mod histogram_column;
mod ingest;
#[cfg(test)]
mod ingest_tests;
mod matcher_bytes;
#[cfg(test)]
mod model_test;
mod pages;
mod places;
mod postings;
mod range_coder;
mod recent;
mod replay;
mod replay_read;
mod rollup;
mod select;
#[cfg(test)]
mod tests;
mod tombstone;
mod upkeep;
mod usage;
mod wal_decode;
mod wal_encode;
mod wal_histogram;
mod wal_record;
#[cfg(test)]
mod wal_tests;
mod wal_value;
mod window_edges;
mod xor;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::{SampleBatch, Timestamp};

pub(crate) use self::block::FORMAT as BLOCK_FORMAT;
pub(crate) use self::block_writer::BlockWriter;
pub use self::compact_run::Deleted;
pub(crate) use self::compact_run::Policy;
pub(crate) use self::tombstone::FORMAT as TOMBSTONES_FORMAT;
pub(crate) use self::usage::Usage;

use self::block::Block;
use self::block_cache::BlockCache;
use self::directory::{block_path, open_blocks, open_tombstones, remove_file};
use self::flush::{early_flush_end, flush_in_place};
use self::gaps::Gaps;
use self::head::Head;
use self::ingest::{Bounds, Plan, RefusedTargets, SeriesLimits, Writer};
use self::recent::Recent;
use self::replay::Replay;
use self::replay_read::{PIECES_AHEAD, Reading};
use self::tombstone::Tombstone;
use self::wal_encode::Encoder;
use self::wal_record::{Floor, Unread};
use crate::disk::Disk;
use crate::error::WriteError;
use crate::health::Watch;
use crate::retention::{Piece, PieceKind};
use crate::telemetry::{FileKind, Refusal};
use crate::wal::{Mark, Unsynced, Wal};
use crate::{AppendReport, Config, FUTURE_MAX, SERIES_BYTES_ASSUMED};

/// The metric half of the store.
pub(crate) struct MetricStore {
    disk: Arc<dyn Disk>,
    watch: Arc<Watch>,
    blocks_dir: PathBuf,
    cache: Arc<BlockCache>,
    gaps: Gaps,
    head_bytes_max: usize,
    limits: SeriesLimits,
    /// How late a sample may be.
    window_ms: i64,
    /// How long the longest kept ones are kept.
    kept_ms: i64,
    /// One append at a time; taken before `state`.
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// One flush at a time; taken before `writer`.
    flusher: Mutex<Flusher>,
    /// One step of compaction at a time; taken before `flusher`.
    compactor: Mutex<compact_run::Compactor>,
    /// Else their file could not be read: it is not replaced, and no block is made of others,
    /// which would then be beyond their bounds.
    are_deletions_known: bool,
    /// Samples of new series refused since the last maintenance, for the store's limit and
    /// for those of targets.
    series_refused: AtomicU64,
    /// What streams wrote lately.
    recent: Mutex<Recent>,
    targets_refused: Mutex<RefusedTargets>,
    /// How often the log could not be synced, and how many of these failures have been made
    /// good by bringing everything to a block.
    syncs_failed: AtomicU64,
    syncs_redeemed: AtomicU64,
}

#[derive(Default)]
struct State {
    head: Head,
    /// In the order of their age.
    blocks: Vec<Arc<Block>>,
    /// Deletions that these blocks do not know yet.
    tombstones: Arc<Vec<Tombstone>>,
    /// Of what the log has in order, everything before this instant is in blocks. A flush
    /// during a replay leaves it: what is read back behind the flush is late in memory then,
    /// but in order in the log.
    in_blocks_t: Option<i64>,
}

impl State {
    fn add_blocks(&mut self, blocks: impl IntoIterator<Item = Arc<Block>>) {
        self.blocks.extend(blocks);
        self.blocks.sort_by_key(|b| b.age());
    }
}

struct Flusher {
    next_number: u64,
    /// A segment of the log was begun for the early flush that is near.
    is_log_cut: bool,
    /// The replay brought samples to blocks that the log still has, or there are too many
    /// segments: the next start would take as long again, or longer.
    is_log_behind: bool,
}

impl MetricStore {
    /// Opens the blocks under `dir` and replays the log into the head.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        watch: Arc<Watch>,
        dir: &Path,
        config: &Config,
    ) -> io::Result<MetricStore> {
        let (blocks_dir, wal_dir) = (dir.join("blocks"), dir.join("wal"));
        disk.create_dir(&blocks_dir)?;
        let cache = Arc::new(BlockCache::new(Arc::clone(&disk)));
        let gaps = Gaps::default();
        let (blocks, mut next_number) =
            open_blocks(disk.as_ref(), &watch, &blocks_dir, &cache, &gaps)?;
        let tombstones = open_tombstones(disk.as_ref(), &watch, &blocks_dir, &mut next_number);
        let are_deletions_known = tombstones.is_some();
        let mut state = State {
            head: Head::default(),
            blocks,
            tombstones: tombstones.unwrap_or_default(),
            in_blocks_t: None,
        };
        // Not from the blocks: they may come from elsewhere, and out of order.
        let first = Wal::newest_first_record(disk.as_ref(), &wal_dir, FileKind::MetricWal)?;
        let floor = match first {
            Some((segment, wal_record::FLOOR, payload)) => {
                wal_record::decode_floor(&payload, segment).ok()
            }
            _ => None,
        };
        if let Some(floor) = &floor {
            state.head.drop_before(floor.t);
            state.in_blocks_t = Some(floor.t);
        }
        let head_bytes_max = config.head_bytes_max as usize;
        let mut replay = Replay::default();
        let mut deletions = None;
        let mut is_log_behind = false;
        let (pieces, received) = mpsc::sync_channel(PIECES_AHEAD);
        let mut reading = Reading::new(floor.clone(), pieces);
        let wal = std::thread::scope(|scope| {
            let (log_disk, log_watch, log_dir) =
                (Arc::clone(&disk), Arc::clone(&watch), wal_dir.clone());
            let reader = std::thread::Builder::new().name("storage-replay".to_owned());
            let reader = reader.spawn_scoped(scope, move || {
                let kind = FileKind::MetricWal;
                let mut visit = |segment, record_type, payload: &[u8]| {
                    reading.record(segment, record_type, payload)
                };
                let wal = Wal::open(log_disk, log_watch, log_dir, kind, &mut visit);
                reading.hand_over();
                wal
            })?;
            for piece in received {
                for record in &piece {
                    replay.record(&mut state.head, record);
                    if state.head.bytes() <= head_bytes_max
                        || early_flush_end(&state.head).is_none()
                    {
                        continue;
                    }
                    let (disk, kind) = (disk.as_ref(), FileKind::MetricWal);
                    let all = || Wal::payloads_of(disk, &wal_dir, kind, wal_record::DELETION);
                    // Without knowing them there is no flush.
                    let Ok(deletions) = deletions.get_or_insert_with(all) else {
                        continue;
                    };
                    replay.delete_ahead(&mut state.head, deletions);
                    if let Some(to) = early_flush_end(&state.head) {
                        let path = block_path(&blocks_dir, next_number);
                        flush_in_place(disk, &watch, &cache, &mut state, to, &path);
                        next_number += 1;
                        is_log_behind = true;
                    }
                }
            }
            match reader.join() {
                Ok(wal) => wal,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        let Floor { t, mut unread } = floor.unwrap_or(Floor {
            t: i64::MIN,
            unread: Vec::new(),
        });
        for segment in wal.unread() {
            if unread.iter().all(|u| u.segment != *segment) {
                let (segment, floor_t) = (*segment, t);
                unread.push(Unread { segment, floor_t });
            }
        }
        watch.telemetry.samples_appended.inc_by(replay.samples);
        let series_max = config.head_bytes_max / SERIES_BYTES_ASSUMED;
        let series_max = series_max.clamp(1, wal_record::ID_MAX.into()) as usize;
        let window_ms = config.out_of_order_window.as_millis();
        Ok(MetricStore {
            disk,
            watch,
            blocks_dir,
            cache,
            gaps,
            head_bytes_max,
            limits: SeriesLimits {
                series_max,
                per_target_max: config.series_per_target_max,
            },
            window_ms: i64::try_from(window_ms).unwrap_or(i64::MAX),
            kept_ms: model::time::duration_millis(config.longest_retention()),
            writer: Mutex::new(Writer {
                wal,
                encoder: Encoder::default(),
                payload: Vec::new(),
                plan: Plan::default(),
                window: i64::MIN,
                unread,
            }),
            state: RwLock::new(state),
            flusher: Mutex::new(Flusher {
                next_number,
                is_log_cut: false,
                is_log_behind,
            }),
            compactor: Mutex::default(),
            are_deletions_known,
            series_refused: AtomicU64::new(0),
            recent: Mutex::default(),
            targets_refused: Mutex::default(),
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
                telemetry.refuse(Refusal::TargetLimit, report.target_limit);
                telemetry.samples_late.inc_by(report.late);
                self.series_refused
                    .fetch_add(report.series_limit, Ordering::AcqRel);
                if report.appended > 0 {
                    self.watch.solved("metrics log");
                }
            }
            Err(e) => {
                let samples = batch.samples.len() + batch.histograms.len();
                telemetry.refuse(Refusal::Disk, samples as u64);
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
        let mut writer = self.lock_writer();
        let writer = &mut *writer;
        let mut report = AppendReport::default();
        writer.begin_window(batch, now);
        let segment = self.begin_segment(writer)?;
        let run = writer.encoder.run(segment);
        let plan = &mut writer.plan;
        plan.begin(segment, run);
        let bounds;
        let has_unknown = {
            let state = self.read();
            bounds = self.bounds(&state.head, now);
            plan.known(&state.head, batch, bounds, &mut report)
        };
        if has_unknown {
            // In the order in which maintenance takes them, which looks at both.
            let head = &mut self.write().head;
            let mut refused = self.lock_refused();
            plan.unknown(head, batch, bounds, self.limits, &mut refused, &mut report);
        }
        if plan.planned.is_empty() {
            return Ok((report, self.read().head.bytes()));
        }
        // Nobody else changes series while the writer is held.
        let encoder = &mut writer.encoder;
        let (definitions, mark) = plan.encode(&self.read().head, encoder, &mut writer.payload);
        if let Err(e) = writer.wal.append(wal_record::BATCH, &writer.payload, mark) {
            encoder.take_back();
            if report.new_series > 0 {
                self.write().head.forget_empty();
            }
            return Err(e);
        }
        writer.wal.repeats(definitions);
        writer.payload.shrink_to(1 << 20);
        if let Some(newest_t) = plan.newest_in_order() {
            self.lock_recent().note(now.millis(), newest_t);
        }
        let head = &mut self.write().head;
        plan.push(head);
        Ok((report, head.bytes()))
    }

    /// Makes sure that the log has an open segment, which begins with what is in blocks.
    fn begin_segment(&self, writer: &mut Writer) -> Result<u64, WriteError> {
        let before = writer.wal.newest();
        let segment = writer.wal.begin()?;
        let in_blocks_t = self.read().in_blocks_t;
        if segment != before
            && let Some(t) = in_blocks_t
        {
            let wal = &writer.wal;
            writer.unread.retain(|u| wal.has(u.segment));
            let floor = wal_record::encode_floor(t, &writer.unread);
            writer.wal.append(wal_record::FLOOR, &floor, Mark::NONE)?;
        }
        Ok(segment)
    }

    /// What instants a sample may have now.
    fn bounds(&self, head: &Head, now: Timestamp) -> Bounds {
        let newest = head.newest_t().unwrap_or(i64::MIN);
        // After the clock was set back, the clock counts: else every sample would be too old
        // until it has caught up.
        let newest = newest.min(now.millis());
        let late_from = match self.window_ms {
            0 => i64::MAX,
            window => newest.saturating_sub(window),
        };
        Bounds {
            latest: now.plus(FUTURE_MAX).millis(),
            late_from,
            kept_from: newest.saturating_sub(self.kept_ms).min(late_from),
        }
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
        let known = self.read().blocks.iter().find(|b| b.path == path).cloned();
        if let Some(block) = known {
            block.hold_open();
        }
        self.write().blocks.retain(|b| b.path != path);
        remove_file(self.disk.as_ref(), path);
    }

    /// Lets go of blocks whose files somebody else has removed: those that are open could be read, and
    /// would take room, until the next start and no longer. What vanished with a segment of the log
    /// goes to a block with the next maintenance.
    pub(crate) fn drop_vanished(&self) {
        if self.lock_writer().wal.drop_vanished() {
            self.syncs_failed.fetch_add(1, Ordering::AcqRel);
        }
        let known = self.read().blocks.clone();
        let made = self.disk.create_dir(&self.blocks_dir);
        let Ok(there) = made.and_then(|()| self.disk.list(&self.blocks_dir)) else {
            return;
        };
        let there: HashSet<&str> = there.iter().map(|e| e.name.as_str()).collect();
        let is_there = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| there.contains(name))
        };
        self.gaps.retain(is_there);
        for block in known.iter().filter(|b| !is_there(&b.path)) {
            let mut state = self.write();
            let before = state.blocks.len();
            state.blocks.retain(|b| b.number != block.number);
            // Else it went meanwhile, for its age or into another one.
            if state.blocks.len() < before {
                self.watch.vanished(&block.path);
            }
        }
    }

    /// Series, head bytes, blocks, most series.
    pub(crate) fn figures(&self) -> (u64, u64, u64, u64) {
        let state = self.read();
        (
            state.head.series_count() as u64,
            state.head.bytes() as u64,
            state.blocks.len() as u64,
            self.limits.series_max as u64,
        )
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_flusher(&self) -> MutexGuard<'_, Flusher> {
        self.flusher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_refused(&self) -> MutexGuard<'_, RefusedTargets> {
        let refused = self.targets_refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner)
    }
}
