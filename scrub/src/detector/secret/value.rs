//! Where the value of a key begins and ends, and whether it is worth hiding.

use std::ops::Range;

use super::{Name, Separator};
use crate::action::Marks;
use crate::text::{backslashes_before, colour_at};

/// How far an unquoted value is followed. What is longer goes in several pieces.
pub(super) const BYTES_MAX: usize = 16 * 1024;

/// Words that stand for "nothing here" or "already hidden".
const HARMLESS: &[&str] = &[
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "null",
    "nil",
    "none",
    "undefined",
    "unset",
    "empty",
    "redacted",
    "filtered",
    "hidden",
    "masked",
    "removed",
    "required",
    "optional",
    "missing",
    "invalid",
];

/// Schemes of an `Authorization` header; the credential is the next word.
const SCHEMES: &[&str] = &[
    "bearer",
    "basic",
    "token",
    "apikey",
    "negotiate",
    "ntlm",
    "key",
    "dpop",
];

/// The value that begins at `at`, without its quotes. `key_quoted`: so was the key.
pub(super) fn find(
    text: &[u8],
    at: usize,
    separator: Separator,
    key_quoted: bool,
    name: &Name,
) -> Option<Range<usize>> {
    let at = at + wrapper(&text[at..]);
    let slashes = run(&text[at..], b'\\');
    match text.get(at + slashes)? {
        quote @ (b'"' | b'\'' | b'`') => {
            let start = at + slashes + 1;
            let opens = key_quoted || !closes(&text[start..]);
            opens.then(|| start..quoted_end(text, start, *quote, slashes))
        }
        b'[' if slashes == 0 => list(text, at),
        b'{' if slashes == 0 && !text[at..].starts_with(b"{{") => None,
        _ => {
            let end = plain_end(text, at, separator, name);
            let prose = separator == Separator::Colon && name.is_bare() && is_prose(text, at..end);
            (!prose).then_some(at..end)
        }
    }
}

/// Length of a quote that is written as an escape (`\u0022` with any number of backslashes, as .NET
/// and PHP do, or `%22`) at the start of `text`; 0 when there is none.
pub(super) fn escaped_quote(text: &[u8]) -> usize {
    if text.starts_with(b"%22") || text.starts_with(b"%27") {
        return 3;
    }
    let slashes = run(text, b'\\');
    match &text[slashes..] {
        [b'u', b'0', b'0', b'2', b'2' | b'7', ..] if slashes > 0 => slashes + 5,
        _ => 0,
    }
}

/// The value that begins at `at` with such a quote, up to the same one.
pub(super) fn in_escaped_quotes(text: &[u8], at: usize) -> Option<Range<usize>> {
    let length = escaped_quote(&text[at..]);
    if length == 0 {
        return None;
    }
    let start = at + length;
    let reach = &text[start..text.len().min(start + BYTES_MAX)];
    match memchr::memmem::find(reach, &text[at..start]) {
        Some(end) => Some(start..start + end),
        None => Some(start..word_end(text, start)),
    }
}

/// Whether the quote before `rest` closes the string that an unquoted key stands in
/// (`{"msg":"no password=","n":1}`), told by what may follow a JSON string.
fn closes(rest: &[u8]) -> bool {
    matches!(
        rest.trim_ascii_start().first(),
        None | Some(b',' | b':' | b'}' | b']')
    )
}

/// Length of what wraps a literal: `Some(`, `Secret(`, `b` and `u` before a quote.
fn wrapper(text: &[u8]) -> usize {
    if let [b'b' | b'u' | b'r', b'"' | b'\'', ..] = text {
        return 1;
    }
    let letters = text
        .iter()
        .take(16)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    match &text[letters..] {
        [b'(', b'"' | b'\'' | b'\\', ..] if letters > 0 => letters + 1,
        _ => 0,
    }
}

/// Where a string ends whose opening quote has `slashes` backslashes before it: 0 in plain
/// JSON, 1 in JSON inside a JSON string, 3 one deeper. Each depth doubles the backslashes of
/// what is inside, so the closing quote is the one preceded by `slashes` modulo twice the
/// opening's. A string cut off by the line's end ends there.
fn quoted_end(text: &[u8], start: usize, quote: u8, slashes: usize) -> usize {
    let mut from = start;
    while let Some(found) = memchr::memchr(quote, &text[from..]) {
        let at = from + found;
        let before = backslashes_before(&text[start..at]);
        if before % (2 * (slashes + 1)) == slashes {
            // SQL doubles a quote inside.
            if quote == b'\'' && text.get(at + 1) == Some(&quote) {
                from = at + 2;
                continue;
            }
            return at - slashes;
        }
        // Fewer than the opening's: the string around this one ends here.
        if before < slashes {
            return at - before;
        }
        from = at + 1;
    }
    let cut = text.trim_ascii_end();
    cut.len().max(start)
}

/// `["a","b"]` goes as `["<secret>"]`, `[a b]` as `[<secret>]`; numbers and objects stay.
fn list(text: &[u8], at: usize) -> Option<Range<usize>> {
    let mut strings: Option<Range<usize>> = None;
    let mut next = at + 1;
    while next < text.len() {
        let slashes = run(&text[next..], b'\\');
        match text.get(next + slashes) {
            Some(quote @ (b'"' | b'\'')) => {
                let start = next + slashes + 1;
                let end = quoted_end(text, start, *quote, slashes);
                strings = Some(strings.map_or(start, |known| known.start)..end);
                next = end + slashes + 1;
            }
            Some(b',' | b' ' | b'\t' | b'\n') if slashes == 0 => next += 1,
            _ => break,
        }
    }
    if strings.is_some() {
        return strings;
    }
    let inner = &text[at + 1..];
    let length = inner
        .iter()
        .take(BYTES_MAX)
        .position(|byte| b"]\"'{[\\".contains(byte))?;
    let words = inner[length] == b']' && inner[..length].iter().any(u8::is_ascii_alphabetic);
    words.then(|| at + 1..at + 1 + length)
}

/// How many times `byte` stands at the start.
fn run(text: &[u8], byte: u8) -> usize {
    text.iter().take_while(|other| **other == byte).count()
}

/// Where an unquoted value ends.
fn plain_end(text: &[u8], at: usize, separator: Separator, name: &Name) -> usize {
    if name.is(text, "cookie") {
        let mut end = cookie_end(text, at);
        // `a=b; c=d`.
        while let [b';', b' ', next, ..] = &text[end..]
            && next.is_ascii_alphanumeric()
        {
            end = cookie_end(text, end + 2);
        }
        return end;
    }
    let mut end = word_end(text, at);
    let scheme = |word: &str| text[at..end].eq_ignore_ascii_case(word.as_bytes());
    if separator != Separator::Blank
        && text.get(end) == Some(&b' ')
        && SCHEMES.iter().any(|word| scheme(word))
    {
        end = word_end(text, end + 1);
    }
    end
}

/// Where `a=b` or `a="b"` ends.
fn cookie_end(text: &[u8], at: usize) -> usize {
    let end = word_end(text, at);
    let slashes = run(&text[end..], b'\\');
    let start = end + slashes + 1;
    if !text[at..end].ends_with(b"=") || text.get(start - 1) != Some(&b'"') {
        return end;
    }
    // Without a second quote before a blank, the first one ends what the cookie stands in.
    let word = text[start..].iter().take(BYTES_MAX);
    let word = word.take_while(|byte| !byte.is_ascii_whitespace()).count();
    match memchr::memchr(b'"', &text[start..start + word]) {
        Some(length) => start + length + 1,
        None => end,
    }
}

fn word_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    // Brackets the value opened itself.
    let mut open = 0_usize;
    while let Some(byte) = text.get(end) {
        if end - at >= BYTES_MAX && text[end] & 0xc0 != 0x80 {
            break;
        }
        let next = text.get(end + 1);
        let stop = match byte {
            b'"' | b'\'' | b'`' | b'&' => true,
            byte if byte.is_ascii_whitespace() || byte.is_ascii_control() => true,
            b',' | b';' => {
                next.is_none_or(|next| b" \t\"'\\{[".contains(next))
                    || pair_follows(&text[end + 1..])
            }
            b'(' | b'[' | b'{' => {
                open += 1;
                false
            }
            b')' | b']' | b'}' if open > 0 => {
                open -= 1;
                false
            }
            b')' | b']' | b'}' => next.is_none_or(|next| b" \t,;)]}\"'\\".contains(next)),
            b'\\' => {
                let slashes = run(&text[end..], b'\\');
                match text.get(end + slashes) {
                    _ if colour_at(&text[end + slashes - 1..]) > 0 => true,
                    None | Some(b'"' | b'\'') => true,
                    Some(letter) => slashes % 2 == 1 && b"nrt".contains(letter),
                }
            }
            // The next pair of a query inside a query.
            b'%' if text[end..].starts_with(b"%26") => {
                text[..at].ends_with(b"%3D") || text[..at].ends_with(b"%3d")
            }
            b'%' => text[end..].starts_with(b"%22"),
            _ => false,
        };
        if stop {
            break;
        }
        end += 1;
    }
    end
}

/// Whether `text` goes on with `key=` or `key:`.
fn pair_follows(text: &[u8]) -> bool {
    let key = text
        .iter()
        .take(64)
        .take_while(|byte| super::name::is_key_byte(**byte))
        .count();
    key > 0 && matches!(text.get(key), Some(b'=' | b':'))
}

/// `token: unexpected end of input`: a word of lower-case letters, then another word.
fn is_prose(text: &[u8], value: Range<usize>) -> bool {
    let word = &text[value.clone()];
    let next = &text[value.end..];
    !word.is_empty()
        && word.iter().all(u8::is_ascii_lowercase)
        && matches!(next, [b' ', letter, ..] if letter.is_ascii_lowercase())
        && !next[1..]
            .iter()
            .take_while(|byte| **byte != b' ')
            .any(|byte| matches!(byte, b'=' | b':'))
}

/// Whether `value` needs no hiding.
pub(super) fn is_harmless(value: &[u8], text: &[u8], name: &Name, marks: &Marks) -> bool {
    let trimmed = value.trim_ascii();
    marks.is_mark(trimmed)
        || is_nothing(value)
        || is_variable(trimmed)
        || (name.is_plural(text) && is_number(trimmed))
        || (name.is(text, "pwd") && trimmed.starts_with(b"/"))
}

/// Whether `value` says that there is none, or that it was taken away.
pub(in crate::detector) fn is_nothing(value: &[u8]) -> bool {
    let trimmed = value.trim_ascii();
    let bare = match trimmed {
        [b'[' | b'<' | b'(', inner @ .., b']' | b'>' | b')'] => inner,
        _ => trimmed,
    };
    HARMLESS
        .iter()
        .any(|word| word.as_bytes().eq_ignore_ascii_case(bare))
        || !value
            .iter()
            .any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
        || value.iter().all(|byte| matches!(byte, b'x' | b'X' | b'*'))
}

/// `${NAME}`, `$NAME`, `{{ name }}`, `%s`: the name of a value, not the value.
fn is_variable(value: &[u8]) -> bool {
    let named = |name: &[u8]| {
        !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    };
    match value {
        [b'$', b'{', name @ .., b'}'] => named(name),
        [b'$', name @ ..] => named(name),
        [b'{', b'{', inner @ .., b'}', b'}'] => !inner.contains(&b'}'),
        [b'%', b's' | b'v' | b'q'] => true,
        _ => false,
    }
}

fn is_number(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'.')
}
