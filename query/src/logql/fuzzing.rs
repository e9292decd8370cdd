//! What the fuzz target and the properties check of any text.

use std::ops::ControlFlow;

use model::{Direction, Labels, LogEntry, LogReader, LogSelection, Matcher, ReadError, Timestamp};

use super::{Expr, Limits, LogQuery, eval, parse, parser, pretty};

struct OneLine(LogEntry);

impl LogReader for OneLine {
    fn read(
        &self,
        _: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let _ = visit(&Labels::from_pairs([("app", "web")]), &self.0);
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }
}

/// Reads, prints, reads again and evaluates: a query is refused at a place inside it, or parses;
/// what parses prints as text that parses to the same, and runs over any line.
///
/// # Panics
/// When one of these does not hold.
pub fn exercise(query: &str, line: &str) {
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => {
            let span = error.span;
            assert!(
                span.start <= span.end && span.end <= query.len(),
                "{span:?} of {query:?}"
            );
            return;
        }
    };
    let printed = expr.to_string();
    for shown in [printed.clone(), pretty(&expr)] {
        if shown.len() >= parser::TEXT_BYTES_MAX {
            continue;
        }
        match parse(&shown) {
            Ok(again) => assert_eq!(again.to_string(), printed, "{query:?} as {shown:?}"),
            // What is printed has parentheses of its own.
            Err(error) => assert!(
                error.message.contains("nests deeper"),
                "{query:?} as {shown:?}: {error}"
            ),
        }
    }
    let reader = OneLine(LogEntry {
        at_ns: 5,
        line: line.to_owned(),
        metadata: Labels::from_pairs([("level", "info")]),
    });
    let limits = Limits::default();
    match &expr {
        Expr::Log(expr) => {
            let asked = LogQuery {
                start_ns: 0,
                end_ns: 10,
                limit: 10,
                direction: Direction::Forward,
                interval_ns: 0,
                categorize: true,
            };
            let _ = eval::log_query(expr, &reader, &asked, Timestamp::from_millis(0), &limits);
        }
        Expr::Metric(expr) => {
            let _ = eval::instant(expr, &reader, 5, &limits);
            let _ = eval::range(expr, &reader, (0, 20), 5, &limits);
        }
    }
}
