//! Names and values made fit for labels.

/// Appends `key` as (part of) a label name: what is no letter, digit or underscore becomes an
/// underscore, and none begins with a digit. Source: loki pkg/logql/log/util.go.
pub(super) fn append_name(name: &mut String, key: &str) {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let key = key.trim();
    if name.is_empty() && key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    if key.bytes().all(is_fit) {
        name.push_str(key);
        return;
    }
    name.extend(key.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    }));
}

/// A label name on its own.
pub(super) fn name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    append_name(&mut name, key);
    name
}

/// Whether `name` can be a label's.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The replacement character stands for bytes that are no text; Loki puts a space in its place.
pub(super) fn value(text: String) -> String {
    if text.contains('\u{fffd}') {
        text.replace('\u{fffd}', " ")
    } else {
        text
    }
}

/// As [`value`] for borrowed text.
pub(super) fn value_ref(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\u{fffd}') {
        text.replace('\u{fffd}', " ").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_letters_digits_and_underscores() {
        for (key, expect) in [
            ("a.b-c", "a_b_c"),
            (" 9x ", "_9x"),
            ("é", "_"),
            ("ok_1", "ok_1"),
            ("", ""),
        ] {
            assert_eq!(name(key), expect, "{key}");
        }
        assert!(is_name("_a1") && !is_name("1a") && !is_name(""));
        assert_eq!(value("a\u{fffd}b".to_owned()), "a b");
    }
}
