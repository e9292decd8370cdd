//! Go's RE2 expressions on Rust's engine: anchored for matchers, dot matches newline,
//! linear time by construction.
//!
//! The syntaxes differ in few places. `\Q…\E`, `\C`, and inside classes `[`, `&&`, `--`, `~~`
//! (literal in Go, operators in Rust) are rewritten; repeated repetition (`a**`), which Go
//! refuses, is refused. Octal escapes (`\123`) are enabled in the parser.

use std::fmt;
use std::sync::Arc;

use regex_automata::meta;
use regex_automata::util::{captures::Captures, syntax};

/// Longest expression accepted, in bytes.
pub const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Heap one compiled expression may take, in bytes: Go's own limit on program size is of this order.
const PROGRAM_BYTES_MAX: usize = 4 << 20;
/// Lazy-DFA cache of one expression, in bytes; beyond it the engine falls back to slower, still linear, search.
const CACHE_BYTES_MAX: usize = 256 << 10;

/// A compiled expression. Cloning shares the program.
#[derive(Clone)]
pub struct Regex {
    pattern: Arc<str>,
    engine: meta::Regex,
}

impl Regex {
    /// Compiles `pattern` so that it must match the whole text: `^(?s:pattern)$`, as PromQL does.
    ///
    /// # Errors
    /// When the expression is not valid RE2 or too large.
    pub fn anchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, |p| format!("^(?s:{p})$"))
    }

    /// Compiles `pattern` to match anywhere, dot excluding newline, as Go's `regexp.Compile` does.
    ///
    /// # Errors
    /// As [`Regex::anchored`].
    pub fn unanchored(pattern: &str) -> Result<Self, RegexError> {
        Self::compile(pattern, str::to_owned)
    }

    fn compile(pattern: &str, wrap: impl Fn(&str) -> String) -> Result<Self, RegexError> {
        let fail = |message: String| RegexError {
            pattern: shorten(pattern),
            message,
        };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(fail(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let translated = translate(pattern).map_err(fail)?;
        // On its own first, so that `a)|(b` cannot close our group.
        regex_syntax::ParserBuilder::new()
            .octal(true)
            .build()
            .parse(&translated)
            .map_err(|e| fail(first_line(&e.to_string())))?;
        let engine = meta::Regex::builder()
            .syntax(syntax::Config::new().octal(true))
            .configure(
                meta::Config::new()
                    .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
                    .hybrid_cache_capacity(CACHE_BYTES_MAX),
            )
            .build(&wrap(&translated))
            .map_err(|e| fail(first_line(&e.to_string())))?;
        Ok(Regex {
            pattern: Arc::from(pattern),
            engine,
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the expression matches `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.engine.is_match(text)
    }

    /// If `text` matches, `template` with `$1`, `${1}` and `${name}` filled in by Go's
    /// `Regexp.Expand` rules (`$1x` means the group named `1x`; unknown groups are empty).
    #[must_use]
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let mut caps = self.engine.create_captures();
        self.engine.captures(text, &mut caps);
        caps.is_match().then(|| {
            let mut out = String::new();
            self.expand_into(text, &caps, template, &mut out);
            out
        })
    }

    /// Go's `ReplaceAllString`: every match replaced by the expanded template.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for caps in self.engine.captures_iter(text) {
            let Some(found) = caps.get_match() else {
                continue;
            };
            out.push_str(&text[copied..found.start()]);
            self.expand_into(text, &caps, template, &mut out);
            copied = found.end();
        }
        out.push_str(&text[copied..]);
        out
    }

    /// The text of each group of the first match (group 0 is the whole), `None` where a group took no part.
    #[must_use]
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        let mut caps = self.engine.create_captures();
        self.engine.captures(text, &mut caps);
        caps.is_match().then(|| {
            caps.iter()
                .map(|span| span.map(|s| &text[s.range()]))
                .collect()
        })
    }

    /// Names of the groups, `None` for unnamed ones, group 0 first.
    #[must_use]
    pub fn group_names(&self) -> Vec<Option<String>> {
        self.engine
            .group_info()
            .pattern_names(regex_automata::PatternID::ZERO)
            .map(|n| n.map(str::to_owned))
            .collect()
    }

    /// Source: Go regexp.expand and extract.
    fn expand_into(&self, text: &str, caps: &Captures, template: &str, out: &mut String) {
        let mut rest = template;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if rest[1..].starts_with('$') {
                out.push('$');
                rest = &rest[2..];
                continue;
            }
            let Some((name, used)) = group_reference(&rest[1..]) else {
                out.push('$');
                rest = &rest[1..];
                continue;
            };
            rest = &rest[1 + used..];
            let span = match name.parse::<usize>() {
                Ok(index) => caps.get_group(index),
                Err(_) => caps.get_group_by_name(name),
            };
            if let Some(span) = span {
                out.push_str(&text[span.range()]);
            }
        }
        out.push_str(rest);
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.pattern)
    }
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}: `{pattern}`")]
pub struct RegexError {
    pattern: String,
    message: String,
}

/// `1`, `name`, `{1}` or `{name}` after a dollar, and how many bytes it took.
fn group_reference(text: &str) -> Option<(&str, usize)> {
    let word = |t: &str| {
        t.find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(t.len())
    };
    if let Some(braced) = text.strip_prefix('{') {
        let len = word(braced);
        return (len > 0 && braced[len..].starts_with('}')).then(|| (&braced[..len], len + 2));
    }
    let len = word(text);
    (len > 0).then(|| (&text[..len], len))
}

/// From Go's syntax to Rust's.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut class_depth_start: Option<usize> = None; // where the open class began in `out`
    let mut repeated = false; // the last token was a repetition
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        let mut is_repetition = false;
        match c {
            '\\' if rest.starts_with("\\Q") && class_depth_start.is_none() => {
                let body = &rest[2..];
                let (literal, used) = body
                    .split_once("\\E")
                    .map_or((body, body.len()), |(l, _)| (l, l.len() + 2));
                regex_syntax::escape_into(literal, &mut out);
                taken = 2 + used;
            }
            '\\' if rest.starts_with("\\C") && class_depth_start.is_none() => {
                out.push_str("(?s:.)");
                taken = 2;
            }
            '\\' => {
                let next = rest[1..]
                    .chars()
                    .next()
                    .ok_or("trailing backslash at end of expression")?;
                taken = 1 + next.len_utf8();
                out.push_str(&rest[..taken]);
            }
            '[' if class_depth_start.is_none() => {
                out.push('[');
                class_depth_start = Some(out.len());
                // A `]` in first place is a literal in both, after `^` too.
                let after = &rest[1..];
                let first = after.strip_prefix('^').unwrap_or(after);
                taken += after.len() - first.len();
                out.push_str(&after[..after.len() - first.len()]);
                if first.starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |i| i + 2);
                out.push_str(&rest[..end]);
                taken = end;
            }
            '[' => out.push_str("\\["),
            ']' if class_depth_start.is_some() => {
                out.push(']');
                class_depth_start = None;
            }
            '&' | '~' if class_depth_start.is_some() => {
                out.push('\\');
                out.push(c);
            }
            '-' if class_depth_start.is_some() && rest.starts_with("--") => out.push_str("\\-"),
            '*' | '+' | '?' if class_depth_start.is_none() => {
                let lazy_mark = c == '?' && repeated && out.ends_with(['*', '+', '?', '}']);
                if repeated && !lazy_mark {
                    return Err("invalid nested repetition operator".to_owned());
                }
                // `a*?` is lazy; a further operator after it is nested.
                is_repetition = true;
                out.push(c);
                if !lazy_mark && rest[1..].starts_with('?') {
                    out.push('?');
                    taken += 1;
                }
            }
            '{' if class_depth_start.is_none() => {
                // Go takes `{` literally unless it is a well-formed counter.
                match counter_len(rest) {
                    Some(len) => {
                        if repeated {
                            return Err("invalid nested repetition operator".to_owned());
                        }
                        is_repetition = true;
                        out.push_str(&rest[..len]);
                        taken = len;
                        if rest[len..].starts_with('?') {
                            out.push('?');
                            taken += 1;
                        }
                    }
                    None => out.push_str("\\{"),
                }
            }
            '}' if class_depth_start.is_none() => out.push_str("\\}"),
            _ => out.push(c),
        }
        // `(?` opens a group: the `?` is no repetition.
        if c == '(' && rest[1..].starts_with('?') {
            out.push('?');
            taken += 1;
        }
        repeated = is_repetition;
        rest = &rest[taken..];
    }
    Ok(out)
}

/// The length of `{n}`, `{n,}` or `{n,m}` at the start of `text`.
fn counter_len(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let body = &text[1..end];
    let (low, high) = body.split_once(',').unwrap_or((body, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(end + 1)
}

fn first_line(message: &str) -> String {
    // regex-syntax prints the expression with a caret first and `error: …` last.
    let last = message.lines().last().unwrap_or(message);
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn shorten(pattern: &str) -> String {
    match pattern.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &pattern[..at]),
        None => pattern.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn matches(pattern: &str, text: &str, expect: bool) {
        assert_eq!(
            Regex::anchored(pattern).unwrap().is_match(text),
            expect,
            "{pattern} on {text:?}"
        );
    }

    #[test]
    fn go_only_syntax_is_understood() {
        matches(r"\Qa.b\E+", "a.bb", true);
        matches(r"\Qa.b\E", "axb", false);
        matches(r"a\Cb", "a\nb", true);
        matches(r"\141", "a", true);
        matches("[[]", "[", true);
        matches("[a&&b]+", "a&b", true);
        matches("[]a]+", "]a", true);
        matches("[[:alpha:]_]+", "ab_", true);
        matches("a{,2}", "a{,2}", true);
        matches("a{1,2}", "aa", true);
        matches("a*?b", "aab", true);
        matches("(?i)ABC", "abc", true);
        matches("(?P<x>a)", "a", true);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bad in [
            "a**", "a(", "a)|(b", "[z-a]", "\\", "(?<", "a{2}{3}", "*", "a++",
        ] {
            assert!(Regex::anchored(bad).is_err(), "{bad} was accepted");
        }
        assert!(Regex::anchored("(((a{1000}){1000}){1000})").is_err());
    }

    #[test]
    fn templates_expand_by_gos_rules() {
        let r = Regex::anchored("(.*)-(?P<n>.*)").unwrap();
        assert_eq!(
            r.expand("a-b", "$1:${n}:$$:${9}:$n").as_deref(),
            Some("a:b:$::b")
        );
        assert_eq!(r.expand("a-b", "$1x${1}x").as_deref(), Some("ax"));
        assert_eq!(r.expand("ab", "$1"), None);
        assert_eq!(
            Regex::unanchored("a(.)")
                .unwrap()
                .replace_all("abac", "<$1>"),
            "<b><c>"
        );
    }
}
