//! Text to tokens, by the rules of Go's text/scanner with Loki's additions: durations, sizes and
//! ranges are single tokens, function names are words unless a parenthesis follows.

use super::ast::Span;
use super::error::ParseError;
use super::units;
use crate::promql::quote;

/// A token with its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    End,
    Identifier(String),
    String(String),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// `[5m]`, nanoseconds.
    Range(i64),
    /// `--strict`
    Flag(String),
    /// A name that is followed by a parenthesis, in lower case.
    Function(&'static str),
    /// A keyword in lower case, or punctuation.
    Symbol(&'static str),
    /// What could not be read.
    Wrong(String),
}

const FUNCTIONS: [&str; 33] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_rate",
    "bytes_over_time",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "stdvar_over_time",
    "stddev_over_time",
    "quantile_over_time",
    "first_over_time",
    "last_over_time",
    "absent_over_time",
    "vector",
    "sum",
    "avg",
    "max",
    "min",
    "count",
    "stddev",
    "stdvar",
    "bottomk",
    "topk",
    "approx_topk",
    "sort",
    "sort_desc",
    "label_replace",
    "bytes",
    "duration",
    "duration_seconds",
    "ip",
];

const SYMBOLS: [&str; 49] = [
    "==",
    "!=",
    "=~",
    "!~",
    "!>",
    "|=",
    "|~",
    "|>",
    ">=",
    "<=",
    ",",
    ".",
    "{",
    "}",
    "=",
    "|",
    "(",
    ")",
    "]",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    ">",
    "<",
    "unwrap",
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "decolorize",
    "drop",
    "keep",
];

impl Kind {
    /// The token's name in errors.
    pub(super) fn name(&self) -> String {
        match self {
            Kind::End => "$end".to_owned(),
            Kind::Identifier(_) => "IDENTIFIER".to_owned(),
            Kind::String(_) => "STRING".to_owned(),
            Kind::Number(_) => "NUMBER".to_owned(),
            Kind::Duration(_) => "DURATION".to_owned(),
            Kind::Bytes(_) => "BYTES".to_owned(),
            Kind::Range(_) => "RANGE".to_owned(),
            Kind::Flag(_) => "PARSER_FLAG".to_owned(),
            Kind::Function("ip") => "ip".to_owned(),
            Kind::Function("label_replace") => "label_replace".to_owned(),
            Kind::Function(conversion @ ("bytes" | "duration" | "duration_seconds")) => {
                format!("{}_CONV", conversion.to_uppercase())
            }
            Kind::Function(name) => name.to_uppercase(),
            Kind::Symbol(text) => (*text).to_owned(),
            Kind::Wrong(why) => why.clone(),
        }
    }
}

/// Characters of a duration or a size after its first number.
const UNITS_CHARS_MAX: usize = 64;

/// All tokens, the last of which is [`Kind::End`] or [`Kind::Wrong`].
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        line_start: 0,
        counted: (0, 0),
    };
    let mut out = Vec::new();
    loop {
        let token = lexer.next();
        let last = matches!(token.kind, Kind::End | Kind::Wrong(_));
        out.push(token);
        if last {
            return out;
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
    /// How many characters of the line lie before a byte of it.
    counted: (usize, usize),
}

/// What was read, and whether Loki forgets the line by then: it does for tokens it reads beyond
/// what the scanner gave.
struct Read {
    kind: Kind,
    forgets_line: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Token {
        let unclosed = self.skip();
        let (start, line) = (self.at, self.line);
        let column = 1 + self.characters_before(start);
        let read = match unclosed {
            Some(why) => wrong(why),
            None => self.read(),
        };
        // Strings in backquotes and ranges may hold line breaks.
        for (i, _) in self.text[start..self.at].match_indices('\n') {
            self.line += 1;
            self.line_start = start + i + 1;
        }
        Token {
            kind: read.kind,
            span: Span::new(start, self.at),
            line: if read.forgets_line { 0 } else { line },
            column,
        }
    }

    /// Characters of the line before byte `at`, which never moves back.
    fn characters_before(&mut self, at: usize) -> usize {
        let (from, count) = match self.counted {
            counted if counted.0 >= self.line_start => counted,
            _ => (self.line_start, 0),
        };
        self.counted = (at, count + self.text[from..at].chars().count());
        self.counted.1
    }

    /// Skips space and comments; the error of a comment that does not end.
    fn skip(&mut self) -> Option<&'static str> {
        loop {
            let rest = self.rest();
            let skipped = if rest.starts_with('\n') {
                self.line += 1;
                self.line_start = self.at + 1;
                1
            } else if rest.starts_with([' ', '\t', '\r']) {
                1
            } else if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Some("comment not terminated");
                };
                for (i, _) in rest[..end].match_indices('\n') {
                    self.line += 1;
                    self.line_start = self.at + i + 1;
                }
                end + 2
            } else {
                return None;
            };
            self.at += skipped;
        }
    }

    fn read(&mut self) -> Read {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return plain(Kind::End);
        };
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '"' => self.string(),
            '`' => self.raw_string(),
            '\'' => self.character(),
            '[' => self.range(),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '-' => self.minus(),
            c if c == '_' || c.is_alphabetic() => self.word(),
            _ => self.punctuation(first),
        }
    }

    fn string(&mut self) -> Read {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        let end = loop {
            match chars.next() {
                Some((i, '"')) => break i + 1,
                None | Some((_, '\n')) => return wrong("literal not terminated"),
                Some((_, '\\')) => {
                    chars.next();
                }
                Some(_) => {}
            }
        };
        self.at += end;
        match quote::unquote(&rest[..end]).map(String::from_utf8) {
            Ok(Ok(text)) => plain(Kind::String(text)),
            // A byte escape that makes no character: Go keeps the byte, we have only text.
            Ok(Err(bytes)) => {
                let text = String::from_utf8_lossy(bytes.as_bytes()).into_owned();
                plain(Kind::String(text))
            }
            Err(_) => wrong("invalid char escape"),
        }
    }

    fn raw_string(&mut self) -> Read {
        let rest = self.rest();
        let Some(end) = rest[1..].find('`') else {
            return wrong("literal not terminated");
        };
        self.at += end + 2;
        plain(Kind::String(rest[1..=end].replace('\r', "")))
    }

    /// Go's character literal, which LogQL has no use for.
    fn character(&mut self) -> Read {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        let mut count = 0;
        loop {
            match chars.next() {
                Some((i, '\'')) => {
                    if count != 1 {
                        return wrong("invalid char literal");
                    }
                    self.at += i + 1;
                    return plain(Kind::Identifier(rest[..=i].to_owned()));
                }
                None | Some((_, '\n')) => return wrong("literal not terminated"),
                Some((_, '\\')) => {
                    chars.next();
                }
                Some(_) => {}
            }
            count += 1;
        }
    }

    fn range(&mut self) -> Read {
        let rest = self.rest();
        let forgetful = |kind| Read {
            kind,
            forgets_line: true,
        };
        let Some(end) = rest.find(']') else {
            return forgetful(Kind::Wrong("missing closing ']' in duration".to_owned()));
        };
        match model::number::parse_duration(&rest[1..end]) {
            Ok(duration) => {
                self.at += end + 1;
                let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
                forgetful(Kind::Range(nanos))
            }
            Err(error) => forgetful(Kind::Wrong(error.to_string())),
        }
    }

    fn number(&mut self) -> Read {
        let rest = self.rest();
        let digits = |from: usize| {
            rest[from..]
                .find(|c: char| !c.is_ascii_digit())
                .map_or(rest.len(), |i| from + i)
        };
        let mut end = digits(0);
        if rest[end..].starts_with('.') {
            end = digits(end + 1);
        }
        if rest[end..].starts_with(['e', 'E']) {
            let signed = end + 1 + usize::from(rest[end + 1..].starts_with(['+', '-']));
            let exponent = digits(signed);
            if exponent == signed {
                return wrong("exponent has no digits");
            }
            end = exponent;
        }
        let more = |units: &str| match rest[end..].starts_with(|c| units.contains(c)) {
            true => end + units_len(&rest[end..], units),
            false => end,
        };
        let read_on = |kind| Read {
            kind,
            forgets_line: true,
        };
        let long = more("nuµmshdwy");
        if long > end
            && let Some(nanos) = units::parse_duration(&rest[..long])
        {
            self.at += long;
            return read_on(Kind::Duration(nanos));
        }
        let long = more("BikKMGTP");
        if long > end
            && let Ok(bytes) = units::parse_bytes(&rest[..long])
        {
            self.at += long;
            return read_on(Kind::Bytes(bytes));
        }
        self.at += end;
        plain(Kind::Number(rest[..end].to_owned()))
    }

    /// A flag, a negative duration, or the operator.
    fn minus(&mut self) -> Read {
        let rest = self.rest();
        for flag in ["--strict", "--keep-empty"] {
            let after = rest.strip_prefix(flag);
            if after
                .is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic() || c == '-'))
            {
                self.at += flag.len();
                return Read {
                    kind: Kind::Flag(flag.to_owned()),
                    forgets_line: true,
                };
            }
        }
        let long = 1 + units_len(&rest[1..], "nuµmshdwy");
        if long > 1
            && let Some(nanos) = units::parse_duration(&rest[..long])
        {
            self.at += long;
            return Read {
                kind: Kind::Duration(nanos),
                forgets_line: true,
            };
        }
        self.punctuation('-')
    }

    fn word(&mut self) -> Read {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c == '_' || c.is_alphanumeric()))
            .unwrap_or(rest.len());
        self.at += end;
        let lower = rest[..end].to_lowercase();
        let known = |list: &[&'static str]| list.iter().find(|k| **k == lower).copied();
        if let Some(name) = known(&FUNCTIONS) {
            return plain(if is_call(&rest[end..]) {
                Kind::Function(name)
            } else {
                Kind::Identifier(rest[..end].to_owned())
            });
        }
        plain(match known(&SYMBOLS) {
            Some(keyword) => Kind::Symbol(keyword),
            None => Kind::Identifier(rest[..end].to_owned()),
        })
    }

    fn punctuation(&mut self, first: char) -> Read {
        let rest = self.rest();
        let two = rest.char_indices().nth(2).map_or(rest.len(), |(i, _)| i);
        let known = |text: &str| SYMBOLS.iter().find(|s| **s == text).copied();
        if let Some(symbol) = known(&rest[..two]).filter(|s| s.len() == 2) {
            self.at += two;
            return Read {
                kind: Kind::Symbol(symbol),
                forgets_line: true,
            };
        }
        let one = first.len_utf8();
        self.at += one;
        plain(match known(&rest[..one]) {
            Some(symbol) => Kind::Symbol(symbol),
            None => Kind::Identifier(rest[..one].to_owned()),
        })
    }
}

/// How much of the beginning may be numbers with `units`; no literal is longer than the bound.
fn units_len(text: &str, units: &str) -> usize {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || units.contains(c);
    let part = text.chars().take(UNITS_CHARS_MAX);
    part.take_while(|c| is_part(*c)).map(char::len_utf8).sum()
}

fn plain(kind: Kind) -> Read {
    Read {
        kind,
        forgets_line: false,
    }
}

fn wrong(why: &str) -> Read {
    plain(Kind::Wrong(why.to_owned()))
}

/// Whether a parenthesis follows, or a grouping with one.
fn is_call(after: &str) -> bool {
    let after = after.trim_start();
    if after.starts_with('(') {
        return true;
    }
    ["by", "without"].iter().any(|word| {
        after
            .get(..word.len())
            .is_some_and(|w| w.eq_ignore_ascii_case(word))
            && after[word.len()..].trim_start().starts_with('(')
    })
}

impl Token {
    /// An error here.
    pub(super) fn error(&self, message: String) -> ParseError {
        ParseError {
            message,
            line: self.line,
            column: self.column,
            span: self.span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        tokens(text).iter().map(|t| t.kind.name()).collect()
    }

    #[test]
    fn durations_sizes_ranges_and_flags_are_single_tokens() {
        assert_eq!(
            names("5m 1h30m -5m 1.5h 2.5KiB 10M 5 [5m] --strict -x"),
            [
                "DURATION",
                "DURATION",
                "DURATION",
                "DURATION",
                "BYTES",
                "BYTES",
                "NUMBER",
                "RANGE",
                "PARSER_FLAG",
                "-",
                "IDENTIFIER",
                "$end"
            ]
        );
    }

    #[test]
    fn columns_count_characters_of_their_line() {
        let places: Vec<_> = tokens("ä b\n  `x\ny` ü c")
            .iter()
            .map(|t| (t.line, t.column))
            .collect();
        assert_eq!(places, [(1, 1), (1, 3), (2, 3), (3, 4), (3, 6), (3, 7)]);
    }

    #[test]
    fn function_names_are_words_unless_called() {
        assert_eq!(
            names("rate(x) rate = SUM by (x) sum by x ip=ip(y)"),
            [
                "RATE",
                "(",
                "IDENTIFIER",
                ")",
                "IDENTIFIER",
                "=",
                "SUM",
                "by",
                "(",
                "IDENTIFIER",
                ")",
                "IDENTIFIER",
                "by",
                "IDENTIFIER",
                "IDENTIFIER",
                "=",
                "ip",
                "(",
                "IDENTIFIER",
                ")",
                "$end"
            ]
        );
    }

    #[test]
    fn comments_are_skipped_and_lines_counted() {
        let all = tokens("a # x\n b // y\n /* z\n */ c");
        let places: Vec<_> = all.iter().map(|t| (t.line, t.column)).collect();
        assert_eq!(places, [(1, 1), (2, 2), (4, 5), (4, 6)]);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, why) in [
            ("\"abc", "literal not terminated"),
            ("\"\\d\"", "invalid char escape"),
            ("`abc", "literal not terminated"),
            ("'ab'", "invalid char literal"),
            ("[5m", "missing closing ']' in duration"),
            ("[x]", "not a valid duration string: \"x\""),
            ("/* x", "comment not terminated"),
        ] {
            assert_eq!(names(text).last().map(String::as_str), Some(why), "{text}");
        }
    }
}
