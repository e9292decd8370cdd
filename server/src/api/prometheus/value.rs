//! Query results as Prometheus' JSON.

use model::{FPoint, HPoint, Samples, Timestamp};
use query::{PointValue, Value};

use super::histogram;
use crate::api::json;

/// Bytes one answer may have. A dashboard's largest panel is a few megabytes; past this the
/// answer, not the evaluation, is what would not fit.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The answer would be larger than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    bytes: usize,
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the answer exceeds {} MB (query.bytes_max); ask for fewer series or a larger step",
            self.bytes >> 20
        )
    }
}

/// `{"resultType":…,"result":…}`; vectors and matrices are cut after `limit` elements
/// and have at most `bytes`, or [`ANSWER_BYTES_MAX`] when that is less. Whether something was cut comes second.
///
/// # Errors
/// [`TooLarge`].
pub(crate) fn write(
    value: &Value,
    limit: Option<usize>,
    bytes: usize,
) -> Result<(String, bool), TooLarge> {
    let bytes = bytes.min(ANSWER_BYTES_MAX);
    let mut out = String::new();
    let mut cut = false;
    match value {
        Value::Scalar { at, value } => {
            out.push_str("{\"resultType\":\"scalar\",\"result\":[");
            json::timestamp(&mut out, *at);
            out.push(',');
            scalar(&mut out, *value);
            out.push(']');
        }
        Value::String { at, value } => {
            out.push_str("{\"resultType\":\"string\",\"result\":[");
            json::timestamp(&mut out, *at);
            out.push(',');
            json::html_safe(&mut out, value);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str("{\"resultType\":\"vector\",\"result\":[");
            let shown = limit.unwrap_or(samples.len()).min(samples.len());
            cut = shown < samples.len();
            for (i, sample) in samples[..shown].iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str("{\"metric\":");
                json::labels(&mut out, &sample.labels);
                match &sample.value {
                    PointValue::Float(v) => {
                        out.push_str(",\"value\":[");
                        json::timestamp(&mut out, sample.at);
                        out.push(',');
                        json::number(&mut out, *v);
                    }
                    PointValue::Histogram(h) => {
                        out.push_str(",\"histogram\":[");
                        json::timestamp(&mut out, sample.at);
                        out.push(',');
                        histogram::write(&mut out, h);
                    }
                }
                out.push_str("]}");
                check_size(&out, bytes)?;
            }
            out.push(']');
        }
        Value::Matrix(series) => {
            out.push_str("{\"resultType\":\"matrix\",\"result\":[");
            let shown = limit.unwrap_or(series.len()).min(series.len());
            cut = shown < series.len();
            for (i, one) in series[..shown].iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str("{\"metric\":");
                json::labels(&mut out, &one.labels);
                points(&mut out, &one.points);
                out.push('}');
                check_size(&out, bytes)?;
            }
            out.push(']');
        }
    }
    out.push('}');
    Ok((out, cut))
}

/// A scalar is the one number Prometheus writes without an exponent, however large.
fn scalar(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(&format!("\"{value}\""));
    } else {
        json::number(out, value);
    }
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

fn check_size(out: &str, bytes: usize) -> Result<(), TooLarge> {
    if out.len() > bytes {
        Err(TooLarge { bytes })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
    use query::{SeriesPoints, VectorSample};

    #[track_caller]
    fn check(value: &Value, limit: Option<usize>, expect: &str) {
        assert_eq!(write(value, limit, 1000).unwrap().0, expect);
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
        assert!(write(&vector, Some(1), 1000).unwrap().1);
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
