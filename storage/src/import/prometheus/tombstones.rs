//! Which ranges of which series were deleted. Source: Prometheus'
//! tsdb/docs/format/tombstones.md, and its reader for what the checksum covers.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use super::BlockError;
use crate::bytes::Reader;
use crate::crc32c::checksum;
use crate::import::regular::open_regular;

const MAGIC: [u8; 4] = 0x0130_ba30_u32.to_be_bytes();
const HEADER_BYTES: usize = 5;
/// A larger file is not believed.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Deleted ranges by series reference, both ends inclusive, in milliseconds.
#[derive(Default)]
pub(super) struct Tombstones(HashMap<u64, Vec<(i64, i64)>>);

impl Tombstones {
    /// Reads the file; a block without one has deleted nothing.
    pub(super) fn open(path: &Path) -> Result<Tombstones, BlockError> {
        let bad = |what: &str| BlockError::corrupt(path, what);
        let bytes = match std::fs::metadata(path).map(|m| m.len()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Tombstones::default()),
            Err(e) => return Err(BlockError::io(path, e)),
            Ok(len) if len > FILE_BYTES_MAX => return Err(bad("it is too large")),
            Ok(_) => {
                let mut bytes = Vec::new();
                let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
                read.map_err(|e| BlockError::io(path, e))?;
                bytes
            }
        };
        let (body, crc) = bytes
            .split_last_chunk::<4>()
            .filter(|(body, _)| body.len() >= HEADER_BYTES)
            .ok_or_else(|| bad("it is too short"))?;
        if body[..4] != MAGIC || body[4] != 1 {
            return Err(bad("unknown header"));
        }
        let stones = &body[HEADER_BYTES..];
        if checksum(stones) != u32::from_be_bytes(*crc) {
            return Err(bad("wrong checksum"));
        }
        let mut by_series: HashMap<u64, Vec<(i64, i64)>> = HashMap::new();
        let mut r = Reader::new(stones);
        while !r.is_empty() {
            let stone = r
                .varint()
                .and_then(|series| Ok((series, r.signed()?, r.signed()?)));
            let (series, from, to) = stone.map_err(|_| bad("an entry is cut"))?;
            by_series.entry(series).or_default().push((from, to));
        }
        Ok(Tombstones(by_series))
    }

    /// Whether nothing was deleted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was deleted of a series.
    pub(super) fn of(&self, series: u64) -> &[(i64, i64)] {
        self.0.get(&series).map_or(&[], Vec::as_slice)
    }
}
