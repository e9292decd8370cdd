//! What all receivers of samples share: batches of bounded size, and a tally of what became of
//! what was sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{HistogramSample, Labels, Sample, SampleBatch};
use storage::{AppendReport, WriteError};

use super::AppendSamples;

/// Requests decoded and stored at a time; others wait. The store takes one batch at a time, so a
/// second one decodes while the first is written, and a third would only hold memory.
pub(crate) const WRITES_MAX: usize = 2;
/// After this a request is answered 503, and its sender sends it again.
pub(crate) const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// Samples handed to the store at once. A larger request becomes several batches, so that
/// neither its memory nor the time readers wait grows with it.
const BATCH_SAMPLES_MAX: usize = 20_000;
/// Bytes of labels in such a batch.
const BATCH_LABEL_BYTES_MAX: usize = 8 << 20;
/// Different complaints told to a sender.
const COMPLAINTS_MAX: usize = 10;

/// Collects samples of a request and stores them, batch by batch.
pub(crate) struct Receiver<'a> {
    append: &'a AppendSamples,
    /// Set when nobody waits for the answer any more.
    cancel: &'a AtomicBool,
    floats: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    label_bytes: usize,
    tally: Tally,
}

/// What became of a request's samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Float samples stored; those that had been stored before, with this value, included.
    pub(crate) floats: u64,
    /// Histogram samples stored, likewise.
    pub(crate) histograms: u64,
    /// Samples the store refused.
    pub(crate) refused: u64,
    /// Samples that were refused before they came to the store.
    pub(crate) invalid: u64,
    /// Samples of series whose labels mean nothing, where the protocol says to pass over them.
    pub(crate) passed_over: u64,
    /// Exemplars, which are not kept.
    pub(crate) exemplars: u64,
    /// Why samples were refused.
    pub(crate) complaints: Vec<String>,
}

/// Why receiving stopped early. What was stored before stays; sending it again does no harm.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error(transparent)]
    Store(#[from] WriteError),
    #[error("storing took too long")]
    Canceled,
}

impl Stop {
    /// What the sender is told: that it sends too much of something, or that it is to try again.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Stop::Store(e) if e.is_of_sender() => StatusCode::TOO_MANY_REQUESTS,
            Stop::Store(_) | Stop::Canceled => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(append: &'a AppendSamples, cancel: &'a AtomicBool) -> Self {
        Receiver {
            append,
            cancel,
            floats: Vec::new(),
            histograms: Vec::new(),
            label_bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Takes a float sample.
    pub(crate) fn float(&mut self, sample: Sample) -> Result<(), Stop> {
        self.label_bytes += sample.labels.heap_bytes();
        self.floats.push(sample);
        self.store_when_full()
    }

    /// Takes a histogram sample.
    pub(crate) fn histogram(&mut self, sample: HistogramSample) -> Result<(), Stop> {
        // A bucket weighs as much as a float.
        let h = &sample.histogram;
        let buckets = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
        self.label_bytes += sample.labels.heap_bytes() + 8 * buckets;
        self.histograms.push(sample);
        self.store_when_full()
    }

    /// Counts `samples` that cannot be taken, and why.
    pub(crate) fn invalid(&mut self, samples: u64, why: impl std::fmt::Display, of: &Labels) {
        self.tally.invalid += samples;
        self.tally.complain(|| match of.is_empty() {
            true => why.to_string(),
            false => format!("{why}, series {of}"),
        });
    }

    /// Counts `samples` that the protocol says to pass over in silence.
    pub(crate) fn pass_over(&mut self, samples: u64) {
        self.tally.passed_over += samples;
    }

    /// Counts exemplars.
    pub(crate) fn exemplars(&mut self, count: u64) {
        self.tally.exemplars += count;
    }

    /// Stores the rest.
    pub(crate) fn finish(mut self) -> Result<Tally, Stop> {
        self.store()?;
        Ok(self.tally)
    }

    fn store_when_full(&mut self) -> Result<(), Stop> {
        let full = self.floats.len() + self.histograms.len() >= BATCH_SAMPLES_MAX
            || self.label_bytes >= BATCH_LABEL_BYTES_MAX;
        if full { self.store() } else { Ok(()) }
    }

    /// Floats and histograms apart, because senders want them counted apart.
    fn store(&mut self) -> Result<(), Stop> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Stop::Canceled);
        }
        self.label_bytes = 0;
        if !self.floats.is_empty() {
            let mut batch = SampleBatch::from(std::mem::take(&mut self.floats));
            let report = (self.append)(&batch)?;
            self.tally.floats += self.tally.count(&report);
            batch.samples.clear();
            self.floats = batch.samples;
        }
        if !self.histograms.is_empty() {
            let batch = SampleBatch {
                samples: Vec::new(),
                histograms: std::mem::take(&mut self.histograms),
            };
            let report = (self.append)(&batch)?;
            self.tally.histograms += self.tally.count(&report);
        }
        Ok(())
    }
}

impl Tally {
    /// Adds what the store refused; how many samples it has.
    fn count(&mut self, report: &AppendReport) -> u64 {
        // The words are Prometheus', which senders show to their operators.
        for (count, why) in [
            (
                report.duplicate,
                "duplicate sample for timestamp: the first one stays",
            ),
            (report.out_of_order, "out of order sample"),
            (report.too_old, "too old sample"),
            (
                report.too_far_future,
                "out of bounds: timestamp is too far in the future",
            ),
            (
                report.series_limit,
                "too many series: new ones are refused until others are idle",
            ),
            (
                report.target_limit,
                "too many series of one job and instance: new ones are refused until others are idle",
            ),
        ] {
            if count > 0 {
                self.refused += count;
                self.complain(|| format!("{why} ({count} of them)"));
            }
        }
        report.appended + report.repeated
    }

    fn complain(&mut self, why: impl FnOnce() -> String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(why());
        }
    }

    /// What a sender that must not send this again is told.
    pub(crate) fn complaint(&self) -> String {
        let stored = self.floats + self.histograms;
        let all = stored + self.refused + self.invalid;
        let why = self.complaints.join("; ");
        format!("{why} ({stored} of {all} samples were stored)")
    }
}

/// An error as Go's `http.Error` writes it: one line of text.
pub(crate) fn error(status: StatusCode, text: impl std::fmt::Display) -> Response {
    (
        status,
        [
            (
                axum::http::header::CONTENT_TYPE,
                "text/plain; charset=utf-8",
            ),
            (axum::http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        format!("{text}\n"),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
