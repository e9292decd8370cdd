//! `| logfmt`: `key=value` pairs, values perhaps in quotes.
//!
//! Source of the rules: github.com/go-logfmt/logfmt as Loki's pkg/logql/log/logfmt adapts it.

use std::borrow::Cow;

use super::regexp::extract;
use super::sanitize;
use crate::logql::ast::{Extraction, LogfmtFlags};
use crate::logql::labels::{Category, DUPLICATE_SUFFIX, LineLabels};

const ERROR: &str = "LogfmtParser";

/// Reads pairs one after the other.
struct Decoder<'l> {
    line: &'l str,
    at: usize,
    /// The latest error: what and at which byte, 1-based.
    error: Option<(Cow<'static, str>, usize)>,
}

impl<'l> Decoder<'l> {
    fn new(line: &'l str) -> Self {
        Decoder {
            line,
            at: 0,
            error: None,
        }
    }

    fn find(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        self.line.as_bytes()[from..]
            .iter()
            .position(|b| wanted(*b))
            .map_or(self.line.len(), |i| from + i)
    }

    fn fail(&mut self, what: impl Into<Cow<'static, str>>) {
        self.error = Some((what.into(), self.at + 1));
    }

    fn unexpected(&mut self, byte: u8) {
        let what = if byte == b'"' { "'\"'" } else { "'='" };
        self.fail(format!("unexpected {what}"));
        self.at = self.find(self.at, |b| b <= b' ');
    }

    /// The next pair; `None` at an error or at the end.
    fn next(&mut self) -> Option<(&'l str, Cow<'l, str>)> {
        let line = self.line;
        let start = self.find(self.at, |b| b > b' ');
        self.at = self.find(start, |b| b == b'=' || b == b'"' || b <= b' ');
        let key = &line[start..self.at];
        match line.as_bytes().get(self.at) {
            None if key.is_empty() => return None,
            None => return Some((key, Cow::Borrowed(""))),
            Some(b'"') => {
                self.unexpected(b'"');
                return None;
            }
            Some(b'=') if key.is_empty() => {
                self.unexpected(b'=');
                return None;
            }
            Some(b'=') if key.contains('\u{fffd}') => {
                self.fail("invalid key");
                self.at = self.find(self.at, |b| b <= b' ');
                return None;
            }
            Some(b'=') => self.at += 1,
            Some(_) => return Some((key, Cow::Borrowed(""))),
        }
        match line.as_bytes().get(self.at) {
            Some(b'"') => self.quoted().map(|value| (key, value)),
            _ => {
                let start = self.at;
                self.at = self.find(start, |b| b == b'=' || b == b'"' || b <= b' ');
                match line.as_bytes().get(self.at) {
                    Some(byte @ (b'=' | b'"')) => {
                        self.unexpected(*byte);
                        None
                    }
                    _ => Some((key, Cow::Borrowed(&line[start..self.at]))),
                }
            }
        }
    }

    /// A value in quotes, which begin here.
    fn quoted(&mut self) -> Option<Cow<'l, str>> {
        let line = self.line;
        let start = self.at + 1;
        let mut end = start;
        let escaped = loop {
            end = self.find(end, |b| b == b'"' || b == b'\\');
            match line.as_bytes().get(end) {
                Some(b'"') => break line[start..end].contains('\\'),
                Some(_) => end = (end + 2).min(line.len()),
                None => {
                    self.at = line.len();
                    self.fail("unterminated quoted value");
                    return None;
                }
            }
        };
        self.at = end + 1;
        if !escaped {
            return Some(Cow::Borrowed(&line[start..end]));
        }
        let value = unquote(&line[start..end]);
        if value.is_none() {
            self.fail("invalid quoted value");
        }
        value.map(Cow::Owned)
    }

    fn error(&self) -> Option<String> {
        self.error
            .as_ref()
            .map(|(what, at)| format!("logfmt syntax error at pos {at} : {what}"))
    }
}

/// Escapes as in JSON, and `\'`; no control characters.
fn unquote(text: &str) -> Option<String> {
    if text.bytes().any(|b| b < b' ') {
        return None;
    }
    super::json::unescape(&text.replace("\\'", "'")).map(Cow::into_owned)
}

/// Each pair becomes a label.
pub(super) fn parse_into(line: &str, flags: LogfmtFlags, labels: &mut LineLabels) {
    if labels.needs_nothing() {
        return;
    }
    let mut decoder = Decoder::new(line);
    let mut name = String::new();
    while decoder.at < line.len() {
        let Some((key, value)) = decoder.next() else {
            if flags.strict {
                break;
            }
            continue;
        };
        if value.is_empty() && !flags.keep_empty {
            continue;
        }
        name.clear();
        sanitize::append_name(&mut name, key);
        if extract(labels, &name, &sanitize::value_ref(&value)) && labels.found_all_required() {
            break;
        }
    }
    mark_error(&decoder, flags, labels);
}

fn mark_error(decoder: &Decoder<'_>, flags: LogfmtFlags, labels: &mut LineLabels) {
    if flags.strict
        && let Some(why) = decoder.error()
    {
        labels.parse_error(ERROR, &why);
    }
}

/// `| logfmt name="key"`
pub(super) struct Keys {
    /// Name of the label and the key whose value it gets.
    list: Vec<(String, String)>,
    flags: LogfmtFlags,
}

impl Keys {
    pub(super) fn new(list: &[Extraction], flags: LogfmtFlags) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(list.len());
        for extraction in list {
            let expression = extraction.expression.trim();
            let key = expression
                .strip_prefix('"')
                .map_or(expression, |e| e.trim_end_matches('"'));
            let wrong = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            if key.is_empty() || (key == expression && key.contains(wrong)) {
                let what = key.chars().find(|c| wrong(*c)).map_or_else(
                    || "syntax error: unexpected $end".to_owned(),
                    |c| format!("unexpected char {c}"),
                );
                return Err(format!("cannot parse expression [{expression}]: {what}"));
            }
            if !sanitize::is_name(&extraction.name) {
                return Err(format!(
                    "invalid extracted label name '{}'",
                    extraction.name
                ));
            }
            keys.push((extraction.name.clone(), key.to_owned()));
        }
        Ok(Keys { list: keys, flags })
    }

    pub(super) fn parse_into(&self, line: &str, labels: &mut LineLabels) {
        if labels.needs_nothing() {
            return;
        }
        for (name, _) in &self.list {
            if !labels.clashes(name) {
                labels.set(Category::Parsed, name, "");
            }
        }
        let mut decoder = Decoder::new(line);
        let mut key_name = String::new();
        while decoder.at < line.len() {
            let Some((key, value)) = decoder.next() else {
                if self.flags.strict {
                    break;
                }
                continue;
            };
            key_name.clear();
            sanitize::append_name(&mut key_name, key);
            for (name, _) in self.list.iter().filter(|(_, k)| *k == key_name || k == key) {
                let value = sanitize::value_ref(&value);
                if labels.clashes(name) {
                    let longer = format!("{name}{DUPLICATE_SUFFIX}");
                    if labels.hints.wants(&longer) {
                        labels.set(Category::Parsed, &longer, &value);
                    }
                } else {
                    labels.set(Category::Parsed, name, &value);
                }
            }
        }
        mark_error(&decoder, self.flags, labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::hints::Hints;
    use model::Labels;

    fn begun() -> LineLabels {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(&Labels::from_pairs([("app", "x")]), &Labels::empty());
        labels
    }

    #[track_caller]
    fn check(flags: (bool, bool), line: &str, expect: &str) {
        let mut labels = begun();
        let (strict, keep_empty) = flags;
        parse_into(line, LogfmtFlags { strict, keep_empty }, &mut labels);
        assert_eq!(labels.categorized().parsed.to_string(), expect, "{line}");
    }

    #[test]
    fn pairs_become_labels() {
        check(
            (false, false),
            r#"level=info msg="a \"b\" \u00e9" app=y n.o=1 n_o=2 bare empty= q="""#,
            r#"{app_extracted="y", level="info", msg="a \"b\" é", n_o="1"}"#,
        );
        check((false, true), "a= b c=1", r#"{a="", b="", c="1"}"#);
    }

    #[test]
    fn what_is_malformed_is_skipped_or_marked() {
        check((false, false), r#"a=1 =2 b="x c=3"#, r#"{a="1"}"#);
        check((false, false), r#"a=1=2 b=3 c"d e=4"#, r#"{b="3", e="4"}"#);
        check(
            (true, false),
            "a=1 b=2=3 c=4",
            r#"{__error__="LogfmtParser", __error_details__="logfmt syntax error at pos 8 : unexpected '='", a="1"}"#,
        );
        check(
            (true, false),
            r#"a="x"#,
            r#"{__error__="LogfmtParser", __error_details__="logfmt syntax error at pos 5 : unterminated quoted value"}"#,
        );
    }

    #[test]
    fn wanted_keys_become_labels_even_if_absent() {
        let list = [("a", "x"), ("app", "y"), ("z", "z")].map(|(name, expression)| Extraction {
            name: name.to_owned(),
            expression: expression.to_owned(),
        });
        let keys = Keys::new(&list, LogfmtFlags::default()).unwrap();
        let mut labels = begun();
        keys.parse_into("x=1 y=2 w=3", &mut labels);
        assert_eq!(
            labels.categorized().parsed.to_string(),
            r#"{a="1", app_extracted="2", z=""}"#
        );
    }
}
