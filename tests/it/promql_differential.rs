//! Expressions nobody wrote, answered by Prometheus and by us from the same remote write.
//!
//! Prometheus is Debian's 2.42; we follow 3.x. Where the two define different things, the
//! generator stays away from the difference:
//!
//! - Windows are closed on the left in 2.x and open in 3.x: no sample and no step of a subquery
//!   ever falls on the edge of a window (`data`, `Generator::subquery`).
//! - 3.x sums with compensation: what depends on the last bits (comparisons, remainders,
//!   counting distinct values) is asked only of values that both compute exactly.
//! - Where a counter would have been zero shortly before its first sample, 3.x extrapolates to
//!   half an interval before it: counters stay far from zero, also after resets.
//! - Ties of `topk` and `bottomk` are broken by order of arrival: asked only of distinct values.
//! - 2.42 calls the deviation of one NaN or infinity zero, and loses the last bits of large
//!   values in it: asked only of finite, small values.
//! - 2.42 evaluates `predict_linear` of a window pinned by `@` once for all steps, keeps the
//!   metric's name in `atan2`: asked without `@`, and of values without name.
//! - Both drop the offset of `timestamp(x offset 1m @ 5)`, we do not: only one of the two is given.
//! - A second partner, or a second result of the same labels, is an error in 2.42 only where the
//!   comparison holds, in 3.x always: such refusals of ours are counted apart.
//! - Functions, literals and modifiers that 2.42 does not know are not generated; warnings and
//!   the words of errors are not compared.
//!
//! `PROMQL_DIFFERENTIAL_EXPRESSIONS` and `PROMQL_DIFFERENTIAL_SEED` ask for more than CI does;
//! `PROMQL_DIFFERENTIAL_BINARY` names a stackwatch made elsewhere.

mod data;
mod generator;
pub(crate) mod prometheus;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stackwatch_tests::remote_write::Sender;
use stackwatch_tests::stackwatch::{Stackwatch, binary};
use stackwatch_tests::{eventually, http, skipped};

use generator::{Generator, Random};
use prometheus::Prometheus;

/// Relative difference up to which two numbers are the same.
const TOLERANCE: f64 = 1e-9;
/// Where terms cancel out, what is left of them: data are multiples of 1/4.
const TOLERANCE_NEAR_ZERO: f64 = 1e-9;
const EXPRESSIONS: u64 = 300;
const SEED: u64 = 20_240_607;

#[test]
fn generated_expressions_have_the_values_prometheus_gives_them() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let span = data::Span::before(now.as_secs() as i64);
    let Some(prometheus) = Prometheus::start(dir.path()) else {
        return skipped("no prometheus");
    };
    let other = std::env::var_os("PROMQL_DIFFERENTIAL_BINARY");
    let ours = Stackwatch::start_program(
        other.as_deref().map_or_else(|| binary(), Path::new),
        dir.path(),
        "server: { remote_write_receiver: true }\ncollect: { docker: false, interval: 1h }\n",
    );
    for address in [ours.listen(), prometheus.listen()] {
        let mut sender = Sender::connect(address, "/api/v1/write").unwrap();
        for body in data::requests(span) {
            let (status, answer) = sender.send(&body).unwrap();
            assert!((200..300).contains(&status), "{address}: {status} {answer}");
        }
    }
    let all = format!("count({{job!=\"\"}}) @ {}", span.end - 30);
    eventually(
        "both have all series",
        std::time::Duration::from_secs(20),
        || {
            (instant(ours.listen(), &all, span.end) == instant(prometheus.listen(), &all, span.end))
                .then_some(())
        },
    );

    let wanted = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |v| {
            v.parse().unwrap_or_else(|_| panic!("{name}={v}"))
        })
    };
    let (count, seed) = (
        wanted("PROMQL_DIFFERENTIAL_EXPRESSIONS", EXPRESSIONS),
        wanted("PROMQL_DIFFERENTIAL_SEED", SEED),
    );
    let mut tally = Tally::default();
    for i in 0..count {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(i));
        let expr = Generator::new(&mut random, span).expression();
        let at = span.instant(&mut random);
        let asked = format!("instant at {at}: {expr}");
        tally.compare(
            &asked,
            |address| instant(address, &expr, at),
            &ours,
            &prometheus,
        );
        let (start, end, step) = span.range(&mut random);
        let asked = format!("range {start}..{end} by {step}: {expr}");
        let ask = |address: &str| range(address, &expr, start, end, step);
        tally.compare(&asked, ask, &ours, &prometheus);
    }
    println!(
        "promql differential: seed {seed}, {count} expressions, {} answers with values, {} empty, {} refused by both, {} by 3.x only, {} different",
        tally.values,
        tally.empty,
        tally.refused,
        tally.stricter,
        tally.different.len()
    );
    assert!(tally.different.is_empty(), "{}", tally.different.join("\n"));
}

#[derive(Default)]
struct Tally {
    values: usize,
    empty: usize,
    refused: usize,
    stricter: usize,
    different: Vec<String>,
}

impl Tally {
    fn compare(
        &mut self,
        asked: &str,
        ask: impl Fn(&str) -> Answer,
        ours: &Stackwatch,
        prometheus: &Prometheus,
    ) {
        let (got, want) = (ask(ours.listen()), ask(prometheus.listen()));
        match (&got, &want) {
            (Answer::Refused(_), Answer::Refused(_)) => self.refused += 1,
            (Answer::Refused(why), _) if why.contains("multiple matches for labels") => {
                self.stricter += 1;
            }
            (got, want) if same(got, want) => match want {
                Answer::Series(series) if series.is_empty() => self.empty += 1,
                _ => self.values += 1,
            },
            _ => {
                let (got, want) = first_difference(&got, &want);
                let line = format!("{asked}\n  ours:       {got}\n  prometheus: {want}");
                println!("{line}");
                self.different.push(line);
            }
        }
    }
}

/// An answer, in a form that can be compared: points by label set, `{}` for a scalar.
#[derive(Debug, PartialEq)]
enum Answer {
    Series(BTreeMap<String, Vec<(String, f64)>>),
    Refused(String),
}

fn same(a: &Answer, b: &Answer) -> bool {
    let (Answer::Series(a), Answer::Series(b)) = (a, b) else {
        return false;
    };
    a.len() == b.len()
        && a.iter().zip(b).all(|((la, pa), (lb, pb))| {
            la == lb
                && pa.len() == pb.len()
                && pa
                    .iter()
                    .zip(pb)
                    .all(|(p, q)| p.0 == q.0 && close(p.1, q.1))
        })
}

/// Where two answers part.
fn first_difference(a: &Answer, b: &Answer) -> (String, String) {
    let (Answer::Series(a), Answer::Series(b)) = (a, b) else {
        return (shorten(a), shorten(b));
    };
    let labels = a.keys().chain(b.keys());
    let Some(labels) = labels.into_iter().find(|l| match (a.get(*l), b.get(*l)) {
        (Some(p), Some(q)) => {
            let equal = |(p, q): (&(String, f64), &(String, f64))| p.0 == q.0 && close(p.1, q.1);
            p.len() != q.len() || !p.iter().zip(q).all(equal)
        }
        _ => true,
    }) else {
        return (shorten(a), shorten(b));
    };
    let (Some(p), Some(q)) = (a.get(labels), b.get(labels)) else {
        let there = |x: &BTreeMap<String, Vec<(String, f64)>>| {
            let names: Vec<&String> = x.keys().collect();
            format!("{labels}: {:?} of {}", x.get(labels), shorten(&names))
        };
        return (there(a), there(b));
    };
    let same = |(p, q): &(&(String, f64), &(String, f64))| p.0 == q.0 && close(p.1, q.1);
    let at = p.iter().zip(q).take_while(same).count();
    let shown = |points: &[(String, f64)]| {
        format!("{labels}: {:?} of {} points", points.get(at), points.len())
    };
    (shown(p), shown(q))
}

fn shorten(what: &impl std::fmt::Debug) -> String {
    format!("{what:?}").chars().take(600).collect()
}

fn close(a: f64, b: f64) -> bool {
    let difference = (a - b).abs();
    a == b
        || (a.is_nan() && b.is_nan())
        || difference <= TOLERANCE * a.abs().max(b.abs())
        || difference <= TOLERANCE_NEAR_ZERO
}

fn instant(address: &str, expr: &str, at: i64) -> Answer {
    let expr = http::encode(expr);
    answer(address, &format!("/api/v1/query?query={expr}&time={at}"))
}

fn range(address: &str, expr: &str, start: i64, end: i64, step: i64) -> Answer {
    let expr = http::encode(expr);
    answer(
        address,
        &format!("/api/v1/query_range?query={expr}&start={start}&end={end}&step={step}"),
    )
}

fn answer(address: &str, path: &str) -> Answer {
    let json = http::request("GET", address, path, &[], "")
        .unwrap_or_else(|e| panic!("{address}{path}: {e}"))
        .json();
    if json["status"] != "success" {
        return Answer::Refused(json["error"].to_string());
    }
    let data = &json["data"];
    let point = |p: &Value| {
        let value = p[1].as_str().unwrap_or_else(|| panic!("{path}: {json}"));
        (p[0].to_string(), value.parse().unwrap_or(f64::NAN))
    };
    let mut series = BTreeMap::new();
    if data["resultType"] == "scalar" {
        series.insert("{}".to_owned(), vec![point(&data["result"])]);
        return Answer::Series(series);
    }
    for one in data["result"].as_array().into_iter().flatten() {
        let points = match one.get("values") {
            Some(values) => values.as_array().into_iter().flatten().map(point).collect(),
            None => vec![point(&one["value"])],
        };
        // A map of serde_json prints its keys sorted.
        let earlier = series.insert(one["metric"].to_string(), points);
        assert!(earlier.is_none(), "{path}: twice {}", one["metric"]);
    }
    Answer::Series(series)
}
