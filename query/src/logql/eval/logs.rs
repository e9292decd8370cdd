//! Log queries: lines through a pipeline, grouped by their labels.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::{Direction, Labels, Timestamp};

use super::source::{Seen, Source, Wanted};
use super::{Entry, EvalError, LogQuery, Stream};
use crate::logql::ast::LogExpr;
use crate::logql::hints::Hints;
use crate::logql::labels::{Categorized, LineLabels};
use crate::logql::pipeline::Pipeline;
use crate::logql::sieve;

/// Bytes an entry takes besides its text.
const ENTRY_BYTES: usize = size_of::<Entry>() + 64;
/// Bytes a stream takes besides its labels and entries.
const STREAM_BYTES: usize = 2 * size_of::<(String, Stream)>();
/// Of a stream's labels: themselves, and their text that streams are sorted by.
const LABELS_COPIES: usize = 2;

pub(super) fn read(
    expr: &LogExpr,
    source: &Source<'_>,
    query: &LogQuery,
    now: Timestamp,
) -> Result<Vec<Stream>, EvalError> {
    let pipeline = Pipeline::new(&expr.stages, now)?;
    let mut labels = LineLabels::new(Hints::none());
    let mut seen = Seen::default();
    let mut streams: HashMap<Labels, Vec<Entry>, foldhash::fast::FixedState> = HashMap::default();
    let (mut count, mut last_ns, mut is_full) = (0, None, false);
    let sieve = sieve::of(&expr.stages);
    let wanted = Wanted {
        matchers: &expr.matchers,
        window: (query.start_ns, query.end_ns),
        direction: query.direction,
        sieve: &sieve,
        no_texts: false,
    };
    let mut visit = |stream: &Labels, entry: &model::LogEntry| {
        if count >= query.limit {
            return ControlFlow::Break(());
        }
        labels.begin(stream, &entry.metadata);
        let Some(line) = pipeline.run(entry.at_ns, &entry.line, &mut labels) else {
            return ControlFlow::Continue(());
        };
        if !seen.is_new(stream, entry) {
            return ControlFlow::Continue(());
        }
        source.count_kept();
        if query.interval_ns > 0 && too_early(query, last_ns, entry.at_ns) {
            return ControlFlow::Continue(());
        }
        let (shown_under, metadata, parsed) = if query.categorize {
            let Categorized {
                stream,
                metadata,
                parsed,
            } = labels.categorized();
            (stream, metadata, parsed)
        } else if labels.is_unchanged() {
            (stream.clone(), Labels::empty(), Labels::empty())
        } else {
            let mut pairs = Vec::new();
            labels.grouped(None, &mut pairs);
            let all = Labels::from_sorted(pairs.into_iter());
            (all, Labels::empty(), Labels::empty())
        };
        let mut bytes = ENTRY_BYTES + shown_bytes(&line);
        for labels in [&metadata, &parsed] {
            bytes += labels.iter().map(pair_bytes).sum::<usize>();
        }
        if !streams.contains_key(&shown_under) {
            bytes += STREAM_BYTES + LABELS_COPIES * shown_under.heap_bytes();
            bytes += shown_under.iter().map(pair_bytes).sum::<usize>();
        }
        if !source.hold(bytes) {
            is_full = true;
            return ControlFlow::Break(());
        }
        streams.entry(shown_under).or_default().push(Entry {
            at_ns: entry.at_ns,
            line: line.into_owned(),
            metadata,
            parsed,
        });
        last_ns = Some(entry.at_ns);
        count += 1;
        if count >= query.limit {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    source.read(&wanted, &mut visit)?;
    if is_full {
        source.warn_full();
    }
    // Loki sorts by the labels' text.
    let mut sorted: Vec<(String, Stream)> = streams
        .into_iter()
        .map(|(labels, entries)| (labels.to_string(), Stream { labels, entries }))
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(sorted.into_iter().map(|(_, stream)| stream).collect())
}

/// A text in an answer: control characters become six bytes there, quotes two.
fn shown_bytes(text: &str) -> usize {
    let long = text.bytes().filter(|b| *b < b' ').count();
    let quoted = text.bytes().filter(|b| matches!(b, b'"' | b'\\')).count();
    text.len() + 5 * long + quoted
}

fn pair_bytes((name, value): (&str, &str)) -> usize {
    name.len() + shown_bytes(value)
}

/// Whether less than the interval has passed since the line before.
fn too_early(query: &LogQuery, last_ns: Option<i64>, at_ns: i64) -> bool {
    last_ns.is_some_and(|last| match query.direction {
        Direction::Forward => at_ns < last.saturating_add(query.interval_ns),
        Direction::Backward => at_ns > last.saturating_sub(query.interval_ns),
    })
}
