//! Cookies: what they are called stays, because it tells applications apart; their values go.
//! `Cookie: a=1; b=2`, `Set-Cookie: sid=1; Path=/`, and the same as keys of JSON and logfmt.

use std::ops::Range;

use super::secret;
use crate::action::Marks;
use crate::trigger::Trigger;

/// What `Set-Cookie` says about a cookie (RFC 6265 and its successors).
const ATTRIBUTES: [&[u8]; 9] = [
    b"path",
    b"domain",
    b"expires",
    b"max-age",
    b"samesite",
    b"secure",
    b"httponly",
    b"priority",
    b"partitioned",
];

pub(super) fn triggers() -> Vec<Trigger> {
    vec![Trigger::word("cookie")]
}

pub(super) fn locate(
    text: &[u8],
    keys: &secret::Keys,
    trigger: Range<usize>,
    marks: &Marks,
    found: &mut dyn FnMut(Range<usize>),
) {
    let Some(value) = keys.value(text, trigger, marks) else {
        return;
    };
    let mut from = value.start;
    for at in value.clone().chain([value.end]) {
        if at == value.end || b";\"'".contains(&text[at]) {
            if let Some(range) = value_in(text, from..at, marks) {
                found(range);
            }
            from = at + 1;
        }
    }
}

/// The value of one cookie.
fn value_in(text: &[u8], pair: Range<usize>, marks: &Marks) -> Option<Range<usize>> {
    let part = &text[pair.clone()];
    let blanks = part.len() - part.trim_ascii_start().len();
    let equals = memchr::memchr(b'=', part);
    let name = part[..equals.unwrap_or(part.len())]
        .trim_ascii()
        .to_ascii_lowercase();
    if ATTRIBUTES.contains(&name.as_slice()) {
        return None;
    }
    let start = pair.start + equals.map_or(blanks, |at| at + 1);
    // A backslash before a closing quote is the line's.
    let end = pair.start + part.trim_ascii_end().len();
    let slashes = crate::text::backslashes_before(&text[start.min(end)..end]);
    let value = start..end - slashes.min(end.saturating_sub(start));
    let bytes = text.get(value.clone())?;
    let says_something = bytes
        .iter()
        .any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    (says_something && !marks.is_mark(bytes) && !secret::is_nothing(bytes)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::{check, keeps};

    #[test]
    fn names_stay() {
        check("Cookie: a=b1; c=d2", "Cookie: a=<cookie>; c=<cookie>");
        check(
            "set-cookie: sid=abc; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            "set-cookie: sid=<cookie>; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        );
        check(
            "cookie=sid=abc status=200",
            "cookie=sid=<cookie> status=200",
        );
        check(
            r#"{"cookie":["a=b1","c=d2"],"x":[1]}"#,
            r#"{"cookie":["a=<cookie>","c=<cookie>"],"x":[1]}"#,
        );
        check(
            r#"{"cookie":"a=b1; c=d2"}"#,
            r#"{"cookie":"a=<cookie>; c=<cookie>"}"#,
        );
        check(
            r#"{"h":"{\"Cookie\":\"a=b1; c=d2\"}"}"#,
            r#"{"h":"{\"Cookie\":\"a=<cookie>; c=<cookie>\"}"}"#,
        );
        check("-H 'Cookie: sid=abc' x", "-H 'Cookie: sid=<cookie>' x");
        check("Cookie: abc1", "Cookie: <cookie>");
        check(
            r#"Cookie: a="q1"; b=c=d"#,
            r#"Cookie: a="<cookie>"; b=<cookie>"#,
        );
        check(
            r#"-H "Cookie: a=" -H "X: y""#,
            r#"-H "Cookie: a=" -H "X: y""#,
        );
    }

    #[test]
    fn what_says_nothing() {
        keeps("Cookie: a=; b=<cookie>; c=");
        keeps("cookie_name=sid cookies enabled");
        keeps(r#"{"cookie":[],"cookies":{}}"#);
    }
}
