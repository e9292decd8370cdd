//! Four numbers with dots.

use std::ops::Range;

use super::Scope;
use crate::text::{is_word, starts_token};

/// How far a product's name before `/` is followed.
const NAME_BYTES_MAX: usize = 48;

/// Words before a number that make it a version, as the end of a longer word too.
const VERSIONS: [&[u8]; 3] = [b"version", b"release", b"build"];
/// The same, as words of their own.
const VERSION_WORDS: [&[u8]; 8] = [
    b"v",
    b"ver",
    b"rev",
    b"chrome",
    b"chromium",
    b"edge",
    b"opera",
    b"firmware",
];

/// `last`: where the fourth number begins, if this is one.
pub(super) fn locate(text: &[u8], last: usize, scope: &Scope) -> Option<Range<usize>> {
    let mut numbers = [0_u8; 4];
    let mut start = last;
    for number in numbers[..3].iter_mut().rev() {
        let dot = start.checked_sub(1).filter(|dot| text[*dot] == b'.')?;
        start = dot;
        while start > 0 && dot - start < 3 && text[start - 1].is_ascii_digit() {
            start -= 1;
        }
        *number = octet(&text[start..dot])?;
    }
    let digits = text[last..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let end = last + digits;
    numbers[3] = octet(&text[last..end])?;
    if !scope.holds_v4(numbers) || !starts(text, start) || !ends(&text[end..]) {
        return None;
    }
    (!is_version(text, start, end)).then_some(start..end)
}

/// A number up to 255 as addresses are written: without zeros before it.
fn octet(digits: &[u8]) -> Option<u8> {
    match digits {
        [b'0', _, ..] | [] => None,
        digits => digits.iter().try_fold(0_u8, |n, digit| {
            n.checked_mul(10)?.checked_add(digit - b'0')
        }),
    }
}

impl Scope {
    fn holds_v4(&self, address: [u8; 4]) -> bool {
        let private = match address {
            // No one's: this network, multicast, reserved.
            [0 | 224.., ..] => return false,
            [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] => true,
            // Behind a provider's translation, and overlay networks.
            [100, 64..=127, ..] => true,
            _ => false,
        };
        (self.private || !private) && !(self.truncated && address[3] == 0)
    }
}

fn starts(text: &[u8], start: usize) -> bool {
    let token = starts_token(text, start);
    let dotted = start > 0 && text[start - 1] == b'.';
    // `libfoo-1.2.3.4`.
    let glued = start > 1 && text[start - 1] == b'-' && text[start - 2].is_ascii_alphabetic();
    token && !dotted && !glued
}

fn ends(rest: &[u8]) -> bool {
    match rest {
        [b'.' | b'-', next, ..] if next.is_ascii_alphabetic() => false,
        [b'.', next, ..] if next.is_ascii_digit() => false,
        // `1.2.3.4-5ubuntu1`; but `1.2.3.4-1.2.3.9` is a range.
        [b'-', rest @ ..] => {
            let word = rest.iter().take_while(|byte| is_word(**byte)).count();
            rest[..word].iter().all(u8::is_ascii_digit)
        }
        [b'+' | b'~', ..] => false,
        [byte, ..] => !is_word(*byte),
        [] => true,
    }
}

fn is_version(text: &[u8], start: usize, end: usize) -> bool {
    let before = &text[..start];
    if let [name @ .., b'/'] = before {
        return is_product(name) && text.get(end) != Some(&b':');
    }
    let separators = before
        .iter()
        .rev()
        .take(6)
        .take_while(|byte| b" =:\"'\\(".contains(byte))
        .count();
    let head = &before[..before.len() - separators];
    let length = head
        .iter()
        .rev()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let word = head[head.len() - length..].to_ascii_lowercase();
    VERSIONS.iter().any(|version| word.ends_with(version))
        || VERSION_WORDS.contains(&word.as_slice())
}

/// `Chrome` before the slash, but no path and no host name: `example.com/93.184.216.34:443` is
/// how Java writes addresses.
fn is_product(head: &[u8]) -> bool {
    let length = head
        .iter()
        .rev()
        .take(NAME_BYTES_MAX)
        .take_while(|byte| is_word(**byte) || matches!(byte, b'-' | b'+' | b'.'))
        .count();
    let (before, name) = head.split_at(head.len() - length);
    let host = name.contains(&b'.') || name == b"localhost";
    name.first().is_some_and(u8::is_ascii_alphabetic) && !host && before.last() != Some(&b'/')
}
