//! Blocks that were written elsewhere than by a flush.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Block, BlockError};
use super::block_writer::BlockWriter;
use super::directory::{block_path, remove_file};
use super::{Flusher, MetricStore};
use crate::error::WriteError;

impl MetricStore {
    /// Brings everything in memory into blocks.
    pub(crate) fn flush_all(&self) -> Result<(), WriteError> {
        self.flush_everything(&mut self.lock_flusher())
    }

    fn flush_everything(&self, flusher: &mut Flusher) -> Result<(), WriteError> {
        let Some(to) = self.read().head.end_of_all() else {
            return Ok(());
        };
        match self.flush_to(flusher, to, false) {
            true => Ok(()),
            false => {
                let e = std::io::Error::other("the health report says why");
                Err(WriteError::from_io("flush to", &self.blocks_dir, e))
            }
        }
    }

    /// Starts a block under a temporary name, to be made visible by [`MetricStore::adopt`].
    pub(crate) fn begin_block(&self) -> Result<(PathBuf, BlockWriter), WriteError> {
        let mut flusher = self.lock_flusher();
        let path = block_path(&self.blocks_dir, flusher.next_number).with_extension("tmp");
        flusher.next_number += 1;
        let writer = BlockWriter::create(self.disk.as_ref(), &path);
        let writer = writer.map_err(|e| WriteError::from_io("create", &path, e))?;
        Ok((path, writer))
    }

    /// Makes blocks with temporary names part of the store: younger than everything that is there,
    /// and in this order.
    pub(crate) fn adopt(&self, blocks: &[PathBuf]) -> Result<(), WriteError> {
        let mut flusher = self.lock_flusher();
        self.flush_everything(&mut flusher)?;
        let mut opened = Vec::new();
        for temporary in blocks {
            let path = block_path(&self.blocks_dir, flusher.next_number);
            flusher.next_number += 1;
            let failed = |operation| {
                let path = path.clone();
                move |e| WriteError::from_io(operation, path, e)
            };
            self.disk
                .rename(temporary, &path)
                .map_err(failed("rename to"))?;
            let block = Block::open(&path, &self.cache).map_err(|e| {
                failed("open")(match e {
                    BlockError::Io(e) => e,
                    BlockError::Corrupt(what) => std::io::Error::other(what),
                })
            })?;
            opened.push(Arc::new(block));
        }
        let synced = self.disk.sync_dir(&self.blocks_dir);
        synced.map_err(|e| WriteError::from_io("sync", &self.blocks_dir, e))?;
        self.write().add_blocks(opened);
        Ok(())
    }

    /// Removes a block that was begun and not adopted.
    pub(crate) fn discard(&self, temporary: &Path) {
        remove_file(self.disk.as_ref(), temporary);
    }
}
