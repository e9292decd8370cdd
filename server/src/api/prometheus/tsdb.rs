//! `/status/tsdb`, `/status/tsdb/blocks`, `/status/walreplay`: what is in the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use model::labels::METRIC_NAME;
use model::{Labels, ReadError, TimeRange};
use serde_json::{Value, json};

use super::envelope::{Answer, Failure, Success};
use crate::api::Api;
use crate::api::params::{Params, parse_int};
use crate::api::reading::Reading;
use crate::api::workshop::Client;

/// Lines of each list unless `limit` says otherwise.
const LINES_DEFAULT: usize = 10;
/// Most lines that can be asked for.
const LINES_MAX: i64 = 10_000;
/// What was written so long ago may still be in memory.
const HEAD_SPAN: Duration = Duration::from_secs(2 * 3600);

/// Which names and values make the most series. Looks at every recent series: a few
/// milliseconds for thousands.
pub(super) async fn tsdb(State(api): State<Api>, client: Client, params: Params) -> Answer {
    let limit = match params.get("limit").map(parse_int) {
        None => LINES_DEFAULT,
        Some(Ok(n @ 1..=LINES_MAX)) => usize::try_from(n).unwrap_or(LINES_DEFAULT),
        Some(Ok(n)) if n > LINES_MAX => {
            return Err(Failure::bad_data(format!(
                "limit must not exceed {LINES_MAX}"
            )));
        }
        Some(_) => return Err(Failure::bad_data("limit must be a positive number")),
    };
    let now = api.now();
    let range = TimeRange::new(now.minus(HEAD_SPAN), now);
    let timeout = api.config().query.timeout.0;
    let read = api
        .read(&client, timeout, move |reading| {
            let series = reading.series().series(&[], range)?;
            let mut counts = Counts::default();
            let labels: usize = series.iter().map(|l| size_of_val(l) + l.heap_bytes()).sum();
            for labels_of_one in &series {
                counts.add(labels_of_one);
                if counts.series.is_multiple_of(SERIES_BETWEEN_CHECKS) {
                    counts.check(labels, reading)?;
                }
            }
            counts.check(labels, reading)?;
            let stats = (reading.parts.stats)();
            let head = match &reading.parts.storage {
                Some(storage) => storage.head_figures(&reading.bounds())?,
                None => (0, None),
            };
            Ok(Success::from_value(&counts.shown(&stats, head, limit)))
        })
        .await?;
    Ok(Success::read(read))
}

/// Series counted between two looks at whether there is room and anybody still waits.
const SERIES_BETWEEN_CHECKS: usize = 1024;

/// Series by name, by label and value.
#[derive(Default)]
struct Counts<'a> {
    by_pair: HashMap<(&'a str, &'a str), u64>,
    series: usize,
}

impl<'a> Counts<'a> {
    fn add(&mut self, labels: &'a Labels) {
        self.series += 1;
        for pair in labels {
            *self.by_pair.entry(pair).or_default() += 1;
        }
    }

    /// Whether the count may go on; the labels of all series take `labels` bytes.
    fn check(&self, labels: usize, reading: &Reading) -> Result<(), Failure> {
        if reading.cancel.load(Ordering::Relaxed) {
            return Err(ReadError::Canceled.into());
        }
        // A byte each for the table's own use.
        let place = size_of::<((&str, &str), u64)>() + 1;
        if labels.saturating_add(self.by_pair.capacity() * place) > reading.bytes_max {
            return Err(ReadError::Limit(format!(
                "{} pairs of labels and values are more than query.bytes_max has room for",
                self.by_pair.len()
            ))
            .into());
        }
        Ok(())
    }

    /// `head` is the number of chunks in memory and their time range.
    fn shown(
        &self,
        stats: &storage::Stats,
        (chunks, range): (usize, Option<(i64, i64)>),
        limit: usize,
    ) -> Value {
        // Prometheus' words for an empty head.
        let (min_t, max_t) = range.unwrap_or((i64::MAX, i64::MIN));
        let (mut values, mut bytes) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in self.by_pair.keys() {
            *values.entry(*name).or_insert(0_u64) += 1;
            *bytes.entry(*name).or_insert(0_u64) += value.len() as u64;
        }
        let names = self
            .by_pair
            .iter()
            .filter(|((name, _), _)| *name == METRIC_NAME)
            .map(|((_, value), n)| (("", *value), *n));
        let pairs = self.by_pair.iter().map(|(pair, n)| (*pair, *n));
        json!({
            "headStats": {
                "numSeries": stats.series,
                "numLabelPairs": self.by_pair.len(),
                "chunkCount": chunks,
                "minTime": min_t,
                "maxTime": max_t,
            },
            "seriesCountByMetricName": top(names, limit),
            "labelValueCountByLabelName": top(owned(&values), limit),
            "memoryInBytesByLabelName": top(owned(&bytes), limit),
            "seriesCountByLabelValuePair": top(pairs, limit),
        })
    }
}

fn owned<'a>(counts: &BTreeMap<&'a str, u64>) -> impl Iterator<Item = ((&'a str, &'a str), u64)> {
    counts.iter().map(|(name, n)| (("", *name), *n))
}

/// The largest first, equal ones by name. What has two parts is shown as `name=value`.
fn top<'a>(counts: impl Iterator<Item = ((&'a str, &'a str), u64)>, limit: usize) -> Vec<Value> {
    let order = |a: &((&str, &str), u64), b: &((&str, &str), u64)| {
        b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))
    };
    let mut best: Vec<((&str, &str), u64)> = Vec::new();
    for one in counts {
        best.push(one);
        // Now and then what cannot be among the largest any more is left out.
        if best.len() >= 2 * limit + 1024 {
            best.select_nth_unstable_by(limit, order);
            best.truncate(limit);
        }
    }
    best.sort_by(order);
    best.truncate(limit);
    let name = |(name, value): (&str, &str)| match name {
        "" => value.to_owned(),
        _ => format!("{name}={value}"),
    };
    best.into_iter()
        .map(|(of, n)| json!({ "name": name(of), "value": n }))
        .collect()
}

/// The blocks of samples as they came, in Prometheus' words; roll-ups are not told, it has none.
pub(super) async fn blocks(State(api): State<Api>) -> Answer {
    let parts = api.parts()?;
    let blocks = parts.storage.as_ref().map(storage::Storage::blocks);
    let mut blocks = blocks.unwrap_or_default();
    blocks.retain(|b| b.resolution_ms == 0);
    let shown: Vec<Value> = blocks.iter().map(block).collect();
    Ok(Success::from_value(&json!({ "blocks": shown })))
}

fn block(b: &storage::BlockFigures) -> Value {
    let id = ulid(b.start_ms, b.number);
    json!({
        "ulid": id,
        "minTime": b.start_ms,
        "maxTime": b.end_ms,
        "stats": { "numSamples": b.samples, "numSeries": b.series },
        "compaction": { "level": if b.is_compacted { 2 } else { 1 }, "sources": [id] },
        "version": 1,
    })
}

/// A block's number in the shape of Prometheus' names: 48 bits of time and 80 bits, of which the
/// number fills the last 64. The time is that of the first sample.
fn ulid(start_ms: i64, number: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let time = u128::from(start_ms.max(0).unsigned_abs() & ((1 << 48) - 1));
    let bits = time << 80 | u128::from(number);
    let digit = |i: u32| char::from(DIGITS[(bits >> (5 * i) & 31) as usize]);
    (0..26).rev().map(digit).collect()
}

/// The write-ahead log is replayed before the listener hands requests on; there is no part of
/// it to tell.
pub(in crate::api) async fn walreplay() -> Answer {
    Ok(Success::from_value(
        &json!({ "min": 0, "max": 0, "current": 0 }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_name_and_the_figures_prometheus_would_tell() {
        let figures = storage::BlockFigures {
            number: 33,
            start_ms: 1_469_918_176_385,
            end_ms: 1_469_925_376_385,
            resolution_ms: 0,
            series: 2,
            samples: 960,
            bytes: 4096,
            is_compacted: true,
        };
        assert_eq!(
            block(&figures),
            json!({
                "ulid": "01ARYZ6S410000000000000011",
                "minTime": 1_469_918_176_385_i64,
                "maxTime": 1_469_925_376_385_i64,
                "stats": { "numSamples": 960, "numSeries": 2 },
                "compaction": { "level": 2, "sources": ["01ARYZ6S410000000000000011"] },
                "version": 1,
            })
        );
    }

    #[test]
    fn the_most_frequent_come_first() {
        let series: Vec<Labels> = [("up", "a"), ("up", "b"), ("down", "a")]
            .into_iter()
            .map(|(name, job)| Labels::from_pairs([(METRIC_NAME, name), ("job", job)]))
            .collect();
        let mut counts = Counts::default();
        series.iter().for_each(|l| counts.add(l));
        let shown = counts.shown(&storage::Stats::default(), (3, Some((5, 9))), 1);
        assert_eq!(
            shown["seriesCountByMetricName"],
            json!([{ "name": "up", "value": 2 }])
        );
        assert_eq!(
            shown["seriesCountByLabelValuePair"],
            json!([{ "name": "__name__=up", "value": 2 }])
        );
        assert_eq!(
            shown["memoryInBytesByLabelName"],
            json!([{ "name": "__name__", "value": 6 }])
        );
        assert_eq!(
            shown["headStats"],
            json!({ "numSeries": 0, "numLabelPairs": 4, "chunkCount": 3, "minTime": 5, "maxTime": 9 })
        );
    }
}
