//! `${VAR}`, `${VAR:-default}` and `${file:/path}` inside YAML values.
//!
//! A reference is not replaced in the text as it stands: a password with `#` or `: ` in it
//! would change the document. Each reference is first covered by a placeholder of the same
//! number of characters, the document is parsed, and every scalar that holds a placeholder is
//! written anew, quoted where it must be. Lines keep their numbers, references in comments are
//! left alone, and the result is ordinary YAML with all its positions.
//! `$${` stands for a literal `${`; `${1}` (a group of a regular expression) is left as it is.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::diagnostic::{ConfigError, Diagnostic};
use super::yaml;

/// Where references find their values.
pub trait Surroundings {
    /// The environment variable `name`.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn file(&self, path: &str) -> std::io::Result<String>;
}

/// The environment and the file system of this process.
pub struct ProcessSurroundings;

impl Surroundings for ProcessSurroundings {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Placeholders are made of private-use characters, which no configuration has a use for.
const OPEN: char = '\u{f8fd}';
const PAD: char = '\u{f8fe}';
const FIRST_DIGIT: u32 = 0xe000;
/// References in one file; each has one private-use character for its number.
const REFERENCES_MAX: usize = 6000;

/// Expands every reference in the values of the document `text`.
///
/// # Errors
/// Each reference that has no value, at its place; or what is wrong with the YAML.
pub fn expand(
    file: &str,
    text: &str,
    surroundings: &dyn Surroundings,
) -> Result<String, ConfigError> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    if text.chars().any(|c| c == OPEN || c == PAD) {
        return Err(ConfigError::whole_file(
            file,
            "contains the private-use characters U+F8FD or U+F8FE",
        ));
    }
    let (covered, references) = cover(text);
    if references.len() > REFERENCES_MAX {
        return Err(ConfigError::whole_file(
            file,
            format!("more than {REFERENCES_MAX} references to variables"),
        ));
    }
    let tree: Scalars = yaml::parse(file, &covered)?;

    let mut problems = Vec::new();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for scalar in &tree.0 {
        let (Some(start), Some(len)) = (
            scalar.referenced.span().byte_offset(),
            scalar.referenced.span().byte_len(),
        ) else {
            continue;
        };
        let span = start as usize..(start + len) as usize;
        // An alias repeats a scalar that stands further up.
        if span.start < done || covered.get(span.clone()).is_none() {
            continue;
        }
        restore(&covered[done..span.start], &references, &mut out);
        let source = &covered[span.clone()];
        let block = is_block(&covered[..span.start]);
        let mut failed = Vec::new();
        let text_to_fill = if block { source } else { &scalar.value };
        let value = substitute(text_to_fill, &references, |reference| {
            reference.resolve(surroundings).unwrap_or_else(|message| {
                failed.push((line_and_column(text, reference.source.start), message));
                String::new()
            })
        });
        if block && references_hold_lines(source, &value) {
            failed.push((
                line_and_column(&covered, span.start),
                "a value with line breaks cannot stand in a block scalar; use double quotes"
                    .to_owned(),
            ));
        }
        problems.extend(failed.into_iter().map(|(at, message)| Diagnostic {
            file: file.to_owned(),
            position: Some(at),
            message,
        }));
        let column = scalar.referenced.column().saturating_sub(1) as usize;
        if block {
            out.push_str(&value);
        } else {
            write_scalar(source, &value, column, &mut out);
        }
        done = span.end;
    }
    restore(&covered[done..], &references, &mut out);
    if problems.is_empty() {
        Ok(out)
    } else {
        Err(ConfigError(problems))
    }
}

struct Reference {
    /// Where it stands in the original text.
    source: Range<usize>,
    original: String,
    kind: ReferenceKind,
}

enum ReferenceKind {
    Variable {
        name: String,
        default: Option<String>,
    },
    File(String),
    /// `$${`, which stands for `${`.
    Escape,
}

impl Reference {
    fn resolve(&self, surroundings: &dyn Surroundings) -> Result<String, String> {
        match &self.kind {
            ReferenceKind::Escape => Ok("${".to_owned()),
            ReferenceKind::Variable { name, default } => {
                match (surroundings.variable(name), default) {
                    (Some(value), None) => Ok(value),
                    (Some(value), Some(_)) if !value.is_empty() => Ok(value),
                    (_, Some(default)) => Ok(default.clone()),
                    (None, None) => Err(format!(
                        "environment variable {name} is not set (write ${{{name}:-default}} if it may be missing)"
                    )),
                }
            }
            ReferenceKind::File(path) => surroundings
                .file(path)
                .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
                .map_err(|e| format!("cannot read {path}: {e}")),
        }
    }
}

/// The text with each reference covered, and the references.
fn cover(text: &str) -> (String, Vec<Reference>) {
    let mut covered = String::with_capacity(text.len());
    let mut references = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let start = at + found;
        let escaped = start > at && text.as_bytes()[start - 1] == b'$';
        let (source, kind) = if escaped {
            (start - 1..start + 2, ReferenceKind::Escape)
        } else {
            let close = text[start..].find(['}', '\n']).map(|i| start + i);
            let body = close
                .filter(|c| text.as_bytes()[*c] == b'}')
                .map(|c| (c + 1, &text[start + 2..c]));
            match body.and_then(|(end, body)| Some((end, reference_kind(body)?))) {
                Some((end, kind)) => (start..end, kind),
                None => {
                    covered.push_str(&text[at..start + 2]);
                    at = start + 2;
                    continue;
                }
            }
        };
        covered.push_str(&text[at..source.start]);
        let original = text[source.clone()].to_owned();
        let number = FIRST_DIGIT + references.len().min(REFERENCES_MAX) as u32;
        covered.push(OPEN);
        covered.push(char::from_u32(number).unwrap_or(PAD));
        for _ in 2..original.chars().count() {
            covered.push(PAD);
        }
        at = source.end;
        references.push(Reference {
            source,
            original,
            kind,
        });
    }
    covered.push_str(&text[at..]);
    (covered, references)
}

fn reference_kind(body: &str) -> Option<ReferenceKind> {
    if let Some(path) = body.strip_prefix("file:") {
        return Some(ReferenceKind::File(path.to_owned()));
    }
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default.to_owned())),
        None => (body, None),
    };
    let mut chars = name.chars();
    let first = chars.next()?;
    let valid = (first == '_' || first.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric());
    valid.then(|| ReferenceKind::Variable {
        name: name.to_owned(),
        default,
    })
}

/// Replaces each placeholder in `text`.
fn substitute(
    text: &str,
    references: &[Reference],
    mut value: impl FnMut(&Reference) -> String,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != OPEN {
            out.push(c);
            continue;
        }
        let number = chars.next().map_or(0, u32::from);
        while chars.next_if_eq(&PAD).is_some() {}
        if let Some(reference) = references.get(number.wrapping_sub(FIRST_DIGIT) as usize) {
            out.push_str(&value(reference));
        }
    }
    out
}

fn restore(text: &str, references: &[Reference], out: &mut String) {
    out.push_str(&substitute(text, references, |r| r.original.clone()));
}

/// Whether the scalar that starts after `before` is the body of a `|` or `>` scalar.
fn is_block(before: &str) -> bool {
    let Some((above, indent)) = before.rsplit_once('\n') else {
        return false;
    };
    let header = above.rsplit('\n').next().unwrap_or(above);
    let header = header.split(" #").next().unwrap_or(header).trim_end();
    let header = header.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
    indent.trim().is_empty() && header.ends_with(['|', '>'])
}

fn references_hold_lines(source: &str, value: &str) -> bool {
    source.matches('\n').count() != value.matches('\n').count()
}

/// Writes `value` in place of the flow scalar `source`, with as many line breaks as that had.
fn write_scalar(source: &str, value: &str, column: usize, out: &mut String) {
    let breaks = source.matches('\n').count();
    let plain = !source.starts_with(['"', '\'']);
    let safe = !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./-+%=~^".contains(c))
        && !value.starts_with(['-', '%', '=', '~'])
        && breaks == 0;
    if plain && safe {
        out.push_str(value);
        return;
    }
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    // A line break inside double quotes after a backslash adds nothing to the value.
    for _ in 0..breaks {
        out.push_str("\\\n");
        out.extend(std::iter::repeat_n(' ', column.max(1)));
    }
    out.push('"');
}

fn line_and_column(text: &str, at: usize) -> (u64, u64) {
    let before = &text[..at];
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u64 + 1;
    (line, column)
}

/// The string scalars of a document that hold a placeholder, in document order.
#[derive(Default)]
struct Scalars(Vec<Spanned<String>>);

enum Node {
    Text(String),
    Inner(Vec<Spanned<String>>),
    Other,
}

impl<'de> Deserialize<'de> for Scalars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Node>::deserialize(deserializer)?;
        let mut found = Vec::new();
        collect(node, &mut found);
        Ok(Scalars(found))
    }
}

fn collect(node: Spanned<Node>, found: &mut Vec<Spanned<String>>) {
    match node.value {
        Node::Text(text) if text.contains(OPEN) => {
            found.push(Spanned::new(text, node.referenced, node.defined));
        }
        Node::Inner(mut inner) => found.append(&mut inner),
        Node::Text(_) | Node::Other => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any YAML")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut found = Vec::new();
                while let Some(node) = seq.next_element::<Spanned<Node>>()? {
                    collect(node, &mut found);
                }
                Ok(Node::Inner(found))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut found = Vec::new();
                while map.next_key::<IgnoredAny>()?.is_some() {
                    collect(map.next_value::<Spanned<Node>>()?, &mut found);
                }
                Ok(Node::Inner(found))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Surroundings for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            match name {
                "HOST" => Some("db.example.org".to_owned()),
                "PORT" => Some("9090".to_owned()),
                "PASSWORD" => Some("p#: \"x'".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn file(&self, path: &str) -> std::io::Result<String> {
            match path {
                "/run/secrets/pg" => Ok("s3cret\n".to_owned()),
                _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
            }
        }
    }

    #[track_caller]
    fn check(input: &str, expect: &str) {
        match expand("f.yml", input, &Fixed) {
            Ok(out) => assert_eq!(out, expect, "{input}"),
            Err(e) => assert_eq!(e.to_string(), expect, "{input}"),
        }
    }

    #[test]
    fn references_become_values_and_are_quoted_where_they_must_be() {
        check("a: ${HOST}\n", "a: db.example.org\n");
        check("a: ${PORT}\nb: 1\n", "a: 9090\nb: 1\n");
        check("a: \"${HOST}\"\n", "a: \"db.example.org\"\n");
        check("a: ${PASSWORD} # why\n", "a: \"p#: \\\"x'\" # why\n");
        check(
            "a: { b: ${PASSWORD}, c: 1 }\n",
            "a: { b: \"p#: \\\"x'\", c: 1 }\n",
        );
        check(
            "a: http://u:${PASSWORD}@h/\n",
            "a: \"http://u:p#: \\\"x'@h/\"\n",
        );
        check("- ${file:/run/secrets/pg}\n", "- s3cret\n");
        check("a: ${NOPE:-fall back}\n", "a: \"fall back\"\n");
        check("a: ${EMPTY:-x}\nb: ${EMPTY}\n", "a: x\nb: \"\"\n");
    }

    #[test]
    fn comments_groups_and_escapes_are_left_alone() {
        check(
            "a: 1 # ${NOPE}\nb: ${HOST}\n",
            "a: 1 # ${NOPE}\nb: db.example.org\n",
        );
        check("replacement: ${1}:9100\n", "replacement: ${1}:9100\n");
        check("a: '$${HOST}'\n", "a: \"${HOST}\"\n");
    }

    #[test]
    fn a_block_scalar_keeps_the_lines_of_the_file() {
        let out = expand("f", "a: |\n  x ${HOST}\n  y\nb: 2\n", &Fixed).unwrap();
        assert_eq!(out.lines().count(), 4, "{out}");
        let map: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&out).unwrap();
        assert_eq!(map["a"], "x db.example.org\ny\n");
        assert_eq!(map["b"], "2");
    }

    #[test]
    fn a_reference_without_value_is_an_error_at_its_place() {
        check(
            "a: 1\nb: [x, \"y-${NOPE}\"]\n",
            "f.yml:2:11: environment variable NOPE is not set (write ${NOPE:-default} if it may be missing)",
        );
        check(
            "b: ${file:/nope}\n",
            "f.yml:1:4: cannot read /nope: entity not found",
        );
    }
}
