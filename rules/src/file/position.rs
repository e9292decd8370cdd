//! From a byte offset inside a YAML scalar's value to its line and column in the file.

use serde_saphyr::Spanned;

/// Line and column (1-based, in characters) of the byte `offset` of a string value.
///
/// Follows plain, quoted, literal and folded scalars. Where the source cannot be followed
/// (an escape that stands for several characters, an alias), the start of the scalar is returned.
pub(super) fn in_scalar(text: &str, value: &Spanned<String>, offset: usize) -> (usize, usize) {
    let start = super::place(value.referenced);
    let span = value.referenced.span();
    let Some(at) = span.byte_offset().and_then(|o| usize::try_from(o).ok()) else {
        return start;
    };
    let Some(source) = text.get(at..) else {
        return start;
    };
    let prefix = value.value.get(..offset).unwrap_or(&value.value);
    let consumed = match source.as_bytes().first() {
        Some(b'|' | b'>') => block(text, at, prefix, &value.value),
        Some(b'"') => double_quoted(source, prefix),
        Some(b'\'') => single_quoted(source, prefix),
        _ => follow(source, 0, prefix),
    };
    consumed.map_or(start, |c| line_column(text, at + c))
}

/// The byte in a block scalar's source where `prefix` of its value ends.
fn block(text: &str, at: usize, prefix: &str, value: &str) -> Option<usize> {
    let source = &text[at..];
    // Content begins after the header line.
    let body = source.find('\n')? + 1;
    // The first character of the value, then whitespace runs matched loosely.
    let lead = source[body..].len() - source[body..].trim_start().len();
    let value_lead = value.len() - value.trim_start().len();
    if prefix.len() <= value_lead {
        return Some(body + lead);
    }
    follow(source, body + lead, &prefix[value_lead..])
}

/// Walks `prefix` along `source`; a run of whitespace in one matches a run in the other,
/// which is how folding and indentation change text.
fn follow(source: &str, from: usize, prefix: &str) -> Option<usize> {
    let mut at = from;
    let mut rest = prefix.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_whitespace() {
            while rest.next_if(|c| c.is_whitespace()).is_some() {}
            let tail = &source[at..];
            let run = tail.len() - tail.trim_start().len();
            if rest.peek().is_none() {
                // The offset is inside or right behind the run: the next word is meant.
                return Some(at + run);
            }
            if run == 0 {
                return None;
            }
            at += run;
        } else {
            if !source[at..].starts_with(c) {
                return None;
            }
            at += c.len_utf8();
        }
    }
    Some(at)
}

fn single_quoted(source: &str, prefix: &str) -> Option<usize> {
    quoted(source, prefix, |rest| {
        rest.starts_with("''").then_some(('\'', 2))
    })
}

fn double_quoted(source: &str, prefix: &str) -> Option<usize> {
    quoted(source, prefix, |rest| {
        let c = rest.strip_prefix('\\')?.chars().next()?;
        let plain = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '"' | '\\' | '/' => c,
            _ => return None,
        };
        Some((plain, 2))
    })
}

/// Walks a one-line quoted scalar; `escape` reads an escape and tells its length.
fn quoted(
    source: &str,
    prefix: &str,
    escape: impl Fn(&str) -> Option<(char, usize)>,
) -> Option<usize> {
    let mut at = 1;
    for c in prefix.chars() {
        let rest = &source[at..];
        match escape(rest) {
            Some((plain, len)) if plain == c => at += len,
            _ if rest.starts_with(c) => at += c.len_utf8(),
            // A folded line break inside quotes.
            _ if c == ' ' && rest.starts_with('\n') => {
                at += rest.len() - rest.trim_start().len();
            }
            _ => return None,
        }
    }
    Some(at)
}

fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        1 + before.matches('\n').count(),
        1 + before[line_start..].chars().count(),
    )
}
