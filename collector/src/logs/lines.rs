//! Raw lines of a source into entries for the store.

use std::sync::Arc;

use model::{Labels, LabelsBuilder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use scrub::{ScrubbedEntry, ScrubbedLabels, Scrubber};

use super::level;

/// Bytes kept of a line; the rest is left out and the line marked `truncated`.
pub(super) const LINE_BYTES_MAX: usize = 256 * 1024;

/// Makes entries.
pub(super) struct Lines {
    scrubber: Arc<Scrubber>,
    telemetry: LineTelemetry,
    /// Of entries without further metadata, of which there are few kinds.
    plain: Vec<((Option<&'static str>, bool), ScrubbedLabels)>,
}

/// A line and what is known of it.
#[derive(Clone, Copy)]
pub(super) struct RawLine<'a> {
    /// Nanoseconds since the epoch.
    pub(super) at_ns: i64,
    /// Without its line end, at most [`LINE_BYTES_MAX`] of it.
    pub(super) text: &'a [u8],
    /// Whether there was more of it.
    pub(super) truncated: bool,
    /// What the source says; looked for in the text when it says nothing.
    pub(super) level: Option<&'static str>,
    /// Further metadata. Empty values are none.
    pub(super) metadata: &'a [(&'a str, &'a str)],
}

impl Lines {
    pub(super) fn new(scrubber: Arc<Scrubber>, telemetry: LineTelemetry) -> Lines {
        Lines {
            scrubber,
            telemetry,
            plain: Vec::new(),
        }
    }

    /// Labels of a stream.
    pub(super) fn labels(&self, labels: &Labels) -> ScrubbedLabels {
        self.scrubber.labels(labels)
    }

    /// `None` when a rule of the scrubber drops the line.
    pub(super) fn entry(&mut self, line: RawLine<'_>) -> Option<ScrubbedEntry> {
        self.telemetry.lines.inc();
        self.telemetry.bytes.inc_by(line.text.len() as u64);
        if line.truncated {
            self.telemetry.cut.inc();
        }
        let text = self.scrubber.keep(line.text)?;
        let level = line.level.or_else(|| level::of(text.as_str()));
        Some(ScrubbedEntry {
            at_ns: line.at_ns,
            line: text,
            metadata: self.metadata(level, line.truncated, line.metadata),
        })
    }

    fn metadata(
        &mut self,
        level: Option<&'static str>,
        truncated: bool,
        further: &[(&str, &str)],
    ) -> ScrubbedLabels {
        let kind = (level, truncated);
        let known = self.plain.iter().find(|(known, _)| *known == kind);
        if let (Some((_, known)), true) = (known, further.is_empty()) {
            return known.clone();
        }
        let mut labels = LabelsBuilder::default();
        for (name, value) in further {
            labels.set(*name, *value);
        }
        labels.set("detected_level", level.unwrap_or(level::UNKNOWN));
        labels.set("truncated", if truncated { "true" } else { "" });
        let labels = self.scrubber.labels(&labels.build());
        if further.is_empty() {
            self.plain.push((kind, labels.clone()));
        }
        labels
    }
}

/// Counters of all sources, by source.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceTelemetry {
    lines: Family<Vec<(String, String)>, Counter>,
    bytes: Family<Vec<(String, String)>, Counter>,
    cut: Family<Vec<(String, String)>, Counter>,
}

/// Those of one source.
#[derive(Clone, Debug, Default)]
pub(super) struct LineTelemetry {
    lines: Counter,
    bytes: Counter,
    cut: Counter,
}

impl SourceTelemetry {
    /// Registers the metrics.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let t = SourceTelemetry::default();
        for (name, help, family) in [
            (
                "lines",
                "Log lines of sources beside containers, read",
                &t.lines,
            ),
            ("bytes", "Bytes of these lines", &t.bytes),
            (
                "cut_lines",
                "Lines cut at the longest length allowed",
                &t.cut,
            ),
        ] {
            registry.register(
                format!("stackwatch_log_source_{name}"),
                help,
                family.clone(),
            );
        }
        t
    }

    pub(super) fn of(&self, source: &str) -> LineTelemetry {
        let labels = vec![("source".to_owned(), source.to_owned())];
        LineTelemetry {
            lines: self.lines.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            cut: self.cut.get_or_create(&labels).clone(),
        }
    }
}
