//! The functions of Prometheus' alert templates.
//! Source of the behaviour: prometheus/template/template.go.

use std::sync::Arc;

use model::{Labels, Regex, Timestamp};

use crate::builtins::query_escape;
use crate::function::{arity, text};
use crate::loki::regex_replaced;
use crate::value::Object;
use crate::{Functions, Span, Time, Value};

mod humanize;

/// One result of `query`.
#[derive(Clone, Debug)]
pub struct QuerySample {
    /// Labels, metric name included.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// Runs an instant query; the text of an error ends up in the annotation.
pub type Query<'a> = Arc<dyn Fn(&str) -> Result<Vec<QuerySample>, String> + Send + Sync + 'a>;

/// What the functions need from outside.
#[derive(Clone)]
pub struct Environment<'a> {
    /// Runs `query "..."`.
    pub query: Query<'a>,
    /// The instant of the evaluation.
    pub now: Timestamp,
    /// Our address as others reach it, e.g. `https://stackwatch.example.org/`.
    pub external_url: String,
}

impl Object for QuerySample {
    fn type_name(&self) -> &'static str {
        "*template.sample"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Labels" => Some(Value::from(&self.labels)),
            "Value" => Some(Value::Float(self.value)),
            _ => None,
        }
    }
}

/// Go's builtins and Prometheus' 29 functions.
#[must_use]
pub fn functions<'a>(env: Environment<'a>) -> Functions<'a> {
    let mut f = Functions::go_builtins();
    let query = env.query;
    f.insert("query", move |args| {
        arity("query", args, 1)?;
        let samples = query(text(args, 0)?)?;
        Ok(Value::list(samples.into_iter().map(Value::object)))
    });
    f.insert("first", |args| {
        arity("first", args, 1)?;
        match args[0].resolved() {
            Value::List(items) => items
                .first()
                .cloned()
                .ok_or_else(|| "first() called on vector with no elements".to_owned()),
            other => Err(format!(
                "wrong type for value; expected template.queryResult; got {}",
                other.type_name()
            )),
        }
    });
    f.insert("label", |args| {
        arity("label", args, 2)?;
        Ok(Value::from(label(&args[1], text(args, 0)?)?))
    });
    f.insert("value", |args| {
        arity("value", args, 1)?;
        sample_field(&args[0], "Value")
    });
    f.insert("strvalue", |args| {
        arity("strvalue", args, 1)?;
        Ok(Value::from(label(&args[0], "__value__")?))
    });
    f.insert("args", |args| {
        Ok(Value::map(
            args.iter()
                .enumerate()
                .map(|(i, v)| (format!("arg{i}"), v.clone())),
        ))
    });
    f.insert("sortByLabel", |args| {
        arity("sortByLabel", args, 2)?;
        let name = text(args, 0)?;
        let Value::List(items) = args[1].resolved() else {
            return Err(format!(
                "wrong type for value; expected template.queryResult; got {}",
                args[1].type_name()
            ));
        };
        let mut keyed = Vec::with_capacity(items.len());
        for item in items.iter() {
            keyed.push((label(item, name)?, item.clone()));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Value::list(keyed.into_iter().map(|(_, item)| item)))
    });
    insert_text(&mut f);
    insert_numbers(&mut f);
    let now = env.now;
    f.insert("now", move |_| Ok(Value::Float(now.as_secs_f64())));
    let url = env.external_url.clone();
    f.insert("externalURL", move |_| Ok(Value::from(url.as_str())));
    let prefix = url_path(&env.external_url).to_owned();
    f.insert("pathPrefix", move |_| Ok(Value::from(prefix.as_str())));
    f.insert("graphLink", |args| {
        arity("graphLink", args, 1)?;
        Ok(Value::from(link(text(args, 0)?, 0)))
    });
    f.insert("tableLink", |args| {
        arity("tableLink", args, 1)?;
        Ok(Value::from(link(text(args, 0)?, 1)))
    });
    f
}

fn insert_text(f: &mut Functions<'_>) {
    f.insert("reReplaceAll", re_replace_all);
    f.insert("safeHtml", |args| {
        arity("safeHtml", args, 1)?;
        Ok(Value::Safe(Arc::from(text(args, 0)?)))
    });
    f.insert("match", is_match);
    f.insert("title", |args| {
        arity("title", args, 1)?;
        Ok(Value::from(title(text(args, 0)?)))
    });
    f.insert("toUpper", |args| {
        arity("toUpper", args, 1)?;
        Ok(Value::from(text(args, 0)?.to_uppercase()))
    });
    f.insert("toLower", |args| {
        arity("toLower", args, 1)?;
        Ok(Value::from(text(args, 0)?.to_lowercase()))
    });
    f.insert("stripPort", |args| {
        arity("stripPort", args, 1)?;
        Ok(Value::from(split_port(text(args, 0)?).0))
    });
    f.insert("stripDomain", |args| {
        arity("stripDomain", args, 1)?;
        Ok(Value::from(strip_domain(text(args, 0)?)))
    });
    f.insert("urlQueryEscape", |args| {
        arity("urlQueryEscape", args, 1)?;
        Ok(Value::from(query_escape(text(args, 0)?)))
    });
}

fn insert_numbers(f: &mut Functions<'_>) {
    f.insert("humanize", |args| {
        arity("humanize", args, 1)?;
        humanize::decimal(number(&args[0])?).map(Value::from)
    });
    f.insert("humanize1024", |args| {
        arity("humanize1024", args, 1)?;
        humanize::binary(number(&args[0])?).map(Value::from)
    });
    f.insert("humanizeDuration", |args| {
        arity("humanizeDuration", args, 1)?;
        humanize::duration(number(&args[0])?).map(Value::from)
    });
    f.insert("humanizePercentage", |args| {
        arity("humanizePercentage", args, 1)?;
        humanize::percentage(number(&args[0])?).map(Value::from)
    });
    f.insert("humanizeTimestamp", |args| {
        arity("humanizeTimestamp", args, 1)?;
        let seconds = number(&args[0])?;
        if !seconds.is_finite() {
            return humanize::special(seconds).map(Value::from);
        }
        Ok(Value::from(instant(seconds)?.to_string()))
    });
    f.insert("toTime", |args| {
        arity("toTime", args, 1)?;
        instant(number(&args[0])?).map(Value::Time)
    });
    f.insert("toDuration", |args| {
        arity("toDuration", args, 1)?;
        Ok(Value::Duration(Span::from_secs_f64(number(&args[0])?)))
    });
    f.insert("parseDuration", |args| {
        arity("parseDuration", args, 1)?;
        let duration = model::number::parse_duration(text(args, 0)?).map_err(|e| e.to_string())?;
        Ok(Value::Float(duration.as_secs_f64()))
    });
}

/// `sample.Labels[name]`, empty when absent.
fn label(sample: &Value, name: &str) -> Result<String, String> {
    match sample_field(sample, "Labels")? {
        Value::Map(map) => Ok(map
            .entries
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()),
        _ => Ok(String::new()),
    }
}

fn sample_field(sample: &Value, name: &str) -> Result<Value, String> {
    match sample {
        Value::Object(o) => o.field(name),
        _ => None,
    }
    .ok_or_else(|| {
        format!(
            "wrong type for value; expected *template.sample; got {}",
            sample.type_name()
        )
    })
}

/// A number, or a string that holds one.
fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(f) => Ok(*f),
        Value::Int(i) => Ok(*i as f64),
        Value::Duration(d) => Ok(d.seconds()),
        Value::String(s) | Value::Safe(s) => s
            .parse()
            .map_err(|_| format!("strconv.ParseFloat: parsing {s:?}: invalid syntax")),
        other => Err(format!("can't convert {} to float64", other.type_name())),
    }
}

/// `humanizeDuration` of a number, a numeric string or a duration.
pub(crate) fn humanize_duration(value: &Value) -> Result<String, String> {
    humanize::duration(number(value)?)
}

fn instant(seconds: f64) -> Result<Time, String> {
    let millis = seconds * 1000.0;
    if millis.is_nan() || millis.abs() >= 9.2e15 {
        return Err(format!(
            "{seconds:?} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Time::utc(Timestamp::from_secs_f64(seconds)))
}

/// `match PATTERN TEXT`, unanchored.
pub(crate) fn is_match(args: &[Value]) -> Result<Value, String> {
    arity("match", args, 2)?;
    let regex = Regex::unanchored(text(args, 0)?).map_err(|e| e.to_string())?;
    Ok(Value::Bool(regex.is_match(text(args, 1)?)))
}

/// `reReplaceAll PATTERN REPLACEMENT TEXT`; `$1` and `${name}` refer to groups.
pub(crate) fn re_replace_all(args: &[Value]) -> Result<Value, String> {
    arity("reReplaceAll", args, 3)?;
    let regex = Regex::unanchored(text(args, 0)?).map_err(|e| e.to_string())?;
    regex_replaced(&regex, text(args, 2)?, text(args, 1)?)
}

/// Upper-cases the first letter of each word. Go's `strings.Title`.
pub(crate) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        let inside = before.is_alphanumeric() || before == '_' || before == '\'';
        if inside {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        before = c;
    }
    out
}

/// Host and `:port`, as Go's `net.SplitHostPort` sees them.
fn split_port(address: &str) -> (&str, &str) {
    let Some((host, _)) = address.rsplit_once(':') else {
        return (address, "");
    };
    let port = &address[host.len()..];
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(bare) => (bare, port),
        // More colons without brackets: not an address with a port.
        None if host.contains([':', '[', ']']) => (address, ""),
        None => (host, port),
    }
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address);
    let is_ip = host.parse::<core::net::IpAddr>().is_ok();
    let short = if is_ip {
        host
    } else {
        host.split('.').next().unwrap_or(host)
    };
    if port.is_empty() {
        short.to_owned()
    } else if short.contains(':') {
        format!("[{short}]{port}")
    } else {
        format!("{short}{port}")
    }
}

fn url_path(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| &after_scheme[at..])
}

/// Path to an expression as a table in the UI, as `tableLink` prints it.
#[must_use]
pub fn table_link(expr: &str) -> String {
    link(expr, 1)
}

/// Path to an expression in the UI. Source: util/strutil `GraphLinkForExpression`.
fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escape(expr))
}
