//! Text to tokens. The states and error texts are those of Prometheus' lexer: what a
//! character means depends on whether braces or brackets are open.

use super::ast::{AggregateOp, BinaryOp, Span};
use super::quote::{escape, go_quote, go_quote_rune};

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
    /// `start`, `end`, `step`, `range` outside braces, in brackets also `min_of` and `max_of`.
    Word,
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
        duration_next: false,
        got_duration: false,
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
    /// Only durations, signs and operators may come next: from `[` to the first number.
    duration_next: bool,
    got_duration: bool,
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

    /// An error from `start` to the end of the text, where reading stops.
    fn fail(&mut self, start: usize, message: impl Into<String>) -> bool {
        self.at = self.text.len();
        self.emit(Kind::Error(message.into()), start)
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
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            self.at += 1;
            return true;
        }
        if self.duration_next {
            return self.step_before_duration(c);
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
            ('=', Some('~')) => self.fail(start, "unexpected character after '=': '~'"),
            ('=', _) => self.take(1, Kind::Assign),
            ('!', Some('=')) => self.take(2, op(B::NotEqual)),
            ('!', other) => {
                let what = go_quote_rune(other);
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
            ('a'..='z' | 'A'..='Z' | '_' | ':', _) if self.bracket_open => self.in_brackets(c),
            ('a'..='z' | 'A'..='Z' | '_' | ':', _) => self.word(),
            ('(', _) => self.open_paren(),
            (')', _) => self.close_paren(),
            ('{', _) => {
                self.brace_open = true;
                self.take(1, Kind::LeftBrace)
            }
            ('[', _) if self.bracket_open => self.fail(start, "unexpected left bracket '['"),
            ('[', _) => {
                self.bracket_open = true;
                self.duration_next = true;
                self.got_colon = false;
                self.take(1, Kind::LeftBracket)
            }
            (']', _) if !self.bracket_open => self.fail(start, "unexpected right bracket ']'"),
            (']', _) => {
                self.bracket_open = false;
                self.take(1, Kind::RightBracket)
            }
            (other, _) => {
                let what = go_quote_rune(Some(other));
                self.fail(start, format!("unexpected character: {what}"))
            }
        }
    }

    fn end(&mut self) -> bool {
        let at = self.at;
        let open = if self.duration_next {
            "unexpected end of input in duration expression"
        } else if self.brace_open {
            "unexpected end of input inside braces"
        } else if self.parens > 0 {
            "unclosed left parenthesis"
        } else if self.bracket_open {
            "unclosed left bracket"
        } else {
            return self.emit(Kind::End, at);
        };
        self.fail(at, open)
    }

    fn open_paren(&mut self) -> bool {
        self.parens += 1;
        self.take(1, Kind::LeftParen)
    }

    fn close_paren(&mut self) -> bool {
        let Some(parens) = self.parens.checked_sub(1) else {
            // Upstream has passed it by when it notices.
            return self.fail(self.at + 1, "unexpected right parenthesis ')'");
        };
        self.parens = parens;
        self.take(1, Kind::RightParen)
    }

    /// What may stand in brackets before the first number.
    fn step_before_duration(&mut self, c: char) -> bool {
        use BinaryOp as B;
        let op = |op| Kind::Operator(op);
        match (c, self.peek_second()) {
            (']', _) => {
                self.bracket_open = false;
                self.duration_next = false;
                self.got_colon = false;
                self.take(1, Kind::RightBracket)
            }
            (':', _) => {
                let after = self.at + 1;
                if !self.got_duration {
                    let message = "unexpected colon before duration in duration expression";
                    self.fail(after, message)
                } else if self.got_colon {
                    self.fail(after, "unexpected repeated colon in duration expression")
                } else {
                    self.got_colon = true;
                    self.take(1, Kind::Colon)
                }
            }
            ('(', _) => self.open_paren(),
            (')', _) => self.close_paren(),
            ('+', _) => self.take(1, op(B::Add)),
            ('-', _) => self.take(1, op(B::Sub)),
            ('*', _) => self.take(1, op(B::Mul)),
            ('/', _) => self.take(1, op(B::Div)),
            ('%', _) => self.take(1, op(B::Mod)),
            ('^', _) => self.take(1, op(B::Pow)),
            (',', _) => self.take(1, Kind::Comma),
            ('0'..='9', _) | ('.', Some('0'..='9')) => {
                self.duration_next = false;
                self.got_duration = true;
                self.number_or_duration()
            }
            _ => match self.duration_word_len() {
                Some(len) => {
                    self.got_duration = true;
                    self.take(len, Kind::Word)
                }
                None => {
                    let what = go_quote_rune(Some(c));
                    let message = format!("unexpected character in duration expression: {what}");
                    self.fail(self.at, message)
                }
            },
        }
    }

    /// A colon or a word in brackets, after the first number.
    fn in_brackets(&mut self, c: char) -> bool {
        if c == ':' {
            if self.got_colon {
                return self.fail(self.at, "unexpected colon ':'");
            }
            self.got_colon = true;
            return self.take(1, Kind::Colon);
        }
        match self.duration_word_len() {
            Some(len) => self.take(len, Kind::Word),
            None => {
                let what = go_quote_rune(Some(c));
                let message = format!("unexpected character: {what}, expected ':'");
                self.fail(self.at, message)
            }
        }
    }

    fn duration_word_len(&self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest
            .iter()
            .take_while(|b| b.is_ascii_alphabetic() || **b == b'_')
            .count();
        ["step", "range", "min_of", "max_of"]
            .iter()
            .any(|word| rest[..len].eq_ignore_ascii_case(word.as_bytes()))
            .then_some(len)
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
                let what = go_quote_rune(other);
                let message = format!("unexpected character after '!' inside braces: {what}");
                self.fail(start, message)
            }
            ('{', _) => self.fail(start, "unexpected left brace '{'"),
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
                let what = go_quote_rune(Some(other));
                let message = format!("unexpected character inside braces: {what}");
                self.fail(start, message)
            }
        }
    }

    fn word(&mut self) -> bool {
        let start = self.at;
        while is_word(self.byte(self.at)) || self.byte(self.at) == b':' {
            self.at += 1;
        }
        let word = &self.text[start..self.at];
        let kind = classify(word);
        self.emit(kind, start)
    }

    fn accept(&mut self, one_of: &[u8]) -> bool {
        // `byte` is 0 at the end, which no set holds.
        let accepted = one_of.contains(&self.byte(self.at));
        self.at += usize::from(accepted);
        accepted
    }

    fn number_or_duration(&mut self) -> bool {
        let start = self.at;
        if self.scan_number() {
            return self.emit(Kind::Number, start);
        }
        if self.scan_rest_of_duration() {
            return self.emit(Kind::Duration, start);
        }
        let bad = go_quote(&self.text[start..self.at]);
        self.fail(start, format!("bad number or duration syntax: {bad}"))
    }

    /// Reads what looks like a number; whether it is one, the parser finds out. On `false` the
    /// place reached is where upstream's lexer stops, which its message shows.
    fn scan_number(&mut self) -> bool {
        const DECIMAL: &[u8] = b"0123456789";
        const HEX: &[u8] = b"0123456789abcdefABCDEF";
        let mut digits = DECIMAL;
        if self.accept(b"0") && self.accept(b"xX") {
            self.accept(b"_");
            digits = HEX;
        }
        self.accept(b".");
        self.accept(digits);
        let (mut got_dot, mut got_exponent) = (false, false);
        loop {
            let b = self.byte(self.at);
            if !(digits.contains(&b) || matches!(b, b'.' | b'_' | b'e' | b'E')) {
                break;
            }
            if b == b'.' {
                self.at += 1;
                if got_dot || self.accept(b"_.") || digits.len() > DECIMAL.len() {
                    return false;
                }
                got_dot = true;
            } else if matches!(b, b'e' | b'E') {
                self.at += 1;
                if got_exponent {
                    return false;
                }
                got_exponent = true;
                self.accept(b"+-");
                if self.accept(b"._eE") || self.at >= self.text.len() {
                    return false;
                }
            } else if b == b'_' {
                self.at += 1;
                if self.accept(b"._eE") || self.at >= self.text.len() {
                    return false;
                }
            } else {
                while self.accept(digits) {}
            }
        }
        !is_word(self.byte(self.at))
    }

    /// Reads on from the digits of a duration to its end. Units may be wrong here.
    fn scan_rest_of_duration(&mut self) -> bool {
        if !self.accept(b"smhdwy") {
            return false;
        }
        self.accept(b"s");
        while self.accept(b"0123456789") {
            while self.accept(b"0123456789") {}
            if !self.accept(b"smhdw") {
                return false;
            }
            self.accept(b"s");
        }
        if is_word(self.byte(self.at)) {
            self.at += 1;
            return false;
        }
        true
    }

    fn string(&mut self, quote: char) -> bool {
        let start = self.at;
        let raw = quote == '`';
        let mut chars = self.text[start + 1..].char_indices();
        let len = loop {
            match chars.next() {
                None if raw => return self.fail(start, "unterminated raw string"),
                None => return self.fail(start, "unterminated quoted string"),
                Some((_, '\n')) if !raw => return self.fail(start, "unterminated quoted string"),
                // Upstream cannot tell it from bytes that are not UTF-8.
                Some((_, '\u{fffd}')) => return self.fail(start, "invalid UTF-8 rune"),
                Some((at, '\\')) if !raw => {
                    if let Err(message) = escape(&self.text[start + 1 + at..], quote) {
                        return self.fail(start, message);
                    }
                    // The escaped character; digits that follow pass as plain ones.
                    chars.next();
                }
                Some((at, c)) if c == quote => break at + 2,
                Some(_) => {}
            }
        };
        self.take(len, Kind::String)
    }
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
        "start" | "end" | "step" | "range" => return Kind::Word,
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
        let words = ["x", "[", "-", "step", "(", ")", "+", "1s", "]", ""];
        check("x[-step()+1s]", &words);
    }

    #[test]
    fn reading_stops_where_prometheus_stops() {
        fn check(text: &str, at: usize, message: &str) {
            let last = tokens(text).pop().unwrap();
            let expect = (at, Kind::Error(message.to_owned()));
            assert_eq!((last.span.start, last.kind), expect, "{text}");
        }
        check("1.2.3", 0, "bad number or duration syntax: \"1.2.\"");
        check("a + 12ab", 4, "bad number or duration syntax: \"12\"");
        check("3h2q", 0, "bad number or duration syntax: \"3h2\"");
        check("x !", 2, "unexpected character after '!': '\u{fffd}'");
        check("x =~ y", 2, "unexpected character after '=': '~'");
        check("(x))", 4, "unexpected right parenthesis ')'");
        check("x[1m:1m:]", 7, "unexpected colon ':'");
        check("x[1m y]", 5, "unexpected character: 'y', expected ':'");
        check("x[1m[", 4, "unexpected left bracket '['");
        check("(x[1m", 5, "unclosed left parenthesis");
        check("\u{feff}x", 0, "unexpected character: '\\ufeff'");
        check("x\0", 1, "unexpected character: '\\x00'");
        check("x \u{c}", 2, "unexpected character: '\\f'");
        check("'a\u{fffd}'", 0, "invalid UTF-8 rune");
        let in_duration = |what: &str| format!("{what} in duration expression");
        check(
            "x[:1m]",
            3,
            &in_duration("unexpected colon before duration"),
        );
        check("(x[", 3, &in_duration("unexpected end of input"));
        check("x[y]", 2, &(in_duration("unexpected character") + ": 'y'"));
        check("x[[", 2, &(in_duration("unexpected character") + ": '['"));
        let escape = "illegal character U+0067 'g' in escape sequence";
        check(r"'\u1g'", 0, escape);
    }
}
