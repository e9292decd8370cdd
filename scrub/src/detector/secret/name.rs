//! The key around a find, and whether it names a secret or merely something about one.

use std::ops::Range;

use crate::text::escape_before;

/// How far a key is followed to each side of the find, in bytes.
const REACH: usize = 48;

/// After a secret's name, these last words make a key that holds no secret.
const ABOUT: &[&str] = &[
    "age",
    "algorithm",
    "ary",
    "at",
    "attempts",
    "bucket",
    "budget",
    "changed",
    "count",
    "counts",
    "created",
    "disabled",
    "enabled",
    "endpoint",
    "error",
    "errors",
    "exp",
    "expired",
    "expires",
    "expiration",
    "expiry",
    "field",
    "file",
    "filename",
    "format",
    "header",
    "hint",
    "in",
    "index",
    "ization",
    "ize",
    "ized",
    "izer",
    "izers",
    "len",
    "length",
    "less",
    "limit",
    "limits",
    "method",
    "mode",
    "name",
    "path",
    "policy",
    "prefix",
    "present",
    "provider",
    "rate",
    "required",
    "reset",
    "set",
    "size",
    "source",
    "state",
    "status",
    "store",
    "strength",
    "ttl",
    "type",
    "types",
    "updated",
    "uri",
    "url",
    "usage",
    "used",
    "valid",
    "version",
];

/// Finds this short are common parts of longer words, so they must stand alone.
const SHORT: usize = 3;

/// A key in a text.
pub(super) struct Name {
    /// The whole key.
    pub(super) whole: Range<usize>,
    /// The part that is named like a secret.
    anchor: Range<usize>,
}

/// What a key consists of.
pub(super) fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

impl Name {
    /// The key that holds the find.
    pub(super) fn around(text: &[u8], anchor: Range<usize>) -> Self {
        let mut start = anchor.start;
        while start > 0
            && anchor.start - start < REACH
            && is_key_byte(text[start - 1])
            && escape_before(text, start) == 0
        {
            start -= 1;
        }
        let more = text[anchor.end..]
            .iter()
            .take(REACH)
            .take_while(|byte| is_key_byte(**byte))
            .count();
        Name {
            whole: start..anchor.end + more,
            anchor,
        }
    }

    /// Whether the value can be a secret, by the words around the find.
    pub(super) fn is_secret(&self, text: &[u8]) -> bool {
        let suffix = &text[self.anchor.end..self.whole.end];
        let alone = self.anchor.len() > SHORT
            && text[self.anchor.start] != b'_'
            && text[self.anchor.start] != b'-';
        if !alone && (self.glued_left(text) || suffix.first().is_some_and(u8::is_ascii_lowercase)) {
            return false;
        }
        let last = last_word(suffix);
        !ABOUT
            .iter()
            .any(|word| word.as_bytes().eq_ignore_ascii_case(last))
    }

    /// Whether a letter of the same word precedes the find.
    fn glued_left(&self, text: &[u8]) -> bool {
        let first = text[self.anchor.start];
        self.anchor.start > self.whole.start
            && first.is_ascii_alphabetic()
            && match text[self.anchor.start - 1] {
                before if before.is_ascii_lowercase() => first.is_ascii_lowercase(),
                before => before.is_ascii_alphabetic(),
            }
    }

    /// Whether this counts tokens of a language model rather than holding one.
    pub(super) fn is_plural(&self, text: &[u8]) -> bool {
        let suffix = &text[self.anchor.end..self.whole.end];
        suffix
            .first()
            .is_some_and(|byte| byte.eq_ignore_ascii_case(&b's'))
    }

    /// Whether the key is the find and nothing else.
    pub(super) fn is_bare(&self) -> bool {
        self.whole == self.anchor
    }

    /// Whether the find is this word.
    pub(super) fn is(&self, text: &[u8], word: &str) -> bool {
        text[self.anchor.clone()].eq_ignore_ascii_case(word.as_bytes())
    }
}

/// The last word of `expires_in`, `-count`, `ExpiresAt`, `izer`.
fn last_word(suffix: &[u8]) -> &[u8] {
    let end = suffix
        .iter()
        .rposition(|byte| !is_separator(*byte))
        .map_or(0, |at| at + 1);
    let trimmed = &suffix[..end];
    let start = trimmed
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, byte)| {
            if is_separator(*byte) {
                return Some(at + 1);
            }
            let hump =
                byte.is_ascii_uppercase() && (at == 0 || !trimmed[at - 1].is_ascii_uppercase());
            hump.then_some(at)
        })
        .unwrap_or(0);
    &trimmed[start..]
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_decides() {
        let check = |suffix: &str, expect: &str| {
            assert_eq!(last_word(suffix.as_bytes()), expect.as_bytes());
        };
        check("", "");
        check("izer", "izer");
        check("_expires_in", "in");
        check("ExpiresAt", "At");
        check("_COUNT", "COUNT");
        check("-ttl.", "ttl");
    }
}
