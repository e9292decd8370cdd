//! Reads blocks of Prometheus' TSDB: index version 2, chunk segments, tombstones. A block is
//! checked as it is read; whatever is wrong refuses the whole block, because a history with
//! silent holes is worse than none.

mod bits;
mod chunk;
mod index;
mod tombstones;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, Samples};

use self::index::{ChunkMeta, Index, uvarint};
use self::tombstones::Tombstones;
use super::regular::open_regular;
use crate::crc32c::checksum;

const SEGMENT_MAGIC: [u8; 4] = 0x85bd_40dd_u32.to_be_bytes();
const SEGMENT_VERSION: u8 = 1;
/// Read for a chunk before its length is known; most are smaller.
const CHUNK_BYTES_USUAL: usize = 2048;
/// A larger chunk is not believed.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Samples of one series handed over at once, so that a month of one series is not in memory.
const PIECE_SAMPLES: usize = 20_000;

/// Why a block cannot be imported.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlockError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file is damaged, or of a kind that is not understood.
    #[error("{}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Whoever took the samples gave up.
    #[error("{0}")]
    Stopped(String),
}

impl BlockError {
    fn io(path: &Path, source: io::Error) -> Self {
        BlockError::Io {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    fn corrupt(path: &Path, what: &str) -> Self {
        BlockError::Corrupt {
            path: path.to_owned(),
            what: what.to_owned(),
        }
    }
}

/// An open block of Prometheus.
pub struct PrometheusBlock {
    index: Index,
    segments: Vec<(PathBuf, File)>,
    tombstones: Tombstones,
}

/// What was in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockContent {
    /// Series, those without samples left included.
    pub series: u64,
    /// Samples handed over.
    pub samples: u64,
    /// Samples left out because Prometheus had deleted them.
    pub deleted: u64,
}

impl PrometheusBlock {
    /// Opens the block in `dir` (which holds `index` and `chunks/`).
    ///
    /// # Errors
    /// When it is incomplete, damaged at its ends, or of another version.
    pub fn open(dir: &Path) -> Result<PrometheusBlock, BlockError> {
        let index = Index::open(&dir.join("index"))?;
        let tombstones = Tombstones::open(&dir.join("tombstones"))?;
        let chunks = dir.join("chunks");
        let unreadable = |e| BlockError::io(&chunks, e);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&chunks).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
                paths.push(path);
            }
        }
        paths.sort();
        let mut segments = Vec::new();
        for path in paths {
            let file = open_regular(&path).map_err(|e| BlockError::io(&path, e))?;
            let mut header = [0; 8];
            let read = file.read_exact_at(&mut header, 0);
            read.map_err(|_| BlockError::corrupt(&path, "it is too short"))?;
            if header[..4] != SEGMENT_MAGIC || header[4] != SEGMENT_VERSION {
                return Err(BlockError::corrupt(&path, "unknown header"));
            }
            segments.push((path, file));
        }
        Ok(PrometheusBlock {
            index,
            segments,
            tombstones,
        })
    }

    /// Whether samples of it were deleted, so that it has fewer than its `meta.json` says.
    #[must_use]
    pub fn has_tombstones(&self) -> bool {
        !self.tombstones.is_empty()
    }

    /// Hands all samples to `visit`, series sorted by labels, a series in pieces of bounded
    /// size in time order.
    ///
    /// # Errors
    /// At the first damage, and when `visit` fails.
    pub fn read(
        &self,
        visit: &mut dyn FnMut(&Labels, &Samples) -> Result<(), BlockError>,
    ) -> Result<BlockContent, BlockError> {
        let mut content = BlockContent::default();
        let mut samples = Samples::default();
        let mut buffer = Vec::new();
        self.index.each(&mut |entry| {
            content.series += 1;
            let labels = entry.labels.build();
            let deleted = self.tombstones.of(entry.reference);
            for chunk in &entry.chunks {
                let before = (samples.floats.len(), samples.histograms.len());
                self.decode(chunk, &mut buffer, &mut samples)?;
                content.deleted += remove(&mut samples, before, deleted);
                if samples.len() >= PIECE_SAMPLES {
                    content.samples += samples.len() as u64;
                    visit(&labels, &samples)?;
                    samples.clear();
                }
            }
            if !samples.is_empty() {
                content.samples += samples.len() as u64;
                visit(&labels, &samples)?;
                samples.clear();
            }
            Ok(())
        })?;
        Ok(content)
    }

    fn decode(
        &self,
        chunk: &ChunkMeta,
        buffer: &mut Vec<u8>,
        into: &mut Samples,
    ) -> Result<(), BlockError> {
        let Some((path, file)) = self.segments.get(chunk.segment as usize) else {
            let what = format!("chunk segment {} is missing", chunk.segment + 1);
            return Err(BlockError::corrupt(&PathBuf::from("chunks"), &what));
        };
        let at = u64::from(chunk.offset);
        let bad =
            |what: &str| BlockError::corrupt(path, &format!("{what} in the chunk at byte {at}"));
        buffer.resize(CHUNK_BYTES_USUAL, 0);
        let got = read_some(file, buffer, at).map_err(|e| BlockError::io(path, e))?;
        buffer.truncate(got);
        let (len, prefix) = uvarint(&buffer[..got.min(10)]).ok_or_else(|| bad("wrong length"))?;
        // Length, encoding, data, checksum.
        let whole = prefix + 1 + len + 4;
        if len > CHUNK_BYTES_MAX {
            return Err(bad("wrong length"));
        }
        if whole > got as u64 {
            buffer.resize(whole as usize, 0);
            let got = read_some(file, buffer, at).map_err(|e| BlockError::io(path, e))?;
            if (got as u64) < whole {
                return Err(bad("cut short"));
            }
        }
        let (body, crc) = buffer
            .get(prefix as usize..whole as usize)
            .and_then(|b| b.split_last_chunk::<4>())
            .ok_or_else(|| bad("cut short"))?;
        if checksum(body) != u32::from_be_bytes(*crc) {
            return Err(bad("wrong checksum"));
        }
        let (encoding, data) = body.split_first().ok_or_else(|| bad("cut short"))?;
        if !chunk::is_known(*encoding) {
            let what = format!("encoding {encoding} is not understood");
            return Err(bad(&what));
        }
        let before = (into.floats.len(), into.histograms.len());
        chunk::decode(*encoding, data, into).map_err(|_| bad("wrong content"))?;
        let times = into.floats[before.0..].iter().map(|p| p.t);
        let times = times.chain(into.histograms[before.1..].iter().map(|p| p.t));
        let mut last = None;
        for t in times {
            if last.is_some_and(|l| t <= l) || t < chunk.min_t || t > chunk.max_t {
                return Err(bad("timestamps are out of order"));
            }
            last = Some(t);
        }
        Ok(())
    }
}

/// Reads as much as there is, at most `into`.
fn read_some(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read_at(&mut into[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Removes deleted samples from `before` on; how many these were.
fn remove(samples: &mut Samples, before: (usize, usize), deleted: &[(i64, i64)]) -> u64 {
    if deleted.is_empty() {
        return 0;
    }
    let all = samples.len();
    let is_deleted = |t: i64| deleted.iter().any(|(from, to)| (*from..=*to).contains(&t));
    let mut at = 0;
    samples.floats.retain(|p| {
        at += 1;
        at <= before.0 || !is_deleted(p.t)
    });
    at = 0;
    samples.histograms.retain(|p| {
        at += 1;
        at <= before.1 || !is_deleted(p.t)
    });
    (all - samples.len()) as u64
}
