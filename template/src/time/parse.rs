//! Reading times by Go's layouts, the other way round of [`super::layout`].

use jiff::civil;
use jiff::tz::{Offset, TimeZone};

use super::layout::{self, MONTHS, WEEKDAYS};

/// What has been read so far.
struct Fields {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    /// The clock is of twelve hours: whether it is after noon.
    afternoon: Option<bool>,
    offset: Option<i32>,
}

/// Reads `text` by `layout`; where it names no zone, in `zone`. `None` when it does not fit.
pub(super) fn parse(layout: &str, text: &str, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let mut fields = Fields {
        year: 0,
        month: 1,
        day: 1,
        day_of_year: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        afternoon: None,
        offset: None,
    };
    let (mut layout, mut text) = (layout, text);
    while !layout.is_empty() {
        if let Some(len) = layout::fraction_len(layout) {
            text = fraction(text, &mut fields, &layout[..len])?;
            layout = &layout[len..];
            continue;
        }
        let Some(piece) = layout::piece_at(layout) else {
            let c = layout.chars().next()?;
            layout = &layout[c.len_utf8()..];
            text = text.strip_prefix(c)?;
            continue;
        };
        layout = &layout[piece.len()..];
        text = fields.read(piece, text)?;
        let after_seconds = matches!(piece, "05" | "5");
        // Go accepts a fraction after the seconds even where the layout has none.
        let follows =
            text.starts_with(['.', ',']) && text[1..].starts_with(|c: char| c.is_ascii_digit());
        if after_seconds && follows && layout::fraction_len(layout).is_none() {
            let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
            fields.nanos = nanos(&text[1..=digits]);
            text = &text[1 + digits..];
        }
    }
    if !text.is_empty() {
        return None;
    }
    fields.instant(zone)
}

fn nanos(digits: &str) -> i32 {
    let kept: String = digits.chars().chain("000000000".chars()).take(9).collect();
    kept.parse().unwrap_or(0)
}

/// `.000` wants so many digits, `.999` takes as many as there are.
fn fraction<'t>(text: &'t str, fields: &mut Fields, piece: &str) -> Option<&'t str> {
    let begins = text.starts_with(['.', ',']);
    let digits = text
        .get(1..)
        .map_or(0, |t| t.bytes().take_while(u8::is_ascii_digit).count());
    if piece.as_bytes()[1] == b'9' && !(begins && digits > 0) {
        return Some(text);
    }
    let wanted = piece.len() - 1;
    if !begins || (piece.as_bytes()[1] == b'0' && digits != wanted) {
        return None;
    }
    fields.nanos = nanos(&text[1..=digits]);
    Some(&text[1 + digits..])
}

/// A number of `least` to `most` digits and what follows.
fn digits(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let count = text
        .bytes()
        .take(most)
        .take_while(u8::is_ascii_digit)
        .count();
    if count < least {
        return None;
    }
    Some((text[..count].parse().ok()?, &text[count..]))
}

/// Which of the names `text` begins with, 0-based, whatever the case.
fn named<'t>(text: &'t str, names: &[&str], short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let name = if short { &name[..3] } else { name };
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name)
            .then(|| (i, &text[name.len()..]))
    })
}

impl Fields {
    fn read<'t>(&mut self, piece: &str, text: &'t str) -> Option<&'t str> {
        let in_range = |n: i32, low: i32, high: i32| (low..=high).contains(&n).then_some(n as i8);
        let (n, rest) = match piece {
            "2006" => digits(text, 4, 4)?,
            "06" | "01" | "02" | "15" | "03" | "04" | "05" => digits(text, 2, 2)?,
            "1" | "2" | "3" | "4" | "5" => digits(text, 1, 2)?,
            "_2" => digits(text.strip_prefix(' ').unwrap_or(text), 1, 2)?,
            "002" => digits(text, 3, 3)?,
            "__2" => digits(text.trim_start_matches(' '), 1, 3)?,
            "January" | "Jan" => {
                let (i, rest) = named(text, &MONTHS, piece == "Jan")?;
                self.month = i as i8 + 1;
                return Some(rest);
            }
            "Monday" | "Mon" => return named(text, &WEEKDAYS, piece == "Mon").map(|(_, r)| r),
            "PM" | "pm" => {
                let head = text.get(..2)?;
                self.afternoon = Some(match head {
                    "PM" | "pm" => true,
                    "AM" | "am" => false,
                    _ => return None,
                });
                return Some(&text[2..]);
            }
            "MST" => {
                let end = text
                    .find(|c: char| !c.is_ascii_uppercase())
                    .unwrap_or(text.len());
                if &text[..end] == "UTC" || &text[..end] == "GMT" {
                    self.offset = self.offset.or(Some(0));
                }
                return (3..=5).contains(&end).then(|| &text[end..]);
            }
            _ => return self.zone(piece, text),
        };
        match piece {
            "2006" => self.year = i16::try_from(n).ok()?,
            "06" => self.year = (if n >= 69 { 1900 + n } else { 2000 + n }) as i16,
            "01" | "1" => self.month = in_range(n, 1, 12)?,
            "02" | "_2" | "2" => self.day = in_range(n, 1, 31)?,
            "002" | "__2" => self.day_of_year = Some(n as i16),
            "15" | "03" | "3" => self.hour = in_range(n, 0, 23)?,
            "04" | "4" => self.minute = in_range(n, 0, 59)?,
            _ => self.second = in_range(n, 0, 59)?,
        }
        Some(rest)
    }

    /// `Z07:00`, `-0700` and their like.
    fn zone<'t>(&mut self, piece: &str, text: &'t str) -> Option<&'t str> {
        if piece.starts_with('Z')
            && let Some(rest) = text.strip_prefix('Z')
        {
            self.offset = Some(0);
            return Some(rest);
        }
        let sign = match text.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut rest = &text[1..];
        let mut seconds = 0;
        let colons = piece.contains(':');
        let parts = piece[1..].bytes().filter(u8::is_ascii_digit).count() / 2;
        for (i, unit) in [3600, 60, 1].into_iter().take(parts).enumerate() {
            if i > 0 && colons {
                rest = rest.strip_prefix(':')?;
            }
            let (n, after) = digits(rest, 2, 2)?;
            seconds += n * unit;
            rest = after;
        }
        self.offset = Some(sign * seconds);
        Some(rest)
    }

    fn instant(&self, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let mut date = civil::Date::new(self.year, self.month, self.day).ok()?;
        if let Some(n) = self.day_of_year {
            let first = civil::Date::new(self.year, 1, 1).ok()?;
            date = first
                .checked_add(jiff::Span::new().days(i64::from(n) - 1))
                .ok()?;
        }
        let time = civil::Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let zone = match self.offset {
            Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            None => zone.clone(),
        };
        date.to_datetime(time)
            .to_zoned(zone)
            .ok()
            .map(|z| z.timestamp())
    }
}
