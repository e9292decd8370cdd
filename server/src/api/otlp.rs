//! `POST /api/v1/otlp/v1/metrics`: OpenTelemetry's metrics.
//!
//! 200 says how many points were refused, as OTLP's partial success; 400 that the request cannot
//! be read or that samples can never be stored; 503 that sending it again helps, which OTLP's
//! clients do after a 503 and not after Prometheus' 500. Sums and histograms that tell only
//! differences (delta temporality) are refused, as by Prometheus without its feature flags.

mod envelope;
pub(super) mod logs;
mod points;

use std::sync::atomic::AtomicBool;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use self::envelope::{Envelope, Refusal};
use super::receive::{Receiver, Stop, Tally, WRITE_TIME_MAX, error};
use super::workshop::WorkError;
use super::{Api, Parts};
use crate::wire::otlp::json;

const DISABLED: &str = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver \
     (stackwatch: --enable-otlp-receiver, or server.otlp_receiver: true)";

/// The handler.
pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.config().receivers.otlp {
        return error(StatusCode::NOT_FOUND, DISABLED);
    }
    let envelope = match Envelope::read(&headers) {
        Ok(envelope) => envelope,
        Err(why) => return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why),
    };
    let parts = match api.parts() {
        Ok(parts) => parts,
        Err(failure) => return failure.into_response(),
    };
    let for_work = api.clone();
    let worked = api.writes().run(WRITE_TIME_MAX, move |cancel| {
        let bytes = envelope.open(&body, json::to_protobuf)?;
        let tally = receive(&bytes, &for_work, &parts, &cancel)?;
        let http = &for_work.0.http;
        http.received("otlp", "stored", tally.floats + tally.histograms);
        http.received("otlp", "refused", tally.refused);
        http.received("otlp", "invalid", tally.invalid);
        http.exemplars_ignored(tally.exemplars);
        Ok(tally)
    });
    match worked.await {
        Ok(Ok(tally)) if tally.refused > 0 => error(StatusCode::BAD_REQUEST, tally.complaint()),
        Ok(Ok(tally)) => {
            let complaint = tally.complaint();
            envelope.success("rejectedDataPoints", tally.invalid, &complaint)
        }
        Ok(Err(Refusal::Malformed(why))) => error(StatusCode::BAD_REQUEST, why),
        Ok(Err(Refusal::Stopped(stop))) => error(StatusCode::SERVICE_UNAVAILABLE, stop),
        Err(WorkError::Timeout) => error(StatusCode::SERVICE_UNAVAILABLE, Stop::Canceled),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed inside stackwatch; its log says more",
        ),
    }
}

fn receive(
    request: &[u8],
    api: &Api,
    parts: &Parts,
    cancel: &AtomicBool,
) -> Result<Tally, Refusal> {
    let mut receiver = Receiver::new(&*parts.append, cancel);
    points::receive(request, &mut receiver, api.metadata())?;
    Ok(receiver.finish()?)
}
