//! PromQL with terms of LogQL: `sum(rate({app="shop"} |= "refused" [5m])) > 1 and on() up{job="db"} == 1`.
//!
//! A term is a function over a window of lines that is not PromQL's. Each is computed first; PromQL
//! then finds its values under a name of their own in place of the term.

use std::fmt;
use std::ops::Range;

use model::series::InMemoryCursor;
use model::{
    FPoint, Labels, MatchOp, Matcher, ReadError, Selected, SelectedSeries, Selection, SeriesReader,
    TimeRange, Timestamp,
};
use query::logql::ast::{MetricExpr, RangeOp};
use query::logql::{self, ast};
use query::promql::ast::ExprKind;
use query::{Expr, PointValue};

use super::{Evaluation, ExprError, METRIC_NAME, check_type, has_nameless_window, is_plain};
use crate::alert_rule::RuleError;

/// Terms of LogQL in one expression; each reads lines.
const TERMS_MAX: usize = 20;
/// Functions that are looked at as terms: each look goes through the text.
const WORDS_MAX: usize = 200;
/// Begins the names under which PromQL finds the terms' values. Shorter than any term.
const NAME: &str = "__logql_";

/// PromQL that has terms of LogQL.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// As written.
    text: String,
    /// With a name in place of each term.
    expr: Expr,
    /// What stands under each name.
    terms: Vec<MetricExpr>,
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Mixed {
    /// `None` when there is no term of LogQL in the text.
    pub(super) fn parse(text: &str) -> Option<Result<Mixed, ExprError>> {
        let found = terms(text);
        if found.is_empty() {
            return None;
        }
        Some(Mixed::with_terms(text, found))
    }

    fn with_terms(text: &str, found: Vec<(Range<usize>, MetricExpr)>) -> Result<Mixed, ExprError> {
        if let Some((place, _)) = found.get(TERMS_MAX) {
            return Err(ExprError {
                message: format!("more than {TERMS_MAX} terms over lines"),
                offset: Some(place.start),
            });
        }
        let mut metrics = text.to_owned();
        for (i, (place, _)) in found.iter().enumerate() {
            // As long as the term, so that places in the text stay what they are.
            let name = format!("{NAME}{i}");
            let width = place.len();
            metrics.replace_range(place.clone(), &format!("{name:width$}"));
        }
        let expr = query::parse(&metrics).map_err(|error| ExprError {
            message: format!("could not parse expression: {}", error.message),
            offset: Some(error.span.start),
        })?;
        check_type(&expr)?;
        check_use(&expr)?;
        Ok(Mixed {
            text: text.trim().to_owned(),
            expr,
            terms: found.into_iter().map(|(_, term)| term).collect(),
        })
    }

    pub(super) fn eval(
        &self,
        evaluation: &Evaluation<'_>,
    ) -> Result<Vec<(Labels, PointValue)>, RuleError> {
        let terms = self.terms.iter().map(|term| evaluation.logs(term));
        let reader = WithTerms {
            series: evaluation.env.reader(),
            terms: terms.collect::<Result<_, _>>()?,
            at: evaluation.at,
        };
        evaluation.metrics(&self.expr, &reader)
    }
}

/// A term has a value at the instant of evaluation only.
fn check_use(expr: &Expr) -> Result<(), ExprError> {
    let mut wrong = None;
    expr.walk(&mut |e| {
        let misused = match &e.kind {
            ExprKind::Selector(s) => is_term(&s.matchers) && !is_plain(&e.kind),
            ExprKind::Range(r) => is_term(&r.selector.matchers),
            ExprKind::Subquery(s) => s.expr.selectors().any(|(matchers, _)| is_term(matchers)),
            _ => false,
        };
        if misused && wrong.is_none() {
            wrong = Some(e.span.start);
        }
    });
    let Some(offset) = wrong else {
        return Ok(());
    };
    Err(ExprError {
        message: "beside metrics, lines can be computed with at the instant of evaluation only: no subquery, @ or offset around them".to_owned(),
        offset: Some(offset),
    })
}

fn is_term(matchers: &[Matcher]) -> bool {
    term_of(matchers).is_some()
}

/// The number of the term that is selected so.
fn term_of(matchers: &[Matcher]) -> Option<usize> {
    let named = |m: &&Matcher| m.name() == METRIC_NAME && m.op() == MatchOp::Equal;
    let name = matchers.iter().find(named)?.value();
    name.strip_prefix(NAME)?.parse().ok()
}

/// The store, and what the terms came to.
struct WithTerms<'r> {
    series: &'r dyn SeriesReader,
    terms: Vec<Vec<(Labels, f64)>>,
    at: Timestamp,
}

impl SeriesReader for WithTerms<'_> {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        let term = term_of(selection.matchers).and_then(|i| Some((i, self.terms.get(i)?)));
        let Some((i, values)) = term else {
            return self.series.select(selection);
        };
        let name = format!("{NAME}{i}");
        let mut values: Vec<(Labels, f64)> = values
            .iter()
            .map(|(labels, v)| {
                let mut named = labels.to_builder();
                named.set(METRIC_NAME, name.as_str());
                (named.build(), *v)
            })
            .collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        let t = self.at.millis();
        let series = values.into_iter().map(|(labels, v)| SelectedSeries {
            labels,
            cursor: Box::new(InMemoryCursor(Some(vec![FPoint { t, v }]))),
        });
        Ok(series.collect())
    }

    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError> {
        self.series.series(sets, range)
    }
}

/// Functions over lines, in text order.
fn terms(text: &str) -> Vec<(Range<usize>, MetricExpr)> {
    let mut words = Vec::new();
    scan(text, &mut |place, piece| {
        if let Piece::Word(word) = piece
            && RangeOp::of(word).is_some()
        {
            words.push((place, word.len()));
        }
        words.len() < WORDS_MAX
    });
    let mut found: Vec<(Range<usize>, MetricExpr)> = Vec::new();
    for (start, len) in words {
        if found.last().is_some_and(|(place, _)| start < place.end) {
            continue;
        }
        let Some(mut end) = call_end(text, start + len) else {
            continue;
        };
        // `avg_over_time(… [5m]) by (host)` is one term of LogQL.
        let rest = text[end..].trim_start();
        if let Some(word) = ["by", "without"]
            .iter()
            .find(|word| rest.starts_with(**word))
        {
            let after = text.len() - rest.len() + word.len();
            end = call_end(text, after).unwrap_or(end);
        }
        let term = &text[start..end];
        if query::parse(term).is_ok_and(|expr| !has_nameless_window(&expr)) {
            continue;
        }
        if let Ok(ast::Expr::Metric(expr)) = logql::parse(term) {
            found.push((start..end, expr));
        }
    }
    found
}

/// Where the parenthesis closes that opens at `from`, behind blanks.
fn call_end(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let open = text.len() - rest.trim_start().len();
    if !text[open..].starts_with('(') {
        return None;
    }
    let (mut depth, mut end) = (0_usize, None);
    scan(&text[open..], &mut |place, piece| {
        match piece {
            Piece::Other('(') => depth += 1,
            Piece::Other(')') => depth = depth.saturating_sub(1),
            _ => return true,
        }
        if depth == 0 {
            end = Some(open + place + 1);
        }
        depth > 0
    });
    end
}

/// What stands in an expression of either language.
pub(super) enum Piece<'t> {
    /// A quoted text begins here.
    Text,
    /// A name or key word.
    Word(&'t str),
    /// Anything else but blanks and comments.
    Other(char),
}

/// Goes through the pieces of an expression, each with its place, until `visit` has enough and says
/// `false`.
pub(super) fn scan<'t>(text: &'t str, visit: &mut dyn FnMut(usize, Piece<'t>) -> bool) {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (piece, len) = match c {
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '"' | '\'' | '`' => (Some(Piece::Text), quoted_len(rest, c)),
            _ if c.is_ascii_alphabetic() || c == '_' => {
                let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
                let word = rest.split(|c| !inside(c)).next().unwrap_or(rest);
                (Some(Piece::Word(word)), word.len())
            }
            _ if c.is_whitespace() => (None, c.len_utf8()),
            _ => (Some(Piece::Other(c)), c.len_utf8()),
        };
        if piece.is_some_and(|piece| !visit(at, piece)) {
            return;
        }
        at += len;
    }
}

/// Bytes of the quoted text at the beginning, quotes included; all where it does not end.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return i + 1;
        }
    }
    text.len()
}
