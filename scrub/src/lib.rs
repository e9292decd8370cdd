//! Raw log line in, [`ScrubbedLine`] out: the only way to make one.
//!
//! `storage` accepts nothing else, so a line that has not passed here does not compile
//! into the disk path. Pure: no clock, no I/O.

mod action;
mod batch;
mod config;
mod detector;
mod json;
#[cfg(test)]
mod properties;
mod pseudonym;
mod rule;
mod scrubber;
mod text;
mod trigger;

pub use action::Action;
pub use batch::{LogBatch, ScrubbedEntry, ScrubbedLabels, ScrubbedLine, SourcePosition};
pub use config::{Config, ConfigError, RuleConfig};
pub use pseudonym::PseudonymKey;
pub use scrubber::{Count, Found, Scrubber};

/// The names of all detectors, as they appear in [`Config::disabled`] and
/// [`Scrubber::counts`].
#[must_use]
pub fn detector_names() -> Vec<&'static str> {
    detector::Detector::names()
}
