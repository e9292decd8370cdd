//! The samples of one series, from blocks and head, a chunk at a time.

use std::sync::Arc;

use model::{FPoint, ReadError, SampleCursor, Samples};

use super::block::{Block, BlockError, ChunkRef};
use super::chunk::Chunk;
use crate::health::Watch;
use crate::telemetry::FileKind;

/// Where a run of samples is.
pub(crate) enum Source {
    Block(Arc<Block>, ChunkRef),
    Head(Chunk),
}

/// Decodes its sources one after the other; they are in time order.
pub(crate) struct Cursor {
    pub(crate) sources: std::vec::IntoIter<Source>,
    pub(crate) watch: Arc<Watch>,
    /// Instant of the last sample given out: while a block takes over from the head, both
    /// have the same samples.
    pub(crate) last_t: Option<i64>,
}

impl SampleCursor for Cursor {
    /// A damaged chunk is passed over and reported in health, so that it costs two hours of
    /// one series and not every query over that time.
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        for source in self.sources.by_ref() {
            let mut points: Vec<FPoint> = Vec::new();
            match source {
                Source::Head(chunk) => {
                    let mut samples = Samples::default();
                    if chunk.decode(&mut samples).is_err() {
                        return Err(ReadError::Corrupt("head chunk".to_owned()));
                    }
                    points = samples.floats;
                }
                Source::Block(block, chunk) => match block.decode(&chunk, &mut points) {
                    Ok(()) => {}
                    Err(BlockError::Io(e)) => {
                        return Err(ReadError::Io {
                            what: block.path.display().to_string(),
                            source: Arc::new(e),
                        });
                    }
                    Err(BlockError::Corrupt(what)) => {
                        self.watch.corrupt(FileKind::Block, &block.path, what);
                        continue;
                    }
                },
            }
            let known = match self.last_t {
                Some(t) => points.partition_point(|p| p.t <= t),
                None => 0,
            };
            let fresh = &points[known..];
            if let Some(last) = fresh.last() {
                self.last_t = Some(last.t);
                into.floats.extend_from_slice(fresh);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
