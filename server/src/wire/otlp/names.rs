//! Names of OTLP metrics and attributes as Prometheus has them by default (the strategy
//! `UnderscoreEscapingWithSuffixes`): other characters become `_`, and unit and type are told
//! by suffixes. Source: github.com/prometheus/otlptranslator (metric_namer.go, label_namer.go)
//! and OpenTelemetry's specification/compatibility/prometheus_and_openmetrics.md.

use super::{Kind, Metric};

/// Units by their short names in UCUM.
const UNITS: [(&str, &str); 25] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];

/// What stands behind the slash of a rate.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The metric's name; `None` when nothing of it is left.
pub(crate) fn metric_name(metric: &Metric<'_>) -> Option<String> {
    let mut tokens: Vec<String> = tokens(metric.name);
    let (main, per) = unit_suffixes(metric.unit);
    if !main.is_empty() && !tokens.contains(&main) {
        tokens.push(main);
    }
    if let Some(per) = per
        && !tokens.contains(&per)
    {
        tokens.push(per);
    }
    let mut put_last = |word: &str| {
        tokens.retain(|t| t != word);
        tokens.push(word.to_owned());
    };
    match metric.kind {
        Kind::Sum if metric.monotonic => put_last("total"),
        // Counters of things have the unit 1 as well, and are no ratios.
        Kind::Gauge if metric.unit == "1" => put_last("ratio"),
        _ => {}
    }
    let mut name = tokens.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    (!name.is_empty()).then_some(name)
}

fn tokens(text: &str) -> Vec<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let words = text.split(|c| !fits(c)).filter(|t| !t.is_empty());
    words.map(str::to_owned).collect()
}

/// `seconds` of `s`, and `per_second` of `By/s`; what stands in braces is a comment.
fn unit_suffixes(unit: &str) -> (String, Option<String>) {
    let (main, per) = match unit.split_once('/') {
        Some((main, per)) => (main, Some(per)),
        None => (unit, None),
    };
    let word = |text: &str, table: &[(&str, &str)]| {
        let text = text.trim();
        if text.is_empty() || text.contains(['{', '}']) {
            return String::new();
        }
        let known = table.iter().find(|(short, _)| *short == text);
        tokens(known.map_or(text, |(_, word)| word)).join("_")
    };
    let main = match main.trim() {
        "1" => String::new(),
        main => word(main, &UNITS),
    };
    let per = per.map(|per| word(per, &PER)).filter(|per| !per.is_empty());
    (main, per.map(|per| format!("per_{per}")))
}

/// The label's name; `None` when there is nothing but underscores. Several in a row stay, and a
/// single one at the start is not left there, both as Prometheus is configured by default.
pub(crate) fn label_name(attribute: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric();
    let mut name: String = attribute
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    let words = name.strip_prefix("key").unwrap_or(&name);
    let something = !words.trim_matches('_').is_empty() || name == "key";
    something.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, unit: &str, kind: Kind, monotonic: bool) -> Option<String> {
        metric_name(&Metric {
            name,
            description: "",
            unit,
            kind,
            temporality: super::super::Temporality::Cumulative,
            monotonic,
            data: &[],
        })
    }

    #[test]
    fn names_have_suffixes_of_unit_and_type() {
        for (name, unit, kind, monotonic, expect) in [
            (
                "http.server.request.duration",
                "s",
                Kind::Histogram,
                false,
                "http_server_request_duration_seconds",
            ),
            (
                "requests.count",
                "1",
                Kind::Sum,
                true,
                "requests_count_total",
            ),
            ("requests_total", "", Kind::Sum, true, "requests_total"),
            ("a.total.b", "", Kind::Sum, true, "a_b_total"),
            (
                "memory.usage",
                "By",
                Kind::Gauge,
                false,
                "memory_usage_bytes",
            ),
            ("memory.bytes", "By", Kind::Gauge, false, "memory_bytes"),
            (
                "system.cpu.utilization",
                "1",
                Kind::Gauge,
                false,
                "system_cpu_utilization_ratio",
            ),
            (
                "network.io",
                "By/s",
                Kind::Gauge,
                false,
                "network_io_bytes_per_second",
            ),
            ("queue", "{messages}", Kind::Sum, false, "queue"),
            (
                "errors",
                "{errors}/m",
                Kind::Gauge,
                false,
                "errors_per_minute",
            ),
            ("2xx", "", Kind::Gauge, false, "_2xx"),
            ("a__b", "", Kind::Gauge, false, "a_b"),
            (
                "speed",
                "m/s",
                Kind::Gauge,
                false,
                "speed_meters_per_second",
            ),
            ("x", "widgets", Kind::Gauge, false, "x_widgets"),
        ] {
            assert_eq!(
                named(name, unit, kind, monotonic).as_deref(),
                Some(expect),
                "{name}"
            );
        }
        assert_eq!(named("…", "", Kind::Gauge, false), None);
    }

    #[test]
    fn attributes_become_labels() {
        for (attribute, expect) in [
            ("http.method", Some("http_method")),
            ("a..b", Some("a__b")),
            ("_a", Some("key_a")),
            ("key", Some("key")),
            ("1st", Some("key_1st")),
            ("__reserved__", Some("__reserved__")),
            ("é", None),
        ] {
            assert_eq!(label_name(attribute).as_deref(), expect, "{attribute}");
        }
    }
}
