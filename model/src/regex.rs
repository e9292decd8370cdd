//! Go's RE2 expressions on Rust's engine: anchored for matchers, dot matches newline,
//! linear time by construction.
//!
//! The syntaxes differ in few places. `\Q…\E`, `\<`, and inside classes `[`, `&&`, `--`, `~~`
//! (literal in Go, operators in Rust) are rewritten; what Go refuses is refused: repeated
//! repetition (`a**`), counts above 1000, its missing flags (`(?x)`), escapes and classes. Octal
//! escapes (`\123`) are enabled in the parser. Messages are those of Go's regexp/syntax.

use std::fmt;
use std::sync::Arc;

use regex_automata::meta;
use regex_automata::util::{captures::Captures, syntax};
use regex_syntax::hir::{Hir, HirKind, Repetition};

/// Longest expression accepted, in bytes.
pub const PATTERN_BYTES_MAX: usize = 16 << 10;
/// Heap one compiled expression may take, in bytes: Go's own limit on program size is of this order.
const PROGRAM_BYTES_MAX: usize = 4 << 20;
/// Lazy-DFA cache of one expression, in bytes; beyond it the engine falls back to slower, still linear, search.
const CACHE_BYTES_MAX: usize = 256 << 10;
/// What [`Regex::expand`] makes at most, in bytes, about: a template may name a long group often.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// Texts of one set that a match must have one of; of more nothing is known.
const ALTERNATIVES_MAX: usize = 32;

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
        let fail = |(message, part): (String, String)| RegexError {
            part: shorten(&part),
            message,
        };
        let whole = |message: String| (message, pattern.to_owned());
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(fail(whole(format!(
                "longer than {PATTERN_BYTES_MAX} bytes"
            ))));
        }
        let translated = translate(pattern).map_err(fail)?;
        // On its own first, so that `a)|(b` cannot close our group.
        regex_syntax::ParserBuilder::new()
            .octal(true)
            .build()
            .parse(&translated)
            .map_err(|e| fail(in_gos_words(&e, pattern)))?;
        let engine = meta::Regex::builder()
            .syntax(syntax::Config::new().octal(true))
            .configure(
                meta::Config::new()
                    .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
                    .hybrid_cache_capacity(CACHE_BYTES_MAX),
            )
            .build(&wrap(&translated))
            .map_err(|e| {
                fail(whole(match e.size_limit() {
                    Some(_) => "expression too large".to_owned(),
                    None => last_line(&e.to_string()),
                }))
            })?;
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
    /// Ends after a megabyte.
    #[must_use]
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let mut caps = self.engine.create_captures();
        self.engine.captures(text, &mut caps);
        caps.is_match().then(|| {
            let mut out = String::new();
            self.expand_into(text, &caps, template, EXPANDED_BYTES_MAX, &mut out);
            out
        })
    }

    /// Go's `ReplaceAllString`: every match replaced by the expanded template.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let replaced = self.replace_all_within(text, template, usize::MAX);
        replaced.unwrap_or_default()
    }

    /// As [`Regex::replace_all`]; `None` when the result has more than `bytes_max` bytes.
    #[must_use]
    pub fn replace_all_within(
        &self,
        text: &str,
        template: &str,
        bytes_max: usize,
    ) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for caps in self.engine.captures_iter(text) {
            let Some(found) = caps.get_match() else {
                continue;
            };
            out.push_str(&text[copied..found.start()]);
            self.expand_into(text, &caps, template, bytes_max, &mut out);
            copied = found.end();
            if out.len() > bytes_max {
                return None;
            }
        }
        out.push_str(&text[copied..]);
        (out.len() <= bytes_max).then_some(out)
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

    /// How many matches there are, none overlapping another.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.engine.find_iter(text).count()
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

    /// For an expression that may match anywhere: one that matches at least where it does, whatever
    /// stands before and behind, and texts of which a match has one each. `None` when every text
    /// matches.
    pub(crate) fn loosened(&self) -> Option<(meta::Regex, Vec<Vec<String>>)> {
        let translated = translate(&self.pattern).ok()?;
        let mut parser = regex_syntax::ParserBuilder::new().octal(true).build();
        let hir = without_looks(&parser.parse(&translated).ok()?);
        if hir.properties().minimum_len().is_none_or(|len| len == 0) {
            return None;
        }
        let mut texts = Vec::new();
        required_texts(&hir, &mut texts);
        let limits = meta::Config::new()
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(CACHE_BYTES_MAX);
        let engine = meta::Regex::builder()
            .configure(limits)
            .build_from_hir(&hir);
        Some((engine.ok()?, texts))
    }

    /// Ends early once `out` has more than `bytes_max` bytes.
    /// Source: Go regexp.expand and extract.
    fn expand_into(
        &self,
        text: &str,
        caps: &Captures,
        template: &str,
        bytes_max: usize,
        out: &mut String,
    ) {
        let mut rest = template;
        while let Some(dollar) = rest.find('$')
            && out.len() <= bytes_max
        {
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
        if out.len() <= bytes_max {
            out.push_str(rest);
        }
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.pattern)
    }
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}: `{part}`")]
pub struct RegexError {
    /// The piece that is wrong, as Go cuts it.
    part: String,
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

/// The expression without `^`, `$`, `\b` and their like, and without groups: it matches wherever the
/// original does.
fn without_looks(hir: &Hir) -> Hir {
    let each = |all: &[Hir]| all.iter().map(without_looks).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Capture(group) => without_looks(&group.sub),
        HirKind::Concat(all) => Hir::concat(each(all)),
        HirKind::Alternation(all) => Hir::alternation(each(all)),
        HirKind::Repetition(r) => Hir::repetition(Repetition {
            sub: Box::new(without_looks(&r.sub)),
            ..r.clone()
        }),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}

/// Adds what each match has: one text of each set.
fn required_texts(hir: &Hir, out: &mut Vec<Vec<String>>) {
    match hir.kind() {
        HirKind::Literal(literal) => {
            if let Ok(text) = std::str::from_utf8(&literal.0) {
                out.push(vec![text.to_owned()]);
            }
        }
        HirKind::Concat(all) => all.iter().for_each(|h| required_texts(h, out)),
        HirKind::Repetition(r) if r.min > 0 => required_texts(&r.sub, out),
        HirKind::Capture(group) => required_texts(&group.sub, out),
        HirKind::Alternation(all) => {
            let mut texts = Vec::new();
            for branch in all {
                let mut own = Vec::new();
                required_texts(branch, &mut own);
                // The best of a branch: its shortest text is the longest.
                let shortest = |set: &Vec<String>| set.iter().map(String::len).min();
                let Some(best) = own.into_iter().max_by_key(shortest) else {
                    return;
                };
                texts.extend(best);
            }
            if texts.len() <= ALTERNATIVES_MAX {
                out.push(texts);
            }
        }
        _ => {}
    }
}

/// What is wrong and with which piece.
type Refusal = (String, String);

fn refuse<T>(message: &str, part: &str) -> Result<T, Refusal> {
    Err((message.to_owned(), part.to_owned()))
}

const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_CLASS: &str = "invalid character class range";
const BAD_REPEAT: &str = "invalid repeat count";
const NESTED_REPEAT: &str = "invalid nested repetition operator";
/// Most repetitions Go allows in a count.
const REPEAT_MAX: u32 = 1000;

/// From Go's syntax to Rust's.
fn translate(pattern: &str) -> Result<String, Refusal> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut class_depth_start: Option<usize> = None; // where the open class began in `out`
    let mut repeated: Option<&str> = None; // where the repetition before this token began
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
            '\\' => {
                taken = escape_len(rest)?;
                // Rust reads these two as the ends of words.
                let skipped = usize::from(matches!(&rest[..taken], "\\<" | "\\>"));
                out.push_str(&rest[skipped..taken]);
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
                const NAMES: [&str; 14] = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower",
                    "print", "punct", "space", "upper", "word", "xdigit",
                ];
                let name = rest[2..end].trim_end_matches(":]").trim_start_matches('^');
                if !NAMES.contains(&name) {
                    return refuse(BAD_CLASS, &rest[..end]);
                }
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
                if let Some(before) = repeated {
                    let len = before.len() - rest.len() + 1;
                    return refuse(NESTED_REPEAT, &before[..len]);
                }
                // `a*?` is lazy; a further operator after it is nested.
                is_repetition = true;
                out.push(c);
                if rest[1..].starts_with('?') {
                    out.push('?');
                    taken += 1;
                }
            }
            '{' if class_depth_start.is_none() => {
                // Go takes `{` literally unless it is a well-formed counter.
                match counter_len(rest) {
                    Some(len) => {
                        if let Some(before) = repeated {
                            let len = before.len() - rest.len() + len;
                            return refuse(NESTED_REPEAT, &before[..len]);
                        }
                        let (low, high) = rest[1..len - 1].split_once(',').unwrap_or(("", ""));
                        let counts = [low, high, &rest[1..len - 1]].map(str::parse::<u64>);
                        let over = |n: &u64| *n > u64::from(REPEAT_MAX);
                        let falling = matches!(&counts, [Ok(low), Ok(high), _] if low > high);
                        let long = |digits: &str| digits.len() > 4;
                        if falling
                            || counts.iter().flatten().any(over)
                            || rest[1..len - 1].split(',').any(long)
                        {
                            return refuse(BAD_REPEAT, &rest[..len]);
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
        if c == '(' && class_depth_start.is_none() && rest[1..].starts_with('?') {
            flags(rest)?;
            out.push('?');
            taken += 1;
        }
        repeated = is_repetition.then_some(rest);
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

/// The length of the escape at the start of `text`, which Go must know.
fn escape_len(text: &str) -> Result<usize, Refusal> {
    let Some(c) = text[1..].chars().next() else {
        return refuse("trailing backslash at end of expression", "");
    };
    let simple = 1 + c.len_utf8();
    let after = &text[simple..];
    let known = match c {
        'x' | 'p' | 'P' if after.starts_with('{') => match after.find('}') {
            Some(end) => return Ok(simple + end + 1),
            None => false,
        },
        // A single digit would be a back-reference.
        '1'..='7' => after.starts_with(|d: char| matches!(d, '0'..='7')),
        'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'A' | 'b' | 'B'
        | 'z' | 'x' | 'p' | 'P' | '0' => true,
        c => c.is_ascii() && !c.is_ascii_alphanumeric(),
    };
    if known {
        Ok(simple)
    } else {
        refuse(BAD_ESCAPE, &text[..simple])
    }
}

/// Refuses `(?…` unless it names a group or sets flags Go has.
fn flags(text: &str) -> Result<(), Refusal> {
    let body = &text[2..];
    if body.starts_with('<') || body.starts_with("P<") {
        return match body.contains('>') {
            true => Ok(()),
            false => refuse("invalid named capture", text),
        };
    }
    let end = body
        .find(|c: char| !matches!(c, 'i' | 'm' | 's' | 'U' | '-'))
        .unwrap_or(body.len());
    match body[end..].chars().next() {
        Some(':' | ')') => Ok(()),
        Some(c) => {
            let part = &text[..2 + end + c.len_utf8()];
            refuse("invalid or unsupported Perl syntax", part)
        }
        None => refuse("missing closing )", text),
    }
}

/// A refusal of Rust's parser as Go would put it.
fn in_gos_words(error: &regex_syntax::Error, pattern: &str) -> Refusal {
    use regex_syntax::ast::ErrorKind as Ast;
    use regex_syntax::hir::ErrorKind as Hir;
    let (message, span, text) = match error {
        regex_syntax::Error::Parse(e) => {
            let message = match e.kind() {
                Ast::GroupUnclosed => return ("missing closing )".to_owned(), pattern.to_owned()),
                Ast::GroupUnopened => return ("unexpected )".to_owned(), pattern.to_owned()),
                Ast::ClassUnclosed => {
                    let part = &e.pattern()[e.span().start.offset..];
                    return ("missing closing ]".to_owned(), part.to_owned());
                }
                Ast::RepetitionMissing => {
                    // The place is all it tells; the operator begins there.
                    let operator = &e.pattern()[e.span().start.offset..];
                    let len = match operator.as_bytes() {
                        [b'{', ..] => operator.find('}').map_or(1, |i| i + 1),
                        [_, b'?', ..] => 2,
                        _ => 1,
                    };
                    let part = operator.get(..len).unwrap_or(operator);
                    let message = "missing argument to repetition operator";
                    return (message.to_owned(), part.to_owned());
                }
                Ast::ClassRangeInvalid | Ast::ClassRangeLiteral => BAD_CLASS,
                Ast::EscapeHexEmpty
                | Ast::EscapeHexInvalid
                | Ast::EscapeHexInvalidDigit
                | Ast::EscapeUnexpectedEof
                | Ast::EscapeUnrecognized => BAD_ESCAPE,
                Ast::GroupNameDuplicate { .. }
                | Ast::GroupNameEmpty
                | Ast::GroupNameInvalid
                | Ast::GroupNameUnexpectedEof => "invalid named capture",
                Ast::NestLimitExceeded(_) => "expression nests too deeply",
                _ => return (last_line(&error.to_string()), pattern.to_owned()),
            };
            (message, e.span(), e.pattern())
        }
        regex_syntax::Error::Translate(e) => match e.kind() {
            Hir::UnicodePropertyNotFound | Hir::UnicodePropertyValueNotFound => {
                (BAD_CLASS, e.span(), e.pattern())
            }
            _ => return (last_line(&error.to_string()), pattern.to_owned()),
        },
        _ => return (last_line(&error.to_string()), pattern.to_owned()),
    };
    let part = text.get(span.start.offset..span.end.offset);
    (message.to_owned(), part.unwrap_or(pattern).to_owned())
}

fn last_line(message: &str) -> String {
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
    fn go_has_no_more_than_its_own_escapes_flags_and_classes() {
        matches(r"\<a\>", "<a>", true);
        matches(r"\x{41}\p{Greek}+", "A\u{3b1}\u{3b2}", true);
        matches(r"\b{start}", "{start}", false);
        matches(r"a{1000}", &"a".repeat(1000), true);
        for (pattern, expect) in [
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\u0041", r"invalid escape sequence: `\u`"),
            (r"a\Cb", r"invalid escape sequence: `\C`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("(?x)a b", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("x[z-a]", "invalid character class range: `z-a`"),
            (r"\pX", r"invalid character class range: `\pX`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            (
                "a{99999999999999999999}",
                "invalid repeat count: `{99999999999999999999}`",
            ),
            ("a**b", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("a(b", "missing closing ): `a(b`"),
            ("a)b", "unexpected ): `a)b`"),
            ("a[b", "missing closing ]: `[b`"),
            (
                "((a{1000}){1000}){1000}",
                "expression too large: `((a{1000}){1000}){1000}`",
            ),
        ] {
            let error = Regex::anchored(pattern).unwrap_err().to_string();
            assert_eq!(error, format!("error parsing regexp: {expect}"));
        }
    }

    #[test]
    fn what_is_made_is_bounded() {
        let r = Regex::anchored("(.*)").unwrap();
        let text = "x".repeat(4 << 10);
        let made = r.expand(&text, &"$1".repeat(8 << 10)).unwrap();
        assert!(made.len() <= EXPANDED_BYTES_MAX + text.len());
        let r = Regex::unanchored("x").unwrap();
        assert_eq!(
            r.replace_all_within("xxx", "ab", 6).as_deref(),
            Some("ababab")
        );
        assert_eq!(r.replace_all_within("xxx", "ab", 5), None);
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
