//! JSON as values of the template language, for `fromJson`.

use std::sync::Arc;

use crate::Value;
use crate::value::Map;

/// Deepest nesting read.
const DEPTH_MAX: usize = 64;

/// The value of a JSON text; `None` when it is not one.
pub(super) fn decode(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn accept(&mut self, text: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.bytes().next()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Value::from),
            b't' => self.accept("true").then_some(Value::Bool(true)),
            b'f' => self.accept("false").then_some(Value::Bool(false)),
            b'n' => self.accept("null").then_some(Value::Nil),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.accept("{");
        let mut map = Map::default();
        if self.accept("}") {
            return Some(Value::Map(Arc::new(map)));
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.accept(":") {
                return None;
            }
            map.entries.insert(key, self.value(depth + 1)?);
            if self.accept("}") {
                return Some(Value::Map(Arc::new(map)));
            }
            if !self.accept(",") {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.accept("[");
        let mut items = Vec::new();
        if self.accept("]") {
            return Some(Value::list(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.accept("]") {
                return Some(Value::list(items));
            }
            if !self.accept(",") {
                return None;
            }
        }
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c)))
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let first = digits.trim_start_matches('-');
        let leading_zero = first.len() > 1 && first.starts_with('0') && !first.starts_with("0.");
        if !first.starts_with(|c: char| c.is_ascii_digit()) || leading_zero {
            return None;
        }
        self.rest = rest;
        digits.parse().ok().map(Value::Float)
    }

    fn string(&mut self) -> Option<String> {
        let mut rest = self.rest.strip_prefix('"')?;
        let mut out = String::new();
        loop {
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            out.push_str(&rest[..plain]);
            rest = &rest[plain..];
            if let Some(after) = rest.strip_prefix('"') {
                self.rest = after;
                return Some(out);
            }
            let (meant, after) = escape(rest.strip_prefix('\\')?)?;
            out.push(meant.unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = after;
        }
    }
}

/// What the escape means whose backslash stands before this text, and what follows it. `None` when
/// JSON has no such escape; no character for half of a surrogate pair.
/// Source: RFC 8259, section 7.
pub fn escape(text: &str) -> Option<(Option<char>, &str)> {
    let kind = text.chars().next()?;
    let rest = &text[kind.len_utf8()..];
    let meant = match kind {
        '"' | '\\' | '/' => kind,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode_escape(rest),
        _ => return None,
    };
    Some((Some(meant), rest))
}

fn unicode_escape(text: &str) -> Option<(Option<char>, &str)> {
    let high = four_hex(text)?;
    let rest = &text[4..];
    let low = rest
        .strip_prefix("\\u")
        .and_then(four_hex)
        .filter(|low| (0xdc00..0xe000).contains(low));
    match low {
        Some(low) if (0xd800..0xdc00).contains(&high) => {
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            Some((char::from_u32(code), &rest[6..]))
        }
        _ => Some((char::from_u32(high), rest)),
    }
}

fn four_hex(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_becomes_values_or_nothing() {
        let shown = |text: &str| decode(text).map(|v| v.to_string());
        assert_eq!(
            shown(r#" {"b":[1,2.5,"x\u00e9"],"a":{"c":null,"d":true}} "#).as_deref(),
            Some("map[a:map[c:<nil> d:true] b:[1 2.5 xé]]")
        );
        for bad in ["", "{", "[1,]", "01", "1 2", "\"a", "tru", "{\"a\" 1}", "-"] {
            assert!(decode(bad).is_none(), "{bad}");
        }
        assert!(decode(&"[".repeat(100_000)).is_none());
    }
}
