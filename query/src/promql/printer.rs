//! Expressions back to text, normalised: what `/api/v1/format_query` and the rules show.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use model::labels::METRIC_NAME;
use model::{Matcher, number};

use super::ast::{
    Aggregate, At, Binary, Cardinality, DurationExpr, DurationKind, Expr, ExprKind, Extension,
    Number, Selector,
};
use super::quote::go_quote;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(n) => n.fmt(f),
            ExprKind::String(s) => f.write_str(&go_quote(s)),
            ExprKind::Selector(s) => {
                write_matchers(f, s)?;
                write_modifiers(f, s)
            }
            ExprKind::Range(r) => {
                write_matchers(f, &r.selector)?;
                write!(f, "[{}]", r.range)?;
                write_modifiers(f, &r.selector)
            }
            ExprKind::Subquery(s) => {
                write!(f, "{}[{}:", s.expr, s.range)?;
                if let Some(step) = &s.step {
                    step.fmt(f)?;
                }
                f.write_str("]")?;
                write_at_offset(f, s.at, s.offset.as_ref())
            }
            ExprKind::Call(c) => {
                write!(f, "{}(", c.function.name)?;
                write_list(f, &c.args)?;
                f.write_str(")")
            }
            ExprKind::Aggregate(a) => a.fmt(f),
            ExprKind::Unary(u) => {
                write!(f, "{}{}", if u.negative { "-" } else { "+" }, u.expr)
            }
            ExprKind::Binary(b) => b.fmt(f),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn write_list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.duration {
            return f.write_str(&number::format_sprint(self.value));
        }
        let millis = (self.value.abs() * 1000.0).round() as u64;
        if self.value.is_sign_negative() {
            f.write_str("-")?;
        }
        f.write_str(&number::format_duration(Duration::from_millis(millis)))
    }
}

/// Whether a name can stand without quotes in braces and groupings.
fn is_plain_label(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_plain_metric(name: &str) -> bool {
    is_plain_label(&name.replace(':', "_"))
        // Words the lexer reads otherwise.
        && !matches!(
            name.to_ascii_lowercase().as_str(),
            "inf" | "nan" | "on" | "ignoring" | "group_left" | "group_right" | "bool" | "atan2"
        )
}

struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if is_plain_label(self.0) {
            f.write_str(self.0)
        } else {
            f.write_str(&go_quote(self.0))
        }
    }
}

fn write_matcher(f: &mut Formatter<'_>, m: &Matcher) -> fmt::Result {
    write!(
        f,
        "{}{}{}",
        Label(m.name()),
        m.op().as_str(),
        go_quote(m.value())
    )
}

fn write_matchers(f: &mut Formatter<'_>, s: &Selector) -> fmt::Result {
    let plain = s.name.as_deref().filter(|n| is_plain_metric(n));
    let quoted = s.name.as_deref().filter(|n| !is_plain_metric(n));
    f.write_str(plain.unwrap_or(""))?;
    let shown: Vec<&Matcher> = s
        .matchers
        .iter()
        .take(s.matchers.len() - usize::from(s.name.is_some()))
        .filter(|m| s.name.is_none() || m.name() != METRIC_NAME)
        .collect();
    if shown.is_empty() && quoted.is_none() && plain.is_some() {
        return Ok(());
    }
    f.write_str("{")?;
    if let Some(name) = quoted {
        f.write_str(&go_quote(name))?;
    }
    for (i, m) in shown.into_iter().enumerate() {
        if i > 0 || quoted.is_some() {
            f.write_str(",")?;
        }
        write_matcher(f, m)?;
    }
    f.write_str("}")
}

fn write_modifiers(f: &mut Formatter<'_>, s: &Selector) -> fmt::Result {
    match s.extension {
        Extension::None => {}
        Extension::Anchored => f.write_str(" anchored")?,
        Extension::Smoothed => f.write_str(" smoothed")?,
    }
    write_at_offset(f, s.at, s.offset.as_ref())
}

fn write_at_offset(
    f: &mut Formatter<'_>,
    at: Option<At>,
    offset: Option<&DurationExpr>,
) -> fmt::Result {
    match at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let ms = ms.unsigned_abs();
            write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
        }
    }
    match offset {
        Some(offset) => write!(f, " offset {offset}"),
        None => Ok(()),
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        if self.without {
            f.write_str(" without ")?;
        } else if !self.grouping.is_empty() {
            f.write_str(" by ")?;
        }
        if self.without || !self.grouping.is_empty() {
            write_labels(f, &self.grouping)?;
            f.write_str(" ")?;
        }
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

fn write_labels(f: &mut Formatter<'_>, labels: &[String]) -> fmt::Result {
    let labels: Vec<Label<'_>> = labels.iter().map(|l| Label(l)).collect();
    f.write_str("(")?;
    write_list(f, &labels)?;
    f.write_str(")")
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op.as_str())?;
        if self.return_bool {
            f.write_str(" bool")?;
        }
        if let Some(m) = &self.matching {
            let grouped = matches!(
                m.cardinality,
                Cardinality::ManyToOne | Cardinality::OneToMany
            );
            if m.on || !m.labels.is_empty() || grouped {
                f.write_str(if m.on { " on " } else { " ignoring " })?;
                write_labels(f, &m.labels)?;
            }
            if grouped {
                f.write_str(if m.cardinality == Cardinality::ManyToOne {
                    " group_left "
                } else {
                    " group_right "
                })?;
                write_labels(f, &m.include)?;
            }
            let number = number::format_sprint;
            match (m.fill_left, m.fill_right) {
                (Some(l), Some(r)) if l.to_bits() == r.to_bits() => {
                    write!(f, " fill ({})", number(l))?;
                }
                (l, r) => {
                    if let Some(l) = l {
                        write!(f, " fill_left ({})", number(l))?;
                    }
                    if let Some(r) = r {
                        write!(f, " fill_right ({})", number(r))?;
                    }
                }
            }
        }
        write!(f, " {}", self.right)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            // A number of seconds is a duration like any other here.
            DurationKind::Literal(n) if (n.value * 1000.0).fract() == 0.0 => Number {
                duration: true,
                ..*n
            }
            .fmt(f),
            DurationKind::Literal(n) => f.write_str(&number::format_sprint(n.value)),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Negate(d) => write!(f, "-{d}"),
            DurationKind::Plus(d) => write!(f, "+{d}"),
            DurationKind::Paren(d) => write!(f, "({d})"),
            DurationKind::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            DurationKind::Min(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::Max(a, b) => write!(f, "max_of({a}, {b})"),
        }
    }
}
