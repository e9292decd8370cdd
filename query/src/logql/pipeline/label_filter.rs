//! Conditions on labels.
//!
//! A label that should be a number and is none does not drop the line: it marks it with an error
//! and lets it pass. Source of the rules: loki pkg/logql/log/label_filter.go.

use model::Matcher;

use super::ip::Addresses;
use crate::logql::ast::{CompareOp, LabelFilter};
use crate::logql::labels::LineLabels;
use crate::logql::units;

const ERROR: &str = "LabelFilter";

/// A condition made ready.
pub(crate) enum Filter {
    String(Matcher),
    Ip {
        name: String,
        addresses: Addresses,
        negative: bool,
    },
    Number(String, CompareOp, f64),
    Duration(String, CompareOp, i64),
    Bytes(String, CompareOp, u64),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    /// # Errors
    /// When an address range is wrong.
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, String> {
        let both = |left: &LabelFilter, right: &LabelFilter| {
            Ok::<_, String>((Box::new(Filter::new(left)?), Box::new(Filter::new(right)?)))
        };
        Ok(match filter {
            LabelFilter::String(matcher) => Filter::String(matcher.clone()),
            LabelFilter::Ip {
                name,
                pattern,
                negative,
            } => Filter::Ip {
                name: name.clone(),
                addresses: Addresses::new(pattern)?,
                negative: *negative,
            },
            LabelFilter::Number(name, op, value) => Filter::Number(name.clone(), *op, *value),
            LabelFilter::Duration(name, op, value) => Filter::Duration(name.clone(), *op, *value),
            LabelFilter::Bytes(name, op, value) => Filter::Bytes(name.clone(), *op, *value),
            LabelFilter::And(left, right) => {
                let (left, right) = both(left, right)?;
                Filter::And(left, right)
            }
            LabelFilter::Or(left, right) => {
                let (left, right) = both(left, right)?;
                Filter::Or(left, right)
            }
        })
    }

    /// Adds the names of the labels it reads.
    pub(crate) fn names(&self, out: &mut Vec<String>) {
        match self {
            // It lets every value pass, so it needs none.
            Filter::String(m) if is_any(m) => {}
            Filter::String(m) => out.push(m.name().to_owned()),
            Filter::Ip { name, .. }
            | Filter::Number(name, ..)
            | Filter::Duration(name, ..)
            | Filter::Bytes(name, ..) => out.push(name.clone()),
            Filter::And(left, right) | Filter::Or(left, right) => {
                left.names(out);
                right.names(out);
            }
        }
    }

    /// Whether the line stays.
    pub(crate) fn keeps(&self, labels: &mut LineLabels) -> bool {
        match self {
            Filter::String(m) => m.matches(labels.value_to_match(m.name())),
            Filter::Ip {
                name,
                addresses,
                negative,
            } => {
                if labels.has_error() {
                    return true;
                }
                labels
                    .get(name)
                    .is_some_and(|text| addresses.found_in(text) != *negative)
            }
            Filter::Number(name, op, wanted) => {
                compare(labels, name, *op, *wanted, units::parse_float)
            }
            Filter::Duration(name, op, wanted) => {
                compare(labels, name, *op, *wanted, units::parse_go_duration)
            }
            Filter::Bytes(name, op, wanted) => {
                compare(labels, name, *op, *wanted, units::parse_bytes)
            }
            Filter::And(left, right) => left.keeps(labels) && right.keeps(labels),
            Filter::Or(left, right) => left.keeps(labels) || right.keeps(labels),
        }
    }
}

fn is_any(matcher: &Matcher) -> bool {
    matcher.op() == model::MatchOp::Regex && matcher.value() == ".*"
}

fn compare<T: PartialOrd + Copy>(
    labels: &mut LineLabels,
    name: &str,
    op: CompareOp,
    wanted: T,
    read: impl Fn(&str) -> Result<T, String>,
) -> bool {
    let Some(text) = labels.get(name) else {
        return false;
    };
    match read(text) {
        Ok(value) => op.holds(value, wanted),
        Err(why) => {
            // An earlier error says more.
            if !labels.has_error() {
                labels.set_error(ERROR, &why);
            }
            true
        }
    }
}
