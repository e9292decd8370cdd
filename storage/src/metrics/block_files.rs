//! The files of blocks, opened when they are read: there may be more blocks than a process may
//! have open files.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use crate::disk::{Disk, DiskFile};

/// Files kept open for the next read. A process may usually have 1,024, of which connections take
/// up to half; opening another one costs two system calls. Tests live with few.
const OPEN_MAX: usize = if cfg!(test) { 2 } else { 256 };

/// By the number of the block in the cache.
pub(crate) struct BlockFiles {
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    files: HashMap<u64, Used, RandomState>,
    tick: u64,
}

struct Used {
    file: Arc<dyn DiskFile>,
    at: u64,
}

impl BlockFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> BlockFiles {
        BlockFiles {
            disk,
            open: Mutex::default(),
        }
    }

    /// The file of a block. For one that was not read lately the one that was not read for
    /// longest is closed, once nobody reads it.
    pub(crate) fn get(&self, block: u64, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.lock().find(block) {
            return Ok(file);
        }
        // Not under the lock: two readers may both open it, which is harmless.
        let file = self.disk.open(path)?;
        self.lock().insert(block, Arc::clone(&file));
        Ok(file)
    }

    /// Closes the file of a block that is gone.
    pub(crate) fn forget(&self, block: u64) {
        self.lock().files.remove(&block);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn find(&mut self, block: u64) -> Option<Arc<dyn DiskFile>> {
        self.tick += 1;
        let used = self.files.get_mut(&block)?;
        used.at = self.tick;
        Some(Arc::clone(&used.file))
    }

    fn insert(&mut self, block: u64, file: Arc<dyn DiskFile>) {
        if self.files.len() >= OPEN_MAX {
            let oldest = self.files.iter().min_by_key(|(_, used)| used.at);
            if let Some(oldest) = oldest.map(|(block, _)| *block) {
                self.files.remove(&oldest);
            }
        }
        let at = self.tick;
        self.files.insert(block, Used { file, at });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::faulty::FaultyDisk;

    #[test]
    fn few_files_stay_open_and_those_that_were_read_last() {
        let disk = FaultyDisk::default();
        let path = |block: u64| PathBuf::from(format!("/{block}"));
        for block in 0..10 {
            let file = disk.create(&path(block)).unwrap();
            file.write_at(&[block as u8], 0).unwrap();
        }
        let files = BlockFiles::new(Arc::new(disk.clone()));
        let first = files.get(0, &path(0)).unwrap();
        for block in 1..10 {
            files.get(block, &path(block)).unwrap();
            files.get(9, &path(9)).unwrap();
            assert!(files.lock().files.len() <= OPEN_MAX);
        }
        assert!(files.lock().files.contains_key(&9));
        let mut byte = [7];
        first.read_at(&mut byte, 0).unwrap();
        assert_eq!(byte, [0], "who has it reads on");
        disk.remove(&path(3)).unwrap();
        assert!(files.get(3, &path(3)).is_err());
        files.forget(9);
        assert!(!files.lock().files.contains_key(&9));
    }
}
