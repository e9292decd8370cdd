//! Samples from lines: a number and the series it belongs to.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::{Labels, LogEntry, Timestamp};

use super::EvalError;
use super::source::{Seen, Source};
use crate::logql::ast::{Grouping, LogRange, RangeOp};
use crate::logql::hints::Hints;
use crate::logql::labels::{ERROR_LABEL, LineLabels, PRESERVE_ERROR_LABEL};
use crate::logql::pipeline::Pipeline;
use crate::logql::sampler::Number;

/// Bytes a series takes besides its labels.
pub(super) const SERIES_BYTES: usize = 128;

/// Makes samples of lines.
pub(super) struct Extractor {
    pipeline: Pipeline,
    labels: LineLabels,
    seen: Seen,
    grouping: Option<Grouping>,
    number: Option<Number>,
    counts_bytes: bool,
    series: SeriesTable,
    /// The series of lines that stages only let pass or not.
    known: Known,
}

/// Series by the labels of stream and line.
#[derive(Default)]
struct Known(HashTable<(u64, Labels, Labels, u32)>);

/// Metadata may be different in each line; then remembering does not help.
const KNOWN_MAX: usize = 1024;

impl Known {
    fn hash(stream: &Labels, metadata: &Labels) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        stream.hash(&mut hasher);
        metadata.hash(&mut hasher);
        hasher.finish()
    }

    fn get(&self, hash: u64, stream: &Labels, metadata: &Labels) -> Option<u32> {
        let same = |(h, s, m, _): &(u64, Labels, Labels, u32)| {
            *h == hash && (s.is_same(stream) || s == stream) && m == metadata
        };
        self.0.find(hash, same).map(|(.., series)| *series)
    }

    fn put(&mut self, hash: u64, stream: &Labels, metadata: &Labels, series: u32) {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let known = (hash, stream.clone(), metadata.clone(), series);
        self.0.insert_unique(hash, known, |(hash, ..)| *hash);
    }
}

/// Series by their labels.
#[derive(Default)]
pub(super) struct SeriesTable {
    pub(super) labels: Vec<Labels>,
    by_hash: HashTable<(u64, u32)>,
}

impl SeriesTable {
    /// The number of the series with these labels, sorted by name.
    fn of_pairs(&mut self, pairs: &[(&str, &str)]) -> u32 {
        let hash = hash_of(pairs.iter().copied());
        let labels = &self.labels;
        let same = |(h, i): &(u64, u32)| {
            *h == hash && labels[*i as usize].iter().eq(pairs.iter().copied())
        };
        if let Some((_, i)) = self.by_hash.find(hash, same) {
            return *i;
        }
        self.add(hash, Labels::from_sorted(pairs.iter().copied()))
    }

    /// The number of the series with these labels.
    pub(super) fn of(&mut self, wanted: &Labels) -> u32 {
        let hash = hash_of(wanted.iter());
        let labels = &self.labels;
        let same = |(h, i): &(u64, u32)| *h == hash && labels[*i as usize] == *wanted;
        if let Some((_, i)) = self.by_hash.find(hash, same) {
            return *i;
        }
        self.add(hash, wanted.clone())
    }

    fn add(&mut self, hash: u64, labels: Labels) -> u32 {
        let number = self.labels.len() as u32;
        self.labels.push(labels);
        self.by_hash
            .insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number
    }
}

fn hash_of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for pair in pairs {
        pair.hash(&mut hasher);
    }
    hasher.finish()
}

impl Extractor {
    /// For a function over a window, its series grouped so.
    pub(super) fn new(
        op: RangeOp,
        range: &LogRange,
        grouping: Option<&Grouping>,
        now: Timestamp,
    ) -> Result<Self, EvalError> {
        let pipeline = Pipeline::new(&range.selector.stages, now)?;
        let mut grouping = grouping.cloned();
        let mut names = pipeline.required_names();
        let mut number = None;
        if op == RangeOp::Absent {
            // Whether there is a line does not depend on its labels.
            grouping = Some(Grouping::default());
        }
        let mut label = "";
        if let Some(u) = &range.unwrap {
            let made = Number::new(u)?;
            made.names(&mut names);
            // The number is no label of the series, unless the query groups by it.
            match &mut grouping {
                Some(g) if g.without => g.labels.push(u.label.clone()),
                Some(_) => {}
                None => {
                    grouping = Some(Grouping {
                        without: true,
                        labels: vec![u.label.clone()],
                    });
                }
            }
            label = &u.label;
            number = Some(made);
        }
        let hints = Hints::of(&names, grouping.as_ref(), label);
        Ok(Extractor {
            pipeline,
            labels: LineLabels::new(hints),
            seen: Seen::default(),
            grouping,
            number,
            counts_bytes: matches!(op, RangeOp::Bytes | RangeOp::BytesRate),
            series: SeriesTable::default(),
            known: Known::default(),
        })
    }

    /// Whether samples depend on what lines say.
    pub(super) fn reads_texts(&self) -> bool {
        !self.pipeline.is_empty() || self.number.is_some() || self.counts_bytes
    }

    /// The sample of a line; `None` when it has none.
    pub(super) fn sample(
        &mut self,
        source: &Source<'_>,
        stream: &Labels,
        entry: &LogEntry,
    ) -> Option<(u32, f64)> {
        let is_plain = self.number.is_none() && self.pipeline.only_filters_lines();
        if !is_plain {
            self.labels.begin(stream, &entry.metadata);
        }
        let line = self
            .pipeline
            .run(entry.at_ns, &entry.line, &mut self.labels)?;
        let value = match &self.number {
            None if self.counts_bytes => line.len() as f64,
            None => 1.0,
            Some(number) => number.of(&mut self.labels)?,
        };
        if !self.seen.is_new(stream, entry) {
            return None;
        }
        source.count_kept();
        let mut hash = 0;
        if is_plain {
            hash = Known::hash(stream, &entry.metadata);
            if let Some(series) = self.known.get(hash, stream, &entry.metadata) {
                return Some((series, value));
            }
            self.labels.begin(stream, &entry.metadata);
        }
        let before = self.series.labels.len();
        let series = if self.grouping.is_none() && self.labels.is_unchanged() {
            self.series.of(self.labels.base())
        } else {
            let mut pairs = Vec::new();
            self.labels.grouped(self.grouping.as_ref(), &mut pairs);
            self.series.of_pairs(&pairs)
        };
        if self.series.labels.len() > before {
            let labels = &self.series.labels[series as usize];
            source.hold(SERIES_BYTES + labels.heap_bytes());
        }
        if is_plain {
            self.known.put(hash, stream, &entry.metadata, series);
        }
        Some((series, value))
    }

    /// The series found.
    pub(super) fn into_series(self) -> Vec<Labels> {
        self.series.labels
    }

    /// The series found by now.
    pub(super) fn series(&self) -> &[Labels] {
        &self.series.labels
    }
}

/// The error of a series whose lines could not be parsed, unless the query asks for errors.
pub(super) fn check_error(labels: &Labels) -> Result<(), EvalError> {
    let Some(error) = labels.get(ERROR_LABEL) else {
        return Ok(());
    };
    if labels.get(PRESERVE_ERROR_LABEL) == Some("true") {
        return Ok(());
    }
    Err(EvalError::Failed(format!(
        "pipeline error: '{error}' for series: '{labels}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    )))
}
