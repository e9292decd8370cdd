//! The shortest digits of a number, and the two ways to set its point.

/// Most digits that the shortest text of a number has.
const DIGITS_MAX: usize = 17;

/// The shortest digits that read back as the same number, of two equally near ones the even one
/// as in Go (the standard library takes the upper one): `0.d1d2d3… × 10^point`.
pub(super) struct Shortest {
    digits: [u8; DIGITS_MAX],
    len: usize,
    point: i32,
}

impl Shortest {
    /// Of a finite number's magnitude.
    pub(super) fn of(v: f64) -> Shortest {
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(v.abs());
        let (significand, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut shortest = Shortest {
            digits: [b'0'; DIGITS_MAX],
            len: 0,
            point: exponent.parse().unwrap_or(0),
        };
        let mut is_whole = true;
        let mut end = 0;
        for byte in significand.bytes() {
            if byte == b'.' {
                is_whole = false;
                continue;
            }
            let leads = shortest.len == 0 && byte == b'0';
            shortest.point += i32::from(is_whole && !leads) - i32::from(!is_whole && leads);
            if leads {
                continue;
            }
            if let Some(digit) = shortest.digits.get_mut(shortest.len) {
                *digit = byte;
            }
            shortest.len += 1;
            if byte != b'0' {
                end = shortest.len;
            }
        }
        if end == 0 {
            (end, shortest.point) = (1, 1);
        }
        shortest.len = end;
        shortest
    }

    /// The exponent where one digit stands before the point.
    pub(super) fn exponent(&self) -> i32 {
        self.point - 1
    }

    fn digits(&self) -> &str {
        let digits = self.digits.get(..self.len).unwrap_or_default();
        std::str::from_utf8(digits).unwrap_or_default()
    }

    pub(super) fn push_fixed(&self, out: &mut String) {
        let digits = self.digits();
        let zeros = |out: &mut String, count: usize| out.extend(std::iter::repeat_n('0', count));
        let point = self.point.unsigned_abs() as usize;
        if self.point <= 0 {
            out.push_str("0.");
            zeros(out, point);
            out.push_str(digits);
        } else if let Some((whole, rest)) = digits.split_at_checked(point) {
            out.push_str(whole);
            if !rest.is_empty() {
                out.push('.');
                out.push_str(rest);
            }
        } else {
            out.push_str(digits);
            zeros(out, point - digits.len());
        }
    }

    /// At least two digits of exponent, as Go has them.
    pub(super) fn push_exponent(&self, out: &mut String) {
        let (first, rest) = self.digits().split_at_checked(1).unwrap_or_default();
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let exponent = self.exponent();
        out.push_str(if exponent < 0 { "e-" } else { "e+" });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.push('0');
        }
        out.push_str(itoa::Buffer::new().format(exponent));
    }
}
