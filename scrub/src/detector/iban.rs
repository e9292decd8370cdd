//! International bank account numbers: country, its length, remainder 1 modulo 97
//! (ISO 13616). Of lower-case ones those that cannot be hexadecimal ids.

use std::ops::Range;

use crate::text::{ends_token, starts_token};

use crate::trigger::{ByteSet, Trigger};

/// Bytes of country and check digits.
const HEAD: usize = 4;

pub(super) fn triggers() -> Vec<Trigger> {
    const D: ByteSet = ByteSet::DIGIT;
    const U: ByteSet = ByteSet::UPPER;
    const L: ByteSet = ByteSet::LOWER;
    let followed = |head: Trigger, symbol: ByteSet| {
        let next = symbol.or(ByteSet::one(b' '));
        head.followed_by(next, 1).followed_by(symbol, 3)
    };
    vec![
        followed(Trigger::shape(0, &[U, U, D, D]), U.or(D)),
        followed(
            Trigger::shape(1, &[ByteSet::ALNUM.not(), L, L, D, D]),
            L.or(D),
        ),
    ]
}

/// Country and length of its numbers, from the SWIFT registry.
const LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 \
    CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 \
    HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 \
    MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 \
    RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    let start = anchor.start;
    if !starts_token(text, start) {
        return None;
    }
    let lower = text[start].is_ascii_lowercase();
    let country = text[start..start + 2].to_ascii_uppercase();
    let length = LENGTHS
        .split_ascii_whitespace()
        .find_map(|entry| entry.as_bytes().strip_prefix(country.as_slice()))?
        .iter()
        .fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));

    // Who writes groups of four begins with one; else a blank ends it.
    let grouped = text.get(anchor.end) == Some(&b' ');
    let mut symbols = Vec::with_capacity(length);
    let mut at = start;
    while symbols.len() < length {
        match text.get(at)? {
            byte @ b'0'..=b'9' => symbols.push(*byte),
            byte @ b'A'..=b'Z' if !lower => symbols.push(*byte),
            byte @ b'a'..=b'z' if lower => symbols.push(byte.to_ascii_uppercase()),
            b' ' if grouped && symbols.len().is_multiple_of(4) && text[at - 1] != b' ' => {}
            _ => return None,
        }
        at += 1;
    }
    let body = &symbols[HEAD..];
    // One hexadecimal id in a hundred has the right remainder.
    let hexadecimal =
        lower && body.iter().all(u8::is_ascii_hexdigit) && !body.iter().all(u8::is_ascii_digit);
    (!hexadecimal && ends_token(text, at) && remainder(&symbols) == 1).then_some(start..at)
}

/// The number modulo 97, its first four symbols moved to the end and letters read as 10 to 35.
fn remainder(symbols: &[u8]) -> u32 {
    let (head, tail) = symbols.split_at(4);
    tail.iter()
        .chain(head)
        .fold(0, |rest, symbol| match symbol {
            b'0'..=b'9' => (rest * 10 + u32::from(symbol - b'0')) % 97,
            _ => (rest * 100 + u32::from(symbol - b'A') + 10) % 97,
        })
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn numbers_of_several_countries() {
        for iban in [
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "GB82 WEST 1234 5698 7654 32",
            "NO9386011117947",
            "FR1420041010050500013M02606",
            "MT84MALT011000012345MTLCAST001S",
            "de89370400440532013000",
            "gb82west12345698765432",
        ] {
            check(&format!("to {iban}."), "to <iban>.");
        }
        check(r"x\nDE89370400440532013000", r"x\n<iban>");
    }

    #[test]
    fn what_only_looks_like_one() {
        keeps("DE89370400440532013001");
        keeps("DE8937040044053201300");
        keeps("DE893704004405320130001");
        keeps("XX89370400440532013000");
        keeps("ADE89370400440532013000");
        keeps("De89370400440532013000");
        keeps("be6853900754703a");
        keeps("193d808b-c6a3-4696-10d2-be526fd4727a path=/x");
    }
}
