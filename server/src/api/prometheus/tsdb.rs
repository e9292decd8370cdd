//! `/status/tsdb`, `/status/tsdb/blocks`, `/status/walreplay`: what is in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use model::labels::METRIC_NAME;
use model::{Labels, TimeRange};
use serde_json::{Value, json};

use super::envelope::{Answer, Failure, Success};
use crate::api::Api;
use crate::api::params::{Params, parse_int};
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
            let stats = (reading.parts.stats)();
            let mut counts = Counts::default();
            series.iter().for_each(|labels| counts.add(labels));
            Ok(Success::from_value(&counts.shown(stats.series, limit)))
        })
        .await?;
    Ok(Success::read(read))
}

/// Series by name, by label and value.
#[derive(Default)]
struct Counts<'a> {
    by_pair: BTreeMap<(&'a str, &'a str), u64>,
}

impl<'a> Counts<'a> {
    fn add(&mut self, labels: &'a Labels) {
        for pair in labels {
            *self.by_pair.entry(pair).or_default() += 1;
        }
    }

    fn shown(&self, series: u64, limit: usize) -> Value {
        let (mut values, mut bytes) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in self.by_pair.keys() {
            *values.entry(*name).or_insert(0_u64) += 1;
            *bytes.entry(*name).or_insert(0_u64) += value.len() as u64;
        }
        let names = self
            .by_pair
            .iter()
            .filter(|((name, _), _)| *name == METRIC_NAME)
            .map(|((_, value), n)| ((*value).to_owned(), *n));
        let pairs = self
            .by_pair
            .iter()
            .map(|((name, value), n)| (format!("{name}={value}"), *n));
        json!({
            "headStats": {
                "numSeries": series,
                "numLabelPairs": self.by_pair.len(),
                // Chunks are not counted, and the head's bounds are the store's own affair.
                "chunkCount": 0,
                "minTime": 0,
                "maxTime": 0,
            },
            "seriesCountByMetricName": top(names, limit),
            "labelValueCountByLabelName": top(owned(&values), limit),
            "memoryInBytesByLabelName": top(owned(&bytes), limit),
            "seriesCountByLabelValuePair": top(pairs, limit),
        })
    }
}

fn owned(counts: &BTreeMap<&str, u64>) -> impl Iterator<Item = (String, u64)> {
    counts.iter().map(|(name, n)| ((*name).to_owned(), *n))
}

/// The largest first, equal ones by name.
fn top(counts: impl Iterator<Item = (String, u64)>, limit: usize) -> Vec<Value> {
    let mut all: Vec<(String, u64)> = counts.collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    all.truncate(limit);
    let shown = all.into_iter();
    shown
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
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
    fn the_most_frequent_come_first() {
        let series: Vec<Labels> = [("up", "a"), ("up", "b"), ("down", "a")]
            .into_iter()
            .map(|(name, job)| Labels::from_pairs([(METRIC_NAME, name), ("job", job)]))
            .collect();
        let mut counts = Counts::default();
        series.iter().for_each(|l| counts.add(l));
        let shown = counts.shown(3, 1);
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
        assert_eq!(shown["headStats"]["numLabelPairs"], 4);
    }
}
