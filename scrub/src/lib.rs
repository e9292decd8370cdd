//! Raw log line in, [`ScrubbedLine`] out: the only way to make one.
//!
//! `storage` accepts nothing else, so a line that has not passed here does not compile
//! into the disk path. Pure: no clock, no I/O.

mod batch;
mod config;
mod detector;
mod json;
#[cfg(test)]
mod properties;
mod scrubber;
mod text;

pub use batch::{LogBatch, ScrubbedEntry, ScrubbedLabels, ScrubbedLine, SourcePosition};
pub use config::{Config, ConfigError};
pub use scrubber::Scrubber;

/// The names of all detectors, as they appear in [`Config::disabled`] and
/// [`Scrubber::counts`].
#[must_use]
pub fn detector_names() -> Vec<&'static str> {
    detector::Detector::names()
}
