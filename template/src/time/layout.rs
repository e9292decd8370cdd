//! Go's reference-time layouts ("Mon Jan 2 15:04:05 MST 2006").

use std::fmt::Write as _;

use jiff::Zoned;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Reference pieces; where one is a prefix of another the longer comes first.
const PIECES: [&str; 34] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "Z07:00:00",
    "Z070000",
    "Z07:00",
    "Z0700",
    "Z07",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "__2",
    "_2006",
    "_2",
    "PM",
    "pm",
    "1",
    "2",
    "3",
    "4",
    "5",
];

pub(super) fn weekday(at: &Zoned) -> &'static str {
    WEEKDAYS[usize::from(at.weekday().to_monday_zero_offset() as u8) % 7]
}

pub(super) fn format(at: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some(len) = fraction_len(rest) {
            write_fraction(&mut out, at, &rest[..len]);
            rest = &rest[len..];
            continue;
        }
        match piece_at(rest) {
            Some(piece) => {
                write_piece(&mut out, at, piece);
                rest = &rest[piece.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The reference piece that `rest` begins with.
pub(super) fn piece_at(rest: &str) -> Option<&'static str> {
    PIECES
        .iter()
        .find(|p| {
            // Go reads "Jan" only when no lower-case letter follows, so that "Janet" stays.
            rest.starts_with(**p)
                && !(matches!(**p, "Jan" | "Mon")
                    && rest[p.len()..].starts_with(|c: char| c.is_ascii_lowercase()))
        })
        .copied()
}

/// Length of `.000` or `,999`: a run of one digit that no other digit follows.
pub(super) fn fraction_len(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1)?;
    if !matches!(bytes[0], b'.' | b',') || !matches!(digit, b'0' | b'9') {
        return None;
    }
    let run = bytes[1..].iter().take_while(|b| **b == digit).count();
    let next = bytes.get(1 + run);
    (!next.is_some_and(u8::is_ascii_digit)).then_some(1 + run)
}

fn write_fraction(out: &mut String, at: &Zoned, piece: &str) {
    let digits = (piece.len() - 1).min(9);
    let nanos = format!("{:09}", at.subsec_nanosecond());
    let mut shown = &nanos[..digits];
    if piece.as_bytes()[1] == b'9' {
        shown = shown.trim_end_matches('0');
        if shown.is_empty() {
            return;
        }
    }
    out.push_str(&piece[..1]);
    out.push_str(shown);
}

fn write_piece(out: &mut String, at: &Zoned, piece: &str) {
    let hour12 = match at.hour() % 12 {
        0 => 12,
        h => h,
    };
    let month = MONTHS[(at.month() as usize).clamp(1, 12) - 1];
    let _ = match piece {
        "January" => write!(out, "{month}"),
        "Jan" => write!(out, "{}", &month[..3]),
        "Monday" => write!(out, "{}", weekday(at)),
        "Mon" => write!(out, "{}", &weekday(at)[..3]),
        "MST" => write!(out, "{}", zone_name(at)),
        "2006" => write!(out, "{:04}", at.year()),
        "_2006" => write!(out, "_{:04}", at.year()),
        "06" => write!(out, "{:02}", at.year().rem_euclid(100)),
        "002" => write!(out, "{:03}", at.day_of_year()),
        "__2" => write!(out, "{:3}", at.day_of_year()),
        "01" => write!(out, "{:02}", at.month()),
        "1" => write!(out, "{}", at.month()),
        "02" => write!(out, "{:02}", at.day()),
        "_2" => write!(out, "{:2}", at.day()),
        "2" => write!(out, "{}", at.day()),
        "15" => write!(out, "{:02}", at.hour()),
        "03" => write!(out, "{hour12:02}"),
        "3" => write!(out, "{hour12}"),
        "04" => write!(out, "{:02}", at.minute()),
        "4" => write!(out, "{}", at.minute()),
        "05" => write!(out, "{:02}", at.second()),
        "5" => write!(out, "{}", at.second()),
        "PM" => write!(out, "{}", if at.hour() < 12 { "AM" } else { "PM" }),
        "pm" => write!(out, "{}", if at.hour() < 12 { "am" } else { "pm" }),
        zone => write!(out, "{}", offset(at, zone)),
    };
}

fn zone_name(at: &Zoned) -> String {
    at.strftime("%Z").to_string()
}

fn offset(at: &Zoned, piece: &str) -> String {
    let seconds = at.offset().seconds();
    if seconds == 0 && piece.starts_with('Z') {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let total = seconds.unsigned_abs();
    let (h, m, s) = (total / 3600, total / 60 % 60, total % 60);
    match &piece[1..] {
        "07" => format!("{sign}{h:02}"),
        "0700" => format!("{sign}{h:02}{m:02}"),
        "07:00" => format!("{sign}{h:02}:{m:02}"),
        "070000" => format!("{sign}{h:02}{m:02}{s:02}"),
        _ => format!("{sign}{h:02}:{m:02}:{s:02}"),
    }
}
