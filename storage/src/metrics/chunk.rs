//! A run of samples of the head as a reader holds it and decodes later: closed ones are shared.

use std::sync::Arc;

use model::{FPoint, Samples};

use super::bits::BitReader;
use super::column::{decode_times, decode_values};
use super::wal_histogram;
use super::xor::{Times, Values};
use crate::bytes::{Malformed, Reader};

/// A run of samples in time order.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Instant of the first sample, in milliseconds.
    pub(crate) first_t: i64,
    /// Instant of the last sample.
    pub(crate) last_t: i64,
    pub(super) data: Data,
}

#[derive(Clone, Debug)]
pub(super) enum Data {
    Floats {
        times: ChunkTimes,
        values: ChunkValues,
        count: usize,
    },
    /// As `wal_histogram::pack` makes them.
    Histograms(Arc<[u8]>),
    /// Few.
    Points(Arc<Samples>),
    Float(f64),
}

#[derive(Clone, Debug)]
pub(super) enum ChunkTimes {
    /// A part of a list that other series have too.
    Shared { list: Arc<[i64]>, start: usize },
    /// Deltas of deltas, see `xor.rs`.
    Bits(Box<[u8]>),
    /// See `column.rs`.
    Column(Part),
}

/// Some of the bytes that a series' closed chunks have together: the head shares them, rather
/// than copy them for each reader. When it closes another chunk or flushes, readers keep the
/// old ones alive, until they are done.
#[derive(Clone, Debug)]
pub(super) struct Part {
    all: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl Part {
    /// The first byte, and the one behind the last; nothing where there are not so many.
    pub(super) fn new(all: &Arc<[u8]>, start: usize, end: usize) -> Part {
        Part {
            all: Arc::clone(all),
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    /// All of `bytes`.
    pub(super) fn whole(bytes: Vec<u8>) -> Part {
        let all: Arc<[u8]> = bytes.into();
        Part::new(&all, 0, all.len())
    }

    fn bytes(&self) -> &[u8] {
        self.all
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Debug)]
pub(super) enum ChunkValues {
    /// XOR stream of all values but the last `repeats`, which equal `last`; no bits at all
    /// when every value does.
    Open {
        bits: Box<[u8]>,
        repeats: usize,
        last: f64,
    },
    /// See `column.rs`.
    Column(Part),
}

impl Chunk {
    /// A chunk of one float.
    pub(crate) fn point(point: FPoint) -> Chunk {
        Chunk {
            first_t: point.t,
            last_t: point.t,
            data: Data::Float(point.v),
        }
    }

    /// A chunk of a few samples, as they are.
    #[cfg(test)]
    pub(crate) fn of(points: Samples) -> Chunk {
        let times = || {
            let floats = points.floats.iter().map(|p| p.t);
            floats.chain(points.histograms.iter().map(|p| p.t))
        };
        Chunk {
            first_t: times().min().unwrap(),
            last_t: times().max().unwrap(),
            data: Data::Points(Arc::new(points)),
        }
    }

    /// Appends the samples to `into`: the floats ascend in time, and so do the histograms.
    /// Samples before [`Chunk::first_t`] are in blocks and left out.
    pub(crate) fn decode(&self, into: &mut Samples) -> Result<(), Malformed> {
        let (floats, histograms) = (into.floats.len(), into.histograms.len());
        match &self.data {
            Data::Points(points) => {
                into.floats.extend_from_slice(&points.floats);
                into.histograms.extend_from_slice(&points.histograms);
            }
            Data::Float(v) => into.floats.push(FPoint {
                t: self.first_t,
                v: *v,
            }),
            Data::Histograms(bytes) => wal_histogram::unpack(bytes, &mut into.histograms)?,
            Data::Floats {
                times,
                values,
                count,
            } => decode_floats(times, values, *count, &mut into.floats)?,
        }
        let early = |t: i64| t < self.first_t;
        if into.floats.get(floats).is_some_and(|p| early(p.t)) {
            let end = into.floats[floats..].partition_point(|p| early(p.t));
            into.floats.drain(floats..floats + end);
        }
        if into.histograms.get(histograms).is_some_and(|p| early(p.t)) {
            let end = into.histograms[histograms..].partition_point(|p| early(p.t));
            into.histograms.drain(histograms..histograms + end);
        }
        Ok(())
    }
}

impl Chunk {
    /// Samples; histograms are unpacked to be counted.
    pub(super) fn samples(&self) -> usize {
        match &self.data {
            Data::Floats { count, .. } => *count,
            Data::Float(_) => 1,
            Data::Points(points) => points.len(),
            Data::Histograms(bytes) => {
                let mut points = Vec::new();
                // Bytes in memory that were encoded here decode.
                let _ = wal_histogram::unpack(bytes, &mut points);
                points.len()
            }
        }
    }

    /// Bytes of a list of chunks on the heap, those shared with the head or other chunks left out.
    pub(crate) fn bytes_of(chunks: &Vec<Chunk>) -> usize {
        let data: usize = chunks.iter().map(Chunk::heap_bytes).sum();
        chunks.capacity() * size_of::<Chunk>() + data
    }

    /// Bytes on the heap, those shared with the head or other chunks left out.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.data {
            Data::Histograms(_) | Data::Points(_) | Data::Float(_) => 0,
            Data::Floats { times, values, .. } => {
                let times = match times {
                    ChunkTimes::Shared { .. } | ChunkTimes::Column(_) => 0,
                    ChunkTimes::Bits(bytes) => bytes.len(),
                };
                let values = match values {
                    ChunkValues::Column(_) => 0,
                    ChunkValues::Open { bits, .. } => bits.len(),
                };
                times + values
            }
        }
    }

    /// Bytes of what a series keeps for good: the columns and histograms too.
    pub(super) fn kept_bytes(&self) -> usize {
        self.heap_bytes()
            + match &self.data {
                Data::Histograms(bytes) => bytes.len(),
                Data::Floats { times, values, .. } => {
                    let times = match times {
                        ChunkTimes::Column(part) => part.bytes().len(),
                        _ => 0,
                    };
                    let values = match values {
                        ChunkValues::Column(part) => part.bytes().len(),
                        ChunkValues::Open { .. } => 0,
                    };
                    times + values
                }
                Data::Points(_) | Data::Float(_) => 0,
            }
    }
}

fn decode_floats(
    times: &ChunkTimes,
    values: &ChunkValues,
    count: usize,
    into: &mut Vec<FPoint>,
) -> Result<(), Malformed> {
    let mut own = Vec::new();
    let times = match times {
        ChunkTimes::Shared { list, start } => list.get(*start..*start + count).ok_or(Malformed)?,
        ChunkTimes::Bits(bytes) => {
            let (mut bits, mut state) = (BitReader::new(bytes), Times::default());
            for _ in 0..count {
                own.push(state.read(&mut bits)?);
            }
            &own
        }
        ChunkTimes::Column(part) => {
            decode_times(&mut Reader::new(part.bytes()), count, &mut own)?;
            &own
        }
    };
    match values {
        ChunkValues::Column(part) => decode_values(part.bytes(), times, into),
        ChunkValues::Open {
            bits,
            repeats,
            last,
        } => {
            let mut numbers = Vec::with_capacity(count);
            decode_open(bits, *repeats, *last, count, &mut numbers)?;
            into.extend(times.iter().zip(numbers).map(|(t, v)| FPoint { t: *t, v }));
            Ok(())
        }
    }
}

/// See [`ChunkValues::Open`].
pub(super) fn decode_open(
    bits: &[u8],
    repeats: usize,
    last: f64,
    count: usize,
    into: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let end = into.len() + count;
    if !bits.is_empty() {
        let (mut reader, mut state) = (BitReader::new(bits), Values::default());
        for _ in 0..count.checked_sub(repeats).ok_or(Malformed)? {
            into.push(state.read(&mut reader)?);
        }
    }
    into.resize(end, last);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            count in 0_usize..200,
            repeats in 0_usize..200,
        ) {
            let bits: Box<[u8]> = bytes.clone().into();
            let values = ChunkValues::Open { bits: bits.clone(), repeats, last: 1.0 };
            let times = ChunkTimes::Bits(bits.clone());
            let mut into = Samples::default();
            let data = Data::Floats { times, values, count };
            let _ = Chunk { first_t: 0, last_t: 0, data }.decode(&mut into);
            let data = Data::Histograms(bytes.into());
            let _ = Chunk { first_t: 0, last_t: 0, data }.decode(&mut into);
        }
    }
}
