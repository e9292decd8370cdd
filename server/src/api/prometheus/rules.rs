//! `/rules` and `/alerts`.

use ::rules::{AlertStatus, GroupStatus, RuleKind, RuleStatus};
use axum::extract::State;
use model::Matcher;
use serde_json::{Value, json};

use super::envelope::{Answer, Failure, Success};
use super::labels::matcher_sets;
use super::targets::{NEVER, label_map};
use crate::api::Api;
use crate::api::params::{Params, invalid};
use crate::clock::rfc3339;

pub(super) async fn rules(State(api): State<Api>, params: Params) -> Answer {
    let wanted = match params.get("type") {
        None => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => {
            return Err(Failure::bad_data(invalid(
                "type",
                &format!("not supported value {other:?}"),
            )));
        }
    };
    let filter = Filter {
        wanted,
        sets: matcher_sets(&params)?,
        with_alerts: params.get("exclude_alerts") != Some("true"),
        names: params.all("rule_name[]").collect(),
    };
    let (groups, files): (Vec<&str>, Vec<&str>) = (
        params.all("rule_group[]").collect(),
        params.all("file[]").collect(),
    );
    let shown: Vec<Value> = (api.parts()?.rules)()
        .iter()
        .filter(|g| groups.is_empty() || groups.contains(&g.name.as_str()))
        .filter(|g| files.is_empty() || files.contains(&g.file.as_str()))
        .filter_map(|g| group(g, &filter))
        .collect();
    Ok(Success::from_value(&json!({ "groups": shown })))
}

pub(super) async fn alerts(State(api): State<Api>) -> Answer {
    let groups = (api.parts()?.rules)();
    let alerts: Vec<Value> = groups
        .iter()
        .flat_map(|g| &g.rules)
        .filter_map(|r| match &r.kind {
            RuleKind::Alerting { alerts, .. } => Some(alerts),
            RuleKind::Recording => None,
        })
        .flatten()
        .map(alert)
        .collect();
    Ok(Success::from_value(&json!({ "alerts": alerts })))
}

struct Filter<'a> {
    wanted: Option<&'static str>,
    sets: Vec<Vec<Matcher>>,
    with_alerts: bool,
    names: Vec<&'a str>,
}

impl Filter<'_> {
    fn passes(&self, rule: &RuleStatus) -> bool {
        let kind = match rule.kind {
            RuleKind::Alerting { .. } => "alerting",
            RuleKind::Recording => "recording",
        };
        let matches = |set: &Vec<Matcher>| {
            set.iter()
                .all(|m| m.matches(rule.labels.get(m.name()).unwrap_or("")))
        };
        self.wanted.is_none_or(|w| w == kind)
            && (self.names.is_empty() || self.names.contains(&rule.name.as_str()))
            && (self.sets.is_empty() || self.sets.iter().any(matches))
    }
}

/// `None` when a filter leaves no rule of it.
fn group(g: &GroupStatus, filter: &Filter<'_>) -> Option<Value> {
    let rules: Vec<Value> = g
        .rules
        .iter()
        .filter(|r| filter.passes(r))
        .map(|r| rule(r, filter.with_alerts))
        .collect();
    let filtered = filter.wanted.is_some() || !filter.names.is_empty() || !filter.sets.is_empty();
    if rules.is_empty() && filtered {
        return None;
    }
    Some(json!({
        "name": g.name,
        "file": g.file,
        "interval": seconds(g.interval),
        "limit": g.limit,
        "rules": rules,
        "evaluationTime": g.evaluation_time.as_secs_f64(),
        "lastEvaluation": g.last_evaluation.map_or_else(|| NEVER.to_owned(), rfc3339),
    }))
}

/// As Go writes a float: whole seconds without a point.
fn seconds(d: std::time::Duration) -> Value {
    match d.subsec_nanos() {
        0 => json!(d.as_secs()),
        _ => json!(d.as_secs_f64()),
    }
}

fn rule(r: &RuleStatus, with_alerts: bool) -> Value {
    let mut shown = json!({
        "name": r.name,
        "query": r.expr,
        "labels": label_map(&r.labels),
        "health": r.health.as_str(),
        "evaluationTime": r.evaluation_time.as_secs_f64(),
        "lastEvaluation": r.last_evaluation.map_or_else(|| NEVER.to_owned(), rfc3339),
    });
    if let Some(error) = &r.last_error {
        shown["lastError"] = json!(error);
    }
    match &r.kind {
        RuleKind::Recording => shown["type"] = json!("recording"),
        RuleKind::Alerting {
            hold,
            keep_firing_for,
            annotations,
            state,
            alerts,
        } => {
            shown["type"] = json!("alerting");
            shown["state"] = json!(state.as_str());
            shown["duration"] = seconds(*hold);
            shown["keepFiringFor"] = seconds(*keep_firing_for);
            shown["annotations"] = json!(label_map(annotations));
            let alerts: Vec<Value> = alerts.iter().filter(|_| with_alerts).map(alert).collect();
            shown["alerts"] = json!(alerts);
        }
    }
    shown
}

fn alert(a: &AlertStatus) -> Value {
    let mut shown = json!({
        "labels": label_map(&a.labels),
        "annotations": label_map(&a.annotations),
        "state": a.state.as_str(),
        "activeAt": rfc3339(a.active_at),
        "value": model::number::format_exponent(a.value),
    });
    if let Some(since) = a.keep_firing_since {
        shown["keepFiringSince"] = json!(rfc3339(since));
    }
    shown
}
