//! `/metadata` and `/targets/metadata`: type, help and unit of metrics, as scraped targets and
//! remote-write senders told them.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use serde::Serialize;

use super::envelope::{Answer, Failure, Success};
use super::targets::label_map;
use crate::api::Api;
use crate::api::params::{Params, invalid, parse_int};

/// What the API tells about one metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Shown {
    r#type: &'static str,
    help: String,
    unit: String,
}

/// One line of `/targets/metadata`.
#[derive(Serialize)]
struct OfTarget<'a> {
    target: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    metric: &'a str,
    r#type: &'static str,
    help: &'a str,
    unit: &'a str,
}

pub(super) async fn metadata(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let limit = number(&params, "limit")?;
    let per_metric = number(&params, "limit_per_metric")?.filter(|n| *n > 0);
    let metric = params.get("metric");
    let wanted = |name: &str| metric.is_none_or(|m| m == name);

    let mut found: BTreeMap<String, BTreeSet<Shown>> = BTreeMap::new();
    for (_, families) in parts.targets.metadata() {
        for family in families.iter().filter(|f| wanted(&f.name)) {
            let shown = Shown {
                r#type: family.kind.as_str(),
                help: family.help.clone(),
                unit: family.unit.clone(),
            };
            found.entry(family.name.clone()).or_default().insert(shown);
        }
    }
    for (name, told) in api.metadata().all() {
        if wanted(&name) {
            let shown = Shown {
                r#type: told.kind,
                help: told.help,
                unit: told.unit,
            };
            found.entry(name).or_default().insert(shown);
        }
    }
    let shown: BTreeMap<String, Vec<Shown>> = found
        .into_iter()
        .take(limit.unwrap_or(usize::MAX))
        .map(|(name, all)| {
            let all = all.into_iter().take(per_metric.unwrap_or(usize::MAX));
            (name, all.collect())
        })
        .collect();
    json(&shown)
}

pub(super) async fn of_targets(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let limit = number(&params, "limit")?.unwrap_or(usize::MAX);
    let matchers = params
        .get("match_target")
        .map(query::parse_matchers)
        .transpose()
        .map_err(|e| Failure::bad_data(invalid("match_target", &e.to_string())))?
        .unwrap_or_default();
    let metric = params.get("metric");
    let all = parts.targets.metadata();
    let lines = all
        .iter()
        .filter(|(labels, _)| {
            let value = |name| labels.get(name).unwrap_or_default();
            matchers.iter().all(|m| m.matches(value(m.name())))
        })
        .flat_map(|(labels, families)| families.iter().map(move |family| (labels, family)))
        .filter(|(_, family)| metric.is_none_or(|m| m == family.name))
        .take(limit)
        .map(|(labels, family)| OfTarget {
            target: label_map(labels),
            // Who asked for one metric knows its name.
            metric: metric.map_or(family.name.as_str(), |_| ""),
            r#type: family.kind.as_str(),
            help: &family.help,
            unit: &family.unit,
        });
    json(&lines.collect::<Vec<_>>())
}

fn json<T: Serialize>(shown: &T) -> Answer {
    // Strings and lists of strings cannot fail to be written.
    serde_json::to_string(shown)
        .map(Success::new)
        .map_err(|e| Failure::new(super::envelope::ErrorType::Internal, e.to_string()))
}

/// A whole number; negative ones are none.
fn number(params: &Params, name: &str) -> Result<Option<usize>, Failure> {
    params
        .get(name)
        .map(parse_int)
        .transpose()
        .map(|n| n.and_then(|n| usize::try_from(n).ok()))
        .map_err(|_| Failure::bad_data(format!("{name} must be a number")))
}
