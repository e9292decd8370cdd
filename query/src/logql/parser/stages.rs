//! The stages of a pipeline.

use super::{Parser, construct};
use crate::logql::ast::{
    CompareOp, Extraction, LabelFilter, LabelFormat, LineFilter, LineOp, LogfmtFlags, NamedMatcher,
    Needle, Stage,
};
use crate::logql::error::ParseError;
use crate::logql::lexer::Kind;
use crate::logql::pipeline;

impl Parser {
    /// Stages up to what is none; `| unwrap` is left to the range it belongs to.
    pub(super) fn pipeline(&mut self) -> Result<Vec<Stage>, ParseError> {
        let mut stages = Vec::new();
        loop {
            if self.line_op().is_some() {
                stages.push(Stage::LineFilters(self.line_filters()?));
            } else if self.is("|") && *self.peek_second() != Kind::Symbol("unwrap") {
                self.advance();
                stages.push(self.stage()?);
            } else {
                return Ok(stages);
            }
        }
    }

    fn line_op(&self) -> Option<LineOp> {
        Some(match &self.peek().kind {
            Kind::Symbol("|=") => LineOp::Contains,
            Kind::Symbol("!=") => LineOp::ContainsNot,
            Kind::Symbol("|~") => LineOp::Regex,
            Kind::Symbol("!~") => LineOp::RegexNot,
            Kind::Symbol("|>") => LineOp::Pattern,
            Kind::Symbol("!>") => LineOp::PatternNot,
            _ => return None,
        })
    }

    fn line_filters(&mut self) -> Result<Vec<LineFilter>, ParseError> {
        let mut filters = Vec::new();
        while let Some(op) = self.line_op() {
            self.advance();
            let mut needles = vec![self.needle()?];
            while self.accept("or") {
                needles.push(self.needle()?);
            }
            if op.is_negative() {
                // Neither of them: not (a or b) is not a and not b.
                filters.extend(needles.into_iter().map(|n| LineFilter {
                    op,
                    needles: vec![n],
                }));
            } else {
                filters.push(LineFilter { op, needles });
            }
        }
        Ok(filters)
    }

    fn needle(&mut self) -> Result<Needle, ParseError> {
        let is_ip = self.peek().kind == Kind::Function("ip");
        if is_ip {
            self.advance();
            self.open()?;
        }
        let text = self.string(if is_ip {
            &["STRING"]
        } else {
            &["STRING", "ip"]
        })?;
        if is_ip {
            self.close()?;
        }
        Ok(Needle { text, is_ip })
    }

    fn stage(&mut self) -> Result<Stage, ParseError> {
        let Kind::Symbol(word) = self.peek().kind else {
            return Ok(Stage::LabelFilter(self.label_filter(0)?));
        };
        if word == "(" {
            return Ok(Stage::LabelFilter(self.label_filter(0)?));
        }
        let known = [
            "json",
            "logfmt",
            "regexp",
            "pattern",
            "unpack",
            "line_format",
            "label_format",
            "decolorize",
            "drop",
            "keep",
        ];
        if !known.contains(&word) {
            return Err(self.unexpected(&[]));
        }
        self.advance();
        Ok(match word {
            "json" => match self.extractions()? {
                list if list.is_empty() => Stage::Json,
                list => Stage::JsonExpressions(list),
            },
            "logfmt" => {
                let mut flags = LogfmtFlags::default();
                while let Kind::Flag(flag) = &self.peek().kind {
                    match flag.as_str() {
                        "--strict" => flags.strict = true,
                        _ => flags.keep_empty = true,
                    }
                    self.advance();
                }
                match self.extractions()? {
                    list if list.is_empty() => Stage::Logfmt(flags),
                    list => Stage::LogfmtExpressions(list, flags),
                }
            }
            "regexp" => {
                let text = self.string(&["STRING"])?;
                pipeline::check_regexp(&text)
                    .map_err(|e| ParseError::whole(format!("invalid regexp parser: {e}")))?;
                Stage::Regexp(text)
            }
            "pattern" => {
                let text = self.string(&["STRING"])?;
                pipeline::check_pattern(&text)
                    .map_err(|e| ParseError::whole(format!("invalid pattern parser: {e}")))?;
                Stage::Pattern(text)
            }
            "unpack" => Stage::Unpack,
            "decolorize" => Stage::Decolorize,
            "line_format" => Stage::LineFormat(self.string(&["STRING"])?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "drop" => Stage::Drop(self.named_matchers()?),
            _ => Stage::Keep(self.named_matchers()?),
        })
    }

    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut list = Vec::new();
        if !matches!(self.peek().kind, Kind::Identifier(_)) {
            return Ok(list);
        }
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            let expression = if self.accept("=") {
                self.string(&["STRING"])?
            } else {
                name.clone()
            };
            list.push(Extraction { name, expression });
            if !self.accept(",") {
                return Ok(list);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<LabelFormat>, ParseError> {
        let mut list = Vec::new();
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            self.expect("=", &["="])?;
            let (value, rename) = match &self.peek().kind {
                Kind::Identifier(old) => (old.clone(), true),
                Kind::String(template) => (template.clone(), false),
                _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
            };
            self.advance();
            list.push(LabelFormat {
                name,
                value,
                rename,
            });
            if !self.accept(",") {
                return Ok(list);
            }
        }
    }

    fn named_matchers(&mut self) -> Result<Vec<NamedMatcher>, ParseError> {
        let mut list = Vec::new();
        loop {
            let name = self.identifier(&["IDENTIFIER"])?;
            // A line filter that follows has a string too; Loki's grammar takes it for a matcher.
            list.push(match self.match_op() {
                Some(op) => {
                    self.advance();
                    let value = self.string(&["STRING"])?;
                    NamedMatcher::Matcher(construct::matcher(name, op, value)?)
                }
                None => NamedMatcher::Name(name),
            });
            if !self.accept(",") {
                return Ok(list);
            }
        }
    }

    /// A condition on labels. `and` binds tighter than `or`; a comma, or nothing, between two
    /// conditions binds whatever follows to the right one, as Loki's grammar resolves it.
    pub(super) fn label_filter(&mut self, binds_at_least: u8) -> Result<LabelFilter, ParseError> {
        self.enter()?;
        let mut left = self.condition()?;
        let mut chained = 0;
        loop {
            let juxtaposed = matches!(self.peek().kind, Kind::Identifier(_)) || self.is("(");
            if juxtaposed || self.is(",") {
                if !juxtaposed {
                    self.advance();
                }
                let right = self.label_filter(0)?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else if self.is("and") && binds_at_least < 2 {
                self.advance();
                let right = self.label_filter(2)?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else if self.is("or") && binds_at_least < 1 {
                self.advance();
                let right = self.label_filter(1)?;
                left = LabelFilter::Or(Box::new(left), Box::new(right));
            } else {
                self.depth -= chained;
                self.leave();
                return Ok(left);
            }
            chained += 1;
            self.enter()?;
        }
    }

    fn condition(&mut self) -> Result<LabelFilter, ParseError> {
        if self.accept("(") {
            let inner = self.label_filter(0)?;
            self.close()?;
            return Ok(inner);
        }
        let name = self.identifier(&[])?;
        let Kind::Symbol(word) = self.peek().kind else {
            return Err(self.unexpected(&[]));
        };
        let match_op = self.match_op();
        let compare = match word {
            "=" | "==" => Some(CompareOp::Equal),
            "!=" => Some(CompareOp::NotEqual),
            ">" => Some(CompareOp::Greater),
            ">=" => Some(CompareOp::GreaterEqual),
            "<" => Some(CompareOp::Less),
            "<=" => Some(CompareOp::LessEqual),
            _ => None,
        };
        if compare.is_none() && match_op.is_none() {
            return Err(self.unexpected(&[]));
        }
        self.advance();
        match (self.peek().kind.clone(), compare, match_op) {
            (Kind::String(value), _, Some(op)) => {
                self.advance();
                construct::matcher(name, op, value).map(LabelFilter::String)
            }
            (Kind::Function("ip"), Some(_), Some(_)) => {
                self.advance();
                self.open()?;
                let pattern = self.string(&["STRING"])?;
                self.close()?;
                Ok(LabelFilter::Ip {
                    name,
                    pattern,
                    negative: word == "!=",
                })
            }
            (Kind::Duration(nanos), Some(op), _) => {
                self.advance();
                Ok(LabelFilter::Duration(name, op, nanos))
            }
            (Kind::Bytes(bytes), Some(op), _) => {
                self.advance();
                Ok(LabelFilter::Bytes(name, op, bytes))
            }
            (Kind::Number(_) | Kind::Symbol("+" | "-"), Some(op), _) => {
                Ok(LabelFilter::Number(name, op, self.literal()?))
            }
            (_, None, _) => Err(self.unexpected(&["STRING"])),
            _ => Err(self.unexpected(&[])),
        }
    }
}
