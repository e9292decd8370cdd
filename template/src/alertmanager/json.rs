//! `toJson`: as Go's `json.Marshal`, HTML characters escaped.

use model::number::{format_exponent, format_fixed};

use crate::Value;

/// Deepest nesting encoded; deeper values become null.
const DEPTH_MAX: usize = 64;

pub(super) fn encode(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        out.push_str("null");
        return;
    }
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&number(*f)),
        Value::String(s) | Value::Safe(s) => string(out, s),
        Value::Time(t) => string(out, &t.format("2006-01-02T15:04:05.999999999Z07:00")),
        Value::Duration(d) => out.push_str(&d.nanos().to_string()),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (i, (key, item)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                string(out, key);
                out.push(':');
                write(out, item, depth + 1);
            }
            out.push('}');
        }
        Value::Object(object) => match object.json().or_else(|| object.underlying()) {
            Some(inner) => write(out, &inner, depth + 1),
            None => out.push_str("null"),
        },
    }
}

/// Go switches to exponent form below 1e-6 and from 1e21 on, and writes `1e-7`, not `1e-07`.
fn number(f: f64) -> String {
    let magnitude = f.abs();
    if !f.is_finite() {
        "null".to_owned()
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        format_exponent(f).replace("e-0", "e-")
    } else {
        format_fixed(f)
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}
