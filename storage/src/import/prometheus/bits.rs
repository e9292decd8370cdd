//! Bits, most significant first, and the variable-width integers that Prometheus' chunks are
//! made of. Source of the widths: Prometheus' format description tsdb/docs/format/chunks.md.

use crate::bytes::Malformed;

/// Widths behind the prefixes 10, 110, 1110 and 1111 of a timestamp's delta of deltas.
const TIME_WIDTHS: [u32; 4] = [14, 17, 20, 64];
/// Widths behind the prefixes 10, 110, … of an integer in a histogram chunk.
const INTEGER_WIDTHS: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

/// Reads bits from bytes.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    /// The next `width` bits, at most 64.
    pub(super) fn take(&mut self, width: u32) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        let mut left = width as usize;
        while left > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(Malformed)?;
            let free = 8 - self.at % 8;
            let take = left.min(free);
            let piece = (u16::from(byte) >> (free - take)) & ((1 << take) - 1);
            value = (value << take) | u64::from(piece);
            self.at += take;
            left -= take;
        }
        Ok(value)
    }

    pub(super) fn bit(&mut self) -> Result<bool, Malformed> {
        Ok(self.take(1)? == 1)
    }

    pub(super) fn float(&mut self) -> Result<f64, Malformed> {
        Ok(f64::from_bits(self.take(64)?))
    }

    /// Go's `binary.Uvarint`, bit by bit where need be.
    pub(super) fn uvarint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Go's `binary.Varint`.
    pub(super) fn varint(&mut self) -> Result<i64, Malformed> {
        Ok(crate::bytes::unzigzag(self.uvarint()?))
    }

    /// `varbit_ts`: a timestamp's delta of deltas.
    pub(super) fn time_delta(&mut self) -> Result<i64, Malformed> {
        self.signed(&TIME_WIDTHS)
    }

    /// `varbit_int`.
    pub(super) fn integer(&mut self) -> Result<i64, Malformed> {
        self.signed(&INTEGER_WIDTHS)
    }

    /// `varbit_uint`.
    pub(super) fn unsigned(&mut self) -> Result<u64, Malformed> {
        match self.width(&INTEGER_WIDTHS)? {
            None => Ok(0),
            Some(width) => self.take(width),
        }
    }

    fn signed(&mut self, widths: &[u32]) -> Result<i64, Malformed> {
        let Some(width) = self.width(widths)? else {
            return Ok(0);
        };
        let bits = self.take(width)?;
        if width == 64 {
            return Ok(bits as i64);
        }
        // The positive end of the range is one longer than in two's complement.
        let half = 1_u64 << (width - 1);
        let value = bits as i64;
        Ok(if bits > half {
            value - (1_i64 << width)
        } else {
            value
        })
    }

    /// As many ones as say which width follows; `None` for a zero at once.
    fn width(&mut self, widths: &[u32]) -> Result<Option<u32>, Malformed> {
        let mut ones = 0;
        while ones < widths.len() && self.bit()? {
            ones += 1;
        }
        Ok(ones.checked_sub(1).and_then(|at| widths.get(at)).copied())
    }
}

/// A float that is stored as the difference in bits from the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct XorFloat {
    bits: u64,
    leading: u32,
    trailing: u32,
}

impl XorFloat {
    /// Starts from a value that was stored whole.
    pub(super) fn from(value: f64) -> Self {
        XorFloat {
            bits: value.to_bits(),
            ..XorFloat::default()
        }
    }

    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Reads the next value.
    pub(super) fn next(&mut self, bits: &mut Bits<'_>) -> Result<f64, Malformed> {
        if !bits.bit()? {
            return Ok(self.value());
        }
        if bits.bit()? {
            self.leading = bits.take(5)? as u32;
            let significant = match bits.take(6)? as u32 {
                0 => 64,
                n => n,
            };
            self.trailing = 64_u32
                .checked_sub(self.leading + significant)
                .ok_or(Malformed)?;
        }
        let significant = 64 - self.leading - self.trailing;
        self.bits ^= bits.take(significant)? << self.trailing;
        Ok(self.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_told_by_leading_ones_and_halves_belong_to_the_positive_side() {
        assert_eq!(Bits::new(&[0]).integer(), Ok(0));
        // 10 and three bits: 4 is the largest, 5 means -3.
        assert_eq!(Bits::new(&[0b1010_0000]).integer(), Ok(4));
        assert_eq!(Bits::new(&[0b1010_1000]).integer(), Ok(-3));
        assert_eq!(Bits::new(&[0b1010_1000]).unsigned(), Ok(5));
        // 10 and fourteen bits.
        assert_eq!(Bits::new(&[0b1011_1111, 0xff]).time_delta(), Ok(-1));
        let all_ones = [0xff_u8; 16];
        assert_eq!(Bits::new(&all_ones).integer(), Ok(-1));
        assert_eq!(Bits::new(&all_ones[..4]).integer(), Err(Malformed));
    }

    #[test]
    fn integers_of_seven_bits_a_byte_are_bounded() {
        assert_eq!(Bits::new(&[0x96, 0x01]).uvarint(), Ok(150));
        assert_eq!(Bits::new(&[0x03]).varint(), Ok(-2));
        assert_eq!(Bits::new(&[0xff; 20]).uvarint(), Err(Malformed));
    }

    #[test]
    fn impossible_widths_are_refused() {
        // 1, 1, leading 31, significant 63.
        let bytes = [0xff_u8; 16];
        assert!(XorFloat::from(1.0).next(&mut Bits::new(&bytes)).is_err());
    }
}
