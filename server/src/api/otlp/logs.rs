//! `POST /otlp/v1/logs` and `/api/v1/otlp/v1/logs`: OpenTelemetry's logs, as Loki takes them: a few
//! attributes of the resource are the stream's labels, everything else is metadata of the line.

use std::sync::atomic::AtomicBool;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use model::{Labels, Timestamp};

use super::super::receive::{Stop, WRITE_TIME_MAX, error};
use super::super::receive_logs::{DISABLED, LogReceiver, LogTally};
use super::super::{Api, Parts};
use super::envelope::{Envelope, Refusal};
use crate::wire::otlp::json::logs_to_protobuf;
use crate::wire::otlp::logs::{Pairs, records, resource, resources, scope, scopes};

/// The handler.
pub(in crate::api) async fn logs(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !api.config().receivers.logs {
        return error(StatusCode::NOT_FOUND, DISABLED);
    }
    let envelope = match Envelope::read(&headers) {
        Ok(envelope) => envelope,
        Err(why) => return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why),
    };
    let Some(parts) = api.ready_parts() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "stackwatch is starting");
    };
    let for_work = api.clone();
    let worked = api.writes().run(WRITE_TIME_MAX, move |cancel| {
        let bytes = envelope.open(&body, logs_to_protobuf)?;
        let tally = receive(&bytes, &for_work, &parts, &cancel)?;
        let http = &for_work.0.http;
        http.received("otlp_logs", "stored", tally.stored);
        http.received("otlp_logs", "invalid", tally.invalid);
        Ok(tally)
    });
    match worked.await {
        Ok(Ok(tally)) => envelope.success("rejectedLogRecords", tally.invalid, &tally.complaint()),
        Ok(Err(Refusal::Malformed(why))) => error(StatusCode::BAD_REQUEST, why),
        Ok(Err(Refusal::Stopped(stop))) => error(stop.status(), stop),
        Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, Stop::Canceled),
    }
}

fn receive(
    request: &[u8],
    api: &Api,
    parts: &Parts,
    cancel: &AtomicBool,
) -> Result<LogTally, Refusal> {
    let (now, retention) = (api.now(), api.config().storage.retention_logs);
    let mut receiver = LogReceiver::new(parts, cancel, now, retention);
    for of_resource in resources(request) {
        let of_resource = of_resource?;
        let mut of_all: Option<Pairs> = None;
        for of_scope in scopes(of_resource) {
            let of_scope = of_scope?;
            let mut records = records(of_scope).peekable();
            if records.peek().is_none() {
                continue;
            }
            let of_all = match &mut of_all {
                Some(of_all) => of_all,
                none => {
                    let (labels, rest) = resource(of_resource)?;
                    receiver.stream(Ok(Labels::from_pairs(labels)))?;
                    none.insert(rest)
                }
            };
            let about: Pairs = of_all.iter().cloned().chain(scope(of_scope)?).collect();
            for record in records {
                let record = record?;
                // Later ones win: a line knows best.
                let pairs = about.iter().cloned().chain(record.metadata);
                let at_ns = record.at_ns.unwrap_or_else(|| nanos(now));
                receiver.entry(at_ns, &record.line, &Labels::from_pairs(pairs))?;
            }
        }
    }
    Ok(receiver.finish()?)
}

fn nanos(at: Timestamp) -> i64 {
    at.millis().saturating_mul(1_000_000)
}
