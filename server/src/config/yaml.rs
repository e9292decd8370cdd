//! YAML into a type, with errors at `file:line:column`.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location};

use super::diagnostic::{ConfigError, Diagnostic, did_you_mean};

/// Reads one document. An empty one counts as an empty mapping.
///
/// # Errors
/// The first thing that is wrong, at its place.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigError> {
    let blank = text
        .lines()
        .all(|l| l.trim().is_empty() || l.trim_start().starts_with('#') || l.trim() == "---");
    let text = if blank { "{}" } else { text };
    let options = serde_saphyr::options! { with_snippet: false };
    ::yaml::from_str(text, options).map_err(|e| ConfigError(vec![diagnostic(file, &e)]))
}

/// An error of the parser as a finding.
pub(crate) fn diagnostic(file: &str, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    Diagnostic {
        file: file.to_owned(),
        position: error.location().and_then(position),
        message: message(error),
    }
}

/// Line and column of a known location.
pub(crate) fn position(at: Location) -> Option<(u64, u64)> {
    (at.line() > 0).then(|| (at.line(), at.column()))
}

fn message(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            if let Some(left_out) = left_out(field, expected) {
                return left_out;
            }
            let near = did_you_mean(field, expected.iter().copied());
            if near.is_empty() && !expected.is_empty() {
                format!("unknown key {field:?}; known here: {}", expected.join(", "))
            } else {
                format!("unknown key {field:?}{near}")
            }
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => format!(
            "unknown value {variant:?}{}; possible: {}",
            did_you_mean(variant, expected.iter().copied()),
            expected.join(", ")
        ),
        Error::SerdeMissingField { field, .. } => format!("missing key {field:?}"),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("key {key:?} occurs twice"),
            None => "a key occurs twice".to_owned(),
        },
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } => format!("expected {expected}, found {unexpected}"),
        Error::Unexpected { expected, .. } => match *expected {
            "sequence start" => "expected a list, such as [ a, b ]".to_owned(),
            "mapping start" => "expected a mapping, such as { key: value }".to_owned(),
            "string scalar" => "expected text".to_owned(),
            "scalar" => "expected a single value".to_owned(),
            other => format!("expected {other}"),
        },
        other => plain(&other.to_string()),
    }
}

/// Keys of Prometheus' scrape_config that mean something we do not do. docs/discovery.md has them.
const LEFT_OUT: [&str; 17] = [
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "enable_http2",
    "extra_scrape_metrics",
    "max_version",
    "metric_name_escaping_scheme",
    "metric_name_validation_scheme",
    "min_version",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "no_proxy",
    "oauth2",
    "proxy_connect_header",
    "proxy_from_environment",
    "scrape_failure_log_file",
    "scrape_native_histograms",
    "username_file",
];

/// What to say of a key that Prometheus knows and we do not: it is no slip of the pen.
fn left_out(field: &str, expected: &[&str]) -> Option<String> {
    if field.ends_with("_sd_configs") {
        let ours = expected.iter().filter(|k| k.ends_with("_configs"));
        let ours = ours.filter(|k| !k.ends_with("relabel_configs"));
        let ours: Vec<&str> = ours.copied().collect();
        return expected
            .contains(&"static_configs")
            .then(|| format!("{field} is not supported; {} are", ours.join(", ")));
    }
    LEFT_OUT
        .contains(&field)
        .then(|| format!("{field} is not supported; see docs/discovery.md"))
}

/// The parser's own sentence without the place it repeats at its end.
fn plain(rendered: &str) -> String {
    let first = rendered.lines().next().unwrap_or(rendered);
    let first = first.strip_prefix("error: ").unwrap_or(first);
    match first.rfind(" at line ") {
        Some(at) => first[..at].to_owned(),
        None => first.to_owned(),
    }
}
