//! The statements that took most time, where the extension `pg_stat_statements` is installed.

use super::super::spec::Ask;
use super::super::spec::Usage::{Counter, Label};
use super::{Pace, View};

/// The longest text of a statement, characters.
const TEXT_CHARS_MAX: usize = 120;

pub(super) const VIEWS: &[View] = &[
    View {
        collector: super::STATEMENTS,
        prefix: "pg_stat_statements",
        pace: Pace::Slow,
        server: false,
        query: figures,
        columns: &[
            ("user", Label, ""),
            ("datname", Label, ""),
            ("queryid", Label, ""),
            (
                "calls_total",
                Counter,
                "How often the statement was executed.",
            ),
            ("seconds_total", Counter, "Seconds spent in it."),
            ("rows_total", Counter, "Rows it returned or changed."),
            (
                "block_read_seconds_total",
                Counter,
                "Seconds it read blocks, with track_io_timing.",
            ),
            (
                "block_write_seconds_total",
                Counter,
                "Seconds it wrote blocks, with track_io_timing.",
            ),
        ],
    },
    View {
        collector: super::STATEMENTS,
        prefix: "pg_stat_statements",
        pace: Pace::Slow,
        server: false,
        query: texts,
        columns: &[
            ("queryid", Label, ""),
            ("query", Label, ""),
            (
                "query_id",
                Counter,
                "Always 1; labels tell the text of a statement.",
            ),
        ],
    },
];

/// The function of the extension, and the columns that depend on its version.
struct Source {
    function: String,
    time: &'static str,
    blocks: &'static str,
}

impl Source {
    fn of(ask: &Ask) -> Option<Source> {
        let (schema, version) = ask.statements.as_ref()?;
        Some(Source {
            function: format!("\"{}\".pg_stat_statements", schema.replace('"', "\"\"")),
            time: if *version >= (1, 8) {
                "total_exec_time"
            } else {
                "total_time"
            },
            blocks: if *version >= (1, 11) {
                "shared_blk"
            } else {
                "blk"
            },
        })
    }
}

/// Without their texts, whose file the server would read each time. A statement is there twice
/// when it was executed both by a client and inside of a function.
fn figures(ask: &Ask) -> Option<String> {
    let Source {
        function,
        time,
        blocks,
    } = Source::of(ask)?;
    let limit = ask.statements_max;
    Some(format!(
        "SELECT pg_get_userbyid(userid) AS user, d.datname, coalesce(queryid::text, 'unknown') AS queryid, \
         sum(calls) AS calls_total, sum({time}) / 1000 AS seconds_total, sum(rows) AS rows_total, \
         sum({blocks}_read_time) / 1000 AS block_read_seconds_total, \
         sum({blocks}_write_time) / 1000 AS block_write_seconds_total \
         FROM {function}(false) s JOIN pg_database d ON d.oid = s.dbid \
         GROUP BY 1, 2, 3 ORDER BY sum({time}) DESC, 3 LIMIT {limit}"
    ))
}

/// The server keeps commands such as CREATE ROLE with their password: what speaks of one is left
/// out, and of all others the literals are replaced.
fn texts(ask: &Ask) -> Option<String> {
    if !ask.query_text {
        return None;
    }
    let Source { function, time, .. } = Source::of(ask)?;
    let limit = ask.statements_max;
    Some(format!(
        "SELECT queryid::text AS queryid, 1 AS query_id, \
         left(regexp_replace(regexp_replace(min(query), {DOLLARS}, '?'), {QUOTES}, '?', 'g'), \
         {TEXT_CHARS_MAX}) AS query FROM {function}(true) s \
         WHERE queryid IS NOT NULL AND query !~* 'password|secret|token' \
         GROUP BY 1 ORDER BY sum({time}) DESC, 1 LIMIT {limit}"
    ))
}

/// From a `$tag$` to the end: bodies of functions. `$1` is none: it is what the server puts where
/// a literal was.
const DOLLARS: &str = r"$re$\$([A-Za-z_]\w*)?\$.*$re$";
/// A string in quotes, with doubled quotes or backslashes in it, also one that is cut off.
const QUOTES: &str = r"$re$'([^'\\]|''|\\.)*('|$)$re$";
