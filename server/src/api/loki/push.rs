//! `POST /loki/api/v1/push`: lines that Promtail, Alloy, Vector, Fluent Bit and Docker's Loki
//! driver send.
//!
//! Answers are Loki's: 204 when everything was taken; 400, as text, when lines can never be taken,
//! those that can have been stored then; 429 while there are too many streams; 503 when sending the
//! request again helps. A line that is sent again after an answer was lost is stored once, unless it
//! has left memory.

use std::borrow::Cow;
use std::io::Read as _;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Labels, MatchOp};

use super::Api;
use crate::api::receive::{Stop, WRITE_TIME_MAX, error};
use crate::api::receive_logs::{DISABLED, LogReceiver, LogTally, is_label_name, shortened};
use crate::wire::loki_push::{Entry, JsonRequest, Unvisited, streams};
use crate::wire::otlp::logs::sanitized;
use crate::wire::snappy;

/// Largest request after decompression, in bytes.
const DECODED_BYTES_MAX: u64 = snappy::DECODED_BYTES_MAX as u64;

/// The handler.
pub(super) async fn take(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    if !api.config().receivers.logs {
        return error(StatusCode::NOT_FOUND, DISABLED);
    }
    let Some(parts) = api.ready_parts() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "stackwatch is starting");
    };
    let text = |name| {
        let value = headers.get(name).map(HeaderValue::to_str);
        value.unwrap_or(Ok("")).unwrap_or("?").to_owned()
    };
    let media_type = text(header::CONTENT_TYPE);
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_json = media_type.eq_ignore_ascii_case("application/json");
    let encoding = text(header::CONTENT_ENCODING);
    let for_work = api.clone();
    let worked = api.writes().run(WRITE_TIME_MAX, move |cancel| {
        let body = unpacked(&body, &encoding)?;
        let config = for_work.config();
        let (now, retention) = (for_work.now(), config.storage.retention_logs);
        let receiver = LogReceiver::new(&parts, &cancel, now, retention);
        let tally = match is_json {
            true => receive_json(&body, receiver),
            false => receive_protobuf(&body, receiver),
        }?;
        let http = &for_work.0.http;
        http.received("loki", "stored", tally.stored);
        http.received("loki", "invalid", tally.invalid);
        Ok(tally)
    });
    match worked.await {
        Ok(Ok(tally)) if tally.is_clean() => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(tally)) => error(StatusCode::BAD_REQUEST, tally.complaint()),
        Ok(Err(Refusal::Malformed(why))) => error(StatusCode::BAD_REQUEST, why),
        Ok(Err(Refusal::Stopped(stop))) => error(stop.status(), stop),
        Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, Stop::Canceled),
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

fn malformed(why: impl std::fmt::Display) -> Refusal {
    Refusal::Malformed(shortened(why.to_string()))
}

/// The body without `Content-Encoding`. Snappy is part of the protobuf form.
fn unpacked<'a>(body: &'a [u8], encoding: &str) -> Result<Cow<'a, [u8]>, Refusal> {
    let mut out = Vec::new();
    let read = match encoding {
        "" | "identity" | "snappy" => return Ok(body.into()),
        "gzip" => flate2::read::MultiGzDecoder::new(body)
            .take(DECODED_BYTES_MAX + 1)
            .read_to_end(&mut out),
        "deflate" => flate2::read::DeflateDecoder::new(body)
            .take(DECODED_BYTES_MAX + 1)
            .read_to_end(&mut out),
        other => {
            return Err(malformed(format!(
                "Content-Encoding {other:?} not supported"
            )));
        }
    };
    if read.map_err(|e| malformed(format!("{encoding}: {e}")))? as u64 > DECODED_BYTES_MAX {
        return Err(malformed(format!(
            "{encoding}: decoded body is larger than the limit of {DECODED_BYTES_MAX} bytes"
        )));
    }
    Ok(out.into())
}

fn receive_protobuf(body: &[u8], mut receiver: LogReceiver<'_>) -> Result<LogTally, Refusal> {
    let request = snappy::decode(body).map_err(malformed)?;
    for stream in streams(&request) {
        let stream = stream.map_err(malformed)?;
        receiver.stream(parse_labels(stream.labels))?;
        for entry in stream.entries() {
            put(&mut receiver, &entry.map_err(malformed)?)?;
        }
    }
    Ok(receiver.finish()?)
}

fn receive_json(body: &[u8], mut receiver: LogReceiver<'_>) -> Result<LogTally, Refusal> {
    let request: JsonRequest = serde_json::from_slice(body).map_err(malformed)?;
    let visited = request.streams(|stream| {
        let pairs = stream.stream.iter().map(|(n, v)| (&*n.0, &*v.0));
        let labels = Labels::from_pairs(pairs);
        receiver.stream(Ok(labels)).map_err(Unvisited::Stopped)?;
        stream.entries(|entry| put(&mut receiver, &entry))
    });
    match visited {
        Ok(()) => Ok(receiver.finish()?),
        Err(Unvisited::Stopped(stop)) => Err(stop.into()),
        Err(Unvisited::Malformed(why)) => Err(malformed(why)),
    }
}

fn put(receiver: &mut LogReceiver<'_>, entry: &Entry<'_>) -> Result<(), Stop> {
    let metadata = match entry.metadata.is_empty() {
        true => Labels::empty(),
        false => {
            let pairs = entry.metadata.iter().filter(|(name, _)| !name.is_empty());
            Labels::from_pairs(pairs.map(|(name, value)| (label_name(name), &**value)))
        }
    };
    receiver.entry(entry.at_ns, &entry.line, &metadata)
}

/// Names that no query could ask for are made ones that it can, as Loki does.
fn label_name(name: &str) -> Cow<'_, str> {
    match is_label_name(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(sanitized(name)),
    }
}

/// `{job="x", a="b"}`.
fn parse_labels(text: &str) -> Result<Labels, String> {
    let bad = |why: &str| format!("Error parsing labels '{text}' with error: {why}");
    if text.trim() == "{}" {
        return Ok(Labels::empty());
    }
    let matchers = query::parse_matchers(text).map_err(|e| bad(&e.to_string()))?;
    if matchers.iter().any(|m| m.op() != MatchOp::Equal) {
        return Err(bad("a stream's labels are equal to something"));
    }
    let mut names: Vec<&str> = matchers.iter().map(model::Matcher::name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!(
            "stream '{text}' has duplicate label name: '{}'",
            twice[0]
        ));
    }
    let pairs = matchers.iter().map(|m| (m.name(), m.value()));
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_loki_reads_them() {
        let parsed = parse_labels("{job=\"x\", a = \"q\\\"uote\\n\" }").unwrap();
        assert_eq!(
            parsed,
            Labels::from_pairs([("a", "q\"uote\n"), ("job", "x")])
        );
        assert_eq!(parse_labels("{}").unwrap(), Labels::empty());
        for (text, why) in [
            ("{a=~\"x\"}", "Error parsing labels"),
            ("{a=\"1\",a=\"2\"}", "duplicate label name: 'a'"),
            ("a=\"1\"", "Error parsing labels"),
            ("", "Error parsing labels"),
        ] {
            let error = parse_labels(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_metadata_are_such_as_can_be_asked_for() {
        for (name, expect) in [
            ("ok_1", "ok_1"),
            ("weird name!", "weird_name_"),
            ("1a", "key_1a"),
        ] {
            assert_eq!(label_name(name), expect);
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        use std::io::Write as _;
        let zeros = vec![0; 1 << 20];
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..=DECODED_BYTES_MAX >> 20 {
            packer.write_all(&zeros).unwrap();
        }
        assert!(unpacked(&packer.finish().unwrap(), "gzip").is_err());
        assert!(unpacked(b"x", "br").is_err());
    }
}
