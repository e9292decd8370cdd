//! PEM private keys (RFC 7468): in one line, as text with escaped line ends, or line by line
//! as a program prints a file. A line of the body is told by its form, 64 (or 70) base64 characters
//! and nothing else, because each line is scrubbed alone; the shorter last line of a body
//! cannot be told from a word and stays.

use std::ops::Range;

use crate::trigger::Trigger;

/// Length of a line of a body: RFC 7468, and what OpenSSH writes.
const LINES: [usize; 2] = [64, 70];
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// Longest name of a kind of key before `PRIVATE KEY`.
const KIND_BYTES_MAX: usize = 32;

pub(super) fn triggers() -> Vec<Trigger> {
    vec![
        Trigger::literal("PRIVATE KEY-----"),
        Trigger::literal("PRIVATE KEY BLOCK-----"),
    ]
}

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    let from = anchor.start.saturating_sub(KIND_BYTES_MAX + BEGIN.len());
    let begin = from + memchr::memmem::rfind(&text[from..anchor.start], BEGIN)?;
    let kind = &text[begin + BEGIN.len()..anchor.start];
    let is_kind = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
    kind.iter()
        .all(is_kind)
        .then(|| block(text, begin..anchor.end))
}

/// A text that is a line of a body and nothing else.
pub(super) fn body_line(line: &[u8]) -> Option<Range<usize>> {
    let is_symbol = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if !LINES.contains(&line.len()) || !line.iter().all(is_symbol) {
        return None;
    }
    let has = |class: fn(&u8) -> bool| line.iter().any(class);
    // All hexadecimal is a digest.
    let body =
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    (body && !line.iter().all(u8::is_ascii_hexdigit)).then_some(0..line.len())
}

/// From the first line to the last, or to where the text or the string it stands in ends.
fn block(text: &[u8], anchor: Range<usize>) -> Range<usize> {
    let body = &text[anchor.end..];
    let quote = body
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\'' | b'`'))
        .map(|at| at - crate::text::backslashes_before(&body[..at]));
    let body = &body[..quote.unwrap_or(body.len())];
    let length = match memchr::memmem::find(body, END) {
        Some(at) => {
            let last = at + END.len();
            memchr::memmem::find(&body[last..], b"-----")
                .map_or(body.len(), |dashes| last + dashes + 5)
        }
        None => body.trim_ascii_end().len(),
    };
    anchor.start..anchor.end + length
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    const BODY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";

    #[test]
    fn blocks() {
        check(
            &format!(
                r#"{{"key":"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"}}"#
            ),
            r#"{"key":"<private-key>\n"}"#,
        );
        check(
            "a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b",
            "a <private-key> b",
        );
        check("-----BEGIN OPENSSH PRIVATE KEY-----", "<private-key>");
        check("-----BEGIN EC PRIVATE KEY----- cut off", "<private-key>");
        check(BODY, "<private-key>");
        check(&format!("{BODY}aB3/+z"), "<private-key>");
        check("-----BEGIN PGP PRIVATE KEY BLOCK-----", "<private-key>");
    }

    #[test]
    fn other_blocks_and_digests() {
        keeps("-----BEGIN PUBLIC KEY-----");
        keeps("-----BEGIN CERTIFICATE-----");
        keeps("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        keeps(&format!("x {BODY}"));
    }
}
