//! Prometheus' XOR chunks: float points of one series, a few bits each.
//!
//! Times are differences of differences, values are XORed with the one before and stored
//! without their leading and trailing zeroes (Gorilla, VLDB 2015). Source of the exact layout:
//! prometheus/tsdb/chunkenc/xor.go. The store's own chunks differ, so points are encoded anew.

use model::FPoint;

use super::protobuf::{write::raw_varint, zigzag};

/// Points per chunk, as in Prometheus; the count before them has 16 bits.
pub(crate) const CHUNK_POINTS: usize = 120;

/// At most [`CHUNK_POINTS`] points, ascending in time.
pub(crate) fn encode(points: &[FPoint]) -> Vec<u8> {
    debug_assert!(points.len() <= usize::from(u16::MAX));
    let mut out = Bits::default();
    out.bytes
        .extend_from_slice(&(points.len() as u16).to_be_bytes());
    let mut window = None;
    let mut delta_before = 0_i64;
    for (i, point) in points.iter().enumerate() {
        let before = match i {
            0 => {
                raw_varint(&mut out.bytes, zigzag(point.t));
                out.push(point.v.to_bits(), 64);
                continue;
            }
            _ => &points[i - 1],
        };
        let delta = point.t.wrapping_sub(before.t);
        if i == 1 {
            // Nothing but whole bytes came before.
            raw_varint(&mut out.bytes, delta as u64);
        } else {
            time(&mut out, delta.wrapping_sub(delta_before));
        }
        delta_before = delta;
        value(
            &mut out,
            before.v.to_bits() ^ point.v.to_bits(),
            &mut window,
        );
    }
    out.bytes
}

/// The difference of differences, in one of five widths.
fn time(out: &mut Bits, dod: i64) {
    let fits = |bits: u32| (-((1_i64 << (bits - 1)) - 1)..=1 << (bits - 1)).contains(&dod);
    match dod {
        0 => out.push(0, 1),
        _ if fits(14) => {
            out.push(0b10, 2);
            out.push(dod as u64, 14);
        }
        _ if fits(17) => {
            out.push(0b110, 3);
            out.push(dod as u64, 17);
        }
        _ if fits(20) => {
            out.push(0b1110, 4);
            out.push(dod as u64, 20);
        }
        _ => {
            out.push(0b1111, 4);
            out.push(dod as u64, 64);
        }
    }
}

/// The XOR of two values; `window` holds the leading and trailing zeroes last written.
fn value(out: &mut Bits, xor: u64, window: &mut Option<(u32, u32)>) {
    if xor == 0 {
        out.push(0, 1);
        return;
    }
    out.push(1, 1);
    // Five bits for the leading zeroes.
    let leading = xor.leading_zeros().min(31);
    let trailing = xor.trailing_zeros();
    if let Some((l, t)) = *window
        && leading >= l
        && trailing >= t
    {
        out.push(0, 1);
        out.push(xor >> t, 64 - l - t);
        return;
    }
    *window = Some((leading, trailing));
    let significant = 64 - leading - trailing;
    out.push(1, 1);
    out.push(u64::from(leading), 5);
    // 64 is written as 0, which cannot occur otherwise.
    out.push(u64::from(significant), 6);
    out.push(xor >> trailing, significant);
}

/// Bits, the highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

impl Bits {
    /// The low `count` bits of `bits`.
    fn push(&mut self, bits: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let piece = (bits >> (count - taken)) as u8 & (0xff >> (8 - taken));
            self.free -= taken;
            count -= taken;
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << self.free;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::protobuf::unzigzag;
    use proptest::prelude::*;

    /// A decoder written from the format's description, for tests.
    pub(crate) fn decode(chunk: &[u8]) -> Vec<FPoint> {
        let mut at = 16;
        let mut take = |count: usize| {
            let mut bits = 0_u64;
            for _ in 0..count {
                bits = bits << 1 | u64::from(chunk[at / 8] >> (7 - at % 8) & 1);
                at += 1;
            }
            bits
        };
        let signed = |bits: u64, width: u32| {
            let v = bits as i64;
            if v > 1 << (width - 1) {
                v - (1 << width)
            } else {
                v
            }
        };
        let count = u16::from_be_bytes([chunk[0], chunk[1]]);
        let mut points = Vec::new();
        let (mut t, mut delta, mut bits) = (0_i64, 0_i64, 0_u64);
        let (mut leading, mut trailing) = (0, 0);
        for i in 0..count {
            if i < 2 {
                let (mut varint, mut shift) = (0_u64, 0);
                loop {
                    let byte = take(8);
                    varint |= (byte & 0x7f) << shift;
                    shift += 7;
                    if byte < 0x80 {
                        break;
                    }
                }
                if i == 0 {
                    t = unzigzag(varint);
                    bits = take(64);
                    points.push(FPoint {
                        t,
                        v: f64::from_bits(bits),
                    });
                    continue;
                }
                delta = varint as i64;
            } else {
                let mut ones = 0;
                while ones < 4 && take(1) == 1 {
                    ones += 1;
                }
                let dod = match ones {
                    0 => 0,
                    1 => signed(take(14), 14),
                    2 => signed(take(17), 17),
                    3 => signed(take(20), 20),
                    _ => take(64) as i64,
                };
                delta = delta.wrapping_add(dod);
            }
            t = t.wrapping_add(delta);
            if take(1) == 1 {
                if take(1) == 1 {
                    leading = take(5) as usize;
                    let significant = match take(6) as usize {
                        0 => 64,
                        s => s,
                    };
                    trailing = 64 - leading - significant;
                }
                bits ^= take(64 - leading - trailing) << trailing;
            }
            points.push(FPoint {
                t,
                v: f64::from_bits(bits),
            });
        }
        points
    }

    #[test]
    fn a_chunk_has_prometheus_bytes() {
        // Two points, by hand: count, zigzag(1000) = 2000, 1.0, delta 15, an equal value.
        let points = [FPoint { t: 1000, v: 1.0 }, FPoint { t: 1015, v: 1.0 }];
        assert_eq!(
            encode(&points),
            [0, 2, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 15, 0]
        );
    }

    proptest! {
        #[test]
        fn points_round_trip(
            steps in prop::collection::vec(
                (prop_oneof![0_i64..40_000, Just(15_000), 0_i64..1 << 40],
                 prop_oneof![any::<f64>(), Just(1.0), (0_u32..100).prop_map(f64::from)]),
                0..CHUNK_POINTS,
            ),
            start in any::<i32>(),
        ) {
            let mut t = i64::from(start);
            let points: Vec<FPoint> = steps.iter().map(|(step, v)| {
                t += step;
                FPoint { t, v: *v }
            }).collect();
            let back = decode(&encode(&points));
            let bits = |p: &[FPoint]| p.iter().map(|p| (p.t, p.v.to_bits())).collect::<Vec<_>>();
            prop_assert_eq!(bits(&back), bits(&points));
        }
    }
}
