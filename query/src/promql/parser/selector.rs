//! Selectors, ranges, subqueries and their modifiers.

use model::labels::METRIC_NAME;
use model::{MatchOp, Matcher};

use super::{Node, Parser, duration};
use crate::promql::ast::{
    At, BinaryOp, Expr, ExprKind, Extension, RangeSelector, Selector, Span, Subquery,
};
use crate::promql::error::ParseError;
use crate::promql::lexer::{Keyword, Kind};

impl Parser<'_> {
    pub(super) fn bare_selector(&mut self) -> Result<Expr, ParseError> {
        Ok(self.selector()?.expr)
    }

    /// `name`, `{…}` or `name{…}`.
    pub(super) fn selector(&mut self) -> Result<Node, ParseError> {
        let start = self.token().span;
        let mut span = start;
        let mut name = None;
        if self.names_a_metric() {
            self.bump();
            name = Some(self.slice(start).to_owned());
        } else if *self.peek() != Kind::LeftBrace {
            return Err(self.unexpected("", ""));
        }
        let mut matchers = Vec::new();
        if *self.peek() == Kind::LeftBrace {
            span = span.to(self.braces(&mut matchers)?);
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        let selector = Selector {
            name,
            matchers,
            offset: None,
            at: None,
            extension: Extension::None,
        };
        self.node(ExprKind::Selector(Box::new(selector)), span, [])
    }

    pub(super) fn names_a_metric(&self) -> bool {
        match self.peek() {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Word | Kind::Aggregate(_) => true,
            Kind::Keyword(k) => !matches!(
                k,
                Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
                    | Keyword::Bool
            ),
            Kind::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
            _ => false,
        }
    }

    fn braces(&mut self, matchers: &mut Vec<Matcher>) -> Result<Span, ParseError> {
        let open = self.bump();
        loop {
            if let Some(close) = self.take_if(&Kind::RightBrace) {
                return Ok(open.to(close));
            }
            let label_span = self.token().span;
            let (label, quoted) = match self.peek() {
                Kind::Identifier => {
                    self.bump();
                    (self.slice(label_span).to_owned(), false)
                }
                Kind::String => {
                    self.bump();
                    (self.utf8_string(label_span)?, true)
                }
                _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
            };
            matchers.push(match self.match_operator() {
                Some(op) => self.matcher(label_span, label, op)?,
                None if quoted => Matcher::equal(METRIC_NAME, label),
                None => return Err(self.unexpected("label matching", "label matching operator")),
            });
            if self.take_if(&Kind::Comma).is_none() && *self.peek() != Kind::RightBrace {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
    }

    fn utf8_string(&self, span: Span) -> Result<String, ParseError> {
        let bytes = crate::promql::quote::unquote(self.slice(span)).unwrap_or_default();
        String::from_utf8(bytes)
            .map_err(|_| self.error(span, "invalid UTF-8 in a label name or value"))
    }

    fn match_operator(&mut self) -> Option<MatchOp> {
        let op = match self.peek() {
            Kind::Assign => MatchOp::Equal,
            Kind::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Kind::EqualRegex => MatchOp::Regex,
            Kind::NotRegex => MatchOp::NotRegex,
            _ => return None,
        };
        self.bump();
        Some(op)
    }

    fn matcher(
        &mut self,
        label_span: Span,
        label: String,
        op: MatchOp,
    ) -> Result<Matcher, ParseError> {
        if *self.peek() != Kind::String {
            return Err(self.unexpected("label matching", "string"));
        }
        let span = self.bump();
        let value = self.utf8_string(span)?;
        Matcher::new(label, op, value).map_err(|e| self.error(label_span.to(span), e.to_string()))
    }

    /// `[5m]`, `[1h:5m]`, `offset`, `@`, `anchored`, `smoothed`, in any sensible order.
    pub(super) fn postfix(&mut self, mut node: Node) -> Result<Node, ParseError> {
        loop {
            node = match self.peek() {
                Kind::LeftBracket => self.brackets(node)?,
                Kind::At => self.at_modifier(node)?,
                Kind::Keyword(Keyword::Offset) => self.offset(node)?,
                Kind::Keyword(Keyword::Anchored) => self.extend(node, Extension::Anchored)?,
                Kind::Keyword(Keyword::Smoothed) => self.extend(node, Extension::Smoothed)?,
                _ => return Ok(node),
            };
        }
    }

    fn brackets(&mut self, node: Node) -> Result<Node, ParseError> {
        let open = self.bump();
        let range = self.positive_duration(duration::RANGE)?;
        if let Some(close) = self.take_if(&Kind::RightBracket) {
            return self.range(node, range, open, close);
        }
        if self.take_if(&Kind::Colon).is_none() {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let step = if *self.peek() == Kind::RightBracket {
            None
        } else {
            Some(self.positive_duration(duration::STEP)?)
        };
        let Some(close) = self.take_if(&Kind::RightBracket) else {
            return Err(self.unexpected("subquery selector", "\"]\""));
        };
        let span = node.expr.span.to(close);
        let height = node.height;
        let subquery = Subquery {
            expr: node.expr,
            range,
            step,
            offset: None,
            at: None,
        };
        self.node(ExprKind::Subquery(Box::new(subquery)), span, [height])
    }

    fn range(
        &mut self,
        node: Node,
        range: crate::promql::ast::DurationExpr,
        open: Span,
        close: Span,
    ) -> Result<Node, ParseError> {
        let wrong = |what: &str| Err(self.error(open.to(close), what));
        let ExprKind::Selector(selector) = node.expr.kind else {
            return wrong("ranges only allowed for vector selectors");
        };
        if selector.offset.is_some() {
            return wrong("no offset modifiers allowed before range");
        }
        if selector.at.is_some() {
            return wrong("no @ modifiers allowed before range");
        }
        if selector.extension != Extension::None {
            return wrong("no anchored or smoothed modifiers allowed before range");
        }
        let selector_span = node.expr.span;
        let range = RangeSelector {
            selector: *selector,
            selector_span,
            range,
        };
        self.node(
            ExprKind::Range(Box::new(range)),
            selector_span.to(close),
            [node.height],
        )
    }

    fn offset(&mut self, mut node: Node) -> Result<Node, ParseError> {
        self.bump();
        let offset = self.offset_duration()?;
        let span = node.expr.span;
        let slot = match &mut node.expr.kind {
            ExprKind::Selector(s) => &mut s.offset,
            ExprKind::Range(r) => &mut r.selector.offset,
            ExprKind::Subquery(s) => &mut s.offset,
            _ => {
                return Err(self.error(span, "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"));
            }
        };
        // Upstream forgets an offset of zero.
        if slot.as_ref().is_some_and(|d| d.literal() != Some(0.0)) {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        node.expr.span = span.to(offset.span);
        *slot = Some(offset);
        Ok(node)
    }

    fn at_modifier(&mut self, mut node: Node) -> Result<Node, ParseError> {
        self.bump();
        let span = node.expr.span;
        let (at, end) = self.at_value(span)?;
        let slot = match &mut node.expr.kind {
            ExprKind::Selector(s) => &mut s.at,
            ExprKind::Range(r) => &mut r.selector.at,
            ExprKind::Subquery(s) => &mut s.at,
            _ => {
                return Err(self.error(span, "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery"));
            }
        };
        if slot.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        node.expr.span = span.to(end);
        Ok(node)
    }

    fn at_value(&mut self, selector: Span) -> Result<(At, Span), ParseError> {
        let start = self.token().span;
        if *self.peek() == Kind::Word {
            let at = match self.slice(start).to_ascii_lowercase().as_str() {
                "start" => At::Start,
                "end" => At::End,
                _ => return Err(self.unexpected("@", "timestamp")),
            };
            self.bump();
            if self.take_if(&Kind::LeftParen).is_none() {
                return Err(self.unexpected("@", "timestamp"));
            }
            let Some(close) = self.take_if(&Kind::RightParen) else {
                return Err(self.unexpected("@", "timestamp"));
            };
            return Ok((at, start.to(close)));
        }
        let negative = self.sign_ahead();
        if negative.is_some() {
            self.bump();
        }
        if !matches!(self.peek(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let (number, span) = self.number()?;
        let seconds = if negative == Some(true) {
            -number.value
        } else {
            number.value
        };
        // Refuses NaN too. Times that fit as seconds but not as milliseconds are the end of time.
        if !(seconds > i64::MIN as f64 && seconds < i64::MAX as f64) {
            let shown = if seconds.is_finite() {
                format!("{seconds:.6}")
            } else {
                model::number::format_fixed(seconds)
            };
            return Err(self.error(
                selector,
                format!("timestamp out of bounds for @ modifier: {shown}"),
            ));
        }
        Ok((At::Time((seconds * 1000.0).round() as i64), start.to(span)))
    }

    fn extend(&mut self, mut node: Node, extension: Extension) -> Result<Node, ParseError> {
        let word = self.bump();
        let span = node.expr.span;
        let name = self.slice(word).to_ascii_lowercase();
        let slot = match &mut node.expr.kind {
            ExprKind::Selector(s) => &mut s.extension,
            ExprKind::Range(r) => &mut r.selector.extension,
            ExprKind::Subquery(_) => {
                return Err(self.error(
                    span,
                    format!("{name} modifier is not supported for subqueries"),
                ));
            }
            _ => {
                return Err(self.error(
                    span,
                    format!("{name} modifier must be preceded by an instant vector selector or range vector selector"),
                ));
            }
        };
        if *slot != Extension::None && *slot != extension {
            return Err(self.error(
                span,
                "anchored and smoothed modifiers cannot be used together",
            ));
        }
        if *slot == extension {
            return Err(self.error(
                span,
                format!("{name} modifier may not be set multiple times"),
            ));
        }
        *slot = extension;
        node.expr.span = span.to(word);
        Ok(node)
    }
}
