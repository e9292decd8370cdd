//! The functions of Alertmanager's notification templates.
//! Source of the behaviour: alertmanager/template/template.go.

use std::sync::Arc;

use model::Timestamp;

use crate::builtins::query_escape;
use crate::function::{arity, text};
use crate::{Functions, Time, Value, prometheus};

pub(crate) mod base64;
mod json;

/// What the functions need from outside.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The instant of the notification.
    pub now: Timestamp,
    /// Labels of the route, for `routeLabels`.
    pub route_labels: Value,
}

/// Most values, nested ones included, that `list`, `dict` and `append` may build.
const BUILT_VALUES_MAX: usize = 10_000;
/// Deepest nesting that they may build.
const BUILT_DEPTH_MAX: usize = 16;

/// Go's builtins and Alertmanager's functions.
#[must_use]
pub fn functions<'a>(env: Environment) -> Functions<'a> {
    let mut f = Functions::go_builtins();
    insert_text(&mut f);
    insert_time(&mut f, env.now);
    insert_collections(&mut f);
    f.insert("routeLabels", move |_| Ok(env.route_labels.clone()));
    f
}

fn insert_text(f: &mut Functions<'_>) {
    f.insert("toUpper", |args| {
        Ok(Value::from(text(args, 0)?.to_uppercase()))
    });
    f.insert("toLower", |args| {
        Ok(Value::from(text(args, 0)?.to_lowercase()))
    });
    f.insert("title", |args| {
        Ok(Value::from(prometheus::title(text(args, 0)?)))
    });
    f.insert("trimSpace", |args| Ok(Value::from(text(args, 0)?.trim())));
    f.insert("join", |args| {
        arity("join", args, 2)?;
        let Value::List(items) = args[1].resolved() else {
            return Err(format!(
                "wrong type for value; expected []string; got {}",
                args[1].type_name()
            ));
        };
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        Ok(Value::from(items.join(text(args, 0)?)))
    });
    f.insert("match", prometheus::is_match);
    f.insert("reReplaceAll", prometheus::re_replace_all);
    f.insert("safeHtml", |args| {
        Ok(Value::Safe(Arc::from(text(args, 0)?)))
    });
    // A URL stays subject to escaping and to the filter of schemes: safe where it stands.
    f.insert("safeUrl", |args| Ok(Value::from(text(args, 0)?)));
    f.insert("urlUnescape", |args| {
        url_unescape(text(args, 0)?).map(Value::from)
    });
    f.insert("urlQueryEscape", |args| {
        Ok(Value::from(query_escape(text(args, 0)?)))
    });
    f.insert("toJson", |args| {
        arity("toJson", args, 1)?;
        Ok(Value::from(json::encode(&args[0])))
    });
    f.insert("base64encode", |args| {
        Ok(Value::from(base64::encode(text(args, 0)?.as_bytes())))
    });
    f.insert("base64decode", |args| {
        base64::decode(text(args, 0)?).map(Value::from)
    });
}

fn insert_time(f: &mut Functions<'_>, now: Timestamp) {
    f.insert("now", move |_| Ok(Value::Time(Time::utc(now))));
    f.insert("since", move |args| {
        arity("since", args, 1)?;
        Ok(Value::Duration(Time::utc(now).since(time(args, 0)?)))
    });
    f.insert("date", |args| {
        arity("date", args, 2)?;
        Ok(Value::from(time(args, 1)?.format(text(args, 0)?)))
    });
    f.insert("tz", |args| {
        arity("tz", args, 2)?;
        time(args, 1)?.in_zone(text(args, 0)?).map(Value::Time)
    });
    f.insert("humanizeDuration", |args| {
        arity("humanizeDuration", args, 1)?;
        prometheus::humanize_duration(&args[0]).map(Value::from)
    });
}

fn insert_collections(f: &mut Functions<'_>) {
    f.insert("stringSlice", |args| Ok(Value::list(args.iter().cloned())));
    f.insert("list", |args| bounded(Value::list(args.iter().cloned())));
    f.insert("append", |args| {
        let Some((Value::List(items), rest)) = args.split_first() else {
            return Err("append wants a list first".to_owned());
        };
        bounded(Value::list(items.iter().chain(rest).cloned()))
    });
    f.insert("dict", |args| {
        if args.len() % 2 != 0 {
            return Err("dict wants pairs of key and value".to_owned());
        }
        let mut pairs = Vec::with_capacity(args.len() / 2);
        for pair in args.chunks_exact(2) {
            let key = pair[0]
                .as_str()
                .ok_or_else(|| format!("dict keys must be strings, got {}", pair[0].type_name()))?;
            pairs.push((key.to_owned(), pair[1].clone()));
        }
        bounded(Value::map(pairs))
    });
}

fn time(args: &[Value], i: usize) -> Result<&Time, String> {
    match args.get(i) {
        Some(Value::Time(t)) => Ok(t),
        other => Err(format!(
            "wrong type for value; expected time.Time; got {}",
            other.map_or("nothing", Value::type_name)
        )),
    }
}

/// Refuses values that a loop has nested or doubled beyond reason.
fn bounded(value: Value) -> Result<Value, String> {
    fn count(value: &Value, depth: usize, left: &mut usize) -> bool {
        if depth == 0 || *left == 0 {
            return false;
        }
        *left -= 1;
        match value {
            Value::List(items) => items.iter().all(|v| count(v, depth - 1, left)),
            Value::Map(map) => map.entries.values().all(|v| count(v, depth - 1, left)),
            _ => true,
        }
    }
    if count(&value, BUILT_DEPTH_MAX, &mut BUILT_VALUES_MAX.clone()) {
        Ok(value)
    } else {
        Err(format!(
            "more than {BUILT_VALUES_MAX} values, or nested deeper than {BUILT_DEPTH_MAX}"
        ))
    }
}

/// Go's `url.QueryUnescape`.
fn url_unescape(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = text.get(i + 1..i + 3);
                let byte = hex
                    .and_then(|h| u8::from_str_radix(h, 16).ok())
                    .ok_or_else(|| {
                        format!("invalid URL escape {:?}", text.get(i..).unwrap_or("%"))
                    })?;
                out.push(byte);
                i += 2;
            }
            b => out.push(b),
        }
        i += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}
