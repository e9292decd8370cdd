//! `POST /api/v1/read`: remote read, sampled or as streamed XOR chunks.
//!
//! The answer is collected before its first byte is sent, within the bounds of a query: an error
//! then has its status code, which upstream's stream can no longer give. Native histograms are
//! sent in sampled form only; a request that would stream them gets the sampled answer, which
//! every client must take whatever it asked for first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use model::{
    FPoint, Labels, MatchOp, Matcher, ReadError, Samples, Selection, TimeRange, Timestamp,
};

use super::Api;
use super::prometheus::envelope::ErrorType;
use super::reading::Reading;
use super::receive::error;
use super::workshop::{Client, Share};
use crate::wire::remote_read::{self, Query, ReadRequest, SAMPLES, STREAMED_XOR_CHUNKS};
use crate::wire::snappy;

/// Points per frame, so that a frame stays near upstream's 1 MiB whatever its points cost.
const FRAME_POINTS: usize = 60_000;
/// What one histogram weighs against the limit of samples: it has so many floats, about.
const HISTOGRAM_WEIGHT: usize = 16;

/// What a sample costs until it is sent: 16 bytes as it is read, about as many in the message.
const SAMPLE_BYTES: usize = 32;

/// Series of one query, sorted by their labels as stored.
type Selected = Vec<(Labels, Samples)>;

/// The handler.
pub(super) async fn read(State(api): State<Api>, client: Client, body: Bytes) -> Response {
    let request = snappy::decode(&body)
        .map_err(|e| e.to_string())
        .and_then(|bytes| remote_read::decode(&bytes));
    let request = match request {
        Ok(request) => request,
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    let streamed = match negotiate(&request.accepted) {
        Ok(answer) => answer == STREAMED_XOR_CHUNKS,
        Err(why) => return error(StatusCode::BAD_REQUEST, why),
    };
    let config = api.config();
    let external = config.rules.external_labels.clone();
    let samples_max = config.query.samples_max;
    let worked = api.read(&client, config.query.timeout.0, move |reading| {
        let results = select(&request, reading, &external, samples_max)?;
        let histograms = |q: &Selected| q.iter().any(|(_, s)| !s.histograms.is_empty());
        if streamed && !results.iter().any(histograms) {
            return Ok(Answer::Streamed(results));
        }
        let mut message = Vec::new();
        for result in &results {
            remote_read::put_query_result(&mut message, result);
        }
        drop(results);
        let block = snappy::encode(&message)
            .map_err(|_| ReadError::Limit("the answer exceeds 4 GiB".to_owned()))?;
        Ok(Answer::Sampled(block))
    });
    match worked.await {
        Ok((Answer::Sampled(block), share)) => (
            [
                (header::CONTENT_TYPE, "application/x-protobuf"),
                (header::CONTENT_ENCODING, "snappy"),
                (version_header(), "0.1.0"),
            ],
            held(Body::from(block), share),
        )
            .into_response(),
        Ok((Answer::Streamed(results), share)) => (
            [(
                header::CONTENT_TYPE,
                "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
            )],
            held(Body::new(Frames::new(results)), share),
        )
            .into_response(),
        Err(failure) if failure.kind == ErrorType::Memory => {
            error(StatusCode::BAD_REQUEST, failure.message)
        }
        Err(failure) => error(failure.status(), failure.message),
    }
}

fn held(body: Body, share: Option<Share>) -> Body {
    match share {
        Some(share) => share.held_by(body),
        None => body,
    }
}

fn version_header() -> HeaderName {
    HeaderName::from_static("x-prometheus-remote-read-version")
}

enum Answer {
    Sampled(Vec<u8>),
    Streamed(Vec<Selected>),
}

/// The first answer of the client's list that we have.
fn negotiate(accepted: &[u64]) -> Result<u64, String> {
    if accepted.is_empty() {
        return Ok(SAMPLES);
    }
    accepted
        .iter()
        .copied()
        .find(|a| [SAMPLES, STREAMED_XOR_CHUNKS].contains(a))
        .ok_or_else(|| {
            format!(
                "server does not support any of the requested response types: {accepted:?}; supported: [SAMPLES STREAMED_XOR_CHUNKS]"
            )
        })
}

fn select(
    request: &ReadRequest,
    reading: &Reading,
    external: &Labels,
    samples_max: usize,
) -> Result<Vec<Selected>, ReadError> {
    // Points and the message made of them.
    let room = samples_max.min(reading.bytes_max / SAMPLE_BYTES);
    let mut left = room;
    let mut results = Vec::new();
    for query in &request.queries {
        let matchers: Vec<Matcher> = query.matchers.iter().map(|m| local(m, external)).collect();
        let range = TimeRange::new(
            Timestamp::from_millis(query.start),
            Timestamp::from_millis(query.end),
        );
        let selection = Selection {
            range,
            matchers: &matchers,
            hints: hints(query),
        };
        let mut result = Vec::new();
        let mut run = Samples::default();
        for mut series in reading.series().select(&selection)? {
            let mut samples = Samples::default();
            loop {
                if reading.cancel.load(Ordering::Relaxed) {
                    return Err(ReadError::Canceled);
                }
                run.clear();
                if !series.cursor.next_run(&mut run)? {
                    break;
                }
                let inside = |t: i64| range.contains(Timestamp::from_millis(t));
                samples
                    .floats
                    .extend(run.floats.iter().filter(|p| inside(p.t)));
                let histograms = run.histograms.drain(..).filter(|p| inside(p.t));
                samples.histograms.extend(histograms);
                let weight = samples.floats.len() + HISTOGRAM_WEIGHT * samples.histograms.len();
                if weight > left {
                    return Err(ReadError::Limit(format!(
                        "exceeded sample limit ({room}; query.samples_max, query.bytes_max)"
                    )));
                }
            }
            if !samples.is_empty() {
                left -= samples.floats.len() + HISTOGRAM_WEIGHT * samples.histograms.len();
                result.push((with_external(&series.labels, external), samples));
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// External labels are not in the store: asking for ours asks for their absence.
fn local(matcher: &Matcher, external: &Labels) -> Matcher {
    let ours = external.get(matcher.name());
    if matcher.op() == MatchOp::Equal && ours == Some(matcher.value()) {
        Matcher::equal(matcher.name(), "")
    } else {
        matcher.clone()
    }
}

/// `labels` with those of `external` it does not have.
pub(super) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut builder = labels.to_builder();
    for (name, value) in external {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// Hints for the store. Only functions that it may know matter.
fn hints(query: &Query) -> model::Hints {
    const FUNCTIONS: [&str; 16] = [
        "rate",
        "increase",
        "irate",
        "delta",
        "idelta",
        "deriv",
        "resets",
        "changes",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "quantile_over_time",
        "stddev_over_time",
    ];
    let function = FUNCTIONS.iter().find(|f| **f == query.hints.function);
    model::Hints {
        // Who asks evaluates by itself, and would not look further back for coarser points.
        step_ms: 0,
        window_ms: query.hints.range_ms.max(0),
        function: function.copied().unwrap_or_default(),
        newest_only: false,
    }
}

/// Frames of a streamed answer, encoded as the client takes them.
struct Frames {
    /// Query index, labels, points still to send.
    series: VecDeque<(usize, Labels, Vec<FPoint>)>,
    /// Points of the first series that have been sent.
    sent: usize,
}

impl Frames {
    fn new(results: Vec<Selected>) -> Self {
        let series = results
            .into_iter()
            .enumerate()
            .flat_map(|(i, result)| {
                result
                    .into_iter()
                    .map(move |(labels, samples)| (i, labels, samples.floats))
            })
            .collect();
        Frames { series, sent: 0 }
    }

    /// Frames of at least some hundred kilobytes together, as long as there are any.
    fn next(&mut self) -> Option<Bytes> {
        const PIECE_BYTES: usize = 256 << 10;
        let mut out = Vec::new();
        while let Some((query, labels, points)) = self.series.front() {
            let end = (self.sent + FRAME_POINTS).min(points.len());
            remote_read::put_frame(&mut out, *query, labels, &points[self.sent..end]);
            self.sent = end;
            if end == points.len() {
                self.series.pop_front();
                self.sent = 0;
            }
            if out.len() >= PIECE_BYTES {
                break;
            }
        }
        (!out.is_empty()).then(|| out.into())
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }
}
