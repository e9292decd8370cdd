//! The metrics there are, by name and labels.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use model::labels::METRIC_NAME;
use model::{Labels, Timestamp};

use super::counts::{ByWord, count};
use super::mapping::Observer;
use super::summary::Window;
use crate::exposition::Kind;
use crate::exposition::series::format_bound;
use crate::metadata::Said;
use crate::target::Pass;

/// Samples told at a collection; a histogram has a dozen. Series beyond are refused.
pub(super) const SAMPLES_MAX: usize = 40_000;
/// Bytes of names and labels of all series; series beyond are refused.
pub(super) const LABEL_BYTES_MAX: usize = 16 << 20;
/// Bytes of the observations of all summaries; further ones count in sums and counts only.
pub(super) const OBSERVATION_BYTES_MAX: usize = 16 << 20;
/// Bytes of name and labels of one series.
const SERIES_BYTES_MAX: usize = 16 << 10;

/// Of a metric that no mapping describes.
const DEFAULT_HELP: &str = "Metric received by StatsD.";

/// All metrics.
#[derive(Debug, Default)]
pub(super) struct Registry {
    families: BTreeMap<String, Family>,
    samples: usize,
    label_bytes: usize,
    observation_bytes: usize,
    /// Numbers series, so that each has a key of its own for ever.
    last_id: u64,
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    help: String,
    series: HashMap<Labels, Series>,
}

#[derive(Debug)]
struct Series {
    id: u64,
    value: Value,
    /// When something was last received, and how long it stays then; zero for ever.
    touched: Timestamp,
    ttl: Duration,
}

#[derive(Debug)]
enum Value {
    Number(f64),
    Histogram {
        observer: Arc<Observer>,
        /// By bound, not cumulative; the last is beyond all bounds.
        buckets: Box<[u64]>,
        sum: f64,
    },
    Summary {
        observer: Arc<Observer>,
        window: Box<Window>,
        sum: f64,
        count: u64,
    },
}

/// What is done to a series.
#[derive(Debug)]
pub(super) enum Change<'a> {
    /// Counters.
    Add(f64),
    /// Gauges.
    Set(f64),
    /// Gauges too.
    Move(f64),
    /// Timers, histograms, distributions: a value, and how often.
    Observe(f64, u64, &'a Arc<Observer>),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Whole,
    /// Sum and count of a summary know the observation, its quantiles do not: there are too many.
    WithoutQuantiles,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The name is of another type, or a label cannot be one.
    Conflict,
    /// There are too many series.
    Full,
}

/// What is known of a series beside its value.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a [(String, String)],
    pub(super) help: Option<&'a str>,
    pub(super) ttl: Duration,
}

impl Registry {
    /// Does it to the series, which is made unless it is there.
    ///
    /// # Errors
    /// When nothing was done.
    pub(super) fn change(
        &mut self,
        about: &About<'_>,
        change: &Change<'_>,
        at: Timestamp,
    ) -> Result<Done, Refused> {
        let kind = change.kind();
        let labels = labels(about.labels, kind).ok_or(Refused::Conflict)?;
        if let Some(family) = self.families.get_mut(about.name) {
            if family.kind != kind {
                return Err(Refused::Conflict);
            }
            if let Some(series) = family.series.get_mut(&labels) {
                series.touched = at;
                series.ttl = about.ttl;
                return Ok(series.value.change(change, at, &mut self.observation_bytes));
            }
        } else if self.is_taken(about.name, kind) {
            return Err(Refused::Conflict);
        }
        let mut value = Value::new(change);
        let bytes = about.name.len() + labels.heap_bytes();
        let samples = self.samples + value.samples();
        if samples > SAMPLES_MAX
            || bytes > SERIES_BYTES_MAX
            || self.label_bytes + bytes > LABEL_BYTES_MAX
        {
            return Err(Refused::Full);
        }
        let done = value.change(change, at, &mut self.observation_bytes);
        self.samples = samples;
        self.label_bytes += bytes;
        self.last_id += 1;
        let series = Series {
            id: self.last_id,
            value,
            touched: at,
            ttl: about.ttl,
        };
        let family = self.families.entry(about.name.to_owned());
        let family = family.or_insert_with(|| Family {
            kind,
            help: about.help.unwrap_or(DEFAULT_HELP).to_owned(),
            series: HashMap::new(),
        });
        family.series.insert(labels, series);
        Ok(done)
    }

    /// Whether a new family would have samples of the names of another.
    fn is_taken(&self, name: &str, kind: Kind) -> bool {
        let parts = |kind: Kind| match kind {
            Kind::Histogram => &["_sum", "_count", "_bucket"][..],
            Kind::Summary => &["_sum", "_count"][..],
            _ => &[],
        };
        let mut own = parts(kind).iter().map(|part| format!("{name}{part}"));
        let mut bases = ["_sum", "_count", "_bucket"].iter().filter_map(|part| {
            let base = self.families.get(name.strip_suffix(part)?)?;
            parts(base.kind).contains(part).then_some(())
        });
        own.any(|part| self.families.contains_key(&part)) || bases.next().is_some()
    }

    /// Forgets what has not come for too long.
    pub(super) fn expire(&mut self, at: Timestamp) {
        let stays = |series: &Series| {
            series.ttl.is_zero() || series.touched.plus(series.ttl) >= at || series.touched > at
        };
        self.retain(|_, series| stays(series));
    }

    /// Forgets histograms and summaries: they may be made otherwise now.
    pub(super) fn forget_observations(&mut self) {
        self.retain(|kind, _| matches!(kind, Kind::Counter | Kind::Gauge));
    }

    fn retain(&mut self, keep: impl Fn(Kind, &Series) -> bool) {
        let (mut samples, mut bytes, mut observations) = (0, 0, 0);
        self.families.retain(|name, family| {
            let kind = family.kind;
            family.series.retain(|labels, series| {
                let keep = keep(kind, series);
                if keep {
                    samples += series.value.samples();
                    bytes += name.len() + labels.heap_bytes();
                    observations += series.value.observation_bytes();
                }
                keep
            });
            !family.series.is_empty()
        });
        (self.samples, self.label_bytes) = (samples, bytes);
        self.observation_bytes = observations;
    }

    /// Whether quantiles lack observations.
    pub(super) fn is_full_of_observations(&self) -> bool {
        self.observation_bytes >= OBSERVATION_BYTES_MAX
    }

    /// Whether new series are refused.
    pub(super) fn is_full(&self) -> bool {
        // The largest histogram or the longest labels may find no room before.
        self.samples + 300 > SAMPLES_MAX || self.label_bytes + SERIES_BYTES_MAX > LABEL_BYTES_MAX
    }

    /// How many families there are, by type.
    pub(super) fn by_type(&self) -> ByWord {
        let mut all = ByWord::new();
        for word in ["counter", "gauge", "histogram", "summary"] {
            all.insert(word, 0);
        }
        for family in self.families.values() {
            count(&mut all, family.kind.as_str());
        }
        all
    }

    /// Tells all of them.
    pub(super) fn put(&mut self, pass: &mut Pass<'_>) {
        let at = pass.at();
        self.observation_bytes = 0;
        for (name, family) in &mut self.families {
            pass.describe(&Said {
                name,
                kind: family.kind,
                help: &family.help,
                plain_help: false,
                unit: "",
            });
            for (labels, series) in &mut family.series {
                let mut told = Told {
                    pass,
                    name,
                    labels,
                    id: series.id,
                    part: 0,
                };
                told.series(&mut series.value, at);
                self.observation_bytes += series.value.observation_bytes();
            }
        }
    }
}

/// The labels, none of which may be one that the type itself uses.
fn labels(pairs: &[(String, String)], kind: Kind) -> Option<Labels> {
    let own = match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        _ => "",
    };
    let valid = |(label, _): &(String, String)| {
        !label.is_empty() && !label.starts_with("__") && label != own
    };
    let pairs_valid = pairs.iter().all(valid);
    pairs_valid.then(|| Labels::from_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
}

impl Change<'_> {
    fn kind(&self) -> Kind {
        match self {
            Change::Add(_) => Kind::Counter,
            Change::Set(_) | Change::Move(_) => Kind::Gauge,
            Change::Observe(_, _, observer) => match ***observer {
                Observer::Histogram(_) => Kind::Histogram,
                Observer::Summary(_) => Kind::Summary,
            },
        }
    }
}

impl Value {
    /// As it is before anything was done.
    fn new(change: &Change<'_>) -> Value {
        let Change::Observe(_, _, observer) = change else {
            return Value::Number(0.0);
        };
        match &***observer {
            Observer::Histogram(bounds) => Value::Histogram {
                observer: Arc::clone(observer),
                buckets: vec![0; bounds.len() + 1].into(),
                sum: 0.0,
            },
            Observer::Summary(options) => Value::Summary {
                observer: Arc::clone(observer),
                window: Box::new(Window::new(options)),
                sum: 0.0,
                count: 0,
            },
        }
    }

    /// `observations` are the bytes of those of all summaries.
    fn change(&mut self, change: &Change<'_>, at: Timestamp, observations: &mut usize) -> Done {
        match (self, change) {
            (Value::Number(own), Change::Add(by) | Change::Move(by)) => *own += by,
            (Value::Number(own), Change::Set(to)) => *own = *to,
            (
                Value::Histogram {
                    observer,
                    buckets,
                    sum,
                },
                Change::Observe(value, times, _),
            ) => {
                let Observer::Histogram(bounds) = &**observer else {
                    return Done::Whole;
                };
                let bucket = bounds.partition_point(|bound| bound < value);
                if let Some(bucket) = buckets.get_mut(bucket) {
                    *bucket = bucket.saturating_add(*times);
                }
                *sum += value * *times as f64;
            }
            (
                Value::Summary {
                    window, sum, count, ..
                },
                Change::Observe(value, times, _),
            ) => {
                *sum += value * *times as f64;
                *count = count.saturating_add(*times);
                if *observations >= OBSERVATION_BYTES_MAX {
                    return Done::WithoutQuantiles;
                }
                let before = window.bytes();
                window.observe(*value, *times, at);
                *observations = (*observations + window.bytes()).saturating_sub(before);
            }
            // The family's type says what is done to its series.
            _ => {}
        }
        Done::Whole
    }

    /// Bytes of what is kept of observations.
    fn observation_bytes(&self) -> usize {
        match self {
            Value::Summary { window, .. } => window.bytes(),
            _ => 0,
        }
    }

    /// How many samples tell it.
    fn samples(&self) -> usize {
        match self {
            Value::Number(_) => 1,
            Value::Histogram { buckets, .. } => buckets.len() + 2,
            Value::Summary { observer, .. } => match &**observer {
                Observer::Summary(options) => options.objectives.len() + 2,
                Observer::Histogram(_) => 2,
            },
        }
    }
}

/// A series while it is told.
struct Told<'a, 't> {
    pass: &'a mut Pass<'t>,
    name: &'a str,
    labels: &'a Labels,
    id: u64,
    part: usize,
}

impl Told<'_, '_> {
    fn series(&mut self, value: &mut Value, at: Timestamp) {
        match value {
            Value::Number(value) => self.put("", None, *value),
            Value::Histogram {
                observer,
                buckets,
                sum,
            } => {
                let Observer::Histogram(bounds) = &**observer else {
                    return;
                };
                let bounds = bounds.iter().copied().chain([f64::INFINITY]);
                let mut count = 0u64;
                for (bound, bucket) in bounds.zip(buckets.iter()) {
                    count = count.saturating_add(*bucket);
                    self.put("_bucket", Some(("le", bound)), count as f64);
                }
                self.put("_sum", None, *sum);
                self.put("_count", None, count as f64);
            }
            Value::Summary {
                observer,
                window,
                sum,
                count,
            } => {
                let Observer::Summary(options) = &**observer else {
                    return;
                };
                let quantiles = window.quantiles(at);
                for (objective, value) in options.objectives.iter().zip(quantiles) {
                    self.put("", Some(("quantile", objective.quantile)), value);
                }
                self.put("_sum", None, *sum);
                self.put("_count", None, *count as f64);
            }
        }
    }

    /// Labels that were sent win over those of the target, as with `honor_labels`.
    fn put(&mut self, suffix: &str, own: Option<(&str, f64)>, value: f64) {
        let mut key = String::with_capacity(24);
        let _ = write!(key, "{}:{}", self.id, self.part);
        self.part += 1;
        let target = self.pass.target_labels();
        let (name, labels) = (self.name, self.labels);
        let make = || {
            let mut all = target.to_builder();
            for (label, value) in labels {
                all.set(label, value);
            }
            all.set(METRIC_NAME, format!("{name}{suffix}"));
            if let Some((label, number)) = own {
                all.set(label, format_bound(number));
            }
            Ok::<_, std::convert::Infallible>(Some(all.build()))
        };
        let _ = self.pass.add(&key, None, false, value, make);
    }
}

#[cfg(test)]
mod tests;
