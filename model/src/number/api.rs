//! Sample values and instants as the HTTP API writes them, appended in place: an answer may
//! hold millions of them.

use super::begin;
use super::shortest::Shortest;

/// Below 2^53 every whole number is exact, so that its digits are those of the integer.
const WHOLE_END: f64 = (1_u64 << 53) as f64;
/// Below this, three decimals make fifteen digits at most, and no two texts of fifteen digits
/// read back as the same number: the one found is the shortest but for its zeros.
const THOUSANDTHS_END: f64 = 1e12;

/// Appends a sample value as Prometheus' JSON has it: the shortest digits that read back the
/// same, fixed, or with an exponent below 1e-6 and from 1e21 on.
/// Source: prometheus/util/jsonutil.MarshalFloat.
pub fn push_api(out: &mut String, v: f64) {
    if !begin(out, v) {
        return;
    }
    let v = v.abs();
    if v < THOUSANDTHS_END && (v * 1000.0).round() / 1000.0 == v {
        push_thousandths(out, (v * 1000.0).round() as u64);
    } else if v < WHOLE_END && v.fract() == 0.0 {
        out.push_str(itoa::Buffer::new().format(v as u64));
    } else if (1e-6..1e21).contains(&v) {
        push_fixed(out, v);
    } else {
        Shortest::of(v).push_exponent(out);
    }
}

/// Appends an instant, in milliseconds since the epoch, as Prometheus' JSON has it: seconds,
/// with three decimals unless they are zero.
pub fn push_seconds(out: &mut String, millis: i64) {
    if millis < 0 {
        out.push('-');
    }
    let millis = millis.unsigned_abs();
    out.push_str(itoa::Buffer::new().format(millis / 1000));
    push_decimals(out, millis % 1000, 1);
}

/// Where it is printed without an exponent already, which is between 1e-5 and 1e16, that is it.
fn push_fixed(out: &mut String, v: f64) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v);
    if text.bytes().any(|b| b == b'e') {
        Shortest::of(v).push_fixed(out);
    } else {
        out.push_str(text.strip_suffix(".0").unwrap_or(text));
    }
}

/// Most values that are measured have few decimals; these are found in half the time.
fn push_thousandths(out: &mut String, thousandths: u64) {
    out.push_str(itoa::Buffer::new().format(thousandths / 1000));
    let rest = thousandths % 1000;
    let unit = match rest {
        _ if rest.is_multiple_of(100) => 100,
        _ if rest.is_multiple_of(10) => 10,
        _ => 1,
    };
    push_decimals(out, rest, unit);
}

/// Thousandths, unless there are none, down to `unit` of them.
fn push_decimals(out: &mut String, thousandths: u64, unit: u64) {
    if thousandths == 0 {
        return;
    }
    out.push('.');
    for power in [100, 10, 1] {
        if power >= unit {
            out.push(char::from(b'0' + (thousandths / power % 10) as u8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn api(v: f64) -> String {
        let mut out = String::new();
        push_api(&mut out, v);
        out
    }

    fn seconds(millis: i64) -> String {
        let mut out = String::new();
        push_seconds(&mut out, millis);
        out
    }

    /// Reads back the same, in as few digits as the standard library has. Which of two equally
    /// near digits is last is the one thing the two do differently.
    fn is_shortest(v: f64) {
        let text = api(v);
        let read: f64 = text.replace("Inf", "inf").parse().unwrap();
        assert_eq!(read.to_bits(), v.to_bits(), "{text}");
        let digits = |text: &str| {
            let significand = text.split('e').next().unwrap_or_default();
            let digits: String = significand.chars().filter(char::is_ascii_digit).collect();
            digits.trim_matches('0').len()
        };
        assert_eq!(digits(&text), digits(&format!("{v:e}")), "{text}");
    }

    #[test]
    fn instants_have_three_decimals_or_none() {
        for (millis, text) in [
            (0, "0"),
            (10, "0.010"),
            (1500, "1.500"),
            (-1, "-0.001"),
            (4000, "4"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(seconds(millis), text);
        }
    }

    #[test]
    fn of_two_equally_near_texts_the_even_one_is_printed() {
        // What Prometheus 2.42 printed.
        for (v, text) in [
            (957_251_161_074_013.0 + 0.25, "957251161074013.2"),
            (957_251_161_074_013.0 + 0.75, "957251161074013.8"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(api(v), text);
        }
    }

    #[test]
    fn values_on_the_edges_are_the_shortest() {
        for v in [
            0.0,
            -0.0,
            0.1,
            -2.5,
            100.5,
            1e15,
            1e16,
            1.5e16,
            WHOLE_END - 1.0,
            WHOLE_END,
            WHOLE_END + 2.0,
            1e20,
            1.2345e20,
            1e21,
            1e-6,
            9.9e-7,
            5e-324,
            2.225_073_858_507_201_4e-308,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            is_shortest(v);
        }
    }

    /// As without the shorter ways.
    fn by_all_digits(v: f64) -> String {
        let mut out = String::new();
        if begin(&mut out, v) {
            Shortest::of(v).push_fixed(&mut out);
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn few_decimals_print_as_all_digits_do(thousandths in 0..2_000_000_000_000_000_i64, digits in 0..15) {
            let v = (thousandths / 10_i64.pow(digits as u32)) as f64 / 1000.0;
            prop_assert_eq!(api(v), by_all_digits(v));
            let next = v.next_up();
            prop_assert_eq!(api(next), if next < 1e-6 { api(next) } else { by_all_digits(next) });
        }

        #[test]
        fn any_value_is_the_shortest(bits: u64) {
            let v = f64::from_bits(bits);
            if !v.is_nan() {
                is_shortest(v);
            }
        }

        #[test]
        fn values_of_few_digits_are_the_shortest(
            digits in -10_000_000_i64..10_000_000, exponent in -30..30,
        ) {
            is_shortest(format!("{digits}e{exponent}").parse().unwrap());
        }
    }
}
