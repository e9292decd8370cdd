//! Runs a script, each instant evaluation several times: as written, pinned with `@` to its
//! instant but evaluated at others, and each of those as the middle step of a range query.

use std::time::Duration;

use model::Timestamp;

use super::command::{self, Eval, Kind, When};
use super::store::MemoryReader;
use super::{compare, nhcb, pin};
use crate::eval::{
    Engine, EngineOptions, EvalError, Evaluation, Limits, PointValue, Value, VectorSample,
};
use crate::{Expr, ValueType};

/// An evaluation that was not as expected.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Line of the script, from 1.
    pub line: usize,
    /// The query, or the command's text.
    pub query: String,
    /// What was wrong.
    pub reason: String,
}

/// The outcome of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Evaluations that were as expected in all their runs.
    pub passed: usize,
    /// The others, and commands that could not be read.
    pub failures: Vec<Failure>,
}

/// Runs a script on an engine with the options the format assumes.
#[must_use]
pub fn run(script: &str) -> Report {
    let engine = Engine::new(EngineOptions {
        delayed_name_removal: true,
        start_timestamps: true,
        ..EngineOptions::default()
    });
    let mut store = MemoryReader::default();
    let mut report = Report::default();
    for command in command::parse(script) {
        match command.kind {
            Kind::Clear => store.clear(),
            Kind::Load {
                step_ms,
                nhcb,
                series,
                starts,
            } => {
                for (labels, items) in &starts {
                    store.load_starts(labels, items, step_ms);
                }
                for (labels, items) in &series {
                    store.load(labels, items, step_ms);
                }
                if nhcb {
                    for (labels, items) in nhcb::convert(&series) {
                        store.load(&labels, &items, step_ms);
                    }
                }
            }
            Kind::Wrong(reason) => report.failures.push(Failure {
                line: command.line,
                query: String::new(),
                reason,
            }),
            Kind::Eval(eval) => match check(&engine, &store, &eval) {
                Ok(()) => report.passed += 1,
                Err(reason) => report.failures.push(Failure {
                    line: command.line,
                    query: eval.query.clone(),
                    reason,
                }),
            },
        }
    }
    report
}

fn check(engine: &Engine, store: &MemoryReader, eval: &Eval) -> Result<(), String> {
    let expr = crate::parse(&eval.query).map_err(|e| e.to_string())?;
    match eval.when {
        When::Range(start, end, step) => {
            let result = range(engine, store, &expr, start, end, step);
            let Some(result) = outcome(eval, result)? else {
                return Ok(());
            };
            match result.value {
                Value::Matrix(found) => compare::matrix(&found, &eval.series, start, step),
                other => Err(format!("expected a matrix, got {other:?}")),
            }
        }
        When::Instant(at) => {
            instant(engine, store, eval, &expr, at)?;
            let others = if at == 0 {
                vec![-1000, 0, 1000]
            } else {
                vec![at.saturating_mul(-10), 0, at / 5, at, at.saturating_mul(10)]
            };
            if let Some(pinned) = pin::pinned(&expr, at) {
                for t in others {
                    instant(engine, store, eval, &pinned, t)
                        .map_err(|e| format!("pinned, at {t} ms: {e}"))?;
                }
            }
            Ok(())
        }
    }
}

fn range(
    engine: &Engine,
    store: &MemoryReader,
    expr: &Expr,
    start: i64,
    end: i64,
    step: i64,
) -> Result<Evaluation, EvalError> {
    engine.range(
        expr,
        store,
        Timestamp::from_millis(start),
        Timestamp::from_millis(end),
        Duration::from_millis(step.max(0) as u64),
        &Limits::default(),
    )
}

/// The evaluation to compare, or `None` if it failed as it should.
fn outcome(
    eval: &Eval,
    result: Result<Evaluation, EvalError>,
) -> Result<Option<Evaluation>, String> {
    match result {
        Err(e) => eval.expect.check_error(&e.to_string()).map(|()| None),
        Ok(_) if eval.expect.fail.is_some() => Err("succeeded, expected a failure".to_owned()),
        Ok(result) => {
            eval.expect
                .check_annotations(&result.warnings, &result.infos)?;
            Ok(Some(result))
        }
    }
}

fn instant(
    engine: &Engine,
    store: &MemoryReader,
    eval: &Eval,
    expr: &Expr,
    at: i64,
) -> Result<(), String> {
    let limits = Limits::default();
    let result = engine.instant(expr, store, Timestamp::from_millis(at), &limits);
    let Some(result) = outcome(eval, result)? else {
        return Ok(());
    };
    compare_instant(eval, &result.value)?;
    as_range(engine, store, eval, expr, at)
}

fn compare_instant(eval: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::String { value, .. } => match &eval.expect.string {
            Some(want) if want == value => Ok(()),
            want => Err(format!("expected string {want:?}, got {value:?}")),
        },
        Value::Scalar { value, .. } => match eval.scalar {
            Some(want) if compare::almost_equal(*value, want) => Ok(()),
            want => Err(format!("expected scalar {want:?}, got {value}")),
        },
        Value::Vector(found) if eval.scalar.is_none() => {
            compare::vector(found, &eval.series, eval.expect.ordered)
        }
        Value::Vector(found) => Err(format!("expected a scalar, got {found:?}")),
        Value::Matrix(found) => match eval.expect.range_vector {
            Some((start, _, step)) => compare::matrix(found, &eval.series, start, step),
            None => Err(format!("unexpected range vector {found:?}")),
        },
    }
}

/// The same as the middle of three steps.
fn as_range(
    engine: &Engine,
    store: &MemoryReader,
    eval: &Eval,
    expr: &Expr,
    at: i64,
) -> Result<(), String> {
    let bounds_matter = ["start()", "end()", "range()", "step()"]
        .iter()
        .any(|f| eval.query.contains(f));
    let wrong_type = !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector);
    if bounds_matter || wrong_type || eval.expect.ordered {
        return Ok(());
    }
    let result = range(
        engine,
        store,
        expr,
        at.saturating_sub(60_000),
        at.saturating_add(60_000),
        60_000,
    )
    .map_err(|e| format!("as a range query: {e}"))?;
    let Value::Matrix(series) = result.value else {
        return Err("a range query gave no matrix".to_owned());
    };
    if series.windows(2).any(|w| w[0].labels >= w[1].labels) {
        return Err("the matrix is not sorted by labels".to_owned());
    }
    let at_middle: Vec<VectorSample> = series
        .into_iter()
        .filter_map(|s| {
            let float = s.points.floats.iter().find(|p| p.t == at);
            let histogram = s.points.histograms.iter().find(|p| p.t == at);
            let value = match (float, histogram) {
                (Some(p), _) => PointValue::Float(p.v),
                (None, Some(p)) => PointValue::Histogram(p.h.clone()),
                (None, None) => return None,
            };
            Some(VectorSample {
                labels: s.labels,
                at: Timestamp::from_millis(at),
                value,
            })
        })
        .collect();
    let value = match (expr.value_type(), at_middle.first()) {
        (ValueType::Scalar, Some(sample)) => Value::Scalar {
            at: sample.at,
            value: sample.value.float().unwrap_or(f64::NAN),
        },
        _ => Value::Vector(at_middle),
    };
    compare_instant(eval, &value).map_err(|e| format!("as a range query: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(script: &str, passed: usize, failed: &[usize]) {
        let report = run(script);
        let lines: Vec<usize> = report.failures.iter().map(|f| f.line).collect();
        assert_eq!(
            (report.passed, lines.as_slice()),
            (passed, failed),
            "{report:?}"
        );
    }

    #[test]
    fn a_number_or_an_old_message_ends_its_evaluation() {
        check(
            "eval instant at 0 1 + 1\n\t2\neval instant at 0 2 + 2\n\t5\neval instant at 0 3\n\t3\n",
            2,
            &[3],
        );
        let fails = "eval_fail instant at 0m label_replace(vector(1), 'a', '', '', '(')\n  \
            expected_fail_message invalid regular expression in label_replace(): (\n";
        check(&format!("{fails}eval instant at 0 1\n 1\n"), 2, &[]);
    }

    #[test]
    fn what_is_loaded_again_changes_nothing() {
        let load = "load 1m\n  m 1 2 3\n  h {{count:3\tsum:3 counter_reset_hint:reset buckets:[3]}} {{count:4 buckets:[4]}}\n\n";
        let script = format!(
            "{load}{load}eval instant at 2m count_over_time(m[5m])\n  {{}} 3\n\n\
             eval instant at 1m h\n  h {{{{count:4 counter_reset_hint:not_reset buckets:[4]}}}}\n\n\
             eval instant at 0m h\n  h {{{{count:3 sum:3 counter_reset_hint:unknown buckets:[3]}}}}\n"
        );
        check(&script, 3, &[]);
    }

    #[test]
    fn names_of_labels_must_be_valid_utf8() {
        let load = "load 1m\n  m{a=\"b\"} 1\n\n";
        for query in [
            r#"label_replace(m, "\xff", "", "a", "(.*)")"#,
            r#"label_replace(m, (`` ), "", "a", "(.*)")"#,
            r#"label_join(m, "\xff", "", "a")"#,
            r#"label_join(m, "b", "", "\xff")"#,
            r#"count_values("\xff", m)"#,
        ] {
            check(&format!("{load}eval_fail instant at 0 {query}\n"), 1, &[]);
        }
        let fine = r#"label_replace(m, "é b", "$1", "a", "(.*)")"#;
        let expect = r#"{"é b"="b", a="b", __name__="m"} 1"#;
        check(
            &format!("{load}eval instant at 0 {fine}\n  {expect}\n"),
            1,
            &[],
        );
    }
}
