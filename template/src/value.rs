//! What a template computes with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::Labels;

use crate::{Span, Time};

/// A value of the template language. Cloning is cheap: everything big is shared.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Go's untyped nil; an action prints it as `<no value>`.
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// Every Go integer type.
    Int(i64),
    /// Go's `float64`.
    Float(f64),
    /// A string.
    String(Arc<str>),
    /// Text that is already HTML: [`crate::TemplateSet::execute_html`] leaves it as it is.
    Safe(Arc<str>),
    /// A slice.
    List(Arc<[Value]>),
    /// A map with string keys, ranged over and printed in key order.
    Map(Arc<Map>),
    /// Go's `time.Time`.
    Time(Time),
    /// Go's `time.Duration`.
    Duration(Span),
    /// A value with fields and methods.
    Object(Arc<dyn Object>),
}

/// A map with string keys.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The pairs in key order.
    pub entries: BTreeMap<String, Value>,
    /// What a missing key gives: `""` for Go's `map[string]string`, nil for `map[string]any`.
    pub zero: Value,
}

/// A value with fields and methods, implemented by whoever owns the data.
pub trait Object: Send + Sync {
    /// The type's name in errors, as Go would print it, e.g. `template.Alerts`.
    fn type_name(&self) -> &'static str;

    /// The field `name`, if there is one.
    fn field(&self, name: &str) -> Option<Value> {
        let _ = name;
        None
    }

    /// The outcome of the method `name`, or `None` when there is no such method.
    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let _ = (name, args);
        None
    }

    /// The list or map that this object is underneath, for `range`, `len`, `index`, truth and
    /// printing; `None` for a plain struct.
    fn underlying(&self) -> Option<Value> {
        None
    }

    /// How `%v` prints it, when not as its underlying value.
    fn print(&self) -> Option<String> {
        None
    }

    /// What `toJson` encodes in its place, when not its underlying value.
    fn json(&self) -> Option<Value> {
        None
    }
}

impl fmt::Debug for dyn Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl Value {
    /// A list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(items.into_iter().collect())
    }

    /// A `map[string]string`: a missing key is the empty string.
    pub fn string_map<K: Into<String>, V: Into<Arc<str>>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Value {
        Value::Map(Arc::new(Map {
            entries: pairs
                .into_iter()
                .map(|(k, v)| (k.into(), Value::String(v.into())))
                .collect(),
            zero: Value::from(""),
        }))
    }

    /// A `map[string]any`: a missing key is nil.
    pub fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(Arc::new(Map {
            entries: pairs.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            zero: Value::Nil,
        }))
    }

    /// An object.
    pub fn object(object: impl Object + 'static) -> Value {
        Value::Object(Arc::new(object))
    }

    /// The text of a string, safe or not.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) | Value::Safe(s) => Some(s),
            _ => None,
        }
    }

    /// Go's truth: not the zero value and not empty. Structs are always true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::String(s) | Value::Safe(s) => !s.is_empty(),
            Value::List(l) => !l.is_empty(),
            Value::Map(m) => !m.entries.is_empty(),
            Value::Time(_) => true,
            Value::Duration(d) => d.nanos() != 0,
            Value::Object(o) => o.underlying().is_none_or(|u| u.is_true()),
        }
    }

    /// The type's name as Go's errors and `%T` print it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::String(_) => "string",
            Value::Safe(_) => "template.HTML",
            Value::List(_) => "[]interface {}",
            Value::Map(m) if matches!(m.zero, Value::String(_)) => "map[string]string",
            Value::Map(_) => "map[string]interface {}",
            Value::Time(_) => "time.Time",
            Value::Duration(_) => "time.Duration",
            Value::Object(o) => o.type_name(),
        }
    }

    /// The list or map behind an object; other values as they are.
    pub(crate) fn resolved(&self) -> Value {
        match self {
            Value::Object(o) => o.underlying().unwrap_or_else(|| self.clone()),
            other => other.clone(),
        }
    }
}

/// Prints as Go's `%v` does.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::print::sprint(self))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(Arc::from(text))
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Value {
        Value::Int(i)
    }
}

impl From<f64> for Value {
    fn from(f: f64) -> Value {
        Value::Float(f)
    }
}

impl From<Time> for Value {
    fn from(t: Time) -> Value {
        Value::Time(t)
    }
}

impl From<Span> for Value {
    fn from(d: Span) -> Value {
        Value::Duration(d)
    }
}

/// As the `map[string]string` that Prometheus hands to templates.
impl From<&Labels> for Value {
    fn from(labels: &Labels) -> Value {
        Value::string_map(labels.iter())
    }
}
