//! The files of the metric half, for a snapshot.

use std::io;
use std::path::PathBuf;

use super::MetricStore;
use crate::backup::{BackupError, Freeze, Frozen, files_under};

/// Tries to find a list of blocks that stays as it is while they are linked.
const TRIES: usize = 5;

impl MetricStore {
    /// Hands the files as they are to `visit`, while no flush moves samples from the log to a
    /// block. Appends go on: what the log gets meanwhile is behind the length handed over.
    pub(crate) fn freeze(&self, visit: &mut Freeze<'_>) -> Result<(), BackupError> {
        let _flusher = self.lock_flusher();
        let wal = self.lock_writer().wal.files();
        let unreadable = |source| BackupError::Io {
            operation: "read",
            path: self.blocks_dir.clone(),
            source,
        };
        for tries_left in (0..TRIES).rev() {
            let blocks = self.block_files().map_err(unreadable)?;
            let mut files: Vec<Frozen> = Vec::new();
            files.extend(wal.iter().map(|(path, bytes)| Frozen {
                path: path.clone(),
                bytes: Some(*bytes),
                immutable: false,
            }));
            files.extend(blocks.iter().map(|path| Frozen {
                path: path.clone(),
                bytes: None,
                immutable: path.extension().is_some_and(|e| e == "blk"),
            }));
            match visit(&files) {
                // Retention or compaction took one.
                Err(BackupError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries_left > 0 => {}
                Err(e) => return Err(e),
                Ok(()) if self.block_files().map_err(unreadable)? == blocks => return Ok(()),
                Ok(()) => {}
            }
        }
        Err(unreadable(io::Error::other(
            "blocks change too fast; try again",
        )))
    }

    fn block_files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        files_under(&self.blocks_dir, &mut files)?;
        Ok(files)
    }
}
