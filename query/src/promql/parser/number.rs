//! Numbers as Go's strconv reads them.

/// An integer in any of Go's notations (`0x1f`, `0b1`, `0o7`, `017`, `1_000`), else a float.
/// Source: prometheus promql/parser `number`: `ParseInt(text, 0, 64)`, then `ParseFloat`.
///
/// # Errors
/// What `ParseFloat` says: `invalid syntax` or `value out of range`.
pub(crate) fn parse(text: &str) -> Result<f64, &'static str> {
    match integer(text) {
        Some(v) => Ok(v as f64),
        None => float(text),
    }
}

/// Go's `ParseFloat(text, 64)` without hexadecimal floats.
///
/// # Errors
/// As [`parse`].
pub(crate) fn float(text: &str) -> Result<f64, &'static str> {
    const SYNTAX: &str = "invalid syntax";
    let named = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    match named.as_str() {
        "inf" | "infinity" => return text.parse().map_err(|_| SYNTAX),
        "nan" if text.len() == named.len() => return Ok(f64::NAN),
        _ => {}
    }
    if !underscores_separate_digits(text)
        || !text.ends_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return Err(SYNTAX);
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    match plain.parse::<f64>() {
        Ok(v) if v.is_finite() => Ok(v),
        Ok(_) => Err("value out of range"),
        Err(_) => Err(SYNTAX),
    }
}

/// Go's `ParseInt(text, 0, 64)`.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !underscores_separate_digits(text) {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if body.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{body}"), radix).ok()
}

/// Go's rule: an underscore stands between digits or after a base prefix.
fn underscores_separate_digits(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text).as_bytes();
    let prefixed = matches!(text, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O', ..]);
    let hex = matches!(text, [b'0', b'x' | b'X', ..]);
    let body = if prefixed { &text[2..] } else { text };
    let is_digit = |b: u8| b.is_ascii_digit() || (hex && b.is_ascii_hexdigit());
    let mut before = prefixed;
    for (i, &b) in body.iter().enumerate() {
        if b == b'_' && !(before && body.get(i + 1).is_some_and(|next| is_digit(*next))) {
            return false;
        }
        before = is_digit(b);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_in_gos_notations() {
        for (text, expect) in [
            ("0x1F", 31.0),
            ("0X_1f", 31.0),
            ("017", 15.0),
            ("0_17", 15.0),
            ("08", 8.0),
            ("1_000", 1000.0),
            ("1_0.5_0e1_0", 10.5e10),
            (".5", 0.5),
            ("5.", 5.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("-Inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse(text), Ok(expect), "{text}");
        }
        assert!(parse("NaN").is_ok_and(f64::is_nan));
    }

    #[test]
    fn what_go_cannot_read_is_refused_in_its_words() {
        for text in [
            "",
            "1e",
            "1_",
            "1__0",
            "0x",
            "0x1e+5",
            "0xffffffffffffffff",
            "-nan",
            "1e5x",
        ] {
            assert_eq!(parse(text), Err("invalid syntax"), "{text}");
        }
        assert_eq!(parse("1e999"), Err("value out of range"));
        assert_eq!(float("010"), Ok(10.0));
    }
}
