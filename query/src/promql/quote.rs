//! Quoted texts by Go's rules, both ways.

/// Go's `%q`: printable characters stay, the rest is escaped.
#[must_use]
pub fn go_quote(text: &str) -> String {
    go_quote_bytes(text.as_bytes())
}

/// Go's `%q` of bytes that need not be UTF-8.
#[must_use]
pub fn go_quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\u{7}' => out.push_str("\\a"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\u{b}' => out.push_str("\\v"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                    out.push_str(&format!("\\x{:02x}", c as u32));
                }
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// The bytes of a quoted text, by Go's rules for `"…"` and `` `…` ``; `'…'` reads as `"…"`.
///
/// # Errors
/// When an escape is unknown or cut short.
pub fn unquote(quoted: &str) -> Result<Vec<u8>, String> {
    let mut chars = quoted.chars();
    let quote = chars.next().unwrap_or('"');
    let inner = quoted
        .get(1..quoted.len().saturating_sub(1))
        .unwrap_or_default();
    if quote == '`' {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(escaped) = rest.next() else {
            return Err("escape sequence not terminated".to_owned());
        };
        let (digits, radix, first) = match escaped {
            'a' => (0, 0, 7),
            'b' => (0, 0, 8),
            'f' => (0, 0, 12),
            'n' => (0, 0, 10),
            'r' => (0, 0, 13),
            't' => (0, 0, 9),
            'v' => (0, 0, 11),
            '\\' => (0, 0, u32::from(b'\\')),
            c if c == quote => (0, 0, c as u32),
            '0'..='7' => (2, 8, escaped as u32 - u32::from(b'0')),
            'x' => (2, 16, 0),
            'u' => (4, 16, 0),
            'U' => (8, 16, 0),
            other => {
                return Err(format!(
                    "unknown escape sequence U+{:04X} '{other}'",
                    other as u32
                ));
            }
        };
        let mut value = first;
        for _ in 0..digits {
            let Some(c) = rest.next() else {
                return Err("escape sequence not terminated".to_owned());
            };
            let Some(d) = c.to_digit(radix) else {
                return Err(format!(
                    "illegal character U+{:04X} '{c}' in escape sequence",
                    c as u32
                ));
            };
            value = value.wrapping_mul(radix).wrapping_add(d);
        }
        match escaped {
            '0'..='7' | 'x' => match u8::try_from(value) {
                Ok(b) => out.push(b),
                Err(_) => {
                    return Err("escape sequence is an invalid Unicode code point".to_owned());
                }
            },
            _ => match char::from_u32(value) {
                Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => {
                    return Err("escape sequence is an invalid Unicode code point".to_owned());
                }
            },
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_follow_go() {
        assert_eq!(
            unquote(r#""a\n\x41\u00e9\"\101""#).unwrap(),
            "a\nA\u{e9}\"A".as_bytes()
        );
        assert_eq!(unquote(r"`a\n`").unwrap(), b"a\\n");
        assert!(unquote(r#""\'""#).is_err());
        assert_eq!(go_quote_bytes(b"a\xc5z"), r#""a\xc5z""#);
    }
}
