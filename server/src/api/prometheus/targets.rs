//! `/targets`.

use std::collections::BTreeMap;

use axum::extract::State;
use collector::TargetStatus;
use serde_json::{Value, json};

use super::envelope::{Answer, Success};
use crate::api::Api;
use crate::api::params::Params;
use crate::clock::rfc3339;

pub(super) async fn targets(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let pool = params.get("scrapePool");
    let in_pool = |name: &str| pool.is_none_or(|p| p == name);
    let state = params.get("state").unwrap_or("any");
    let external_url = api.config().external_url.clone();

    let active: Vec<Value> = parts
        .targets
        .targets()
        .iter()
        .filter(|t| state != "dropped" && in_pool(&t.pool))
        .map(|t| target(t, &external_url))
        .collect();
    let dropped_all = parts.targets.dropped_targets();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (pool, _) in &dropped_all {
        *counts.entry(pool).or_default() += 1;
    }
    let dropped: Vec<Value> = dropped_all
        .iter()
        .filter(|(name, _)| state != "active" && in_pool(name))
        .map(|(name, labels)| json!({ "discoveredLabels": label_map(labels), "scrapePool": name }))
        .collect();
    Ok(Success::from_value(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    })))
}

fn target(t: &TargetStatus, external_url: &str) -> Value {
    // Logical targets have no address a person could open; ours is the one to show.
    let global_url = if t.url.starts_with("http") {
        t.url.clone()
    } else {
        external_url.to_owned()
    };
    json!({
        "discoveredLabels": label_map(&t.discovered_labels),
        "labels": label_map(&t.labels),
        "scrapePool": t.pool,
        "scrapeUrl": t.url,
        "globalUrl": global_url,
        "lastError": t.last_error,
        "lastScrape": t.last_scrape.map_or_else(|| NEVER.to_owned(), rfc3339),
        "lastScrapeDuration": t.last_duration.as_secs_f64(),
        "health": t.health.as_str(),
        "scrapeInterval": model::number::format_duration(t.interval),
        "scrapeTimeout": model::number::format_duration(t.timeout),
    })
}

/// Go's zero time.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Labels as a JSON object.
pub(super) fn label_map(labels: &model::Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}
