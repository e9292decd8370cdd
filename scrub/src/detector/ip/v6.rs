//! Eight groups with colons, or fewer around `::`. Public ones begin with 2 or 3 (2000::/3), which
//! keeps times, hardware addresses and `a::b` of programs out.

use std::ops::Range;

use super::Scope;
use crate::text::{is_word, starts_token};

/// Longest address, in bytes.
const BYTES_MAX: usize = 39;
/// Groups of the network: 48 bits.
const NETWORK_GROUPS: usize = 3;

pub(super) fn locate(text: &[u8], start: usize, scope: &Scope) -> Option<Range<usize>> {
    if !starts_token(text, start) || !scope.holds_v6(&text[start..start + 4]) {
        return None;
    }
    // The rest of a longer address is none: `1:2001:…`.
    if let [before @ .., b':'] = &text[..start]
        && before
            .last()
            .is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':')
    {
        let word = before
            .iter()
            .rev()
            .take_while(|byte| is_word(**byte))
            .count();
        if before[before.len() - word..]
            .iter()
            .all(u8::is_ascii_hexdigit)
        {
            return None;
        }
    }
    let (groups, length) = parse(&text[start..])?;
    let end = start + length;
    // `1.2.3.4` at the end is no host of 2000::/3.
    let ends = match &text[end..] {
        [b':', next, ..] => !next.is_ascii_hexdigit() && *next != b':',
        [b'.', next, ..] => !next.is_ascii_digit(),
        [byte, ..] => !is_word(*byte),
        [] => true,
    };
    let network_only = groups[NETWORK_GROUPS..].iter().all(|group| *group == 0);
    let wanted = !(scope.truncated && network_only);
    (ends && wanted).then_some(start..end)
}

impl Scope {
    /// By the first group: 2000::/3, and when private ones are wanted fc00::/7 and fe80::/10.
    fn holds_v6(&self, first: &[u8]) -> bool {
        match [
            first[0],
            first[1].to_ascii_lowercase(),
            first[2].to_ascii_lowercase(),
        ] {
            [b'2' | b'3', ..] => true,
            [b'f' | b'F', b'c' | b'd', _] => self.private,
            [b'f' | b'F', b'e', b'8' | b'9' | b'a' | b'b'] => self.private,
            _ => false,
        }
    }
}

/// The groups of the address at the start of `text` and its length.
pub(super) fn parse(text: &[u8]) -> Option<([u16; 8], usize)> {
    let text = &text[..text.len().min(BYTES_MAX + 1)];
    let mut groups = [0_u16; 8];
    let mut count = 0;
    let mut gap = None;
    let mut at = 0;
    loop {
        let digits = text[at..]
            .iter()
            .take(5)
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if digits == 0 || digits > 4 {
            break;
        }
        let group = text[at..at + digits].iter().try_fold(0_u16, |n, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(n << 4 | u16::try_from(value).ok()?)
        })?;
        groups[count] = group;
        count += 1;
        at += digits;
        if count == groups.len() {
            break;
        }
        match &text[at..] {
            [b':', b':', ..] if gap.is_none() => {
                gap = Some(count);
                at += 2;
            }
            [b':', next, ..] if next.is_ascii_hexdigit() => at += 1,
            _ => break,
        }
    }
    match gap {
        None if count == groups.len() => {}
        // What stands after the gap belongs to the end.
        Some(gap) if count < 8 => groups[gap..].rotate_right(8 - count),
        _ => return None,
    }
    Some((groups, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_rfc_4291_says() {
        let check = |text: &str, expect: Option<([u16; 8], usize)>| {
            assert_eq!(parse(text.as_bytes()), expect, "{text}");
        };
        check("1:2:3:4:5:6:7:8", Some(([1, 2, 3, 4, 5, 6, 7, 8], 15)));
        check(
            "2001:db8::1 x",
            Some(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 11)),
        );
        check("2001:db8::", Some(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 10)));
        check(
            "2001:db8::1: x",
            Some(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 11)),
        );
        check("2026:22:17:37", None);
        check("20261:2::1", None);
    }
}
