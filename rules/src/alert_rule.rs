//! An alerting rule and the state machine of its alerts.
//! Source of the behaviour: prometheus/rules/alerting.go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{Alert, Labels, LabelsBuilder, Sample, SampleBatch, Timestamp};
use template::prometheus::QuerySample;
use template::{Functions, Limits, TemplateSet, Value};

use crate::alert_state::ActiveAlert;
use crate::file::{AlertSpec, template_set};
use crate::group::Round;
use crate::{AlertState, AlertStatus, RuleExpr};

/// How long a resolved alert is remembered and sent again, so that a receiver that was away for a
/// while still hears of it.
const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// Most alerts of one rule when its group sets no limit; far above any sane rule.
pub(crate) const RESULTS_MAX: usize = 10_000;

/// Most `query` calls of one label or annotation.
const QUERIES_PER_TEXT_MAX: usize = 10;

/// An alerting rule with the alerts it has raised.
pub(crate) struct AlertRule {
    pub(crate) spec: AlertSpec,
    labels: Vec<Text>,
    annotations: Vec<Text>,
    /// By fingerprint of their labels.
    pub(crate) active: BTreeMap<u64, ActiveAlert>,
}

/// The text of a label or annotation, parsed.
struct Text {
    name: String,
    plain: String,
    /// `None` when there is nothing to expand.
    template: Option<TemplateSet>,
}

/// Why an evaluation gave nothing. The words are Prometheus'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("{0}")]
    Query(String),
    #[error("vector contains metrics with the same labelset after applying {0} labels")]
    SameLabels(&'static str),
    #[error("exceeded limit of {limit} with {found} {what}")]
    Limit {
        limit: usize,
        found: usize,
        what: &'static str,
    },
    #[error("storing the result: {0}")]
    Append(String),
}

impl AlertRule {
    pub(crate) fn new(spec: AlertSpec) -> AlertRule {
        let template_name = format!("__alert_{}", spec.name);
        let texts = |from: &BTreeMap<String, String>| {
            from.iter()
                .map(|(name, text)| Text::new(&template_name, name, text))
                .collect()
        };
        AlertRule {
            labels: texts(&spec.labels),
            annotations: texts(&spec.annotations),
            spec,
            active: BTreeMap::new(),
        }
    }

    /// Moves every alert on and returns the samples that tell of it.
    pub(crate) fn eval(&mut self, round: &Round<'_>) -> Result<SampleBatch, RuleError> {
        let results = round.query_floats(&self.spec.expr, round.data_at())?;
        let seen = self.expand(&results, round)?;
        for (key, fresh) in &seen {
            match self.active.get_mut(key) {
                Some(known) if known.state != AlertState::Inactive => {
                    known.value = fresh.value;
                    known.annotations = fresh.annotations.clone();
                }
                _ => {
                    self.active.insert(*key, fresh.clone());
                }
            }
        }
        let mut samples = Vec::new();
        let mut living = 0;
        let hold = self.spec.hold;
        let keep_firing_for = self.spec.keep_firing_for;
        self.active.retain(|key, alert| {
            let (keep, lives) =
                advance(alert, seen.contains_key(key), hold, keep_firing_for, round);
            if lives {
                living += 1;
                samples.extend(own_samples(&self.spec.name, alert, round.data_at()));
            }
            keep
        });
        let limit = round.limit_or(RESULTS_MAX);
        if living > limit {
            self.active.clear();
            return Err(RuleError::Limit {
                limit,
                found: living,
                what: "alerts",
            });
        }
        Ok(SampleBatch::from(samples))
    }

    /// Whether there is an alert to send now.
    pub(crate) fn is_due(&self, round: &Round<'_>) -> bool {
        let mut all = self.active.values();
        all.any(|a| needs_sending(a, round.at, round.resend_delay))
    }

    /// Alerts to send now; marks them as sent.
    pub(crate) fn take_due(&mut self, round: &Round<'_>) -> Vec<Alert> {
        let resend = round.resend_delay;
        let valid_until = round.at.plus(4 * round.interval.max(resend));
        let link = round.table_link(&self.spec.expr.to_string());
        let mut due = Vec::new();
        for alert in self.active.values_mut() {
            if !needs_sending(alert, round.at, resend) {
                continue;
            }
            alert.last_sent = Some(round.at);
            due.push(Alert {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at: alert.fired_at.unwrap_or(alert.active_at),
                ends_at: Some(alert.resolved_at.unwrap_or(valid_until)),
                generator_url: link.clone(),
                updated_at: round.at,
            });
        }
        due
    }

    /// Pending and firing alerts by labels, and the state of the rule.
    pub(crate) fn status(&self) -> (AlertState, Vec<AlertStatus>) {
        let mut alerts: Vec<AlertStatus> = self
            .active
            .values()
            .filter(|a| a.state != AlertState::Inactive)
            .map(|a| AlertStatus {
                labels: a.labels.clone(),
                annotations: a.annotations.clone(),
                state: a.state,
                active_at: a.active_at,
                keep_firing_since: a.keep_firing_since,
                value: a.value,
            })
            .collect();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        let state = alerts.iter().map(|a| a.state).max().unwrap_or_default();
        (state, alerts)
    }

    /// The series that a run before this one has written for restored alerts.
    pub(crate) fn restored_series(&self) -> impl Iterator<Item = Labels> + '_ {
        self.active
            .values()
            .filter(|a| a.state != AlertState::Inactive)
            .flat_map(|a| own_samples(&self.spec.name, a, a.seen_at))
            .map(|sample| sample.labels)
    }

    /// Labels and annotations of every result, by fingerprint.
    fn expand(
        &self,
        results: &[(Labels, f64)],
        round: &Round<'_>,
    ) -> Result<HashMap<u64, ActiveAlert>, RuleError> {
        if results.is_empty() {
            return Ok(HashMap::new());
        }
        let queries = AtomicUsize::new(0);
        let functions = template::prometheus::functions(template::prometheus::Environment {
            query: Arc::new(|text| {
                if queries.fetch_add(1, Ordering::Relaxed) >= QUERIES_PER_TEXT_MAX {
                    return Err(format!(
                        "more than {QUERIES_PER_TEXT_MAX} queries in one text"
                    ));
                }
                let expr = query::parse(text).map_err(|e| e.to_string())?;
                let expr = RuleExpr::Metrics(expr);
                let results = round
                    .query_floats(&expr, round.at)
                    .map_err(|e| e.to_string())?;
                Ok(results
                    .into_iter()
                    .map(|(labels, value)| QuerySample { labels, value })
                    .collect())
            }),
            now: round.at,
            external_url: round.env.external_url().to_owned(),
        });
        let external_labels = Value::from(round.env.external_labels());
        let external_url = Value::from(round.env.external_url());
        let mut seen = HashMap::with_capacity(results.len());
        for (result, value) in results {
            let data = Value::map([
                ("Labels", Value::from(result)),
                ("ExternalLabels", external_labels.clone()),
                ("ExternalURL", external_url.clone()),
                ("Value", Value::Float(*value)),
            ]);
            let expand = |text: &Text| {
                queries.store(0, Ordering::Relaxed);
                text.expand(&data, &functions)
            };
            let mut labels = result.without(model::labels::METRIC_NAME).to_builder();
            for text in &self.labels {
                labels.set(text.name.as_str(), expand(text));
            }
            labels.set("alertname", self.spec.name.as_str());
            let labels = labels.build();
            let mut annotations = LabelsBuilder::default();
            for text in &self.annotations {
                annotations.set(text.name.as_str(), expand(text));
            }
            let alert = ActiveAlert::pending(labels.clone(), annotations.build(), *value, round.at);
            if seen.insert(labels.fingerprint(), alert).is_some() {
                return Err(RuleError::SameLabels("alert"));
            }
        }
        Ok(seen)
    }
}

/// Moves one alert on: whether it is still to be remembered, and whether it is pending or firing.
fn advance(
    alert: &mut ActiveAlert,
    seen: bool,
    hold: Duration,
    keep_firing_for: Duration,
    round: &Round<'_>,
) -> (bool, bool) {
    if !seen && alert.restored && round.settling && alert.state != AlertState::Inactive {
        // The first scrapes after a start are still to come: no verdict without data.
        return (true, true);
    }
    if seen {
        alert.keep_firing_since = None;
        if alert.state == AlertState::Pending {
            let unwatched = round.at.since(alert.seen_at);
            if alert.restored && unwatched > 2 * round.interval {
                alert.active_at = alert.active_at.plus(unwatched - round.interval);
            }
            alert.seen_at = round.at;
        }
        alert.restored = false;
    } else {
        let mut keep_firing = false;
        if alert.state == AlertState::Firing && !keep_firing_for.is_zero() {
            let since = *alert.keep_firing_since.get_or_insert(round.at);
            keep_firing = round.at.since(since) < keep_firing_for;
        }
        let forgotten = alert
            .resolved_at
            .is_some_and(|at| round.at.since(at) > RESOLVED_RETENTION);
        if alert.state == AlertState::Pending || forgotten {
            return (false, false);
        }
        if alert.state != AlertState::Inactive && !keep_firing {
            alert.state = AlertState::Inactive;
            alert.resolved_at = Some(round.at);
        }
        if !keep_firing {
            return (true, false);
        }
    }
    if alert.state == AlertState::Pending && round.at.since(alert.active_at) >= hold {
        alert.state = AlertState::Firing;
        alert.fired_at = Some(round.at);
    }
    (true, true)
}

/// Whether the receiver must hear of it now. An alert that resolved is sent at once, then both
/// kinds again after each resend delay.
fn needs_sending(alert: &ActiveAlert, at: Timestamp, resend_delay: Duration) -> bool {
    if alert.state == AlertState::Pending {
        return false;
    }
    let Some(last_sent) = alert.last_sent else {
        return true;
    };
    // A last sending in the future: the clock was set back, and nothing must wait for it.
    alert.resolved_at.is_some_and(|r| r > last_sent)
        || last_sent.plus(resend_delay) < at
        || last_sent > at
}

/// `ALERTS` and `ALERTS_FOR_STATE` of a pending or firing alert.
fn own_samples(name: &str, alert: &ActiveAlert, at: Timestamp) -> [Sample; 2] {
    let mut labels = alert.labels.to_builder();
    labels
        .set(model::labels::METRIC_NAME, "ALERTS")
        .set("alertname", name)
        .set("alertstate", alert.state.as_str());
    let mut since = alert.labels.to_builder();
    since
        .set(model::labels::METRIC_NAME, "ALERTS_FOR_STATE")
        .set("alertname", name);
    [
        Sample {
            labels: labels.build(),
            at,
            value: 1.0,
        },
        Sample {
            labels: since.build(),
            at,
            value: alert.active_at.millis().div_euclid(1000) as f64,
        },
    ]
}

impl Text {
    fn new(template_name: &str, name: &str, text: &str) -> Text {
        let template = text.contains("{{").then(|| {
            let mut set = template_set();
            // The file was checked; a text that cannot be parsed is reported when it is expanded.
            let _ = set.add(template_name, text);
            set
        });
        Text {
            name: name.to_owned(),
            plain: if template.is_some() {
                template_name.to_owned()
            } else {
                text.to_owned()
            },
            template,
        }
    }

    /// The text over `data`; an error becomes the text, so that the alert goes out all the same.
    fn expand(&self, data: &Value, functions: &Functions<'_>) -> String {
        let Some(set) = &self.template else {
            return self.plain.clone();
        };
        match set.execute(&self.plain, data, functions, &Limits::default()) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(template = %self.plain, field = %self.name, %error, "expanding alert template failed");
                format!(
                    "<error expanding template: error executing template {}: {error}>",
                    self.plain
                )
            }
        }
    }
}
