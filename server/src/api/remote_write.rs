//! `POST /api/v1/write`: remote write 1.0 and 2.0.
//!
//! Answers are Prometheus': 204 when everything was taken, 400 when something can never be taken
//! (the sender drops it), 415 for another message or encoding, 5xx when sending it again helps.
//! Of a request with bad samples the good ones are kept, in 1.0 too, which its specification
//! allows ("MAY ingest valid samples"): after a 400 nobody sends them again.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{HistogramSample, Labels, Sample, Timestamp};

use super::receive::{self, Receiver, Stop, Tally, WRITE_TIME_MAX};
use super::workshop::WorkError;
use super::{Api, Parts};
use crate::wire::remote_write::{BadSeries, Item, Request, Series, Version};
use crate::wire::{histogram, snappy};

const DISABLED: &str = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver \
     (stackwatch: --enable-remote-write-receiver, or server.remote_write_receiver: true)";
const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE_ONE: &str = "prometheus.WriteRequest";
const MESSAGE_TWO: &str = "io.prometheus.write.v2.Request";

/// The handler.
pub(super) async fn write(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.config().receivers.remote_write {
        return receive::error(StatusCode::NOT_FOUND, DISABLED);
    }
    let text = |name| {
        headers
            .get(name)
            .map_or(Some(""), |v: &HeaderValue| v.to_str().ok())
            .unwrap_or("?")
    };
    let version = match version(text(header::CONTENT_TYPE)) {
        Ok(version) => version,
        Err(why) => return receive::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why),
    };
    let encoding = text(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        let why = format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        );
        return receive::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    }
    let parts = match api.parts() {
        Ok(parts) => parts,
        Err(failure) => return failure.into_response(),
    };
    let (for_work, protocol) = (api.clone(), protocol(version));
    let worked = api.writes().run(WRITE_TIME_MAX, move |cancel| {
        let outcome = receive_all(version, &body, &for_work, &parts, &cancel);
        let http = &for_work.0.http;
        if let Ok(tally) | Err(Refusal::Partly(tally)) = &outcome {
            http.received(protocol, "stored", tally.floats + tally.histograms);
            http.received(protocol, "refused", tally.refused);
            http.received(protocol, "invalid", tally.invalid + tally.passed_over);
            http.exemplars_ignored(tally.exemplars);
        }
        outcome
    });
    let outcome = match worked.await {
        Ok(outcome) => outcome,
        Err(WorkError::Timeout | WorkError::TimeoutWaiting | WorkError::Full { .. }) => {
            Err(Refusal::Stopped(Stop::Canceled))
        }
        Err(WorkError::Panicked) => {
            let why = "the request failed inside stackwatch; its log says more";
            return receive::error(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
    };
    answer(version, outcome)
}

/// Why a request was not taken as a whole.
enum Refusal {
    /// It cannot be read.
    Malformed(String),
    /// Some of it, perhaps a series without samples, can never be taken.
    Partly(Tally),
    /// The store refused; the same request may succeed later.
    Stopped(Stop),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Refusal::Stopped(stop)
    }
}

/// Which message the content type announces. None announces 1.0, as old senders do.
fn version(content_type: &str) -> Result<Version, String> {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if media_type.is_empty() && content_type.is_empty() {
        return Ok(Version::One);
    }
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(format!(
            "expected {MEDIA_TYPE} as the first (media) part, got {content_type} content-type"
        ));
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(format!(
                "expected parameters to be key-values, got {parameter} in {content_type} content-type"
            ));
        };
        if name == "proto" {
            return match value {
                MESSAGE_ONE => Ok(Version::One),
                MESSAGE_TWO => Ok(Version::Two),
                _ => Err(format!(
                    "got {content_type} content type; unknown remote write protobuf message {value}, supported: {MESSAGE_ONE}, {MESSAGE_TWO}"
                )),
            };
        }
    }
    Ok(Version::One)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::One => "remote_write_1",
        Version::Two => "remote_write_2",
    }
}

fn receive_all(
    version: Version,
    body: &[u8],
    api: &Api,
    parts: &Parts,
    cancel: &std::sync::atomic::AtomicBool,
) -> Result<Tally, Refusal> {
    let bytes = snappy::decode(body).map_err(|e| Refusal::Malformed(e.to_string()))?;
    let mut request = Request::new(version, &bytes).map_err(Refusal::Malformed)?;
    let mut receiver = Receiver::new(&*parts.append, cancel);
    let mut series = Series::default();
    while let Some(item) = request
        .next(&mut series)
        .map_err(|e| Refusal::Malformed(e.to_string()))?
    {
        match item {
            Item::Metadata(m) => api.metadata().put(m.family, m.kind, m.help, m.unit),
            Item::Series => take(version, &mut series, &mut receiver, api)?,
        }
    }
    let tally = receiver.finish()?;
    match tally.complaints.is_empty() {
        true => Ok(tally),
        false => Err(Refusal::Partly(tally)),
    }
}

/// Hands one series on.
fn take(
    version: Version,
    series: &mut Series<'_>,
    receiver: &mut Receiver<'_>,
    api: &Api,
) -> Result<(), Refusal> {
    receiver.exemplars(series.exemplars);
    let labels = match series.labels() {
        Ok(labels) => labels,
        Err(bad) => {
            let lost = (series.samples.len() + series.histograms.len()) as u64;
            // 1.0 passes over bad labels in silence, as Prometheus does. Ours are not so much
            // bad as too large, and their sender should know.
            let too_large = matches!(bad, BadSeries::TooMany | BadSeries::TooLong);
            match version {
                Version::One if !too_large => receiver.pass_over(lost),
                _ => receiver.invalid(lost, bad, &Labels::empty()),
            }
            return Ok(());
        }
    };
    if let Some(m) = &series.metadata {
        let name = labels.metric_name();
        let family = match m.kind {
            "histogram" | "summary" => ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|s| name.strip_suffix(s))
                .unwrap_or(name),
            _ => name,
        };
        api.metadata().put(family, m.kind, m.help, m.unit);
    }
    for (t, value) in &series.samples {
        receiver.float(Sample {
            labels: labels.clone(),
            at: Timestamp::from_millis(*t),
            value: *value,
        })?;
    }
    for message in &series.histograms {
        let (t, histogram) =
            histogram::decode(message).map_err(|e| Refusal::Malformed(e.to_string()))?;
        match histogram {
            Ok(histogram) => receiver.histogram(HistogramSample {
                labels: labels.clone(),
                at: Timestamp::from_millis(t),
                histogram: Arc::new(histogram),
            })?,
            Err(invalid) => receiver.invalid(1, invalid, &labels),
        }
    }
    Ok(())
}

fn answer(version: Version, outcome: Result<Tally, Refusal>) -> Response {
    let mut written = Tally::default();
    let mut response = match outcome {
        Ok(tally) => {
            written = tally;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(Refusal::Malformed(why)) => receive::error(StatusCode::BAD_REQUEST, why),
        Err(Refusal::Partly(tally)) => {
            tracing::debug!(why = tally.complaint(), "remote write: samples refused");
            written = tally;
            receive::error(StatusCode::BAD_REQUEST, written.complaint())
        }
        Err(Refusal::Stopped(stop)) => {
            let status = match stop {
                Stop::Store(storage::WriteError::BatchTooLarge { .. }) => StatusCode::BAD_REQUEST,
                Stop::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Stop::Canceled => StatusCode::SERVICE_UNAVAILABLE,
            };
            receive::error(status, stop)
        }
    };
    if version == Version::Two {
        let headers = response.headers_mut();
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.floats),
            (
                "x-prometheus-remote-write-histograms-written",
                written.histograms,
            ),
            ("x-prometheus-remote-write-exemplars-written", 0),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}
