//! What is wrong with a query, and where.

use super::ast::Span;

/// Why a query was refused, in Loki's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// 1-based line, 0 when Loki tells none.
    pub line: usize,
    /// 1-based column in characters, 0 when Loki tells none.
    pub column: usize,
    /// The text at fault.
    pub span: Span,
}

impl ParseError {
    /// An error of the whole query.
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        ParseError {
            message: message.into(),
            line: 0,
            column: 0,
            span: Span::default(),
        }
    }

    /// A stage that cannot be built.
    pub(crate) fn stage(stage: &dyn std::fmt::Display, why: &str) -> Self {
        ParseError::whole(format!("stage '{stage}' : {why}"))
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if (self.line, self.column) == (0, 0) {
            return write!(f, "parse error : {}", self.message);
        }
        write!(
            f,
            "parse error at line {}, col {}: {}",
            self.line, self.column, self.message
        )
    }
}

impl std::error::Error for ParseError {}
