//! Functions of one float, and the roundings.

use crate::eval::EvalError;
use crate::eval::evaluator::Evaluator;
use crate::eval::stream::Stream;
use crate::promql::ast::Call;

/// The function of this name, if it maps one float to one float.
pub(super) fn unary(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => acosh,
        "asin" => f64::asin,
        "asinh" => asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => f64::cosh,
        "deg" => f64::to_degrees,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => f64::to_radians,
        "sgn" => sign,
        "sin" => f64::sin,
        "sinh" => f64::sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// Above this the square's root is the value itself, and the sum with it could overflow.
const LARGE: f64 = (1_u64 << 28) as f64;

fn acosh(v: f64) -> f64 {
    if v > LARGE {
        v.ln() + std::f64::consts::LN_2
    } else {
        v.acosh()
    }
}

fn asinh(v: f64) -> f64 {
    if v.abs() > LARGE {
        (v.abs().ln() + std::f64::consts::LN_2).copysign(v)
    } else {
        v.asinh()
    }
}

fn sign(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// Go's `math.Max`: +Inf wins, then NaN.
pub(super) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Go's `math.Min`: -Inf wins, then NaN.
pub(super) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}

impl Evaluator<'_> {
    pub(super) fn clamp<'e>(&self, c: &'e Call) -> Result<Stream<'e>, EvalError> {
        let unbounded = |v: f64| vec![v; self.steps];
        let (min, max) = match c.function.name {
            "clamp_min" => (self.scalar(&c.args[1])?, unbounded(f64::INFINITY)),
            "clamp_max" => (unbounded(f64::NEG_INFINITY), self.scalar(&c.args[1])?),
            _ => (self.scalar(&c.args[1])?, self.scalar(&c.args[2])?),
        };
        let stream = self.stream(&c.args[0])?;
        self.mapped(stream, move |ev, t, v| {
            let (min, max) = (ev.at(&min, t), ev.at(&max, t));
            (max >= min || max.is_nan() || min.is_nan()).then(|| go_max(min, go_min(max, v)))
        })
    }

    pub(super) fn round<'e>(&self, c: &'e Call) -> Result<Stream<'e>, EvalError> {
        let nearest = match c.args.get(1) {
            Some(arg) => self.scalar(arg)?,
            None => vec![1.0; self.steps],
        };
        let stream = self.stream(&c.args[0])?;
        self.mapped(stream, move |ev, t, v| {
            // Dividing by the inverse keeps 0.1 and its like exact.
            let inverse = 1.0 / ev.at(&nearest, t);
            Some((v * inverse + 0.5).floor() / inverse)
        })
    }
}
