//! Properties of the whole: printing is stable, and no text makes it panic.

use std::ops::ControlFlow;

use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Matcher, ReadError, Timestamp};
use proptest::prelude::*;

use super::fuzzing::exercise;
use super::{Expr, Limits, LogQuery, Value, eval, parse};

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

#[test]
fn every_part_of_the_language_prints_and_runs() {
    for query in QUERIES {
        parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        exercise(query, r#"{"a":"b","lat":"1s"} x=1"#);
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
        exercise(&text, &line);
    }

    #[test]
    fn any_line_goes_through_every_stage(line in "\\PC{0,60}") {
        for query in QUERIES {
            exercise(query, &line);
        }
    }
}

/// A hundred lines of one stream.
struct Lines;

impl LogReader for Lines {
    fn read(
        &self,
        _: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        for at_ns in 0..100 {
            let entry = LogEntry {
                at_ns,
                line: "x".repeat(1000),
                metadata: Labels::empty(),
            };
            if visit(&Labels::from_pairs([("app", "web")]), &entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }
}

#[test]
fn labels_made_of_lines_count_as_memory_of_the_answer() {
    let limits = Limits {
        held_bytes_max: 200_000,
        ..Limits::default()
    };
    let shown = |stage: &str| {
        let Ok(Expr::Log(expr)) = parse(&format!("{{app=\"web\"}} {stage}")) else {
            panic!("a log query");
        };
        let asked = LogQuery {
            start_ns: 0,
            end_ns: 100,
            limit: 1000,
            direction: Direction::Forward,
            interval_ns: 0,
            categorize: false,
        };
        let now = Timestamp::from_millis(0);
        let done = eval::log_query(&expr, &Lines, &asked, now, &limits).unwrap();
        let Value::Streams(streams) = done.value else {
            panic!("streams");
        };
        let count = streams.iter().map(|s| s.entries.len()).sum::<usize>();
        (count, done.is_full)
    };
    assert_eq!(shown(""), (100, false));
    // Each line under labels of its own that are as long as ten of it.
    let of_its_own = "| label_format y=`{{__timestamp__ | unixEpochNanos}}{{repeat 10 __line__}}`";
    let (count, is_full) = shown(of_its_own);
    assert!(is_full && (1..20).contains(&count), "{count}");
    // Control characters are six bytes in JSON.
    let (count, is_full) = shown("| line_format `{{ __line__ | replace \"x\" \"\\x01\" }}`");
    assert!(is_full && (20..40).contains(&count), "{count}");
}
