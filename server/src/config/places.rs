//! Where a value stands in a file: for checks that know the keys that lead to it and no lines.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::yaml;

/// Any document, with the places of its values.
enum Node {
    Mapping(BTreeMap<String, Spanned<Node>>),
    List(Vec<Spanned<Node>>),
    Value,
}

/// Line and column of the value that `path` leads to, and there of the item of that number; of
/// what is nearest to it when it is not there. `None` when nothing of it is.
pub(super) fn find(text: &str, path: &[&str], item: Option<usize>) -> Option<(u64, u64)> {
    let root: Node = yaml::parse("", text).ok()?;
    let mut node = &root;
    let mut at = None;
    for key in path {
        let Node::Mapping(pairs) = node else { break };
        let Some(value) = pairs.get(*key) else { break };
        at = yaml::position(value.referenced);
        node = &value.value;
    }
    if let (Node::List(items), Some(item)) = (node, item)
        && let Some(value) = items.get(item)
    {
        at = yaml::position(value.referenced);
    }
    at
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            pairs.insert(key, map.next_value()?);
        }
        Ok(Node::Mapping(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Node::Value)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Value)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &[&str], item: Option<usize>, expect: Option<(u64, u64)>) {
        let text = "a: 1\nb:\n  c: [x, 2.5, true]\n  d:\n    - e: ~\n    - e: -1\n  f: text\n";
        assert_eq!(find(text, path, item), expect, "{path:?} {item:?}");
    }

    #[test]
    fn values_items_and_what_is_nearest_are_found() {
        check(&["a"], None, Some((1, 4)));
        check(&["b", "f"], None, Some((7, 6)));
        check(&["b", "c"], Some(1), Some((3, 10)));
        check(&["b", "d"], Some(1), Some((6, 7)));
        check(&["b", "d"], Some(2), Some((5, 5)));
        check(&["b", "x", "y"], None, Some((3, 3)));
        check(&["x"], None, None);
    }
}
