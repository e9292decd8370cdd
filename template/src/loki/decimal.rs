//! Arithmetic on floats by their shortest decimal digits: 0.1 + 0.2 is 0.3.
//!
//! sprig computes with github.com/shopspring/decimal; what does not fit our 128 bits is computed
//! in floats, as are infinities.

use model::number::format_fixed;

/// `digits × 10^-scale`
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

/// Digits behind the point of a quotient.
const DIVISION_SCALE: u32 = 16;

fn of(value: f64) -> Option<Decimal> {
    if !value.is_finite() {
        return None;
    }
    let text = format_fixed(value);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction}").parse().ok()?;
    Some(Decimal {
        digits,
        scale: fraction.len() as u32,
    })
}

fn float(value: Decimal) -> Option<f64> {
    let negative = value.digits < 0;
    let scale = value.scale as usize;
    let mut text = value.digits.unsigned_abs().to_string();
    if text.len() <= scale {
        text = format!("{}{text}", "0".repeat(scale + 1 - text.len()));
    }
    text.insert(text.len() - scale, '.');
    let magnitude: f64 = text.parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// Both with the same scale.
fn aligned(a: Decimal, b: Decimal) -> Option<(i128, i128, u32)> {
    let scale = a.scale.max(b.scale);
    let scaled = |d: Decimal| {
        10_i128
            .checked_pow(scale - d.scale)
            .and_then(|p| d.digits.checked_mul(p))
    };
    Some((scaled(a)?, scaled(b)?, scale))
}

fn with(a: f64, b: f64, apply: impl Fn(Decimal, Decimal) -> Option<Decimal>) -> Option<f64> {
    float(apply(of(a)?, of(b)?)?)
}

pub(super) fn add(a: f64, b: f64) -> f64 {
    with(a, b, |a, b| {
        let (a, b, scale) = aligned(a, b)?;
        let digits = a.checked_add(b)?;
        Some(Decimal { digits, scale })
    })
    .unwrap_or(a + b)
}

pub(super) fn sub(a: f64, b: f64) -> f64 {
    add(a, -b)
}

pub(super) fn mul(a: f64, b: f64) -> f64 {
    with(a, b, |a, b| {
        Some(Decimal {
            digits: a.digits.checked_mul(b.digits)?,
            scale: a.scale + b.scale,
        })
    })
    .unwrap_or(a * b)
}

/// Rounded half away from zero.
pub(super) fn div(a: f64, b: f64) -> f64 {
    with(a, b, |a, b| {
        let (a, b, _) = aligned(a, b)?;
        let scaled = a.checked_mul(10_i128.checked_pow(DIVISION_SCALE)?)?;
        let quotient = scaled.checked_div(b)?;
        let rest = scaled.checked_rem(b)?;
        let away = rest.unsigned_abs() >= b.unsigned_abs().div_ceil(2);
        let step = if (scaled < 0) == (b < 0) { 1 } else { -1 };
        Some(Decimal {
            digits: quotient + if away { step } else { 0 },
            scale: DIVISION_SCALE,
        })
    })
    .unwrap_or(a / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_add_up() {
        assert_eq!(add(0.1, 0.2), 0.3);
        assert_eq!(sub(5.5, 1.5), 4.0);
        assert_eq!(mul(0.1, 3.0), 0.3);
        assert_eq!(div(10.0, 3.0), 3.333_333_333_333_333_5);
        assert_eq!(div(-1.0, 8.0), -0.125);
        assert!(div(1.0, 0.0).is_infinite());
        assert_eq!(add(1e300, 1.0), 1e300);
    }
}
