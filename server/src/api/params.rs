//! Parameters of a request: the URL's query and, for a POST form, its body.

use std::time::Duration;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{TimeRange, Timestamp};

/// Pairs in the order given, those of the form first, as Go's `Request.Form` has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// A single parameter.
    pub(crate) fn one(name: &str, value: &str) -> Params {
        Params(vec![(name.to_owned(), value.to_owned())])
    }

    /// The first value of `name`; empty counts as absent, as everywhere in Prometheus.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(n, v)| (n == name && !v.is_empty()).then_some(v.as_str()))
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter_map(move |(n, v)| (n == name).then_some(v.as_str()))
    }

    /// The instant `name`, `default` when absent.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn time(&self, name: &str, default: Timestamp) -> Result<Timestamp, String> {
        self.get(name).map_or(Ok(default), |text| {
            parse_time(text).map_err(|e| invalid(name, &e))
        })
    }

    /// `start` and `end`, all time when absent.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn range(&self) -> Result<TimeRange, String> {
        let start = self.time("start", Timestamp::MIN)?;
        let end = self.time("end", Timestamp::MAX)?;
        if end < start {
            return Err(invalid(
                "end",
                "end timestamp must not be before start time",
            ));
        }
        Ok(TimeRange::new(start, end))
    }

    /// The duration `name`, if given.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        let parse = |text| parse_duration(text).map_err(|e| invalid(name, &e));
        self.get(name).map(parse).transpose()
    }

    /// `limit`; `None` when absent or zero, which both mean all.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn limit(&self) -> Result<Option<usize>, String> {
        let Some(text) = self.get("limit") else {
            return Ok(None);
        };
        let limit: i64 = text
            .parse()
            .map_err(|_| invalid("limit", &format!("cannot parse {text:?} to an integer")))?;
        let limit =
            usize::try_from(limit).map_err(|_| invalid("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }
}

/// Prometheus' words for a wrong parameter.
pub(crate) fn invalid(name: &str, why: &str) -> String {
    format!("invalid parameter {name:?}: {why}")
}

/// Float seconds or RFC 3339. Prometheus' own bounds of time are understood as ours.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
    {
        return Ok(Timestamp::from_secs_f64(seconds));
    }
    match text {
        "-292273086-05-16T16:47:06Z" => return Ok(Timestamp::MIN),
        "292277025-08-18T07:12:54.999999999Z" => return Ok(Timestamp::MAX),
        _ => {}
    }
    crate::clock::parse_rfc3339(text)
        .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

/// Float seconds or a Prometheus duration.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        return if seconds < 0.0 {
            // The caller words what a step or a timeout must be.
            Ok(Duration::ZERO)
        } else {
            Duration::try_from_secs_f64(seconds).map_err(|_| {
                format!("cannot parse {text:?} to a valid duration. It overflows int64")
            })
        };
    }
    model::number::parse_duration(text).map_err(|_| refuse())
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let refuse = |text: String| (StatusCode::BAD_REQUEST, text).into_response();
        let query: Query<Vec<(String, String)>> =
            Query::try_from_uri(request.uri()).map_err(|e| refuse(e.body_text()))?;
        let is_form = request.method() == Method::POST
            && request
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|v| v.to_str().ok())
                .is_some_and(|v| v.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Ok(Params(query.0));
        }
        let Form(mut pairs) = Form::<Vec<(String, String)>>::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        pairs.extend(query.0);
        Ok(Params(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, millis) in [
            ("4", 4000),
            ("1.5", 1500),
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T01:00:00.25+01:00", 250),
            ("9999-12-31T23:59:59Z", 253_402_207_200_999),
        ] {
            assert_eq!(
                parse_time(text),
                Ok(Timestamp::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(
            parse_time("soon").unwrap_err(),
            "cannot parse \"soon\" to a valid timestamp"
        );
        assert!(parse_time("NaN").is_err());
    }

    #[test]
    fn durations_are_seconds_or_prometheus_style() {
        assert_eq!(parse_duration("15"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("x").is_err());
    }
}
