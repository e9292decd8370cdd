//! Payment cards: issuer prefix and length, grouping as printed on cards, Luhn.
//!
//! Luhn alone passes every tenth number, and log lines are full of numbers, so prefix,
//! length and grouping must all fit. Prefixes: ISO/IEC 7812 ranges as the schemes publish.

use std::ops::Range;

use crate::text::{is_word, starts_token};

use crate::trigger::{ByteSet, Trigger};

const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 19;

/// The first of many digits, or two groups of at least four: each form of grouping has such a place.
/// Of the second group three are enough to tell it from the month of a date. Most long numbers are
/// times in milliseconds, which begin with 1; of cards only some of JCB do.
pub(super) fn triggers() -> Vec<Trigger> {
    const D: ByteSet = ByteSet::DIGIT;
    const FIRST: ByteSet = ByteSet::of(b"023456789");
    const GAP: ByteSet = ByteSet::of(b" -");
    const fn one(byte: u8) -> ByteSet {
        ByteSet::one(byte)
    }
    const ONE: ByteSet = one(b'1');
    vec![
        Trigger::shape(1, &[D.not(), FIRST, D, D, D, D, D, D]),
        Trigger::shape(1, &[D.not(), ONE, one(b'8'), one(b'0'), one(b'0'), D, D, D]),
        // Behind escape sequences whose digits begin with 1.
        Trigger::shape(1, &[one(b'%'), ONE, D, D, D, D, D, D]),
        Trigger::shape(2, &[one(b'\\'), one(b'u'), ONE, D, D, D, D, D]),
        Trigger::shape(0, &[D, D, D, D, GAP, D, D, D]),
    ]
}

pub(super) fn locate(text: &[u8], trigger: Range<usize>) -> Option<Range<usize>> {
    let before = text[..trigger.start].iter().rev();
    let more = before
        .take(DIGITS_MAX)
        .take_while(|byte| byte.is_ascii_digit());
    let run = trigger.start - more.count();
    let start = run + escape_digits(&text[..run]);
    // No card begins otherwise; most long numbers are times, which begin with 1.
    let may_be = matches!(
        text.get(start..)?,
        [b'2'..=b'6', ..] | [b'1', b'8', ..] | [b'0', b'6', ..]
    );
    if !may_be || !starts_token(text, start) || in_uuid(text, start) {
        return None;
    }
    // The digits after a decimal point are no card.
    if let [.., whole, b'.'] = &text[..start]
        && whole.is_ascii_digit()
    {
        return None;
    }

    let mut digits = [0_u8; DIGITS_MAX];
    let mut groups: Vec<usize> = Vec::new();
    let (mut count, mut in_group, mut separator) = (0, 0, None);
    let mut at = start;
    // Every end at which the digits so far make a card; the longest wins.
    let mut found = None;
    while let Some(byte) = text.get(at) {
        if byte.is_ascii_digit() {
            if count == DIGITS_MAX {
                break;
            }
            digits[count] = byte - b'0';
            count += 1;
            in_group += 1;
        } else if matches!(byte, b' ' | b'-')
            && in_group > 0
            && separator.is_none_or(|known| known == *byte)
            && text.get(at + 1).is_some_and(u8::is_ascii_digit)
        {
            separator = Some(*byte);
            groups.push(in_group);
            in_group = 0;
        } else {
            break;
        }
        at += 1;
        if in_group > 0 && ends(text, at) && fits(&digits[..count], &groups, in_group) {
            found = Some(start..at);
        }
    }
    found
}

/// How many digits after `head` belong to the escape sequence that it ends with: `%20`, `\u0020`.
fn escape_digits(head: &[u8]) -> usize {
    match head {
        [.., b'%'] | [.., b'\\', b'x'] => 2,
        [.., b'\\', b'u'] => 4,
        _ => 0,
    }
}

/// Whether the number at `at` is the last part of a UUID, `…-a716-446655440000`, or begins with the
/// second, `550e8400-5758-4157-4495-…`.
fn in_uuid(text: &[u8], at: usize) -> bool {
    let head = &text[..at];
    let hex = |part: &[u8]| part.iter().all(u8::is_ascii_hexdigit);
    let last = matches!(head.last_chunk::<6>(), Some([b'-', part @ .., b'-']) if hex(part));
    let second = matches!(head.last_chunk::<9>(), Some([part @ .., b'-']) if hex(part));
    last || second
}

/// Whether a number may end before `at`.
fn ends(text: &[u8], at: usize) -> bool {
    match &text[at..] {
        [] => true,
        [b'.', digit, ..] if digit.is_ascii_digit() => false,
        [byte, ..] => !is_word(*byte),
    }
}

fn fits(digits: &[u8], groups: &[usize], last: usize) -> bool {
    let grouped = matches!(
        (groups, last),
        ([], _)
            | ([4, 4], 4)
            | ([4, 4, 4], 1..=4)
            | ([4, 4, 4, 4], 1..=3)
            | ([4, 6], 4 | 5)
            | ([6], 6..=13)
    );
    digits.len() >= DIGITS_MIN && grouped && issued(digits) && luhn(digits)
}

/// Whether an issuer numbers cards like this.
fn issued(digits: &[u8]) -> bool {
    let prefix = digits[..6].iter().fold(0, |n, d| n * 10 + u32::from(*d));
    let length = digits.len();
    match prefix {
        // Visa.
        400_000..=499_999 => matches!(length, 13 | 16 | 19),
        // Mastercard.
        222_100..=272_099 | 510_000..=559_999 => length == 16,
        // American Express.
        340_000..=349_999 | 370_000..=379_999 => length == 15,
        // Diners Club.
        300_000..=305_999 | 309_500..=309_599 | 360_000..=369_999 | 380_000..=399_999 => {
            (14..=19).contains(&length)
        }
        // JCB; then also Mir, Discover, UnionPay.
        180_000..=180_099 | 213_100..=213_199 => length == 15,
        352_800..=358_999
        | 220_000..=220_499
        | 601_100..=601_199
        | 644_000..=659_999
        | 620_000..=629_999 => (16..=19).contains(&length),
        // Maestro.
        60_400..=60_499
        | 501_800..=501_899
        | 502_000..=502_099
        | 503_800..=503_899
        | 560_000..=589_999
        | 630_400..=630_499
        | 639_000..=639_099
        | 675_900..=675_999
        | 676_000..=676_799 => true,
        // Elo, Verve.
        506_099..=506_198 | 506_699..=506_778 => (16..=19).contains(&length),
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| match (i % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => 2 * digit - 9,
            (_, digit) => 2 * digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn cards_of_each_scheme() {
        for card in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "3530111333300000",
            "6011111111111117",
            "6205500000000000004",
            "6759649826438453",
            "676770000005",
            "501800000009",
            "180012345678905",
            "060400000000",
            "560000000003",
        ] {
            check(
                &format!("paid with {card}, thanks"),
                "paid with <card>, thanks",
            );
        }
    }

    #[test]
    fn cards_as_printed() {
        check("4111 1111 1111 1111", "<card>");
        check("4111-1111-1111-1111.", "<card>.");
        check("3782 822463 10005", "<card>");
        check("pan:4111 1111 1111 1111 123", "pan:<card> 123");
        check(r"a\n4111111111111111", r"a\n<card>");
        check("\x1b[31m4111111111111111\x1b[0m", "\x1b[31m<card>\x1b[0m");
        check("q=%204111111111111111&x", "q=%20<card>&x");
    }

    #[test]
    fn a_bare_number_in_json_becomes_a_string() {
        check(r#"{"n":4111111111111111,"m":1}"#, r#"{"n":"<card>","m":1}"#);
        check(r#"{"n": [ 4111111111111111 ]}"#, r#"{"n": [ "<card>" ]}"#);
        check(r#"{"n":"a 4111111111111111"}"#, r#"{"n":"a <card>"}"#);
        check("[x] 4111111111111111", "[x] <card>");
        check("[4111111111111111,7]", "[<card>,7]");
        check("7,4111111111111111,12,28", "7,<card>,12,28");
    }

    #[test]
    fn numbers_that_are_no_cards() {
        keeps("4111111111111112");
        keeps("1700000000000 1700000000000000000");
        keeps("0.4111111111111111");
        keeps("4111111111111111.5");
        keeps("a4111111111111111");
        keeps("4111111111111111b");
        keeps("41111111111111111");
        keeps("41 11 11 11 11 11 11 11");
        keeps("4111-1111 1111-1111");
        keeps("550e8400-e29b-41d4-a716-446655440000");
        keeps("9111111111111111");
        keeps("12345678-1234-4123-8123-501800000009 20261122171545 2026-11-22 10:11:12");
        keeps("25c24978-5758-4157-4495-d1f62d192c63 6387f221-5789-4023-9770-d34e11d88bf2");
        keeps("4111,1111,1111,1111 1763800000000 1763800000000000");
    }
}
