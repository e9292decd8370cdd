//! When a line says it was written: a JSON or logfmt field, or RFC 3339 at its beginning.

/// Field names, as JSON and logfmt write them.
const FIELDS: [&str; 6] = ["time", "ts", "timestamp", "@timestamp", "t", "datetime"];
/// How far into a line one is looked for.
const REACH: usize = 512;
/// Numbers between these are seconds: the years 2001 to 2128.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..5_000_000_000;

/// Nanoseconds since the epoch, `None` when the line does not say or not in which zone.
pub(crate) fn of(line: &str) -> Option<i64> {
    let bytes = &line.as_bytes()[..line.len().min(REACH)];
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return date(bytes);
    }
    let mut from = 0;
    while from < bytes.len() {
        let boundary = from == 0 || matches!(bytes[from - 1], b'"' | b' ' | b',' | b'{');
        if boundary && matches!(bytes[from], b't' | b'@' | b'd' | b'T') {
            let rest = &bytes[from..];
            let found = FIELDS.iter().find_map(|name| {
                let rest = rest.strip_prefix(name.as_bytes())?;
                value(rest)
            });
            if found.is_some() {
                return found;
            }
        }
        from += 1;
    }
    None
}

fn value(rest: &[u8]) -> Option<i64> {
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
    let (b'=' | b':', rest) = rest.split_first().map(|(first, rest)| (*first, rest))? else {
        return None;
    };
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    date(rest).or_else(|| number(rest))
}

/// RFC 3339, with a blank for the `T` if it must be.
fn date(text: &[u8]) -> Option<i64> {
    let end = text
        .iter()
        .take(40)
        .position(|byte| {
            !matches!(
                byte,
                b'0'..=b'9' | b'-' | b':' | b'.' | b'+' | b'T' | b'Z' | b' '
            )
        })
        .unwrap_or(text.len().min(40));
    let text = str::from_utf8(&text[..end]).ok()?.trim_end();
    let (day, rest) = text.split_once(['T', ' '])?;
    let time = rest.split(' ').next()?;
    let at: jiff::Timestamp = format!("{day}T{time}").parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// Seconds, milliseconds, microseconds or nanoseconds; a fraction only of seconds.
fn number(text: &[u8]) -> Option<i64> {
    let end = text
        .iter()
        .take(24)
        .position(|byte| !(byte.is_ascii_digit() || *byte == b'.'))?;
    let text = str::from_utf8(&text[..end]).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    for unit in [1_000_000_000, 1_000_000, 1000, 1] {
        if !SECONDS.contains(&(whole / (1_000_000_000 / unit))) {
            continue;
        }
        let nanos = whole.checked_mul(unit)?;
        if unit != 1_000_000_000 || fraction.is_empty() {
            return Some(nanos);
        }
        let digits = &fraction[..fraction.len().min(9)];
        let scale = 10_i64.pow(9 - u32::try_from(digits.len()).ok()?);
        return nanos.checked_add(digits.parse::<i64>().ok()?.checked_mul(scale)?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_say_when() {
        let check = |line: &str, expect: Option<i64>| assert_eq!(of(line), expect, "{line}");
        let at = 1_795_252_657_000_000_000;
        check("2026-11-21T09:17:37Z INFO x", Some(at));
        check("2026-11-21T10:17:37.5+01:00 x", Some(at + 500_000_000));
        check(
            r#"{"level":"info","time":"2026-11-21T09:17:37Z"}"#,
            Some(at),
        );
        check(r#"{"level":30,"time":1795252657000,"pid":1}"#, Some(at));
        check(r#"{"ts":1795252657.25,"msg":"x"}"#, Some(at + 250_000_000));
        check(r#"{"@timestamp": "2026-11-21T09:17:37.000Z"}"#, Some(at));
        check("ts=2026-11-21T09:17:37Z level=info", Some(at));
        check("level=info ts=1795252657000000 x", Some(at / 1000 * 1000));
        // Without a zone nobody knows.
        check("2026-11-21 09:17:37,123 INFO x", None);
        check("10.0.0.1 - - x", None);
        check("time flies", None);
        check(r#"{"t":7}"#, None);
        check("", None);
    }
}
