//! What leaves the scrubber.

use model::Labels;

/// A line that has been scrubbed. Only [`crate::Scrubber`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubbedLine(pub(crate) String);

impl ScrubbedLine {
    /// The text, without a newline at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Labels whose values have been scrubbed. Only [`crate::Scrubber`] makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScrubbedLabels(pub(crate) Labels);

impl ScrubbedLabels {
    /// The labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.0
    }
}

/// One line on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubbedEntry {
    /// Nanoseconds since the epoch.
    pub at_ns: i64,
    /// The text.
    pub line: ScrubbedLine,
    /// Structured metadata.
    pub metadata: ScrubbedLabels,
}

/// How far a source has been read. Opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Names the source, e.g. `docker/<id>/stdout`.
    pub source: String,
    /// The tailer's own encoding, at most a few hundred bytes.
    pub position: Vec<u8>,
}

/// Lines of one stream and how far their source has been read:
/// stored together or not at all, so that a restart neither loses nor repeats a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// Labels of the stream.
    pub stream: ScrubbedLabels,
    /// In the order of reception.
    pub entries: Vec<ScrubbedEntry>,
    /// Where to read on after these entries.
    pub position: Option<SourcePosition>,
}
