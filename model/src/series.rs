//! How anyone reads series, whoever stores them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{FPoint, Labels, Matcher, Samples, Selected, TimeRange};

/// What to read.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Instants of interest, both ends inclusive. A reader may return points a little outside.
    pub range: TimeRange,
    /// All must hold. At least one should not match the empty string; the caller checks that.
    pub matchers: &'a [Matcher],
    /// How the points will be used. A reader may ignore it; one that keeps coarser copies of
    /// old points chooses by it.
    pub hints: Hints,
}

/// What a query will do with the points it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Time between two evaluations, in milliseconds; 0 when there is only one.
    pub step_ms: i64,
    /// Length of the window at each evaluation, in milliseconds; 0 for an instant selector.
    pub window_ms: i64,
    /// Name of the function that takes the window, `""` when there is none.
    pub function: &'static str,
    /// Of each series only the newest point in the range will be looked at.
    pub newest_only: bool,
}

/// What one look-up may cost.
#[derive(Clone, Debug)]
pub struct ReadBounds {
    /// Most bytes that what it finds may take: label sets and what reads the samples.
    pub bytes_max: usize,
    /// The setting to name when it takes more.
    pub setting: &'static str,
    /// Set from outside when nobody waits for the answer any more.
    pub cancel: Option<Arc<AtomicBool>>,
    /// Where to say what the answer lacks.
    pub missing: Option<Arc<Missing>>,
}

/// Stored samples that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What is the matter with which file.
    pub what: String,
    /// The time of the samples, if it is known.
    pub range: Option<TimeRange>,
}

/// What an answer lacks, noted while it is made.
#[derive(Debug, Default)]
pub struct Missing(Mutex<Vec<Gap>>);

/// So many gaps are told with an answer, further ones are not.
const GAPS_MAX: usize = 20;

impl Missing {
    /// Notes a gap, unless it is known or there are 20 already.
    pub fn note(&self, gap: Gap) {
        let mut gaps = self.lock();
        if gaps.len() < GAPS_MAX && !gaps.contains(&gap) {
            gaps.push(gap);
        }
    }

    /// Those noted by now.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Gap>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadBounds {
    /// Whether the look-up, of which so many bytes are held by now, may go on.
    ///
    /// # Errors
    /// [`ReadError::Limit`] with the setting's name, [`ReadError::Canceled`].
    pub fn check(&self, bytes: usize) -> Result<(), ReadError> {
        if let Some(flag) = &self.cancel
            && flag.load(Ordering::Relaxed)
        {
            return Err(ReadError::Canceled);
        }
        if bytes > self.bytes_max {
            return Err(ReadError::Limit(format!(
                "the series that match take more than {} KB, which is more than {} has room for: select fewer series or a shorter time",
                self.bytes_max >> 10,
                self.setting
            )));
        }
        Ok(())
    }
}

impl Default for ReadBounds {
    /// No bounds.
    fn default() -> Self {
        ReadBounds {
            bytes_max: usize::MAX,
            setting: "",
            cancel: None,
            missing: None,
        }
    }
}

/// Reads stored series. Implemented by `storage`, by remote clusters and by test fixtures.
pub trait SeriesReader: Send + Sync {
    /// Series that match and may have points in the range, sorted by labels.
    ///
    /// # Errors
    /// When the store cannot be read, or the answer would exceed its limits.
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError>;

    /// Label sets that match at least one of `sets` (all series when `sets` is empty), sorted, distinct.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn series(&self, sets: &[Vec<Matcher>], range: TimeRange) -> Result<Vec<Labels>, ReadError>;

    /// Label names of those series, sorted. A store with an index answers without visiting each.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let series = self.series(sets, range)?;
        let names: std::collections::BTreeSet<&str> = series
            .iter()
            .flat_map(|l| l.iter().map(|(n, _)| n))
            .collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Values of the label `name` among those series, sorted.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        let series = self.series(sets, range)?;
        let values: std::collections::BTreeSet<&str> =
            series.iter().filter_map(|l| l.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// The same store, whose look-ups end when they exceed `bounds`. `None` when it has no way
    /// to stop them on their way.
    fn within(&self, bounds: ReadBounds) -> Option<Box<dyn SeriesReader>> {
        let _ = bounds;
        None
    }
}

/// The points of one series, oldest first, a decoded run (chunk) at a time.
pub trait SampleCursor: Send {
    /// Appends the next run to `into`, in time order and later than every run before;
    /// `false` when there is none. Staleness markers are included.
    ///
    /// # Errors
    /// When the run cannot be read or its checksum is wrong.
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError>;

    /// Bytes it holds until points are asked for, itself among them.
    fn held_bytes(&self) -> usize {
        0
    }

    /// For the points returned so far whose start timestamp is known: time and start, both in
    /// milliseconds, ascending in time. Sources that do not keep them return none.
    fn start_timestamps(&self) -> Vec<(i64, i64)> {
        Vec::new()
    }

    /// For how much longer than a sample, in milliseconds, the point at `t` (milliseconds) stands:
    /// where a store has only a coarser copy, there is one point in each bucket of this length,
    /// and a lookback has to be as much longer. 0 for samples as they came.
    fn resolution_ms(&self, t: i64) -> i64 {
        let _ = t;
        0
    }
}

/// A cursor over points that are already in memory.
pub struct InMemoryCursor(pub Option<Vec<FPoint>>);

impl SampleCursor for InMemoryCursor {
    fn next_run(&mut self, into: &mut Samples) -> Result<bool, ReadError> {
        Ok(self.0.take().is_some_and(|points| {
            into.floats.extend_from_slice(&points);
            true
        }))
    }
}

/// Why series or logs could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The answer would exceed a configured limit; the text names it.
    #[error("{0}")]
    Limit(String),
    /// [`ReadBounds::cancel`] was set.
    #[error("nobody waits for the answer any more")]
    Canceled,
    /// The disk or a remote store failed.
    #[error("reading {what}: {source}")]
    Io {
        /// The file or peer.
        what: String,
        /// The cause.
        source: Arc<std::io::Error>,
    },
    /// Stored bytes are wrong; the piece is named.
    #[error("corrupt data in {0}")]
    Corrupt(String),
}
