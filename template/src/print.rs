//! `%v`: values as Go prints them.

use model::number::format_sprint;

use crate::Value;

/// A value nested in itself many times over prints no more than about this many bytes.
const PRINT_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting printed.
const PRINT_DEPTH_MAX: usize = 64;

/// Go's `fmt.Sprint` of one value.
pub(crate) fn sprint(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    if depth > PRINT_DEPTH_MAX || out.len() > PRINT_BYTES_MAX {
        out.push_str("...");
        return;
    }
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&format_sprint(*f)),
        Value::String(s) | Value::Safe(s) => out.push_str(s),
        Value::Time(t) => out.push_str(&t.to_string()),
        Value::Duration(d) => out.push_str(&d.to_string()),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.entries.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Object(object) => match (object.print(), object.underlying()) {
            (Some(text), _) => out.push_str(&text),
            (None, Some(inner)) => write(out, &inner, depth + 1),
            (None, None) => {
                out.push('{');
                out.push_str(object.type_name());
                out.push('}');
            }
        },
    }
}
