//! One notification: the alerts of a flush as an integration is shown them, and the shape in which
//! templates see it. Names of fields and methods are Alertmanager's.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{AlertStatus, Labels, LabelsBuilder, Timestamp};
use template::{Kv, Object, Time, Value};

mod reading;

use crate::notify_log::NotifyReason;

/// An alert as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) status: AlertStatus,
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) starts_at: Timestamp,
    /// `None` while firing.
    pub(crate) ends_at: Option<Timestamp>,
    pub(crate) generator_url: String,
    pub(crate) fingerprint: u64,
}

/// Everything a receiver renders from.
#[derive(Clone, Debug)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) receiver: String,
    pub(crate) group_key: String,
    pub(crate) group_labels: Labels,
    pub(crate) route_labels: BTreeMap<String, String>,
    pub(crate) reason: NotifyReason,
    pub(crate) external_url: String,
    /// In the order of [`sort_as_told`]; never empty.
    pub(crate) alerts: Vec<Told>,
}

impl Notification {
    /// Firing while any alert is.
    pub(crate) fn status(&self) -> AlertStatus {
        let fires = |a: &Told| a.status == AlertStatus::Firing;
        if self.alerts.iter().any(fires) {
            AlertStatus::Firing
        } else {
            AlertStatus::Resolved
        }
    }

    /// Whether an alert that fires calls itself critical.
    pub(crate) fn is_critical(&self) -> bool {
        self.alerts.iter().any(|a| {
            a.status == AlertStatus::Firing && a.labels.get("severity") == Some("critical")
        })
    }

    pub(crate) fn common_labels(&self) -> Labels {
        common(self.alerts.iter().map(|a| &a.labels))
    }

    pub(crate) fn common_annotations(&self) -> Labels {
        common(self.alerts.iter().map(|a| &a.annotations))
    }

    /// The receiver's name as templates and payloads see it: quoted for use in the expression of
    /// a link to the alert list.
    pub(crate) fn quoted_receiver(&self) -> String {
        let mut quoted = String::new();
        for c in self.receiver.chars() {
            if r"\.+*?()|[]{}^$".contains(c) {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted
    }

    /// The data of a template.
    pub(crate) fn template_data(&self) -> Value {
        let alerts: Arc<[Value]> = self.alerts.iter().map(alert_value).collect();
        Value::object(Data {
            receiver: self.quoted_receiver(),
            status: self.status().as_str(),
            alerts: Value::object(AlertList(alerts)),
            alerts_to_read: Value::list(
                reading::in_order(&self.alerts).into_iter().map(alert_value),
            ),
            subject_details: reading::subject_details(self),
            group_labels: Value::object(Kv(self.group_labels.clone())),
            common_labels: Value::object(Kv(self.common_labels())),
            common_annotations: Value::object(Kv(self.common_annotations())),
            external_url: self.external_url.clone(),
            reason: self.reason.as_str(),
            route_labels: Value::object(Kv(Labels::from_pairs(self.route_labels.clone()))),
        })
    }
}

/// Alertmanager's order: by `job`, then `instance`, then fewer labels, then labels.
pub(crate) fn sort_as_told(alerts: &mut [Told]) {
    // A present label sorts before an absent one.
    let lead = |a: &Told, name: &str| {
        let value = a.labels.get(name).map(str::to_owned);
        (value.is_none(), value)
    };
    alerts.sort_by_cached_key(|a| {
        let labels = a.labels.clone();
        (lead(a, "job"), lead(a, "instance"), labels.len(), labels)
    });
}

fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let Some(first) = sets.next() else {
        return Labels::empty();
    };
    let mut kept: LabelsBuilder = first.to_builder();
    for set in sets {
        kept.retain(|name, value| set.get(name) == Some(value));
    }
    kept.build()
}

struct Data {
    receiver: String,
    status: &'static str,
    alerts: Value,
    /// For our own templates: see [`reading::in_order`].
    alerts_to_read: Value,
    /// For our own templates: see [`reading::subject_details`].
    subject_details: String,
    group_labels: Value,
    common_labels: Value,
    common_annotations: Value,
    external_url: String,
    reason: &'static str,
    route_labels: Value,
}

impl Object for Data {
    fn type_name(&self) -> &'static str {
        "template.Data"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Receiver" => Value::from(self.receiver.as_str()),
            "Status" => Value::from(self.status),
            "Alerts" => self.alerts.clone(),
            "AlertsToRead" => self.alerts_to_read.clone(),
            "SubjectDetails" => Value::from(self.subject_details.as_str()),
            "GroupLabels" => self.group_labels.clone(),
            "CommonLabels" => self.common_labels.clone(),
            "CommonAnnotations" => self.common_annotations.clone(),
            "ExternalURL" => Value::from(self.external_url.as_str()),
            "NotificationReason" => Value::from(self.reason),
            "RouteLabels" => self.route_labels.clone(),
            _ => return None,
        })
    }
}

/// Alertmanager's `Alerts`: a list with two methods.
struct AlertList(Arc<[Value]>);

impl Object for AlertList {
    fn type_name(&self) -> &'static str {
        "template.Alerts"
    }

    fn call(&self, name: &str, _: &[Value]) -> Option<Result<Value, String>> {
        let wanted = match name {
            "Firing" => AlertStatus::Firing,
            "Resolved" => AlertStatus::Resolved,
            _ => return None,
        };
        let has_status = |alert: &&Value| match alert {
            Value::Object(o) => {
                let status = o.field("Status");
                status.as_ref().and_then(Value::as_str) == Some(wanted.as_str())
            }
            _ => false,
        };
        Some(Ok(Value::list(self.0.iter().filter(has_status).cloned())))
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::List(self.0.clone()))
    }
}

struct AlertData {
    told: Told,
    labels: Value,
    /// For our own templates: see [`reading::shown`].
    shown_labels: Value,
    annotations: Value,
}

fn alert_value(told: &Told) -> Value {
    Value::object(AlertData {
        labels: Value::object(Kv(told.labels.clone())),
        shown_labels: Value::object(Kv(reading::shown(&told.labels))),
        annotations: Value::object(Kv(told.annotations.clone())),
        told: told.clone(),
    })
}

impl Object for AlertData {
    fn type_name(&self) -> &'static str {
        "template.Alert"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(match name {
            "Status" => Value::from(self.told.status.as_str()),
            "Labels" => self.labels.clone(),
            "ShownLabels" => self.shown_labels.clone(),
            "Annotations" => self.annotations.clone(),
            "StartsAt" => Value::Time(Time::utc(self.told.starts_at)),
            "EndsAt" => Value::Time(self.told.ends_at.map_or_else(Time::zero, Time::utc)),
            "GeneratorURL" => Value::from(self.told.generator_url.as_str()),
            "Fingerprint" => Value::from(format!("{:016x}", self.told.fingerprint)),
            _ => return None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A notification about alerts given as (labels, annotations, resolved).
    pub(crate) fn sample(alerts: &[(&[(&str, &str)], &[(&str, &str)], bool)]) -> Notification {
        let mut told: Vec<Told> = alerts
            .iter()
            .map(|(labels, annotations, resolved)| {
                let labels = Labels::from_pairs(labels.iter().copied());
                Told {
                    status: if *resolved {
                        AlertStatus::Resolved
                    } else {
                        AlertStatus::Firing
                    },
                    annotations: Labels::from_pairs(annotations.iter().copied()),
                    starts_at: Timestamp::from_millis(1_795_000_000_000),
                    ends_at: resolved.then(|| Timestamp::from_millis(1_795_000_060_500)),
                    generator_url: "http://p/graph?g0".to_owned(),
                    fingerprint: labels.fingerprint(),
                    labels,
                }
            })
            .collect();
        sort_as_told(&mut told);
        Notification {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            at: Timestamp::from_millis(1_795_000_100_000),
            receiver: "team-X".to_owned(),
            group_key: "{}:{alertname=\"A\"}".to_owned(),
            group_labels: Labels::from_pairs([("alertname", "A")]),
            route_labels: BTreeMap::new(),
            reason: NotifyReason::First,
            external_url: "http://am.example".to_owned(),
            alerts: told,
        }
    }

    #[test]
    fn only_what_all_alerts_share_is_common() {
        let n = sample(&[
            (
                &[("alertname", "A"), ("job", "x"), ("i", "1")],
                &[("s", "t")],
                false,
            ),
            (&[("alertname", "A"), ("job", "x"), ("i", "2")], &[], true),
        ]);
        assert_eq!(n.common_labels().to_string(), r#"{alertname="A", job="x"}"#);
        assert!(n.common_annotations().is_empty());
        assert_eq!(n.status(), AlertStatus::Firing);
    }

    #[test]
    fn alerts_are_told_by_job_and_instance_first() {
        let n = sample(&[
            (&[("alertname", "A")], &[], false),
            (&[("alertname", "B"), ("job", "b")], &[], false),
            (
                &[("alertname", "C"), ("job", "a"), ("instance", "2")],
                &[],
                false,
            ),
            (
                &[("alertname", "D"), ("job", "a"), ("instance", "1")],
                &[],
                false,
            ),
        ]);
        let order: Vec<_> = n
            .alerts
            .iter()
            .filter_map(|a| a.labels.get("alertname"))
            .collect();
        assert_eq!(order, ["D", "C", "B", "A"]);
    }
}
