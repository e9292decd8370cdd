//! The notation of series: labels, then one item per step.

use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Span};
use model::{Histogram, Labels, STALE_NAN, number};

use crate::histogram;
use crate::promql::parser::{metric_labels, parse_number};

/// Most items one description may expand to.
pub const ITEMS_MAX: usize = 1_000_000;

/// One step of a described series.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// No sample.
    Gap,
    /// A float; [`STALE_NAN`] for `stale`.
    Float(f64),
    /// A native histogram, and whether its reset hint was written.
    Histogram(Arc<Histogram>, bool),
}

/// Reads `name{label="value"} items…`.
///
/// # Errors
/// A text that says what is wrong.
pub fn parse(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (metric, items) = split_metric(line);
    Ok((labels(metric)?, parse_items(items)?))
}

/// Reads `name{label="value"}`.
///
/// # Errors
/// A text that says what is wrong.
pub fn labels(metric: &str) -> Result<Labels, String> {
    metric_labels(metric).map_err(|e| e.to_string())
}

/// The part before the first space outside braces and quotes, and the rest.
#[must_use]
pub fn split_metric(line: &str) -> (&str, &str) {
    let (mut in_braces, mut quote, mut escaped) = (false, None, false);
    for (i, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) => {
                escaped = c == '\\' && q != '`';
                if c == q {
                    quote = None;
                }
            }
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' => in_braces = true,
                '}' => in_braces = false,
                c if c.is_whitespace() && !in_braces => return (&line[..i], &line[i..]),
                _ => {}
            },
        }
    }
    (line, "")
}

/// Reads `1+2x3 _ stale {{…}}x2`.
///
/// # Errors
/// A text that names the wrong item.
pub fn parse_items(text: &str) -> Result<Vec<Item>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = item_end(rest);
        let item = &rest[..end];
        parse_item(item, &mut out).ok_or_else(|| format!("bad series item {item:?}"))?;
        if out.len() > ITEMS_MAX {
            return Err(format!("more than {ITEMS_MAX} items"));
        }
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// An item ends at a space outside `{{…}}`.
fn item_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c.is_whitespace() && depth == 0 => return i,
            _ => {}
        }
    }
    text.len()
}

/// Cuts a trailing `x12`.
pub(super) fn split_times(item: &str) -> Option<(&str, Option<usize>)> {
    match item.rsplit_once('x') {
        Some((value, times)) if !value.is_empty() && !times.contains('}') => {
            Some((value, Some(times.parse().ok().filter(|n| *n < ITEMS_MAX)?)))
        }
        _ => Some((item, None)),
    }
}

fn parse_item(item: &str, out: &mut Vec<Item>) -> Option<()> {
    let (value, times) = split_times(item)?;
    match value {
        // In lines of start timestamps: as the last one before.
        "*" => {
            let float = |i: &Item| match i {
                Item::Float(v) => Some(*v),
                _ => None,
            };
            let last = out.iter().rev().find_map(float).unwrap_or(0.0);
            out.extend(vec![Item::Float(last); times.map_or(1, |n| n + 1)]);
        }
        "_" => out.extend(vec![Item::Gap; times.unwrap_or(1)]),
        "stale" => out.extend(vec![Item::Float(STALE_NAN); times.map_or(1, |n| n + 1)]),
        _ if value.starts_with("{{") => return parse_histograms(value, times, out),
        _ => {
            let (start, step) = split_step(value);
            let start = signed_number(start)?;
            let step = match step {
                Some(text) => signed_number(text)?,
                None => 0.0,
            };
            let mut v = start;
            for _ in 0..=times.unwrap_or(0) {
                out.push(Item::Float(v));
                v += step;
            }
        }
    }
    Some(())
}

/// `1-2` into `1` and `-2`; signs of exponents stay.
fn split_step(text: &str) -> (&str, Option<&str>) {
    let bytes = text.as_bytes();
    for i in 1..bytes.len() {
        let exponent =
            matches!(bytes[i - 1], b'e' | b'E') && bytes[..i - 1].iter().any(u8::is_ascii_digit);
        if matches!(bytes[i], b'+' | b'-') && !exponent {
            let step = text[i..].strip_prefix('+').unwrap_or(&text[i..]);
            return (&text[..i], Some(step));
        }
    }
    (text, None)
}

/// A number or duration (in seconds) with signs.
pub(super) fn signed_number(text: &str) -> Option<f64> {
    if let Some(rest) = text.strip_prefix('-') {
        return signed_number(rest).map(|v| -v);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    parse_number(text).or_else(|| {
        let d = number::parse_duration(text).ok()?;
        Some(d.as_millis() as f64 / 1000.0)
    })
}

fn parse_histograms(value: &str, times: Option<usize>, out: &mut Vec<Item>) -> Option<()> {
    let end = value.find("}}")? + 2;
    let (mut h, hinted) = parse_histogram(&value[..end])?;
    let step = match value[end..].chars().next() {
        None => None,
        Some(sign @ ('+' | '-')) => {
            let (step, _) = parse_histogram(&value[end + 1..])?;
            // A coarser step would change the start's buckets.
            if step.schema < h.schema && h.schema != CUSTOM_BUCKETS_SCHEMA {
                return None;
            }
            Some((sign, step))
        }
        Some(_) => return None,
    };
    for i in 0..=times.unwrap_or(0) {
        if i > 0
            && let Some((sign, step)) = &step
        {
            let hint = h.counter_reset_hint;
            if *sign == '+' {
                histogram::add(&mut h, step).ok()?;
            } else {
                histogram::subtract(&mut h, step).ok()?;
            }
            if hint == CounterResetHint::Unknown {
                h.counter_reset_hint = hint;
            }
        }
        out.push(Item::Histogram(Arc::new(h.clone()), hinted));
    }
    Some(())
}

/// Reads `{{schema:0 sum:5 buckets:[1 2]}}`.
fn parse_histogram(text: &str) -> Option<(Histogram, bool)> {
    let mut rest = text.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let mut h = Histogram::default();
    let (mut offset, mut negative_offset) = (0, 0);
    let mut hinted = false;
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':')?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
        };
        let float = || signed_number(value);
        let list = || {
            value
                .split_whitespace()
                .map(signed_number)
                .collect::<Option<Vec<f64>>>()
        };
        match key.trim() {
            "schema" => h.schema = value.parse().ok()?,
            "sum" => h.sum = float()?,
            "count" => h.count = float()?,
            "z_bucket" => h.zero_count = float()?,
            "z_bucket_w" => h.zero_threshold = float()?,
            "buckets" => h.positive_buckets = list()?,
            "n_buckets" => h.negative_buckets = list()?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => negative_offset = value.parse().ok()?,
            "custom_values" => h.custom_values = list()?,
            "counter_reset_hint" => {
                hinted = true;
                h.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
        rest = next.trim_start();
    }
    let span = |offset: i32, buckets: &[f64]| match u32::try_from(buckets.len()) {
        Ok(length) if length > 0 => vec![Span { offset, length }],
        _ => Vec::new(),
    };
    h.positive_spans = span(offset, &h.positive_buckets);
    h.negative_spans = span(negative_offset, &h.negative_buckets);
    Some((h, hinted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[f64]) {
        let items = parse_items(text).unwrap();
        let floats: Vec<f64> = items
            .iter()
            .map(|i| match i {
                Item::Float(v) => *v,
                _ => -99.0,
            })
            .collect();
        assert_eq!(floats, expect, "{text}");
    }

    #[test]
    fn items_expand_step_by_step() {
        check("1+2x3 _ 5", &[1.0, 3.0, 5.0, 7.0, -99.0, 5.0]);
        check("_x2 3x1 1e3-1x1", &[-99.0, -99.0, 3.0, 3.0, 1000.0, 999.0]);
        check("-1-1x1 +Inf 5m", &[-1.0, -2.0, f64::INFINITY, 300.0]);
        check("-1m _ * *x1", &[-60.0, -99.0, -60.0, -60.0, -60.0]);
        assert!(parse_items("1+x").is_err());
    }

    #[test]
    fn histograms_are_read_and_stepped() {
        let items =
            parse_items("{{schema:1 count:2 buckets:[1 1]}}+{{schema:1 count:1 buckets:[1]}}x1")
                .unwrap();
        let Item::Histogram(h, _) = &items[1] else {
            panic!()
        };
        assert_eq!(
            (h.count, h.positive_buckets.as_slice()),
            (3.0, &[2.0, 1.0][..])
        );
    }

    #[test]
    fn the_metric_ends_at_the_first_space_outside_braces() {
        assert_eq!(
            split_metric(r#"a{b="c d}", e="f"} 1 2"#),
            (r#"a{b="c d}", e="f"}"#, " 1 2")
        );
        assert_eq!(parse("{} 1").unwrap().0, Labels::empty());
    }
}
