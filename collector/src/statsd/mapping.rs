//! Mapping files in statsd_exporter's format: which StatsD metric becomes which of Prometheus.

mod file;
mod glob;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::Regex;

use super::line::Type;
use super::name::escape;
use super::summary::Objective;
pub(crate) use file::MappingFile;
use file::{Action, Entry, MatchType, MetricType, ObserverType};
use glob::Glob;

/// Mappings of one file. Each is looked at for a name that is new.
const MAPPINGS_MAX: usize = 10_000;
/// Names whose mapping is remembered; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 1000;
/// Longer names are looked up each time.
const REMEMBERED_BYTES_MAX: usize = 256;
/// Of one histogram.
const BUCKETS_MAX: usize = 200;
/// Of one summary.
const QUANTILES_MAX: usize = 20;

/// What observations become.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Observer {
    /// With these upper bounds, rising, without `+Inf`.
    Histogram(Vec<f64>),
    /// With these quantiles of the time that has gone by.
    Summary(SummaryOptions),
}

/// How a summary estimates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SummaryOptions {
    pub(super) objectives: Arc<[Objective]>,
    /// How long an observation counts.
    pub(super) max_age: Duration,
    /// In how many steps it leaves.
    pub(super) age_buckets: u32,
    /// Observations kept one by one.
    pub(super) kept_max: usize,
}

/// A mapping ready to be applied.
#[derive(Debug)]
pub(super) struct Rule {
    matcher: Matcher,
    of: Option<Type>,
    name: String,
    labels: Vec<(String, String)>,
    pub(super) drop: bool,
    pub(super) honor_labels: bool,
    pub(super) help: Option<String>,
    pub(super) observer: Arc<Observer>,
    pub(super) ttl: Duration,
    pub(super) scale: f64,
}

#[derive(Debug)]
enum Matcher {
    Glob(Glob),
    Regex(Regex),
}

/// What a name becomes.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) rule: Arc<Rule>,
    /// Escaped; empty when the mapping makes nothing of it.
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
}

/// All mappings, and what was found lately.
#[derive(Debug)]
pub(super) struct Mapper {
    rules: Vec<Arc<Rule>>,
    /// Globs by the number of their pieces, in the order of the file.
    globs: HashMap<usize, Vec<Arc<Rule>>>,
    ordered: bool,
    /// What unmapped observations become.
    pub(super) observer: Arc<Observer>,
    /// How long unmapped series stay; zero for ever.
    pub(super) ttl: Duration,
    remembered: HashMap<(Type, Box<str>), Option<Arc<Mapped>>>,
}

impl Mapper {
    /// # Errors
    /// The first mapping that cannot be used.
    pub(super) fn new(file: &MappingFile) -> Result<Mapper, String> {
        if file.mappings.len() > MAPPINGS_MAX {
            return Err(format!("more than {MAPPINGS_MAX} mappings"));
        }
        let defaults = &file.defaults;
        let observer = |entry: Option<&Entry>| file.observer(entry).map(Arc::new);
        let mut rules = Vec::with_capacity(file.mappings.len());
        for (at, entry) in file.mappings.iter().enumerate() {
            let rule = entry
                .check()
                .and_then(|()| {
                    Ok(Rule {
                        matcher: matcher(entry, defaults.match_type)?,
                        of: entry.match_metric_type.map(MetricType::of),
                        name: entry.name.clone().unwrap_or_default(),
                        labels: entry.labels.clone().into_iter().collect(),
                        drop: entry.action == Action::Drop,
                        honor_labels: entry.honor_labels,
                        help: entry.help.clone().filter(|help| !help.is_empty()),
                        observer: observer(Some(entry))?,
                        ttl: entry.ttl.filter(|t| !t.is_zero()).unwrap_or(defaults.ttl),
                        scale: entry.scale.unwrap_or(1.0),
                    })
                })
                .map_err(|e| format!("mapping {} ({:?}): {e}", at + 1, entry.r#match))?;
            rules.push(Arc::new(rule));
        }
        let mut globs: HashMap<usize, Vec<Arc<Rule>>> = HashMap::new();
        for rule in &rules {
            if let Matcher::Glob(glob) = &rule.matcher {
                globs.entry(glob.len()).or_default().push(Arc::clone(rule));
            }
        }
        Ok(Mapper {
            rules,
            globs,
            ordered: !defaults.glob_disable_ordering,
            observer: observer(None)?,
            ttl: defaults.ttl,
            remembered: HashMap::new(),
        })
    }

    /// How many mappings there are.
    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    /// What a name of this type becomes; `None` when no mapping is for it.
    pub(super) fn map(&mut self, name: &str, of: Type) -> Option<Arc<Mapped>> {
        if self.rules.is_empty() {
            return None;
        }
        if name.len() > REMEMBERED_BYTES_MAX {
            return self.find(name, of).map(Arc::new);
        }
        let key = (of, Box::from(name));
        if let Some(known) = self.remembered.get(&key) {
            return known.clone();
        }
        let found = self.find(name, of).map(Arc::new);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(key, found.clone());
        found
    }

    /// Globs come before expressions, wherever in the file they are; as in statsd_exporter.
    fn find(&self, name: &str, of: Type) -> Option<Mapped> {
        let fits = |rule: &&Arc<Rule>| rule.of.is_none_or(|wanted| wanted == of);
        let pieces: Vec<&str> = name.split('.').collect();
        let globs = self.globs.get(&pieces.len()).into_iter().flatten();
        let mut globs = globs.filter(fits).filter_map(|rule| match &rule.matcher {
            Matcher::Glob(glob) => Some((rule, glob, glob.captures(&pieces)?)),
            Matcher::Regex(_) => None,
        });
        let glob = match self.ordered {
            true => globs.next(),
            // The one whose first star comes last; the earlier of equals.
            false => globs.reduce(|best, next| if next.1.is_finer(best.1) { next } else { best }),
        };
        if let Some((rule, _, captures)) = glob {
            let fill = |template: &str| glob::fill(template, &captures);
            return Some(rule.mapped(fill));
        }
        self.rules.iter().filter(fits).find_map(|rule| {
            let Matcher::Regex(regex) = &rule.matcher else {
                return None;
            };
            regex.is_match(name).then(|| {
                let fill = |template: &str| regex.expand(name, template).unwrap_or_default();
                rule.mapped(fill)
            })
        })
    }
}

impl Rule {
    fn mapped(self: &Arc<Rule>, fill: impl Fn(&str) -> String) -> Mapped {
        let labels = self.labels.iter();
        Mapped {
            rule: Arc::clone(self),
            name: escape(&fill(&self.name)).into_owned(),
            labels: labels.map(|(k, v)| (k.clone(), fill(v))).collect(),
        }
    }
}

fn matcher(entry: &Entry, default: MatchType) -> Result<Matcher, String> {
    match entry.match_type.unwrap_or(default) {
        MatchType::Glob => Glob::new(&entry.r#match).map(Matcher::Glob),
        MatchType::Regex => Regex::unanchored(&entry.r#match)
            .map(Matcher::Regex)
            .map_err(|e| e.to_string()),
    }
}

impl MappingFile {
    /// What observations of a mapping become, or of names without one.
    fn observer(&self, entry: Option<&Entry>) -> Result<Observer, String> {
        let defaults = &self.defaults;
        let own = entry.and_then(Entry::observer_type);
        match own.or(defaults.observer_type()).unwrap_or_default() {
            ObserverType::Histogram => {
                let own = entry.and_then(Entry::buckets);
                let buckets = own.or(defaults.buckets()).unwrap_or(&DEFAULT_BUCKETS);
                let rise = buckets.is_sorted_by(|a, b| a < b);
                if !rise || buckets.iter().any(|b| b.is_nan()) || buckets.len() > BUCKETS_MAX {
                    return Err(format!(
                        "buckets must rise, and be at most {BUCKETS_MAX}: {buckets:?}"
                    ));
                }
                let finite = buckets.iter().filter(|b| **b != f64::INFINITY);
                Ok(Observer::Histogram(finite.copied().collect()))
            }
            ObserverType::Summary => {
                let options = entry.and_then(|e| e.summary_options.as_ref());
                let more = &defaults.summary_options;
                let own = entry.and_then(Entry::quantiles).or(defaults.quantiles());
                let objectives: Arc<[Objective]> = match own {
                    Some(written) => written.iter().map(|q| q.objective()).collect(),
                    None => DEFAULT_QUANTILES.into(),
                };
                let valid = |o: &Objective| {
                    (0.0..=1.0).contains(&o.quantile) && (0.0..1.0).contains(&o.error)
                };
                if !objectives.iter().all(valid) || objectives.len() > QUANTILES_MAX {
                    return Err(format!(
                        "quantiles and their errors must be between 0 and 1, and at most {QUANTILES_MAX}"
                    ));
                }
                let age = |o: &file::SummaryOptions| o.max_age.filter(|age| !age.is_zero());
                let count = |o: &file::SummaryOptions| o.age_buckets.filter(|n| *n > 0);
                let kept = |o: &file::SummaryOptions| o.buf_cap.filter(|n| *n > 0);
                let max_age = options.and_then(age).or(more.as_ref().and_then(age));
                let age_buckets = options.and_then(count).or(more.as_ref().and_then(count));
                let kept_max = options.and_then(kept).or(more.as_ref().and_then(kept));
                Ok(Observer::Summary(SummaryOptions {
                    objectives,
                    max_age: max_age.unwrap_or(DEFAULT_MAX_AGE),
                    age_buckets: age_buckets
                        .unwrap_or(DEFAULT_AGE_BUCKETS)
                        .min(AGE_BUCKETS_MAX),
                    kept_max: kept_max.map_or(KEPT_MAX, |n| (n as usize).min(KEPT_MAX)),
                }))
            }
        }
    }
}

/// Those of Prometheus' client library for Go, as are the other defaults.
const DEFAULT_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const DEFAULT_QUANTILES: [Objective; 3] = [
    Objective::new(0.5, 0.05),
    Objective::new(0.9, 0.01),
    Objective::new(0.99, 0.001),
];
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(600);
const DEFAULT_AGE_BUCKETS: u32 = 5;
/// More would multiply what a summary holds.
const AGE_BUCKETS_MAX: u32 = 60;
/// Observations that a summary keeps one by one before it estimates: 12 KB.
const KEPT_MAX: usize = 500;

#[cfg(test)]
mod tests;
