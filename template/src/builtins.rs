//! The functions every Go template has.

use crate::function::{arity, text};
use crate::{Functions, Value, compare, escape, print, printf};

pub(crate) fn functions<'a>() -> Functions<'a> {
    let mut f = Functions::default();
    // The executor evaluates these two itself, to stop early; here they have names.
    f.insert("and", |args| Ok(args.last().cloned().unwrap_or_default()));
    f.insert("or", |args| Ok(args.last().cloned().unwrap_or_default()));
    f.insert("not", |args| {
        arity("not", args, 1)?;
        Ok(Value::Bool(!args[0].is_true()))
    });
    f.insert("eq", |args| {
        let Some((first, rest)) = args.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return Err("missing argument for comparison".to_owned());
        };
        for other in rest {
            if compare::equal(first, other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    });
    f.insert("ne", |args| {
        arity("ne", args, 2)?;
        compare::equal(&args[0], &args[1]).map(|e| Value::Bool(!e))
    });
    f.insert("lt", |args| {
        arity("lt", args, 2)?;
        compare::less(&args[0], &args[1]).map(Value::Bool)
    });
    f.insert("le", |args| {
        arity("le", args, 2)?;
        Ok(Value::Bool(
            compare::less(&args[0], &args[1])? || compare::equal(&args[0], &args[1])?,
        ))
    });
    f.insert("gt", |args| {
        arity("gt", args, 2)?;
        let at_most = compare::less(&args[0], &args[1])? || compare::equal(&args[0], &args[1])?;
        Ok(Value::Bool(!at_most))
    });
    f.insert("ge", |args| {
        arity("ge", args, 2)?;
        compare::less(&args[0], &args[1]).map(|l| Value::Bool(!l))
    });
    f.insert("len", |args| {
        arity("len", args, 1)?;
        let n = match args[0].resolved() {
            Value::String(s) | Value::Safe(s) => s.len(),
            Value::List(l) => l.len(),
            Value::Map(m) => m.entries.len(),
            Value::Nil => return Err("len of nil pointer".to_owned()),
            other => return Err(format!("len of type {}", other.type_name())),
        };
        Ok(Value::Int(n as i64))
    });
    f.insert("index", |args| {
        let Some((first, path)) = args.split_first() else {
            return Err("wrong number of args for index: want at least 1 got 0".to_owned());
        };
        path.iter()
            .try_fold(first.clone(), |at, key| index(&at, key))
    });
    f.insert("slice", slice);
    f.insert("print", |args| Ok(Value::from(join_print(args, false))));
    f.insert("println", |args| {
        Ok(Value::from(format!("{}\n", join_print(args, true))))
    });
    f.insert("printf", |args| {
        printf::sprintf(text(args, 0)?, &args[1..]).map(Value::from)
    });
    f.insert("html", |args| {
        Ok(Value::Safe(escape::html(&join_print(args, false)).into()))
    });
    f.insert("js", |args| Ok(Value::from(js(&join_print(args, false)))));
    f.insert("urlquery", |args| {
        Ok(Value::from(query_escape(&join_print(args, false))))
    });
    f
}

/// Go's `fmt.Sprint`: a space between two operands when neither is a string.
fn join_print(args: &[Value], always_space: bool) -> String {
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let bare = |v: &Value| v.as_str().is_none();
        if i > 0 && (always_space || (bare(arg) && bare(&args[i - 1]))) {
            out.push(' ');
        }
        out.push_str(&print::sprint(arg));
    }
    out
}

fn index(at: &Value, key: &Value) -> Result<Value, String> {
    let position = |len: usize| match key {
        Value::Int(i) => usize::try_from(*i)
            .ok()
            .filter(|i| *i < len)
            .ok_or_else(|| format!("index out of range: {i}")),
        other => Err(format!(
            "cannot index slice/array with type {}",
            other.type_name()
        )),
    };
    match at.resolved() {
        Value::List(items) => Ok(items[position(items.len())?].clone()),
        Value::String(s) | Value::Safe(s) => {
            Ok(Value::Int(s.as_bytes()[position(s.len())?].into()))
        }
        Value::Map(map) => match key.as_str() {
            Some(key) => Ok(map.entries.get(key).unwrap_or(&map.zero).clone()),
            None => Err(format!(
                "value has type {}; should be string",
                key.type_name()
            )),
        },
        Value::Nil => Err("index of untyped nil".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let Some((first, bounds)) = args.split_first() else {
        return Err("wrong number of args for slice: want at least 1 got 0".to_owned());
    };
    let range = |len: usize| {
        let mut ends = [0, len];
        for (end, bound) in ends.iter_mut().zip(bounds) {
            let Value::Int(i) = bound else {
                return Err(format!(
                    "cannot index slice/array with type {}",
                    bound.type_name()
                ));
            };
            *end = usize::try_from(*i)
                .ok()
                .filter(|i| *i <= len)
                .ok_or_else(|| format!("index out of range: {i}"))?;
        }
        if ends[0] > ends[1] {
            return Err(format!("invalid slice index: {} > {}", ends[0], ends[1]));
        }
        Ok(ends[0]..ends[1])
    };
    match first.resolved() {
        Value::List(items) => Ok(Value::List(items[range(items.len())?].into())),
        Value::String(s) | Value::Safe(s) => {
            let bytes = &s.as_bytes()[range(s.len())?];
            Ok(Value::from(String::from_utf8_lossy(bytes).into_owned()))
        }
        Value::Nil => Err("slice of untyped nil".to_owned()),
        other => Err(format!("can't slice item of type {}", other.type_name())),
    }
}

/// Go's `url.QueryEscape`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Go's `template.JSEscaper`.
fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' => out.push_str("\\u003C"),
            '>' => out.push_str("\\u003E"),
            '&' => out.push_str("\\u0026"),
            '=' => out.push_str("\\u003D"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
