//! Text to tokens. The states and error texts are those of Prometheus' lexer: what a
//! character means depends on whether braces or brackets are open.

use super::ast::{AggregateOp, BinaryOp, Span};
use super::quote::{go_quote, unquote};

/// Words with a meaning in the grammar, in any case. Most may also name a metric or label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// `offset`
    Offset,
    /// `smoothed`
    Smoothed,
    /// `anchored`
    Anchored,
    /// `by`
    By,
    /// `without`
    Without,
    /// `on`
    On,
    /// `ignoring`
    Ignoring,
    /// `group_left`
    GroupLeft,
    /// `group_right`
    GroupRight,
    /// `bool`
    Bool,
    /// `fill`
    Fill,
    /// `fill_left`
    FillLeft,
    /// `fill_right`
    FillRight,
}

const KEYWORDS: [(&str, Keyword); 13] = [
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("bool", Keyword::Bool),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
];

/// The kinds of tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The end of the text.
    End,
    /// Not a token; the message says why. Nothing follows it.
    Error(String),
    /// A name without colon.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    /// `1.5`, `Inf`
    Number,
    /// `5m`
    Duration,
    /// A quoted text, still quoted.
    String,
    /// A keyword.
    Keyword(Keyword),
    /// An aggregation operator.
    Aggregate(AggregateOp),
    /// A binary operator; inside braces only `!=`.
    Operator(BinaryOp),
    /// `=`
    Assign,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotRegex,
    /// `@`
    At,
    /// `,`
    Comma,
    /// `:`
    Colon,
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `{`
    LeftBrace,
    /// `}`
    RightBrace,
    /// `[`
    LeftBracket,
    /// `]`
    RightBracket,
}

/// A token and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub span: Span,
}

/// All tokens of `text`, comments and space left out; the last is `End` or `Error`.
#[must_use]
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        parens: 0,
        brace_open: false,
        bracket_open: false,
        got_colon: false,
        out: Vec::new(),
    };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    parens: usize,
    brace_open: bool,
    bracket_open: bool,
    got_colon: bool,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn emit(&mut self, kind: Kind, start: usize) -> bool {
        let more = !matches!(kind, Kind::Error(_) | Kind::End);
        self.out.push(Token {
            kind,
            span: Span::new(start, self.at),
        });
        more
    }

    fn fail(&mut self, start: usize, message: String) -> bool {
        self.emit(Kind::Error(message), start)
    }

    fn take(&mut self, len: usize, kind: Kind) -> bool {
        let start = self.at;
        self.at += len;
        self.emit(kind, start)
    }

    /// Reads one token; `false` after the last.
    fn step(&mut self) -> bool {
        let start = self.at;
        let Some(c) = self.peek() else {
            return self.end();
        };
        if c.is_ascii_whitespace() {
            self.at += 1;
            return true;
        }
        if c == '#' {
            let rest = &self.text[self.at..];
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            return true;
        }
        if self.brace_open {
            return self.step_inside_braces(c);
        }
        let next = self.peek_second();
        use BinaryOp as B;
        let op = |op| Kind::Operator(op);
        match (c, next) {
            (',', _) => self.take(1, Kind::Comma),
            ('*', _) => self.take(1, op(B::Mul)),
            ('/', _) => self.take(1, op(B::Div)),
            ('%', _) => self.take(1, op(B::Mod)),
            ('+', _) => self.take(1, op(B::Add)),
            ('-', _) => self.take(1, op(B::Sub)),
            ('^', _) => self.take(1, op(B::Pow)),
            ('=', Some('=')) => self.take(2, op(B::Equal)),
            ('=', Some('~')) => {
                self.at += 2;
                self.fail(start + 1, "unexpected character after '=': '~'".to_owned())
            }
            ('=', _) => self.take(1, Kind::Assign),
            ('!', Some('=')) => self.take(2, op(B::NotEqual)),
            ('!', other) => {
                let what = quote_rune(other);
                self.at += 1;
                self.fail(start, format!("unexpected character after '!': {what}"))
            }
            ('<', Some('=')) => self.take(2, op(B::LessEqual)),
            ('<', Some('/')) => self.take(2, op(B::TrimUpper)),
            ('<', _) => self.take(1, op(B::Less)),
            ('>', Some('=')) => self.take(2, op(B::GreaterEqual)),
            ('>', Some('/')) => self.take(2, op(B::TrimLower)),
            ('>', _) => self.take(1, op(B::Greater)),
            ('@', _) => self.take(1, Kind::At),
            ('0'..='9', _) | ('.', Some('0'..='9')) => self.number_or_duration(),
            ('"' | '\'' | '`', _) => self.string(c),
            (':', _) if self.bracket_open => {
                if self.got_colon {
                    self.at += 1;
                    return self.fail(start, "unexpected colon ':'".to_owned());
                }
                self.got_colon = true;
                self.take(1, Kind::Colon)
            }
            ('a'..='z' | 'A'..='Z' | '_' | ':', _) => self.word(),
            ('(', _) => {
                self.parens += 1;
                self.take(1, Kind::LeftParen)
            }
            (')', _) => {
                if self.parens == 0 {
                    self.at += 1;
                    return self.fail(start, "unexpected right parenthesis ')'".to_owned());
                }
                self.parens -= 1;
                self.take(1, Kind::RightParen)
            }
            ('{', _) => {
                self.brace_open = true;
                self.take(1, Kind::LeftBrace)
            }
            ('[', _) => {
                if self.bracket_open {
                    self.at += 1;
                    return self.fail(start, "unexpected left bracket '['".to_owned());
                }
                self.bracket_open = true;
                self.got_colon = false;
                self.take(1, Kind::LeftBracket)
            }
            (']', _) => {
                if !self.bracket_open {
                    self.at += 1;
                    return self.fail(start, "unexpected right bracket ']'".to_owned());
                }
                self.bracket_open = false;
                self.take(1, Kind::RightBracket)
            }
            (other, _) => {
                self.at += other.len_utf8();
                self.fail(
                    start,
                    format!("unexpected character: {}", quote_rune(Some(other))),
                )
            }
        }
    }

    fn end(&mut self) -> bool {
        let at = self.at;
        if self.brace_open {
            self.fail(at, "unexpected end of input inside braces".to_owned())
        } else if self.bracket_open {
            self.fail(at, "unclosed left bracket".to_owned())
        } else if self.parens > 0 {
            self.fail(at, "unclosed left parenthesis".to_owned())
        } else {
            self.emit(Kind::End, at)
        }
    }

    fn step_inside_braces(&mut self, c: char) -> bool {
        let start = self.at;
        match (c, self.peek_second()) {
            (',', _) => self.take(1, Kind::Comma),
            ('"' | '\'' | '`', _) => self.string(c),
            ('=', Some('~')) => self.take(2, Kind::EqualRegex),
            ('=', _) => self.take(1, Kind::Assign),
            ('!', Some('=')) => self.take(2, Kind::Operator(BinaryOp::NotEqual)),
            ('!', Some('~')) => self.take(2, Kind::NotRegex),
            ('!', other) => {
                let what = quote_rune(other);
                self.at += 1;
                self.fail(
                    start,
                    format!("unexpected character after '!' inside braces: {what}"),
                )
            }
            ('{', _) => {
                self.at += 1;
                self.fail(start, "unexpected left brace '{'".to_owned())
            }
            ('}', _) => {
                self.brace_open = false;
                self.take(1, Kind::RightBrace)
            }
            ('a'..='z' | 'A'..='Z' | '_', _) => {
                while is_word(self.byte(self.at)) {
                    self.at += 1;
                }
                self.emit(Kind::Identifier, start)
            }
            (other, _) => {
                self.at += other.len_utf8();
                self.fail(
                    start,
                    format!(
                        "unexpected character inside braces: {}",
                        quote_rune(Some(other))
                    ),
                )
            }
        }
    }

    fn word(&mut self) -> bool {
        let start = self.at;
        let colons = !self.bracket_open;
        while is_word(self.byte(self.at)) || (colons && self.byte(self.at) == b':') {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        let kind = classify(word);
        self.emit(kind, start)
    }

    fn number_or_duration(&mut self) -> bool {
        let start = self.at;
        let mut at = start;
        let digits = |at: &mut usize, ok: fn(&u8) -> bool| {
            while ok(&self.byte(*at)) || (self.byte(*at) == b'_' && ok(&self.byte(*at + 1))) {
                *at += 1;
            }
        };
        if self.byte(at) == b'0' && matches!(self.byte(at + 1), b'x' | b'X') {
            at += 2;
            digits(&mut at, u8::is_ascii_hexdigit);
        } else {
            digits(&mut at, u8::is_ascii_digit);
            if self.byte(at) == b'.' {
                at += 1;
                digits(&mut at, u8::is_ascii_digit);
            }
            if matches!(self.byte(at), b'e' | b'E') {
                let sign = usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
                if self.byte(at + 1 + sign).is_ascii_digit() {
                    at += 1 + sign;
                    digits(&mut at, u8::is_ascii_digit);
                }
            }
        }
        if !is_word(self.byte(at)) {
            self.at = at;
            return self.emit(Kind::Number, start);
        }
        at = start;
        while self.byte(at).is_ascii_alphanumeric() {
            at += 1;
        }
        if duration_shaped(&self.text.as_bytes()[start..at]) && !is_word(self.byte(at)) {
            self.at = at;
            return self.emit(Kind::Duration, start);
        }
        while is_word(self.byte(at)) {
            at += 1;
        }
        self.at = at;
        let bad = go_quote(&self.text[start..at]);
        self.fail(start, format!("bad number or duration syntax: {bad}"))
    }

    fn string(&mut self, quote: char) -> bool {
        let start = self.at;
        let rest = &self.text.as_bytes()[start + 1..];
        let mut i = 0;
        loop {
            match rest.get(i) {
                None => {
                    self.at = self.text.len();
                    let what = if quote == '`' {
                        "unterminated raw string"
                    } else {
                        "unterminated quoted string"
                    };
                    return self.fail(start, what.to_owned());
                }
                Some(b'\n') if quote != '`' => {
                    self.at = start + 1 + i;
                    return self.fail(start, "unterminated quoted string".to_owned());
                }
                Some(b'\\') if quote != '`' => i += 2,
                Some(b) if char::from(*b) == quote => break,
                Some(_) => i += 1,
            }
        }
        self.at = start + i + 2;
        match unquote(&self.text[start..self.at]) {
            Ok(_) => self.emit(Kind::String, start),
            Err(message) => self.fail(start, message),
        }
    }
}

fn duration_shaped(text: &[u8]) -> bool {
    let (mut i, mut next_unit) = (0, 0);
    const UNITS: [&[u8]; 7] = [b"y", b"w", b"d", b"h", b"m", b"s", b"ms"];
    while i < text.len() {
        let digits = text[i..].iter().take_while(|b| b.is_ascii_digit()).count();
        i += digits;
        let letters = text[i..]
            .iter()
            .take_while(|b| b.is_ascii_alphabetic())
            .count();
        let unit = UNITS.iter().position(|u| *u == &text[i..i + letters]);
        let Some(unit) = unit.filter(|u| digits > 0 && *u >= next_unit) else {
            return false;
        };
        next_unit = unit + 1;
        i += letters;
    }
    true
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn classify(word: &str) -> Kind {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "nan" => return Kind::Number,
        "and" => return Kind::Operator(BinaryOp::And),
        "or" => return Kind::Operator(BinaryOp::Or),
        "unless" => return Kind::Operator(BinaryOp::Unless),
        "atan2" => return Kind::Operator(BinaryOp::Atan2),
        _ => {}
    }
    if let Some((_, k)) = KEYWORDS.iter().find(|(w, _)| *w == lower) {
        return Kind::Keyword(*k);
    }
    if let Some(op) = AggregateOp::ALL.iter().find(|a| a.as_str() == lower) {
        return Kind::Aggregate(*op);
    }
    if word.contains(':') {
        Kind::MetricIdentifier
    } else {
        Kind::Identifier
    }
}

fn quote_rune(c: Option<char>) -> String {
    match c {
        // What Go prints for its end-of-input rune, -1.
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some('\n') => "'\\n'".to_owned(),
        Some('\\') => "'\\\\'".to_owned(),
        Some(c) => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let found: Vec<&str> = tokens(text)
            .iter()
            .map(|t| &text[t.span.start..t.span.end])
            .collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn words_numbers_and_durations_are_told_apart() {
        check(
            "a:b 1h30m 0x1f .5e-3 1_000",
            &["a:b", "1h30m", "0x1f", ".5e-3", "1_000", ""],
        );
        check(
            "x[5m:1m] # c\n+1",
            &["x", "[", "5m", ":", "1m", "]", "+", "1", ""],
        );
        check("{a!~'b}c'}", &["{", "a", "!~", "'b}c'", "}", ""]);
    }
}
