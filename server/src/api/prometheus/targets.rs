//! `/targets`, `/targets/relabel_steps`, `/scrape_pools`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use collector::TargetStatus;
use collector::relabel::{self, Relabel, RelabelConfig};
use model::Labels;
use serde_json::{Value, json};

use super::envelope::{Answer, Failure, Success};
use crate::api::params::Params;
use crate::api::{Api, Parts};
use crate::clock::rfc3339;
use crate::config::Config;

pub(super) async fn targets(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let pool = params.get("scrapePool");
    let in_pool = |name: &str| pool.is_none_or(|p| p == name);
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    let shows = |kind: &str| state == "any" || state == kind;
    let config = api.config();

    let active: Vec<Value> = parts
        .targets
        .targets()
        .iter()
        .filter(|t| shows("active") && in_pool(&t.pool))
        .map(|t| target(t, &config.external_url))
        .collect();
    let (mut dropped, mut counts) = (Vec::new(), Value::Null);
    if shows("dropped") {
        let all = parts.targets.dropped_targets();
        let mut by_pool: BTreeMap<&str, usize> = BTreeMap::new();
        let pools = pools(&parts, &config);
        by_pool.extend(pools.iter().map(|p| (p.as_str(), 0)));
        let dropped_counts = parts.targets.dropped_counts();
        by_pool.extend(
            dropped_counts
                .iter()
                .map(|(pool, count)| (pool.as_str(), *count)),
        );
        counts = json!(by_pool);
        dropped = all
            .iter()
            .filter(|(name, _)| in_pool(name))
            .map(|(name, l)| json!({ "discoveredLabels": label_map(l), "scrapePool": name }))
            .collect();
    }
    Ok(Success::from_value(&json!({
        "activeTargets": active,
        "droppedTargets": dropped,
        "droppedTargetCounts": counts,
    })))
}

pub(super) async fn scrape_pools(State(api): State<Api>) -> Answer {
    let pools = pools(&*api.parts()?, &api.config());
    Ok(Success::from_value(&json!({ "scrapePools": pools })))
}

/// What each relabelling rule of a pool does to a set of labels.
pub(super) async fn relabel_steps(State(api): State<Api>, params: Params) -> Answer {
    let required = |name: &str| {
        params
            .get(name)
            .ok_or_else(|| Failure::bad_data(format!("no {name} parameter provided")))
    };
    let (pool, labels) = (required("scrapePool")?, required("labels")?);
    let labels: BTreeMap<String, String> = serde_json::from_str(labels)
        .map_err(|e| Failure::bad_data(format!("error parsing labels: {e}")))?;
    let config = api.config();
    let mut jobs = config.collector.scrape_configs.iter();
    let job = jobs.find(|job| job.job_name == pool);
    let job = job.ok_or_else(|| {
        Failure::bad_data(format!(
            "error getting scrape config: scrape pool {pool:?} not found"
        ))
    })?;
    let rules = Relabel::list(&job.relabel_configs)
        .map_err(|e| Failure::bad_data(format!("error getting scrape config: {e}")))?;
    let steps = relabel::steps(&rules, &mut Labels::from_pairs(labels).to_builder());
    let shown: Vec<Value> = job
        .relabel_configs
        .iter()
        .zip(&steps)
        .map(|(config, (output, keep))| {
            json!({ "rule": rule(config), "output": label_map(output), "keep": keep })
        })
        .collect();
    Ok(Success::from_value(&json!({ "steps": shown })))
}

fn rule(config: &RelabelConfig) -> Value {
    let mut shown = json!({
        "separator": config.separator,
        "regex": config.regex,
        "replacement": config.replacement,
        "action": config.action.name(),
    });
    if !config.source_labels.is_empty() {
        shown["sourceLabels"] = json!(config.source_labels);
    }
    if !config.target_label.is_empty() {
        shown["targetLabel"] = json!(config.target_label);
    }
    if config.modulus != 0 {
        shown["modulus"] = json!(config.modulus);
    }
    shown
}

/// Jobs as configured, and our own sources.
fn pools(parts: &Parts, config: &Config) -> BTreeSet<String> {
    let jobs = config.collector.scrape_configs.iter();
    let mut pools: BTreeSet<String> = jobs.map(|job| job.job_name.clone()).collect();
    pools.extend(parts.targets.targets().into_iter().map(|t| t.pool));
    pools
}

fn target(t: &TargetStatus, external_url: &str) -> Value {
    // Logical targets have no address a person could open; ours is the one to show.
    let global_url = if t.url.starts_with("http") {
        t.url.clone()
    } else {
        external_url.to_owned()
    };
    let mut shown = json!({
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
    });
    // Ours alone: Prometheus' targets answer or do not.
    if !t.notes.is_empty() {
        shown["notes"] = json!(t.notes);
    }
    shown
}

/// Go's zero time.
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Labels as a JSON object.
pub(in crate::api) fn label_map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}
