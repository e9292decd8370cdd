//! OTLP's JSON form as protobuf: each field goes straight to where its message has it, so that
//! there is one decoder and no tree in memory.
//! Source: opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding": names in lowerCamelCase,
//! 64-bit numbers as numbers or strings, unknown fields passed over.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::protobuf::{write, zigzag};

/// A message: the JSON name, number and type of each field we read.
struct Message(&'static [(&'static str, u32, Type)]);

#[derive(Clone, Copy)]
enum Type {
    Text,
    Bool,
    /// `int64`, `uint64`, `uint32`.
    Varint,
    Sint32,
    Fixed64,
    Double,
    Temporality,
    Severity,
    /// Bytes, written as hexadecimal digits.
    Hex,
    Of(&'static Message),
}

use Type::{Bool, Double, Fixed64, Hex, Of, Severity, Sint32, Temporality, Text, Varint};

static REQUEST: Message = Message(&[("resourceMetrics", 1, Of(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Message = Message(&[
    ("resource", 1, Of(&RESOURCE)),
    ("scopeMetrics", 2, Of(&SCOPE_METRICS)),
]);
static RESOURCE: Message = Message(&[("attributes", 1, Of(&KEY_VALUE))]);
static SCOPE_METRICS: Message = Message(&[("metrics", 2, Of(&METRIC))]);
static METRIC: Message = Message(&[
    ("name", 1, Text),
    ("description", 2, Text),
    ("unit", 3, Text),
    ("gauge", 5, Of(&NUMBERS)),
    ("sum", 7, Of(&NUMBERS)),
    ("histogram", 9, Of(&HISTOGRAM)),
    ("exponentialHistogram", 10, Of(&EXPONENTIAL)),
    ("summary", 11, Of(&SUMMARY)),
]);
static NUMBERS: Message = Message(&[
    ("dataPoints", 1, Of(&NUMBER_POINT)),
    ("aggregationTemporality", 2, Temporality),
    ("isMonotonic", 3, Bool),
]);
static NUMBER_POINT: Message = Message(&[
    ("attributes", 7, Of(&KEY_VALUE)),
    ("timeUnixNano", 3, Fixed64),
    ("asDouble", 4, Double),
    ("asInt", 6, Fixed64),
    ("exemplars", 5, Of(&NOTHING)),
    ("flags", 8, Varint),
]);
static HISTOGRAM: Message = Message(&[
    ("dataPoints", 1, Of(&HISTOGRAM_POINT)),
    ("aggregationTemporality", 2, Temporality),
]);
static HISTOGRAM_POINT: Message = Message(&[
    ("attributes", 9, Of(&KEY_VALUE)),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("bucketCounts", 6, Fixed64),
    ("explicitBounds", 7, Double),
    ("exemplars", 8, Of(&NOTHING)),
    ("flags", 10, Varint),
]);
static EXPONENTIAL: Message = Message(&[
    ("dataPoints", 1, Of(&EXPONENTIAL_POINT)),
    ("aggregationTemporality", 2, Temporality),
]);
static EXPONENTIAL_POINT: Message = Message(&[
    ("attributes", 1, Of(&KEY_VALUE)),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("scale", 6, Sint32),
    ("zeroCount", 7, Fixed64),
    ("positive", 8, Of(&BUCKETS)),
    ("negative", 9, Of(&BUCKETS)),
    ("flags", 10, Varint),
    ("exemplars", 11, Of(&NOTHING)),
    ("zeroThreshold", 14, Double),
]);
static BUCKETS: Message = Message(&[("offset", 1, Sint32), ("bucketCounts", 2, Varint)]);
static SUMMARY: Message = Message(&[("dataPoints", 1, Of(&SUMMARY_POINT))]);
static SUMMARY_POINT: Message = Message(&[
    ("attributes", 7, Of(&KEY_VALUE)),
    ("timeUnixNano", 3, Fixed64),
    ("count", 4, Fixed64),
    ("sum", 5, Double),
    ("quantileValues", 6, Of(&QUANTILE)),
    ("flags", 8, Varint),
]);
static QUANTILE: Message = Message(&[("quantile", 1, Double), ("value", 2, Double)]);
static KEY_VALUE: Message = Message(&[("key", 1, Text), ("value", 2, Of(&ANY_VALUE))]);
static ANY_VALUE: Message = Message(&[
    ("stringValue", 1, Text),
    ("boolValue", 2, Bool),
    ("intValue", 3, Varint),
    ("doubleValue", 4, Double),
    ("arrayValue", 5, Of(&ARRAY)),
    ("kvlistValue", 6, Of(&KEY_VALUES)),
]);
static ARRAY: Message = Message(&[("values", 1, Of(&ANY_VALUE))]);
static KEY_VALUES: Message = Message(&[("values", 1, Of(&KEY_VALUE))]);
static NOTHING: Message = Message(&[]);

static LOGS_REQUEST: Message = Message(&[("resourceLogs", 1, Of(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Message = Message(&[
    ("resource", 1, Of(&RESOURCE)),
    ("scopeLogs", 2, Of(&SCOPE_LOGS)),
]);
static SCOPE_LOGS: Message =
    Message(&[("scope", 1, Of(&SCOPE)), ("logRecords", 2, Of(&LOG_RECORD))]);
static SCOPE: Message = Message(&[
    ("name", 1, Text),
    ("version", 2, Text),
    ("attributes", 3, Of(&KEY_VALUE)),
]);
static LOG_RECORD: Message = Message(&[
    ("timeUnixNano", 1, Fixed64),
    ("severityNumber", 2, Severity),
    ("severityText", 3, Text),
    ("body", 5, Of(&ANY_VALUE)),
    ("attributes", 6, Of(&KEY_VALUE)),
    ("traceId", 9, Hex),
    ("spanId", 10, Hex),
    ("observedTimeUnixNano", 11, Fixed64),
]);

/// A request with metrics as protobuf.
///
/// # Errors
/// When it is no JSON, or a field has a value of another type.
pub(crate) fn to_protobuf(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    transcode(&REQUEST, json)
}

/// A request with logs as protobuf.
///
/// # Errors
/// As [`to_protobuf`].
pub(crate) fn logs_to_protobuf(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    transcode(&LOGS_REQUEST, json)
}

fn transcode(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut from = serde_json::Deserializer::from_slice(json);
    Body {
        message,
        out: &mut out,
    }
    .deserialize(&mut from)?;
    from.end()?;
    Ok(out)
}

/// Writes the fields of an object.
struct Body<'a> {
    message: &'static Message,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match self.message.0.iter().find(|(name, ..)| *name == key) {
                Some((_, number, kind)) => map.next_value_seed(Field {
                    number: *number,
                    kind: *kind,
                    out: self.out,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Writes one field; an array is a repeated one.
struct Field<'a> {
    number: u32,
    kind: Type,
    out: &'a mut Vec<u8>,
}

impl Field<'_> {
    fn whole<E: Error>(self, v: i64) -> Result<(), E> {
        match self.kind {
            Varint | Temporality | Severity | Bool => {
                write::varint(self.out, self.number, v as u64);
            }
            Sint32 => write::varint(self.out, self.number, zigzag(v)),
            Fixed64 => write::double(self.out, self.number, f64::from_bits(v as u64)),
            Double => write::double(self.out, self.number, v as f64),
            Text | Hex | Of(_) => return Err(E::custom("a number where there should be none")),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Text | Hex => "a string",
            Bool => "true or false",
            Of(_) => "an object or an array of objects",
            _ => "a number, or one in a string",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        match self.kind {
            Bool => self.whole(i64::from(v)),
            _ => Err(E::custom("true or false where neither should be")),
        }
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        self.whole(v)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        match self.kind {
            Double => self.visit_f64(v as f64),
            _ => self.whole(v as i64),
        }
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        match self.kind {
            Double => {
                write::double(self.out, self.number, v);
                Ok(())
            }
            _ => Err(E::custom("a fraction where a whole number should be")),
        }
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        let wrong = || E::custom(format_args!("{v:?} is not what should be here"));
        match self.kind {
            Text => {
                write::bytes(self.out, self.number, v.as_bytes());
                Ok(())
            }
            Hex => {
                let bytes = unhex(v).ok_or_else(wrong)?;
                write::bytes(self.out, self.number, &bytes);
                Ok(())
            }
            // "NaN", "Infinity" and "-Infinity" are among them.
            Double => {
                let v = v.parse().map_err(|_| wrong())?;
                write::double(self.out, self.number, v);
                Ok(())
            }
            Severity if v.starts_with("SEVERITY_NUMBER_") => {
                self.whole(severity(&v["SEVERITY_NUMBER_".len()..]).ok_or_else(wrong)?)
            }
            Varint | Severity | Sint32 | Fixed64 => match (v.parse::<i64>(), v.parse::<u64>()) {
                (Ok(v), _) => self.whole(v),
                (_, Ok(v)) => self.whole(v as i64),
                _ => Err(wrong()),
            },
            Temporality => match v {
                "AGGREGATION_TEMPORALITY_UNSPECIFIED" => self.whole(0),
                "AGGREGATION_TEMPORALITY_DELTA" => self.whole(1),
                "AGGREGATION_TEMPORALITY_CUMULATIVE" => self.whole(2),
                _ => Err(wrong()),
            },
            Bool | Of(_) => Err(wrong()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Field { number, kind, out } = self;
        while seq
            .next_element_seed(Field { number, kind, out })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Of(message) = self.kind else {
            return Err(A::Error::custom("an object where there should be none"));
        };
        let mut done = Ok(());
        write::message(self.out, self.number, |out| {
            done = Body { message, out }.visit_map(map);
        });
        done
    }
}

/// The bytes that pairs of hexadecimal digits stand for.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?));
    rest.is_empty().then(|| bytes.collect())?
}

/// The number of a severity: four of each, `INFO` to `INFO4`.
fn severity(name: &str) -> Option<i64> {
    let all = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let (word, step) = match name.as_bytes().last()? {
        digit @ b'2'..=b'4' => (&name[..name.len() - 1], i64::from(digit - b'1')),
        _ => (name, 0),
    };
    if name == "UNSPECIFIED" {
        return Some(0);
    }
    let at = all.iter().position(|known| *known == word)?;
    Some(at as i64 * 4 + 1 + step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::{Kind, Metric, metrics, resource_attributes, resources, scopes};
    use proptest::prelude::*;

    #[test]
    fn json_says_the_same_as_protobuf() {
        let json = br#"{"resourceMetrics":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},
            {"key":"list","value":{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a\"b"},{"boolValue":true}]}}}
          ],"unknown":{"deep":[1]}},
          "scopeMetrics":[{"metrics":[{"name":"orders","unit":"1","sum":{
            "aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","isMonotonic":true,
            "dataPoints":[{"timeUnixNano":"1700000000123456789","asInt":"-3"},
                          {"timeUnixNano":1700000001000000000,"asDouble":2.5,"flags":1}]}}]}]}]}"#;
        let bytes = to_protobuf(json).unwrap();
        let resource = resources(&bytes).next().unwrap().unwrap();
        let attributes = resource_attributes(resource).unwrap();
        assert_eq!(attributes[0], ("service.name", "shop".to_owned()));
        assert_eq!(attributes[1].1, r#"[1,"a\"b",true]"#);
        let scope = scopes(resource).next().unwrap().unwrap();
        let metric = Metric::decode(metrics(scope).next().unwrap().unwrap()).unwrap();
        assert_eq!(
            (metric.name, metric.kind, metric.monotonic),
            ("orders", Kind::Sum, true)
        );
        let points: Vec<_> = metric.points().map(Result::unwrap).collect();
        assert_eq!((points[0].at, points[0].value), (1_700_000_000_123, -3.0));
        assert_eq!((points[1].value, points[1].stale), (2.5, true));
    }

    #[test]
    fn wrong_json_is_refused_with_its_place() {
        for json in ["", "[]", "{", r#"{"resourceMetrics":3}"#, "{}x"] {
            assert!(to_protobuf(json.as_bytes()).is_err(), "{json}");
        }
        let deep = r#"{"arrayValue":{"values":[{"#.repeat(10_000);
        let deep = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"a","value":{deep}"#
        );
        assert!(to_protobuf(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = to_protobuf(&bytes);
            for resource in resources(&bytes).flatten() {
                let _ = resource_attributes(resource);
                for metric in scopes(resource).flatten().flat_map(metrics).flatten() {
                    let points = Metric::decode(metric).map(|m| m.points().count());
                    let _ = points;
                }
            }
        }
    }
}
