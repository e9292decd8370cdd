//! `/loki/api/v1/rules`: the groups of rules as they are written, by file. What Grafana's list of
//! alerts asks of a Loki data source is under `/prometheus/api/v1`, with the answers of Prometheus.

use ::rules::{GroupStatus, RuleKind, RuleStatus};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::number::format_duration;
use serde_json::{Map, Value, json};

use super::Refused;
use crate::api::Api;
use crate::api::prometheus::label_map;

/// YAML, as of Loki's ruler: JSON is YAML too.
pub(super) async fn rules(State(api): State<Api>) -> Result<Response, Refused> {
    let groups = (api.parts()?.rules)();
    if groups.is_empty() {
        return Err(Refused(
            StatusCode::NOT_FOUND,
            "no rule groups found".to_owned(),
        ));
    }
    let mut files: Map<String, Value> = Map::new();
    for of_group in &groups {
        let file = files.entry(of_group.file.clone()).or_insert(json!([]));
        if let Value::Array(list) = file {
            list.push(group(of_group));
        }
    }
    let yaml = [(header::CONTENT_TYPE, "application/yaml")];
    Ok((yaml, format!("{}\n", Value::Object(files))).into_response())
}

fn group(group: &GroupStatus) -> Value {
    json!({
        "name": group.name,
        "interval": format_duration(group.interval),
        "rules": group.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &RuleStatus) -> Value {
    let kind = match rule.kind {
        RuleKind::Alerting { .. } => "alert",
        RuleKind::Recording => "record",
    };
    let mut shown = json!({ kind: rule.name, "expr": rule.expr });
    if !rule.labels.is_empty() {
        shown["labels"] = json!(label_map(&rule.labels));
    }
    if let RuleKind::Alerting {
        hold,
        keep_firing_for,
        annotations,
        ..
    } = &rule.kind
    {
        for (name, duration) in [("for", hold), ("keep_firing_for", keep_firing_for)] {
            if !duration.is_zero() {
                shown[name] = json!(format_duration(*duration));
            }
        }
        if !annotations.is_empty() {
            shown["annotations"] = json!(label_map(annotations));
        }
    }
    shown
}
