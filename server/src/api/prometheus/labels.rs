//! `/labels`, `/label/{name}/values`, `/series`, `/metadata`.

use axum::extract::{Path, State};
use model::{Matcher, TimeRange};

use super::envelope::{Answer, Failure, Success, cut};
use crate::api::params::{Params, invalid};
use crate::api::{Api, json};

/// What the three endpoints understand.
struct Asked {
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

impl Asked {
    fn from(params: &Params) -> Result<Asked, Failure> {
        Ok(Asked {
            sets: matcher_sets(params)?,
            range: params.range().map_err(Failure::bad_data)?,
            limit: params.limit().map_err(Failure::bad_data)?,
        })
    }
}

/// The sets of `match[]`. The parser refuses a set that would select everything.
pub(crate) fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, Failure> {
    params
        .all("match[]")
        .map(|text| {
            query::parse_matchers(text)
                .map_err(|e| Failure::bad_data(invalid("match[]", &e.to_string())))
        })
        .collect()
}

pub(crate) async fn names(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let asked = Asked::from(&params)?;
    api.workshop()
        .run(api.config().query.timeout.0, move |_| {
            let names = parts.series.label_names(&asked.sets, asked.range)?;
            Ok(Success::strings(names, asked.limit))
        })
        .await?
}

pub(crate) async fn values(
    State(api): State<Api>,
    Path(name): Path<String>,
    params: Params,
) -> Answer {
    let parts = api.parts()?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(Failure::bad_data(format!("invalid label name: {name:?}")));
    }
    let asked = Asked::from(&params)?;
    api.workshop()
        .run(api.config().query.timeout.0, move |_| {
            let values = parts.series.label_values(&name, &asked.sets, asked.range)?;
            Ok(Success::strings(values, asked.limit))
        })
        .await?
}

pub(crate) async fn series(State(api): State<Api>, params: Params) -> Answer {
    let parts = api.parts()?;
    let asked = Asked::from(&params)?;
    if asked.sets.is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    api.workshop()
        .run(api.config().query.timeout.0, move |_| {
            let mut found = parts.series.series(&asked.sets, asked.range)?;
            let warning = cut(&mut found, asked.limit);
            let mut data = String::new();
            json::array(&mut data, &found, json::labels);
            let mut success = Success::new(data);
            success.warnings.extend(warning);
            Ok(success)
        })
        .await?
}

/// Type, help and unit of metrics are not stored yet; editors fall back to names.
pub(crate) async fn metadata() -> Answer {
    Ok(Success::new("{}".to_owned()))
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
