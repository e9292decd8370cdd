//! Parameters of a request: the URL's query and, for a POST form, its body.

mod form;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use model::{TimeRange, Timestamp};
use query::promql::quote::go_quote;

use super::prometheus::envelope::Failure;

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
            .find_map(|(n, v)| (n == name).then_some(v.as_str()))
            .filter(|v| !v.is_empty())
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
            parse_time(text)
                .map_err(|e| invalid(name, &format!("invalid time value for '{name}': {e}")))
        })
    }

    /// The instant `name`, which must be there.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn required_time(&self, name: &str) -> Result<Timestamp, String> {
        parse_time(self.get(name).unwrap_or_default()).map_err(|e| invalid(name, &e))
    }

    /// `start` and `end`, all time when absent; `None` when they are the wrong way round, so
    /// that nothing lies between them.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn range(&self) -> Result<Option<TimeRange>, String> {
        let start = self.time("start", Timestamp::MIN)?;
        let end = self.time("end", Timestamp::MAX)?;
        Ok((start <= end).then(|| TimeRange::new(start, end)))
    }

    /// The duration `name` in milliseconds, if given. Negative ones are for the caller to word.
    ///
    /// # Errors
    /// The sentence for the client.
    pub(crate) fn millis(&self, name: &str) -> Result<Option<i64>, String> {
        let parse = |text| parse_millis(text).map_err(|e| invalid(name, &e));
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
        let limit = parse_int(text).map_err(|e| invalid("limit", &e))?;
        let limit =
            usize::try_from(limit).map_err(|_| invalid("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }
}

/// Prometheus' words for a wrong parameter.
pub(crate) fn invalid(name: &str, why: &str) -> String {
    format!("invalid parameter {name:?}: {why}")
}

/// A whole number, in decimal.
///
/// # Errors
/// Go's words.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|e| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = match e.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {}: {why}", go_quote(text))
    })
}

/// Float seconds or RFC 3339. Prometheus' own bounds of time are understood as ours.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| s.is_finite()) {
        return Ok(Timestamp::from_secs_f64(seconds));
    }
    match text {
        "-292273086-05-16T16:47:06Z" => return Ok(Timestamp::MIN),
        "292277025-08-18T07:12:54.999999999Z" => return Ok(Timestamp::MAX),
        _ => {}
    }
    crate::clock::parse_rfc3339(text)
        .ok_or_else(|| format!("cannot parse {} to a valid timestamp", go_quote(text)))
}

/// Float seconds or a Prometheus duration, in milliseconds; what is below one is zero. Not a
/// number counts as zero, which everybody refuses or takes as absent.
pub(crate) fn parse_millis(text: &str) -> Result<i64, String> {
    let quoted = || go_quote(text);
    if let Ok(seconds) = text.parse::<f64>() {
        // Go counts nanoseconds in 64 bits.
        if seconds.abs() * 1e9 > i64::MAX as f64 {
            return Err(format!(
                "cannot parse {} to a valid duration. It overflows int64",
                quoted()
            ));
        }
        return Ok((seconds * 1000.0) as i64);
    }
    model::number::parse_duration(text)
        .map(model::time::duration_millis)
        .map_err(|_| format!("cannot parse {} to a valid duration", quoted()))
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let refuse = |why: form::Refused| {
            Failure::bad_data(format!("error parsing form values: {why}")).into_response()
        };
        let mut pairs = Vec::new();
        let mut query = Vec::new();
        form::decode(
            request.uri().query().unwrap_or_default().as_bytes(),
            &mut query,
        )
        .map_err(refuse)?;
        let is_form = matches!(*request.method(), Method::POST | Method::PUT)
            && request
                .headers()
                .get(header::CONTENT_TYPE)
                .and_then(|v| v.to_str().ok())
                .is_some_and(|v| {
                    v.get(..FORM.len())
                        .is_some_and(|v| v.eq_ignore_ascii_case(FORM))
                });
        if is_form {
            let body = Bytes::from_request(request, state)
                .await
                .map_err(IntoResponse::into_response)?;
            form::decode(&body, &mut pairs).map_err(refuse)?;
        }
        pairs.extend(query);
        Ok(Params(pairs))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, millis) in [
            ("4", 4000),
            ("1.5", 1500),
            ("1e3", 1_000_000),
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
        assert_eq!(parse_millis("15"), Ok(15_000));
        assert_eq!(parse_millis("1m30s"), Ok(90_000));
        assert_eq!(parse_millis("NaN"), Ok(0));
        assert_eq!(parse_millis("-1.5"), Ok(-1500));
        assert!(parse_millis("x").is_err());
        assert_eq!(
            parse_millis("-Inf").unwrap_err(),
            "cannot parse \"-Inf\" to a valid duration. It overflows int64"
        );
    }

    #[test]
    fn limits_are_whole_numbers() {
        let limit = |text| Params::one("limit", text).limit();
        assert_eq!(limit("0"), Ok(None));
        assert_eq!(limit("+5"), Ok(Some(5)));
        assert_eq!(
            limit("-1").unwrap_err(),
            "invalid parameter \"limit\": limit must be non-negative"
        );
        assert_eq!(
            limit("1.5").unwrap_err(),
            "invalid parameter \"limit\": strconv.Atoi: parsing \"1.5\": invalid syntax"
        );
        assert_eq!(
            limit("99999999999999999999").unwrap_err(),
            "invalid parameter \"limit\": strconv.Atoi: parsing \"99999999999999999999\": value out of range"
        );
    }
}
