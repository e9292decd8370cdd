//! Duration expressions, in brackets and after `offset`.

use super::{Parser, operators};
use crate::promql::ast::{BinaryOp, DurationExpr, DurationKind, Number, Span};
use crate::promql::duration::in_range;
use crate::promql::error::ParseError;
use crate::promql::lexer::Kind;

fn binding(op: BinaryOp) -> Option<u8> {
    match op {
        BinaryOp::Add | BinaryOp::Sub => Some(4),
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => Some(operators::UNARY),
        BinaryOp::Pow => Some(6),
        _ => None,
    }
}

/// What an error inside a duration says: where it is, and what was expected there.
pub(super) type Wanted = (&'static str, &'static str);

/// After `[`.
pub(super) const RANGE: Wanted = (
    "subquery or range selector",
    "number, duration, step(), or range()",
);
/// After `[…:`.
pub(super) const STEP: Wanted = (
    "subquery selector",
    "number, duration, step(), range(), or \"]\"",
);
const OFFSET: Wanted = ("offset", "number, duration, step(), or range()");

impl Parser<'_> {
    /// A full expression, as in brackets. A literal must be above zero.
    pub(super) fn positive_duration(&mut self, wanted: Wanted) -> Result<DurationExpr, ParseError> {
        let duration = self.duration(0, wanted)?;
        if let Some(seconds) = duration.literal()
            && seconds <= 0.0
        {
            return Err(self.error(duration.span, "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// What may follow `offset` without parentheses: a signed literal, call or parenthesis.
    pub(super) fn offset_duration(&mut self) -> Result<DurationExpr, ParseError> {
        self.enter()?;
        let duration = match self.sign_ahead() {
            Some(negative) => {
                let sign = self.bump();
                let operand = self.duration_primary(OFFSET)?;
                signed(negative, sign, operand)
            }
            None => self.duration_primary(OFFSET)?,
        };
        self.nesting -= 1;
        Ok(duration)
    }

    fn duration(&mut self, binding_min: u8, wanted: Wanted) -> Result<DurationExpr, ParseError> {
        self.enter()?;
        let mut left = match self.sign_ahead() {
            Some(negative) => {
                let sign = self.bump();
                let operand = self.duration(operators::UNARY + 1, wanted)?;
                signed(negative, sign, operand)
            }
            None => self.duration_primary(wanted)?,
        };
        // A chain is as deep as it is long.
        let mut chained = 0;
        while let Kind::Operator(op) = *self.peek() {
            let Some(tightness) = binding(op).filter(|b| *b >= binding_min) else {
                break;
            };
            chained += 1;
            if chained + self.nesting > super::DEPTH_MAX {
                return Err(self.too_deep(left.span));
            }
            let op_span = self.bump();
            let right = self.duration(tightness + u8::from(op != BinaryOp::Pow), wanted)?;
            match op {
                BinaryOp::Div if right.literal() == Some(0.0) => {
                    return Err(self.error(op_span, "division by zero"));
                }
                BinaryOp::Mod if right.literal() == Some(0.0) => {
                    return Err(self.error(op_span, "modulo by zero"));
                }
                _ => {}
            }
            let span = left.span.to(right.span);
            left = DurationExpr {
                kind: DurationKind::Binary(op, Box::new(left), Box::new(right)),
                span,
            };
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn duration_primary(&mut self, wanted: Wanted) -> Result<DurationExpr, ParseError> {
        match self.peek() {
            Kind::Number | Kind::Duration => {
                let (number, span) = self.number()?;
                if !in_range(number.value) {
                    return Err(self.error(span, "duration out of range"));
                }
                Ok(literal(number, span))
            }
            Kind::LeftParen => {
                let open = self.bump();
                let inner = self.duration(0, wanted)?;
                let close = self.close(wanted)?;
                Ok(DurationExpr {
                    kind: DurationKind::Paren(Box::new(inner)),
                    span: open.to(close),
                })
            }
            Kind::Word | Kind::Identifier => {
                let span = self.token().span;
                let word = self.slice(span).to_ascii_lowercase();
                if !matches!(word.as_str(), "step" | "range" | "min_of" | "max_of") {
                    return Err(self.unexpected(wanted.0, wanted.1));
                }
                self.bump();
                if self.take_if(&Kind::LeftParen).is_none() {
                    return Err(self.unexpected(wanted.0, wanted.1));
                }
                let kind = match word.as_str() {
                    "step" => DurationKind::Step,
                    "range" => DurationKind::Range,
                    _ => {
                        let a = Box::new(self.duration(0, wanted)?);
                        if self.take_if(&Kind::Comma).is_none() {
                            return Err(self.unexpected(wanted.0, wanted.1));
                        }
                        let b = Box::new(self.duration(0, wanted)?);
                        if word == "min_of" {
                            DurationKind::Min(a, b)
                        } else {
                            DurationKind::Max(a, b)
                        }
                    }
                };
                let close = self.close(wanted)?;
                Ok(DurationExpr {
                    kind,
                    span: span.to(close),
                })
            }
            _ => Err(self.unexpected(wanted.0, wanted.1)),
        }
    }

    fn close(&mut self, wanted: Wanted) -> Result<Span, ParseError> {
        self.take_if(&Kind::RightParen)
            .ok_or_else(|| self.unexpected(wanted.0, wanted.1))
    }
}

fn literal(number: Number, span: Span) -> DurationExpr {
    DurationExpr {
        kind: DurationKind::Literal(number),
        span,
    }
}

fn signed(negative: bool, sign: Span, operand: DurationExpr) -> DurationExpr {
    let span = sign.to(operand.span);
    if let DurationKind::Literal(n) = operand.kind {
        let value = if negative { -n.value } else { n.value };
        return literal(Number { value, ..n }, span);
    }
    let operand = Box::new(operand);
    let kind = if negative {
        DurationKind::Negate(operand)
    } else {
        DurationKind::Plus(operand)
    };
    DurationExpr { kind, span }
}
