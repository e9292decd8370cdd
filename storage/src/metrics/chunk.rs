//! Samples of one series in memory: timestamps and values in one bit stream.

use std::sync::Arc;

use model::{FPoint, Samples};

use super::bits::{BitReader, BitWriter};
use super::xor::{Times, Values};
use crate::bytes::Malformed;

/// Samples of a chunk. Longer chunks compress better; a reader decodes whole chunks.
pub(crate) const CHUNK_SAMPLES: u16 = 120;

/// A run of samples that takes more.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkBuilder {
    bits: BitWriter,
    times: Times,
    values: Values,
    count: u16,
    first_t: i64,
    last_t: i64,
}

/// A run of samples that is complete, or the copy of one that is not.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    bytes: Arc<[u8]>,
    count: u16,
    /// Instant of the first sample, in milliseconds.
    pub(crate) first_t: i64,
    /// Instant of the last sample.
    pub(crate) last_t: i64,
}

impl ChunkBuilder {
    pub(crate) fn push(&mut self, t: i64, v: f64) {
        if self.count == 0 {
            self.first_t = t;
        }
        self.last_t = t;
        self.count += 1;
        self.times.write(&mut self.bits, t);
        self.values.write(&mut self.bits, v);
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn first_t(&self) -> i64 {
        self.first_t
    }

    pub(crate) fn last_t(&self) -> i64 {
        self.last_t
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bits.capacity()
    }

    /// A copy of the samples so far.
    pub(crate) fn snapshot(&self) -> Chunk {
        Chunk {
            bytes: Arc::from(self.bits.bytes()),
            count: self.count,
            first_t: self.first_t,
            last_t: self.last_t,
        }
    }
}

impl Chunk {
    /// Bytes on the heap, shared among clones.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.len() + 2 * size_of::<usize>()
    }

    /// Appends the samples to `into`: the floats ascend in time, and so do the histograms.
    pub(crate) fn decode(&self, into: &mut Samples) -> Result<(), Malformed> {
        let mut bits = BitReader::new(&self.bytes);
        let (mut times, mut values) = (Times::default(), Values::default());
        into.floats.reserve(usize::from(self.count));
        for _ in 0..self.count {
            let t = times.read(&mut bits)?;
            let v = values.read(&mut bits)?;
            into.floats.push(FPoint { t, v });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::arbitrary::{bits_of, sample_runs};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn samples_come_back_bit_by_bit(run in sample_runs(120)) {
            let mut chunk = ChunkBuilder::default();
            for p in &run {
                chunk.push(p.t, p.v);
            }
            let mut back = Samples::default();
            chunk.snapshot().decode(&mut back).unwrap();
            prop_assert_eq!(bits_of(&back.floats), bits_of(&run));
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            count in 0_u16..200,
        ) {
            let chunk = Chunk { bytes: Arc::from(bytes), count, first_t: 0, last_t: 0 };
            let _ = chunk.decode(&mut Samples::default());
        }
    }
}
