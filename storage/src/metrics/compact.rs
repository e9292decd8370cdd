//! Which blocks to merge. Pure; the worker is [`super::compact_run`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::block_writer::SLICE_MS;

/// Blocks cover at most this much after compaction.
const SPAN_MAX_MS: i64 = 24 * 3600 * 1000;
/// A roll-up's blocks cover this much.
const ROLLUP_SPAN_MS: i64 = 30 * 24 * 3600 * 1000;
/// A span is merged this long after its end and the window for late samples, so that it is
/// written once.
const SETTLE_MS: i64 = 30 * 60 * 1000;
/// Early flushes of one window are merged before the span is over when there are so many:
/// every reader opens each of them.
const WINDOW_BLOCKS_MAX: usize = 6;
/// Blocks merged at once; each costs a frame of memory.
const MERGE_BLOCKS_MAX: usize = 64;

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockInfo {
    pub(crate) number: u64,
    /// See [`super::block::Block::age`].
    pub(crate) age: (u64, u64),
    pub(crate) start_t: i64,
    /// Instant of the last sample.
    pub(crate) last_t: i64,
    /// Exclusive.
    pub(crate) end_t: i64,
    /// 0 for raw samples.
    pub(crate) resolution_ms: i64,
    /// Whether it replaces no others: it was flushed or imported.
    pub(crate) is_fresh: bool,
}

/// When spans are over and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) now: i64,
    /// Samples may come this late.
    pub(crate) late_ms: i64,
    /// Of a block of raw samples after compaction.
    pub(crate) span_ms: i64,
}

/// A day, or a tenth of the retention in whole windows when that is shorter.
pub(crate) fn span_ms(retention: Duration) -> i64 {
    let tenth = model::time::duration_millis(retention) / 10;
    (tenth / SLICE_MS * SLICE_MS).clamp(SLICE_MS, SPAN_MAX_MS)
}

impl Schedule {
    /// Whether nothing more is expected before `end`.
    pub(crate) fn is_over(&self, end: i64) -> bool {
        let settle = self.late_ms.saturating_add(SETTLE_MS);
        end.saturating_add(settle) <= self.now
    }
}

/// Numbers of the blocks to make one of; `blocks` are in the order of their age, and so are these.
/// Those of one span (by their first sample) go together once the span is over; before, only
/// many small ones of one window.
pub(crate) fn choose(blocks: &[BlockInfo], schedule: &Schedule) -> Option<Vec<u64>> {
    // By resolution and whether the whole span is meant; then by time.
    let mut groups: BTreeMap<(i64, bool, i64), Vec<&BlockInfo>> = BTreeMap::new();
    for b in blocks {
        let span = match b.resolution_ms {
            0 => schedule.span_ms,
            _ => ROLLUP_SPAN_MS,
        };
        let at = b.start_t.div_euclid(span);
        if schedule.is_over((at + 1).saturating_mul(span)) {
            let key = (b.resolution_ms, true, at);
            groups.entry(key).or_default().push(b);
        } else if b.resolution_ms == 0 {
            let window = b.start_t.div_euclid(SLICE_MS);
            if (window + 1).saturating_mul(SLICE_MS) < schedule.now {
                let key = (0, false, window);
                groups.entry(key).or_default().push(b);
            }
        }
    }
    let due = groups.into_iter().find_map(|((_, whole, _), group)| {
        let least = if whole { 2 } else { WINDOW_BLOCKS_MAX };
        if group.len() < least {
            return None;
        }
        let parts = parts(&group, blocks);
        parts.into_iter().find(|part| part.len() >= least)
    });
    due.map(|part| {
        let numbers = part.iter().map(|b| b.number);
        numbers.take(MERGE_BLOCKS_MAX).collect()
    })
}

/// The parts of a group, which is in the order of its age, that may become one block. That one
/// counts as old as its oldest source, so no other block may be younger than that, older than
/// another source and share time with this: of two values for one instant the first would give way.
fn parts<'a>(group: &[&'a BlockInfo], blocks: &[BlockInfo]) -> Vec<Vec<&'a BlockInfo>> {
    let mut parts: Vec<Vec<&BlockInfo>> = Vec::new();
    for next in group {
        let joins = |part: &&mut Vec<&'a BlockInfo>| {
            let between = |b: &&BlockInfo| {
                let (is_inside, is_same) = (
                    part[0].age < b.age && b.age < next.age,
                    part.iter().any(|p| p.number == b.number),
                );
                is_inside && !is_same && b.resolution_ms == next.resolution_ms
            };
            let meets = |b: &BlockInfo| b.start_t <= next.last_t && next.start_t <= b.last_t;
            !blocks.iter().filter(between).any(meets)
        };
        match parts.last_mut().filter(joins) {
            Some(part) => part.push(next),
            None => parts.push(vec![next]),
        }
    }
    parts
}

/// A roll-up that lacks samples, since those of a fresh block came after it was made: its number,
/// first instant of its span and the one after its last. This goes before any merge, which would
/// hide them in a block that is not fresh.
pub(crate) fn choose_refresh(
    blocks: &[BlockInfo],
    resolution_ms: i64,
    schedule: &Schedule,
) -> Option<(u64, i64, i64)> {
    let is_rollup = |b: &&BlockInfo| b.resolution_ms == resolution_ms;
    blocks.iter().filter(is_rollup).find_map(|b| {
        let start = b.start_t.div_euclid(schedule.span_ms) * schedule.span_ms;
        let lacks = |raw: &BlockInfo| {
            let touches = raw.start_t < b.end_t && raw.end_t > start;
            raw.resolution_ms == 0 && raw.is_fresh && raw.number > b.number && touches
        };
        blocks
            .iter()
            .any(lacks)
            .then_some((b.number, start, b.end_t))
    })
}

/// The spans that a block reaches into: more than one when it was imported, or made while
/// retention was longer. First instant of each and the one after its last.
fn spans(block: &BlockInfo, span_ms: i64) -> impl Iterator<Item = (i64, i64)> {
    let first = block.start_t.div_euclid(span_ms);
    let last = block.end_t.saturating_sub(1).div_euclid(span_ms);
    (first..=last.max(first)).map(move |at| {
        let start = at.saturating_mul(span_ms);
        (start, start.saturating_add(span_ms))
    })
}

/// Whether a roll-up of `resolution_ms` lacks samples of `block`: none was made of a span of it
/// yet, or they came after it was. Spans of which `is_empty` says that nothing came of them are
/// done.
pub(crate) fn lacks(
    block: &BlockInfo,
    blocks: &[BlockInfo],
    resolution_ms: i64,
    span_ms: i64,
    is_empty: &dyn Fn(u64, i64) -> bool,
) -> bool {
    let is_missing = |(start, end): (i64, i64)| {
        let touches =
            |b: &&BlockInfo| b.resolution_ms == resolution_ms && b.start_t < end && b.end_t > start;
        let mut made = blocks.iter().filter(touches).peekable();
        match made.peek() {
            None => !is_empty(block.number, start),
            Some(_) => made.any(|b| block.is_fresh && block.number > b.number),
        }
    };
    block.resolution_ms == 0 && spans(block, span_ms).any(is_missing)
}

/// The first span that is over, has raw samples and no roll-up of `resolution_ms` yet: number of
/// the block, first instant of the span and the one after its last.
pub(crate) fn choose_rollup(
    blocks: &[BlockInfo],
    resolution_ms: i64,
    oldest_t: i64,
    schedule: &Schedule,
    is_empty: &dyn Fn(u64, i64) -> bool,
) -> Option<(u64, i64, i64)> {
    let is_wanted = |number: u64, (start, end): (i64, i64)| {
        let touches =
            |b: &BlockInfo| b.resolution_ms == resolution_ms && b.start_t < end && b.end_t > start;
        let is_due = schedule.is_over(end) && end > oldest_t;
        is_due && !is_empty(number, start) && !blocks.iter().any(touches)
    };
    let raw = blocks.iter().filter(|b| b.resolution_ms == 0);
    let mut all = raw.flat_map(|b| spans(b, schedule.span_ms).map(|span| (b.number, span)));
    let found = all.find(|(number, span)| is_wanted(*number, *span));
    found.map(|(number, (start, end))| (number, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn raw(number: u64, start_h: i64, end_h: i64) -> BlockInfo {
        BlockInfo {
            number,
            age: (number, number),
            start_t: start_h * HOUR,
            last_t: end_h * HOUR - 1,
            end_t: end_h * HOUR,
            resolution_ms: 0,
            is_fresh: true,
        }
    }

    fn at(hours: i64) -> Schedule {
        Schedule {
            now: hours * HOUR,
            late_ms: HOUR,
            span_ms: DAY,
        }
    }

    #[test]
    fn a_day_is_merged_once_it_is_over() {
        let day: Vec<BlockInfo> = (0..12).map(|i| raw(i as u64, i * 2, i * 2 + 2)).collect();
        assert_eq!(choose(&day, &at(25)), None);
        assert_eq!(choose(&day, &at(26)), Some((0..12).collect()));
        assert_eq!(choose(&[raw(20, 0, 24), raw(21, 24, 26)], &at(26)), None);
        let late = [raw(20, 0, 24), raw(22, 3, 4), raw(21, 24, 26)];
        assert_eq!(choose(&late, &at(30)), Some(vec![20, 22]));
    }

    #[test]
    fn many_small_blocks_of_one_window_do_not_wait() {
        let small: Vec<BlockInfo> = (0..6).map(|i| raw(i, 2, 3)).collect();
        assert_eq!(choose(&small[..5], &at(5)), None);
        assert_eq!(choose(&small, &at(4)), None);
        assert_eq!(choose(&small, &at(5)), Some((0..6).collect()));
    }

    #[test]
    fn what_was_stored_first_keeps_its_place_among_what_is_merged() {
        // Blocks 2 and 5 reach into the day from the one before.
        let blocks = [
            raw(1, 24, 26),
            raw(2, 22, 30),
            raw(3, 28, 40),
            raw(4, 26, 48),
            raw(5, 20, 48),
            raw(6, 24, 48),
        ];
        assert_eq!(choose(&blocks, &at(60)), Some(vec![3, 4]));
        let merged = BlockInfo {
            number: 7,
            age: (3, 7),
            ..raw(3, 26, 48)
        };
        let after = [blocks[0], blocks[1], merged, blocks[4], blocks[5]];
        assert_eq!(choose(&after, &at(60)), None);
        // Where they share no time they are in nobody's way.
        let apart = [raw(1, 24, 26), raw(2, 22, 30), raw(3, 31, 40)];
        assert_eq!(choose(&apart, &at(60)), Some(vec![1, 3]));
        let of_another_kind = BlockInfo {
            resolution_ms: 300_000,
            ..raw(2, 24, 48)
        };
        let two = [raw(1, 24, 26), of_another_kind, raw(3, 24, 40)];
        assert_eq!(choose(&two, &at(60)), Some(vec![1, 3]));
    }

    #[test]
    fn a_short_retention_makes_short_blocks() {
        let hours = |h: u64| span_ms(Duration::from_secs(h * 3600)) / HOUR;
        assert_eq!(
            [hours(1), hours(24), hours(72), hours(15 * 24)],
            [2, 2, 6, 24]
        );
    }

    #[test]
    fn a_rollup_is_made_once_of_each_span() {
        let five = |number, start_h, end_h| BlockInfo {
            resolution_ms: 300_000,
            ..raw(number, start_h, end_h)
        };
        let blocks = [raw(1, 0, 24), raw(2, 24, 48), five(3, 0, 24)];
        let none = |_, _| false;
        let choose =
            |blocks: &[BlockInfo], hours| choose_rollup(blocks, 300_000, 0, &at(hours), &none);
        assert_eq!(choose(&blocks, 60), Some((2, 24 * HOUR, 48 * HOUR)));
        assert_eq!(choose(&blocks, 48), None);
        assert_eq!(choose(&blocks[..2], 40), Some((1, 0, 24 * HOUR)));
        let late = choose_rollup(&blocks, 300_000, 50 * HOUR, &at(60), &none);
        assert_eq!(late, None);
    }

    #[test]
    fn a_rollup_is_made_again_when_samples_came_after_it() {
        let merged = |number| BlockInfo {
            is_fresh: false,
            ..raw(number, 0, 24)
        };
        let rollup = BlockInfo {
            resolution_ms: 300_000,
            ..raw(13, 1, 24)
        };
        let choose = |late| choose_refresh(&[merged(12), rollup, late], 300_000, &at(60));
        assert_eq!(choose(raw(14, 0, 1)), Some((13, 0, 24 * HOUR)));
        assert_eq!(choose(raw(11, 0, 1)), None);
        assert_eq!(choose(raw(14, 24, 26)), None);
        assert_eq!(choose(merged(14)), None);
    }

    #[test]
    fn each_span_of_a_longer_block_gets_its_rollup() {
        let short = Schedule {
            span_ms: 8 * HOUR,
            ..at(60)
        };
        let five = |number, start_h, end_h| BlockInfo {
            resolution_ms: 300_000,
            ..raw(number, start_h, end_h)
        };
        let mut blocks = vec![raw(1, 1, 24), five(2, 1, 8), five(3, 16, 24)];
        let choose = |blocks: &[BlockInfo], empty: bool| {
            choose_rollup(blocks, 300_000, 0, &short, &|_, start| {
                empty && start == 8 * HOUR
            })
        };
        let missing = |blocks: &[BlockInfo], empty: bool| {
            lacks(&blocks[0], blocks, 300_000, 8 * HOUR, &|_, start| {
                empty && start == 8 * HOUR
            })
        };
        assert_eq!(choose(&blocks, false), Some((1, 8 * HOUR, 16 * HOUR)));
        assert!(missing(&blocks, false) && !missing(&blocks, true));
        assert_eq!(choose(&blocks, true), None);
        blocks.push(five(4, 8, 16));
        assert_eq!(choose(&blocks, false), None);
        assert!(!missing(&blocks, false));
    }
}
