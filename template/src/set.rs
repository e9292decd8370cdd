//! Named templates: parsing, definition, lookup.

use std::collections::HashMap;
use std::sync::Arc;

use gotmpl::parse::{DefineNode, ListNode, Node, Parser, is_empty_tree};

use crate::execute::{Escape, ExecError, Executor, Limits};
use crate::{Functions, Value, check};

/// Longest template text accepted, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Name of a template call appended to find out whether every block was closed:
/// `gotmpl`'s parser takes the end of the text for a missing `{{end}}`.
const SENTINEL: &str = "<end of text>";

/// A set of templates that may call each other.
#[derive(Clone, Debug, Default)]
pub struct TemplateSet {
    trees: HashMap<String, Arc<Tree>>,
    root_variables: &'static [(&'static str, &'static str)],
}

/// One parsed template.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: String,
    /// The text it was defined in, under the name it was added with.
    pub(crate) file: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) body: ListNode,
    /// Added by name rather than by `{{define}}`: sees the root variables.
    pub(crate) is_root: bool,
}

/// A template that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}:{column}: {message}")]
pub struct TemplateError {
    /// Name the text was added with.
    pub name: String,
    /// 1-based line; 0 when unknown.
    pub line: usize,
    /// 1-based column in bytes; 0 when unknown.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl TemplateSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> TemplateSet {
        TemplateSet::default()
    }

    /// An empty set whose added templates (not those they `define`) see variables bound to fields
    /// of the data: `[("$labels", "Labels")]` is Prometheus' `{{$labels := .Labels}}` without
    /// moving the positions of errors.
    #[must_use]
    pub fn with_variables(variables: &'static [(&'static str, &'static str)]) -> TemplateSet {
        TemplateSet {
            trees: HashMap::new(),
            root_variables: variables,
        }
    }

    /// Parses `text` as the template `name`, along with everything it defines. A later
    /// definition replaces an earlier one unless it is empty.
    ///
    /// # Errors
    /// On wrong syntax, an unknown variable, or `break` outside `range`. The set is unchanged then.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), TemplateError> {
        let error = |(line, column, message)| TemplateError {
            name: name.to_owned(),
            line,
            column,
            message,
        };
        if text.len() > TEXT_BYTES_MAX {
            return Err(error((0, 0, format!("longer than {TEXT_BYTES_MAX} bytes"))));
        }
        let (body, defines) = parse(text).map_err(error)?;
        let at = |offset: usize, message| {
            let (line, column) = line_column(text, offset);
            error((line, column, message))
        };
        check::scopes(&body, self.root_variables).map_err(|(o, m)| at(o, m))?;
        for define in &defines {
            check::scopes(&define.body, &[]).map_err(|(o, m)| at(o, m))?;
        }
        let file: Arc<str> = Arc::from(name);
        let source: Arc<str> = Arc::from(text);
        let trees = defines
            .into_iter()
            .map(|d| (d.name.to_string(), d.body, false))
            .chain([(name.to_owned(), body, true)]);
        for (name, body, is_root) in trees {
            if self.trees.contains_key(&name) && body.is_empty_tree() {
                continue;
            }
            let tree = Tree {
                name: name.clone(),
                file: file.clone(),
                source: source.clone(),
                body,
                is_root,
            };
            self.trees.insert(name, Arc::new(tree));
        }
        Ok(())
    }

    /// Whether a template `name` is defined.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.trees.contains_key(name)
    }

    /// Checks that every function and every template called exists.
    ///
    /// # Errors
    /// The first call of something unknown, in text order of the first template concerned.
    pub fn check(&self, functions: &Functions<'_>) -> Result<(), TemplateError> {
        let mut trees: Vec<&Arc<Tree>> = self.trees.values().collect();
        trees.sort_by(|a, b| a.name.cmp(&b.name));
        for tree in trees {
            check::calls(&tree.body, functions, &|t| self.contains(t)).map_err(
                |(offset, message)| {
                    let (line, column) = line_column(&tree.source, offset);
                    TemplateError {
                        name: tree.file.to_string(),
                        line,
                        column,
                        message,
                    }
                },
            )?;
        }
        Ok(())
    }

    /// The fields of the data that the template `name` reads by their names, sorted; `None` when
    /// it takes the data as a whole somewhere, or is unknown.
    #[must_use]
    pub fn fields(&self, name: &str) -> Option<Vec<String>> {
        let mut fields = Vec::new();
        let whole = check::fields(&self.tree(name)?.body, &mut fields);
        fields.sort_unstable();
        fields.dedup();
        (!whole).then_some(fields)
    }

    /// Expands the template `name` over `data`.
    ///
    /// # Errors
    /// When the template is unknown, a call fails, or a limit is reached.
    pub fn execute(
        &self,
        name: &str,
        data: &Value,
        functions: &Functions<'_>,
        limits: &Limits,
    ) -> Result<String, ExecError> {
        Executor::run(self, name, data, functions, limits, Escape::None)
    }

    /// As [`TemplateSet::execute`], with the output of every action escaped for HTML text or a
    /// quoted attribute unless it is [`Value::Safe`]; an attribute that holds a URL takes only
    /// http, https, mailto and relative ones.
    ///
    /// # Errors
    /// As [`TemplateSet::execute`].
    pub fn execute_html(
        &self,
        name: &str,
        data: &Value,
        functions: &Functions<'_>,
        limits: &Limits,
    ) -> Result<String, ExecError> {
        Executor::run(self, name, data, functions, limits, Escape::Html)
    }

    pub(crate) fn tree(&self, name: &str) -> Option<&Arc<Tree>> {
        self.trees.get(name)
    }

    pub(crate) fn root_variables(&self) -> &'static [(&'static str, &'static str)] {
        self.root_variables
    }
}

type Position = (usize, usize, String);

fn parse(text: &str) -> Result<(ListNode, Vec<DefineNode>), Position> {
    let run = |text: &str| {
        Parser::new(text, "{{", "}}")
            .and_then(Parser::parse)
            .map_err(|e| position(text, e))
    };
    let (body, _) = run(text)?;
    let last_offset = body.nodes.last().map_or(0, node_offset);
    let (mut body, defines) = run(&format!("{text}{{{{template {SENTINEL:?}}}}}"))?;
    match body.nodes.last() {
        Some(Node::Template(t)) if t.name == SENTINEL => {
            body.nodes.pop();
            if body.nodes.iter().all(is_empty_tree) {
                body.nodes.retain(|n| matches!(n, Node::Text(_)));
            }
            Ok((body, defines))
        }
        _ if mentions_sentinel(&body) || defines.iter().any(|d| mentions_sentinel(&d.body)) => {
            let (line, column) = line_column(text, text.len());
            Err((
                line,
                column,
                "unexpected EOF, a block lacks its {{end}}".to_owned(),
            ))
        }
        _ => {
            let (offset, word) = stray_keyword(text, last_offset);
            let (line, column) = line_column(text, offset);
            Err((line, column, format!("unexpected {{{{{word}}}}}")))
        }
    }
}

fn position(text: &str, error: gotmpl::TemplateError) -> Position {
    use gotmpl::TemplateError as E;
    match error {
        E::Parse {
            line, col, message, ..
        }
        | E::Lex {
            line, col, message, ..
        } => {
            // An error at the sentinel belongs to the end of the text.
            (line, col, message)
        }
        other => {
            let (line, column) = line_column(text, 0);
            (line, column, other.to_string())
        }
    }
}

fn mentions_sentinel(list: &ListNode) -> bool {
    list.nodes.iter().any(|node| match node {
        Node::Template(t) => t.name == SENTINEL,
        Node::List(l) => mentions_sentinel(l),
        Node::If(b) | Node::Range(b) | Node::With(b) => {
            mentions_sentinel(&b.body) || b.else_body.as_ref().is_some_and(mentions_sentinel)
        }
        Node::Define(d) => mentions_sentinel(&d.body),
        Node::Text(_) | Node::Action(_) | Node::Break(_) | Node::Continue(_) => false,
    })
}

fn node_offset(node: &Node) -> usize {
    match node {
        Node::List(l) => l.pos.offset,
        Node::Text(t) => t.pos.offset,
        Node::Action(a) => a.pos.offset,
        Node::If(b) | Node::Range(b) | Node::With(b) => b.pos.offset,
        Node::Template(t) => t.pos.offset,
        Node::Define(d) => d.pos.offset,
        Node::Break(p) | Node::Continue(p) => p.offset,
    }
}

/// The first `{{end}}` or `{{else}}` at or after `from`; at `from` itself when none is found.
fn stray_keyword(text: &str, from: usize) -> (usize, &'static str) {
    let rest = text.get(from..).unwrap_or("");
    for (i, _) in rest.match_indices("{{") {
        let inner = rest[i + 2..].trim_start_matches('-').trim_start();
        for word in ["end", "else"] {
            if inner.starts_with(word) {
                return (from + i, word);
            }
        }
    }
    (from, "end")
}

/// 1-based line and column (in bytes) of a byte offset.
pub(crate) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
    (line, column)
}
