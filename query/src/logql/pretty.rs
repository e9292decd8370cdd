//! Expressions over several lines, as `/loki/api/v1/format_query` shows them.
//!
//! A node whose text on one line is longer than [`LINE_BYTES_MAX`] is broken at its stages,
//! arguments and operator, its parts two spaces deeper. Source of the layout:
//! loki pkg/logql/syntax/prettier.go.

use std::fmt::Display;

use super::ast::{Expr, Grouping, LogExpr, LogRange, MetricExpr, MetricKind, Stage};
use super::printer::{Number, Operator, Selector, UnwrapHead};
use super::units::prometheus_duration;
use crate::promql::quote::go_quote;

/// Longest text that stays on one line, in bytes.
const LINE_BYTES_MAX: usize = 100;

/// The text of `expr`, long parts on lines of their own. It parses to an equal tree.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(e) => log(e, 0),
        Expr::Metric(e) => metric(e, 0),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn one_line(item: &impl Display) -> Option<String> {
    let text = item.to_string();
    (text.len() <= LINE_BYTES_MAX).then_some(text)
}

fn log(expr: &LogExpr, level: usize) -> String {
    let pad = indent(level);
    if expr.stages.is_empty() {
        return format!("{pad}{expr}");
    }
    if let Some(text) = one_line(expr) {
        return pad + &text;
    }
    let mut lines = vec![format!("{pad}{}", Selector(&expr.matchers))];
    let pad = indent(level + 1);
    for stage in &expr.stages {
        match stage {
            Stage::LineFilters(filters) if one_line(stage).is_none() => {
                lines.extend(filters.iter().map(|filter| format!("{pad}{filter}")));
            }
            _ => lines.push(format!("{pad}{stage}")),
        }
    }
    lines.join("\n")
}

fn range(range: &LogRange, level: usize) -> String {
    let mut out = log(&range.selector, level);
    if let Some(unwrap) = &range.unwrap {
        let pad = indent(level + 1);
        out.push_str(&format!("\n{pad}{}", UnwrapHead(unwrap)));
        for filter in &unwrap.post_filters {
            out.push_str(&format!("\n{pad}| {filter}"));
        }
    }
    out.push_str(&format!(" [{}]", prometheus_duration(range.interval_ns)));
    if range.offset_ns != 0 {
        let offset = if range.offset_ns % 1_000_000 == 0 {
            prometheus_duration(range.offset_ns)
        } else {
            super::units::go_duration(range.offset_ns)
        };
        out.push_str(&format!(" offset {offset}"));
    }
    out
}

fn grouping(grouping: &Grouping) -> String {
    let names = grouping.labels.join(", ");
    match (grouping.without, grouping.labels.is_empty()) {
        (true, true) => " without ()".to_owned(),
        (true, false) => format!(" without ({names})"),
        (false, true) => String::new(),
        (false, false) => format!(" by ({names})"),
    }
}

fn metric(expr: &MetricExpr, level: usize) -> String {
    let (pad, inner) = (indent(level), indent(level + 1));
    if let Some(text) = one_line(expr) {
        return pad + &text;
    }
    match &expr.kind {
        MetricKind::Range(r) => {
            let param = r.param.map_or_else(String::new, |q| {
                format!("{inner}{},\n", Number(q, model::number::format_sprint))
            });
            let by = match &r.grouping {
                Some(g) if g.is_singleton() => " by ()".to_owned(),
                Some(g) => grouping(g),
                None => String::new(),
            };
            let op = r.op.as_str();
            format!(
                "{pad}{op}(\n{param}{}\n{pad}){by}",
                range(&r.range, level + 1)
            )
        }
        MetricKind::Vector(v) => {
            let param = if v.param > 0 {
                format!("{inner}{},\n", v.param)
            } else {
                String::new()
            };
            format!(
                "{pad}{}{}(\n{param}{}\n{pad})",
                v.op.as_str(),
                grouping(&v.grouping),
                metric(&v.expr, level + 1)
            )
        }
        MetricKind::Binary(b) => {
            // Loki prints the sides without the parentheses that an operator of higher
            // precedence around them needs; those stay here.
            format!(
                "{}\n{pad}{}\n{}",
                side(&b.left, level + 1),
                Operator(b, ", "),
                side(&b.right, level + 1)
            )
        }
        MetricKind::LabelReplace(r) => {
            let texts = [&r.dst, &r.replacement, &r.src, &r.regex]
                .map(|text| format!(",\n{inner}{}", go_quote(text)))
                .concat();
            format!(
                "{pad}label_replace(\n{}{texts}\n{pad})",
                metric(&r.expr, level + 1)
            )
        }
        MetricKind::Literal(_) | MetricKind::VectorOf(_) => format!("{pad}{expr}"),
    }
}

/// One side of an operator: an operation that is broken into lines is put in parentheses.
fn side(expr: &MetricExpr, level: usize) -> String {
    if matches!(expr.kind, MetricKind::Binary(_)) && one_line(expr).is_none() {
        let pad = indent(level);
        return format!("{pad}(\n{}\n{pad})", metric(expr, level + 1));
    }
    metric(expr, level)
}

#[cfg(test)]
mod tests {
    use crate::logql::parse;

    #[track_caller]
    fn check(query: &str, expect: &str) {
        let expr = parse(query).unwrap();
        let shown = super::pretty(&expr);
        assert_eq!(shown, expect);
        assert_eq!(parse(&shown).unwrap().to_string(), expr.to_string());
    }

    #[test]
    fn short_queries_stay_on_their_line() {
        check(
            r#"sum(count_over_time({app="web",env="prod"}[5m])) by (host)"#,
            r#"sum by (host)(count_over_time({app="web", env="prod"}[5m]))"#,
        );
    }

    #[test]
    fn long_queries_are_broken_at_stages_and_arguments() {
        check(
            r#"topk(5, sum by (app)(count_over_time({service_name="checkout", host="vps-one", stream="stdout"} |= "error" | logfmt | duration > 10s | unwrap bytes(size) [1m])))"#
                .replace("count_over_time", "sum_over_time")
                .as_str(),
            r#"topk(
  5,
  sum by (app)(
    sum_over_time(
      {service_name="checkout", host="vps-one", stream="stdout"} |= "error" | logfmt | duration>10s
        | unwrap bytes(size) [1m]
    )
  )
)"#,
        );
    }
}
