//! `| json`, `| unpack`, and the reader of JSON they share.
//!
//! The reader goes through a text once and looks no further than asked: what follows the value it
//! wants may be malformed. Its words are those of github.com/buger/jsonparser, which Loki shows.

use std::borrow::Cow;

use template::loki::json_escape;

use super::regexp::extract;
use super::sanitize;
use crate::logql::labels::{Category, DUPLICATE_SUFFIX, LineLabels};

const ERROR: &str = "JSONParser";
/// Deepest nesting of objects that become labels.
const DEPTH_MAX: usize = 128;

const MALFORMED: &str = "Malformed JSON error";
const MALFORMED_STRING: &str = "Value is string, but can't find closing '\"' symbol";
const MALFORMED_ARRAY: &str = "Value is array, but can't find closing ']' symbol";
const MALFORMED_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
const MALFORMED_ESCAPE: &str = "Encountered an invalid escape sequence in a string";
const UNKNOWN_VALUE: &str = "Unknown value type";

/// A value as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'j> {
    /// Between its quotes, escapes not resolved.
    String(&'j str),
    Number(&'j str),
    Bool(bool),
    Null,
    Object(&'j str),
    Array(&'j str),
}

/// Why the reader stopped early.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    Wrong(&'static str),
    /// Nothing more is needed.
    Enough,
}

/// First byte at or after `at` that is no space.
fn token(text: &str, at: usize) -> Option<(usize, u8)> {
    text.as_bytes()[at..]
        .iter()
        .position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t'))
        .map(|i| (at + i, text.as_bytes()[at + i]))
}

/// The text up to the quote that ends the string begun before `at`, and the place after it.
fn string_at(text: &str, at: usize) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let mut i = at;
    loop {
        match bytes.get(i)? {
            b'"' => return Some((&text[at..i], i + 1)),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// One past the bracket that closes the one at `at`.
fn block_end(text: &str, at: usize, open: u8, close: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut i, mut level) = (at, 0_usize);
    while let Some(b) = bytes.get(i) {
        if *b == b'"' {
            i = string_at(text, i + 1)?.1;
            continue;
        }
        if *b == open {
            level += 1;
        } else if *b == close {
            level -= 1;
            if level == 0 {
                return Some(i + 1);
            }
        }
        i += 1;
    }
    None
}

/// The value at `at` and the place after it.
fn value_at(text: &str, at: usize) -> Result<(Value<'_>, usize), Stop> {
    let (at, first) = token(text, at).ok_or(Stop::Wrong(MALFORMED))?;
    match first {
        b'"' => string_at(text, at + 1)
            .map(|(s, next)| (Value::String(s), next))
            .ok_or(Stop::Wrong(MALFORMED_STRING)),
        b'{' => block_end(text, at, b'{', b'}')
            .map(|end| (Value::Object(&text[at..end]), end))
            .ok_or(Stop::Wrong(MALFORMED_OBJECT)),
        b'[' => block_end(text, at, b'[', b']')
            .map(|end| (Value::Array(&text[at..end]), end))
            .ok_or(Stop::Wrong(MALFORMED_ARRAY)),
        _ => {
            let end = text[at..]
                .find([' ', '\n', '\r', '\t', ',', '}', ']'])
                .map_or(text.len(), |i| at + i);
            let word = &text[at..end];
            let value = match word {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ if first.is_ascii_digit() || first == b'-' => Value::Number(word),
                _ => return Err(Stop::Wrong(UNKNOWN_VALUE)),
            };
            Ok((value, end))
        }
    }
}

/// Visits the members of the object `text` in order.
pub(super) fn each_member<'j>(
    text: &'j str,
    visit: &mut dyn FnMut(&str, Value<'j>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut at = match token(text, 0) {
        Some((at, b'{')) => at + 1,
        _ => return Err(Stop::Wrong(MALFORMED_OBJECT)),
    };
    match token(text, at) {
        None => return Err(Stop::Wrong(MALFORMED)),
        Some((_, b'}')) => return Ok(()),
        Some((next, _)) => at = next,
    }
    loop {
        match text.as_bytes().get(at) {
            Some(b'"') => at += 1,
            Some(b'}') => return Ok(()),
            _ => return Err(Stop::Wrong(MALFORMED_OBJECT)),
        }
        let (key, after) = string_at(text, at).ok_or(Stop::Wrong(MALFORMED))?;
        let key = unescape(key).ok_or(Stop::Wrong(MALFORMED_ESCAPE))?;
        at = match token(text, after) {
            Some((colon, b':')) => colon + 1,
            _ => return Err(Stop::Wrong(MALFORMED)),
        };
        let (value, after) = value_at(text, at)?;
        visit(&key, value)?;
        at = match token(text, after) {
            None => return Err(Stop::Wrong(MALFORMED_ARRAY)),
            Some((_, b'}')) => return Ok(()),
            Some((comma, b',')) => comma + 1,
            Some(_) => return Err(Stop::Wrong(MALFORMED_OBJECT)),
        };
        at = token(text, at).ok_or(Stop::Wrong(MALFORMED_ARRAY))?.0;
    }
}

/// Visits the elements of the array `text` in order, as far as they can be read.
pub(super) fn each_element<'j>(text: &'j str, visit: &mut dyn FnMut(Value<'j>) -> bool) {
    let mut at = 1;
    if matches!(token(text, at), None | Some((_, b']'))) {
        return;
    }
    while let Ok((value, after)) = value_at(text, at) {
        if !visit(value) {
            return;
        }
        match token(text, after) {
            Some((comma, b',')) => at = comma + 1,
            _ => return,
        }
    }
}

/// A string with its escapes resolved; `None` when one is wrong.
pub(super) fn unescape(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = text.find('\\') else {
        return Some(Cow::Borrowed(text));
    };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(after) = rest.strip_prefix('\\') {
        let (meant, after) = json_escape(after)?;
        out.push(meant?);
        rest = after;
        let plain = rest.find('\\').unwrap_or(rest.len());
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Some(Cow::Owned(out))
}

/// A string as a label's value: empty when an escape is wrong.
pub(super) fn string_value(raw: &str) -> Cow<'_, str> {
    match unescape(raw) {
        Some(Cow::Borrowed(text)) => sanitize::value_ref(text),
        Some(Cow::Owned(text)) => Cow::Owned(sanitize::value(text)),
        None => Cow::Borrowed(""),
    }
}

/// Each member becomes a label; those of nested objects are named by their path, arrays and null
/// are left out.
pub(super) fn parse_into(line: &str, labels: &mut LineLabels) {
    if labels.needs_nothing() {
        return;
    }
    let mut prefix = String::new();
    if let Err(Stop::Wrong(why)) = members_into(line, &mut prefix, 0, labels) {
        labels.parse_error(ERROR, why);
    }
}

fn members_into(
    object: &str,
    prefix: &mut String,
    depth: usize,
    labels: &mut LineLabels,
) -> Result<(), Stop> {
    if depth > DEPTH_MAX {
        return Err(Stop::Wrong("objects nest too deeply"));
    }
    each_member(object, &mut |key, value| {
        let len = prefix.len();
        if len > 0 {
            prefix.push('_');
        }
        sanitize::append_name(prefix, key);
        let done = match value {
            Value::Object(inner) if labels.hints.wants_prefix(prefix) => {
                let done = members_into(inner, prefix, depth + 1, labels);
                prefix.truncate(len);
                return done;
            }
            Value::String(raw) => extract(labels, prefix, &string_value(raw)),
            Value::Number(text) => extract(labels, prefix, text),
            Value::Bool(true) => extract(labels, prefix, "true"),
            Value::Bool(false) => extract(labels, prefix, "false"),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        prefix.truncate(len);
        if done && labels.found_all_required() {
            return Err(Stop::Enough);
        }
        Ok(())
    })
}

/// Visits the labels that [`parse_into`] makes of a line: their names and the keys that lead to
/// them.
pub(super) fn each_path(line: &str, visit: &mut dyn FnMut(&str, &[String])) {
    // What was read before a mistake counts.
    let _ = paths_of(line, &mut String::new(), &mut Vec::new(), visit);
}

fn paths_of(
    object: &str,
    prefix: &mut String,
    path: &mut Vec<String>,
    visit: &mut dyn FnMut(&str, &[String]),
) -> Result<(), Stop> {
    if path.len() > DEPTH_MAX {
        return Err(Stop::Enough);
    }
    each_member(object, &mut |key, value| {
        let len = prefix.len();
        if len > 0 {
            prefix.push('_');
        }
        sanitize::append_name(prefix, key);
        path.push(key.to_owned());
        let read = match value {
            Value::Object(inner) => paths_of(inner, prefix, path, visit),
            Value::Null | Value::Array(_) => Ok(()),
            _ => {
                visit(prefix, path);
                Ok(())
            }
        };
        path.pop();
        prefix.truncate(len);
        read
    })
}

/// Undoes Promtail's `pack`: string members become labels, `_entry` the line, if it is there.
pub(super) fn unpack_into(line: &str, labels: &mut LineLabels) -> Option<String> {
    if line.is_empty() || labels.needs_nothing() {
        return None;
    }
    if !line.starts_with('{') {
        labels.parse_error(ERROR, "expecting json object(6), but it is not");
        return None;
    }
    let mut entry = None;
    let mut found: Vec<(String, String)> = Vec::new();
    let read = each_member(line, &mut |key, value| {
        let Value::String(raw) = value else {
            return Ok(());
        };
        if key == "_entry" {
            let text = unescape(raw).ok_or(Stop::Wrong(MALFORMED_ESCAPE))?;
            entry = Some(text.into_owned());
            return Ok(());
        }
        let mut name = key.to_owned();
        if labels.clashes(&name) {
            name.push_str(DUPLICATE_SUFFIX);
        }
        if labels.hints.wants(&name) && !labels.is_extracted(&name) {
            found.push((sanitize::name(&name), string_value(raw).into_owned()));
        }
        Ok(())
    });
    if let Err(Stop::Wrong(why)) = read {
        labels.parse_error(ERROR, why);
        return None;
    }
    if entry.is_some() {
        for (name, value) in found.iter().filter(|(name, _)| !name.is_empty()) {
            labels.set(Category::Parsed, name, value);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::hints::Hints;
    use model::Labels;

    fn parsed(line: &str) -> String {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(&Labels::from_pairs([("app", "x")]), &Labels::empty());
        parse_into(line, &mut labels);
        labels.categorized().parsed.to_string()
    }

    #[test]
    fn members_become_labels() {
        assert_eq!(
            parsed(
                r#" {"app":"y","a":{"b c":1.50,"d":[1],"e":null,"f":true},"a_b_c":2,"g":"\u00e9\n\ud83d\ude00","g":"2"} rest"#
            ),
            r#"{a_b_c="1.50", a_f="true", app_extracted="y", g="é\n😀"}"#
        );
    }

    #[test]
    fn malformed_lines_are_marked_and_keep_what_was_read() {
        for (line, expect) in [
            ("x", MALFORMED_OBJECT),
            ("[1]", MALFORMED_OBJECT),
            (r#"{"a""#, MALFORMED),
            (r#"{"a":x}"#, UNKNOWN_VALUE),
            (r#"{"a":"x"#, MALFORMED_STRING),
            (r#"{"a":[1"#, MALFORMED_ARRAY),
            (r#"{"a":1 "b":2}"#, MALFORMED_OBJECT),
            (r#"{"\q":1}"#, MALFORMED_ESCAPE),
        ] {
            let mut labels = LineLabels::new(Hints::none());
            labels.begin(&Labels::empty(), &Labels::empty());
            parse_into(line, &mut labels);
            assert_eq!(
                (labels.error(), labels.error_details()),
                (ERROR, expect),
                "{line}"
            );
        }
        assert!(parsed(r#"{"b":"1", x"#).contains(r#"b="1""#));
    }

    #[test]
    fn unpacking_gives_the_line_back() {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(&Labels::from_pairs([("app", "x")]), &Labels::empty());
        let line = r#"{"app":"y","pod":"p","n":5,"_entry":"a \"b\""}"#;
        assert_eq!(unpack_into(line, &mut labels).as_deref(), Some("a \"b\""));
        assert_eq!(
            labels.categorized().parsed.to_string(),
            r#"{app_extracted="y", pod="p"}"#
        );
        labels.begin(&Labels::empty(), &Labels::empty());
        assert_eq!(unpack_into(r#"{"pod":"p"}"#, &mut labels), None);
        assert!(labels.is_unchanged());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        assert!(parsed(&deep).contains("too deeply"));
    }
}
