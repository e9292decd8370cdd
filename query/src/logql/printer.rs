//! Expressions back to text, as Loki's `String` methods print them.

use std::fmt::{self, Display, Formatter};

use model::Matcher;
use model::number::{format_fixed, format_sprint};

use super::ast::{
    Binary, Cardinality, Expr, Extraction, Grouping, LabelFilter, LineFilter, LogExpr, LogRange,
    LogfmtFlags, MetricExpr, MetricKind, NamedMatcher, Needle, Stage, Unwrap, VectorAggregation,
};
use super::units::{go_duration, humanize_bytes, prometheus_duration};
use crate::promql::quote::go_quote;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Log(e) => e.fmt(f),
            Expr::Metric(e) => e.fmt(f),
        }
    }
}

/// A matcher with its value quoted by Go's rules.
struct Quoted<'a>(&'a Matcher);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "{}{}{}", m.name(), m.op().as_str(), go_quote(m.value()))
    }
}

fn separated<T: Display>(
    f: &mut Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// `{a="b", c="d"}`
pub(super) struct Selector<'a>(pub(super) &'a [Matcher]);

impl Display for Selector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        separated(f, self.0.iter().map(Quoted), ", ")?;
        f.write_str("}")
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Selector(&self.matchers).fmt(f)?;
        for stage in &self.stages {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Stage::LineFilters(filters) => separated(f, filters, " "),
            Stage::Logfmt(flags) => write!(f, "| logfmt{flags}"),
            Stage::Json => f.write_str("| json"),
            Stage::Regexp(text) => write!(f, "| regexp {}", go_quote(text)),
            Stage::Pattern(text) => write!(f, "| pattern {}", go_quote(text)),
            Stage::Unpack => f.write_str("| unpack"),
            Stage::JsonExpressions(list) => {
                f.write_str("| json ")?;
                separated(f, list, ",")
            }
            Stage::LogfmtExpressions(list, flags) => {
                write!(f, "| logfmt{flags} ")?;
                separated(f, list, ",")
            }
            Stage::LabelFilter(filter) => write!(f, "| {filter}"),
            Stage::LineFormat(text) => write!(f, "| line_format {}", go_quote(text)),
            Stage::Decolorize => f.write_str("| decolorize"),
            Stage::LabelFormat(list) => {
                f.write_str("| label_format ")?;
                let texts = list.iter().map(|l| {
                    if l.rename {
                        format!("{}={}", l.name, l.value)
                    } else {
                        format!("{}={}", l.name, go_quote(&l.value))
                    }
                });
                separated(f, texts, ",")
            }
            Stage::Drop(list) => {
                f.write_str("| drop ")?;
                separated(f, list, ",")
            }
            Stage::Keep(list) => {
                f.write_str("| keep ")?;
                separated(f, list, ",")
            }
        }
    }
}

impl Display for LogfmtFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.strict {
            f.write_str(" --strict")?;
        }
        if self.keep_empty {
            f.write_str(" --keep-empty")?;
        }
        Ok(())
    }
}

impl Display for Extraction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, go_quote(&self.expression))
    }
}

impl Display for NamedMatcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            NamedMatcher::Name(name) => f.write_str(name),
            NamedMatcher::Matcher(matcher) => Quoted(matcher).fmt(f),
        }
    }
}

impl Display for LineFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op.as_str())?;
        separated(f, &self.needles, " or ")
    }
}

impl Display for Needle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = go_quote(&self.text);
        if self.is_ip {
            write!(f, "ip({text})")
        } else {
            f.write_str(&text)
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LabelFilter::String(matcher) => Quoted(matcher).fmt(f),
            LabelFilter::Ip {
                name,
                pattern,
                negative,
            } => {
                let op = if *negative { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", go_quote(pattern))
            }
            LabelFilter::Number(name, op, value) => {
                write!(f, "{name}{}{}", op.as_str(), Number(*value, format_fixed))
            }
            LabelFilter::Duration(name, op, nanos) => {
                write!(f, "{name}{}{}", op.as_str(), go_duration(*nanos))
            }
            LabelFilter::Bytes(name, op, bytes) => {
                write!(f, "{name}{}{}", op.as_str(), humanize_bytes(*bytes))
            }
            LabelFilter::And(left, right) => write!(f, "( {left} , {right} )"),
            LabelFilter::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

impl Display for MetricExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MetricKind::Range(r) => {
                write!(f, "{}(", r.op.as_str())?;
                if let Some(param) = r.param {
                    write!(f, "{},", format_fixed(param))?;
                }
                write!(f, "{})", r.range)?;
                r.grouping.as_ref().map_or(Ok(()), |g| g.fmt(f))
            }
            MetricKind::Vector(v) => v.fmt(f),
            MetricKind::Binary(b) => {
                write!(f, "({} {} {})", b.left, Operator(b, ","), b.right)
            }
            MetricKind::Literal(value) => Number(*value, format_sprint).fmt(f),
            MetricKind::LabelReplace(r) => {
                write!(f, "label_replace({}", r.expr)?;
                for text in [&r.dst, &r.replacement, &r.src, &r.regex] {
                    write!(f, ",{}", go_quote(text))?;
                }
                f.write_str(")")
            }
            MetricKind::VectorOf(value) => write!(f, "vector({value:.6})"),
        }
    }
}

/// A number so that it can be read again: what has no literal is written as an operation.
pub(super) struct Number(pub(super) f64, pub(super) fn(f64) -> String);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Number(value, print) = *self;
        if value.is_nan() {
            f.write_str("(0 / 0)")
        } else if value.is_infinite() {
            let sign = if value < 0.0 { "-" } else { "" };
            write!(f, "({sign}1e+308 * 10)")
        } else if value == 0.0 && value.is_sign_negative() {
            // `-0` would be read as a duration.
            f.write_str("-0.0")
        } else {
            f.write_str(&print(value))
        }
    }
}

impl Display for VectorAggregation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if !self.grouping.is_singleton() {
            self.grouping.fmt(f)?;
        }
        f.write_str("(")?;
        if self.param > 0 {
            write!(f, "{},", self.param)?;
        }
        write!(f, "{})", self.expr)
    }
}

impl Display for Grouping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { " without (" } else { " by (" })?;
        separated(f, &self.labels, ",")?;
        f.write_str(")")
    }
}

impl Display for LogRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.selector.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        write!(f, "[{}]", prometheus_duration(self.interval_ns))?;
        if self.offset_ns != 0 {
            write!(f, " offset {}", go_duration(self.offset_ns))?;
        }
        Ok(())
    }
}

/// `| unwrap duration(x)` without its filters.
pub(super) struct UnwrapHead<'a>(pub(super) &'a Unwrap);

impl Display for UnwrapHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let label = &self.0.label;
        match self.0.conversion {
            Some(conversion) => write!(f, "| unwrap {}({label})", conversion.as_str()),
            None => write!(f, "| unwrap {label}"),
        }
    }
}

impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        UnwrapHead(self).fmt(f)?;
        for filter in &self.post_filters {
            write!(f, " | {filter}")?;
        }
        Ok(())
    }
}

/// An operator with what modifies it; names are separated by the text given.
pub(super) struct Operator<'a>(pub(super) &'a Binary, pub(super) &'a str);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Operator(binary, separator) = self;
        let matching = &binary.matching;
        f.write_str(binary.op.as_str())?;
        if binary.returns_bool {
            f.write_str(" bool")?;
        }
        let group = match matching.card {
            Cardinality::OneToOne => "",
            Cardinality::ManyToOne => "group_left",
            Cardinality::OneToMany => "group_right",
        };
        let none = Vec::new();
        if matching.on || matching.labels.is_some() || !group.is_empty() {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(f, " {word} (")?;
            separated(f, matching.labels.as_ref().unwrap_or(&none), separator)?;
            write!(f, ") {group}")?;
            if let Some(include) = &matching.include {
                f.write_str(" (")?;
                separated(f, include, separator)?;
                f.write_str(")")?;
            }
        }
        Ok(())
    }
}
