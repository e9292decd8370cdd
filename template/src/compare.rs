//! `eq`, `ne`, `lt`, `le`, `gt`, `ge` by Go's rules: an int and a float do not compare.

use std::cmp::Ordering;

use crate::Value;

const INCOMPATIBLE: &str = "incompatible types for comparison";

/// Whether the two are equal.
pub(crate) fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, Value::Object(_) | Value::List(_) | Value::Map(_))
        | (Value::Object(_) | Value::List(_) | Value::Map(_), Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a.nanos() == b.nanos()),
        (Value::List(_) | Value::Map(_) | Value::Object(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Object(_)) => {
            Err("non-comparable type".to_owned())
        }
        _ => match ordered(a, b)? {
            Some(order) => Ok(order == Ordering::Equal),
            None => Ok(false),
        },
    }
}

/// Whether `a < b`; NaN is not less than anything.
pub(crate) fn less(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(ordered(a, b)? == Some(Ordering::Less))
}

fn ordered(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        // A Duration is an int64 underneath.
        (Value::Duration(a), Value::Int(b)) => Some(a.nanos().cmp(b)),
        (Value::Int(a), Value::Duration(b)) => Some(a.cmp(&b.nanos())),
        _ => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => Some(a.cmp(b)),
            _ if matches!(a, Value::Bool(_) | Value::Time(_) | Value::Nil)
                && std::mem::discriminant(a) == std::mem::discriminant(b) =>
            {
                return Err("invalid type for comparison".to_owned());
            }
            _ => return Err(INCOMPATIBLE.to_owned()),
        },
    })
}
