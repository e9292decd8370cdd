//! Credentials after their scheme: `Bearer …` (RFC 6750) and `Basic …` (RFC 7617).

use std::ops::Range;

use crate::text::{base64, starts_token};

use crate::trigger::Trigger;

/// Blanks between scheme and credential.
const BLANKS_MAX: usize = 4;

/// Shorter words after "bearer" are prose.
const BEARER_BYTES_MIN: usize = 8;
/// From this length on even a word of letters alone is a token.
const WORD_BYTES_MAX: usize = 20;
/// More than any header holds; a longer basic credential is none.
const BASIC_BYTES_MAX: usize = 1024;

pub(super) fn triggers() -> Vec<Trigger> {
    vec![Trigger::word("bearer"), Trigger::word("basic")]
}

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    if !starts_token(text, anchor.start) {
        return None;
    }
    let start = anchor.end + blanks(&text[anchor.end..])?;
    let token = symbols(&text[start..]);
    let bearer = text[anchor.start + 1].eq_ignore_ascii_case(&b'e');
    let secret = if bearer {
        let prose = token.len() < WORD_BYTES_MAX && token.iter().all(u8::is_ascii_alphabetic);
        token.len() >= BEARER_BYTES_MIN && !prose
    } else {
        token.len() <= BASIC_BYTES_MAX
            && base64(token).is_some_and(|pair| is_user_and_password(&pair))
    };
    secret.then(|| start..start + token.len())
}

fn blanks(text: &[u8]) -> Option<usize> {
    match text {
        [b'+', ..] => Some(1),
        [b'%', b'2', b'0', ..] => Some(3),
        _ => {
            let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
            let count = text.iter().take_while(is_blank).count();
            (1..=BLANKS_MAX).contains(&count).then_some(count)
        }
    }
}

/// The characters of a token; a slash may be escaped, as some JSON encoders do.
fn symbols(text: &[u8]) -> &[u8] {
    let mut end = 0;
    loop {
        match &text[end..] {
            [b'\\', b'/', ..] => end += 2,
            [byte, ..] if byte.is_ascii_alphanumeric() || b"._~+/=-".contains(byte) => end += 1,
            _ => break,
        }
    }
    let mut token = &text[..end];
    while let [rest @ .., b'.'] = token {
        token = rest;
    }
    token
}

fn is_user_and_password(pair: &[u8]) -> bool {
    pair.contains(&b':') && !pair.iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn credentials() {
        check("sent Bearer abc123def456.", "sent Bearer <secret>.");
        check("bearer AbCdEfGh-_~+/=x", "bearer <secret>");
        check("BEARER abcdefghijklmnopqrstuvwxyz", "BEARER <secret>");
        check("h=Bearer%20abc123def456&x", "h=Bearer%20<secret>&x");
        check("Basic dXNlcjpwYXNz", "Basic <secret>");
        check("basic YTpi", "basic <secret>");
        check(r"Bearer ab12\/cdef34", "Bearer <secret>");
    }

    #[test]
    fn prose() {
        keeps("bearer token missing");
        keeps("Bearer authentication failed");
        keeps("Basic authentication failed");
        keeps("basic test1234");
        keeps("forbearer abc123def456");
        keeps("Bearer <secret>");
    }
}
