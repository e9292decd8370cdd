//! Alertmanager's `KV` and `Pairs`: string maps with methods.

use std::sync::Arc;

use model::Labels;

use crate::{Object, Value};

/// A label set with Alertmanager's methods: `SortedPairs`, `Names`, `Values`, `Remove`.
/// Fields are the labels; a missing one is the empty string.
#[derive(Clone, Debug, Default)]
pub struct Kv(pub Labels);

/// One name and value, with the fields `Name` and `Value`.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Label name.
    pub name: Arc<str>,
    /// Label value.
    pub value: Arc<str>,
}

/// Pairs in order, with the methods `Names` and `Values`.
struct Pairs(Arc<[Pair]>);

/// A list of strings that prints like Go's `[]string`.
fn strings<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    Value::list(items.map(Value::from))
}

impl Kv {
    /// Pairs with `alertname` first, the rest in name order.
    fn sorted_pairs(&self) -> Pairs {
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        for (name, value) in &self.0 {
            let pair = Pair {
                name: Arc::from(name),
                value: Arc::from(value),
            };
            if name == "alertname" {
                first.push(pair);
            } else {
                rest.push(pair);
            }
        }
        first.append(&mut rest);
        Pairs(first.into())
    }
}

impl Object for Kv {
    fn type_name(&self) -> &'static str {
        "template.KV"
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.0.get(name).map(Value::from)
    }

    fn call(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        Some(Ok(match name {
            "SortedPairs" => Value::object(self.sorted_pairs()),
            "Names" => self.sorted_pairs().call("Names", args)?.ok()?,
            "Values" => self.sorted_pairs().call("Values", args)?.ok()?,
            "Remove" => {
                let Some(keys) = args.first().map(Value::resolved) else {
                    return Some(Err(
                        "wrong number of args for Remove: want 1 got 0".to_owned()
                    ));
                };
                let Value::List(keys) = keys else {
                    return Some(Err(format!(
                        "wrong type for value; expected []string; got {}",
                        keys.type_name()
                    )));
                };
                let mut left = self.0.to_builder();
                for key in keys.iter().filter_map(Value::as_str) {
                    left.remove(key);
                }
                Value::object(Kv(left.build()))
            }
            _ => return None,
        }))
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::from(&self.0))
    }
}

impl Object for Pairs {
    fn type_name(&self) -> &'static str {
        "template.Pairs"
    }

    fn call(&self, name: &str, _: &[Value]) -> Option<Result<Value, String>> {
        match name {
            "Names" => Some(Ok(strings(self.0.iter().map(|p| &*p.name)))),
            "Values" => Some(Ok(strings(self.0.iter().map(|p| &*p.value)))),
            "String" => Some(Ok(Value::from(self.print()?))),
            _ => None,
        }
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::list(self.0.iter().cloned().map(Value::object)))
    }

    /// `a=b, c=d`. Source: alertmanager/template `Pairs.String`.
    fn print(&self) -> Option<String> {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|p| format!("{}={}", p.name, p.value))
            .collect();
        Some(pairs.join(", "))
    }
}

impl Object for Pair {
    fn type_name(&self) -> &'static str {
        "template.Pair"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Name" => Some(Value::String(self.name.clone())),
            "Value" => Some(Value::String(self.value.clone())),
            _ => None,
        }
    }

    fn print(&self) -> Option<String> {
        Some(format!("{{{} {}}}", self.name, self.value))
    }
}
