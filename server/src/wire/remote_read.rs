//! Messages of remote read: the request, the sampled answer, and the frames of a streamed one.
//! Source: prometheus/prompb/remote.proto and types.proto; storage/remote/chunked.go.

use model::{Labels, MatchOp, Matcher, Samples};
use storage::crc32c::checksum;

use super::protobuf::{Fields, Malformed, Value, push_bounded, write};
use super::{histogram, xor_chunk};

/// Queries of one request. Prometheus sends one each.
const QUERIES_MAX: usize = 64;
/// Matchers of one query; each may be a compiled regular expression.
const MATCHERS_MAX: usize = 100;

/// One query of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// First instant, in milliseconds, inclusive.
    pub(crate) start: i64,
    /// Last instant, inclusive.
    pub(crate) end: i64,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) hints: Hints,
}

/// What the client will do with the points; see [`model::Hints`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    pub(crate) step_ms: i64,
    pub(crate) range_ms: i64,
    pub(crate) function: String,
}

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadRequest {
    pub(crate) queries: Vec<Query>,
    /// Numbers of the answers the client takes, the dearest first. None means [`SAMPLES`].
    pub(crate) accepted: Vec<u64>,
}

/// A snappy block of all samples.
pub(crate) const SAMPLES: u64 = 0;
/// Frames of chunks.
pub(crate) const STREAMED_XOR_CHUNKS: u64 = 1;

/// A chunk's encoding.
const XOR: u64 = 1;

/// # Errors
/// The sentence for the client.
pub(crate) fn decode(bytes: &[u8]) -> Result<ReadRequest, String> {
    let malformed = |e: Malformed| e.to_string();
    let mut request = ReadRequest::default();
    let mut fields = Fields::of(bytes);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => {
                push_bounded(&mut request.queries, query(value)?, QUERIES_MAX)
                    .map_err(malformed)?;
            }
            2 => value
                .varints_into(&mut request.accepted, |v| v)
                .map_err(malformed)?,
            _ => {}
        }
    }
    Ok(request)
}

fn query(value: Value<'_>) -> Result<Query, String> {
    let malformed = |e: Malformed| e.to_string();
    let mut query = Query::default();
    let mut fields = Fields::of(value.bytes().map_err(malformed)?);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => query.start = value.int64().map_err(malformed)?,
            2 => query.end = value.int64().map_err(malformed)?,
            3 => push_bounded(&mut query.matchers, matcher(value)?, MATCHERS_MAX)
                .map_err(malformed)?,
            4 => query.hints = hints(value).map_err(malformed)?,
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(value: Value<'_>) -> Result<Matcher, String> {
    let malformed = |e: Malformed| e.to_string();
    let text = |value: Value<'_>| {
        let bytes = value.bytes().map_err(malformed)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "a matcher is not UTF-8".to_owned())
    };
    let (mut op, mut name, mut wanted) = (MatchOp::Equal, String::new(), String::new());
    let mut fields = Fields::of(value.bytes().map_err(malformed)?);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => {
                op = match value.varint().map_err(malformed)? {
                    0 => MatchOp::Equal,
                    1 => MatchOp::NotEqual,
                    2 => MatchOp::Regex,
                    3 => MatchOp::NotRegex,
                    _ => return Err("invalid matcher type".to_owned()),
                }
            }
            2 => name = text(value)?,
            3 => wanted = text(value)?,
            _ => {}
        }
    }
    Matcher::new(name, op, wanted).map_err(|e| e.to_string())
}

fn hints(value: Value<'_>) -> Result<Hints, Malformed> {
    let mut hints = Hints::default();
    let mut fields = Fields::of(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => hints.step_ms = value.int64()?,
            2 => hints.function = String::from_utf8_lossy(value.bytes()?).into_owned(),
            7 => hints.range_ms = value.int64()?,
            _ => {}
        }
    }
    Ok(hints)
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels {
        write::message(out, 1, |out| {
            write::bytes(out, 1, name.as_bytes());
            write::bytes(out, 2, value.as_bytes());
        });
    }
}

/// Appends one query's series to a sampled answer.
pub(crate) fn put_query_result(out: &mut Vec<u8>, series: &[(Labels, Samples)]) {
    write::message(out, 1, |out| {
        for (labels, samples) in series {
            write::message(out, 1, |out| {
                put_labels(out, labels);
                for point in &samples.floats {
                    write::message(out, 2, |out| {
                        write::double(out, 1, point.v);
                        write::varint(out, 2, point.t as u64);
                    });
                }
                for point in &samples.histograms {
                    write::message(out, 4, |out| histogram::encode(out, point.t, &point.h));
                }
            });
        }
    });
}

/// Appends a frame with float points of one series: length, checksum, `ChunkedReadResponse`.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    query_index: usize,
    labels: &Labels,
    points: &[model::FPoint],
) {
    let mut message = Vec::new();
    write::message(&mut message, 1, |out| {
        put_labels(out, labels);
        for chunk in points.chunks(xor_chunk::CHUNK_POINTS) {
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else {
                continue;
            };
            write::message(out, 2, |out| {
                write::varint(out, 1, first.t as u64);
                write::varint(out, 2, last.t as u64);
                write::varint(out, 3, XOR);
                write::bytes(out, 4, &xor_chunk::encode(chunk));
            });
        }
    });
    write::varint(&mut message, 2, query_index as u64);
    write::raw_varint(out, message.len() as u64);
    out.extend_from_slice(&checksum(&message).to_be_bytes());
    out.extend_from_slice(&message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_read() {
        let mut bytes = Vec::new();
        write::message(&mut bytes, 1, |out| {
            write::varint(out, 1, 1000);
            write::varint(out, 2, 2000);
            for (kind, name, value) in [(0, "__name__", "up"), (3, "job", "a|b")] {
                write::message(out, 3, |out| {
                    write::varint(out, 1, kind);
                    write::bytes(out, 2, name.as_bytes());
                    write::bytes(out, 3, value.as_bytes());
                });
            }
            write::message(out, 4, |out| {
                write::varint(out, 1, 15_000);
                write::bytes(out, 2, b"rate");
                write::varint(out, 7, 300_000);
            });
        });
        write::bytes(&mut bytes, 2, &[1, 0]);
        let request = decode(&bytes).unwrap();
        assert_eq!(request.accepted, [STREAMED_XOR_CHUNKS, SAMPLES]);
        let query = &request.queries[0];
        assert_eq!((query.start, query.end), (1000, 2000));
        assert_eq!(query.hints.function, "rate");
        assert_eq!(
            (query.hints.step_ms, query.hints.range_ms),
            (15_000, 300_000)
        );
        assert_eq!(query.matchers[1].op(), MatchOp::NotRegex);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
