//! JSON web tokens: three base64url parts, of which the first is a JSON object with `alg`
//! (RFC 7519). Encrypted tokens have five parts and go the same way.

use std::ops::Range;

use crate::text::{base64, starts_token};

use crate::trigger::Trigger;

/// Base64 of `{"`.
pub(super) fn triggers() -> Vec<Trigger> {
    vec![Trigger::literal("eyJ")]
}

/// Longer headers carry certificates, which no application logs.
const HEADER_BYTES_MAX: usize = 2048;

pub(super) fn locate(text: &[u8], anchor: Range<usize>) -> Option<Range<usize>> {
    let start = anchor.start;
    if !starts_token(text, start) {
        return None;
    }
    let header = part(&text[start..], HEADER_BYTES_MAX);
    if text.get(start + header.len()) != Some(&b'.') {
        return None;
    }
    let decoded = base64(header)?;
    memchr::memmem::find(&decoded, b"\"alg\"")?;

    let mut end = start + header.len();
    while text.get(end) == Some(&b'.') {
        let next = part(&text[end + 1..], usize::MAX).len();
        // A full stop that ends the sentence is no part.
        if next == 0 && text.get(end + 1) != Some(&b'.') {
            break;
        }
        end += 1 + next;
    }
    // At least the payload; `header.` alone says nothing.
    (end > start + header.len()).then_some(start..end)
}

fn part(text: &[u8], max: usize) -> &[u8] {
    let end = text
        .iter()
        .take(max)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        .count();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

    #[test]
    fn tokens_in_text() {
        check(&format!("got {TOKEN}."), "got <jwt>.");
        check(&format!("/cb?jwk={TOKEN}&x=1"), "/cb?jwk=<jwt>&x=1");
        check(&format!(r#"{{"m":"a\n{TOKEN}"}}"#), r#"{"m":"a\n<jwt>"}"#);
        // Unsigned, and cut off inside the payload.
        check("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "<jwt>.");
        check("eyJhbGciOiJub25lIn0.eyJzdWI", "<jwt>");
    }

    #[test]
    fn other_base64() {
        keeps("eyJmb28iOiJiYXIifQ");
        keeps("eyJmb28iOiJiYXIifQ.eyJmb28iOiJiYXIifQ.abc");
        keeps("keyJhbGciOiJub25lIn0.eyJzdWI");
    }
}
