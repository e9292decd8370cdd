//! Durations in brackets and after `offset`: parsed as expressions, known once the query's
//! step and range are.

use super::ast::{BinaryOp, DurationExpr, DurationKind};

/// The query a duration may refer to, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct QueryShape {
    /// `step()`; zero for instant queries.
    pub step_ms: i64,
    /// `range()`: end minus start.
    pub range_ms: i64,
}

/// Longest duration, in seconds: what fits nanoseconds in 64 bits, as in Go.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// Whether so many seconds are a duration; NaN is not.
pub(crate) fn in_range(seconds: f64) -> bool {
    (-SECONDS_MAX..=SECONDS_MAX).contains(&seconds)
}

impl DurationExpr {
    /// The value in milliseconds, parts of one cut off.
    ///
    /// # Errors
    /// On division by zero, a result out of range, or, unless `allow_negative`, not above zero.
    pub fn evaluate(&self, shape: QueryShape, allow_negative: bool) -> Result<i64, String> {
        let seconds = self.seconds(shape)?;
        if !allow_negative && seconds <= 0.0 {
            return Err(self.wrong("duration must be greater than 0"));
        }
        if !in_range(seconds) {
            return Err(self.wrong("duration is out of range"));
        }
        if self.literal().is_none() {
            return Ok((seconds * 1000.0) as i64);
        }
        // Literals by way of nanoseconds, so that 1.001 s is 1001 ms and not 1000.
        Ok((seconds * 1e9).round() as i64 / 1_000_000)
    }

    /// An error with the bytes of the expression, first and past the last, as upstream tells it.
    fn wrong(&self, what: &str) -> String {
        format!("{}:{}: {what}", self.span.start, self.span.end)
    }

    fn seconds(&self, shape: QueryShape) -> Result<f64, String> {
        Ok(match &self.kind {
            DurationKind::Literal(n) => n.value,
            DurationKind::Step => shape.step_ms as f64 / 1000.0,
            DurationKind::Range => shape.range_ms as f64 / 1000.0,
            DurationKind::Negate(d) => -d.seconds(shape)?,
            DurationKind::Plus(d) | DurationKind::Paren(d) => d.seconds(shape)?,
            DurationKind::Min(a, b) => a.seconds(shape)?.min(b.seconds(shape)?),
            DurationKind::Max(a, b) => a.seconds(shape)?.max(b.seconds(shape)?),
            DurationKind::Binary(op, a, b) => {
                let (a, b) = (a.seconds(shape)?, b.seconds(shape)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return Err(self.wrong("division by zero")),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return Err(self.wrong("modulo by zero")),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => a.powf(b),
                    other => {
                        return Err(format!(
                            "unexpected duration expression operator {:?}",
                            other.as_str()
                        ));
                    }
                }
            }
        })
    }

    /// The value in whole milliseconds if it is a literal, else zero: how `/api/v1/parse_query`
    /// shows durations.
    #[must_use]
    pub fn literal_millis(&self) -> i64 {
        self.literal()
            .map_or(0, |seconds| (seconds * 1000.0).round() as i64)
    }

    /// The literal this is, if it depends on nothing.
    pub(crate) fn literal(&self) -> Option<f64> {
        match &self.kind {
            DurationKind::Literal(n) => Some(n.value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::ast::ExprKind;

    fn range_of(text: &str) -> Result<i64, String> {
        let ExprKind::Range(r) = crate::parse(text).unwrap().kind else {
            panic!("{text} is no range selector");
        };
        let shape = QueryShape {
            step_ms: 0,
            range_ms: 60_000,
        };
        r.range.evaluate(shape, false)
    }

    #[test]
    fn literals_are_rounded_and_results_cut_off() {
        assert_eq!(range_of("x[1.001]"), Ok(1001));
        assert_eq!(range_of("x[1.001 * 1]"), Ok(1000));
        assert_eq!(range_of("x[range() / 7]"), Ok(8571));
    }

    #[test]
    fn what_is_no_duration_is_told_with_its_place() {
        let zero = "2:8: duration must be greater than 0";
        assert_eq!(range_of("x[step()]"), Err(zero.to_owned()));
        let division = "2:13: division by zero".to_owned();
        assert_eq!(range_of("x[1m / step()]"), Err(division));
    }
}
