//! `POST /api/v1/otlp/v1/metrics`: OpenTelemetry's metrics, as protobuf or JSON, perhaps gzipped.
//!
//! 200 says how many points were refused, as OTLP's partial success; 400 that the request cannot
//! be read or that samples can never be stored; 503 that sending it again helps, which OTLP's
//! clients do after a 503 and not after Prometheus' 500. Sums and histograms that tell only
//! differences (delta temporality) are refused, as by Prometheus without its feature flags.

mod points;

use std::io::Read as _;
use std::sync::atomic::AtomicBool;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::receive::{Receiver, Stop, Tally, WRITE_TIME_MAX, error};
use super::workshop::WorkError;
use super::{Api, Parts};
use crate::wire::otlp::json;
use crate::wire::protobuf::{Malformed, write};

const DISABLED: &str = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver \
     (stackwatch: --enable-otlp-receiver, or server.otlp_receiver: true)";
/// Largest request after decompression, in bytes.
const DECODED_BYTES_MAX: u64 = 32 << 20;
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How a request and its answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// The handler.
pub(super) async fn metrics(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.config().receivers.otlp {
        return error(StatusCode::NOT_FOUND, DISABLED);
    }
    let text = |name| {
        let value = headers.get(name).map(HeaderValue::to_str);
        value.unwrap_or(Ok("")).unwrap_or("?")
    };
    let content_type = text(header::CONTENT_TYPE);
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let encoding = match media_type.to_ascii_lowercase().as_str() {
        PROTOBUF => Encoding::Protobuf,
        JSON => Encoding::Json,
        _ => {
            let why = format!(
                "unsupported content type: {content_type}, supported: [{JSON}, {PROTOBUF}]"
            );
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
    };
    let gzipped = match text(header::CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" => true,
        other => {
            let why = format!("unsupported compression: {other}, supported: [gzip]");
            return error(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
    };
    let parts = match api.parts() {
        Ok(parts) => parts,
        Err(failure) => return failure.into_response(),
    };
    let for_work = api.clone();
    let worked = api.writes().run(WRITE_TIME_MAX, move |cancel| {
        let mut decoded = Vec::new();
        let bytes = if gzipped {
            gunzip(&body, &mut decoded)?;
            &decoded[..]
        } else {
            &body[..]
        };
        let transcoded;
        let bytes = match encoding {
            Encoding::Protobuf => bytes,
            Encoding::Json => {
                transcoded =
                    json::to_protobuf(bytes).map_err(|e| Refusal::Malformed(e.to_string()))?;
                &transcoded
            }
        };
        let tally = receive(bytes, &for_work, &parts, &cancel)?;
        let http = &for_work.0.http;
        http.received("otlp", "stored", tally.floats + tally.histograms);
        http.received("otlp", "refused", tally.refused);
        http.received("otlp", "invalid", tally.invalid);
        http.exemplars_ignored(tally.exemplars);
        Ok(tally)
    });
    match worked.await {
        Ok(Ok(tally)) if tally.refused > 0 => error(StatusCode::BAD_REQUEST, tally.complaint()),
        Ok(Ok(tally)) => success(encoding, &tally),
        Ok(Err(Refusal::Malformed(why))) => error(StatusCode::BAD_REQUEST, why),
        Ok(Err(Refusal::Stopped(stop))) => error(StatusCode::SERVICE_UNAVAILABLE, stop),
        Err(WorkError::Timeout) => error(StatusCode::SERVICE_UNAVAILABLE, Stop::Canceled),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed inside stackwatch; its log says more",
        ),
    }
}

/// Why nothing, or not all, was taken.
enum Refusal {
    Malformed(String),
    Stopped(Stop),
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Refusal::Stopped(stop)
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Refusal::Malformed(malformed.to_string())
    }
}

/// Appends what `body` holds, unless that is too much.
fn gunzip(body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(DECODED_BYTES_MAX + 1);
    let read = reader
        .read_to_end(out)
        .map_err(|e| Refusal::Malformed(format!("gzip: {e}")))?;
    if read as u64 > DECODED_BYTES_MAX {
        let why =
            format!("gzip: decoded body is larger than the limit of {DECODED_BYTES_MAX} bytes");
        return Err(Refusal::Malformed(why));
    }
    Ok(())
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

/// `ExportMetricsServiceResponse`, with what was refused.
fn success(encoding: Encoding, tally: &Tally) -> Response {
    let partly = tally.invalid > 0;
    match encoding {
        Encoding::Protobuf => {
            let mut body = Vec::new();
            if partly {
                write::message(&mut body, 1, |out| {
                    write::varint(out, 1, tally.invalid);
                    write::bytes(out, 2, tally.complaint().as_bytes());
                });
            }
            ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
        }
        Encoding::Json => {
            let body = match partly {
                true => serde_json::json!({"partialSuccess": {
                    "rejectedDataPoints": tally.invalid.to_string(),
                    "errorMessage": tally.complaint(),
                }}),
                false => serde_json::json!({}),
            };
            ([(header::CONTENT_TYPE, JSON)], body.to_string()).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..=DECODED_BYTES_MAX >> 20 {
            packer.write_all(&zeros).unwrap();
        }
        let bomb = packer.finish().unwrap();
        assert!(bomb.len() < 1 << 20);
        let mut out = Vec::new();
        assert!(matches!(
            gunzip(&bomb, &mut out),
            Err(Refusal::Malformed(_))
        ));
        assert!(out.len() as u64 <= DECODED_BYTES_MAX + 1);
        // Many small members are one body too.
        let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        member.write_all(&zeros).unwrap();
        let members = member.finish().unwrap().repeat(40);
        assert!(gunzip(&members, &mut Vec::new()).is_err());
    }
}
