//! `/labels`, `/label/{name}/values`, `/series`, `/detected_labels`.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use model::{Labels, Matcher};

use super::{Refused, made, time};
use crate::api::params::Params;
use crate::api::prometheus::envelope::Failure;
use crate::api::reading::Reading;
use crate::api::workshop::Client;
use crate::api::{Api, json};

/// Labels that `/detected_labels` shows whatever their values are; of the others none whose
/// values are all numbers or UUIDs. Source: loki pkg/querier/querier.go.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

pub(super) async fn names(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let wanted = Wanted::new(&api, &params, query_set(&params)?)?;
    made(&api, &client, move |reading| {
        let streams = wanted.streams(reading)?;
        let names: BTreeSet<&str> = streams
            .iter()
            .flat_map(|l| l.iter().map(|(n, _)| n))
            .collect();
        Ok(list(names))
    })
    .await
}

pub(super) async fn values(
    State(api): State<Api>,
    client: Client,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, Refused> {
    let wanted = Wanted::new(&api, &params, query_set(&params)?)?;
    made(&api, &client, move |reading| {
        let streams = wanted.streams(reading)?;
        let values: BTreeSet<&str> = streams.iter().filter_map(|l| l.get(&name)).collect();
        Ok(list(values))
    })
    .await
}

pub(super) async fn series(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let texts: BTreeSet<&str> = params.all("match[]").chain(params.all("match")).collect();
    let mut sets = Vec::new();
    for text in &texts {
        let is_empty = text.bytes().filter(|b| *b != b' ').eq(*b"{}");
        match is_empty {
            // All streams.
            true if texts.len() == 1 => {}
            true => return Err(Refused::bad(format!("0 matchers in group: {text}"))),
            false => sets.push(plain(query::logql::parse_any_selector(text))?),
        }
    }
    let wanted = Wanted::new(&api, &params, sets)?;
    made(&api, &client, move |reading| {
        let mut body = String::from("{\"status\":\"success\",\"data\":");
        json::array(&mut body, wanted.streams(reading)?, |out, labels| {
            json::labels(out, &labels);
        });
        body.push('}');
        Ok(body)
    })
    .await
}

/// Labels worth offering, and how many values each has. Not wrapped in an envelope, as in Loki.
pub(super) async fn detected(
    State(api): State<Api>,
    client: Client,
    params: Params,
) -> Result<Response, Refused> {
    let wanted = Wanted::new(&api, &params, query_set(&params)?)?;
    made(&api, &client, move |reading| {
        let streams = wanted.streams(reading)?;
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, value) in streams.iter().flat_map(Labels::iter) {
            values.entry(name).or_default().insert(value);
        }
        values.retain(|name, values| {
            ALWAYS_SHOWN.contains(name) || !values.iter().all(|value| is_identifier(value))
        });
        let mut body = String::from("{\"detectedLabels\":");
        json::array(&mut body, values, |out, (name, values)| {
            out.push_str("{\"label\":");
            json::string(out, name);
            out.push_str(&format!(",\"cardinality\":{}}}", values.len()));
        });
        body.push('}');
        Ok(body)
    })
    .await
}

/// A number or a UUID.
fn is_identifier(value: &str) -> bool {
    let is_uuid = value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    is_uuid || value.parse::<f64>().is_ok()
}

/// Which streams are asked for.
struct Wanted {
    sets: Vec<Vec<Matcher>>,
    start_ns: i64,
    end_ns: i64,
}

impl Wanted {
    fn new(api: &Api, params: &Params, sets: Vec<Vec<Matcher>>) -> Result<Wanted, Refused> {
        let (start_ns, end_ns) = time::range(params, api.now())?;
        Ok(Wanted {
            sets,
            start_ns,
            end_ns,
        })
    }

    fn streams(&self, reading: &Reading) -> Result<Vec<Labels>, Failure> {
        let logs = &reading.parts.logs;
        Ok(logs.streams(&self.sets, self.start_ns, self.end_ns)?)
    }
}

fn query_set(params: &Params) -> Result<Vec<Vec<Matcher>>, Refused> {
    let set = params.get("query").map(selector).transpose()?;
    Ok(set.into_iter().collect())
}

/// A selector and nothing else.
pub(super) fn selector(text: &str) -> Result<Vec<Matcher>, Refused> {
    plain(query::logql::parse_selector(text))
}

fn plain(
    parsed: Result<Option<Vec<Matcher>>, query::logql::ParseError>,
) -> Result<Vec<Matcher>, Refused> {
    let matchers = parsed.map_err(|e| Refused::bad(e.to_string()))?;
    matchers.ok_or_else(|| Refused::bad("only label matchers are supported"))
}

/// As Loki's, without `data` where there is nothing.
fn list(items: BTreeSet<&str>) -> String {
    let mut body = String::from("{\"status\":\"success\"");
    if !items.is_empty() {
        body.push_str(",\"data\":");
        json::array(&mut body, items, json::string);
    }
    body.push('}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_uuids_identify_something() {
        for (value, expect) in [
            ("17", true),
            ("-1.5e3", true),
            ("0b8f0a9c-5d7e-4a8e-9a44-1f2e3d4c5b6a", true),
            ("0b8f0a9c-5d7e-4a8e-9a44-1f2e3d4c5b6g", false),
            ("web", false),
            ("", false),
        ] {
            assert_eq!(is_identifier(value), expect, "{value}");
        }
    }
}
