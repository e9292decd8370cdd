//! A mapping file as it is written.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::super::line::Type;
use super::super::summary::Objective;

/// The longest file read, bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MappingFile {
    pub(super) defaults: Defaults,
    pub(super) mappings: Vec<Entry>,
}

/// What mappings have that do not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    observer_type: Option<ObserverType>,
    timer_type: Option<ObserverType>,
    buckets: Option<Vec<f64>>,
    quantiles: Option<Vec<Quantile>>,
    pub(super) match_type: MatchType,
    pub(super) glob_disable_ordering: bool,
    #[serde(deserialize_with = "span")]
    pub(super) ttl: Duration,
    pub(super) summary_options: Option<SummaryOptions>,
    histogram_options: Option<HistogramOptions>,
}

/// One mapping.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Entry {
    pub(super) r#match: String,
    pub(super) name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) honor_labels: bool,
    observer_type: Option<ObserverType>,
    /// The older word.
    timer_type: Option<ObserverType>,
    buckets: Option<Vec<f64>>,
    quantiles: Option<Vec<Quantile>>,
    pub(super) match_type: Option<MatchType>,
    pub(super) help: Option<String>,
    pub(super) action: Action,
    pub(super) match_metric_type: Option<MetricType>,
    #[serde(deserialize_with = "optional_span")]
    pub(super) ttl: Option<Duration>,
    pub(super) summary_options: Option<SummaryOptions>,
    histogram_options: Option<HistogramOptions>,
    pub(super) scale: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MatchType {
    #[default]
    Glob,
    Regex,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    #[default]
    Map,
    Drop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ObserverType {
    #[default]
    Summary,
    Histogram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MetricType {
    Counter,
    Gauge,
    #[serde(alias = "timer")]
    Observer,
}

impl MetricType {
    pub(super) fn of(self) -> Type {
        match self {
            MetricType::Counter => Type::Counter,
            MetricType::Gauge => Type::Gauge,
            MetricType::Observer => Type::Observer,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SummaryOptions {
    quantiles: Option<Vec<Quantile>>,
    #[serde(deserialize_with = "optional_span")]
    pub(super) max_age: Option<Duration>,
    pub(super) age_buckets: Option<u32>,
    pub(super) buf_cap: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HistogramOptions {
    buckets: Option<Vec<f64>>,
    /// Taken for compatibility: buckets are always the written ones.
    #[serde(rename = "native_histogram_bucket_factor")]
    _factor: Option<f64>,
    #[serde(rename = "native_histogram_max_buckets")]
    _max_buckets: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quantile {
    quantile: f64,
    #[serde(default)]
    error: f64,
}

impl Quantile {
    pub(super) fn objective(self) -> Objective {
        Objective::new(self.quantile, self.error)
    }
}

/// A list that was written and is not empty.
fn written<T>(list: Option<&Vec<T>>) -> Option<&[T]> {
    list.map(Vec::as_slice).filter(|list| !list.is_empty())
}

impl Defaults {
    pub(super) fn observer_type(&self) -> Option<ObserverType> {
        self.observer_type.or(self.timer_type)
    }

    pub(super) fn buckets(&self) -> Option<&[f64]> {
        let options = self.histogram_options.as_ref();
        written(options.and_then(|o| o.buckets.as_ref())).or(written(self.buckets.as_ref()))
    }

    pub(super) fn quantiles(&self) -> Option<&[Quantile]> {
        let options = self.summary_options.as_ref();
        written(options.and_then(|o| o.quantiles.as_ref())).or(written(self.quantiles.as_ref()))
    }
}

impl Entry {
    pub(super) fn observer_type(&self) -> Option<ObserverType> {
        self.observer_type.or(self.timer_type)
    }

    pub(super) fn buckets(&self) -> Option<&[f64]> {
        let options = self.histogram_options.as_ref();
        written(self.buckets.as_ref()).or(written(options.and_then(|o| o.buckets.as_ref())))
    }

    pub(super) fn quantiles(&self) -> Option<&[Quantile]> {
        let options = self.summary_options.as_ref();
        written(self.quantiles.as_ref()).or(written(options.and_then(|o| o.quantiles.as_ref())))
    }

    /// What statsd_exporter refuses too, but a drop without a name.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.name {
            Some(name) if !is_name(name) => {
                return Err(format!("name {name:?} is no name of a metric"));
            }
            None if self.action == Action::Map => return Err("there is no name".to_owned()),
            _ => {}
        }
        let invalid = |label: &&String| label.starts_with("__") || !is_plain(label);
        if let Some(label) = self.labels.keys().find(invalid) {
            return Err(format!("label {label:?} is no name of a label"));
        }
        let both = |a: bool, b: bool| a && b;
        match self.observer_type() {
            Some(ObserverType::Histogram) if self.summary_options.is_some() => {
                Err("summary_options of a histogram".to_owned())
            }
            Some(ObserverType::Summary) if self.histogram_options.is_some() => {
                Err("histogram_options of a summary".to_owned())
            }
            _ if both(
                self.buckets.is_some(),
                self.histogram_options
                    .as_ref()
                    .is_some_and(|o| o.buckets.is_some()),
            ) =>
            {
                Err("buckets are there twice".to_owned())
            }
            _ if both(
                self.quantiles.is_some(),
                self.summary_options
                    .as_ref()
                    .is_some_and(|o| o.quantiles.is_some()),
            ) =>
            {
                Err("quantiles are there twice".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn is_plain(text: &str) -> bool {
    let first = |c: char| c == '_' || c.is_ascii_alphabetic();
    text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// A name, perhaps with `$1` or `${1}` in it.
fn is_name(text: &str) -> bool {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let after = after.strip_prefix('{').unwrap_or(after);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        plain.push('_');
        let after = &after[digits..];
        rest = after.strip_prefix('}').unwrap_or(after);
    }
    plain.push_str(rest);
    is_plain(&plain)
}

impl MappingFile {
    /// # Errors
    /// When it cannot be read or understood.
    pub(crate) fn read(path: &Path) -> Result<MappingFile, String> {
        let cannot = |e: std::io::Error| format!("cannot read: {e}");
        let mut text = String::new();
        let file = crate::regular::open(path).map_err(cannot)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(cannot)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("more than {FILE_BYTES_MAX} bytes"));
        }
        MappingFile::parse(&text)
    }

    /// # Errors
    /// What is wrong, with its place.
    pub(crate) fn parse(text: &str) -> Result<MappingFile, String> {
        let mut options = serde_saphyr::Options::default();
        options.with_snippet = false;
        let file: Option<MappingFile> = yaml::from_str(text, options).map_err(|e| e.to_string())?;
        Ok(file.unwrap_or_default())
    }
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    go_duration(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is no time, e.g. 1m20s")))
}

fn optional_span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    span(from).map(Some)
}

/// Go's `time.ParseDuration`, of times that are not negative: `1m20s`, `1.5h`, `300ms`, `0`.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, after) = rest.split_at(unit.unwrap_or(rest.len()));
        rest = after;
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_by_go() {
        let check = |text: &str, seconds: Option<f64>| {
            let found = go_duration(text).map(|d| d.as_secs_f64());
            assert_eq!(found, seconds, "{text}");
        };
        check("0", Some(0.0));
        check("1m20s", Some(80.0));
        check("1.5h", Some(5400.0));
        check("300ms", Some(0.3));
        check("1h0m5s", Some(3605.0));
        for odd in ["", "5", "-1s", "s", "1d", "1s 2s", "1..2s"] {
            check(odd, None);
        }
    }

    #[test]
    fn names_may_refer_to_what_matched() {
        for (name, valid) in [
            ("a_b", true),
            ("$1", true),
            ("${2}_total", true),
            ("a$1b", true),
            ("0a", false),
            ("a.b", false),
            ("a$", false),
            ("$name", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), valid, "{name}");
        }
    }
}
