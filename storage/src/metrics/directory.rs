//! The directory of blocks.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Block, BlockError, Identity, MAGIC, VERSION};
use super::block_cache::BlockCache;
use super::gaps::{Gaps, bounds_of};
use super::tombstone::{self, Tombstone, tombstones_path};
use crate::disk::{Disk, number_in, quarantine};
use crate::format::{NOT_READ, other_version};
use crate::health::Watch;
use crate::telemetry::FileKind;

/// Bounds of deletions that could not be read are assumed to be less than this beyond the newest
/// block: of each number between them a deletion, or a merge that came to nothing, took one.
const UNREAD_BOUNDS_MAX: u64 = 1 << 20;

/// Why a block is not read.
pub(super) const SET_ASIDE: &str = "is set aside as damaged";

/// Opens all blocks in `dir`, in the order of their age, and gives the number of the next one.
pub(super) fn open_blocks(
    disk: &dyn Disk,
    watch: &Watch,
    dir: &Path,
    cache: &Arc<BlockCache>,
    gaps: &Gaps,
) -> io::Result<(Vec<Arc<Block>>, u64)> {
    let mut blocks: Vec<Arc<Block>> = Vec::new();
    let mut next_number = 1;
    let mut left_over: Vec<PathBuf> = Vec::new();
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        let number = number_in(&entry.name);
        let is_ours = number.is_some() || entry.name == "tombstones.tmp";
        if is_ours && entry.name.ends_with(".tmp") {
            left_over.push(path);
            continue;
        }
        next_number = next_number.max(number.map_or(0, |n| n + 1));
        if number.is_some()
            && let Some(name) = entry.name.strip_suffix(".corrupt")
            && name.ends_with(".blk")
        {
            gaps.add(&dir.join(name), SET_ASIDE, bounds_of(disk, &path));
        }
        if number.is_none() || !entry.name.ends_with(".blk") {
            continue;
        }
        match Block::open(&path, cache) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(BlockError::Corrupt(what)) => {
                let opened = disk.open(&path).ok();
                let version = opened.and_then(|f| other_version(f.as_ref(), MAGIC, VERSION));
                if let Some(version) = version {
                    watch.other_format("blocks", version, &path);
                    gaps.add(&path, NOT_READ, None);
                    continue;
                }
                watch.corrupt(FileKind::Block, &path, what);
                gaps.add(&path, SET_ASIDE, bounds_of(disk, &path));
                quarantine(disk, &path);
            }
            Err(BlockError::Io(e)) => {
                watch.unreadable(FileKind::Block, &path, &e);
                gaps.add(&path, "cannot be read", bounds_of(disk, &path));
            }
        }
    }
    // A crash between a block and the removal of those it replaces leaves these behind. Others may
    // have their numbers: a block may have been copied here from another data directory.
    let replaced: HashSet<Identity> = blocks.iter().flat_map(|b| b.replaces.clone()).collect();
    blocks.retain(|b| {
        let is_left_over = replaced.contains(&b.identity());
        if is_left_over {
            left_over.push(b.path.clone());
        }
        !is_left_over
    });
    remove_files(disk, dir, &left_over);
    blocks.sort_by_key(|b| b.age());
    Ok((blocks, next_number))
}

/// Reads the deletions that wait for their blocks; no block written from now on may get a
/// number that they mean. `None` when they are there and the disk refuses, or they are of another
/// format.
pub(super) fn open_tombstones(
    disk: &dyn Disk,
    watch: &Watch,
    dir: &Path,
    next_number: &mut u64,
) -> Option<Arc<Vec<Tombstone>>> {
    let path = tombstones_path(dir);
    let tombstones = match tombstone::read(disk, &path) {
        Ok(Ok(tombstones)) => tombstones,
        Ok(Err(tombstone::Unread::OtherFormat(version))) => {
            watch.other_format("lists of deletions", version, &path);
            warn_of_deletions(watch, &path, next_number);
            return None;
        }
        Ok(Err(tombstone::Unread::Damaged)) => {
            watch.corrupt(FileKind::Block, &path, "checksum");
            quarantine(disk, &path);
            Vec::new()
        }
        Err(e) => {
            watch.unreadable(FileKind::Block, &path, &e);
            warn_of_deletions(watch, &path, next_number);
            return None;
        }
    };
    // Compaction knows deletions by their bounds: each has its own.
    let bound = tombstones.iter().map(|t| t.below + 1).max();
    *next_number = (*next_number).max(bound.unwrap_or(0));
    Some(Arc::new(tombstones))
}

/// Deletions cannot be read: says so, and keeps clear of the numbers that they may mean.
fn warn_of_deletions(watch: &Watch, path: &Path, next_number: &mut u64) {
    let text = format!(
        "deletions in {} cannot be read: what they deleted may answer again, nothing else \
         is deleted and blocks are not compacted until stackwatch is started with a file \
         it can read",
        path.display()
    );
    watch.warn("deletions", Some(text));
    *next_number += UNREAD_BOUNDS_MAX;
}

/// The name of a block.
pub(super) fn block_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.blk"))
}

/// As [`remove_files`].
pub(super) fn remove_file(disk: &dyn Disk, path: &Path) {
    if let Some(dir) = path.parent() {
        remove_files(disk, dir, &[path]);
    }
}

/// Removes files of `dir`; failures are logged and the files found again at the next start. There
/// is one sync for all: each may take as long as a loaded disk likes.
pub(super) fn remove_files<P: AsRef<Path>>(disk: &dyn Disk, dir: &Path, paths: &[P]) {
    for path in paths.iter().map(P::as_ref) {
        if let Err(error) = disk.remove(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file");
        }
    }
    if !paths.is_empty()
        && let Err(error) = disk.sync_dir(dir)
    {
        tracing::warn!(dir = %dir.display(), %error, "cannot sync a directory");
    }
}
