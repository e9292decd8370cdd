//! Samples of the past from elsewhere, written as blocks of their own beside what is there.
//!
//! They do not pass through the head, which takes recent samples only. Each block holds one day
//! (UTC) and may overlap with others; compaction merges them later. Nothing is visible before
//! [`Import::finish`], and what an interrupted import wrote goes at the next start.

pub mod prometheus;
mod regular;
mod sorter;

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{FPoint, HPoint, Labels, Samples, Timestamp};

pub use regular::open_regular;
pub use sorter::SORT_BYTES_MAX;
use sorter::Sorter;

use crate::metrics::BlockWriter;
use crate::{FUTURE_MAX, Storage, WriteError};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Days that are written at the same time; for a further one the oldest is closed. A block of
/// Prometheus spans 31 days at most.
const DAYS_OPEN_MAX: usize = 40;
/// More blocks than this do not come from sensible timestamps: 13 years in order, or one year of
/// samples in no order.
const BLOCKS_MAX: usize = 5_000;

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The disk refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The samples are spread over too much time, or come in too bad an order.
    #[error(
        "the samples would need more than {BLOCKS_MAX} blocks: are the timestamps right, and sorted by series or time?"
    )]
    TooManyBlocks,
}

/// What was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Samples stored, histograms included.
    pub samples: u64,
    /// Native histograms among them.
    pub histograms: u64,
    /// Samples left out because there was one at the same instant of the same series.
    pub duplicates: u64,
    /// Samples left out because they are later than [`FUTURE_MAX`] from now.
    pub too_far_future: u64,
    /// First and last instant stored, in milliseconds.
    pub range: Option<(i64, i64)>,
    /// Blocks written.
    pub blocks: u64,
}

/// An import that goes on.
pub struct Import {
    storage: Storage,
    latest_t: i64,
    days: BTreeMap<i64, DayBlock>,
    /// The series and day that is being gathered.
    current: Option<Current>,
    written: Vec<PathBuf>,
    sorter: Sorter,
    report: ImportReport,
}

/// A block in the making.
struct DayBlock {
    path: PathBuf,
    writer: BlockWriter,
    last: Labels,
    max_t: i64,
}

struct Current {
    labels: Labels,
    day: i64,
    samples: Samples,
}

impl Import {
    pub(crate) fn new(storage: Storage, now: Timestamp) -> Result<Import, WriteError> {
        // Blocks say up to where everything is in blocks: nothing may wait in the log.
        storage.metrics().flush_all()?;
        Ok(Import {
            storage,
            latest_t: now.plus(FUTURE_MAX).millis(),
            days: BTreeMap::new(),
            current: None,
            written: Vec::new(),
            sorter: Sorter::default(),
            report: ImportReport::default(),
        })
    }

    /// Takes samples of one series in time order. Series should come sorted by labels; further
    /// samples of the same series may follow in further calls.
    ///
    /// # Errors
    /// When the disk refuses. The import cannot go on then.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<(), ImportError> {
        for point in &samples.floats {
            if self.turn_to(labels, point.t)?
                && let Some(current) = &mut self.current
            {
                current.samples.floats.push(*point);
            }
        }
        for point in &samples.histograms {
            if self.turn_to(labels, point.t)?
                && let Some(current) = &mut self.current
            {
                current.samples.histograms.push(point.clone());
            }
        }
        Ok(())
    }

    /// Takes a sample in any order, at the price of sorting: it is gathered with up to
    /// [`SORT_BYTES_MAX`] of others first.
    ///
    /// # Errors
    /// As [`Import::add`].
    pub fn add_unsorted(&mut self, labels: &Labels, point: FPoint) -> Result<(), ImportError> {
        for (labels, samples) in self.sorter.push(labels, point) {
            self.add(&labels, &samples)?;
        }
        Ok(())
    }

    /// Makes everything visible.
    ///
    /// # Errors
    /// When the disk refuses; nothing is visible then, or only whole blocks when the last step
    /// failed.
    pub fn finish(mut self) -> Result<ImportReport, ImportError> {
        for (labels, samples) in self.sorter.drain() {
            self.add(&labels, &samples)?;
        }
        self.put_current()?;
        while let Some((_, day)) = self.days.pop_first() {
            self.close(day)?;
        }
        self.report.blocks = self.written.len() as u64;
        self.storage.metrics().adopt(&self.written)?;
        self.written.clear();
        Ok(self.report)
    }

    /// Makes the series and day of an instant the current ones; `false` when it is refused.
    fn turn_to(&mut self, labels: &Labels, t: i64) -> Result<bool, ImportError> {
        if t > self.latest_t {
            self.report.too_far_future += 1;
            return Ok(false);
        }
        let day = t.div_euclid(DAY_MS);
        let is_current = |c: &Current| c.day == day && c.labels == *labels;
        if !self.current.as_ref().is_some_and(is_current) {
            self.put_current()?;
            self.current = Some(Current {
                labels: labels.clone(),
                day,
                samples: Samples::default(),
            });
        }
        Ok(true)
    }

    fn put_current(&mut self) -> Result<(), ImportError> {
        let Some(Current {
            labels,
            day,
            mut samples,
        }) = self.current.take()
        else {
            return Ok(());
        };
        let given = samples.len();
        tidy(&mut samples);
        self.report.duplicates += (given - samples.len()) as u64;
        let times = [
            samples.floats.first().map(|p| p.t),
            samples.floats.last().map(|p| p.t),
            samples.histograms.first().map(|p| p.t),
            samples.histograms.last().map(|p| p.t),
        ];
        let times = || times.iter().flatten().copied();
        let (Some(min_t), Some(max_t)) = (times().min(), times().max()) else {
            return Ok(());
        };
        let comes_late = |d: &DayBlock| d.last >= labels;
        if self.days.get(&day).is_some_and(comes_late)
            && let Some(block) = self.days.remove(&day)
        {
            self.close(block)?;
        }
        if self.days.len() >= DAYS_OPEN_MAX
            && !self.days.contains_key(&day)
            && let Some((_, oldest)) = self.days.pop_first()
        {
            self.close(oldest)?;
        }
        let block = match self.days.entry(day) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let (path, writer) = self.storage.metrics().begin_block()?;
                free.insert(DayBlock {
                    path,
                    writer,
                    last: Labels::empty(),
                    max_t: i64::MIN,
                })
            }
        };
        let added = block.writer.add(&labels, &samples);
        added.map_err(|e| WriteError::from_io("write", &block.path, e))?;
        block.last = labels;
        block.max_t = block.max_t.max(max_t);
        let report = &mut self.report;
        report.samples += samples.len() as u64;
        report.histograms += samples.histograms.len() as u64;
        report.range = Some(report.range.map_or((min_t, max_t), |(first, last)| {
            (first.min(min_t), last.max(max_t))
        }));
        Ok(())
    }

    fn close(&mut self, block: DayBlock) -> Result<(), ImportError> {
        if self.written.len() >= BLOCKS_MAX {
            return Err(ImportError::TooManyBlocks);
        }
        // Noted before it is whole, so that it goes when it cannot become so.
        self.written.push(block.path.clone());
        let finished = block.writer.finish(block.max_t.saturating_add(1));
        finished.map_err(|e| WriteError::from_io("write", &block.path, e).into())
    }
}

/// Removes what was written when the import is given up.
impl Drop for Import {
    fn drop(&mut self) {
        let open = std::mem::take(&mut self.days);
        let open = open.into_values().map(|d| d.path);
        for path in open.chain(std::mem::take(&mut self.written)) {
            self.storage.metrics().discard(&path);
        }
    }
}

/// Puts points into time order, one for each instant: the first one given.
fn tidy(samples: &mut Samples) {
    if !samples.floats.is_sorted_by(|a, b| a.t < b.t) {
        samples.floats.sort_by_key(|p| p.t);
        samples.floats.dedup_by_key(|p| p.t);
    }
    if !samples.histograms.is_sorted_by(|a, b| a.t < b.t) {
        samples.histograms.sort_by_key(|p: &HPoint| p.t);
        samples.histograms.dedup_by_key(|p| p.t);
    }
    if !samples.histograms.is_empty() {
        let histograms = &samples.histograms;
        let taken = |t: i64| histograms.binary_search_by_key(&t, |h| h.t).is_ok();
        samples.floats.retain(|p| !taken(p.t));
    }
}

#[cfg(test)]
mod tests;
