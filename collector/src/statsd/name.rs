//! Names of StatsD as names of Prometheus.

use std::borrow::Cow;

/// Letters, digits and underscores stay, everything else becomes `_`, dashes in a row a single one;
/// a digit in front gets `_` before it. As statsd_exporter does for metrics and tags alike.
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
    if !digit_first && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 1);
    if digit_first {
        out.push('_');
    }
    let mut before = ' ';
    for c in name.chars() {
        if plain(c) {
            out.push(c);
        } else if (before, c) != ('-', '-') {
            out.push('_');
        }
        before = c;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_by_statsd_exporter() {
        let check = |name: &str, expect: &str| assert_eq!(escape(name), expect, "{name}");
        check("", "");
        check("plain_Name9", "plain_Name9");
        check("test.web-server.foo", "test_web_server_foo");
        check("a--b---c", "a_b_c");
        check("a.-b", "a__b");
        check("2xx", "_2xx");
        check("ü-ß", "___");
        check("a:b", "a_b");
    }
}
