//! The worker behind blocks: merges, rewrites for deletions and retention rules, roll-ups.
//! One step at a time, called by maintenance.
//!
//! What takes the place of others is durable under its name before they go, and says whom it
//! replaces, so that a start after a crash in between finds and removes the left-overs.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::{Labels, Matcher, Samples, Selection, TimeRange, Timestamp};

use super::MetricStore;
use super::block::{Block, BlockError};
use super::compact::{BlockInfo, Schedule, choose, choose_refresh, choose_rollup, lacks, span_ms};
use super::compact_merge::{Merge, Output, Step};
use super::directory::{SET_ASIDE, block_path, remove_file, remove_files};
use super::tombstone::{Cuts, KeepRules, TOMBSTONES_MAX, Tombstone, tombstones_path, write};
use crate::config::Rollup;
use crate::disk::{number_in, quarantine};
use crate::error::WriteError;
use crate::retention::Piece;
use crate::telemetry::FileKind;

/// Written by one step: what compaction may take of the disk between two maintenances.
const STEP_BYTES: u64 = 8 << 20;
/// What a merge or rewrite counts at least: it syncs and renames, however small it is.
const JOB_BYTES: u64 = 256 << 10;
/// The topic in health.
const TOPIC: &str = "compaction";

/// How long what is kept, and in which form.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) retention: Duration,
    pub(crate) rules: Vec<(Vec<Matcher>, Duration)>,
    pub(crate) rollups: Vec<Rollup>,
    /// How late a sample may be.
    pub(crate) late: Duration,
    /// Ages are reckoned from the clock, but from no later instant than this.
    pub(crate) horizon: Timestamp,
}

impl Policy {
    /// How long a block is kept: as long as one of its series may be.
    pub(crate) fn keep_of(&self, resolution_ms: i64) -> Duration {
        if resolution_ms > 0 {
            let of = |r: &&Rollup| model::time::duration_millis(r.resolution) == resolution_ms;
            return self
                .rollups
                .iter()
                .find(of)
                .map_or(Duration::ZERO, |r| r.retention);
        }
        let longest = self.rules.iter().map(|(_, keep)| *keep).max();
        longest.unwrap_or(self.retention).max(self.retention)
    }

    fn keep_rules(&self, resolution_ms: i64) -> KeepRules {
        if resolution_ms > 0 {
            return KeepRules::default();
        }
        let longer = self.keep_of(0) > self.retention;
        KeepRules {
            rules: self.rules.clone(),
            otherwise: longer.then_some(self.retention),
        }
    }
}

/// What is under way, and what need not be looked at again.
#[derive(Default)]
pub(crate) struct Compactor {
    merge: Option<Merge>,
    /// Blocks that have nothing of what a tombstone deletes or a rule drops.
    clean: HashSet<(u64, Cause)>,
}

impl Compactor {
    /// The longest time that a roll-up is kept which samples of `block` are not in yet.
    fn waits_for(
        &self,
        block: &BlockInfo,
        blocks: &[BlockInfo],
        policy: &Policy,
    ) -> Option<Duration> {
        let lacks = |rollup: &&Rollup| {
            let resolution_ms = model::time::duration_millis(rollup.resolution);
            let is_empty = |number, start| {
                let cause = Cause::Rollup(resolution_ms, start);
                self.clean.contains(&(number, cause))
            };
            let span_ms = span_ms(policy.retention);
            resolution_ms > 0 && lacks(block, blocks, resolution_ms, span_ms, &is_empty)
        };
        let lacking = policy.rollups.iter().filter(lacks);
        lacking.map(|rollup| rollup.retention).max()
    }
}

/// Why a block may have to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cause {
    /// The tombstone with this bound; each has its own.
    Tombstone(u64),
    /// The rule at this place; `None` stands for the series that no rule matches.
    Rule(Option<usize>),
    /// A roll-up of this resolution and of the span from this instant on, which would be empty.
    Rollup(i64, i64),
}

/// What a deletion deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Series that had samples in the range.
    pub series: u64,
    /// Their samples in the range.
    pub samples: u64,
}

fn info(b: &Arc<Block>) -> BlockInfo {
    BlockInfo {
        number: b.number,
        age: b.age(),
        start_t: b.start_t,
        last_t: b.last_t(),
        end_t: b.end_t,
        resolution_ms: b.resolution_ms,
        is_fresh: b.is_fresh(),
    }
}

impl MetricStore {
    /// What retention may choose from, with how long each is kept: samples also until those
    /// roll-ups have been made of them that are kept longer. An import may bring old ones.
    pub(crate) fn pieces_kept(&self, policy: &Policy) -> Vec<Piece> {
        let compactor = self
            .compactor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut pieces = self.pieces();
        let state = self.read();
        let infos: Vec<BlockInfo> = state.blocks.iter().map(info).collect();
        for piece in &mut pieces {
            let Some(block) = state.blocks.iter().find(|b| b.path == piece.path) else {
                continue;
            };
            let keep = policy.keep_of(block.resolution_ms);
            let waits = compactor.waits_for(&info(block), &infos, policy);
            piece.keep = Some(waits.map_or(keep, |waits| waits.max(keep)));
        }
        pieces
    }

    /// One step of background work on blocks, of about eight megabytes. Gives whether there may
    /// be more to do.
    pub(crate) fn maintain_blocks(&self, now: Timestamp, policy: &Policy) -> bool {
        if !self.are_deletions_known {
            return false;
        }
        let mut compactor = self
            .compactor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut room = STEP_BYTES;
        while room > 0 {
            match self.compact(&mut compactor, now, policy, room) {
                Ok(Some(bytes)) => room = room.saturating_sub(bytes.max(JOB_BYTES)),
                Ok(None) => break,
                Err(e) => {
                    let error = WriteError::from_io("compact", &self.blocks_dir, e);
                    self.watch.write_failed(TOPIC, FileKind::Block, &error);
                    return false;
                }
            }
        }
        self.watch.solved(TOPIC);
        room == 0
    }

    /// Deletions that some block or the memory still has to obey.
    pub(crate) fn open_deletions(&self) -> usize {
        self.read().tombstones.len()
    }

    /// Goes on with the merge that is under way, or begins one, and writes about `room` bytes.
    /// Gives how many were read, and so written at most; `None` when there was nothing to do.
    fn compact(
        &self,
        compactor: &mut Compactor,
        now: Timestamp,
        policy: &Policy,
        room: u64,
    ) -> io::Result<Option<u64>> {
        let merge = match compactor.merge.take() {
            Some(merge) if self.is_current(&merge) => merge,
            Some(stale) => {
                self.abandon(&stale.path);
                return Ok(Some(0));
            }
            None => match self.next_job(compactor, now, policy)? {
                Some(merge) => merge,
                None => {
                    self.drop_done_tombstones(compactor)?;
                    return Ok(None);
                }
            },
        };
        let (path, output) = (merge.path.clone(), merge.output);
        match merge.step(room) {
            Ok(Step::More(merge)) => {
                compactor.merge = Some(merge);
                Ok(Some(room))
            }
            Ok(Step::Done(made, sources)) => {
                if made.is_none()
                    && let Output::Rollup {
                        resolution_ms,
                        range,
                    } = output
                {
                    let numbers = sources.iter().map(|(b, _)| b.number);
                    let causes = numbers.map(|n| (n, Cause::Rollup(resolution_ms, range.0)));
                    compactor.clean.extend(causes);
                }
                let installed = self.install(&path, made.is_some(), output, &sources);
                if let Err(e) = installed {
                    self.abandon(&path);
                    return Err(e);
                }
                Ok(Some(sources.iter().map(|(b, _)| b.bytes).sum()))
            }
            Err(e) => {
                self.abandon(&path);
                Err(e)
            }
        }
    }

    /// Whether the sources are all there still and no deletion came since.
    fn is_current(&self, merge: &Merge) -> bool {
        let state = self.read();
        let there = |b: &Arc<Block>| state.blocks.iter().any(|known| known.number == b.number);
        merge.sources().all(there) && *merge.cuts.tombstones == **state.tombstones
    }

    fn abandon(&self, path: &Path) {
        let temporary = path.with_extension("tmp");
        // It may not be there; left-overs are also removed at the next start.
        let _ = self.disk.remove(&temporary);
    }

    /// Begins what is due most.
    fn next_job(
        &self,
        compactor: &mut Compactor,
        now: Timestamp,
        policy: &Policy,
    ) -> io::Result<Option<Merge>> {
        let (blocks, tombstones, flushed_to) = {
            let state = self.read();
            let flushed_to = match state.head.bounds() {
                None => i64::MAX,
                Some((min_t, _)) => min_t,
            };
            (
                state.blocks.clone(),
                Arc::clone(&state.tombstones),
                flushed_to,
            )
        };
        compactor
            .clean
            .retain(|(number, _)| blocks.iter().any(|b| b.number == *number));
        let infos: Vec<BlockInfo> = blocks.iter().map(info).collect();
        let schedule = Schedule {
            now: now.millis(),
            late_ms: model::time::duration_millis(policy.late),
            span_ms: span_ms(policy.retention),
        };
        let now = now.min(policy.horizon);
        // Series whose time is over stay until they are rolled up, and roll-ups have them.
        let waiting: HashSet<u64> = {
            let waits = |b: &&BlockInfo| {
                let keep = compactor.waits_for(b, &infos, policy);
                keep.is_some_and(|keep| b.end_t > now.minus(keep).millis())
            };
            infos.iter().filter(waits).map(|b| b.number).collect()
        };
        let begin = |sources: Vec<Arc<Block>>, output: Output| {
            let resolution_ms = sources.first().map_or(0, |b| b.resolution_ms);
            let is_final = matches!(output, Output::Merged)
                && !sources.iter().any(|b| waiting.contains(&b.number));
            let cuts = Cuts {
                tombstones: tombstones.to_vec(),
                keep: match is_final {
                    true => policy.keep_rules(resolution_ms),
                    false => KeepRules::default(),
                },
                now,
            };
            let number = {
                let mut flusher = self.lock_flusher();
                flusher.next_number += 1;
                flusher.next_number - 1
            };
            let path = block_path(&self.blocks_dir, number);
            let disk = self.disk.as_ref();
            Merge::begin(disk, &self.watch, path, sources, output, cuts).map(Some)
        };
        let raw_within = |from: i64, to: i64| {
            move |b: &&Arc<Block>| b.resolution_ms == 0 && b.start_t < to && b.end_t > from
        };
        for rollup in &policy.rollups {
            let resolution_ms = model::time::duration_millis(rollup.resolution);
            if resolution_ms > 0
                && let Some((number, from, to)) = choose_refresh(&infos, resolution_ms, &schedule)
            {
                let before = blocks.iter().filter(|b| b.number == number);
                let raw = blocks.iter().filter(raw_within(from, to));
                let range = (from, to);
                return begin(
                    before.chain(raw).cloned().collect(),
                    Output::Refreshed {
                        resolution_ms,
                        range,
                    },
                );
            }
        }
        if let Some(numbers) = choose(&infos, &schedule) {
            let chosen = blocks.iter().filter(|b| numbers.contains(&b.number));
            return begin(chosen.cloned().collect(), Output::Merged);
        }
        for block in &blocks {
            let keep = match waiting.contains(&block.number) {
                true => KeepRules::default(),
                false => policy.keep_rules(block.resolution_ms),
            };
            if self.needs_rewrite(compactor, block, &tombstones, now, &keep)? {
                return begin(vec![Arc::clone(block)], Output::Merged);
            }
        }
        for rollup in &policy.rollups {
            let resolution_ms = model::time::duration_millis(rollup.resolution);
            let is_empty = |number, start| {
                let cause = Cause::Rollup(resolution_ms, start);
                compactor.clean.contains(&(number, cause))
            };
            let oldest = now.minus(rollup.retention).millis();
            if resolution_ms > 0
                && let Some((_, from, to)) =
                    choose_rollup(&infos, resolution_ms, oldest, &schedule, &is_empty)
                && to <= flushed_to
            {
                let raw = blocks.iter().filter(raw_within(from, to));
                let sources = raw.cloned().collect();
                let range = (from, to);
                return begin(
                    sources,
                    Output::Rollup {
                        resolution_ms,
                        range,
                    },
                );
            }
        }
        Ok(None)
    }

    /// Whether a block has series of which all is to go, or samples that were deleted.
    fn needs_rewrite(
        &self,
        compactor: &mut Compactor,
        block: &Block,
        tombstones: &[Tombstone],
        now: Timestamp,
        keep: &KeepRules,
    ) -> io::Result<bool> {
        let concerned = tombstones
            .iter()
            .filter(|t| t.concerns(block.number, block.range()));
        for t in concerned {
            let cause = (block.number, Cause::Tombstone(t.below));
            let at = Timestamp::from_millis;
            let range = TimeRange::new(at(t.range.0), at(t.range.1));
            if !compactor.clean.contains(&cause) {
                if self.has_series(block, &t.matchers, range, &|_| true)? {
                    return Ok(true);
                }
                compactor.clean.insert(cause);
            }
        }
        let rules = keep.rules.iter().enumerate();
        let rules = rules.map(|(i, (matchers, keep))| (Some(i), &matchers[..], *keep));
        let otherwise = keep.otherwise.map(|keep| (None, &[][..], keep));
        for (rule, matchers, duration) in rules.chain(otherwise) {
            let cause = (block.number, Cause::Rule(rule));
            let is_old = block.end_t <= now.minus(duration).millis();
            if is_old && !compactor.clean.contains(&cause) {
                let decides = |labels: &Labels| keep.rule_of(labels) == rule;
                if self.has_series(block, matchers, TimeRange::ALL, &decides)? {
                    return Ok(true);
                }
                compactor.clean.insert(cause);
            }
        }
        Ok(false)
    }

    fn has_series(
        &self,
        block: &Block,
        matchers: &[Matcher],
        range: TimeRange,
        filter: &dyn Fn(&Labels) -> bool,
    ) -> io::Result<bool> {
        let mut found = false;
        let mut damaged = |what, _| self.watch.corrupt(FileKind::Block, &block.path, what);
        let mut visit = |labels: Labels, _| {
            found |= filter(&labels);
            match found {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        block.select_while(matchers, range, &mut visit, &mut damaged)?;
        Ok(found)
    }

    /// Puts what was made in the place of its sources, or beside them.
    fn install(
        &self,
        path: &Path,
        made: bool,
        output: Output,
        sources: &[(Arc<Block>, bool)],
    ) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        {
            let _flusher = self.lock_flusher();
            let block = if made {
                self.disk.rename(&temporary, path)?;
                self.disk.sync_dir(&self.blocks_dir)?;
                let opened = Block::open(path, &self.cache);
                Some(Arc::new(opened.map_err(|e| match e {
                    BlockError::Io(e) => e,
                    BlockError::Corrupt(what) => io::Error::other(what),
                })?))
            } else {
                remove_file(self.disk.as_ref(), &temporary);
                None
            };
            if let Some(block) = &block {
                tracing::info!(
                    path = %path.display(),
                    sources = sources.len(),
                    series = block.series,
                    samples = block.samples,
                    bytes = block.bytes,
                    resolution_ms = block.resolution_ms,
                    "compaction wrote a block"
                );
            }
            for (source, _) in sources.iter().filter(|(s, _)| output.replaces(s)) {
                source.hold_open();
            }
            let mut state = self.write();
            let is_source = |b: &Arc<Block>| sources.iter().any(|(s, _)| s.number == b.number);
            state
                .blocks
                .retain(|b| !(output.replaces(b) && is_source(b)));
            state.add_blocks(block);
        }
        let mut gone = Vec::new();
        for (source, damaged) in sources.iter().filter(|(s, _)| output.replaces(s)) {
            if *damaged {
                quarantine(self.disk.as_ref(), &source.path);
                let bounds = Some((source.start_t, source.end_t));
                self.gaps.add(&source.path, SET_ASIDE, bounds);
            } else {
                gone.push(&source.path);
            }
        }
        remove_files(self.disk.as_ref(), &self.blocks_dir, &gone);
        Ok(())
    }

    /// Nothing is left to rewrite: deletions that no block has to obey any more are done.
    fn drop_done_tombstones(&self, compactor: &Compactor) -> io::Result<()> {
        let _flusher = self.lock_flusher();
        let (blocks, tombstones) = {
            let state = self.read();
            (state.blocks.clone(), Arc::clone(&state.tombstones))
        };
        let open = |t: &&Tombstone| {
            blocks.iter().any(|b| {
                let clean = (b.number, Cause::Tombstone(t.below));
                t.concerns(b.number, b.range()) && !compactor.clean.contains(&clean)
            })
        };
        if tombstones.iter().all(|t| open(&t)) {
            return Ok(());
        }
        // The next start finds blocks that could not be read or removed, or that somebody moved
        // away and back. Nobody knows what is in them.
        let there = self.disk.list(&self.blocks_dir)?;
        let there = there.iter().filter(|e| e.name.ends_with(".blk"));
        let is_unknown = |n: &u64| blocks.iter().all(|b| b.number != *n);
        let unknown = there.filter_map(|e| number_in(&e.name)).find(is_unknown);
        let open = |t: &&Tombstone| open(t) || unknown.is_some_and(|n| n < t.below);
        let left: Vec<Tombstone> = tombstones.iter().filter(open).cloned().collect();
        if left.len() < tombstones.len() {
            // First the blocks that went for them have to be gone for good.
            self.disk.sync_dir(&self.blocks_dir)?;
            let path = tombstones_path(&self.blocks_dir);
            write(self.disk.as_ref(), &path, &left)?;
            self.write().tombstones = Arc::new(left);
        }
        Ok(())
    }

    /// See [`crate::Storage::delete_series`].
    pub(crate) fn delete_series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Deleted, WriteError> {
        let path = tombstones_path(&self.blocks_dir);
        let failed = |e| WriteError::from_io("write", &path, e);
        if !self.are_deletions_known {
            return Err(failed(io::Error::other(
                "the deletions in it could not be read at the start",
            )));
        }
        let mut flusher = self.lock_flusher();
        let deleted = self.count(sets, range).map_err(io::Error::other);
        let deleted = deleted.map_err(|e| WriteError::from_io("read", &self.blocks_dir, e))?;
        let before = Arc::clone(&self.read().tombstones);
        let mut tombstones = before.to_vec();
        for matchers in sets {
            flusher.next_number += 1;
            tombstones.push(Tombstone {
                below: flusher.next_number - 1,
                range: (range.start.millis(), range.end.millis()),
                matchers: matchers.clone(),
            });
        }
        if tombstones.len() > TOMBSTONES_MAX {
            return Err(failed(io::Error::other(
                "too many deletions wait for their blocks to be rewritten",
            )));
        }
        write(self.disk.as_ref(), &path, &tombstones).map_err(failed)?;
        if let Err(e) = self.delete_in_head(sets, range) {
            // Should this fail too, the next start finds the blocks' part deleted.
            let _ = write(self.disk.as_ref(), &path, &before);
            return Err(e);
        }
        self.write().tombstones = Arc::new(tombstones);
        Ok(deleted)
    }

    fn count(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Deleted, model::ReadError> {
        let mut deleted = Deleted::default();
        let mut seen: HashSet<Labels> = HashSet::new();
        let inside = |t: i64| range.contains(Timestamp::from_millis(t));
        for matchers in sets {
            let selection = Selection {
                range,
                matchers,
                hints: model::Hints::default(),
            };
            for series in self.select(&selection)? {
                if !seen.insert(series.labels) {
                    continue;
                }
                let (mut cursor, mut samples) = (series.cursor, Samples::default());
                let mut count = 0;
                while cursor.next_run(&mut samples)? {
                    count += samples.floats.iter().filter(|p| inside(p.t)).count();
                    count += samples.histograms.iter().filter(|p| inside(p.t)).count();
                    samples.clear();
                }
                deleted.samples += count as u64;
                deleted.series += u64::from(count > 0);
            }
        }
        Ok(deleted)
    }
}
