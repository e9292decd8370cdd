//! The functions of LogQL's `line_format` and `label_format`.
//!
//! Sources of the behaviour: Loki's list (pkg/logql/log/fmt.go, docs/sources/query/template_functions.md)
//! and, for those it takes from there, github.com/Masterminds/sprig v3.

mod decimal;
mod json;
mod numbers;

use std::sync::{Arc, Mutex, PoisonError};

use model::{Regex, Timestamp};

use crate::alertmanager::base64;
use crate::builtins::query_escape;
use crate::function::{arity, text};
use crate::prometheus::title;
use crate::{Functions, Time, Value};
pub use json::escape as json_escape;
use numbers::integer;

/// Longest text that padding and repetition make, in bytes.
const MADE_BYTES_MAX: usize = 1 << 20;

/// The line a template runs over: what `__line__` and `__timestamp__` give.
#[derive(Clone, Debug, Default)]
pub struct CurrentLine(Arc<Mutex<(Arc<str>, i64)>>);

impl CurrentLine {
    /// Sets the text and its time in nanoseconds.
    pub fn set(&self, line: &str, at_ns: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::from(line), at_ns);
    }

    fn get(&self) -> (Arc<str>, i64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// How sizes and durations in texts are read: `bytes "5KB"` is 5000, `duration "2s"` is 2.
#[derive(Clone, Copy)]
pub struct Units {
    /// Bytes of a size.
    pub bytes: fn(&str) -> Result<f64, String>,
    /// Seconds of a duration.
    pub seconds: fn(&str) -> Result<f64, String>,
}

/// Go's builtins and Loki's functions. `now` is the time of the query.
#[must_use]
pub fn functions(line: &CurrentLine, units: Units, now: Timestamp) -> Functions<'static> {
    let mut f = Functions::go_builtins();
    let current = line.clone();
    f.insert("__line__", move |args| {
        arity("__line__", args, 0)?;
        Ok(Value::String(current.get().0))
    });
    let current = line.clone();
    f.insert("__timestamp__", move |args| {
        arity("__timestamp__", args, 0)?;
        Ok(Value::Time(Time::from_nanos(current.get().1)))
    });
    f.insert("now", move |args| {
        arity("now", args, 0)?;
        Ok(Value::Time(Time::utc(now)))
    });
    f.insert("bytes", move |args| {
        arity("bytes", args, 1)?;
        (units.bytes)(text(args, 0)?).map(Value::Float)
    });
    for name in ["duration", "duration_seconds"] {
        f.insert(name, move |args| {
            arity(name, args, 1)?;
            (units.seconds)(text(args, 0)?).map(Value::Float)
        });
    }
    insert_deprecated(&mut f);
    insert_texts(&mut f);
    insert_searches(&mut f);
    insert_made(&mut f);
    numbers::insert(&mut f);
    insert_times(&mut f);
    f
}

type One = fn(&str) -> String;
type Two = fn(&str, &str) -> Value;

fn one(f: &mut Functions<'_>, name: &'static str, apply: One) {
    f.insert(name, move |args| {
        arity(name, args, 1)?;
        Ok(Value::from(apply(text(args, 0)?)))
    });
}

fn two(f: &mut Functions<'_>, name: &'static str, apply: Two) {
    f.insert(name, move |args| {
        arity(name, args, 2)?;
        Ok(apply(text(args, 0)?, text(args, 1)?))
    });
}

/// Go's strings functions by their own names and order of arguments.
fn insert_deprecated(f: &mut Functions<'_>) {
    one(f, "ToLower", str::to_lowercase);
    one(f, "ToUpper", str::to_uppercase);
    one(f, "TrimSpace", |s| s.trim().to_owned());
    two(f, "Trim", |s, set| {
        s.trim_matches(|c| set.contains(c)).into()
    });
    two(f, "TrimLeft", |s, set| {
        s.trim_start_matches(|c| set.contains(c)).into()
    });
    two(f, "TrimRight", |s, set| {
        s.trim_end_matches(|c| set.contains(c)).into()
    });
    two(f, "TrimPrefix", |s, prefix| {
        s.strip_prefix(prefix).unwrap_or(s).into()
    });
    two(f, "TrimSuffix", |s, suffix| {
        s.strip_suffix(suffix).unwrap_or(s).into()
    });
    f.insert("Replace", |args| {
        arity("Replace", args, 4)?;
        let (s, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
        let count = usize::try_from(integer(&args[3])).unwrap_or(usize::MAX);
        replaced(s, old, new, count)
    });
}

fn insert_texts(f: &mut Functions<'_>) {
    one(f, "lower", str::to_lowercase);
    one(f, "upper", str::to_uppercase);
    one(f, "title", title);
    one(f, "trim", |s| s.trim().to_owned());
    one(f, "urlencode", query_escape);
    one(f, "b64enc", |s| base64::encode(s.as_bytes()));
    one(f, "b64dec", |s| {
        base64::decode(s).unwrap_or_else(|error| error)
    });
    two(f, "trimAll", |set, s| {
        s.trim_matches(|c| set.contains(c)).into()
    });
    two(f, "trimSuffix", |suffix, s| {
        s.strip_suffix(suffix).unwrap_or(s).into()
    });
    two(f, "trimPrefix", |prefix, s| {
        s.strip_prefix(prefix).unwrap_or(s).into()
    });
    two(f, "contains", |part, s| s.contains(part).into());
    two(f, "hasPrefix", |prefix, s| s.starts_with(prefix).into());
    two(f, "hasSuffix", |suffix, s| s.ends_with(suffix).into());
    f.insert("replace", |args| {
        arity("replace", args, 3)?;
        let (old, new, s) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
        replaced(s, old, new, usize::MAX)
    });
    f.insert("urldecode", |args| {
        arity("urldecode", args, 1)?;
        query_unescape(text(args, 0)?).map(Value::from)
    });
    f.insert("fromJson", |args| {
        arity("fromJson", args, 1)?;
        Ok(json::decode(text(args, 0)?).unwrap_or_default())
    });
    f.insert("default", |args| {
        let [default, given @ ..] = args else {
            return Err("wrong number of args for default: want at least 1 got 0".to_owned());
        };
        let set = given.first().filter(|value| value.is_true());
        Ok(set.unwrap_or(default).clone())
    });
}

fn insert_searches(f: &mut Functions<'_>) {
    f.insert("regexReplaceAll", |args| {
        arity("regexReplaceAll", args, 3)?;
        regex_replaced(&compiled(args)?, text(args, 1)?, text(args, 2)?)
    });
    f.insert("regexReplaceAllLiteral", |args| {
        arity("regexReplaceAllLiteral", args, 3)?;
        let literal = text(args, 2)?.replace('$', "$$");
        regex_replaced(&compiled(args)?, text(args, 1)?, &literal)
    });
    f.insert("count", |args| {
        arity("count", args, 2)?;
        let matches = compiled(args)?.count(text(args, 1)?);
        Ok(Value::Int(matches as i64))
    });
}

fn compiled(args: &[Value]) -> Result<Regex, String> {
    Regex::unanchored(text(args, 0)?).map_err(|e| e.to_string())
}

/// What makes a text longer or cuts it.
fn insert_made(f: &mut Functions<'_>) {
    f.insert("trunc", |args| {
        arity("trunc", args, 2)?;
        let (count, s) = (integer(&args[0]), text(args, 1)?);
        let len = s.len() as i64;
        Ok(match count {
            n if n < 0 && len.saturating_add(n) > 0 => cut(s, (len + n) as usize, s.len()),
            n if n >= 0 && len > n => cut(s, 0, n as usize),
            _ => Value::from(s),
        })
    });
    f.insert("substr", |args| {
        arity("substr", args, 3)?;
        let (start, end, s) = (integer(&args[0]), integer(&args[1]), text(args, 2)?);
        let len = s.len() as i64;
        let (from, to) = match (start, end) {
            (..0, end) => (0, end),
            (start, ..0) => (start, len),
            (start, end) => (start, end.min(len)),
        };
        if from > to || to > len || to < 0 {
            return Err(format!(
                "runtime error: slice bounds out of range [{from}:{to}] with length {len}"
            ));
        }
        Ok(cut(s, from as usize, to as usize))
    });
    f.insert("alignLeft", |args| {
        arity("alignLeft", args, 2)?;
        align(integer(&args[0]), text(args, 1)?, true)
    });
    f.insert("alignRight", |args| {
        arity("alignRight", args, 2)?;
        align(integer(&args[0]), text(args, 1)?, false)
    });
    f.insert("repeat", |args| {
        arity("repeat", args, 2)?;
        repeated(text(args, 1)?, integer(&args[0])).map(Value::from)
    });
    for (name, head) in [("indent", ""), ("nindent", "\n")] {
        f.insert(name, move |args| {
            arity(name, args, 2)?;
            let (pad, s) = (repeated(" ", integer(&args[0]))?, text(args, 1)?);
            let lines = s.matches('\n').count() + 1;
            if pad.len().saturating_mul(lines) > MADE_BYTES_MAX {
                return Err(too_long());
            }
            let inner = s.replace('\n', &format!("\n{pad}"));
            Ok(Value::from(format!("{head}{pad}{inner}")))
        });
    }
}

fn too_long() -> String {
    format!("more than {MADE_BYTES_MAX} bytes")
}

/// The first `count` of `old` become `new`.
fn replaced(s: &str, old: &str, new: &str, count: usize) -> Result<Value, String> {
    let times = s.matches(old).take(count).count();
    let removed = times.saturating_mul(old.len());
    let length = (s.len() - removed).saturating_add(times.saturating_mul(new.len()));
    if length > MADE_BYTES_MAX {
        return Err(too_long());
    }
    Ok(Value::from(s.replacen(old, new, count)))
}

/// All matches become the expanded `template`.
pub(crate) fn regex_replaced(regex: &Regex, s: &str, template: &str) -> Result<Value, String> {
    let replaced = regex.replace_all_within(s, template, MADE_BYTES_MAX);
    replaced.map(Value::from).ok_or_else(too_long)
}

/// Bytes `from..to`; half a character shows as the replacement character.
fn cut(s: &str, from: usize, to: usize) -> Value {
    Value::from(String::from_utf8_lossy(&s.as_bytes()[from..to]).into_owned())
}

fn repeated(s: &str, count: i64) -> Result<String, String> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned())?;
    if s.len().saturating_mul(count) > MADE_BYTES_MAX {
        return Err(too_long());
    }
    Ok(s.repeat(count))
}

fn align(count: i64, s: &str, left: bool) -> Result<Value, String> {
    let len = s.chars().count();
    let Ok(count) = usize::try_from(count) else {
        return Ok(Value::from(s));
    };
    if count <= len {
        let skipped = if left { 0 } else { len - count };
        return Ok(Value::from(
            s.chars().skip(skipped).take(count).collect::<String>(),
        ));
    }
    let pad = repeated(" ", (count - len) as i64)?;
    Ok(Value::from(if left {
        format!("{s}{pad}")
    } else {
        format!("{pad}{s}")
    }))
}

fn insert_times(f: &mut Functions<'_>) {
    f.insert("toDate", |args| {
        arity("toDate", args, 2)?;
        let time = Time::parse(text(args, 0)?, text(args, 1)?, "UTC");
        Ok(Value::Time(time.unwrap_or_else(Time::zero)))
    });
    f.insert("toDateInZone", |args| {
        arity("toDateInZone", args, 3)?;
        let time = Time::parse(text(args, 0)?, text(args, 2)?, text(args, 1)?);
        Ok(Value::Time(time.unwrap_or_else(Time::zero)))
    });
    f.insert("date", |args| {
        arity("date", args, 2)?;
        let time = match &args[1] {
            Value::Time(time) => time.clone(),
            Value::Int(seconds) => Time::from_nanos(seconds.saturating_mul(1_000_000_000)),
            other => return Err(not_a_time(other)),
        };
        Ok(Value::from(time.format(text(args, 0)?)))
    });
    f.insert("unixToTime", |args| {
        arity("unixToTime", args, 1)?;
        let epoch = text(args, 0)?;
        let wrong = |why: &str| format!("unable to parse time '{epoch}': {why}");
        let n: i64 = epoch.parse().map_err(|_| {
            wrong(&format!(
                "strconv.ParseInt: parsing {epoch:?}: invalid syntax"
            ))
        })?;
        let unit = match epoch.len() {
            5 => 86_400_000_000_000,
            10 => 1_000_000_000,
            13 => 1_000_000,
            16 => 1000,
            19 => 1,
            _ => return Err(wrong("%!w(<nil>)")),
        };
        Ok(Value::Time(Time::from_nanos(n.saturating_mul(unit))))
    });
    for (name, unit) in [
        ("unixEpoch", 1_000_000_000),
        ("unixEpochMillis", 1_000_000),
        ("unixEpochNanos", 1),
    ] {
        f.insert(name, move |args| {
            arity(name, args, 1)?;
            match &args[0] {
                Value::Time(time) => Ok(Value::from(time.nanos().div_euclid(unit).to_string())),
                other => Err(not_a_time(other)),
            }
        });
    }
}

fn not_a_time(value: &Value) -> String {
    format!(
        "wrong type for value; expected time.Time; got {}",
        value.type_name()
    )
}

/// Go's `url.QueryUnescape`.
fn query_unescape(escaped: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(after.first()), digit(after.get(1))) else {
                    let shown = String::from_utf8_lossy(&after[..after.len().min(2)]);
                    return Err(format!("invalid URL escape \"%{shown}\""));
                };
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            other => out.push(*other),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests;
