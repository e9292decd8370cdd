//! Series in memory, and an environment that records what rules do.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of it"
)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::series::InMemoryCursor;
use model::{
    Alert, ControlStore, FPoint, HPoint, HistogramSample, Labels, LogEntry, LogReader,
    LogSelection, Matcher, ReadError, SampleBatch, SampleCursor, Samples, Selected, SelectedSeries,
    Selection, SeriesReader, TimeRange, Timestamp,
};
use prometheus_client::registry::Registry;
use query::{Engine, EngineOptions};
use rules::{Environment, EvalReport, Group, GroupDefaults, Groups};

#[derive(Default)]
pub struct Series(
    Mutex<BTreeMap<Labels, Vec<FPoint>>>,
    Mutex<Vec<HistogramSample>>,
);

impl Series {
    pub fn push(&self, labels: &Labels, at: Timestamp, v: f64) {
        let mut map = self.0.lock().unwrap();
        let points = map.entry(labels.clone()).or_default();
        points.push(FPoint { t: at.millis(), v });
        points.sort_by_key(|p| p.t);
    }

    /// The points of a series, as `seconds:value`; a staleness marker is `stale`.
    pub fn points(&self, labels: &Labels) -> String {
        let map = self.0.lock().unwrap();
        let points = map.get(labels).map_or(&[][..], Vec::as_slice);
        points
            .iter()
            .map(|p| {
                let value = if model::is_stale(p.v) {
                    "stale".to_owned()
                } else {
                    p.v.to_string()
                };
                format!("{}:{value}", p.t / 1000)
            })
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A cursor over one histogram.
struct OneHistogram(Option<HPoint>);

impl SampleCursor for OneHistogram {
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        into.histograms.extend(self.0.clone());
        Ok(self.0.take().is_some())
    }
}

impl Series {
    pub fn push_histogram(&self, sample: HistogramSample) {
        self.1.lock().unwrap().push(sample);
    }

    fn histograms(&self, matchers: &[Matcher]) -> Vec<SelectedSeries> {
        let all = self.1.lock().unwrap();
        let wanted = all.iter().filter(|s| holds(matchers, &s.labels));
        wanted
            .map(|s| SelectedSeries {
                labels: s.labels.clone(),
                cursor: Box::new(OneHistogram(Some(HPoint {
                    t: s.at.millis(),
                    h: Arc::clone(&s.histogram),
                }))),
            })
            .collect()
    }
}

fn holds(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers
        .iter()
        .all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

impl SeriesReader for Series {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        let map = self.0.lock().unwrap();
        Ok(map
            .iter()
            .filter(|(labels, _)| holds(selection.matchers, labels))
            .map(|(labels, points)| SelectedSeries {
                labels: labels.clone(),
                cursor: Box::new(InMemoryCursor(Some(points.clone()))),
            })
            .chain(self.histograms(selection.matchers))
            .collect())
    }

    fn series(&self, sets: &[Vec<Matcher>], _: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let map = self.0.lock().unwrap();
        Ok(map
            .keys()
            .filter(|l| sets.is_empty() || sets.iter().any(|s| holds(s, l)))
            .cloned()
            .collect())
    }
}

/// Lines in memory, in the order of time.
#[derive(Default)]
pub struct Lines(Mutex<Vec<(Labels, LogEntry)>>);

impl Lines {
    pub fn push(&self, stream: &str, ms: i64, line: &str) {
        let entry = LogEntry {
            at_ns: ms * 1_000_000,
            line: line.to_owned(),
            metadata: Labels::empty(),
        };
        let mut lines = self.0.lock().unwrap();
        lines.push((labels(stream), entry));
        lines.sort_by_key(|(_, entry)| entry.at_ns);
    }
}

impl LogReader for Lines {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        for (stream, entry) in self.0.lock().unwrap().iter() {
            let inside = (selection.start_ns..selection.end_ns).contains(&entry.at_ns);
            if inside && holds(selection.matchers, stream) && visit(stream, entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(Vec::new())
    }
}

#[derive(Default)]
pub struct TestEnvironment {
    pub series: Series,
    pub lines: Lines,
    /// Of an expression over lines.
    pub log_limits: Mutex<query::logql::Limits>,
    pub sent: Mutex<Vec<Alert>>,
    pub refuse_writes: Mutex<bool>,
    /// Called whenever alerts are handed over.
    pub on_send: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// Since when everything has been collected, in seconds.
    pub collected_at: Mutex<Option<i64>>,
    external_labels: Labels,
}

impl Environment for TestEnvironment {
    fn reader(&self) -> &dyn SeriesReader {
        &self.series
    }

    fn logs(&self) -> &dyn LogReader {
        &self.lines
    }

    fn log_limits(&self) -> query::logql::Limits {
        self.log_limits.lock().unwrap().clone()
    }

    fn append(&self, batch: SampleBatch) -> Result<(), String> {
        if *self.refuse_writes.lock().unwrap() {
            return Err("disk full".to_owned());
        }
        for sample in batch.histograms {
            self.series.push_histogram(sample);
        }
        for sample in batch.samples {
            self.series.push(&sample.labels, sample.at, sample.value);
        }
        Ok(())
    }

    fn send(&self, alerts: Vec<Alert>) {
        if let Some(hear) = &*self.on_send.lock().unwrap() {
            hear();
        }
        self.sent.lock().unwrap().extend(alerts);
    }

    fn collected_at(&self) -> Option<Timestamp> {
        let seconds = *self.collected_at.lock().unwrap();
        seconds.map(|s| Timestamp::from_millis(s * 1000))
    }

    fn external_url(&self) -> &'static str {
        "http://sw"
    }

    fn external_labels(&self) -> &Labels {
        &self.external_labels
    }
}

/// `name{a="b"}` as labels.
pub fn labels(selector: &str) -> Labels {
    Labels::from_pairs(
        query::parse_matchers(selector)
            .unwrap()
            .iter()
            .map(|m| (m.name().to_owned(), m.value().to_owned())),
    )
}

pub fn seconds(s: i64) -> Timestamp {
    Timestamp::from_millis(s * 1000)
}

pub fn defaults() -> GroupDefaults {
    GroupDefaults {
        interval: Duration::from_secs(60),
        ..GroupDefaults::default()
    }
}

/// A rule file under evaluation.
pub struct Bench {
    pub env: TestEnvironment,
    pub groups: Groups,
    pub engine: Engine,
}

impl Bench {
    pub fn new(text: &str, control: &Arc<dyn ControlStore>) -> Bench {
        Bench::with(TestEnvironment::default(), text, control)
    }

    /// A start of the program over data that is there already.
    pub fn with(env: TestEnvironment, text: &str, control: &Arc<dyn ControlStore>) -> Bench {
        let file = rules::file::parse("r.yml", text)
            .map_err(|d| d[0].to_string())
            .unwrap();
        let groups = Groups::load(
            vec![file],
            defaults(),
            Arc::clone(control),
            &mut Registry::default(),
        )
        .unwrap();
        Bench {
            env,
            groups,
            engine: Engine::new(EngineOptions::default()),
        }
    }

    pub fn group(&self) -> Arc<Group> {
        Arc::clone(&self.groups.groups()[0])
    }

    /// Evaluates the first group `s` seconds after the epoch.
    pub fn eval(&self, s: i64) -> EvalReport {
        self.group().eval(seconds(s), &self.engine, &self.env)
    }

    /// Stores a sample.
    pub fn put(&self, selector: &str, s: i64, value: f64) {
        self.env.series.push(&labels(selector), seconds(s), value);
    }

    pub fn points(&self, selector: &str) -> String {
        self.env.series.points(&labels(selector))
    }

    /// Takes what was sent, as `labels starts-ends` in seconds, sorted.
    pub fn sent(&self) -> Vec<String> {
        let mut sent: Vec<String> = std::mem::take(&mut *self.env.sent.lock().unwrap())
            .iter()
            .map(|a| {
                format!(
                    "{} {}-{}",
                    a.labels,
                    a.starts_at.millis() / 1000,
                    a.ends_at.map_or(-1, |e| e.millis() / 1000)
                )
            })
            .collect();
        sent.sort();
        sent
    }

    /// State of the first rule and its alerts, as `state since value`.
    pub fn state(&self) -> String {
        let status = self.group().status();
        let rules::RuleKind::Alerting { alerts, .. } = &status.rules[0].kind else {
            return "recording".to_owned();
        };
        alerts
            .iter()
            .map(|a| {
                format!(
                    "{} {} {}",
                    a.state.as_str(),
                    a.active_at.millis() / 1000,
                    a.value
                )
            })
            .collect::<Vec<_>>()
            .join(", ")
    }

    pub fn error(&self, rule: usize) -> Option<String> {
        self.group().status().rules[rule].last_error.clone()
    }
}
