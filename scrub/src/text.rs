//! What the detectors ask about bytes around a find.

/// Letters, digits and `_`: what `\b` calls a word.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a token may begin at `at`: at the start, after a byte that is no part of a word, or
/// after an escape sequence (`\n`, `\u001b`, `%20`, a terminal colour) whose last byte looks
/// like one. Without the last case `"…\nAKIA…"` in a JSON string would pass unseen.
pub(crate) fn starts_token(text: &[u8], at: usize) -> bool {
    at == 0 || !is_word(text[at - 1]) || escape_before(text, at) > 0
}

/// Whether a token may end before `at`.
pub(crate) fn ends_token(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| !is_word(*byte))
}

/// Length of the escape sequence that ends right before `at`; 0 when there is none.
pub(crate) fn escape_before(text: &[u8], at: usize) -> usize {
    let head = &text[..at];
    let letter = letter_escape_before(head);
    if letter > 0 {
        return letter;
    }
    match head {
        [.., b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => 3,
        _ => 0,
    }
}

/// As [`escape_before`], without percent escapes, which may be a part of what they precede.
pub(crate) fn letter_escape_before(head: &[u8]) -> usize {
    let hex = |from: usize| head[from..].iter().all(u8::is_ascii_hexdigit);
    match head {
        [rest @ .., b'n' | b'r' | b't' | b'b' | b'f' | b'v'] if odd_backslashes(rest) => 2,
        [rest @ .., b'u', _, _, _, _] if odd_backslashes(rest) && hex(head.len() - 4) => 6,
        [rest @ .., b'x', _, _] if odd_backslashes(rest) && hex(head.len() - 2) => 4,
        [.., b'm'] => colour_before(head),
        _ => 0,
    }
}

/// The escape character raw and as programs write it.
const ESCAPES: [&[u8]; 7] = [
    b"\x1b", b"\\u001b", b"\\u001B", b"\\x1b", b"\\x1B", b"\\033", b"\\e",
];
/// `[38;2;255;255;255m` and an escaped ESC before it.
const LONGEST_COLOUR: usize = 24;

/// `ESC [ 1 ; 31 m`.
fn colour_before(head: &[u8]) -> usize {
    let from = head.len().saturating_sub(LONGEST_COLOUR);
    let numbers = |byte: &u8| byte.is_ascii_digit() || *byte == b';';
    let Some(open) = head[from..].iter().rposition(|byte| *byte == b'[') else {
        return 0;
    };
    let open = from + open;
    if !head[open + 1..head.len() - 1].iter().all(numbers) {
        return 0;
    }
    for escape in ESCAPES {
        if head[..open].ends_with(escape) {
            return head.len() - open + escape.len();
        }
    }
    0
}

/// Length of the terminal colour at the start of `text`, its escape raw or escaped; 0 when there is
/// none.
pub(crate) fn colour_at(text: &[u8]) -> usize {
    let escape = ESCAPES.iter().find(|escape| text.starts_with(escape));
    let Some(rest) = escape.and_then(|escape| text[escape.len()..].strip_prefix(b"[")) else {
        return 0;
    };
    let numbers = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let count = rest.iter().take(LONGEST_COLOUR).take_while(numbers).count();
    match rest.get(count) {
        Some(b'm') => text.len() - rest.len() + count + 1,
        _ => 0,
    }
}

fn odd_backslashes(head: &[u8]) -> bool {
    backslashes_before(head) % 2 == 1
}

/// How many backslashes `head` ends with.
pub(crate) fn backslashes_before(head: &[u8]) -> usize {
    head.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Decodes base64 of either alphabet, with or without padding; `None` when a byte is foreign.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let end = text
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |at| at + 1);
    let (mut out, mut bits, mut held) = (Vec::with_capacity(end * 3 / 4), 0_u32, 0);
    for byte in &text[..end] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_starts_after_escapes() {
        let check = |head: &str, expect: bool| {
            assert_eq!(
                starts_token(head.as_bytes(), head.len()),
                expect,
                "{head:?}"
            );
        };
        check("", true);
        check("a ", true);
        check("a", false);
        check("a\\n", true);
        check("a\\\\n", false);
        check("\\u0022", true);
        check("q=%22", true);
        check("\x1b[0m", true);
        check("\x1b[1;31m", true);
        check("\\u001b[31m", true);
        check("[31m", false);
        check("tm", false);
    }

    #[test]
    fn base64_with_and_without_padding() {
        assert_eq!(base64(b"YTpi").unwrap(), b"a:b");
        assert_eq!(base64(b"YTpiYw==").unwrap(), b"a:bc");
        assert_eq!(base64(b"YTpiYw").unwrap(), b"a:bc");
        assert_eq!(base64(b"a b"), None);
    }
}
