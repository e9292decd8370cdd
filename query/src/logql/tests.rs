//! Properties of the whole: printing is stable, and no text makes it panic.

use proptest::prelude::*;

use super::fuzzing::exercise;
use super::parse;

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
