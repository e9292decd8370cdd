//! The engine's timestamps: RFC 3339 in UTC, with exactly nine digits of a second in streams, with
//! as many as are needed in files.

use super::frame::STAMP_BYTES;

/// Splits a chunk into nanoseconds since the epoch and text; `None` without a timestamp.
pub(crate) fn split(chunk: &[u8]) -> Option<(i64, &[u8])> {
    let (stamp, text) = chunk.split_at_checked(STAMP_BYTES)?;
    parse(stamp).map(|at| (at, text))
}

/// Reads `2026-11-21T09:17:37.601862670Z `.
fn parse(stamp: &[u8]) -> Option<i64> {
    const FORM: &[u8; STAMP_BYTES] = b"0000-00-00T00:00:00.000000000Z ";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    if stamp.len() != STAMP_BYTES || !stamp.iter().zip(FORM).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| {
        stamp[from..to]
            .iter()
            .fold(0_i64, |n, digit| n * 10 + i64::from(digit - b'0'))
    };
    let days = days_since_epoch(number(0, 4), number(5, 7), number(8, 10));
    let seconds = days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(number(20, 29))
}

/// Reads `2026-11-21T09:17:37.60186267Z`, as the engine writes it into files.
pub(crate) fn parse_short(stamp: &str) -> Option<i64> {
    let stamp = stamp.as_bytes().strip_suffix(b"Z")?;
    let (seconds, fraction) = stamp.split_at_checked(19)?;
    let fraction = match fraction {
        [] => fraction,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let mut whole = *b"0000-00-00T00:00:00.000000000Z ";
    whole[..19].copy_from_slice(seconds);
    whole[20..20 + fraction.len()].copy_from_slice(fraction);
    parse(&whole)
}

/// As the engine writes it into files; empty for a time no calendar has.
pub(crate) fn short(at_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(at_ns.into())
        .map_or_else(|_| String::new(), |at| at.to_string())
}

/// Days from 1970-01-01 in the Gregorian calendar: years counted from March, so that the
/// leap day is the last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_nanoseconds_since_the_epoch() {
        let check = |stamp: &str, expect: Option<i64>| {
            assert_eq!(parse(stamp.as_bytes()), expect, "{stamp}");
        };
        check("1970-01-01T00:00:00.000000000Z ", Some(0));
        check("1970-01-01T00:00:01.000000002Z ", Some(1_000_000_002));
        check(
            "2000-03-01T00:00:00.000000000Z ",
            Some(951_868_800_000_000_000),
        );
        check(
            "2026-11-21T09:17:37.601862670Z ",
            Some(1_795_252_657_601_862_670),
        );
        check("2026-11-21T09:17:37.601862670Z", None);
        check("2026-11-21 09:17:37.601862670Z ", None);
        check("9999-11-21T09:17:37.601862670Z ", None);
    }

    #[test]
    fn stamps_in_files_are_as_short_as_can_be() {
        for (stamp, at_ns) in [
            ("1970-01-01T00:00:01Z", 1_000_000_000),
            ("1970-01-01T00:00:01.5Z", 1_500_000_000),
            ("2026-11-21T09:17:37.60186267Z", 1_795_252_657_601_862_670),
        ] {
            assert_eq!(parse_short(stamp), Some(at_ns));
            assert_eq!(short(at_ns), stamp);
        }
        for none in [
            "",
            "1970-01-01T00:00:01",
            "1970-01-01T00:00:01.Z",
            "1970-01-01T00:00:0é",
        ] {
            assert_eq!(parse_short(none), None, "{none}");
        }
    }

    #[test]
    fn the_text_is_what_follows_the_stamp() {
        assert_eq!(
            split(b"1970-01-01T00:00:00.000000007Z a b\n"),
            Some((7, &b"a b\n"[..]))
        );
        assert_eq!(split(b"a b\n"), None);
    }
}
