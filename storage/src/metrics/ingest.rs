//! From a batch to what of it is stored, decided before anything is written.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Histogram, Labels, SampleBatch, Timestamp};

use super::head::{Head, WINDOW_MS};
use super::wal_encode::Encoder;
use super::wal_histogram::same_bits;
use super::wal_record::{Definitions, NumberedFloat, NumberedHistogram, Planned, Unread};
use crate::AppendReport;
use crate::wal::{Mark, Wal};

/// How far back a batch looks in itself for a late sample of the same instant.
const LATE_LOOK_BACK: usize = 64;

/// Whoever appends holds it.
pub(super) struct Writer {
    pub(super) wal: Wal,
    pub(super) encoder: Encoder,
    pub(super) payload: Vec<u8>,
    pub(super) plan: Plan,
    /// Number of the newest window that a batch began in.
    pub(super) window: i64,
    /// Segments that this start or one before could not read, as long as they are there.
    pub(super) unread: Vec<Unread>,
}

impl Writer {
    /// Begins a segment of the log when `batch` is the first of its window: a window that is in
    /// a block then goes from the log, which drops whole segments, and is not read at a start.
    pub(super) fn begin_window(&mut self, batch: &SampleBatch, now: Timestamp) {
        let float = batch.samples.first().map(|s| s.at);
        let first = float.or_else(|| batch.histograms.first().map(|s| s.at));
        let window = first.map_or(i64::MIN, |t| t.min(now).millis().div_euclid(WINDOW_MS));
        if window > self.window {
            self.window = window;
            self.wal.close_segment();
        }
    }
}

/// What instants a sample may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Latest.
    pub(super) latest: i64,
    /// Of samples that are older than the newest one of their series.
    pub(super) late_from: i64,
    /// Of samples that are behind what is in blocks, though the newest ones of their series.
    pub(super) kept_from: i64,
}

/// How many series there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesLimits {
    pub(super) series_max: usize,
    pub(super) per_target_max: usize,
}

/// Series of a target about how it was scraped, `up` among them, that are stored beyond its bound,
/// and of all targets beyond the bound of all: without them nobody would see that it is down.
const REPORT_SERIES: usize = 16;
const REPORT_SERIES_OF_ALL: usize = 2000;

impl SeriesLimits {
    fn series_for(&self, labels: &Labels) -> usize {
        self.series_max + usize::from(is_report(labels)) * REPORT_SERIES_OF_ALL
    }

    fn per_target_for(&self, labels: &Labels) -> usize {
        self.per_target_max + usize::from(is_report(labels)) * REPORT_SERIES
    }
}

fn is_report(labels: &Labels) -> bool {
    let name = labels.metric_name();
    name == "up" || name.starts_with("scrape_")
}

/// The series of one `job` and `instance` that were refused.
pub(super) type RefusedTargets = HashMap<(String, String), u64, RandomState>;

/// A batch in the making; kept for its buffers.
#[derive(Default)]
pub(super) struct Plan {
    batch: u32,
    segment: u32,
    run: u32,
    /// By series number.
    seen: Vec<Seen>,
    touched: Vec<Touched>,
    pub(super) planned: Planned,
    /// Series whose definition this segment does not have.
    undefined: Vec<u32>,
    undefined_labels: Vec<u32>,
    /// Samples and histograms of series that are not in the head.
    unknown: Vec<Unknown>,
    /// The newest sample in order.
    newest_t: i64,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    /// The batch that last had it, and where in `touched`.
    batch: u32,
    touched: u32,
    /// For the log's encoder.
    hint: u8,
}

/// A series of the batch as it will be after the samples planned so far.
#[derive(Clone, Copy)]
struct Touched {
    last_t: i64,
    /// The newest float, as far as the log has it in this run.
    before: f64,
    /// The newest sample is of this batch.
    is_fresh: bool,
}

#[derive(Clone, Copy)]
enum Unknown {
    Float(usize),
    Histogram(usize),
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl Plan {
    /// Begins a batch that goes to `segment` and `run` of the log.
    pub(super) fn begin(&mut self, segment: u64, run: u32) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.seen.clear();
            self.batch = 1;
        }
        self.segment = segment as u32;
        self.run = run;
        self.touched.clear();
        self.planned.clear();
        self.undefined.clear();
        self.undefined_labels.clear();
        self.unknown.clear();
        self.newest_t = i64::MIN;
    }

    /// The instant of the newest sample planned in order.
    pub(super) fn newest_in_order(&self) -> Option<i64> {
        (self.newest_t > i64::MIN).then_some(self.newest_t)
    }

    /// Plans the samples of series that the head has; gives whether there are others.
    pub(super) fn known(
        &mut self,
        head: &Head,
        batch: &SampleBatch,
        bounds: Bounds,
        report: &mut AppendReport,
    ) -> bool {
        let floor = head.floor_t().unwrap_or(i64::MIN);
        let refused = |t: i64, report: &mut AppendReport| {
            if t > bounds.latest {
                report.too_far_future += 1;
            } else if t < floor && t < bounds.kept_from {
                report.too_old += 1;
            } else {
                return false;
            }
            true
        };
        for (i, s) in batch.samples.iter().enumerate() {
            let t = s.at.millis();
            if refused(t, report) {
                continue;
            }
            match head.find(&s.labels) {
                Some(id) => self.plan(head, id, t, Value::Float(s.value), bounds, report),
                None => self.unknown.push(Unknown::Float(i)),
            }
        }
        for (i, s) in batch.histograms.iter().enumerate() {
            let t = s.at.millis();
            if refused(t, report) {
                continue;
            }
            match head.find(&s.labels) {
                Some(id) => self.plan(head, id, t, Value::Histogram(&s.histogram), bounds, report),
                None => self.unknown.push(Unknown::Histogram(i)),
            }
        }
        !self.unknown.is_empty()
    }

    /// Creates the other series as far as the limits allow, and plans their samples.
    pub(super) fn unknown(
        &mut self,
        head: &mut Head,
        batch: &SampleBatch,
        bounds: Bounds,
        limits: SeriesLimits,
        refused: &mut RefusedTargets,
        report: &mut AppendReport,
    ) {
        for unknown in std::mem::take(&mut self.unknown) {
            let (labels, at, value) = match unknown {
                Unknown::Float(i) => {
                    let s = &batch.samples[i];
                    (&s.labels, s.at, Value::Float(s.value))
                }
                Unknown::Histogram(i) => {
                    let s = &batch.histograms[i];
                    (&s.labels, s.at, Value::Histogram(&s.histogram))
                }
            };
            let id = match head.find(labels) {
                Some(id) => id,
                None if head.series_count() >= limits.series_for(labels) => {
                    report.series_limit += 1;
                    continue;
                }
                None if head.target_series(labels) >= limits.per_target_for(labels) => {
                    report.target_limit += 1;
                    refuse_target(refused, labels);
                    continue;
                }
                None => {
                    report.new_series += 1;
                    head.create(labels)
                }
            };
            self.plan(head, id, at.millis(), value, bounds, report);
        }
    }

    fn plan(
        &mut self,
        head: &Head,
        id: u32,
        t: i64,
        value: Value<'_>,
        bounds: Bounds,
        report: &mut AppendReport,
    ) {
        let Some(series) = head.get(id) else {
            return;
        };
        if self.seen.len() <= id as usize {
            self.seen.resize(id as usize + 1, Seen::default());
        }
        let seen = &mut self.seen[id as usize];
        let is_first = seen.batch != self.batch;
        if is_first {
            seen.batch = self.batch;
            seen.touched = self.touched.len() as u32;
            let is_defined = series.wal_segment == self.segment;
            if !is_defined {
                self.undefined.push(id);
            }
            let is_logged = is_defined && series.wal_run == self.run;
            let late = series.has_others.then(|| head.late.newest(id)).flatten();
            self.touched.push(Touched {
                last_t: late.map_or(series.last_t, |t| t.max(series.last_t)),
                before: if is_logged { series.last_v } else { 0.0 },
                is_fresh: false,
            });
        }
        let floor = head.floor_t().unwrap_or(i64::MIN);
        let touched = &mut self.touched[seen.touched as usize];
        let is_newest = t > touched.last_t;
        if is_newest && t >= floor {
            touched.last_t = t;
            touched.is_fresh = true;
            self.newest_t = self.newest_t.max(t);
            report.appended += 1;
            match value {
                Value::Float(v) => {
                    let before = std::mem::replace(&mut touched.before, v);
                    self.planned.floats.push(NumberedFloat { id, t, v, before });
                }
                Value::Histogram(h) => self.planned.histograms.push(NumberedHistogram {
                    id,
                    t,
                    h: Arc::clone(h),
                    is_late: false,
                }),
            }
            return;
        }
        // The usual case of a sample that is sent again.
        if let Value::Float(v) = value
            && t == touched.last_t
            && !touched.is_fresh
            && !series.has_others
        {
            match v.to_bits() == series.last_v.to_bits() {
                true => report.repeated += 1,
                false => report.duplicate += 1,
            }
            return;
        }
        // A stream that catches up while others have moved on to blocks: it is behind these, and
        // its sender has done nothing wrong.
        let is_behind = is_newest && t >= bounds.kept_from;
        if is_behind {
            touched.last_t = t;
            touched.is_fresh = true;
        } else if t != touched.last_t && t < bounds.late_from {
            match t < floor {
                true => report.too_old += 1,
                false => report.out_of_order += 1,
            }
            return;
        }
        let same = match is_behind {
            true => None,
            false => self.is_same(head, id, t, value),
        };
        match same {
            Some(true) => report.repeated += 1,
            Some(false) => report.duplicate += 1,
            None => {
                report.appended += 1;
                report.late += 1;
                match value {
                    Value::Float(v) => self.planned.late.push(NumberedFloat {
                        id,
                        t,
                        v,
                        before: 0.0,
                    }),
                    Value::Histogram(h) => self.planned.histograms.push(NumberedHistogram {
                        id,
                        t,
                        h: Arc::clone(h),
                        is_late: true,
                    }),
                }
            }
        }
    }

    /// Whether the sample of the series at `t`, in memory or in this batch, is `value`;
    /// `None` when there is none.
    fn is_same(&self, head: &Head, id: u32, t: i64, value: Value<'_>) -> Option<bool> {
        let same_float = |v: f64| matches!(value, Value::Float(w) if v.to_bits() == w.to_bits());
        let same_histogram =
            |h: &Histogram| matches!(value, Value::Histogram(w) if same_bits(h, w));
        let planned = &self.planned;
        let floats = planned.floats.iter().rev().take(LATE_LOOK_BACK);
        let floats = floats.chain(planned.late.iter().rev().take(LATE_LOOK_BACK));
        if let Some(s) = floats.into_iter().find(|s| s.id == id && s.t == t) {
            return Some(same_float(s.v));
        }
        let mut histograms = planned.histograms.iter().rev().take(LATE_LOOK_BACK);
        if let Some(s) = histograms.find(|s| s.id == id && s.t == t) {
            return Some(same_histogram(&s.h));
        }
        let stored = head.at(id, t);
        if let Some(p) = stored.floats.first() {
            return Some(same_float(p.v));
        }
        stored.histograms.first().map(|p| same_histogram(&p.h))
    }

    /// Encodes what was planned; gives the bytes of definitions and the log's mark.
    pub(super) fn encode(
        &mut self,
        head: &Head,
        encoder: &mut Encoder,
        payload: &mut Vec<u8>,
    ) -> (usize, Mark) {
        let mut definitions = Definitions {
            labels: Vec::new(),
            series: Vec::with_capacity(self.undefined.len()),
        };
        for id in &self.undefined {
            let Some(series) = head.get(*id) else {
                continue;
            };
            definitions.series.push((*id, &series.labels));
            for number in &series.labels {
                if let Some(label) = head.postings.label(*number)
                    && label.wal_segment != self.segment
                {
                    self.undefined_labels.push(*number);
                }
            }
        }
        self.undefined_labels.sort_unstable();
        self.undefined_labels.dedup();
        for number in &self.undefined_labels {
            if let Some(label) = head.postings.label(*number) {
                let definition = (*number, &*label.name, &*label.value);
                definitions.labels.push(definition);
            }
        }
        let seen = &mut self.seen;
        let mut spare = 0;
        let bytes = encoder.encode(
            &definitions,
            &self.planned,
            |id, encode| {
                let seen = seen.get_mut(id as usize).map(|s| &mut s.hint);
                encode(seen.unwrap_or(&mut spare));
            },
            payload,
        );
        let mark = Mark {
            until: self.newest_t,
            is_held: self.planned.has_late(),
            undoes: false,
        };
        (bytes, mark)
    }

    /// The log has it: into the head.
    pub(super) fn push(&mut self, head: &mut Head) {
        for id in &self.undefined {
            if let Some(series) = head.get_mut(*id) {
                series.wal_segment = self.segment;
                series.wal_run = 0;
            }
        }
        for number in &self.undefined_labels {
            if let Some(label) = head.postings.label_mut(*number) {
                label.wal_segment = self.segment;
            }
        }
        for s in &self.planned.floats {
            head.push(s.id, s.t, s.v, self.run);
        }
        for s in &self.planned.late {
            head.push_late(s.id, s.t, s.v);
        }
        for s in self.planned.histograms.drain(..) {
            match s.is_late {
                true => head.push_late_histogram(s.id, s.t, s.h),
                false => head.push_histogram(s.id, s.t, s.h),
            }
        }
        // One large batch must not stay in memory for good.
        self.planned.floats.shrink_to(1 << 14);
        self.planned.late.shrink_to(1 << 10);
        self.touched.shrink_to(1 << 14);
    }
}

/// Targets remembered as refused; who comes later is counted all the same.
const REFUSED_TARGETS_MAX: usize = 1000;

fn refuse_target(refused: &mut RefusedTargets, labels: &Labels) {
    let text = |name| labels.get(name).unwrap_or("").to_owned();
    let target = (text("job"), text("instance"));
    if refused.len() < REFUSED_TARGETS_MAX || refused.contains_key(&target) {
        *refused.entry(target).or_default() += 1;
    }
}
