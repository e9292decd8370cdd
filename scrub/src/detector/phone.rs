//! Phone numbers as E.164 has them: `+`, a country code that is assigned, 8 to 15 digits in all.
//! A number without `+` is not told from any other number and stays.

use std::ops::Range;

use crate::text::{ends_token, is_word, letter_escape_before};
use crate::trigger::{ByteSet, Trigger};

const DIGITS_MIN: usize = 8;
const DIGITS_MAX: usize = 15;
/// From so many digits on a blank ends the number.
const DIGITS_ENOUGH: usize = 10;
/// Digits of numbers in the North American plan, whose country code is 1, and in that of Russia
/// and Kazakhstan, 7.
const DIGITS_FIXED: usize = 11;

pub(super) fn triggers() -> Vec<Trigger> {
    const FIRST: ByteSet = ByteSet::EMPTY.and(b'1', b'9');
    const NEXT: ByteSet = ByteSet::DIGIT.or(ByteSet::of(b" ().-"));
    const fn one(byte: u8) -> ByteSet {
        ByteSet::one(byte)
    }
    vec![
        Trigger::shape(1, &[one(b'+'), FIRST, NEXT]),
        Trigger::shape(
            3,
            &[
                one(b'%'),
                one(b'2'),
                ByteSet::either_case(b'b'),
                FIRST,
                NEXT,
            ],
        ),
    ]
}

/// `trigger` begins with the first digit.
pub(super) fn locate(text: &[u8], trigger: Range<usize>) -> Option<Range<usize>> {
    let first = trigger.start;
    let start = first - if text[first - 1] == b'+' { 1 } else { 3 };
    let before = &text[..start];
    let glued = before.last().is_some_and(|byte| {
        (is_word(*byte) && letter_escape_before(before) == 0) || b"+/.-".contains(byte)
    });
    if glued {
        return None;
    }
    let mut digits = [0_u8; DIGITS_MAX];
    let (mut count, mut at, mut end) = (0, first, first);
    while let Some(byte) = text.get(at) {
        if byte.is_ascii_digit() {
            if count == DIGITS_MAX {
                return (!text[end..].first().is_some_and(u8::is_ascii_digit))
                    .then_some(start..end)
                    .filter(|_| fits(&digits[..count]));
            }
            digits[count] = byte - b'0';
            count += 1;
            at += 1;
            end = at;
            let fixed = matches!(digits[0], 1 | 7) && count == DIGITS_FIXED;
            if fixed && !text.get(at).is_some_and(u8::is_ascii_digit) {
                break;
            }
            continue;
        }
        let separators = separators(&text[at..]);
        let blank = text[at] == b' ' && count >= DIGITS_ENOUGH;
        if separators == 0 || blank {
            break;
        }
        // What the next group would make too long is no part.
        let group = text[at + separators..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count + group > DIGITS_MAX || !ends_token(text, at + separators + group) {
            break;
        }
        at += separators;
    }
    (ends_token(text, end) && fits(&digits[..count])).then_some(start..end)
}

/// Length of what may stand between two groups of digits.
fn separators(text: &[u8]) -> usize {
    let length = text
        .iter()
        .take(3)
        .take_while(|byte| b" ().-/".contains(byte))
        .count();
    let joined = match &text[..length] {
        [_] => text[0] != b'/',
        [b' ', b'('] | [b')', b' ' | b'-'] => true,
        _ => false,
    };
    let digit = text.get(length).is_some_and(u8::is_ascii_digit);
    if joined && digit { length } else { 0 }
}

/// Whether a number may have these digits, by country code and length.
fn fits(digits: &[u8]) -> bool {
    let [a, b, c, ..] = digits else {
        return false;
    };
    let length = match a {
        1 | 7 => digits.len() == DIGITS_FIXED,
        _ => (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()),
    };
    length && is_country(*a, *b, *c)
}

/// Whether ITU-T has assigned a country code that these digits begin with.
fn is_country(a: u8, b: u8, c: u8) -> bool {
    match (a, b) {
        (1 | 7, _) => true,
        (2, 0 | 7)
        | (3, 0..=4 | 6 | 9)
        | (4, 0 | 1 | 3..=9)
        | (5, 1..=8)
        | (6, 0..=6)
        | (8, 1 | 2 | 4 | 6)
        | (9, 0..=5 | 8) => true,
        (2, 1) => matches!(c, 1..=3 | 6 | 8),
        (2, 2..=4 | 6) => true,
        (2, 5) => c != 9,
        (2, 9) => matches!(c, 0 | 1 | 7..=9),
        (3, 5 | 7) => true,
        (3, 8) => matches!(c, 0..=3 | 5..=7 | 9),
        (4, 2) => matches!(c, 0 | 1 | 3),
        (5, 0 | 9) => true,
        (6, 7) => c != 1,
        (6, 8) => c != 4,
        (6, 9) => matches!(c, 0..=2),
        (8, 0) => matches!(c, 0 | 8),
        (8, 5) => matches!(c, 0 | 2 | 3 | 5 | 6),
        (8, 7) => matches!(c, 0 | 8 | 9),
        (8, 8) => matches!(c, 0..=3 | 6 | 8),
        (9, 6) => c != 9,
        (9, 7) => c < 8,
        (9, 9) => matches!(c, 2..=6 | 8),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn numbers_with_a_plus() {
        for number in [
            "+4915112345678",
            "+49 151 1234 5678",
            "+49 (151) 12345678",
            "+1 415 555 2671",
            "+1-415-555-2671",
            "+1 (415) 555-2671",
            "+14155552671",
            "+44 20 7946 0958",
            "+33 1 23 45 67 89",
            "+358401234567",
            "+7 912 345-67-89",
            "%2B4915112345678",
        ] {
            check(&format!("call {number}, now"), "call <phone>, now");
            check(&format!(r#"{{"tel":"{number}"}}"#), r#"{"tel":"<phone>"}"#);
        }
        check("tel:+4915112345678 2026-11-22", "tel:<phone> 2026-11-22");
        check("+1 415 555 2671 42 items", "<phone> 42 items");
        check(r"a\n+4915112345678", r"a\n<phone>");
    }

    #[test]
    fn other_plus_signs() {
        keeps("2026-11-22T10:00:00+0100 +1100 [22/Nov/2026:10:00:00 +0000]");
        keeps("1.2.3+20261122 1e+12345678 a+4915112345671");
        keeps("ab/+4915112345671 +21045678901234567");
        keeps("+123456 +1 234 567 +2101234567 +99912345678");
        keeps("+1234 -5678 lines");
    }
}
