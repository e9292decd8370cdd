//! PEM private keys (RFC 7468): in one line, as text with escaped line ends, or line by line
//! as a program prints a file. A line of the body is told by its form, 64 base64 characters
//! and nothing else, because each line is scrubbed alone; the shorter last line of a body
//! cannot be told from a word and stays.

use std::ops::Range;

pub(super) const PATTERN: &str =
    r"-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----|^[A-Za-z0-9+/]{64}\r?$";

const LINE: usize = 64;
const END: &[u8] = b"-----END ";

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    if text[anchor.start] == b'-' {
        return block(text, anchor);
    }
    let line = &text[..LINE];
    let has = |class: fn(&u8) -> bool| line.iter().any(class);
    // All hexadecimal is a digest.
    let body =
        has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    (body && !line.iter().all(u8::is_ascii_hexdigit)).then_some(0..LINE)
}

/// From the first line to the last, or to where the text or the string it stands in ends.
fn block(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
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
    Some(anchor.start..anchor.end + length)
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
    }

    #[test]
    fn other_blocks_and_digests() {
        keeps("-----BEGIN PUBLIC KEY-----");
        keeps("-----BEGIN CERTIFICATE-----");
        keeps("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        keeps(&format!("x {BODY}"));
    }
}
