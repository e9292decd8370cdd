//! `/rules` and `/alerts`.

use ::rules::{AlertStatus, GroupStatus, RuleKind, RuleStatus};
use axum::extract::State;
use model::Matcher;
use query::promql::quote::go_quote;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::envelope::{Answer, Failure, Success};
use super::labels::matcher_sets;
use super::targets::{NEVER, label_map};
use crate::api::Api;
use crate::api::params::{Params, invalid, parse_int};
use crate::clock::rfc3339;

pub(in crate::api) async fn rules(State(api): State<Api>, params: Params) -> Answer {
    let bad = |name: &str, why: &str| Failure::bad_data(invalid(name, why));
    let sets = matcher_sets(&params)?;
    let wanted = match params.get("type").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => {
            let shown = go_quote(other);
            return Err(bad("type", &format!("not supported value {shown}")));
        }
    };
    let exclude_alerts = match params.get("exclude_alerts") {
        None => false,
        Some(text) => parse_bool(&text.to_ascii_lowercase()).map_err(|e| {
            bad(
                "exclude_alerts",
                &format!("error converting exclude_alerts: {e}"),
            )
        })?,
    };
    let filter = Filter {
        wanted,
        sets,
        with_alerts: !exclude_alerts,
        names: params.all("rule_name[]").collect(),
    };
    let page = Page::from(&params)?;
    let (groups, files): (Vec<&str>, Vec<&str>) = (
        params.all("rule_group[]").collect(),
        params.all("file[]").collect(),
    );
    let all = (api.parts()?.rules)();
    let mut shown: Vec<Value> = Vec::new();
    let mut next_token = None;
    let mut reached = page.token.is_none();
    for g in &all {
        reached = reached || page.token == Some(token(g).as_str());
        if !reached
            || !(groups.is_empty() || groups.contains(&g.name.as_str()))
            || !(files.is_empty() || files.contains(&g.file.as_str()))
        {
            continue;
        }
        let Some(group) = group(g, &filter) else {
            continue;
        };
        if page.limit.is_some_and(|limit| shown.len() >= limit) {
            next_token = Some(token(g));
            break;
        }
        shown.push(group);
    }
    if let (false, Some(token)) = (reached, page.token) {
        return Err(bad(
            "group_next_token",
            &format!("invalid group_next_token '{token}'. were rule groups changed?"),
        ));
    }
    let mut data = json!({ "groups": shown });
    if let Some(token) = next_token {
        data["groupNextToken"] = json!(token);
    }
    Ok(Success::from_value(&data))
}

/// Which part of the list of groups.
struct Page<'a> {
    limit: Option<usize>,
    /// Of the first group.
    token: Option<&'a str>,
}

impl Page<'_> {
    fn from(params: &Params) -> Result<Page<'_>, Failure> {
        let bad = |name: &str, why: &str| Failure::bad_data(invalid(name, why));
        let (limit, token) = (params.get("group_limit"), params.get("group_next_token"));
        if token.is_some() && limit.is_none() {
            return Err(bad(
                "group_next_token",
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        let limit = limit
            .map(|text| match parse_int(text) {
                Ok(limit) if limit > 0 => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
                Ok(_) => Err(bad("group_limit", "group_limit needs to be greater than 0")),
                Err(e) => Err(bad(
                    "group_limit",
                    &format!("group_limit needs to be a valid number: {e}"),
                )),
            })
            .transpose()?;
        Ok(Page { limit, token })
    }
}

/// What stands for a group in `group_next_token`.
fn token(g: &GroupStatus) -> String {
    let digest = Sha256::digest(format!("{};{}", g.file, g.name));
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            go_quote(text)
        )),
    }
}

pub(in crate::api) async fn alerts(State(api): State<Api>) -> Answer {
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
