//! `{service_name="web"} |= "error" != "health"`: a stream selector and line filters.

use model::{Matcher, Regex};

/// A log query as far as this version understands LogQL.
#[derive(Clone, Debug)]
pub(super) struct LogQuery {
    pub(super) matchers: Vec<Matcher>,
    filters: Vec<LineFilter>,
}

#[derive(Clone, Debug)]
struct LineFilter {
    keep_when_found: bool,
    pattern: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    Text(String),
    Regex(Regex),
}

impl LogQuery {
    /// Reads a query.
    ///
    /// # Errors
    /// The sentence for the client: what is wrong, or that this part of LogQL is to come.
    pub(super) fn parse(text: &str) -> Result<LogQuery, String> {
        let text = text.trim();
        if !text.starts_with('{') {
            return Err(
                "this version reads log lines: a stream selector like {service_name=\"web\"} with line filters; LogQL metric queries are not supported yet"
                    .to_owned(),
            );
        }
        let close =
            selector_end(text).ok_or("parse error: the stream selector has no closing }")?;
        let (selector, mut rest) = text.split_at(close);
        let matchers = query::parse_matchers(selector).map_err(|e| e.to_string())?;
        let mut filters = Vec::new();
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                break;
            }
            let (keep_when_found, is_regex) = match rest.get(..2) {
                Some("|=") => (true, false),
                Some("!=") => (false, false),
                Some("|~") => (true, true),
                Some("!~") => (false, true),
                _ => {
                    return Err(format!(
                        "only the line filters |= != |~ !~ are supported yet after the stream selector, found: {rest}"
                    ));
                }
            };
            let (wanted, after) = quoted(rest[2..].trim_start())?;
            rest = after;
            let pattern = if is_regex {
                Pattern::Regex(Regex::unanchored(&wanted).map_err(|e| e.to_string())?)
            } else {
                Pattern::Text(wanted)
            };
            filters.push(LineFilter {
                keep_when_found,
                pattern,
            });
        }
        Ok(LogQuery { matchers, filters })
    }

    /// Whether the filters let a line pass.
    pub(super) fn keeps(&self, line: &str) -> bool {
        self.filters.iter().all(|filter| {
            let found = match &filter.pattern {
                Pattern::Text(text) => line.contains(text.as_str()),
                Pattern::Regex(regex) => regex.is_match(line),
            };
            found == filter.keep_when_found
        })
    }
}

/// The byte after the `}` that closes the selector; braces inside strings do not count.
fn selector_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'' | '`') => quote = Some(c),
            None if c == '}' => return Some(i + 1),
            None => {}
        }
    }
    None
}

/// The string at the start of `text`, unescaped, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let expected = || format!("parse error: expected a quoted string, found: {text}");
    let quote = text
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '`'))
        .ok_or_else(expected)?;
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Ok((out, &text[i + 1..]));
        }
        if c != '\\' || quote == '`' {
            out.push(c);
            continue;
        }
        match chars.next().map(|(_, c)| c) {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(c @ ('\\' | '"')) => out.push(c),
            other => {
                return Err(format!(
                    "parse error: unknown escape \\{} in a string (write \\\\ for a backslash, or use backquotes)",
                    other.unwrap_or(' ')
                ));
            }
        }
    }
    Err("parse error: a string is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn keeps(query: &str, line: &str, expect: bool) {
        let parsed = LogQuery::parse(query).unwrap();
        assert_eq!(parsed.keeps(line), expect, "{query} on {line}");
    }

    #[test]
    fn filters_apply_one_after_the_other() {
        keeps(r#"{a="b"}"#, "anything", true);
        keeps(r#"{a="b"} |= "err" != "health""#, "err in x", true);
        keeps(r#"{a="b"} |= "err" != "health""#, "err in health", false);
        keeps(r#"{a="b"}|~`\d+ms`"#, "took 12ms", true);
        keeps(r#"{a="b"} !~ "(?i)ERROR""#, "an error", false);
        keeps(r#"{a="}"} |= "a\"b""#, "a\"b", true);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (query, expect) in [
            (
                "rate({a=\"b\"}[5m])",
                "LogQL metric queries are not supported yet",
            ),
            ("{a=\"b\"} | json", "only the line filters"),
            ("{a=~\".*\"}", "at least one non-empty matcher"),
            ("{a=\"b\"} |= err", "expected a quoted string"),
            ("{a=\"b\"", "no closing }"),
        ] {
            let error = LogQuery::parse(query).unwrap_err();
            assert!(error.contains(expect), "{query}: {error}");
        }
    }
}
