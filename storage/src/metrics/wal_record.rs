//! What the write-ahead log of samples says: batches, deletions, what is in blocks.
//! Bytes: `docs/formats/wal.md`.

use std::sync::Arc;

use model::{Histogram, Matcher, TimeRange, Timestamp};

use super::matcher_bytes::{put_matchers, read_matchers};
use crate::bytes::{Malformed, Reader, put_signed, put_varint};

/// The types of records.
pub(crate) const BATCH: u8 = 5;
pub(crate) const FLOOR: u8 = 6;
pub(crate) const DELETION: u8 = 7;

/// Layouts that writer and reader remember in a run.
pub(super) const LAYOUTS_MAX: usize = 256;
/// Series numbers are dense; larger ones cannot be.
pub(crate) const ID_MAX: u32 = 1 << 21;
/// Flags of a batch.
pub(super) const COMPRESSED: u8 = 1;
pub(super) const RUN_STARTS: u8 = 2;

/// Kinds of layouts.
pub(super) const LAYOUT_INLINE: u8 = 0;
pub(super) const LAYOUT_KNOWN: u8 = 1;
pub(super) const LAYOUT_KEPT: u8 = 2;
pub(super) const LAYOUT_FIRST: u8 = 3;

/// A float of a numbered series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberedFloat {
    pub(crate) id: u32,
    pub(crate) t: i64,
    pub(crate) v: f64,
    /// The value before it in this run, else 0.
    pub(crate) before: f64,
}

/// A histogram of a numbered series.
#[derive(Clone, Debug)]
pub(crate) struct NumberedHistogram {
    pub(crate) id: u32,
    pub(crate) t: i64,
    pub(crate) h: Arc<Histogram>,
    pub(crate) is_late: bool,
}

/// What of a batch is stored.
#[derive(Default)]
pub(crate) struct Planned {
    /// Each later than what its series has.
    pub(crate) floats: Vec<NumberedFloat>,
    /// Not so; `before` means nothing.
    pub(crate) late: Vec<NumberedFloat>,
    pub(crate) histograms: Vec<NumberedHistogram>,
}

impl Planned {
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.late.is_empty() && self.histograms.is_empty()
    }

    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty() || self.histograms.iter().any(|h| h.is_late)
    }

    pub(crate) fn clear(&mut self) {
        self.floats.clear();
        self.late.clear();
        self.histograms.clear();
    }
}

/// Labels and series that this segment does not have yet.
pub(crate) struct Definitions<'a> {
    /// Number, name, value.
    pub(crate) labels: Vec<(u32, &'a str, &'a str)>,
    /// Number, numbers of the labels.
    pub(crate) series: Vec<(u32, &'a [u32])>,
}

/// Everything before the instant is in blocks, with exceptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) t: i64,
    pub(crate) unread: Vec<Unread>,
}

/// A segment that could not be read when samples went to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) segment: u64,
    /// Only what it has before this instant is in blocks.
    pub(crate) floor_t: i64,
}

pub(crate) fn encode_floor(floor_t: i64, unread: &[Unread]) -> Vec<u8> {
    let mut out = Vec::new();
    put_signed(&mut out, floor_t);
    put_varint(&mut out, unread.len() as u64);
    for u in unread {
        put_varint(&mut out, u.segment);
        put_signed(&mut out, u.floor_t);
    }
    out
}

/// Of the floor that `segment` has. Later segments were not there to be unread: what a damaged record
/// says of one would be held against samples that are yet to come.
pub(crate) fn decode_floor(payload: &[u8], segment: u64) -> Result<Floor, Malformed> {
    let mut r = Reader::new(payload);
    let t = r.signed()?;
    let mut unread = Vec::new();
    for _ in 0..r.count(2)? {
        unread.push(Unread {
            segment: r.varint()?,
            floor_t: r.signed()?,
        });
    }
    unread.retain(|u: &Unread| u.segment < segment);
    Ok(Floor { t, unread })
}

/// The samples of matching series in a range are gone.
pub(crate) fn encode_deletion(sets: &[Vec<Matcher>], range: TimeRange) -> Vec<u8> {
    let mut out = Vec::new();
    put_signed(&mut out, range.start.millis());
    put_signed(&mut out, range.end.millis());
    put_varint(&mut out, sets.len() as u64);
    for matchers in sets {
        put_matchers(&mut out, matchers);
    }
    out
}

pub(crate) fn decode_deletion(payload: &[u8]) -> Result<(Vec<Vec<Matcher>>, TimeRange), Malformed> {
    let mut r = Reader::new(payload);
    let start = Timestamp::from_millis(r.signed()?);
    let end = Timestamp::from_millis(r.signed()?);
    let mut sets = Vec::new();
    for _ in 0..r.count(1)? {
        sets.push(read_matchers(&mut r)?);
    }
    Ok((sets, TimeRange { start, end }))
}

#[cfg(test)]
mod floor_tests {
    use super::*;

    #[test]
    fn a_floor_says_nothing_of_segments_that_came_after_it() {
        let unread = |segment| Unread {
            segment,
            floor_t: 5,
        };
        let payload = encode_floor(7, &[unread(2), unread(3), unread(4)]);
        let floor = decode_floor(&payload, 3).unwrap();
        assert_eq!((floor.t, floor.unread), (7, vec![unread(2)]));
        assert!(decode_floor(&payload[..3], 3).is_err());
    }
}
