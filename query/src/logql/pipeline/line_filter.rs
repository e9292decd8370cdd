//! Line filters.

use model::Regex;

use super::ip::Addresses;
use super::pattern::Pattern;
use crate::logql::ast::{LineFilter, LineOp, Needle};

/// Filters that must all let a line pass, cheap ones first.
pub(super) struct LineFilters(Vec<Condition>);

struct Condition {
    /// One of them is enough.
    any: Vec<Search>,
    negative: bool,
}

enum Search {
    Text(String),
    Regex(Regex),
    Pattern(Pattern),
    Ip(Addresses),
}

impl LineFilters {
    pub(super) fn new(filters: &[LineFilter]) -> Result<Self, String> {
        let mut conditions = Vec::with_capacity(filters.len());
        for filter in filters {
            let any = filter
                .needles
                .iter()
                .map(|needle| Search::new(filter.op, needle))
                .collect::<Result<Vec<_>, _>>()?;
            conditions.push(Condition {
                any,
                negative: filter.op.is_negative(),
            });
        }
        // All must hold, in whatever order they are looked at.
        conditions.sort_by_key(|c| c.any.iter().map(Search::cost).max());
        Ok(LineFilters(conditions))
    }

    pub(super) fn keeps(&self, line: &str) -> bool {
        self.0
            .iter()
            .all(|c| c.any.iter().any(|s| s.found_in(line)) != c.negative)
    }
}

impl Search {
    fn new(op: LineOp, needle: &Needle) -> Result<Self, String> {
        let text = &needle.text;
        Ok(match op {
            LineOp::Contains | LineOp::ContainsNot if needle.is_ip => {
                Search::Ip(Addresses::new(text)?)
            }
            _ if needle.is_ip => return Err("ip: invalid operation".to_owned()),
            LineOp::Contains | LineOp::ContainsNot => Search::Text(text.clone()),
            LineOp::Regex | LineOp::RegexNot => {
                Search::Regex(Regex::unanchored(text).map_err(|e| e.to_string())?)
            }
            LineOp::Pattern | LineOp::PatternNot => Search::Pattern(Pattern::filter(text)?),
        })
    }

    fn cost(&self) -> u8 {
        match self {
            Search::Text(_) => 0,
            Search::Pattern(_) => 1,
            Search::Regex(_) => 2,
            Search::Ip(_) => 3,
        }
    }

    fn found_in(&self, line: &str) -> bool {
        match self {
            Search::Text(text) => line.contains(text.as_str()),
            Search::Regex(regex) => regex.is_match(line),
            Search::Pattern(pattern) => pattern.matches(line),
            Search::Ip(addresses) => addresses.found_in(line),
        }
    }
}
