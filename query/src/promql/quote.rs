//! Quoted texts by Go's rules, both ways.

use std::fmt::Write as _;

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
            push_escaped(&mut out, c, '"');
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    out.push('"');
    out
}

/// Go's `%q` of one character; `None`, the end of the text, is U+FFFD there.
#[must_use]
pub(crate) fn go_quote_rune(c: Option<char>) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c.unwrap_or('\u{fffd}'), '\'');
    out.push('\'');
    out
}

fn push_escaped(out: &mut String, c: char, quote: char) {
    let short = match c {
        '\\' => '\\',
        '\n' => 'n',
        '\t' => 't',
        '\r' => 'r',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\u{b}' => 'v',
        c if c == quote => quote,
        c => {
            let code = u32::from(c);
            // Writing to a String cannot fail.
            let _ = match code {
                0..0x20 | 0x7f => write!(out, "\\x{code:02x}"),
                _ if is_printable(c) => out.write_char(c),
                ..0x1_0000 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

/// Go's `strconv.IsPrint` without its list of unassigned characters: letters, marks, numbers,
/// punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && (c == ' ' || !c.is_whitespace())
        && !matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..)
}

/// Go's `%#U`: `U+0063 'c'`, the character only if it is printable.
fn code_point(c: char) -> String {
    let code = u32::from(c);
    if is_printable(c) {
        format!("U+{code:04X} '{c}'")
    } else {
        format!("U+{code:04X}")
    }
}

/// The bytes of a quoted text, by Go's rules for `"…"` and `` `…` ``; `'…'` reads as `"…"`.
///
/// # Errors
/// When an escape is unknown or cut short.
pub fn unquote(quoted: &str) -> Result<Vec<u8>, String> {
    let quote = quoted.chars().next().unwrap_or('"');
    let inner = quoted
        .get(1..quoted.len().saturating_sub(1))
        .unwrap_or_default();
    if quote == '`' {
        return Ok(inner.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let (meant, used) = escape(&rest[at..], quote)?;
        match meant {
            Escaped::Byte(b) => out.push(b),
            Escaped::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// What an escape sequence stands for.
pub(crate) enum Escaped {
    /// One byte, not always UTF-8.
    Byte(u8),
    /// One character.
    Char(char),
}

/// The escape sequence at the start of `text` (its backslash included) and its length in bytes.
///
/// # Errors
/// In the words of Prometheus' lexer.
pub(crate) fn escape(text: &str, quote: char) -> Result<(Escaped, usize), String> {
    let ended = || "escape sequence not terminated".to_owned();
    let mut chars = text.chars();
    chars.next();
    let c = chars.next().ok_or_else(ended)?;
    let byte = |b: u8| Ok((Escaped::Byte(b), 2));
    let (digits, radix, skipped) = match c {
        'a' => return byte(7),
        'b' => return byte(8),
        'f' => return byte(12),
        'n' => return byte(b'\n'),
        'r' => return byte(b'\r'),
        't' => return byte(b'\t'),
        'v' => return byte(11),
        '\\' => return byte(b'\\'),
        c if c == quote => return Ok((Escaped::Char(c), 1 + c.len_utf8())),
        '0'..='7' => (3, 8, 1),
        'x' => (2, 16, 2),
        'u' => (4, 16, 2),
        'U' => (8, 16, 2),
        other => return Err(format!("unknown escape sequence {}", code_point(other))),
    };
    let mut value: u32 = 0;
    let mut rest = text[skipped..].chars();
    for _ in 0..digits {
        let c = rest.next().ok_or_else(ended)?;
        let d = c.to_digit(radix).ok_or_else(|| {
            let what = code_point(c);
            format!("illegal character {what} in escape sequence")
        })?;
        value = value.wrapping_mul(radix).wrapping_add(d);
    }
    let meant = if matches!(c, 'u' | 'U') {
        char::from_u32(value).map(Escaped::Char)
    } else {
        u8::try_from(value).ok().map(Escaped::Byte)
    };
    meant
        .map(|meant| (meant, skipped + digits))
        .ok_or_else(|| "escape sequence is an invalid Unicode code point".to_owned())
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
