//! What every target has in common, scraped or our own: a series cache, `up` and the other
//! report series, staleness markers, its place in the status.

use std::sync::Arc;
use std::time::Duration;

use model::labels::METRIC_NAME;
use model::{Histogram, HistogramSample, Labels, STALE_NAN, Sample, SampleBatch, Timestamp};

use crate::Status;
use crate::cache::{Lookup, Seen, SeriesCache};
use crate::discovery::Advice;
use crate::metadata::{Said, TargetMetadata};
use crate::status::{TargetHealth, TargetStatus};

/// Bytes of all names and values of one series, whatever told of it; as for remote write. People's
/// have some hundreds.
pub(crate) const LABEL_BYTES_MAX: usize = 32 << 10;

/// Whether a series has at most [`LABEL_BYTES_MAX`].
///
/// # Errors
/// When not; the text names its metric.
pub(crate) fn check_label_bytes(labels: &Labels) -> Result<(), String> {
    let bytes: usize = labels.iter().map(|(n, v)| n.len() + v.len()).sum();
    if bytes <= LABEL_BYTES_MAX {
        return Ok(());
    }
    let metric = labels.metric_name();
    Err(format!(
        "label bytes exceeded (metric: {metric:.50}, bytes of all labels: {bytes}, limit: {LABEL_BYTES_MAX})"
    ))
}

/// One target from its first collection to its removal.
pub(crate) struct Target {
    pub(crate) pool: String,
    pub(crate) url: String,
    pub(crate) labels: Labels,
    pub(crate) status: Status,
    cache: SeriesCache,
    metadata: TargetMetadata,
    report: [Labels; REPORT.len()],
    /// Whether report series were written, so that removal has something to end.
    reported: bool,
    /// Capacity for the next batch.
    expected: usize,
    /// Of a target that was found and not written down.
    found: Option<Found>,
}

/// A target nobody wrote down tells nothing before it has answered once: what cannot be read is
/// shown in the status, and is no alarm.
struct Found {
    advice: Option<Advice>,
    answered: bool,
}

/// Written after every collection, in this order.
const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// A collection under way.
pub(crate) struct Pass<'t> {
    cache: &'t mut SeriesCache,
    metadata: &'t TargetMetadata,
    status: &'t Status,
    target_labels: &'t Labels,
    at: Timestamp,
    key: String,
    pub(crate) samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    /// Samples offered.
    pub(crate) scraped: usize,
    /// Those not dropped by relabelling.
    pub(crate) kept: usize,
    /// Series the last collection did not have.
    pub(crate) added: usize,
    /// Series that came twice.
    pub(crate) duplicates: usize,
    /// Label bytes of series that the cache did not know.
    pub(crate) new_label_bytes: usize,
    /// Samples of ours left out for the length of their labels, and the metric of the first.
    too_long: Option<(usize, String)>,
}

/// The figures of a pass.
pub(crate) struct Collected {
    pub(crate) samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    scraped: usize,
    kept: usize,
    added: usize,
    duplicates: usize,
    /// Why the target counts as down although there are samples.
    pub(crate) problem: Option<String>,
    /// What the status shows beside a target that counts as up.
    pub(crate) remark: Option<String>,
}

/// Where a source of ours puts samples: a pass, or an update between two passes.
pub(crate) trait Sink {
    /// Adds a sample: a name, its labels in a fixed order, a value.
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64);
}

/// Samples that do not wait for the next tick.
pub(crate) struct Update<'t> {
    cache: &'t mut SeriesCache,
    target_labels: &'t Labels,
    at: Timestamp,
    key: String,
    samples: Vec<Sample>,
}

impl Update<'_> {
    pub(crate) fn done(self) -> SampleBatch {
        SampleBatch::from(self.samples)
    }
}

impl Sink for Update<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        // What is left out here is told of at the next pass.
        if !fits(self.target_labels, name, labels) {
            return;
        }
        write_key(&mut self.key, name, labels);
        let make = || join(self.target_labels, name, labels);
        self.samples.push(Sample {
            labels: self.cache.find_between(&self.key, make),
            at: self.at,
            value,
        });
    }
}

impl Sink for Pass<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let added = self.added;
        self.put_described(name, labels, value);
        if self.added > added {
            self.metadata.note_own(name, self.status.descriptions());
        }
    }
}

/// Whether a series of ours has at most [`LABEL_BYTES_MAX`].
fn fits(target_labels: &Labels, name: &str, labels: &[(&str, &str)]) -> bool {
    let own: usize = labels.iter().map(|(n, v)| n.len() + v.len()).sum();
    METRIC_NAME.len() + name.len() + own + target_labels.heap_bytes() <= LABEL_BYTES_MAX
}

fn write_key(key: &mut String, name: &str, labels: &[(&str, &str)]) {
    key.clear();
    key.push_str(name);
    for (label, value) in labels {
        // A control character ends each piece, so no two sets share a key.
        key.push('\u{1}');
        key.push_str(label);
        key.push('\u{2}');
        key.push_str(value);
    }
}

fn join(target_labels: &Labels, name: &str, labels: &[(&str, &str)]) -> Labels {
    let mut builder = target_labels.to_builder();
    builder.set(METRIC_NAME, name);
    for (label, value) in labels {
        builder.set(*label, *value);
    }
    builder.build()
}

impl Target {
    pub(crate) fn new(
        pool: &str,
        url: &str,
        labels: Labels,
        discovered_labels: Labels,
        (interval, timeout): (Duration, Duration),
        status: Status,
    ) -> Target {
        let metadata = TargetMetadata::default();
        let shown = TargetStatus {
            pool: pool.to_owned(),
            labels: labels.clone(),
            discovered_labels,
            url: url.to_owned(),
            health: TargetHealth::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_duration: Duration::ZERO,
            interval,
            timeout,
            optional: false,
            notes: Vec::new(),
        };
        status.set_target(shown, metadata.clone());
        let report = REPORT.map(|name| {
            let mut with_name = labels.to_builder();
            with_name.set(METRIC_NAME, name);
            with_name.build()
        });
        Target {
            pool: pool.to_owned(),
            url: url.to_owned(),
            labels,
            status,
            cache: SeriesCache::new(),
            metadata,
            report,
            reported: false,
            expected: 0,
            found: None,
        }
    }

    /// Makes it one that was found and not written down.
    pub(crate) fn nobody_asked_for(&mut self, advice: Option<Advice>) {
        self.found = Some(Found {
            advice,
            answered: false,
        });
        self.status
            .set_optional(&self.pool, &self.labels, &self.url, true);
    }

    /// Whether it was found and not written down, and has not answered yet.
    pub(crate) fn never_answered(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.answered)
    }

    /// Goes on with another's series: what it had and this one has not will vanish properly.
    pub(crate) fn take_over(&mut self, old: Target) {
        self.cache = old.cache;
        self.cache.forget_keys();
        self.metadata.adopt(&old.metadata);
        self.reported = old.reported;
        if let (Some(found), true) = (&mut self.found, old.found.is_none_or(|f| f.answered)) {
            found.answered = true;
            self.status
                .set_optional(&self.pool, &self.labels, &self.url, false);
        }
    }

    /// What is left out although the target answers, each with the line that would change it.
    pub(crate) fn set_notes(&self, notes: Vec<String>) {
        self.status
            .set_notes(&self.pool, &self.labels, &self.url, notes);
    }

    /// Starts a collection whose samples are true at `at`.
    pub(crate) fn pass(&mut self, at: Timestamp) -> Pass<'_> {
        self.metadata.next_pass();
        Pass {
            cache: &mut self.cache,
            metadata: &self.metadata,
            status: &self.status,
            target_labels: &self.labels,
            at,
            key: String::new(),
            samples: Vec::with_capacity(self.expected + REPORT.len()),
            histograms: Vec::new(),
            scraped: 0,
            kept: 0,
            added: 0,
            duplicates: 0,
            new_label_bytes: 0,
            too_long: None,
        }
    }

    /// Starts an update between two collections.
    pub(crate) fn update(&mut self, at: Timestamp) -> Update<'_> {
        Update {
            cache: &mut self.cache,
            target_labels: &self.labels,
            at,
            key: String::new(),
            samples: Vec::new(),
        }
    }

    /// Ends a collection: adds staleness markers and the report.
    pub(crate) fn finish(
        &mut self,
        at: Timestamp,
        took: Duration,
        result: Result<Collected, &str>,
    ) -> SampleBatch {
        let failed = result.is_err();
        let mut error = match &result {
            Ok(collected) => collected.problem.clone(),
            Err(e) => Some((*e).to_owned()),
        };
        if let Some(found) = &mut self.found {
            if let (Some(error), Some(advice)) = (&mut error, &found.advice) {
                *error = format!("{error} — {}", advice.about(error));
            }
            match &error {
                Some(error) if !found.answered => {
                    self.cache.fail(|_, _| {});
                    self.status.record_scrape(
                        &self.pool,
                        &self.labels,
                        &self.url,
                        at,
                        took,
                        Err(error),
                    );
                    return SampleBatch::default();
                }
                None if !found.answered => {
                    found.answered = true;
                    self.status
                        .set_optional(&self.pool, &self.labels, &self.url, false);
                }
                _ => {}
            }
        }
        let telemetry = self.status.telemetry();
        let remark = match &result {
            Ok(collected) => collected.remark.clone(),
            Err(_) => None,
        };
        let (mut batch, figures) = match result {
            Ok(c) => {
                self.expected = c.samples.len();
                telemetry.duplicate_samples.inc_by(c.duplicates as u64);
                let batch = SampleBatch {
                    samples: c.samples,
                    histograms: c.histograms,
                };
                (batch, [c.scraped, c.kept, c.added])
            }
            Err(_) => (SampleBatch::default(), [0; 3]),
        };
        let end = |labels: &Labels, histogram| mark(&mut batch, labels, histogram, at);
        match failed {
            false => self.cache.commit(end),
            true => self.cache.fail(end),
        }
        let up = if error.is_none() { 1.0 } else { 0.0 };
        let [scraped, kept, added] = figures.map(|n| n as f64);
        let values = [up, took.as_secs_f64(), scraped, kept, added];
        batch.samples.extend(
            self.report
                .iter()
                .zip(values)
                .map(|(labels, value)| Sample {
                    labels: labels.clone(),
                    at,
                    value,
                }),
        );
        self.reported = true;
        self.status.record_scrape(
            &self.pool,
            &self.labels,
            &self.url,
            at,
            took,
            match &error {
                Some(error) => Err(error),
                None => Ok(remark.as_deref().unwrap_or_default()),
            },
        );
        telemetry.samples.inc_by(len(&batch));
        batch
    }

    /// As [`Target::finish`], of a target that is not there at all: nothing is up or down.
    pub(crate) fn finish_without_report(
        &mut self,
        at: Timestamp,
        took: Duration,
        collected: Collected,
        why: &str,
    ) -> SampleBatch {
        let mut batch = SampleBatch {
            samples: collected.samples,
            histograms: collected.histograms,
        };
        self.cache
            .commit(|labels, histogram| mark(&mut batch, labels, histogram, at));
        self.end_report(at, &mut batch.samples);
        self.status
            .record_absence(&self.pool, &self.labels, &self.url, at, took, why);
        self.status.telemetry().samples.inc_by(len(&batch));
        batch
    }

    /// Ends every series of the target.
    pub(crate) fn end(&mut self, at: Timestamp) -> SampleBatch {
        let mut batch = SampleBatch::default();
        self.cache
            .fail(|labels, histogram| mark(&mut batch, labels, histogram, at));
        self.end_report(at, &mut batch.samples);
        self.status
            .remove_target(&self.pool, &self.labels, &self.url);
        batch
    }

    /// Ends the series about the target itself.
    fn end_report(&mut self, at: Timestamp, samples: &mut Vec<Sample>) {
        if std::mem::take(&mut self.reported) {
            samples.extend(self.report.iter().map(|labels| marker(labels, at)));
        }
    }
}

/// Samples of both kinds.
fn len(batch: &SampleBatch) -> u64 {
    (batch.samples.len() + batch.histograms.len()) as u64
}

/// Says that a series has ended, with a value of the kind that it had.
fn mark(batch: &mut SampleBatch, labels: &Labels, histogram: bool, at: Timestamp) {
    if !histogram {
        batch.samples.push(marker(labels, at));
        return;
    }
    batch.histograms.push(HistogramSample {
        labels: labels.clone(),
        at,
        histogram: Arc::new(Histogram {
            sum: STALE_NAN,
            ..Histogram::default()
        }),
    });
}

fn marker(labels: &Labels, at: Timestamp) -> Sample {
    Sample {
        labels: labels.clone(),
        at,
        value: STALE_NAN,
    }
}

impl<'t> Pass<'t> {
    /// The target's labels.
    pub(crate) fn target_labels(&self) -> &'t Labels {
        self.target_labels
    }

    /// When its samples are true.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Notes what the target says about a family.
    pub(crate) fn describe(&self, said: &Said<'_>) {
        self.metadata.note(said, self.status.descriptions());
    }

    /// As [`Sink::put`], of a family that [`Pass::describe`] tells about.
    pub(crate) fn put_described(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if !fits(self.target_labels, name, labels) {
            self.too_long.get_or_insert_with(|| (0, name.to_owned())).0 += 1;
            return;
        }
        let mut key = std::mem::take(&mut self.key);
        write_key(&mut key, name, labels);
        let target_labels = self.target_labels;
        let make = || Ok::<_, std::convert::Infallible>(Some(join(target_labels, name, labels)));
        let _ = self.add(&key, None, false, value, make);
        self.key = key;
    }

    /// As [`Pass::put_described`], of a counter that is told for the first time and was 0 at `since`.
    pub(crate) fn put_begun(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
        since: Timestamp,
    ) {
        if fits(self.target_labels, name, labels) {
            let mut key = std::mem::take(&mut self.key);
            write_key(&mut key, name, labels);
            let target_labels = self.target_labels;
            for (at, value) in [(since, 0.0), (self.at, value)] {
                let make =
                    || Ok::<_, std::convert::Infallible>(Some(join(target_labels, name, labels)));
                let _ = self.add(&key, Some(at), true, value, make);
            }
            self.key = key;
        }
    }

    /// Adds a sample by its key; `make` gives the labels the first time, `None` to drop the series.
    pub(crate) fn add<E>(
        &mut self,
        key: &str,
        own_time: Option<Timestamp>,
        tracked: bool,
        value: f64,
        make: impl FnOnce() -> Result<Option<Labels>, E>,
    ) -> Result<(), E> {
        if let Some(labels) = self.series(key, own_time, tracked, false, make)? {
            self.samples.push(Sample {
                labels,
                at: own_time.unwrap_or(self.at),
                value,
            });
        }
        Ok(())
    }

    /// As [`Pass::add`], of a native histogram. It counts as one sample.
    pub(crate) fn add_histogram<E>(
        &mut self,
        key: &str,
        own_time: Option<Timestamp>,
        tracked: bool,
        histogram: Histogram,
        make: impl FnOnce() -> Result<Option<Labels>, E>,
    ) -> Result<(), E> {
        if let Some(labels) = self.series(key, own_time, tracked, true, make)? {
            self.histograms.push(HistogramSample {
                labels,
                at: own_time.unwrap_or(self.at),
                histogram: Arc::new(histogram),
            });
        }
        Ok(())
    }

    /// The series of a sample that is offered; `None` when it is not kept.
    fn series<E>(
        &mut self,
        key: &str,
        own_time: Option<Timestamp>,
        tracked: bool,
        histogram: bool,
        make: impl FnOnce() -> Result<Option<Labels>, E>,
    ) -> Result<Option<Labels>, E> {
        self.scraped += 1;
        let new_label_bytes = &mut self.new_label_bytes;
        let count = |made: &Option<Labels>| {
            *new_label_bytes += made.as_ref().map_or(0, Labels::heap_bytes);
        };
        let counted = || make().inspect(count);
        let seen = Seen {
            tracked: own_time.is_none() || tracked,
            histogram,
        };
        let labels = match self.cache.find(key, seen, counted)? {
            Lookup::Dropped => return Ok(None),
            Lookup::Series { labels, added } => {
                self.added += usize::from(added);
                labels
            }
            // With times of their own, several samples of a series are in order.
            Lookup::Duplicate(labels) if own_time.is_some() => labels,
            Lookup::Duplicate(_) => {
                self.kept += 1;
                self.duplicates += 1;
                return Ok(None);
            }
        };
        self.kept += 1;
        Ok(Some(labels))
    }

    /// What was collected.
    pub(crate) fn done(self) -> Collected {
        Collected {
            samples: self.samples,
            histograms: self.histograms,
            scraped: self.scraped,
            kept: self.kept,
            added: self.added,
            duplicates: self.duplicates,
            problem: None,
            remark: self.too_long.map(|(count, first)| {
                format!("left out, with more than {LABEL_BYTES_MAX} bytes of labels: {count} series, the first of {first:.50}")
            }),
        }
    }
}

/// Samples as text, for tests: `name{label=value} 1`.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Vec<String>);

#[cfg(test)]
impl Sink for Lines {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().filter(|(_, v)| !v.is_empty());
        let labels: Vec<String> = labels.map(|(k, v)| format!("{k}={v}")).collect();
        let labels = match &labels[..] {
            [] => String::new(),
            some => format!("{{{}}}", some.join(",")),
        };
        self.0.push(format!("{name}{labels} {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_found_is_silent_until_it_has_answered_once() {
        let status = Status::default();
        let timing = (Duration::from_secs(15), Duration::from_secs(10));
        let none = Labels::empty;
        let mut target = Target::new("p", "u", none(), none(), timing, status.clone());
        target.nobody_asked_for(Some(Advice::always("write a line")));
        let at = Timestamp::from_millis(1);
        let mut collect = |problem: Option<&str>| {
            let mut pass = target.pass(at);
            pass.put("a", &[], 1.0);
            let mut collected = pass.done();
            collected.problem = problem.map(str::to_owned);
            let batch = target.finish(at, Duration::ZERO, Ok(collected));
            batch.samples.iter().map(|s| s.value).collect::<Vec<_>>()
        };
        assert_eq!(collect(Some("refused")).len(), 0);
        let shown = status.targets().remove(0);
        assert_eq!(shown.last_error, "refused — write a line");
        assert_eq!((shown.health, shown.optional), (TargetHealth::Down, true));
        assert!(status.is_complete());
        // A sample and five that report.
        assert_eq!(collect(None).len(), 6);
        assert_eq!(collect(Some("refused"))[1], 0.0);
        assert!(!status.is_complete());
    }

    #[test]
    fn a_series_of_ours_with_endless_labels_is_left_out_and_said() {
        let timing = (Duration::from_secs(15), Duration::from_secs(10));
        let none = Labels::empty;
        let mut target = Target::new("p", "u", none(), none(), timing, Status::default());
        let long = "x".repeat(50_000);
        let mut pass = target.pass(Timestamp::from_millis(1));
        pass.put("a", &[("l", &long)], 1.0);
        pass.put("b", &[], 1.0);
        let collected = pass.done();
        assert_eq!(collected.samples.len(), 1);
        let expect = "left out, with more than 32768 bytes of labels: 1 series, the first of a";
        assert_eq!(collected.remark.as_deref(), Some(expect));
        let mut update = target.update(Timestamp::from_millis(2));
        update.put("a", &[("l", &long)], 1.0);
        assert!(update.done().samples.is_empty());
    }
}
