//! Bits in bytes, most significant first.

use crate::bytes::Malformed;

/// Appends bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    /// Whole words.
    bytes: Vec<u8>,
    /// The bits behind them, from the top; always less than a word. Here and not in `bytes`
    /// because there are as many of these as series: most writes then touch no memory besides
    /// the series itself.
    tail: u64,
    tail_bits: u32,
}

impl BitWriter {
    /// Appends the `count` low bits of `value`; `count <= 64`.
    pub(crate) fn write(&mut self, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        let value = value & (u64::MAX >> (64 - count));
        let free = 64 - self.tail_bits;
        if count < free {
            self.tail |= value << (free - count);
            self.tail_bits += count;
            return;
        }
        let left = count - free;
        let word = self.tail | value >> left;
        if self.bytes.len() == self.bytes.capacity() {
            // Doubling would waste a third.
            self.bytes.reserve_exact(16 + self.bytes.len() / 4 / 8 * 8);
        }
        self.bytes.extend_from_slice(&word.to_be_bytes());
        self.tail = value.checked_shl(64 - left).unwrap_or(0);
        self.tail_bits = left;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.tail_bits == 0
    }

    /// Bytes on the heap.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes; the last one is filled up with zeros.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let tail = &self.tail.to_be_bytes()[..self.tail_bits.div_ceil(8) as usize];
        let mut bytes = Vec::with_capacity(self.bytes.len() + tail.len());
        bytes.extend_from_slice(&self.bytes);
        bytes.extend_from_slice(tail);
        bytes
    }
}

/// Takes bits from the front.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits taken so far.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Result<bool, Malformed> {
        let byte = *self.bytes.get(self.at / 8).ok_or(Malformed)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits; `count <= 64`.
    pub(crate) fn read(&mut self, count: u32) -> Result<u64, Malformed> {
        let (first, within) = (self.at / 8, (self.at % 8) as u32);
        let end = self.at + count as usize;
        if count == 0 || end > self.bytes.len() * 8 {
            return if count == 0 { Ok(0) } else { Err(Malformed) };
        }
        self.at = end;
        let rest = &self.bytes[first..];
        let mut word = [0; 8];
        match rest.first_chunk::<8>() {
            Some(whole) => word = *whole,
            None => word[..rest.len()].copy_from_slice(rest),
        }
        let value = u64::from_be_bytes(word) << within >> (64 - count);
        // At most seven bits more are in a ninth byte.
        Ok(match (within + count).checked_sub(64) {
            None | Some(0) => value,
            Some(more) => value | u64::from(rest[8]) >> (8 - more),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_come_back(parts in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..200)) {
            let mut writer = BitWriter::default();
            for (value, count) in &parts {
                writer.write(*value, *count);
            }
            let bits: usize = parts.iter().map(|(_, count)| *count as usize).sum();
            let bytes = writer.to_bytes();
            prop_assert_eq!(bytes.len(), bits.div_ceil(8));
            let mut reader = BitReader::new(&bytes);
            for (value, count) in parts {
                let low = value.checked_shl(64 - count).unwrap_or(0);
                prop_assert_eq!(reader.read(count), Ok(low.checked_shr(64 - count).unwrap_or(0)));
            }
            prop_assert!(reader.read(8).is_err());
        }
    }
}
