//! Timestamps as deltas of deltas, values as XOR with the value before.
//!
//! Source: Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database"
//! (VLDB 2015), with buckets chosen for milliseconds. Bit-exact for every input.

use super::bits::{BitReader, BitWriter};
use crate::bytes::{Malformed, unzigzag, zigzag};

/// Payload widths of the delta-of-delta buckets behind `10`, `110`, `1110` and `1111`.
/// Seven bits hold the jitter of a scrape, 14 a missed second, 24 hours of silence.
const WIDTHS: [u32; 4] = [7, 14, 24, 64];

/// State of a timestamp stream, the same on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    started: bool,
    last: i64,
    delta: i64,
}

impl Times {
    pub(crate) fn write(&mut self, out: &mut BitWriter, t: i64) {
        let delta = t.wrapping_sub(self.last);
        if !self.started {
            out.write(t as u64, 64);
            self.started = true;
            self.last = t;
            return;
        }
        let change = zigzag(delta.wrapping_sub(self.delta));
        if change == 0 {
            out.write(0, 1);
        } else {
            let bucket = WIDTHS
                .iter()
                .position(|w| *w == 64 || change >> w == 0)
                .unwrap_or(3);
            match bucket {
                0 => out.write(0b10, 2),
                1 => out.write(0b110, 3),
                2 => out.write(0b1110, 4),
                _ => out.write(0b1111, 4),
            }
            out.write(change, WIDTHS[bucket]);
        }
        self.delta = delta;
        self.last = t;
    }

    pub(crate) fn read(&mut self, from: &mut BitReader<'_>) -> Result<i64, Malformed> {
        if !self.started {
            self.started = true;
            self.last = from.read(64)? as i64;
            return Ok(self.last);
        }
        let mut bucket = None;
        for b in [None, Some(0), Some(1), Some(2)] {
            if !from.bit()? {
                bucket = Some(b);
                break;
            }
        }
        let change = match bucket {
            Some(None) => 0,
            Some(Some(b)) => unzigzag(from.read(WIDTHS[b])?),
            None => unzigzag(from.read(64)?),
        };
        self.delta = self.delta.wrapping_add(change);
        self.last = self.last.wrapping_add(self.delta);
        Ok(self.last)
    }
}

/// State of a value stream, the same on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Values {
    started: bool,
    last: u64,
    leading: u32,
    /// Significant bits of the current window; 0 before the first window.
    width: u32,
}

impl Values {
    /// The state of a stream whose last value and window are known.
    pub(crate) fn resume(last: f64, leading: u8, width: u8) -> Values {
        Values {
            started: true,
            last: last.to_bits(),
            leading: leading.into(),
            width: width.into(),
        }
    }

    /// Leading zeros and width of the current window.
    pub(crate) fn window(&self) -> (u8, u8) {
        (self.leading as u8, self.width as u8)
    }

    pub(crate) fn write(&mut self, out: &mut BitWriter, v: f64) {
        let bits = v.to_bits();
        if !self.started {
            out.write(bits, 64);
            self.started = true;
            self.last = bits;
            return;
        }
        let xor = bits ^ self.last;
        self.last = bits;
        if xor == 0 {
            out.write(0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(31);
        let trailing = xor.trailing_zeros();
        let window_trailing = 64 - self.leading - self.width;
        if self.width > 0 && leading >= self.leading && trailing >= window_trailing {
            out.write(0b10, 2);
            out.write(xor >> window_trailing, self.width);
        } else {
            self.leading = leading;
            self.width = 64 - leading - trailing;
            out.write(0b11, 2);
            out.write(u64::from(leading), 5);
            // 1..=64 in six bits.
            out.write(u64::from(self.width - 1), 6);
            out.write(xor >> trailing, self.width);
        }
    }

    pub(crate) fn read(&mut self, from: &mut BitReader<'_>) -> Result<f64, Malformed> {
        if !self.started {
            self.started = true;
            self.last = from.read(64)?;
            return Ok(f64::from_bits(self.last));
        }
        if from.bit()? {
            if from.bit()? {
                self.leading = from.read(5)? as u32;
                self.width = from.read(6)? as u32 + 1;
            }
            let used = self.leading + self.width;
            if used > 64 || self.width == 0 {
                return Err(Malformed);
            }
            self.last ^= from.read(self.width)? << (64 - used);
        }
        Ok(f64::from_bits(self.last))
    }
}
