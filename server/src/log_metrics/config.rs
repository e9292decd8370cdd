//! `logs.metrics`: what is to be taken from lines.

use std::collections::BTreeSet;

use collector::exposition::Kind;
use model::Timestamp;
use query::logql::ast::{LogExpr, Unwrap};
use query::logql::{self, Expr, ParseError, Sampler};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

/// Lines by service and level.
pub(super) const LINES: &str = "log_lines_total";
/// Their bytes.
pub(super) const BYTES: &str = "log_bytes_total";
/// Lines that a metric could not read.
pub(super) const ERRORS: &str = "log_metric_errors_total";
/// Metrics that are always there, and what they tell.
pub(super) const OWN: [(&str, &str); 3] = [
    (LINES, "Log lines stored, by service and level"),
    (BYTES, "Bytes of log lines stored, by service and level"),
    (
        ERRORS,
        "Lines that fitted a metric of logs.metrics and could not be read as it says",
    ),
];
/// Metrics that every target has.
const REPORTED: [&str; 7] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "ALERTS",
    "ALERTS_FOR_STATE",
];

/// Metrics in `logs.metrics`. Each costs a look at every stream that is new.
const METRICS_MAX: usize = 100;
/// Labels of a metric.
const LABELS_MAX: usize = 10;
/// Bounds of a histogram.
const BUCKETS_MAX: usize = 64;
/// Prometheus' default: seconds of requests.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A metric of `logs.metrics`, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMetric {
    pub(super) name: String,
    pub(super) kind: MetricType,
    pub(super) help: String,
    /// Which lines, and how they are read.
    lines: LogExpr,
    /// The number; each line is 1 without it.
    number: Option<Unwrap>,
    pub(super) labels: Vec<String>,
    /// Of a histogram: bounds, ascending and finite.
    pub(super) buckets: Vec<f64>,
}

/// What becomes of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MetricType {
    /// Their sum, or the number of lines.
    Counter,
    /// The last one.
    Gauge,
    /// How many are how large.
    Histogram,
}

impl MetricType {
    /// Whether a metric of this type can take the number.
    pub(super) fn takes(self, value: f64) -> bool {
        match self {
            MetricType::Counter => value >= 0.0 && value.is_finite(),
            MetricType::Histogram => !value.is_nan(),
            MetricType::Gauge => true,
        }
    }
}

impl LogMetric {
    /// What takes the numbers from lines.
    ///
    /// # Errors
    /// When a stage cannot be built.
    pub(super) fn sampler(&self) -> Result<Sampler, ParseError> {
        // Templates that ask for the time of day have no place here.
        let now = Timestamp::from_millis(0);
        Sampler::new(&self.lines, self.number.as_ref(), &self.labels, now)
    }

    pub(super) fn family(&self) -> Kind {
        match self.kind {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Histogram => Kind::Histogram,
        }
    }

    /// Names of the metrics that it stores.
    fn stored(&self) -> impl Iterator<Item = String> {
        let suffixes: &[&str] = match self.kind {
            MetricType::Histogram => &["", "_bucket", "_sum", "_count"],
            MetricType::Counter | MetricType::Gauge => &[""],
        };
        suffixes
            .iter()
            .map(|suffix| format!("{}{suffix}", self.name))
    }
}

/// A metric as written.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogMetricSection {
    name: Spanned<String>,
    r#type: MetricType,
    r#match: Spanned<String>,
    value: Option<Spanned<String>>,
    #[serde(default)]
    labels: Vec<Spanned<String>>,
    buckets: Option<Spanned<Vec<f64>>>,
    help: Option<String>,
}

/// What is wrong, and where.
type Problem = (Location, String);

impl LogMetricSection {
    /// All metrics; `problem` hears what is wrong with which.
    pub(crate) fn check_all(
        all: &[LogMetricSection],
        problem: &mut dyn FnMut(Location, String),
    ) -> Vec<LogMetric> {
        let mut metrics = Vec::new();
        let own = OWN.iter().map(|(name, _)| (*name).to_owned());
        let reported = REPORTED.iter().map(|name| (*name).to_owned());
        let mut taken: BTreeSet<String> = own.chain(reported).collect();
        for (i, section) in all.iter().enumerate() {
            let name = &section.name;
            let mut say =
                |(at, text): Problem| problem(at, format!("metric {}: {text}", name.value));
            if i == METRICS_MAX {
                say((name.referenced, format!("more than {METRICS_MAX} metrics")));
                break;
            }
            match section.check() {
                Ok(metric) => {
                    let twice = metric.stored().find(|stored| !taken.insert(stored.clone()));
                    if let Some(stored) = twice {
                        say((name.referenced, format!("there is another {stored}")));
                    }
                    metrics.push(metric);
                }
                Err(found) => found.into_iter().for_each(say),
            }
        }
        metrics
    }

    fn check(&self) -> Result<LogMetric, Vec<Problem>> {
        let mut found = Vec::new();
        let name = &self.name.value;
        if !is_metric_name(name) {
            let text = "a name has letters, digits, _ and :, and no digit first";
            found.push((self.name.referenced, text.to_owned()));
        }
        let mut keep = |result: Result<_, Problem>| result.map_err(|p| found.push(p)).ok();
        let lines = keep(self.lines());
        let number = self.number().map_err(|p| found.push(p)).ok();
        let labels = self.labels().map_err(|p| found.push(p)).ok();
        let buckets = self.buckets().map_err(|p| found.push(p)).ok();
        let (Some(lines), Some(number), Some(labels), Some(buckets), true) =
            (lines, number, labels, buckets, found.is_empty())
        else {
            return Err(found);
        };
        let metric = LogMetric {
            name: name.clone(),
            kind: self.r#type,
            help: self
                .help
                .clone()
                .unwrap_or_else(|| "Taken from log lines".to_owned()),
            lines,
            number,
            labels,
            buckets,
        };
        match metric.sampler() {
            Ok(_) => Ok(metric),
            Err(error) => Err(vec![(self.r#match.referenced, format!("match: {error}"))]),
        }
    }

    fn lines(&self) -> Result<LogExpr, Problem> {
        let wrong = |text: String| (self.r#match.referenced, format!("match: {text}"));
        match logql::parse(&self.r#match.value) {
            Ok(Expr::Log(lines)) => Ok(lines),
            Ok(Expr::Metric(_)) => Err(wrong(
                "what stands here selects lines, such as {container=\"web\"} | json; counting them is the metric's part".to_owned(),
            )),
            Err(error) if self.r#match.value.contains("unwrap") => {
                Err(wrong(format!("{error}; what to unwrap stands in value")))
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn number(&self) -> Result<Option<Unwrap>, Problem> {
        let Some(value) = &self.value else {
            return match self.r#type {
                MetricType::Counter => Ok(None),
                MetricType::Gauge | MetricType::Histogram => Err((
                    self.name.referenced,
                    "value is missing: the label that has the number".to_owned(),
                )),
            };
        };
        let number = logql::parse_unwrap(&value.value);
        number.map(Some).map_err(|error| {
            let text = format!(
                "value: {:?} is neither a label nor duration(label) or bytes(label): {}",
                value.value, error.message
            );
            (value.referenced, text)
        })
    }

    fn labels(&self) -> Result<Vec<String>, Problem> {
        let mut names: Vec<String> = Vec::new();
        for label in &self.labels {
            let name = &label.value;
            let wrong = |text: &str| Err((label.referenced, format!("label {name:?}: {text}")));
            if !is_metric_name(name) || name.contains(':') || name.starts_with("__") {
                return wrong("a name has letters, digits and _, no digit first and not two _");
            }
            if names.contains(name) {
                return wrong("it is there twice");
            }
            if self.r#type == MetricType::Histogram && name == "le" {
                return wrong("the bounds of a histogram have this name");
            }
            if names.len() == LABELS_MAX {
                return wrong(&format!("more than {LABELS_MAX} labels"));
            }
            names.push(name.clone());
        }
        Ok(names)
    }

    fn buckets(&self) -> Result<Vec<f64>, Problem> {
        let Some(buckets) = &self.buckets else {
            return Ok(match self.r#type {
                MetricType::Histogram => BUCKETS.to_vec(),
                MetricType::Counter | MetricType::Gauge => Vec::new(),
            });
        };
        let wrong = |text: &str| Err((buckets.referenced, format!("buckets: {text}")));
        if self.r#type != MetricType::Histogram {
            return wrong("only a histogram has them");
        }
        let mut bounds = buckets.value.clone();
        // It is always there.
        bounds.pop_if(|last| *last == f64::INFINITY);
        let ascends = bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|b| b.is_finite());
        match bounds.len() {
            1..=BUCKETS_MAX if ascends => Ok(bounds),
            1..=BUCKETS_MAX => wrong("bounds must be numbers in ascending order"),
            _ => wrong(&format!("1 to {BUCKETS_MAX} bounds")),
        }
    }
}

fn is_metric_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    begins
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}
