//! `/status/tsdb/analysis`: which metrics and labels take how much. Not in Prometheus, which only
//! knows its head; `stackwatch tsdb analyze` shows it.

use std::time::Duration;

use axum::extract::State;
use model::TimeRange;
use serde_json::{Value, json};
use storage::analyze::{Analysis, MetricUsage};

use super::envelope::{Answer, ErrorType, Failure, Success};
use crate::api::Api;
use crate::api::params::Params;
use crate::api::reading::Reading;
use crate::api::workshop::Client;

/// The window unless told otherwise.
pub(crate) const WINDOW_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Lines of each list unless told otherwise.
pub(crate) const LINES_DEFAULT: usize = 10;
/// Most lines of a list.
pub(crate) const LINES_MAX: usize = 1000;

pub(super) async fn analysis(State(api): State<Api>, client: Client, params: Params) -> Answer {
    let now = api.now();
    let start = params.time("start", now.minus(WINDOW_DEFAULT));
    let start = start.map_err(Failure::bad_data)?;
    let end = params.time("end", now).map_err(Failure::bad_data)?;
    let limit = params.limit().map_err(Failure::bad_data)?;
    let limit = limit.unwrap_or(LINES_DEFAULT).min(LINES_MAX);
    let Some(storage) = api.parts()?.storage.clone() else {
        return Err(Failure::new(ErrorType::Internal, "there is no store"));
    };
    let work = move |reading: &Reading| {
        let bounds = reading.bounds();
        let analysis = storage.analyze(TimeRange::new(start, end), limit, &bounds)?;
        Ok(Success::from_value(&shown(&analysis)))
    };
    let read = api
        .read(&client, api.config().query.timeout.0, work)
        .await?;
    Ok(Success::read(read))
}

/// As JSON.
pub(crate) fn shown(analysis: &Analysis) -> Value {
    let metrics = |list: &[MetricUsage]| -> Vec<Value> {
        let one = |m: &MetricUsage| {
            json!({
                "name": m.name, "series": m.series, "samples": m.samples,
                "samplesOnDisk": m.samples_on_disk, "bytes": m.bytes,
                "created": m.created, "ended": m.ended,
            })
        };
        list.iter().map(one).collect()
    };
    let labels = analysis.labels_by_values.iter().map(|l| {
        json!({
            "name": l.name, "values": l.values, "valueBytes": l.value_bytes,
            "series": l.series, "seriesWithout": l.series_without,
        })
    });
    let pairs = analysis
        .pairs_by_series
        .iter()
        .map(|p| json!({ "name": p.name, "value": p.value, "series": p.series }));
    json!({
        "minTime": analysis.range.map(|r| r.0),
        "maxTime": analysis.range.map(|r| r.1),
        "series": analysis.series,
        "partial": analysis.is_partial,
        "samples": analysis.samples,
        "samplesOnDisk": analysis.samples_on_disk,
        "blockBytes": analysis.block_bytes,
        "rollupBytes": analysis.rollup_bytes,
        "labelPairs": analysis.pairs,
        "metricsBySeries": metrics(&analysis.metrics_by_series),
        "metricsByBytes": metrics(&analysis.metrics_by_bytes),
        "metricsByChurn": metrics(&analysis.metrics_by_churn),
        "labelsByValues": labels.collect::<Vec<_>>(),
        "pairsBySeries": pairs.collect::<Vec<_>>(),
    })
}
