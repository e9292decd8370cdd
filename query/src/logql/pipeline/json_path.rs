//! `| json name="a.b[0]", other="c[\"d e\"]"`

use super::json::{self, Value};
use super::sanitize;
use crate::logql::ast::Extraction;
use crate::logql::labels::{Category, DUPLICATE_SUFFIX, LineLabels};

/// Paths and the labels their values become.
pub(super) struct Paths(Vec<(String, Vec<Step>)>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Paths {
    pub(super) fn new(list: &[Extraction]) -> Result<Self, String> {
        let mut paths = Vec::with_capacity(list.len());
        for extraction in list {
            let path = read(&extraction.expression).map_err(|why| {
                format!("cannot parse expression [{}]: {why}", extraction.expression)
            })?;
            if !sanitize::is_name(&extraction.name) {
                return Err(format!(
                    "invalid extracted label name '{}'",
                    extraction.name
                ));
            }
            paths.push((extraction.name.clone(), path));
        }
        Ok(Paths(paths))
    }

    pub(super) fn parse_into(&self, line: &str, labels: &mut LineLabels) {
        if line.is_empty() || labels.needs_nothing() {
            return;
        }
        if !line.starts_with(['"', '{', '[']) {
            labels.parse_error("JSONParser", "");
            return;
        }
        let mut all_found = true;
        for (name, path) in &self.0 {
            let Some(value) = find(line, path) else {
                all_found = false;
                continue;
            };
            let clashing = labels
                .clashes(name)
                .then(|| format!("{name}{DUPLICATE_SUFFIX}"));
            let name = clashing.as_deref().unwrap_or(name);
            let text = match value {
                Value::Null => "".into(),
                Value::Bool(b) => (if b { "true" } else { "false" }).into(),
                Value::Object(raw) => raw.into(),
                Value::String(raw) | Value::Number(raw) | Value::Array(raw) => {
                    json::string_value(raw)
                }
            };
            labels.set(Category::Parsed, name, &text);
        }
        if !all_found {
            for (name, _) in &self.0 {
                if labels.get(name).is_none() {
                    labels.set(Category::Parsed, name, "");
                }
            }
        }
    }
}

/// The first value at the path.
fn find<'j>(text: &'j str, path: &[Step]) -> Option<Value<'j>> {
    let mut current = match text.as_bytes().first()? {
        b'{' => Value::Object(text),
        b'[' => Value::Array(text),
        _ => return None,
    };
    for step in path {
        let mut found = None;
        match (step, current) {
            (Step::Key(wanted), Value::Object(object)) => {
                // What follows the value that is looked for may be malformed.
                let _ = json::each_member(object, &mut |key, value| {
                    if key == wanted {
                        found = Some(value);
                        return Err(json::Stop::Enough);
                    }
                    Ok(())
                });
            }
            (Step::Index(wanted), Value::Array(array)) => {
                let mut at = 0;
                json::each_element(array, &mut |value| {
                    if at == *wanted {
                        found = Some(value);
                    }
                    at += 1;
                    at <= *wanted
                });
            }
            _ => {}
        }
        current = found?;
    }
    Some(current)
}

/// Reads a path: `a.b`, `a["b c"]`, `a[0]`. Source: loki pkg/logql/log/jsonexpr.
fn read(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', '\n']);
    loop {
        if let Some(inside) = rest.strip_prefix('[') {
            let inside = inside.trim_start();
            if let Some(quoted) = inside.strip_prefix('"') {
                let (key, after) = quoted
                    .split_once('"')
                    .ok_or("syntax error: unexpected $end, expecting RSB")?;
                steps.push(Step::Key(key.to_owned()));
                rest = after;
            } else {
                let end = inside
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(inside.len());
                if inside[end..].starts_with('.') {
                    return Err("cannot use float as array index".to_owned());
                }
                let index = inside[..end].parse().map_err(|_| unexpected(inside))?;
                steps.push(Step::Index(index));
                rest = &inside[end..];
            }
            rest = rest
                .trim_start()
                .strip_prefix(']')
                .ok_or_else(|| unexpected(rest))?;
        } else {
            if !steps.is_empty() {
                rest = rest.strip_prefix('.').ok_or_else(|| unexpected(rest))?;
            }
            let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
            let end = rest
                .find(|c: char| !(starts(c) || c.is_ascii_digit()))
                .unwrap_or(rest.len());
            if !rest.starts_with(starts) {
                return Err(unexpected(rest));
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches([' ', '\t', '\n']);
        if rest.is_empty() {
            return Ok(steps);
        }
    }
}

fn unexpected(rest: &str) -> String {
    match rest.chars().next() {
        Some(c) => format!("unexpected char {c}"),
        None => "syntax error: unexpected $end".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::hints::Hints;
    use model::Labels;

    fn check(expressions: &[(&str, &str)], line: &str, expect: &str) {
        let list: Vec<Extraction> = expressions
            .iter()
            .map(|(name, expression)| Extraction {
                name: (*name).to_owned(),
                expression: (*expression).to_owned(),
            })
            .collect();
        let mut labels = LineLabels::new(Hints::none());
        labels.begin(&Labels::from_pairs([("app", "x")]), &Labels::empty());
        Paths::new(&list).unwrap().parse_into(line, &mut labels);
        assert_eq!(labels.categorized().parsed.to_string(), expect, "{line}");
    }

    #[test]
    fn values_are_found_by_their_path() {
        let line = r#"{"a":{"b":[1,{"c d":"x\ty"}],"n":null},"o":{"p": 1},"app":true}"#;
        check(&[("v", r#"a.b[1]["c d"]"#)], line, r#"{v="x	y"}"#);
        check(
            &[("v", "a.b"), ("w", "o")],
            line,
            r#"{v="[1,{\"c d\":\"x\ty\"}]", w="{\"p\": 1}"}"#.replace("\\ty", "\ty").as_str(),
        );
        check(
            &[("app", "app"), ("n", "a.n")],
            line,
            r#"{app_extracted="true", n=""}"#,
        );
        check(&[("v", "[1].x")], r#"[0,{"x":5}]"#, r#"{v="5"}"#);
        check(&[("v", "missing")], line, r#"{v=""}"#);
        check(&[("v", "a")], "text", r#"{__error__="JSONParser"}"#);
    }

    #[test]
    fn wrong_paths_are_refused() {
        for path in ["", "a.", "a[x]", "a[1.5]", "a[\"b", "9", "a b", "[1"] {
            assert!(read(path).is_err(), "{path}");
        }
    }
}
