//! Bits in bytes, most significant first.

use crate::bytes::Malformed;

/// Appends bits.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Unused bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// Appends the `count` low bits of `value`; `count <= 64`.
    pub(crate) fn write(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                if self.bytes.len() == self.bytes.capacity() {
                    // There are as many of these as series: doubling would waste a third.
                    self.bytes.reserve_exact(16 + self.bytes.len() / 4);
                }
                self.bytes.push(0);
                self.free = 8;
            }
            let now = left.min(self.free);
            let part = (value >> (left - now)) & ((1 << now) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - now);
            }
            self.free -= now;
            left -= now;
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes; the last one is filled up with zeros.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
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
        if self.at + count as usize > self.bytes.len() * 8 {
            return Err(Malformed);
        }
        let mut value = 0;
        let mut left = count;
        while left > 0 {
            let within = (self.at % 8) as u32;
            let now = left.min(8 - within);
            let byte = u64::from(self.bytes[self.at / 8]);
            let part = (byte >> (8 - within - now)) & ((1 << now) - 1);
            value = if now == 64 {
                part
            } else {
                (value << now) | part
            };
            self.at += now as usize;
            left -= now;
        }
        Ok(value)
    }
}
