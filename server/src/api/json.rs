//! JSON by hand where answers are large: straight into one string, no tree in between.

use std::fmt::Write as _;

use model::{Labels, Timestamp, number};

/// Appends a JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    escaped(out, text, false);
}

/// Appends a JSON string as Go's encoder does, which also hides `<`, `>` and `&`.
pub(crate) fn html_safe(out: &mut String, text: &str) {
    escaped(out, text, true);
}

fn escaped(out: &mut String, text: &str, html: bool) {
    out.push('"');
    let mut plain = 0;
    for (i, b) in text.bytes().enumerate() {
        let escape = match b {
            b'<' if html => "\\u003c",
            b'>' if html => "\\u003e",
            b'&' if html => "\\u0026",
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => {
                out.push_str(&text[plain..i]);
                let _ = write!(out, "\\u{b:04x}");
                plain = i + 1;
                continue;
            }
            _ => continue,
        };
        out.push_str(&text[plain..i]);
        out.push_str(escape);
        plain = i + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Appends `{"name":"value",…}`.
pub(crate) fn labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

/// Appends `[…]` with one element per item.
pub(crate) fn array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Appends an instant as Prometheus does: seconds, with three decimals unless they are zero.
pub(crate) fn timestamp(out: &mut String, at: Timestamp) {
    number::push_seconds(out, at.millis());
}

/// Appends a sample's value: a string, because JSON has no NaN and no infinity.
pub(crate) fn number(out: &mut String, value: f64) {
    out.push('"');
    number::push_api(out, value);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_and_unicode_stays() {
        let mut out = String::new();
        string(&mut out, "a\"b\\c\n\u{1}ü");
        assert_eq!(out, "\"a\\\"b\\\\c\\n\\u0001ü\"");
        assert_eq!(
            serde_json::from_str::<String>(&out).unwrap(),
            "a\"b\\c\n\u{1}ü"
        );
    }

    #[test]
    fn what_html_would_read_is_escaped_where_go_does() {
        let mut out = String::new();
        html_safe(&mut out, "<a&b>");
        assert_eq!(out, "\"\\u003ca\\u0026b\\u003e\"");
    }
}
