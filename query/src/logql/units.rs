//! Durations and sizes as Go's time package and dustin/go-humanize read and print them.

use template::Span as Duration;

/// A number before a unit, and the rest.
fn leading_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// Go's `time.ParseDuration`, in nanoseconds: `1h15m30.918273645s`, `-1.5h`, `0`.
///
/// # Errors
/// Go's words.
pub(crate) fn parse_go_duration(text: &str) -> Result<i64, String> {
    let quoted = || crate::promql::quote::go_quote(text);
    let invalid = || format!("time: invalid duration {}", quoted());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_len = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let nanos: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quoted())),
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                let unit = crate::promql::quote::go_quote(unit);
                return Err(format!(
                    "time: unknown unit {unit} in duration {}",
                    quoted()
                ));
            }
        };
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        let part = if fraction.is_empty() {
            0
        } else {
            // Go keeps as many digits as fit and cuts what is below a nanosecond.
            let fraction = &fraction[..fraction.len().min(18)];
            let scale = 10_i128.pow(fraction.len() as u32);
            fraction.parse::<i128>().map_err(|_| invalid())? * nanos / scale
        };
        total = whole
            .checked_mul(nanos)
            .and_then(|n| n.checked_add(part))
            .and_then(|n| n.checked_add(total))
            .filter(|n| *n <= i128::from(i64::MAX) + i128::from(negative))
            .ok_or_else(invalid)?;
        rest = next;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// As LogQL's texts have durations: Prometheus' form, else Go's. In nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    match model::number::parse_duration(text) {
        Ok(duration) => i64::try_from(duration.as_nanos()).ok(),
        Err(_) => parse_go_duration(text).ok(),
    }
}

/// Prints nanoseconds as Go does: `1h0m0s`.
pub(crate) fn go_duration(nanos: i64) -> String {
    Duration::from_nanos(nanos).to_string()
}

/// Prints nanoseconds as Prometheus does: `1h`; parts of a millisecond are cut off.
pub(crate) fn prometheus_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let text =
        model::number::format_duration(std::time::Duration::from_nanos(nanos.unsigned_abs()));
    format!("{sign}{text}")
}

/// go-humanize's `ParseBytes`: `5KB`, `1.5 MiB`, `1,024`.
///
/// # Errors
/// Its words.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(text.len());
    let number = text[..end].replace(',', "");
    let value = parse_float(&number)?;
    let unit = text[end..].trim().to_lowercase();
    let (letter, binary) = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => ("", false),
        rest => match rest.strip_suffix('i') {
            Some(letter) => (letter, true),
            None => (rest, false),
        },
    };
    let power = match letter {
        "" if !binary => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        "e" => 6,
        _ => return Err(format!("unhandled size name: {unit}")),
    };
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let bytes = value * base.powi(power);
    if bytes >= 18_446_744_073_709_551_615.0 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

/// go-humanize's `Bytes` without the space: `2.6kB`.
pub(crate) fn humanize_bytes(bytes: u64) -> String {
    const SIZES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let exponent = ((bytes as f64).ln() / 1000_f64.ln()).floor();
    let value = (bytes as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    let unit = SIZES[(exponent as usize).min(SIZES.len() - 1)];
    if value < 10.0 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// Go's `strconv.ParseFloat(text, 64)`.
///
/// # Errors
/// Go's words.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    let error = |why: &str| {
        let quoted = crate::promql::quote::go_quote(text);
        format!("strconv.ParseFloat: parsing {quoted}: {why}")
    };
    let digits = text.trim_start_matches(['+', '-']);
    let known_word = ["inf", "infinity", "nan"]
        .iter()
        .any(|w| digits.eq_ignore_ascii_case(w));
    let plausible = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit());
    if text.len() - digits.len() > 1 || !(known_word || plausible) {
        return Err(error("invalid syntax"));
    }
    let value: f64 = text.parse().map_err(|_| error("invalid syntax"))?;
    if value.is_infinite() && !known_word {
        return Err(error("value out of range"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_read_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1.5h", 5_400_000_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("-1ms", -1_000_000),
            (".5s", 500_000_000),
            ("3µs", 3000),
        ] {
            assert_eq!(parse_go_duration(text), Ok(nanos), "{text}");
        }
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("..s", "time: invalid duration \"..s\""),
            ("999999999h", "time: invalid duration \"999999999h\""),
        ] {
            assert_eq!(parse_go_duration(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_read_and_print_as_humanize_does() {
        for (text, bytes) in [
            ("42", 42),
            ("1,024 B", 1024),
            ("2.5KiB", 2560),
            ("1kb", 1000),
            ("3M", 3_000_000),
            ("1Gi", 1 << 30),
            ("1PB", 1_000_000_000_000_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(
            parse_bytes("5 apples"),
            Err("unhandled size name: apples".to_owned())
        );
        assert_eq!(
            parse_bytes("x"),
            Err("strconv.ParseFloat: parsing \"\": invalid syntax".to_owned())
        );
        for (bytes, text) in [(9, "9B"), (2560, "2.6kB"), (82_854_982, "83MB")] {
            assert_eq!(humanize_bytes(bytes), text);
        }
    }

    #[test]
    fn floats_read_as_go_reads_them() {
        assert_eq!(parse_float("1e3"), Ok(1000.0));
        assert_eq!(parse_float("+Inf"), Ok(f64::INFINITY));
        assert!(parse_float("nan").is_ok_and(f64::is_nan));
        for bad in ["", "--1", "1e", "e5", "0x", "1_0", " 1"] {
            assert!(parse_float(bad).is_err(), "{bad}");
        }
    }
}
