//! What `/health` asks.

use std::sync::{Arc, PoisonError};

use rules::{Groups, Health};
use serde_json::json;
use storage::Storage;

use super::LastError;
use super::supervise::Tasks;
use crate::api::{Component, Probe};
use crate::clock::Clock;

/// Every component, in the order the data takes.
pub(super) fn all(
    storage: &Storage,
    status: &collector::Status,
    groups: &Arc<Groups>,
    alerting: &alerting::Handle,
    tasks: &Tasks,
    last_error: &LastError,
    clock: Clock,
) -> Vec<Probe> {
    let (storage, status, groups) = (storage.clone(), status.clone(), Arc::clone(groups));
    let (alerting, tasks, last_error) = (alerting.clone(), tasks.clone(), Arc::clone(last_error));
    vec![
        Probe::new("storage", move || of_storage(&storage)),
        Probe::new("collector", move || of_collector(&status)),
        Probe::new("rules", move || of_rules(&groups)),
        Probe::new("alerting", move || of_alerting(&alerting, clock)),
        Probe::new("tasks", move || Component::failing(tasks.problems())),
        Probe::new("config", move || of_config(&last_error)),
    ]
}

fn of_storage(storage: &Storage) -> Component {
    let (health, stats) = (storage.health(), storage.stats());
    let mut problems = health.problems;
    if !health.ok && problems.is_empty() {
        problems.push("does not store".to_owned());
    }
    let component = match health.ok {
        true => Component::warning(health.warnings),
        false => Component::failing([problems, health.warnings].concat()),
    };
    component.with_details(json!({
        "series": stats.series,
        "series_max": stats.series_max,
        "head_bytes": stats.head_bytes,
        "log_streams": stats.log_streams,
        "disk_bytes": stats.disk_bytes,
        "notices": health.notices,
    }))
}

/// A source that is missing is a warning: the rest is watched all the same.
fn of_collector(status: &collector::Status) -> Component {
    let problems = status
        .sources()
        .into_iter()
        .filter(|(_, source)| !source.ok)
        .map(|(name, source)| format!("{name}: {}", source.problem))
        .collect();
    let targets = status.targets();
    let down = targets
        .iter()
        .filter(|t| t.health == collector::TargetHealth::Down && !t.optional)
        .count();
    let unreadable = targets
        .iter()
        .filter(|t| t.health == collector::TargetHealth::Down && t.optional)
        .count();
    Component::warning(problems).with_details(
        json!({ "targets": targets.len(), "targets_down": down, "found_unreadable": unreadable }),
    )
}

fn of_rules(groups: &Groups) -> Component {
    let groups = groups.status();
    let rules = || groups.iter().flat_map(|g| &g.rules);
    let problems = rules()
        .filter(|r| r.health == Health::Err)
        .map(|r| {
            format!(
                "{}: {}",
                r.name,
                r.last_error.as_deref().unwrap_or("failed")
            )
        })
        .collect();
    Component::warning(problems)
        .with_details(json!({ "groups": groups.len(), "rules": rules().count() }))
}

/// A receiver that refuses is a warning: whoever restarts us because of it ends the retries and
/// mends nothing. Only what cannot be written is a failure.
fn of_alerting(alerting: &alerting::Handle, clock: Clock) -> Component {
    let health = alerting.health(clock());
    let component = if health.ok {
        Component::warning(health.warnings)
    } else {
        Component::failing([health.problems, health.warnings].concat())
    };
    component.with_details(json!({
        "alerts": health.alerts,
        "outbox": health.outbox_rows,
        "dead_letters": health.dead_letters,
    }))
}

fn of_config(last_error: &LastError) -> Component {
    let last = last_error
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Component::warning(
        last.map(|e| format!("the last reload failed, the old configuration stays: {e}"))
            .into_iter()
            .collect(),
    )
}
