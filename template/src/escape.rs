//! HTML escaping of what actions print: text, quoted attributes, and URLs in attributes.

/// What Go's html/template puts where a URL of an unsafe scheme would have been.
const UNSAFE_URL: &str = "#ZgotmplZ";

/// Attributes whose value is a URL.
const URL_ATTRIBUTES: [&str; 4] = ["href", "src", "action", "background"];

/// Escapes `text` for the place where the output so far, `before`, ends.
pub(crate) fn html_at(before: &str, text: &str) -> String {
    match url_attribute(before) {
        Some(start) if start == before.len() => {
            if has_safe_scheme(text) {
                html(&normalise_url(text))
            } else {
                UNSAFE_URL.to_owned()
            }
        }
        Some(_) => html(&normalise_url(text)),
        None => html(text),
    }
}

/// As Go's html/template escapes text and quoted attributes.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '+' => out.push_str("&#43;"),
            '\0' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// Where the value of the URL attribute that `before` is inside of begins.
fn url_attribute(before: &str) -> Option<usize> {
    let tag = before.rfind('<')?;
    let open = &before[tag..];
    // The last `="` or `='` whose quote is still open.
    let (at, quote) = [("=\"", '"'), ("='", '\'')]
        .iter()
        .filter_map(|(mark, quote)| open.rfind(mark).map(|at| (at, *quote)))
        .max()?;
    let value = at + 2;
    if open[value..].contains(quote) || open[value..].contains('>') {
        return None;
    }
    let name_start = open[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-')? + 1;
    let name = &open[name_start..at];
    URL_ATTRIBUTES
        .iter()
        .any(|u| name.eq_ignore_ascii_case(u))
        .then_some(tag + value)
}

fn has_safe_scheme(url: &str) -> bool {
    match url.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => ["http", "https", "mailto"]
            .iter()
            .any(|s| scheme.trim().eq_ignore_ascii_case(s)),
        _ => true,
    }
}

/// Percent-encodes what may not stand in a URL and keeps what is encoded already.
fn normalise_url(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for b in url.bytes() {
        let keep = b.is_ascii_alphanumeric() || b"-._~!#$&*+,/:;=?@[]%".contains(&b);
        if keep {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_attributes_and_urls_are_escaped_for_their_place() {
        for (before, text, expect) in [
            (
                "<p>",
                "a<b & \"c\" 'd' 1+1",
                "a&lt;b &amp; &#34;c&#34; &#39;d&#39; 1&#43;1",
            ),
            ("<a title=\"", "x\"y", "x&#34;y"),
            ("<a href=\"", "javascript:alert(1)", "#ZgotmplZ"),
            (
                "<a href=\"",
                "https://h/a b?q=\"x\"&r=1",
                "https://h/a%20b?q=%22x%22&amp;r=1",
            ),
            ("<a href=\"https://h/", "javascript:", "javascript:"),
            ("<a href='", "/graph?g0=%7B", "/graph?g0=%7B"),
            ("<a href=\"x\">", "y:z", "y:z"),
        ] {
            assert_eq!(html_at(before, text), expect, "{before}");
        }
    }
}
