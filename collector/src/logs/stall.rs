//! What to do when an engine's log stream ends or keeps silent although the log has more: a torn
//! record or a truncated file stops every read from the beginning for ever, while the engine still
//! reads the last lines, which it looks for from the end.

use super::container::{Read, Tail};
use super::frame::{Chunk, Decoder, Stream};
use super::position::Anchor;
use super::stamp;
use crate::engine::EngineError;

/// Most lines read from the end.
const TAIL_LINES_MAX: u64 = 1 << 20;

/// Whether the last line of the log is one that has not come.
pub(super) async fn is_behind(tail: &Tail<'_>) -> bool {
    let Ok(found) = look(tail, 1).await else {
        return false;
    };
    let since = tail.since();
    found
        .last
        .is_some_and(|(stream, at_ns)| at_ns >= since && !tail.reader.is_last(stream, at_ns))
}

/// Follows from as far behind as the engine can read, and marks the gap before.
pub(super) async fn read_tail(tail: &mut Tail<'_>) -> Result<Read, EngineError> {
    let (mut good, mut bad) = (1, None);
    let mut is_known = false;
    // Twice as many each time, until the damage or the last known line is among them.
    while good < TAIL_LINES_MAX && bad.is_none() && !is_known {
        let lines = good * 2;
        let found = look(tail, lines).await?;
        is_known = found.has_anchor;
        if found.lines < lines && !is_known {
            bad = Some(lines);
        } else {
            good = lines;
        }
    }
    while let Some(limit) = bad.filter(|bad| bad - good > 1) {
        let lines = good.midpoint(limit);
        match look(tail, lines).await?.lines >= lines {
            true => good = lines,
            false => bad = Some(lines),
        }
    }
    tracing::warn!(container = %tail.container.name, lines = good, "the engine cannot read all of the log, going on with its last lines");
    let path = path(tail, good, true);
    let body = tail.context.engine.get_stream(&path).await?;
    match is_known {
        true => tail.reader.reconnect(None),
        false => tail.reader.begin_tail(),
    }
    Ok(tail.read(body).await)
}

/// What the end of a log has.
struct End {
    lines: u64,
    last: Option<(Stream, i64)>,
    has_anchor: bool,
}

fn path(tail: &Tail<'_>, lines: u64, follow: bool) -> String {
    format!(
        "/containers/{}/logs?follow={}&timestamps=1&stdout=1&stderr=1&tail={lines}",
        tail.container.id,
        u8::from(follow)
    )
}

async fn look(tail: &Tail<'_>, lines: u64) -> Result<End, EngineError> {
    let anchors = tail.reader.anchors();
    let mut end = End {
        lines: 0,
        last: None,
        has_anchor: false,
    };
    let mut take = |chunk: &Chunk| {
        let Some((at_ns, _)) = stamp::split(&chunk.bytes) else {
            return;
        };
        end.lines += 1;
        end.last = Some((chunk.stream, at_ns));
        let anchor: Option<Anchor> = anchors[chunk.stream as usize];
        end.has_anchor |= anchor.is_some_and(|anchor| anchor.at_ns == at_ns);
    };
    let path = path(tail, lines, false);
    let mut body = tail.context.engine.get_stream(&path).await?;
    let mut decoder = Decoder::new();
    while let Some(bytes) = body.next().await? {
        decoder.push(&bytes);
        while let Ok(Some(chunk)) = decoder.next() {
            take(&chunk);
        }
    }
    if let Some(chunk) = decoder.finish() {
        take(&chunk);
    }
    Ok(end)
}

#[cfg(test)]
mod tests;
