//! The last steps of a container's lines: quota, scrubbing, level, metadata.

use model::LabelsBuilder;
use scrub::{ScrubbedEntry, ScrubbedLabels};

use super::group::Group;
use super::level;
use super::quota::{Admission, Notice, Quota, SAMPLE, Used};
use super::reader::Around;
use super::when;

/// The time a line says is believed this far from the time it was written.
const LINE_TIME_REACH_NS: i64 = 86_400_000_000_000;

/// Why lines are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapKind {
    /// The engine threw them away before they were read.
    Rotated,
    /// The file is damaged there.
    Damaged,
    /// The file was cut off, as by logrotate's `copytruncate`.
    Truncated,
}

impl GapKind {
    fn name(self) -> &'static str {
        match self {
            GapKind::Rotated => "rotated",
            GapKind::Damaged => "damaged",
            GapKind::Truncated => "truncated",
        }
    }

    /// The text of the entry that stands where lines are missing.
    fn text(self) -> &'static str {
        match self {
            GapKind::Rotated => "stackwatch: lines are missing here, the engine no longer had them",
            GapKind::Damaged => "stackwatch: lines are missing here, the log file is damaged",
            GapKind::Truncated => {
                "stackwatch: lines may be missing here, the log file was truncated"
            }
        }
    }
}

/// What an entry says about itself beside its text.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Remarks {
    level: Option<&'static str>,
    is_truncated: bool,
    is_sampled: bool,
    gap: Option<GapKind>,
    is_quota: bool,
}

/// Makes entries of one container's lines.
pub(crate) struct Entries {
    around: Around,
    container_id: String,
    quota: Quota,
    line_times: bool,
    /// There are few kinds, so each is made once.
    metadata: Vec<(Remarks, ScrubbedLabels)>,
}

impl Entries {
    pub(crate) fn new(around: Around, container_id: &str, quota: Quota, line_times: bool) -> Self {
        Entries {
            around,
            container_id: container_id.to_owned(),
            quota,
            line_times,
            metadata: Vec::new(),
        }
    }

    pub(crate) fn used(&self) -> Used {
        self.quota.used()
    }

    /// The entry that stands where lines are missing.
    pub(crate) fn gap(&mut self, kind: GapKind, at_ns: i64) -> ScrubbedEntry {
        self.around.telemetry.gaps.inc();
        self.around.counts.gaps.inc();
        let remarks = Remarks {
            level: Some("warn"),
            gap: Some(kind),
            ..Remarks::default()
        };
        self.own(at_ns, kind.text(), remarks)
    }

    /// Adds the group's entry, unless the quota leaves it out, and what is to be told before it.
    pub(crate) fn write(&mut self, group: &Group, out: &mut Vec<ScrubbedEntry>) {
        let lines = u64::from(group.lines);
        let (notice, admission) = self.quota.admit(group.at_ns, lines, group.length as u64);
        if let Some(notice) = notice {
            let remarks = Remarks {
                level: Some("warn"),
                is_quota: true,
                ..Remarks::default()
            };
            out.push(self.own(group.at_ns, &notice_text(notice), remarks));
        }
        if admission == Admission::Drop {
            self.around.telemetry.dropped.inc_by(lines);
            self.around.counts.dropped.inc_by(lines);
            return;
        }
        let Some(line) = self.around.scrubber.keep(&group.text) else {
            // Dropped by a rule of the scrubber, which counts it too.
            self.around.telemetry.dropped.inc_by(lines);
            self.around.counts.dropped.inc_by(lines);
            return;
        };
        let text = line.as_str();
        if is_changed(&group.text, text) {
            self.around.counts.scrubbed.inc_by(lines);
        }
        let level = level::of(text).or_else(|| group.is_trace.then_some("error"));
        let line_ns = self.line_times.then(|| when::of(text)).flatten();
        let believed = |at: &i64| at.abs_diff(group.at_ns) <= LINE_TIME_REACH_NS.unsigned_abs();
        let remarks = Remarks {
            level,
            is_truncated: group.is_cut,
            is_sampled: admission == Admission::Sample,
            ..Remarks::default()
        };
        self.around.telemetry.lines.inc_by(lines);
        self.around.telemetry.bytes.inc_by(group.length as u64);
        self.around.counts.stored.inc_by(lines);
        self.around.counts.bytes.inc_by(group.length as u64);
        if group.is_cut {
            self.around.telemetry.cut.inc();
        }
        out.push(ScrubbedEntry {
            at_ns: line_ns.filter(believed).unwrap_or(group.at_ns),
            line,
            metadata: self.metadata(remarks),
        });
    }

    /// An entry of ours, just before the container's of `at_ns`.
    fn own(&mut self, at_ns: i64, text: &str, remarks: Remarks) -> ScrubbedEntry {
        ScrubbedEntry {
            at_ns: at_ns.saturating_sub(1),
            line: self.around.scrubber.line(text.as_bytes()),
            metadata: self.metadata(remarks),
        }
    }

    fn metadata(&mut self, remarks: Remarks) -> ScrubbedLabels {
        if let Some((_, known)) = self.metadata.iter().find(|(known, _)| *known == remarks) {
            return known.clone();
        }
        let mut labels = LabelsBuilder::default();
        labels.set("container_id", &self.container_id);
        labels.set("detected_level", remarks.level.unwrap_or(level::UNKNOWN));
        if let Some(kind) = remarks.gap {
            labels.set("gap", kind.name());
        }
        if remarks.is_sampled {
            labels.set("sampled", SAMPLE.to_string());
        }
        for (name, holds) in [
            ("truncated", remarks.is_truncated),
            ("quota", remarks.is_quota),
        ] {
            labels.set(name, if holds { "true" } else { "" });
        }
        let labels = self.around.scrubber.labels(&labels.build());
        self.metadata.push((remarks, labels.clone()));
        labels
    }
}

fn notice_text(notice: Notice) -> String {
    match notice {
        Notice::Begins => format!(
            "stackwatch: the container's quota of this day is used up, of further lines one in {SAMPLE} is kept"
        ),
        Notice::Ended { lines, bytes } => format!(
            "stackwatch: lines are kept again, the quota of the day before left out {lines} of {bytes} bytes"
        ),
    }
}

/// Whether the scrubber changed more than line ends and bytes that are no text.
fn is_changed(raw: &[u8], clean: &str) -> bool {
    let raw = String::from_utf8_lossy(raw);
    raw.trim_end_matches(['\n', '\r']) != clean
}
