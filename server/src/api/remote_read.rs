//! `POST /api/v1/read`: remote read, sampled or as streamed XOR chunks.
//!
//! The answer is collected before its first byte is sent, within the bounds of a query: an error
//! then has its status code, which upstream's stream can no longer give. Native histograms are
//! sent in sampled form only; a request that would stream them gets the sampled answer, which
//! every client must take whatever it asked for first.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use model::{
    FPoint, Labels, MatchOp, Matcher, ReadError, Samples, Selection, TimeRange, Timestamp,
};

use super::receive::error;
use super::work::WorkError;
use super::{Api, Parts};
use crate::wire::remote_read::{self, Query, ReadRequest, SAMPLES, STREAMED_XOR_CHUNKS};
use crate::wire::snappy;

/// Points per frame, so that a frame stays near upstream's 1 MiB whatever its points cost.
const FRAME_POINTS: usize = 60_000;
/// What one histogram weighs against the limit of samples: it has so many floats, about.
const HISTOGRAM_WEIGHT: usize = 16;

/// Series of one query, sorted by their labels as stored.
type Selected = Vec<(Labels, Samples)>;

/// The handler.
pub(super) async fn read(State(api): State<Api>, body: Bytes) -> Response {
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
    let parts = match api.parts() {
        Ok(parts) => parts,
        Err(failure) => return failure.into_response(),
    };
    let config = api.config();
    let external = config.rules.external_labels.clone();
    let samples_max = config.query.samples_max;
    let worked = api.workshop().run(config.query.timeout.0, move |cancel| {
        let results = select(&request, &parts, &external, samples_max, &cancel)?;
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
        Ok(Ok(Answer::Sampled(block))) => (
            [
                (header::CONTENT_TYPE, "application/x-protobuf"),
                (header::CONTENT_ENCODING, "snappy"),
                (version_header(), "0.1.0"),
            ],
            block,
        )
            .into_response(),
        Ok(Ok(Answer::Streamed(results))) => (
            [(
                header::CONTENT_TYPE,
                "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
            )],
            Body::new(Frames::new(results)),
        )
            .into_response(),
        Ok(Err(e @ ReadError::Limit(_))) => error(StatusCode::BAD_REQUEST, e),
        Ok(Err(e)) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
        Err(WorkError::Timeout) => error(StatusCode::SERVICE_UNAVAILABLE, "remote read timed out"),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed inside stackwatch; its log says more",
        ),
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
    parts: &Parts,
    external: &Labels,
    samples_max: usize,
    cancel: &AtomicBool,
) -> Result<Vec<Selected>, ReadError> {
    let mut left = samples_max;
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
        for mut series in parts.series.select(&selection)? {
            let mut samples = Samples::default();
            loop {
                if cancel.load(Ordering::Relaxed) {
                    return Err(ReadError::Limit("the client has gone".to_owned()));
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
                        "exceeded sample limit ({samples_max})"
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
        step_ms: query.hints.step_ms.max(0),
        window_ms: query.hints.range_ms.max(0),
        function: function.copied().unwrap_or_default(),
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
