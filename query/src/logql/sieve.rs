//! What lines must have to come through a pipeline, as far as that shows before stages run.

use model::{MatchOp, Regex, Sieve};

use super::ast::{LabelFilter, LineFilter, LineOp, Stage};
use super::labels::DUPLICATE_SUFFIX;
use super::pipeline::pattern_texts;

/// The sieve of a pipeline.
pub(super) fn of(stages: &[Stage]) -> Sieve {
    let mut sieve = Sieve::new();
    // Whether a label that neither stream nor metadata have is a part of the line.
    let mut labels_are_parts = true;
    for stage in stages {
        match stage {
            Stage::LineFilters(filters) => {
                filters.iter().for_each(|f| add_line_filter(f, &mut sieve));
            }
            Stage::LabelFilter(filter) if labels_are_parts => add_label_filter(filter, &mut sieve),
            Stage::LabelFormat(_) => labels_are_parts = false,
            Stage::LineFormat(_) | Stage::Decolorize | Stage::Unpack => break,
            _ => {}
        }
    }
    sieve
}

fn add_line_filter(filter: &LineFilter, sieve: &mut Sieve) {
    if filter.op.is_negative() || filter.needles.iter().any(|n| n.is_ip) {
        return;
    }
    let texts: Vec<&str> = filter.needles.iter().map(|n| n.text.as_str()).collect();
    match filter.op {
        LineOp::Contains => sieve.require_any(&texts),
        LineOp::Regex => {
            let each: Vec<String> = texts.iter().map(|t| format!("(?:{t})")).collect();
            // What is wrong with an expression is told by the stage.
            let is_fine = |t: &&str| Regex::unanchored(t).is_ok();
            if texts.iter().all(is_fine)
                && let Ok(regex) = Regex::unanchored(&each.join("|"))
            {
                sieve.require_match(&regex);
            }
        }
        LineOp::Pattern => {
            let patterns: Vec<Vec<String>> = texts.iter().map(|t| pattern_texts(t)).collect();
            if let [texts] = &patterns[..] {
                texts.iter().for_each(|t| sieve.require_any(&[t]));
                return;
            }
            let longest = patterns.iter().map(|p| p.iter().max_by_key(|t| t.len()));
            if let Some(longest) = longest.collect::<Option<Vec<_>>>() {
                let longest: Vec<&str> = longest.iter().map(|t| t.as_str()).collect();
                sieve.require_any(&longest);
            }
        }
        LineOp::ContainsNot | LineOp::RegexNot | LineOp::PatternNot => {}
    }
}

/// A parser takes a label's value out of the line as it stands there, but for escapes. With letters
/// and digits alone no parser does anything else.
fn add_label_filter(filter: &LabelFilter, sieve: &mut Sieve) {
    match filter {
        LabelFilter::And(left, right) => {
            add_label_filter(left, sieve);
            add_label_filter(right, sieve);
        }
        LabelFilter::String(m) if m.op() == MatchOp::Equal => {
            let (name, value) = (m.name(), m.value());
            let is_plain = value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_');
            // Those are made of others, or of errors.
            let is_made = name.starts_with("__") || name.ends_with(DUPLICATE_SUFFIX);
            if is_plain && !value.is_empty() && !is_made {
                sieve.require_any_unless(&[value, "\\"], name);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::{Expr, parse};

    /// Of the lines those that may pass, when they have no labels.
    #[track_caller]
    fn check(pipeline: &str, lines: &[(&str, bool)]) {
        let Ok(Expr::Log(expr)) = parse(&format!("{{a=\"b\"}} {pipeline}")) else {
            panic!("{pipeline} is no log query");
        };
        let sieve = of(&expr.stages);
        let mask = sieve.mask(&|name| name == "a");
        for (line, expect) in lines {
            assert_eq!(
                sieve.passes(mask, line.as_bytes()),
                *expect,
                "{pipeline}: {line}"
            );
        }
    }

    #[test]
    fn line_filters_say_what_must_be_there() {
        check(
            r#"|= "x" or "y""#,
            &[("ax", true), ("y", true), ("z", false)],
        );
        check(
            r#"|~ "x+y" or "(?i)z""#,
            &[("xxy", true), ("Z", true), ("x", false)],
        );
        check(
            r#"|> "<_> to <_> at" "#,
            &[("a to b at", true), ("a at", false)],
        );
        check(
            r#"|> "<_>abc" or "d<_>""#,
            &[("xabc", true), ("d1", true), ("ab", false)],
        );
        check(r#"| json |= "x""#, &[("x", true), ("y", false)]);
    }

    #[test]
    fn what_must_not_be_there_or_comes_later_says_nothing() {
        for pipeline in [
            r#"!= "x""#,
            r#"!~ "x""#,
            r#"!> "x<_>""#,
            r#"|= ip("10.0.0.0/8")"#,
            r#"|= """#,
            r#"| line_format "{{.a}}" |= "x""#,
            r#"| decolorize |= "x""#,
            r#"| json | a="x""#,
            r#"| json | c!="x""#,
            r#"| json | c="x" or d="y""#,
            r#"| json | c="two words""#,
            r#"| json | c="""#,
            r#"| json | __error__="x""#,
            r#"| json | a_extracted="x""#,
            r#"| label_format c=d | c="x""#,
            r#"| unpack | c="x""#,
        ] {
            check(pipeline, &[("", true)]);
        }
    }

    #[test]
    fn values_of_labels_are_in_the_line_or_behind_an_escape() {
        let lines = [
            (r#"{"c":"xyz"}"#, true),
            (r#"{"c":"x\u0079z"}"#, true),
            (r#"{"c":"abc"}"#, false),
        ];
        check(r#"| json | c="xyz""#, &lines);
        check(r#"| logfmt | d > 5 and c="xyz""#, &lines);
    }
}
