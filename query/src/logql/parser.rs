//! Tokens to expressions: recursive descent, operators by precedence.
//!
//! What is accepted, and in which words the rest is refused, follows Loki's grammar
//! (pkg/logql/syntax/syntax.y): an error names the tokens that could stand there when they are at
//! most four, in the order in which the grammar declares them.

mod construct;
mod range;
mod stages;

use model::{MatchOp, Matcher};

use super::ast::{
    BinaryOp, Cardinality, Expr, Grouping, LogExpr, Matching, MetricExpr, MetricKind, RangeOp,
    Span, Unwrap, VectorOp,
};
use super::error::ParseError;
use super::lexer::{Kind, Token, tokens};

/// Longest query accepted, in bytes: Loki's own bound.
pub const TEXT_BYTES_MAX: usize = 128 << 10;

/// Deepest nesting of parentheses, operators and filters. Everything that follows walks the tree
/// recursively; a level takes less than a kilobyte of stack.
pub const DEPTH_MAX: usize = 100;

pub(crate) use construct::on_numbers;

const NO_SELECTION: &str = "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// Reads a query.
///
/// # Errors
/// In Loki's words; [`ParseError`] tells the place.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let expr = parse_unchecked(text)?;
    if expr.selectors().iter().any(|s| !selects(&s.matchers)) {
        return Err(ParseError::whole(NO_SELECTION));
    }
    Ok(expr)
}

/// As [`parse`], also where a selector selects every stream.
fn parse_unchecked(text: &str) -> Result<Expr, ParseError> {
    if text.len() >= TEXT_BYTES_MAX {
        let len = text.len();
        return Err(ParseError::whole(format!(
            "input size too long ({len} > {TEXT_BYTES_MAX})"
        )));
    }
    let mut parser = Parser::new(text);
    let expr = parser.expr(0)?;
    if parser.peek().kind != Kind::End {
        return Err(parser.unexpected(&[]));
    }
    Ok(expr)
}

/// Reads a plain stream selector; `None` when the query is more than that.
///
/// # Errors
/// As [`parse`].
pub fn parse_selector(text: &str) -> Result<Option<Vec<Matcher>>, ParseError> {
    parse(text).map(plain)
}

/// As [`parse_selector`], also where it selects every stream: `{}`, `{a=~".*"}`.
///
/// # Errors
/// As [`parse`].
pub fn parse_any_selector(text: &str) -> Result<Option<Vec<Matcher>>, ParseError> {
    parse_unchecked(text).map(plain)
}

fn plain(expr: Expr) -> Option<Vec<Matcher>> {
    match expr {
        Expr::Log(LogExpr {
            matchers, stages, ..
        }) if stages.is_empty() => Some(matchers),
        _ => None,
    }
}

/// Reads what stands behind `| unwrap`: `size`, `bytes(size)`, `duration(took) | took != ""`.
///
/// # Errors
/// As [`parse`]; places count from `| unwrap`.
pub fn parse_unwrap(text: &str) -> Result<Unwrap, ParseError> {
    if text.len() >= TEXT_BYTES_MAX {
        return Err(ParseError::whole("input size too long"));
    }
    let mut parser = Parser::new(&format!("| unwrap {text}"));
    match parser.unwrap()? {
        Some(unwrap) if parser.peek().kind == Kind::End => Ok(unwrap),
        _ => Err(parser.unexpected(&[])),
    }
}

/// Whether a stream must have something in particular to match.
fn selects(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|m| !m.matches_empty())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        Parser {
            tokens: tokens(text),
            at: 0,
            depth: 0,
        }
    }

    fn peek(&self) -> &Token {
        // The last token is never consumed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek_second(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn advance(&mut self) {
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, Kind::Symbol(text) if text == symbol)
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str, expecting: &[&str]) -> Result<(), ParseError> {
        if self.accept(symbol) {
            return Ok(());
        }
        Err(self.unexpected(expecting))
    }

    fn open(&mut self) -> Result<(), ParseError> {
        self.expect("(", &["("])
    }

    fn close(&mut self) -> Result<(), ParseError> {
        self.expect(")", &[")"])
    }

    /// The error that the next token does not belong here.
    fn unexpected(&self, expecting: &[&str]) -> ParseError {
        let token = self.peek();
        if let Kind::Wrong(why) = &token.kind {
            return token.error(why.clone());
        }
        let mut message = format!("syntax error: unexpected {}", token.kind.name());
        for (i, name) in expecting.iter().enumerate() {
            message.push_str(if i == 0 { ", expecting " } else { " or " });
            message.push_str(name);
        }
        token.error(message)
    }

    fn identifier(&mut self, expecting: &[&str]) -> Result<String, ParseError> {
        if let Kind::Identifier(name) = &self.peek().kind {
            let name = name.clone();
            self.advance();
            return Ok(name);
        }
        Err(self.unexpected(expecting))
    }

    fn string(&mut self, expecting: &[&str]) -> Result<String, ParseError> {
        if let Kind::String(text) = &self.peek().kind {
            let text = text.clone();
            self.advance();
            return Ok(text);
        }
        Err(self.unexpected(expecting))
    }

    fn number(&mut self, expecting: &[&str]) -> Result<String, ParseError> {
        if let Kind::Number(text) = &self.peek().kind {
            let text = text.clone();
            self.advance();
            return Ok(text);
        }
        Err(self.unexpected(expecting))
    }

    /// One level deeper; the caller steps out with [`Parser::leave`] unless it fails.
    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let why = format!("the query nests deeper than {DEPTH_MAX} levels");
            return Err(self.peek().error(why));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn start(&self) -> usize {
        self.peek().span.start
    }

    fn span_from(&self, start: usize) -> Span {
        let end = self
            .at
            .checked_sub(1)
            .map_or(start, |i| self.tokens[i].span.end);
        Span::new(start, end.max(start))
    }

    fn expr(&mut self, binds_at_least: u8) -> Result<Expr, ParseError> {
        self.enter()?;
        let start = self.start();
        let mut left = self.primary()?;
        let mut chained = 0;
        while let Some(op) = self.binary_op() {
            let precedence = op.precedence();
            if precedence < binds_at_least {
                break;
            }
            self.advance();
            // Operators of one level nest to the left, each a level of the tree.
            chained += 1;
            self.enter()?;
            let (returns_bool, matching) = self.modifier()?;
            let right_binds = precedence + u8::from(op != BinaryOp::Pow);
            let right = self.expr(right_binds)?;
            let kind = construct::binary(op, returns_bool, matching, left, right)?;
            left = Expr::Metric(MetricExpr {
                kind,
                span: self.span_from(start),
            });
        }
        self.depth -= chained;
        self.leave();
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        match &self.peek().kind {
            Kind::Symbol(text) => BinaryOp::of(text),
            _ => None,
        }
    }

    fn modifier(&mut self) -> Result<(bool, Matching), ParseError> {
        let returns_bool = self.accept("bool");
        let mut matching = Matching::default();
        let on = self.is("on");
        if !on && !self.is("ignoring") {
            return Ok((returns_bool, matching));
        }
        self.advance();
        matching.on = on;
        self.open()?;
        matching.labels = self.labels()?;
        let card = if self.is("group_left") {
            Cardinality::ManyToOne
        } else if self.is("group_right") {
            Cardinality::OneToMany
        } else {
            return Ok((returns_bool, matching));
        };
        self.advance();
        matching.card = card;
        if self.accept("(") {
            matching.include = self.labels()?;
        }
        Ok((returns_bool, matching))
    }

    /// Names up to the closing parenthesis; `None` when there are none.
    fn labels(&mut self) -> Result<Option<Vec<String>>, ParseError> {
        if self.accept(")") {
            return Ok(None);
        }
        let mut names = vec![self.identifier(&["IDENTIFIER", ")"])?];
        while !self.accept(")") {
            self.expect(",", &[",", ")"])?;
            names.push(self.identifier(&["IDENTIFIER"])?);
        }
        Ok(Some(names))
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.peek().kind {
            Kind::Symbol("{") => self.log_expr(),
            Kind::Symbol("(") => self.parenthesized(),
            _ => self.metric_primary(),
        }
    }

    fn log_expr(&mut self) -> Result<Expr, ParseError> {
        let start = self.start();
        let matchers = self.selector()?;
        let stages = self.pipeline()?;
        Ok(Expr::Log(LogExpr {
            matchers,
            stages,
            span: self.span_from(start),
        }))
    }

    fn parenthesized(&mut self) -> Result<Expr, ParseError> {
        self.advance();
        let inner = self.expr(0)?;
        let expecting: &[&str] = match inner {
            Expr::Log(_) => &[")"],
            Expr::Metric(_) => &[],
        };
        self.expect(")", expecting)?;
        Ok(inner)
    }

    fn metric_primary(&mut self) -> Result<Expr, ParseError> {
        let start = self.start();
        let kind = match self.peek().kind {
            Kind::Number(_) | Kind::Symbol("+" | "-") => MetricKind::Literal(self.literal()?),
            Kind::Function("vector") => self.vector_of()?,
            Kind::Function("label_replace") => self.label_replace()?,
            Kind::Function(name) => {
                if let Some(op) = RangeOp::of(name) {
                    self.advance();
                    self.range_aggregation(op)?
                } else if let Some(op) = VectorOp::of(name) {
                    self.advance();
                    self.vector_aggregation(op)?
                } else {
                    return Err(self.unexpected(&[]));
                }
            }
            _ => return Err(self.unexpected(&[])),
        };
        Ok(Expr::Metric(MetricExpr {
            kind,
            span: self.span_from(start),
        }))
    }

    fn vector_of(&mut self) -> Result<MetricKind, ParseError> {
        self.advance();
        self.open()?;
        let text = self.number(&["NUMBER"])?;
        self.close()?;
        super::units::parse_float(&text)
            .map(MetricKind::VectorOf)
            .map_err(|e| ParseError::whole(format!("unable to parse vectorExpr as a float: {e}")))
    }

    /// A number with an optional sign.
    fn literal(&mut self) -> Result<f64, ParseError> {
        let negative = self.is("-");
        if negative || self.is("+") {
            self.advance();
        }
        let text = self.number(&["NUMBER"])?;
        let value = super::units::parse_float(&text)
            .map_err(|e| ParseError::whole(format!("unable to parse literal as a float: {e}")))?;
        Ok(if negative { -value } else { value })
    }

    /// An expression that has numbers as values.
    fn metric_expr(&mut self) -> Result<MetricExpr, ParseError> {
        match self.expr(0)? {
            Expr::Metric(expr) => Ok(expr),
            // A selector is only that when a range follows, which then does not belong here.
            Expr::Log(_) => Err(self.unexpected(&[])),
        }
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{", &["{"])?;
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        let mut expecting: &[&str] = &["IDENTIFIER", "}"];
        loop {
            let name = self.identifier(expecting)?;
            let Some(op) = self.match_op() else {
                return Err(self.unexpected(&["=", "=~", "!~", "!="]));
            };
            self.advance();
            let value = self.string(&["STRING"])?;
            matchers.push(construct::matcher(name, op, value)?);
            if self.accept("}") {
                return Ok(matchers);
            }
            self.expect(",", &["}", ","])?;
            expecting = &["IDENTIFIER"];
        }
    }

    fn match_op(&self) -> Option<MatchOp> {
        Some(match &self.peek().kind {
            Kind::Symbol("=") => MatchOp::Equal,
            Kind::Symbol("!=") => MatchOp::NotEqual,
            Kind::Symbol("=~") => MatchOp::Regex,
            Kind::Symbol("!~") => MatchOp::NotRegex,
            _ => return None,
        })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is("without");
        if !without && !self.is("by") {
            return Ok(None);
        }
        self.advance();
        self.open()?;
        let labels = self.labels()?.unwrap_or_default();
        Ok(Some(Grouping { without, labels }))
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<MetricKind, ParseError> {
        let mut grouping = self.grouping()?;
        self.open()?;
        // A number is the parameter only when a comma follows, else an expression of its own.
        let mut param = None;
        if let Kind::Number(text) = &self.peek().kind
            && *self.peek_second() == Kind::Symbol(",")
        {
            param = Some(text.clone());
            self.advance();
            self.advance();
        }
        let expr = self.metric_expr()?;
        if !self.accept(")") {
            return Err(self.unexpected(&[]));
        }
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        construct::vector_aggregation(op, grouping, param, expr)
    }

    fn label_replace(&mut self) -> Result<MetricKind, ParseError> {
        self.advance();
        self.open()?;
        let expr = self.metric_expr()?;
        let mut texts = Vec::with_capacity(4);
        for _ in 0..4 {
            let expecting: &[&str] = if texts.is_empty() { &[] } else { &[","] };
            self.expect(",", expecting)?;
            texts.push(self.string(&["STRING"])?);
        }
        self.close()?;
        construct::label_replace(expr, texts)
    }
}

#[cfg(test)]
mod tests;
