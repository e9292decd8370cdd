//! The directory of blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Block, BlockError};
use super::block_cache::BlockCache;
use crate::disk::{Disk, number_in, quarantine};
use crate::health::Watch;
use crate::telemetry::FileKind;

/// Opens all blocks in `dir`, oldest first, and gives the number of the next one.
pub(super) fn open_blocks(
    disk: &dyn Disk,
    watch: &Watch,
    dir: &Path,
    cache: &Arc<BlockCache>,
) -> io::Result<(Vec<Arc<Block>>, u64)> {
    let mut blocks = Vec::new();
    let mut next_number = 1;
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.name.ends_with(".tmp") {
            remove_file(disk, &path);
            continue;
        }
        let number = number_in(&entry.name);
        next_number = next_number.max(number.map_or(0, |n| n + 1));
        if number.is_none() || !entry.name.ends_with(".blk") {
            continue;
        }
        match disk
            .open(&path)
            .map_err(BlockError::Io)
            .and_then(|f| Block::open(f, &path, cache))
        {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(BlockError::Corrupt(what)) => {
                watch.corrupt(FileKind::Block, &path, what);
                quarantine(disk, &path);
            }
            Err(BlockError::Io(e)) => watch.corrupt(FileKind::Block, &path, e),
        }
    }
    blocks.sort_by_key(|b| b.start_t);
    Ok((blocks, next_number))
}

/// The name of a block.
pub(super) fn block_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.blk"))
}

/// Removes a file; a failure is logged and the file found again at the next start.
pub(super) fn remove_file(disk: &dyn Disk, path: &Path) {
    let removed = disk.remove(path).and_then(|()| match path.parent() {
        Some(dir) => disk.sync_dir(dir),
        None => Ok(()),
    });
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "cannot remove a file");
    }
}
