//! URLs as they are shown: in the API, in logs, in labels.

use std::borrow::Cow;

/// What stands for a value.
const MASK: &str = "<secret>";

/// Names of query parameters that hold secrets, in lower case and without `-`, `_` and `.`.
const NAMES: [&str; 9] = [
    "auth",
    "authorization",
    "code",
    "jwt",
    "otp",
    "pass",
    "pw",
    "pwd",
    "sig",
];
/// Parts of such names.
const PARTS: [&str; 7] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "signature",
    "credential",
];

/// The URL with `<secret>` for the values of query parameters that are named like a secret. What is
/// no URL is searched for `?` all the same.
pub(crate) fn masked(url: &str) -> Cow<'_, str> {
    let Some((before, rest)) = url.split_once('?') else {
        return Cow::Borrowed(url);
    };
    let (query, fragment) = match rest.find('#') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let pairs: Vec<Cow<'_, str>> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !value.is_empty() && is_secret(name) => {
                Cow::Owned(format!("{name}={MASK}"))
            }
            _ => Cow::Borrowed(pair),
        })
        .collect();
    match pairs.iter().any(|pair| matches!(pair, Cow::Owned(_))) {
        true => Cow::Owned(format!("{before}?{}{fragment}", pairs.join("&"))),
        false => Cow::Borrowed(url),
    }
}

/// A label of a target as it is shown before relabelling: `__param_token` is a query parameter, and
/// a path may have a query.
pub(crate) fn masked_label<'v>(name: &str, value: &'v str) -> Cow<'v, str> {
    match name.strip_prefix("__param_") {
        Some(parameter) if !value.is_empty() && is_secret(parameter) => Cow::Borrowed(MASK),
        _ => masked(value),
    }
}

/// Whether a query parameter of this name, as written, holds a secret.
fn is_secret(name: &str) -> bool {
    let encoded = name.contains('%').then(|| {
        let pair = format!("{name}=");
        reqwest::Url::parse(&format!("x:?{pair}"))
            .ok()
            .and_then(|url| {
                let (name, _) = url.query_pairs().next()?;
                Some(name.into_owned())
            })
    });
    let name = encoded.flatten().unwrap_or_else(|| name.to_owned());
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | '.'))
        .flat_map(char::to_lowercase)
        .collect();
    NAMES.contains(&plain.as_str())
        || plain.ends_with("key")
        || plain.ends_with("auth")
        || PARTS.iter().any(|part| plain.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_named_like_a_secret_are_masked_and_others_are_not() {
        for (url, expect) in [
            ("http://h/m?token=abc&x=1", "http://h/m?token=<secret>&x=1"),
            (
                "http://h/m?x=1&API_Key=a=b#f",
                "http://h/m?x=1&API_Key=<secret>#f",
            ),
            ("http://h/m?apikey=a", "http://h/m?apikey=<secret>"),
            (
                "http://h/m?key=a&code=b",
                "http://h/m?key=<secret>&code=<secret>",
            ),
            ("h?X-Amz-Signature=a", "h?X-Amz-Signature=<secret>"),
            (
                "h?access_token=a&pwd=b",
                "h?access_token=<secret>&pwd=<secret>",
            ),
            ("h?%74oken=a", "h?%74oken=<secret>"),
            (
                "h?sig=a&authorization=b",
                "h?sig=<secret>&authorization=<secret>",
            ),
            ("h?token=&key", "h?token=&key"),
            (
                "h?target=a&module=b&keyboard=c",
                "h?target=a&module=b&keyboard=c",
            ),
            ("http://h/token=abc", "http://h/token=abc"),
        ] {
            assert_eq!(masked(url), expect);
        }
        assert_eq!(masked_label("__param_token", "abc"), MASK);
        assert_eq!(masked_label("__param_target", "abc"), "abc");
        assert_eq!(
            masked_label("__metrics_path__", "/m?key=abc"),
            "/m?key=<secret>"
        );
    }
}
