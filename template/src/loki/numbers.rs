//! Arithmetic on whatever can be taken for a number, as sprig does it with spf13/cast.

use super::decimal;
use crate::function::arity;
use crate::{Functions, Value};

/// As `cast.ToInt64`: what is no whole number is zero.
pub(super) fn integer(value: &Value) -> i64 {
    match value {
        Value::Int(i) => *i,
        Value::Float(f) => *f as i64,
        Value::Bool(b) => i64::from(*b),
        Value::Duration(d) => d.nanos(),
        Value::String(s) | Value::Safe(s) => read_integer(s).unwrap_or(0),
        _ => 0,
    }
}

/// `strconv.ParseInt` with base 0 after `.0…` has been cut off.
fn read_integer(text: &str) -> Option<i64> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') && !zeros.is_empty() => whole,
        _ => text,
    };
    let digits = whole.trim_start_matches(['+', '-']);
    if whole.len() - digits.len() > 1 {
        return None;
    }
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    let signed = if whole.starts_with('-') {
        -magnitude
    } else {
        magnitude
    };
    i64::try_from(signed).ok()
}

/// As sprig's `toFloat64`: what is no number is zero.
pub(super) fn number(value: &Value) -> f64 {
    match value {
        Value::Int(i) => *i as f64,
        Value::Float(f) => *f,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Duration(d) => d.nanos() as f64,
        Value::String(s) | Value::Safe(s) => s.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn fold_integers(
    f: &mut Functions<'_>,
    name: &'static str,
    start: Option<i64>,
    apply: fn(i64, i64) -> i64,
) {
    f.insert(name, move |args| {
        let mut numbers = args.iter().map(integer);
        let first = match start {
            Some(start) => start,
            None => numbers.next().ok_or_else(|| at_least_one(name))?,
        };
        Ok(Value::Int(numbers.fold(first, apply)))
    });
}

fn fold_floats(
    f: &mut Functions<'_>,
    name: &'static str,
    start: Option<f64>,
    apply: fn(f64, f64) -> f64,
) {
    f.insert(name, move |args| {
        let mut numbers = args.iter().map(number);
        let first = match start {
            Some(start) => start,
            None => numbers.next().ok_or_else(|| at_least_one(name))?,
        };
        Ok(Value::Float(numbers.fold(first, apply)))
    });
}

fn at_least_one(name: &str) -> String {
    format!("wrong number of args for {name}: want at least 1 got 0")
}

pub(super) fn insert(f: &mut Functions<'_>) {
    fold_integers(f, "add", Some(0), i64::wrapping_add);
    fold_integers(f, "mul", None, i64::wrapping_mul);
    fold_integers(f, "max", None, i64::max);
    fold_integers(f, "min", None, i64::min);
    fold_floats(f, "addf", Some(0.0), decimal::add);
    fold_floats(f, "subf", None, decimal::sub);
    fold_floats(f, "mulf", None, decimal::mul);
    fold_floats(f, "divf", None, decimal::div);
    fold_floats(f, "maxf", None, f64::max);
    fold_floats(f, "minf", None, f64::min);
    f.insert("sub", |args| {
        arity("sub", args, 2)?;
        Ok(Value::Int(
            integer(&args[0]).wrapping_sub(integer(&args[1])),
        ))
    });
    f.insert("div", |args| {
        arity("div", args, 2)?;
        divided(args, i64::wrapping_div)
    });
    f.insert("mod", |args| {
        arity("mod", args, 2)?;
        divided(args, i64::wrapping_rem)
    });
    f.insert("int", |args| {
        arity("int", args, 1)?;
        Ok(Value::Int(integer(&args[0])))
    });
    f.insert("float64", |args| {
        arity("float64", args, 1)?;
        Ok(Value::Float(number(&args[0])))
    });
    f.insert("ceil", |args| {
        arity("ceil", args, 1)?;
        Ok(Value::Float(number(&args[0]).ceil()))
    });
    f.insert("floor", |args| {
        arity("floor", args, 1)?;
        Ok(Value::Float(number(&args[0]).floor()))
    });
    f.insert("round", |args| {
        let [value, places, rest @ ..] = args else {
            let got = args.len();
            return Err(format!(
                "wrong number of args for round: want at least 2 got {got}"
            ));
        };
        let up_from = rest.first().map_or(0.5, number);
        let power = 10_f64.powf(number(places));
        let shifted = power * number(value);
        let rounded = if shifted - shifted.trunc() >= up_from {
            shifted.ceil()
        } else {
            shifted.floor()
        };
        Ok(Value::Float(rounded / power))
    });
}

fn divided(args: &[Value], apply: fn(i64, i64) -> i64) -> Result<Value, String> {
    match integer(&args[1]) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(Value::Int(apply(integer(&args[0]), divisor))),
    }
}
