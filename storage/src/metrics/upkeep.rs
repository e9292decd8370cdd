//! What maintenance does with the head: flushes, deletions, and saying what is wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::{Labels, Matcher, TimeRange, Timestamp};

use super::block::Block;
use super::chunk::Chunk;
use super::directory::block_path;
use super::flush::{early_flush_end, write_block};
use super::head::{Head, WINDOW_MS};
use super::head_times::TimesCopies;
use super::replay_read::deletion_mark;
use super::{Flusher, MetricStore, wal_record};
use crate::FUTURE_MAX;
use crate::error::WriteError;
use crate::telemetry::FileKind;

/// A window is flushed this long after its end, so that what was on the way arrives.
pub(super) const FLUSH_DELAY_MS: i64 = 10 * 60 * 1000;
/// More samples than this are not left to the log alone: reading them back is what a start
/// takes longest for. Of 100,000 series at 15 s it is 20 minutes, six blocks a window; more
/// blocks would be merged, and so written, once more.
const UNFLUSHED_SAMPLES_MAX: usize = 8_000_000;
/// Every start begins a segment of the log, which defines all series again, and each costs the
/// next start the time for that. More than these are not kept when there is enough for a block.
const SEGMENTS_MAX: usize = 8;
/// Late samples may take this part of the head before they are flushed.
const LATE_PART: usize = 8;
/// Late samples are blocks of a day (UTC) each.
const DAY_MS: i64 = 24 * 3600 * 1000;
/// A series that got nothing for this long has probably ended.
const IDLE_MS: i64 = 10 * 60 * 1000;
/// The topics in health while new series are refused, and while stored samples are ahead of
/// the clock.
const SERIES_LIMIT: &str = "series limit";
const TARGET_LIMIT: &str = "target limit";
const CLOCK: &str = "clock";

impl MetricStore {
    /// Flushes what is due, and reports figures.
    pub(crate) fn maintain(&self, now: Timestamp) {
        let mut flusher = self.lock_flusher();
        self.cut_log(&mut flusher);
        self.catch_up_log(&mut flusher);
        loop {
            let failed = self.syncs_failed.load(Ordering::Acquire);
            let distrust = failed != self.syncs_redeemed.load(Ordering::Acquire);
            let due = self.due(now, distrust);
            if let Some(to) = due
                && !self.flush_to(&mut flusher, to, distrust)
            {
                // A sync that failed on the way asks for another flush, of everything.
                let is_news = self.syncs_failed.load(Ordering::Acquire) != failed;
                if is_news && !distrust {
                    continue;
                }
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
        self.report_refused_targets();
        self.report_clock(now);
        let state = self.read();
        let telemetry = &self.watch.telemetry;
        telemetry.series.set(state.head.series_count() as i64);
        telemetry.head_bytes.set(state.head.bytes() as i64);
    }

    /// After a start: brings everything to blocks, whatever their size, where the log has grown
    /// over several starts. They would take longer and longer, and fill the disk, if none of
    /// them came to a maintenance before the process is killed. Gives whether that was so.
    pub(crate) fn catch_up(&self) -> bool {
        let mut flusher = self.lock_flusher();
        flusher.is_log_behind |= self.lock_writer().wal.segments() > SEGMENTS_MAX;
        let was_behind = flusher.is_log_behind;
        self.catch_up_log(&mut flusher);
        was_behind
    }

    fn catch_up_log(&self, flusher: &mut Flusher) {
        if flusher.is_log_behind {
            let end = {
                let head = &self.read().head;
                head.end_of_all().max(head.flushed_t())
            };
            let is_done = end.is_none_or(|to| self.flush_to(flusher, to, false));
            flusher.is_log_behind = !is_done;
        }
    }

    /// Begins a segment of the log some time before an early flush. The newest minute stays in
    /// memory then, and with it the segment that has it, which a start reads as a whole.
    fn cut_log(&self, flusher: &mut Flusher) {
        let is_near = {
            let head = &self.read().head;
            head.samples() > UNFLUSHED_SAMPLES_MAX / 10 * 9
                || head.bytes() > self.head_bytes_max / 10 * 9
        };
        if is_near && !flusher.is_log_cut {
            self.lock_writer().wal.close_segment();
        }
        flusher.is_log_cut = is_near;
    }

    /// Says in health who fills the memory when samples of new series were refused.
    fn report_refused_series(&self) {
        let refused = self.series_refused.swap(0, Ordering::AcqRel);
        if refused == 0 {
            self.watch.solved(SERIES_LIMIT);
            return;
        }
        let max = self.limits.series_max;
        let most = self.read().head.most_series();
        let most = most.map_or_else(String::new, |(what, count)| {
            format!("; {count} of them are {what}")
        });
        let text =
            format!("all {max} series are in use, {refused} samples of new ones refused{most}");
        self.watch.failed(SERIES_LIMIT, &text);
    }

    /// Says in health which target makes too many series.
    fn report_refused_targets(&self) {
        let refused = std::mem::take(&mut *self.lock_refused());
        let others = refused.len().saturating_sub(1);
        let worst = refused
            .into_iter()
            .max_by(|(a, n), (b, m)| (n, b).cmp(&(m, a)));
        let Some(((job, instance), samples)) = worst else {
            self.watch.warn(TARGET_LIMIT, None);
            return;
        };
        let max = self.limits.per_target_max;
        let others = match others {
            0 => String::new(),
            n => format!("; {n} more targets have too many"),
        };
        let text = format!(
            "job={job:?}, instance={instance:?} has all {max} series a target may have, \
             {samples} samples of new ones refused{others}"
        );
        // All others are stored: no reason for an uptime checker to call.
        self.watch.warn(TARGET_LIMIT, Some(text));
    }

    /// Says in health when samples are stored that lie in the future.
    fn report_clock(&self, now: Timestamp) {
        let newest = self.read().head.newest_t();
        let ahead_ms = newest.map_or(0, |t| t.saturating_sub(now.millis()));
        if ahead_ms <= FUTURE_MAX.as_millis() as i64 {
            self.watch.solved(CLOCK);
            return;
        }
        let seconds = ahead_ms / 1000;
        let text = format!(
            "went back: the newest sample is {seconds} s ahead of it; until then new samples of \
             known series are stored as late ones, among the old"
        );
        self.watch.failed(CLOCK, &text);
    }

    pub(super) fn flush_if_over_budget(&self) {
        // Somebody is flushing already: the next append looks again.
        if let Ok(mut flusher) = self.flusher.try_lock() {
            let to = {
                let state = self.read();
                early_flush_end(&state.head).or_else(|| self.late_due(&state.head))
            };
            // After a failed sync maintenance brings everything to a block at once.
            if let Some(to) = to
                && self.is_trusted().is_ok()
            {
                self.flush_to(&mut flusher, to, false);
            }
        }
    }

    /// Up to where the head should be flushed now.
    fn due(&self, now: Timestamp, everything: bool) -> Option<i64> {
        let is_log_long = self.lock_writer().wal.segments() > SEGMENTS_MAX;
        let state = self.read();
        let head = &state.head;
        if everything {
            return head.end_of_all();
        }
        let Some((min_t, max_t)) = head.bounds() else {
            return self.late_due(head);
        };
        let window_end = (min_t.div_euclid(WINDOW_MS) + 1).saturating_mul(WINDOW_MS);
        let is_past = max_t.max(now.millis()) >= window_end.saturating_add(FLUSH_DELAY_MS);
        if is_past && self.lock_recent().oldest(now.millis()) >= window_end {
            return Some(window_end);
        }
        let full = head.bytes() > self.head_bytes_max
            || head.samples() > UNFLUSHED_SAMPLES_MAX
            || is_log_long
            || (self.are_series_short(head) && head.has_idle_before(max_t - IDLE_MS));
        let early = full.then(|| early_flush_end(head)).flatten();
        early.or_else(|| self.late_due(head))
    }

    /// Whether new series are refused, or about to be: those that have ended should go.
    fn are_series_short(&self, head: &Head) -> bool {
        head.series_count() >= self.limits.series_max || !self.lock_refused().is_empty()
    }

    /// Where a flush ends that is for late samples only.
    fn late_due(&self, head: &Head) -> Option<i64> {
        let many = head.late.bytes() > self.head_bytes_max / LATE_PART;
        many.then(|| head.flushed_t().unwrap_or(i64::MIN))
    }

    /// Moves samples before `to`, and all that came late, into blocks. On failure they stay in
    /// memory and in the log. Where the log cannot be trusted `to` is behind everything, and
    /// there is one block, so that a power cut leaves whole batches.
    pub(super) fn flush_to(&self, flusher: &mut Flusher, to: i64, distrust: bool) -> bool {
        let started = Instant::now();
        // A block is durable at once. Were the log behind it lost at a power cut, half of a
        // batch that reaches beyond `to` would be there, and later batches without earlier ones.
        for part in self.unsynced() {
            let failed = part.sync().is_err();
            if self.sync_done(&part, failed).is_err() && !distrust {
                return false;
            }
        }
        let (ids, late, segment) = {
            // An append between its look at the head and its write holds the writer.
            let mut writer = self.lock_writer();
            let head = &mut self.write().head;
            head.raise_floor(to);
            let late = head.late_sets_out();
            if !late.is_empty() {
                writer.wal.close_segment();
            }
            let has_any = head.bounds().is_some_and(|(first, _)| first < to);
            let ids = if has_any || (distrust && !late.is_empty()) {
                head.sorted_ids()
            } else {
                Vec::new()
            };
            (ids, late, writer.wal.newest())
        };
        let mut blocks = Vec::new();
        let before = TimeRange::new(Timestamp::MIN, Timestamp::from_millis(to.saturating_sub(1)));
        let mut copies = TimesCopies::default();
        let late_end = self.read().head.late.leaving_end().filter(|_| distrust);
        let end = late_end.map_or(to, |late| late.max(to));
        let mut written = self.write_blocks(flusher, ids, end, &mut blocks, &mut |head, id| {
            let mut chunks = head.in_order_chunks(id, before, &mut copies);
            if distrust {
                chunks.extend(head.late.leaving(id, TimeRange::ALL));
            }
            chunks
        });
        let days = match distrust {
            true => Vec::new(),
            false => self.read().head.late.leaving_days(DAY_MS),
        };
        for day in days {
            let (start, end) = (day * DAY_MS, (day + 1).saturating_mul(DAY_MS));
            let range = TimeRange {
                start: Timestamp::from_millis(start),
                end: Timestamp::from_millis(end - 1),
            };
            let late = late.clone();
            written = written
                && self.write_blocks(flusher, late, end, &mut blocks, &mut |head, id| {
                    head.late.leaving(id, range)
                });
        }
        if !written {
            // What was written may stay: the samples are the same.
            let mut state = self.write();
            state.add_blocks(blocks);
            return false;
        }
        let mut writer = self.lock_writer();
        {
            let mut state = self.write();
            state.add_blocks(blocks);
            state.head.late.arrived();
            state.head.drop_before(to);
            state.in_blocks_t = state.head.flushed_t();
        }
        writer.wal.close_segment();
        writer.wal.release(segment);
        // The log must say what is in blocks, durably, before it lets go of it.
        let told = self.begin_segment(&mut writer);
        let told = told.and_then(|_| writer.wal.sync());
        if let Err(e) = told {
            self.watch
                .write_failed("metrics log", FileKind::MetricWal, &e);
            return false;
        }
        let floor = self.read().head.flushed_t().unwrap_or(to);
        writer.wal.drop_below(floor);
        drop(writer);
        self.watch
            .telemetry
            .flush_seconds
            .observe(started.elapsed().as_secs_f64());
        self.watch.solved("metrics block");
        true
    }

    /// Writes one block of the series `ids`; false when that failed.
    fn write_blocks(
        &self,
        flusher: &mut Flusher,
        ids: Vec<u32>,
        end: i64,
        blocks: &mut Vec<Arc<Block>>,
        chunks: &mut dyn FnMut(&Head, u32) -> Vec<Chunk>,
    ) -> bool {
        if ids.is_empty() {
            return true;
        }
        let path = block_path(&self.blocks_dir, flusher.next_number);
        flusher.next_number += 1;
        let written = write_block(
            self.disk.as_ref(),
            &self.cache,
            &path,
            end,
            ids,
            &mut |id, visit| {
                // The lock is held for one series at a time.
                let found: Option<(Labels, Vec<Chunk>)> = {
                    let state = self.read();
                    let chunks = chunks(&state.head, id);
                    (!chunks.is_empty()).then(|| (state.head.labels(id), chunks))
                };
                found.map_or(Ok(()), |(labels, chunks)| visit(labels, chunks))
            },
        );
        match written {
            Ok(block) => {
                blocks.extend(block.map(Arc::new));
                true
            }
            Err(e) => {
                let error = WriteError::from_io("write", &path, e);
                self.watch
                    .write_failed("metrics block", FileKind::Block, &error);
                false
            }
        }
    }

    /// Forgets samples in memory: those in `range` of the series for which all matchers of one
    /// of `sets` hold. Durable when it returns. The caller holds the flusher: a flush on its way
    /// would bring the samples to a block.
    ///
    /// # Errors
    /// When the log cannot be written or synced; nothing was forgotten then.
    pub(super) fn delete_in_head(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(), WriteError> {
        let mut writer = self.lock_writer();
        self.begin_segment(&mut writer)?;
        let mark = deletion_mark(self.read().head.newest_t());
        let record = wal_record::encode_deletion(sets, range);
        writer.wal.append(wal_record::DELETION, &record, mark)?;
        // Numbers of series that go may be used again, which only the next segment may say.
        writer.wal.close_segment();
        let parts = writer.wal.unsynced();
        for part in parts {
            if part.sync().is_err() {
                drop(writer);
                return self.sync_done(&part, true);
            }
            writer.wal.synced(&part);
        }
        self.write().head.delete(sets, range);
        Ok(())
    }
}
