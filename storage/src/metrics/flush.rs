//! From head to block.

use std::io;
use std::path::Path;
use std::sync::Arc;

use model::{Labels, Samples, TimeRange, Timestamp};

use super::State;
use super::block::{Block, BlockError};
use super::block_cache::BlockCache;
use super::block_writer::BlockWriter;
use super::chunk::Chunk;
use super::head::Head;
use super::head_times::TimesCopies;
use crate::disk::Disk;
use crate::error::WriteError;
use crate::health::Watch;
use crate::telemetry::FileKind;

/// An early flush leaves this much in memory, for the samples that are just arriving.
const EARLY_FLUSH_KEEPS_MS: i64 = 60 * 1000;
/// An early flush writes at least this much: a head that is full of active series alone
/// must not write a tiny block every few seconds.
const EARLY_FLUSH_MIN_MS: i64 = 5 * 60 * 1000;

/// Where an early flush of this head ends: most goes, the newest minute stays. `None` when
/// that would make a block not worth its file.
pub(super) fn early_flush_end(head: &Head) -> Option<i64> {
    let (min_t, max_t) = head.bounds()?;
    let to = max_t.saturating_sub(EARLY_FLUSH_KEEPS_MS);
    (to.saturating_sub(min_t) >= EARLY_FLUSH_MIN_MS).then_some(to)
}

pub(super) type VisitSeries<'a> = dyn FnMut(Labels, Vec<Chunk>) -> io::Result<()> + 'a;

/// Writes samples before `to` of the series `ids` (sorted by labels); `None` when there are
/// none. The name appears only once the content is durable.
pub(super) fn write_block(
    disk: &dyn Disk,
    cache: &Arc<BlockCache>,
    path: &Path,
    to: i64,
    ids: Vec<u32>,
    series: &mut dyn FnMut(u32, &mut VisitSeries<'_>) -> io::Result<()>,
) -> io::Result<Option<Block>> {
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<Option<Block>> {
        let mut writer = BlockWriter::create(disk, &temporary)?;
        let mut points = Samples::default();
        for id in ids {
            series(id, &mut |labels, chunks| {
                points.clear();
                for chunk in chunks {
                    // Bytes in memory that were encoded here decode; else they are left out.
                    let _ = chunk.decode(&mut points);
                }
                let floats = &mut points.floats;
                if !floats.is_sorted_by(|a, b| a.t < b.t) {
                    // Late samples: of one instant the first one counts.
                    floats.sort_by_key(|p| p.t);
                    floats.dedup_by_key(|p| p.t);
                }
                floats.truncate(floats.partition_point(|p| p.t < to));
                let histograms = &mut points.histograms;
                if !histograms.is_sorted_by(|a, b| a.t < b.t) {
                    histograms.sort_by_key(|p| p.t);
                    histograms.dedup_by_key(|p| p.t);
                }
                histograms.truncate(histograms.partition_point(|p| p.t < to));
                writer.add(&labels, &points)
            })?;
        }
        if writer.is_empty() {
            return Ok(None);
        }
        writer.finish(to)?;
        disk.rename(&temporary, path)?;
        if let Some(dir) = path.parent() {
            disk.sync_dir(dir)?;
        }
        match Block::open(path, cache) {
            Ok(block) => Ok(Some(block)),
            Err(BlockError::Io(e)) => Err(e),
            Err(BlockError::Corrupt(what)) => Err(io::Error::other(what)),
        }
    };
    let written = write();
    if !matches!(written, Ok(Some(_))) {
        // Left-overs are also removed at the next start.
        let _ = disk.remove(&temporary);
    }
    written
}

/// A flush during replay, when nobody else looks at the state.
pub(super) fn flush_in_place(
    disk: &dyn Disk,
    watch: &Watch,
    cache: &Arc<BlockCache>,
    state: &mut State,
    to: i64,
    path: &Path,
) {
    state.head.raise_floor(to);
    let ids = state.head.sorted_ids();
    let head = &state.head;
    let mut copies = TimesCopies::default();
    let range = TimeRange::new(Timestamp::MIN, Timestamp::from_millis(to - 1));
    let written = write_block(disk, cache, path, to, ids, &mut |id, visit| {
        let chunks = head.in_order_chunks(id, range, &mut copies);
        match chunks.is_empty() {
            true => Ok(()),
            false => visit(head.labels(id), chunks),
        }
    });
    match written {
        Ok(block) => {
            state.add_blocks(block.map(Arc::new));
            state.head.drop_before(to);
        }
        Err(e) => {
            let error = WriteError::from_io("write", path, e);
            watch.write_failed("metrics block", FileKind::Block, &error);
        }
    }
}
