//! How requests of OTLP over HTTP are packed, and how they are answered: protobuf or JSON, perhaps
//! gzipped. Source: opentelemetry.io/docs/specs/otlp, "OTLP/HTTP".

use std::borrow::Cow;
use std::io::Read as _;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::super::receive::Stop;
use crate::wire::protobuf::{Malformed, write};

/// Largest request after decompression, in bytes.
const DECODED_BYTES_MAX: u64 = 32 << 20;
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How a request and its answer are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    is_json: bool,
    is_gzipped: bool,
}

impl Envelope {
    /// What the headers say.
    ///
    /// # Errors
    /// Why it is no media type or encoding of ours, for an answer of 415.
    pub(super) fn read(headers: &HeaderMap) -> Result<Envelope, String> {
        let text = |name| {
            let value = headers.get(name).map(HeaderValue::to_str);
            value.unwrap_or(Ok("")).unwrap_or("?")
        };
        let content_type = text(header::CONTENT_TYPE);
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let is_json = match media_type.to_ascii_lowercase().as_str() {
            PROTOBUF => false,
            JSON => true,
            _ => {
                return Err(format!(
                    "unsupported content type: {content_type}, supported: [{JSON}, {PROTOBUF}]"
                ));
            }
        };
        let is_gzipped = match text(header::CONTENT_ENCODING) {
            "" | "identity" => false,
            "gzip" => true,
            other => {
                return Err(format!(
                    "unsupported compression: {other}, supported: [gzip]"
                ));
            }
        };
        Ok(Envelope {
            is_json,
            is_gzipped,
        })
    }

    /// The request as protobuf; `transcode` makes it of JSON.
    pub(super) fn open<'b>(
        self,
        body: &'b [u8],
        transcode: fn(&[u8]) -> Result<Vec<u8>, serde_json::Error>,
    ) -> Result<Cow<'b, [u8]>, Refusal> {
        let mut bytes = Cow::Borrowed(body);
        if self.is_gzipped {
            let mut decoded = Vec::new();
            gunzip(body, &mut decoded)?;
            bytes = Cow::Owned(decoded);
        }
        match self.is_json {
            false => Ok(bytes),
            true => transcode(&bytes)
                .map(Cow::Owned)
                .map_err(|e| Refusal::Malformed(e.to_string())),
        }
    }

    /// `Export…ServiceResponse`: everything was taken, or all but so many, which are called
    /// `rejected` in JSON.
    pub(super) fn success(self, rejected: &str, count: u64, complaint: &str) -> Response {
        let partly = count > 0;
        if self.is_json {
            let body = match partly {
                true => serde_json::json!({"partialSuccess": {
                    rejected: count.to_string(),
                    "errorMessage": complaint,
                }}),
                false => serde_json::json!({}),
            };
            return ([(header::CONTENT_TYPE, JSON)], body.to_string()).into_response();
        }
        let mut body = Vec::new();
        if partly {
            write::message(&mut body, 1, |out| {
                write::varint(out, 1, count);
                write::bytes(out, 2, complaint.as_bytes());
            });
        }
        ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
    }
}

/// Why nothing, or not all, was taken.
pub(super) enum Refusal {
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
