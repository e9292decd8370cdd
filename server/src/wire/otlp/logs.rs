//! OTLP logs: the records of a request, with their attributes as Loki names them.
//! Sources: opentelemetry-proto (logs/v1, collector/logs/v1); Grafana Loki's page "Ingesting logs
//! to Loki using OpenTelemetry Collector", which resource attributes become labels.

use std::fmt::Write as _;

use super::super::protobuf::{Fields, Malformed, Messages, Value, push_bounded};
use super::{ATTRIBUTES_MAX, VALUE_DEPTH_MAX, put_any};

/// Names and values. Names have letters, digits and `_` only.
pub(crate) type Pairs = Vec<(String, String)>;

/// Attributes of a resource that make up its stream; all others go to the lines' metadata.
const LABELS: [&str; 17] = [
    "cloud.availability_zone",
    "cloud.region",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
];

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Nanoseconds since the epoch; when it was observed, if it does not say when it happened.
    /// `None` when it says neither.
    pub(crate) at_ns: Option<i64>,
    pub(crate) line: String,
    pub(crate) metadata: Pairs,
}

/// The `ResourceLogs` of a request.
pub(crate) fn resources(request: &[u8]) -> Messages<'_> {
    Messages::of(request, 1)
}

/// The labels of a `ResourceLogs`, and what its resource says besides.
pub(crate) fn resource(resource_logs: &[u8]) -> Result<(Pairs, Pairs), Malformed> {
    let (mut labels, mut rest) = (Pairs::new(), Pairs::new());
    for resource in Messages::of(resource_logs, 1) {
        for attribute in Messages::of(resource?, 1) {
            let mut pairs = Pairs::new();
            let name = put_attribute(&mut pairs, "", attribute?, 0)?;
            let into = match LABELS.contains(&name) {
                true => &mut labels,
                false => &mut rest,
            };
            for pair in pairs {
                push_bounded(into, pair, ATTRIBUTES_MAX)?;
            }
        }
    }
    if !labels.iter().any(|(name, _)| name == "service_name") {
        let unknown = ("service_name".to_owned(), "unknown_service".to_owned());
        labels.push(unknown);
    }
    Ok((labels, rest))
}

/// The `ScopeLogs` of a `ResourceLogs`.
pub(crate) fn scopes(resource_logs: &[u8]) -> Messages<'_> {
    Messages::of(resource_logs, 2)
}

/// What a `ScopeLogs` says of its scope.
pub(crate) fn scope(scope_logs: &[u8]) -> Result<Pairs, Malformed> {
    let mut pairs = Pairs::new();
    for scope in Messages::of(scope_logs, 1) {
        let mut fields = Fields::of(scope?);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => put_text(&mut pairs, "scope_name", value)?,
                2 => put_text(&mut pairs, "scope_version", value)?,
                3 => _ = put_attribute(&mut pairs, "", value.bytes()?, 0)?,
                _ => {}
            }
        }
    }
    Ok(pairs)
}

/// The records of a `ScopeLogs`.
pub(crate) fn records(scope_logs: &[u8]) -> impl Iterator<Item = Result<Record, Malformed>> {
    Messages::of(scope_logs, 2).map(|message| record(message?))
}

fn record(message: &[u8]) -> Result<Record, Malformed> {
    let mut record = Record::default();
    let pairs = &mut record.metadata;
    let (mut happened, mut observed) = (0, 0);
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => happened = fixed(value)?,
            11 => observed = fixed(value)?,
            2 => match value.varint()? {
                0 => {}
                severity => {
                    let pair = ("severity_number".to_owned(), severity.to_string());
                    push_bounded(pairs, pair, ATTRIBUTES_MAX)?;
                    let level = ("detected_level".to_owned(), level(severity).to_owned());
                    push_bounded(pairs, level, ATTRIBUTES_MAX)?;
                }
            },
            3 => put_text(pairs, "severity_text", value)?,
            5 => put_any(&mut record.line, value.bytes()?, 0)?,
            6 => _ = put_attribute(pairs, "", value.bytes()?, 0)?,
            9 => put_hex(pairs, "trace_id", value)?,
            10 => put_hex(pairs, "span_id", value)?,
            _ => {}
        }
    }
    let at = [happened, observed].into_iter().find(|ns| *ns > 0);
    record.at_ns = at.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
    if happened > 0 && observed > 0 {
        let pair = ("observed_timestamp".to_owned(), observed.to_string());
        push_bounded(pairs, pair, ATTRIBUTES_MAX)?;
    }
    Ok(record)
}

fn fixed(value: Value<'_>) -> Result<u64, Malformed> {
    value.double().map(f64::to_bits)
}

fn put_text(pairs: &mut Pairs, name: &str, value: Value<'_>) -> Result<(), Malformed> {
    let text = value.text()?;
    if text.is_empty() {
        return Ok(());
    }
    push_bounded(pairs, (name.to_owned(), text.to_owned()), ATTRIBUTES_MAX)
}

fn put_hex(pairs: &mut Pairs, name: &str, value: Value<'_>) -> Result<(), Malformed> {
    let bytes = value.bytes()?;
    if bytes.is_empty() {
        return Ok(());
    }
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    push_bounded(pairs, (name.to_owned(), text), ATTRIBUTES_MAX)
}

/// Adds a `KeyValue`; one whose value has names of its own as several, `a_b`. Its name as sent.
fn put_attribute<'m>(
    pairs: &mut Pairs,
    before: &str,
    message: &'m [u8],
    depth: usize,
) -> Result<&'m str, Malformed> {
    let (mut name, mut any) = ("", &[][..]);
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => any = value.bytes()?,
            _ => {}
        }
    }
    let whole = match before {
        "" => sanitized(name),
        before => format!("{before}_{}", sanitized(name)),
    };
    let mut inner = Fields::of(any);
    let mut list = None;
    while let Some((number, value)) = inner.next()? {
        if number == 6 {
            list = Some(value.bytes()?);
        }
    }
    match list {
        Some(list) if depth < VALUE_DEPTH_MAX => {
            for pair in Messages::of(list, 1) {
                put_attribute(pairs, &whole, pair?, depth + 1)?;
            }
        }
        _ => {
            let mut text = String::new();
            put_any(&mut text, any, 0)?;
            push_bounded(pairs, (whole, text), ATTRIBUTES_MAX)?;
        }
    }
    Ok(name)
}

/// A name as a label's: `service.name` as `service_name`.
pub(crate) fn sanitized(name: &str) -> String {
    let is_ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out: String = name
        .chars()
        .map(|c| if is_ok(c) { c } else { '_' })
        .collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, "key_");
    }
    out
}

/// Loki's word for a severity.
fn level(severity: u64) -> &'static str {
    match severity {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::logs_to_protobuf;
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_record_becomes_a_line_with_metadata() {
        let json = br#"{"resourceLogs":[{"resource":{"attributes":[
            {"key":"service.name","value":{"stringValue":"shop"}},
            {"key":"host.name","value":{"stringValue":"box"}}]},
          "scopeLogs":[{"scope":{"name":"lib","attributes":[{"key":"a.b","value":{"intValue":"7"}}]},
            "logRecords":[{"timeUnixNano":"1700000000123456789","observedTimeUnixNano":"1700000001000000000",
              "severityNumber":"SEVERITY_NUMBER_WARN2","severityText":"Warning",
              "body":{"stringValue":"it is hot"},"traceId":"0aF1","spanId":"",
              "attributes":[{"key":"http","value":{"kvlistValue":{"values":[
                {"key":"status","value":{"intValue":500}}]}}}]},
             {"observedTimeUnixNano":5,"severityNumber":9,
              "body":{"kvlistValue":{"values":[{"key":"a","value":{"stringValue":"b"}}]}}}]}]}]}"#;
        let bytes = logs_to_protobuf(json).unwrap();
        let of_resource = resources(&bytes).next().unwrap().unwrap();
        let (labels, rest) = resource(of_resource).unwrap();
        assert_eq!(labels, pairs(&[("service_name", "shop")]));
        assert_eq!(rest, pairs(&[("host_name", "box")]));
        let of_scope = scopes(of_resource).next().unwrap().unwrap();
        let about = pairs(&[("scope_name", "lib"), ("a_b", "7")]);
        assert_eq!(scope(of_scope).unwrap(), about);
        let all: Vec<Record> = records(of_scope).map(Result::unwrap).collect();
        assert_eq!(all[0].at_ns, Some(1_700_000_000_123_456_789));
        assert_eq!(all[0].line, "it is hot");
        let metadata = pairs(&[
            ("severity_number", "14"),
            ("detected_level", "warn"),
            ("severity_text", "Warning"),
            ("trace_id", "0af1"),
            ("http_status", "500"),
            ("observed_timestamp", "1700000001000000000"),
        ]);
        assert_eq!(all[0].metadata, metadata);
        assert_eq!(
            (all[1].at_ns, all[1].line.as_str()),
            (Some(5), "{\"a\":\"b\"}")
        );
    }

    #[test]
    fn who_says_nothing_of_its_service_is_unknown() {
        let bytes = logs_to_protobuf(br#"{"resourceLogs":[{}]}"#).unwrap();
        let of_resource = resources(&bytes).next().unwrap().unwrap();
        let (labels, _) = resource(of_resource).unwrap();
        assert_eq!(labels, pairs(&[("service_name", "unknown_service")]));
        for odd in ["0", "xy", "0 "] {
            let json = format!(
                r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"traceId":"{odd}"}}]}}]}}]}}"#
            );
            assert!(logs_to_protobuf(json.as_bytes()).is_err(), "{odd}");
        }
    }
}
