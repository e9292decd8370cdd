//! Properties of the whole: printing is stable, and no text makes it panic.

use model::{Direction, LogEntry, LogReader, LogSelection, Matcher, ReadError, Timestamp};
use proptest::prelude::*;

use super::*;

/// Queries that have every part of the language.
const QUERIES: &[&str] = &[
    r#"{app="web", a!="b", c=~"d.+", e!~"f"} |= "x" or "y" != "z" |~ "r" !~ "s" |> "<_>p" !> "q<_>" |= ip("::1")"#,
    r#"{app="web"} | json | logfmt --strict --keep-empty | regexp "(?P<x>.)" | pattern "<y> z" | unpack | decolorize"#,
    r#"{app="web"} | json x="y.z[0]", w | logfmt q="r" | drop p, q="r" | keep s, t=~"u""#,
    r#"{app="web"} | a="b" or c > 5, d <= 1.5s and (e == 2KiB or f != ip("10.0.0.0/8")) g=~"h""#,
    r#"{app="web"} | line_format `{{ .x | lower }}{{ range fromJson .y }}{{ . }}{{ end }}` | label_format a=b, c="{{ __line__ | trunc 5 }}""#,
    r#"quantile_over_time(0.99, {app="web"} | json | unwrap duration(lat) | __error__="" [90s] offset -5m) by (x)"#,
    r#"topk(3, sum without (x) (rate({app="web"}[1m]))) by (y) > bool on (x) group_left (z) vector(1) + -2 ^ 3"#,
    r#"label_replace(count_over_time(({app="web"} |= "e")[1h] offset 5m), "d", "$1", "s", "(.*)") unless ignoring (q) absent_over_time({app="b"}[5m])"#,
    "1 / 0 - 3 % 2 # comment",
];

struct OneLine(LogEntry);

impl LogReader for OneLine {
    fn read(
        &self,
        _: &LogSelection<'_>,
        visit: &mut dyn FnMut(&model::Labels, &LogEntry) -> std::ops::ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let _ = visit(&model::Labels::from_pairs([("app", "web")]), &self.0);
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<model::Labels>, ReadError> {
        Ok(Vec::new())
    }
}

/// Reads, prints, reads again and evaluates.
fn exercise(query: &str, line: &str) -> Result<(), TestCaseError> {
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => {
            prop_assert!(error.span.start <= error.span.end && error.span.end <= query.len());
            return Ok(());
        }
    };
    let printed = expr.to_string();
    for shown in [printed.clone(), pretty(&expr)] {
        if shown.len() >= parser::TEXT_BYTES_MAX {
            continue;
        }
        match parse(&shown) {
            Ok(again) => prop_assert_eq!(again.to_string(), printed.clone(), "{}", query),
            // What is printed has parentheses of its own.
            Err(error) => prop_assert!(
                error.message.contains("nests deeper"),
                "{query} as {shown}: {error}"
            ),
        }
    }
    let reader = OneLine(LogEntry {
        at_ns: 5,
        line: line.to_owned(),
        metadata: model::Labels::from_pairs([("level", "info")]),
    });
    let limits = Limits::default();
    match &expr {
        Expr::Log(expr) => {
            let query = LogQuery {
                start_ns: 0,
                end_ns: 10,
                limit: 10,
                direction: Direction::Forward,
                interval_ns: 0,
                categorize: true,
            };
            let _ = eval::log_query(expr, &reader, &query, Timestamp::from_millis(0), &limits);
        }
        Expr::Metric(expr) => {
            let _ = eval::instant(expr, &reader, 5, &limits);
            let _ = eval::range(expr, &reader, (0, 20), 5, &limits);
        }
    }
    Ok(())
}

#[test]
fn every_part_of_the_language_prints_and_runs() {
    for query in QUERIES {
        parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        exercise(query, r#"{"a":"b","lat":"1s"} x=1"#).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mangled_queries_never_panic_and_print_stably(
        which in 0..QUERIES.len(),
        cuts in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, "[\\PC]{0,3}"), 0..4),
        line in "[a-z0-9=\"{}:,\\[\\]\\\\ .]{0,40}",
    ) {
        let mut text = QUERIES[which].to_owned();
        for (from, len, insert) in cuts {
            let count = text.chars().count();
            let at = (from * count as f64) as usize;
            let end = at + (len * 6.0) as usize;
            text = text
                .chars()
                .take(at)
                .chain(insert.chars())
                .chain(text.chars().skip(end))
                .collect();
        }
        exercise(&text, &line)?;
    }

    #[test]
    fn any_line_goes_through_every_stage(line in "\\PC{0,60}") {
        for query in QUERIES {
            exercise(query, &line)?;
        }
    }
}
