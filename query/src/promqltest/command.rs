//! A script's text as commands.

use model::{Labels, number};

use super::expectation::{Expectations, Line};
use super::series::{self, Item};

/// One command and the line it starts at, from 1.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Clear,
    Load {
        step_ms: i64,
        nhcb: bool,
        series: Vec<(Labels, Vec<Item>)>,
        starts: Vec<(Labels, Vec<Item>)>,
    },
    Eval(Box<Eval>),
    /// A line that could not be read; counts as one failure.
    Wrong(String),
}

/// When to evaluate, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Instant(i64),
    Range(i64, i64, i64),
}

#[derive(Debug)]
pub(super) struct Eval {
    pub(super) when: When,
    pub(super) query: String,
    pub(super) expect: Expectations,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<Item>)>,
}

/// A duration in milliseconds.
pub(super) fn millis(text: &str) -> Result<i64, String> {
    let d = number::parse_duration(text).map_err(|e| e.to_string())?;
    Ok(model::time::duration_millis(d))
}

pub(super) fn parse(script: &str) -> Vec<Command> {
    let lines: Vec<&str> = script
        .split('\n')
        .map(|l| {
            let l = l.trim();
            if l.starts_with('#') { "" } else { l }
        })
        .collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        if lines[first].is_empty() {
            at += 1;
            continue;
        }
        let block_end = lines[first..]
            .iter()
            .position(|l| l.is_empty())
            .map_or(lines.len(), |n| first + n);
        let word = lines[first]
            .split_whitespace()
            .next()
            .unwrap_or("")
            .to_ascii_lowercase();
        let body = &lines[first + 1..block_end];
        at = block_end;
        let kind = if word == "clear" {
            at = first + 1;
            Ok(Kind::Clear)
        } else if word.starts_with("load") {
            load(lines[first], body)
        } else if word.starts_with("eval") {
            eval(lines[first], body).map(|(e, taken)| {
                at = first + 1 + taken;
                Kind::Eval(Box::new(e))
            })
        } else {
            Err(format!("unknown command {word:?}"))
        };
        commands.push(Command {
            line: first + 1,
            kind: kind.unwrap_or_else(Kind::Wrong),
        });
    }
    commands
}

fn load(line: &str, body: &[&str]) -> Result<Kind, String> {
    let mut words = line.split_whitespace();
    let nhcb = words
        .next()
        .is_some_and(|w| w.eq_ignore_ascii_case("load_with_nhcb"));
    let step_ms = millis(words.next().unwrap_or(""))?;
    let mut series: Vec<(Labels, Vec<Item>)> = Vec::new();
    let mut starts: Vec<(Labels, Vec<Item>)> = Vec::new();
    let mut usual_starts: Option<Vec<Item>> = None;
    for line in body {
        let (metric, items) = series::split_metric(line);
        if let Some(metric) = metric.strip_suffix("@st") {
            let items = series::parse_items(items)?;
            if metric.is_empty() {
                usual_starts = Some(items).filter(|i| !i.is_empty());
            } else {
                starts.push((series::labels(metric)?, items));
            }
            continue;
        }
        let (labels, items) = series::parse(line)?;
        if let Some(usual) = &usual_starts
            && !starts.iter().any(|(l, _)| *l == labels)
        {
            let cycled = usual.iter().cycle().take(items.len()).cloned();
            starts.push((labels.clone(), cycled.collect()));
        }
        // Within one load the last of equal series counts.
        series.retain(|(l, _)| *l != labels);
        series.push((labels, items));
    }
    Ok(Kind::Load {
        step_ms,
        nhcb,
        series,
        starts,
    })
}

/// An evaluation, and how many lines of `body` are its own: a number as the result, and the message
/// of a failure in the old style, end it.
fn eval(line: &str, body: &[&str]) -> Result<(Eval, usize), String> {
    let wrong = || format!("bad eval line {line:?}");
    let (head, rest) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let mut expect = Expectations::default();
    expect.set_kind(&head["eval".len()..]);
    let mut rest = rest.trim_start();
    let mut word = || {
        let (w, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        Some(w)
    };
    let kind = word().ok_or_else(wrong)?;
    let mut keyed = |key: &str| {
        let found = word().filter(|w| *w == key).and_then(|_| word());
        millis(found.ok_or_else(wrong)?)
    };
    let when = match kind {
        "instant" => When::Instant(keyed("at")?),
        "range" => When::Range(keyed("from")?, keyed("to")?, keyed("step")?),
        _ => return Err(wrong()),
    };
    let query = rest.to_owned();
    let mut out = Eval {
        when,
        query,
        expect,
        scalar: None,
        series: Vec::new(),
    };
    for (i, line) in body.iter().enumerate() {
        match out.expect.line(line)? {
            Line::Expectation => {}
            Line::Last => return Ok((out, i + 1)),
            Line::Other => {
                if let Some(v) = series::signed_number(line) {
                    out.scalar = Some(v);
                    return Ok((out, i + 1));
                }
                out.series.push(series::parse(line)?);
            }
        }
    }
    Ok((out, body.len()))
}
