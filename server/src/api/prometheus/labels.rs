//! `/labels`, `/label/{name}/values`, `/series`.

use std::collections::BTreeSet;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use model::{Labels, Matcher, TimeRange};
use query::promql::quote::go_quote;

use super::envelope::{Answer, ErrorType, Failure, Success};
use crate::api::params::{Params, invalid};
use crate::api::reading::Reading;
use crate::api::workshop::Client;
use crate::api::{Api, json};

/// Selectors of one request. Each is looked up on its own.
pub(crate) const SELECTORS_MAX: usize = 1000;

/// What the three endpoints understand.
struct Asked {
    sets: Vec<Vec<Matcher>>,
    /// `None` when nothing lies between start and end.
    range: Option<TimeRange>,
    limit: Option<usize>,
}

impl Asked {
    /// `word` words a wrong selector: Prometheus names the parameter in one endpoint only.
    fn from(params: &Params, word: impl Fn(&str) -> String) -> Result<Asked, Failure> {
        let limit = params.limit().map_err(Failure::bad_data)?;
        Ok(Asked {
            limit,
            range: params.range().map_err(Failure::bad_data)?,
            sets: read_sets(params).map_err(|why| Failure::bad_data(word(&why)))?,
        })
    }
}

/// The sets of `match[]`; none of them may select everything.
pub(crate) fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, Failure> {
    read_sets(params).map_err(Failure::bad_data)
}

fn read_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, String> {
    if params.all("match[]").nth(SELECTORS_MAX).is_some() {
        return Err(format!("more than {SELECTORS_MAX} selectors in match[]"));
    }
    // Each is looked up once, however often it is repeated.
    let distinct: BTreeSet<&str> = params.all("match[]").collect();
    distinct
        .into_iter()
        .map(|text| query::parse_matchers(text).map_err(|e| unselective(&e)))
        .collect()
}

/// The parser refuses a selector of everything as it does in a query; here Prometheus says it
/// differently.
fn unselective(error: &query::ParseError) -> String {
    if error.message == "vector selector must contain at least one non-empty matcher" {
        "match[] must contain at least one non-empty matcher".to_owned()
    } else {
        error.to_string()
    }
}

pub(super) async fn names(State(api): State<Api>, client: Client, params: Params) -> Answer {
    let asked = Asked::from(&params, str::to_owned)?;
    let Some(range) = asked.range else {
        return Ok(Success::new("[]".to_owned()));
    };
    let timeout = api.config().query.timeout.0;
    let read = api
        .read(&client, timeout, move |reading| {
            let names = reading.series().label_names(&asked.sets, range)?;
            texts(names, asked.limit, reading)
        })
        .await?;
    Ok(Success::read(read))
}

pub(super) async fn values(
    State(api): State<Api>,
    client: Client,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Answer {
    let Path(name) = name.map_err(|_| Failure::bad_data("invalid label name: not valid UTF-8"))?;
    let name = unescape(&name);
    if name.is_empty() {
        let shown = go_quote(&name);
        return Err(Failure::bad_data(format!("invalid label name: {shown}")));
    }
    let asked = Asked::from(&params, str::to_owned)?;
    let Some(range) = asked.range else {
        return Ok(Success::new("[]".to_owned()));
    };
    let timeout = api.config().query.timeout.0;
    let read = api
        .read(&client, timeout, move |reading| {
            let values = reading.series().label_values(&name, &asked.sets, range)?;
            texts(values, asked.limit, reading)
        })
        .await?;
    Ok(Success::read(read))
}

fn texts(items: Vec<String>, limit: Option<usize>, reading: &Reading) -> Answer {
    let bytes = |text: &String| size_of::<String>() + text.capacity();
    let list = Success::list(items, limit, reading.room(), bytes, |out, text| {
        json::html_safe(out, text);
    })?;
    Ok(list.warning(reading.warnings()))
}

pub(super) async fn series(State(api): State<Api>, client: Client, params: Params) -> Answer {
    if params.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let asked = Asked::from(&params, |why| invalid("match[]", why))?;
    let Some(range) = asked.range else {
        return Ok(Success::new("[]".to_owned()));
    };
    let timeout = api.config().query.timeout.0;
    let read = api
        .read(&client, timeout, move |reading| {
            let found = reading.series().series(&asked.sets, range)?;
            let bytes = |l: &Labels| size_of::<Labels>() + l.heap_bytes();
            let list = Success::list(found, asked.limit, reading.room(), bytes, json::labels)?;
            Ok(list.warning(reading.warnings()))
        })
        .await?;
    Ok(Success::read(read))
}

/// `DELETE /series`, which Prometheus has kept a place for.
pub(super) async fn drop_series() -> Failure {
    Failure::new(ErrorType::Internal, "not implemented")
}

/// Prometheus' escaping of names for URLs: `U__` and then `_hex_` for each special character,
/// `__` for an underscore. Anything else is the name itself.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let decoded = rest.split_once('_').and_then(|(hex, after)| {
            Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, after))
        });
        let Some((c, after)) = decoded else {
            return name.to_owned();
        };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_understood() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__service_2e_name"), "service.name");
        assert_eq!(unescape("U__a__b"), "a_b");
        assert_eq!(unescape("U__a_zz_b"), "U__a_zz_b");
    }
}
