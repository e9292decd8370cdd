//! `<ip> - <_> "<method>"`: literals and captures, as a parser and as a line filter.
//! Source of the rules: loki pkg/logql/log/pattern.

use super::regexp::extract;
use crate::logql::labels::LineLabels;

/// A pattern: literals and captures in turn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    /// The name; `_` captures nothing.
    Capture(String),
}

impl Part {
    fn is_capture(&self) -> bool {
        matches!(self, Part::Capture(_))
    }
}

impl Pattern {
    fn read(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(name) = capture(rest) {
                if let Some(Part::Capture(before)) = parts.last() {
                    return Err(format!(
                        "found consecutive capture '<{before}><{name}>': invalid expression"
                    ));
                }
                parts.push(Part::Capture(name.to_owned()));
                rest = &rest[name.len() + 2..];
                continue;
            }
            match parts.last_mut() {
                Some(Part::Literal(literal)) => literal.push(c),
                _ => parts.push(Part::Literal(c.to_string())),
            }
            rest = &rest[c.len_utf8()..];
        }
        Ok(Pattern(parts))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|p| match p {
            Part::Capture(name) if name != "_" => Some(name.as_str()),
            _ => None,
        })
    }

    /// For the `pattern` stage.
    pub(super) fn parser(text: &str) -> Result<Self, String> {
        let pattern = Pattern::read(text)?;
        let mut seen: Vec<&str> = Vec::new();
        for name in pattern.names() {
            if seen.contains(&name) {
                return Err(format!(
                    "duplicate capture name ({name}): invalid expression"
                ));
            }
            seen.push(name);
        }
        if seen.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        Ok(pattern)
    }

    /// For `|>` and `!>`.
    pub(super) fn filter(text: &str) -> Result<Self, String> {
        let pattern = Pattern::read(text)?;
        if let Some(name) = pattern.names().next() {
            return Err(format!("named captures are not allowed: found '<{name}>'"));
        }
        Ok(pattern)
    }

    /// The texts a line must have.
    pub(super) fn texts(self) -> Vec<String> {
        let literal = |part| match part {
            Part::Literal(text) => Some(text),
            Part::Capture(_) => None,
        };
        self.0.into_iter().filter_map(literal).collect()
    }

    /// Whether the line is made so; captures are not empty.
    pub(super) fn matches(&self, line: &str) -> bool {
        let Some(last) = self.0.last() else {
            return line.is_empty();
        };
        let mut rest = line;
        for (i, literal) in self.0.iter().enumerate() {
            let Part::Literal(literal) = literal else {
                continue;
            };
            match rest.find(literal.as_str()) {
                None => return false,
                // An empty capture before it.
                Some(0) if i != 0 => return false,
                Some(at) => rest = &rest[at + literal.len()..],
            }
        }
        last.is_capture() != rest.is_empty()
    }

    pub(super) fn parse_into(&self, line: &str, labels: &mut LineLabels) {
        if line.is_empty() || labels.needs_nothing() {
            return;
        }
        let mut rest = line;
        let mut parts = self.0.as_slice();
        if let [Part::Literal(literal), after @ ..] = parts {
            match rest.strip_prefix(literal.as_str()) {
                Some(stripped) => rest = stripped,
                None => return,
            }
            parts = after;
        }
        while let [Part::Capture(name), after @ ..] = parts {
            // The last capture takes what is left, and so does one whose end is missing.
            let (value, next) = match after {
                [Part::Literal(literal), ..] => match rest.split_once(literal.as_str()) {
                    Some((value, next)) => (value, Some(next)),
                    None => (rest, None),
                },
                _ => (rest, None),
            };
            if name != "_" {
                extract(labels, name, value);
            }
            let Some(next) = next else { return };
            rest = next;
            parts = &after[1..];
        }
    }
}

/// The name of the capture `<name>` at the start of `text`.
fn capture(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    super::sanitize::is_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::hints::Hints;
    use model::Labels;

    #[track_caller]
    fn parses(pattern: &str, line: &str, expect: &str) {
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(&Labels::empty(), &Labels::empty());
        Pattern::parser(pattern)
            .unwrap()
            .parse_into(line, &mut labels);
        assert_eq!(labels.categorized().parsed.to_string(), expect);
    }

    #[test]
    fn captures_end_at_the_next_literal() {
        let line = r#"1.2.3.4 - - [x] "GET /a HTTP/1.1" 200 5"#;
        parses(
            r#"<ip> - <_> [<_>] "<method> <path> <_>" <status> <_>"#,
            line,
            r#"{ip="1.2.3.4", method="GET", path="/a", status="200"}"#,
        );
        parses("x<rest>", "y", "{}");
        parses("<a>,<b>;<c>", "1,2", r#"{a="1", b="2"}"#);
        parses("<a <b>", "<a 1", r#"{b="1"}"#);
    }

    #[test]
    fn filters_match_the_whole_line_and_captures_are_not_empty() {
        for (pattern, line, expect) in [
            ("foo <_>", "foo bar", true),
            ("<_> baz", "foo bar baz", true),
            ("<_> bar", "foo bar baz", false),
            ("<_> bar <_>", " bar ", false),
            ("<_>bar<_>", " bar ", true),
            ("", "", true),
            ("", "x", false),
            ("<_>", "", false),
        ] {
            let made = Pattern::filter(pattern).unwrap();
            assert_eq!(made.matches(line), expect, "{pattern} on {line}");
        }
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for (pattern, why) in [
            ("x", "at least one capture is required"),
            ("<_>", "at least one capture is required"),
            (
                "<a><b>",
                "found consecutive capture '<a><b>': invalid expression",
            ),
            ("<a> <a>", "duplicate capture name (a): invalid expression"),
        ] {
            assert_eq!(Pattern::parser(pattern), Err(why.to_owned()));
        }
        assert!(Pattern::filter("<a>").is_err());
    }
}
