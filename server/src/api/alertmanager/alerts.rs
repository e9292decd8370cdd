//! `/alerts` and `/alerts/groups`.

use std::collections::BTreeMap;

use alerting::view::{AlertState, AlertView, GroupView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{Alert, Labels, Matcher, Regex, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Refused, answer, handle, read_time};
use crate::api::Api;
use crate::api::params::Params;
use crate::clock::rfc3339;

/// Alerts in one request.
const ALERTS_MAX: usize = 10_000;

/// Which alerts a client wants.
struct Filter {
    active: bool,
    silenced: bool,
    inhibited: bool,
    unprocessed: bool,
    matchers: Vec<Matcher>,
    receiver: Option<Regex>,
}

impl Filter {
    fn from(params: &Params) -> Result<Filter, Refused> {
        let on = |name: &str| params.get(name) != Some("false");
        let receiver = params
            .get("receiver")
            .map(Regex::anchored)
            .transpose()
            .map_err(|e| Refused::bad(format!("failed to parse receiver param: {e}")))?;
        Ok(Filter {
            active: on("active"),
            silenced: on("silenced"),
            inhibited: on("inhibited"),
            unprocessed: on("unprocessed"),
            matchers: matchers(params)?,
            receiver,
        })
    }

    fn passes(&self, alert: &AlertView) -> bool {
        let state = match alert.state {
            AlertState::Unprocessed => self.unprocessed,
            AlertState::Active => self.active,
            AlertState::Suppressed => {
                (self.silenced || alert.silenced_by.is_empty())
                    && (self.inhibited || alert.inhibited_by.is_empty())
            }
        };
        let labels = &alert.alert.labels;
        state
            && self
                .matchers
                .iter()
                .all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
            && self
                .receiver
                .as_ref()
                .is_none_or(|regex| alert.receivers.iter().any(|r| regex.is_match(r)))
    }
}

/// The matchers of `filter` parameters.
pub(super) fn matchers(params: &Params) -> Result<Vec<Matcher>, Refused> {
    let mut all = Vec::new();
    for text in params.all("filter") {
        let parsed = alerting::config::parse_matchers(text)
            .map_err(|e| Refused::bad(format!("failed to parse matchers: {e}")))?;
        all.extend(parsed);
    }
    Ok(all)
}

pub(super) async fn list(State(api): State<Api>, params: Params) -> Answer {
    let filter = Filter::from(&params)?;
    let alerts: Vec<Value> = handle(&api)?
        .alerts(api.now())
        .iter()
        .filter(|a| filter.passes(a))
        .map(shown)
        .collect();
    Ok(answer(&Value::Array(alerts)))
}

pub(super) async fn groups(State(api): State<Api>, params: Params) -> Answer {
    let filter = Filter::from(&params)?;
    let groups: Vec<Value> = handle(&api)?
        .groups(api.now())
        .iter()
        .filter_map(|g| group(g, &filter))
        .collect();
    Ok(answer(&Value::Array(groups)))
}

fn group(g: &GroupView, filter: &Filter) -> Option<Value> {
    let alerts: Vec<Value> = g
        .alerts
        .iter()
        .filter(|a| filter.passes(a))
        .map(shown)
        .collect();
    (!alerts.is_empty()).then(|| {
        json!({
            "labels": map(&g.labels),
            "receiver": { "name": g.receiver },
            "alerts": alerts,
        })
    })
}

fn shown(a: &AlertView) -> Value {
    let receivers: Vec<Value> = a.receivers.iter().map(|r| json!({ "name": r })).collect();
    let ends_at = a.alert.ends_at.unwrap_or(Timestamp::MAX);
    json!({
        "annotations": map(&a.alert.annotations),
        "endsAt": rfc3339(ends_at),
        "fingerprint": a.fingerprint,
        "receivers": receivers,
        "startsAt": rfc3339(a.alert.starts_at),
        "status": {
            "state": a.state.as_str(),
            "silencedBy": a.silenced_by,
            "inhibitedBy": a.inhibited_by,
            "mutedBy": [],
        },
        "updatedAt": rfc3339(a.alert.updated_at),
        "generatorURL": a.alert.generator_url,
        "labels": map(&a.alert.labels),
    })
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// An alert as others send it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

pub(super) async fn receive(State(api): State<Api>, body: String) -> Answer {
    let posted: Vec<Posted> =
        serde_json::from_str(&body).map_err(|e| Refused::bad(format!("wrong JSON: {e}")))?;
    if posted.len() > ALERTS_MAX {
        return Err(Refused::bad(format!(
            "more than {ALERTS_MAX} alerts in one request"
        )));
    }
    let now = api.now();
    let mut alerts = Vec::with_capacity(posted.len());
    for one in posted {
        alerts.push(Alert {
            labels: Labels::from_pairs(one.labels),
            annotations: Labels::from_pairs(one.annotations),
            // Zero means "not said"; alerting fills it in.
            starts_at: read_time(one.starts_at.as_deref())?.unwrap_or_default(),
            ends_at: read_time(one.ends_at.as_deref())?,
            generator_url: one.generator_url,
            updated_at: now,
        });
    }
    let handle = handle(&api)?;
    let received = api
        .workshop()
        .write(move || handle.receive(alerts, now))
        .await?;
    if received.refused.is_empty() {
        Ok(StatusCode::OK.into_response())
    } else {
        Err(Refused::bad(received.refused.join("; ")))
    }
}
