//! What was read from blocks lately, checked and unpacked, within a bound for all blocks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use super::block_files::BlockFiles;
use super::block_frame::{Frame, TimesPage};
use crate::disk::Disk;

/// Bytes of unpacked pieces that are kept. Going through the series of a query in order needs
/// the frames of one group only, so this bounds what many queries at once can share.
pub(crate) const CACHE_BYTES_MAX: usize = 8 << 20;
/// Reckoned per entry besides its content.
const ENTRY_BYTES: usize = 96;

/// One unpacked piece of a file.
#[derive(Clone)]
pub(crate) enum Piece {
    Bytes(Arc<Vec<u8>>),
    Frame(Arc<Frame>),
    Times(Arc<TimesPage>),
}

/// Shared by all blocks of a store.
pub(crate) struct BlockCache {
    pub(crate) files: BlockFiles,
    bytes_max: usize,
    next_block: AtomicU64,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    map: HashMap<(u64, u64), Entry, RandomState>,
    bytes: usize,
    tick: u64,
}

struct Entry {
    piece: Piece,
    bytes: usize,
    used: u64,
}

impl BlockCache {
    /// Of blocks on `disk`.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> BlockCache {
        BlockCache {
            files: BlockFiles::new(disk),
            bytes_max: CACHE_BYTES_MAX,
            next_block: AtomicU64::new(0),
            entries: Mutex::default(),
        }
    }

    /// A number by which one open block calls its pieces.
    pub(crate) fn new_block(&self) -> u64 {
        self.next_block.fetch_add(1, Ordering::Relaxed)
    }

    /// The piece at `offset`, or what `read` makes of the file; its estimated bytes come with it.
    pub(crate) fn get<E>(
        &self,
        block: u64,
        offset: u64,
        read: impl FnOnce() -> Result<(Piece, usize), E>,
    ) -> Result<Piece, E> {
        if let Some(piece) = self.lock().find((block, offset)) {
            return Ok(piece);
        }
        // Not under the lock: two readers may both read, which is harmless.
        let (piece, bytes) = read()?;
        let bytes = bytes + ENTRY_BYTES;
        if bytes <= self.bytes_max / 4 {
            let used = piece.clone();
            self.lock()
                .insert((block, offset), used, bytes, self.bytes_max);
        }
        Ok(piece)
    }

    /// Forgets a block that is gone.
    pub(crate) fn forget(&self, block: u64) {
        self.files.forget(block);
        let mut entries = self.lock();
        let entries = &mut *entries;
        let bytes = &mut entries.bytes;
        entries.map.retain(|(of, _), entry| {
            if *of == block {
                *bytes -= entry.bytes;
            }
            *of != block
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn find(&mut self, key: (u64, u64)) -> Option<Piece> {
        self.tick += 1;
        let entry = self.map.get_mut(&key)?;
        entry.used = self.tick;
        Some(entry.piece.clone())
    }

    fn insert(&mut self, key: (u64, u64), piece: Piece, bytes: usize, bytes_max: usize) {
        if self.bytes + bytes > bytes_max {
            self.shrink_to(bytes_max - bytes_max / 8 - bytes);
        }
        let used = self.tick;
        let entry = Entry { piece, bytes, used };
        if let Some(before) = self.map.insert(key, entry) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
    }

    /// Removes the least recently used, an eighth at a time so that the sorting pays.
    fn shrink_to(&mut self, bytes_max: usize) {
        let mut ages: Vec<(u64, (u64, u64))> = self.map.iter().map(|(k, e)| (e.used, *k)).collect();
        ages.sort_unstable();
        for (_, key) in ages {
            if self.bytes <= bytes_max {
                break;
            }
            if let Some(entry) = self.map.remove(&key) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    #[test]
    fn the_least_recently_used_goes_and_the_bound_holds() {
        let cache = BlockCache {
            bytes_max: 64 << 10,
            ..BlockCache::new(Arc::new(FaultyDisk::default()))
        };
        let get = |offset: u64| {
            let mut missed = false;
            let piece = || {
                missed = true;
                Ok::<_, ()>((Piece::Bytes(Arc::new(Vec::new())), 1000))
            };
            cache.get(1, offset, piece).unwrap();
            missed
        };
        assert!(get(0) && !get(0));
        for offset in 1..500 {
            assert!(get(offset));
            assert!(!get(0), "always in use");
            assert!(cache.lock().bytes <= 64 << 10);
        }
        assert!(get(1), "long unused");
        cache.forget(1);
        let left = cache.lock();
        assert_eq!((left.bytes, left.map.len()), (0, 0));
    }
}
