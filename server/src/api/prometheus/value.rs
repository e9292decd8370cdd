//! Query results as Prometheus' JSON.

use model::{FPoint, HPoint, Samples, Timestamp, number};
use query::{PointValue, SeriesPoints, Value, VectorSample};

use super::envelope::Failure;
use super::histogram;
use crate::api::json;
use crate::api::pieces::{Pieces, Room};

/// `{"resultType":…,"result":…}`; vectors and matrices are cut after `limit` elements. Whether
/// something was cut comes second.
///
/// # Errors
/// When nobody waits any more, or there is no room.
pub(crate) fn write(
    value: Value,
    limit: Option<usize>,
    room: Room<'_>,
) -> Result<(Pieces, bool), Failure> {
    let mut data = Pieces::default();
    let out = &mut data.last;
    let mut cut = false;
    match value {
        Value::Scalar { at, value } => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":[");
            seconds(out, at);
            out.push(',');
            scalar(out, value);
            out.push(']');
        }
        Value::String { at, value } => {
            out.push_str("{\"resultType\":\"string\",\"result\":[");
            seconds(out, at);
            out.push(',');
            json::html_safe(out, &value);
            out.push(']');
        }
        Value::Vector(mut samples) => {
            out.push_str("{\"resultType\":\"vector\",\"result\":");
            cut = shorten(&mut samples, limit);
            let bytes = |s: &VectorSample| size_of::<VectorSample>() + s.labels.heap_bytes();
            data.array(samples, room, bytes, element)?;
        }
        Value::Matrix(mut series) => {
            out.push_str("{\"resultType\":\"matrix\",\"result\":");
            cut = shorten(&mut series, limit);
            data.array(series, room, bytes_of, |out, one| {
                out.push_str("{\"metric\":");
                json::labels(out, &one.labels);
                points(out, &one.points);
                out.push('}');
            })?;
        }
    }
    data.last.push('}');
    Ok((data, cut))
}

/// Cuts after `limit`; whether something was cut.
fn shorten<T>(items: &mut Vec<T>, limit: Option<usize>) -> bool {
    let before = items.len();
    items.truncate(limit.unwrap_or(before));
    items.len() < before
}

/// What a series takes until it is written; its histograms, which are shared, by their number.
fn bytes_of(series: &SeriesPoints) -> usize {
    let points = &series.points;
    size_of::<SeriesPoints>()
        + series.labels.heap_bytes()
        + points.floats.capacity() * size_of::<FPoint>()
        + points.histograms.capacity() * size_of::<HPoint>()
}

fn element(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    json::labels(out, &sample.labels);
    match &sample.value {
        PointValue::Float(v) => {
            out.push_str(",\"value\":[");
            json::timestamp(out, sample.at);
            out.push(',');
            json::number(out, *v);
        }
        PointValue::Histogram(h) => {
            out.push_str(",\"histogram\":[");
            json::timestamp(out, sample.at);
            out.push(',');
            histogram::write(out, h);
        }
    }
    out.push_str("]}");
}

/// The instant of a scalar or string, which Prometheus writes as any number: without the zeros
/// that others have.
fn seconds(out: &mut String, at: Timestamp) {
    number::push_api(out, at.millis() as f64 / 1000.0);
}

/// A scalar is the one number Prometheus writes without an exponent, however large.
fn scalar(out: &mut String, value: f64) {
    out.push('"');
    out.push_str(&number::format_fixed(value));
    out.push('"');
}

fn points(out: &mut String, points: &Samples) {
    if !points.floats.is_empty() {
        out.push_str(",\"values\":");
        json::array(out, &points.floats, |out, FPoint { t, v }| {
            out.push('[');
            json::timestamp(out, Timestamp::from_millis(*t));
            out.push(',');
            json::number(out, *v);
            out.push(']');
        });
    }
    if !points.histograms.is_empty() {
        out.push_str(",\"histograms\":");
        json::array(out, &points.histograms, |out, HPoint { t, h }| {
            out.push('[');
            json::timestamp(out, Timestamp::from_millis(*t));
            out.push(',');
            histogram::write(out, h);
            out.push(']');
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
    use std::sync::atomic::AtomicBool;

    fn written(value: &Value, limit: Option<usize>) -> (String, bool) {
        let room = Room {
            answer: 1000,
            together: 2000,
            cancel: &AtomicBool::new(false),
        };
        let (data, cut) = write(value.clone(), limit, room).unwrap();
        (data.text(), cut)
    }

    #[track_caller]
    fn check(value: &Value, limit: Option<usize>, expect: &str) {
        assert_eq!(written(value, limit).0, expect);
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn every_kind_of_result_has_prometheus_shape() {
        check(
            &Value::Scalar {
                at: at(4000),
                value: f64::NAN,
            },
            None,
            r#"{"resultType":"scalar","result":[4,"NaN"]}"#,
        );
        check(
            &Value::String {
                at: at(-500),
                value: "a".to_owned(),
            },
            None,
            r#"{"resultType":"string","result":[-0.5,"a"]}"#,
        );
        let sample = |name: &str, v| VectorSample {
            labels: Labels::from_pairs([("__name__", "up"), ("job", name)]),
            at: at(1500),
            value: PointValue::Float(v),
        };
        let vector = Value::Vector(vec![sample("a", 1e21), sample("b", 1e-7)]);
        check(
            &vector,
            None,
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1.500,"1e+21"]},{"metric":{"__name__":"up","job":"b"},"value":[1.500,"1e-07"]}]}"#,
        );
        assert!(written(&vector, Some(1)).1);
        check(
            &Value::Vector(vec![]),
            None,
            r#"{"resultType":"vector","result":[]}"#,
        );
        check(
            &Value::Matrix(vec![SeriesPoints {
                labels: Labels::empty(),
                points: Samples {
                    floats: vec![
                        FPoint { t: 0, v: 1.0 },
                        FPoint {
                            t: 15_000,
                            v: f64::INFINITY,
                        },
                    ],
                    histograms: vec![],
                },
            }]),
            None,
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1"],[15,"+Inf"]]}]}"#,
        );
    }
}
