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
            return Err("duration must be greater than 0".to_owned());
        }
        if !in_range(seconds) {
            return Err("duration is out of range".to_owned());
        }
        // Nanoseconds first, so that 0.3 s is 300 ms and not 299.
        Ok((seconds * 1e9).round() as i64 / 1_000_000)
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
                    BinaryOp::Div if b == 0.0 => return Err("division by zero".to_owned()),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return Err("modulo by zero".to_owned()),
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
