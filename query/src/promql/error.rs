//! Why a text is not an expression, and where.

use std::fmt;

use super::ast::Span;

/// A refused expression. Displays as Prometheus prints it: `1:5: parse error: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, without the position.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Span,
    /// Line of the start, from 1.
    pub line: usize,
    /// Byte column of the start in its line, from 1.
    pub column: usize,
}

impl ParseError {
    /// An error at `span` of `text`.
    #[must_use]
    pub fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = position(text, span.start);
        ParseError {
            message: message.into(),
            span,
            line,
            column,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: parse error: {}",
            self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ParseError {}

/// Line and byte column, both from 1, of the byte offset `at`.
#[must_use]
pub fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |i| i + 1);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    (line, before.len() - line_start + 1)
}
