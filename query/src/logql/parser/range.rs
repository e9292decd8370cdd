//! `rate({…} | … [5m] offset 1h)`: the window may stand before the pipeline or after it.

use super::{Parser, construct};
use crate::logql::ast::{Conversion, LogExpr, LogRange, MetricKind, RangeOp, Stage, Unwrap};
use crate::logql::error::ParseError;
use crate::logql::lexer::Kind;

/// Lines, perhaps with their window.
struct Lines {
    selector: LogExpr,
    unwrap: Option<Unwrap>,
    /// Length and offset.
    window: Option<(i64, i64)>,
}

impl Parser {
    pub(super) fn range_aggregation(&mut self, op: RangeOp) -> Result<MetricKind, ParseError> {
        self.open()?;
        let mut param = None;
        if let Kind::Number(text) = &self.peek().kind {
            param = Some(text.clone());
            self.advance();
            self.expect(",", &[","])?;
        } else if !self.is("{") && !self.is("(") {
            return Err(self.unexpected(&["NUMBER", "{", "("]));
        }
        let lines = self.lines()?;
        let Some((interval_ns, offset_ns)) = lines.window else {
            return Err(self.unexpected(&[]));
        };
        self.close()?;
        let grouping = self.grouping()?;
        let range = LogRange {
            selector: lines.selector,
            interval_ns,
            offset_ns,
            unwrap: lines.unwrap,
        };
        construct::range_aggregation(op, param, range, grouping)
    }

    fn lines(&mut self) -> Result<Lines, ParseError> {
        if !self.accept("(") {
            return self.bare_lines();
        }
        self.enter()?;
        let mut inner = self.lines()?;
        self.leave();
        self.close()?;
        if inner.window.is_none() {
            inner.window = self.window()?;
            if inner.window.is_some() && inner.unwrap.is_none() {
                inner.unwrap = self.unwrap()?;
            }
        }
        Ok(inner)
    }

    fn bare_lines(&mut self) -> Result<Lines, ParseError> {
        let start = self.start();
        if !self.is("{") {
            return Err(self.unexpected(&["{", "("]));
        }
        let matchers = self.selector()?;
        let mut window = self.window()?;
        let stages: Vec<Stage> = self.pipeline()?;
        let span = self.span_from(start);
        let unwrap = self.unwrap()?;
        if window.is_none() {
            window = self.window()?;
        }
        Ok(Lines {
            selector: LogExpr {
                matchers,
                stages,
                span,
            },
            unwrap,
            window,
        })
    }

    /// `[5m] offset 1h`
    fn window(&mut self) -> Result<Option<(i64, i64)>, ParseError> {
        let Kind::Range(interval) = self.peek().kind else {
            return Ok(None);
        };
        self.advance();
        if !self.accept("offset") {
            return Ok(Some((interval, 0)));
        }
        let Kind::Duration(offset) = self.peek().kind else {
            return Err(self.unexpected(&["DURATION"]));
        };
        self.advance();
        Ok(Some((interval, offset)))
    }

    /// `| unwrap duration(x) | y="z"`
    pub(super) fn unwrap(&mut self) -> Result<Option<Unwrap>, ParseError> {
        if !self.is("|") || *self.peek_second() != Kind::Symbol("unwrap") {
            return Ok(None);
        }
        self.advance();
        self.advance();
        let conversion = match self.peek().kind {
            Kind::Function("bytes") => Some(Conversion::Bytes),
            Kind::Function("duration") => Some(Conversion::Duration),
            Kind::Function("duration_seconds") => Some(Conversion::DurationSeconds),
            _ => None,
        };
        let label = if conversion.is_some() {
            self.advance();
            self.open()?;
            let label = self.identifier(&["IDENTIFIER"])?;
            self.close()?;
            label
        } else {
            self.identifier(&[
                "IDENTIFIER",
                "BYTES_CONV",
                "DURATION_CONV",
                "DURATION_SECONDS_CONV",
            ])?
        };
        let mut post_filters = Vec::new();
        while self.accept("|") {
            post_filters.push(self.label_filter(0)?);
        }
        Ok(Some(Unwrap {
            label,
            conversion,
            post_filters,
        }))
    }
}
