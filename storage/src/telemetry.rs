//! The store's own metrics.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Why a sample was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    Duplicate,
    OutOfOrder,
    TooOld,
    TooFarFuture,
    SeriesLimit,
    TargetLimit,
    Disk,
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileKind {
    MetricWal,
    Block,
    LogWal,
    Frames,
    Control,
    Other,
}

/// Why a piece was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Age,
    Size,
    FreeSpace,
}

impl Refusal {
    fn as_str(self) -> &'static str {
        match self {
            Refusal::Duplicate => "duplicate",
            Refusal::OutOfOrder => "out_of_order",
            Refusal::TooOld => "too_old",
            Refusal::TooFarFuture => "too_far_future",
            Refusal::SeriesLimit => "series_limit",
            Refusal::TargetLimit => "target_limit",
            Refusal::Disk => "disk",
        }
    }
}

impl FileKind {
    fn as_str(self) -> &'static str {
        match self {
            FileKind::MetricWal => "metric_wal",
            FileKind::Block => "block",
            FileKind::LogWal => "log_wal",
            FileKind::Frames => "frames",
            FileKind::Control => "control",
            FileKind::Other => "other",
        }
    }
}

impl Reason {
    /// The word used in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Reason::Age => "age",
            Reason::Size => "size",
            Reason::FreeSpace => "free_space",
        }
    }
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for FileKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RefusalLabels {
    pub(crate) reason: Refusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabels {
    pub(crate) kind: FileKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RemovalLabels {
    pub(crate) kind: FileKind,
    pub(crate) reason: Reason,
}

/// All metrics of the crate; the names are in [`Telemetry::new`].
pub(crate) struct Telemetry {
    pub(crate) series: Gauge,
    pub(crate) head_bytes: Gauge,
    pub(crate) samples_appended: Counter,
    pub(crate) samples_late: Counter,
    pub(crate) samples_refused: Family<RefusalLabels, Counter>,
    pub(crate) log_lines: Counter,
    pub(crate) log_raw_bytes: Counter,
    pub(crate) log_head_bytes: Gauge,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) write_errors: Family<KindLabels, Counter>,
    pub(crate) corruptions: Family<KindLabels, Counter>,
    pub(crate) torn_bytes: Family<KindLabels, Counter>,
    pub(crate) disk_bytes: Family<KindLabels, Gauge>,
    pub(crate) set_aside: Gauge,
    pub(crate) free_bytes: Gauge,
    pub(crate) removed: Family<RemovalLabels, Counter>,
    pub(crate) flush_seconds: Histogram,
}

impl Telemetry {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let t = Telemetry {
            series: Gauge::default(),
            head_bytes: Gauge::default(),
            samples_appended: Counter::default(),
            samples_late: Counter::default(),
            samples_refused: Family::default(),
            log_lines: Counter::default(),
            log_raw_bytes: Counter::default(),
            log_head_bytes: Gauge::default(),
            fsync_seconds: Histogram::new(exponential_buckets(0.000_25, 4.0, 9)),
            write_errors: Family::default(),
            corruptions: Family::default(),
            torn_bytes: Family::default(),
            disk_bytes: Family::default(),
            set_aside: Gauge::default(),
            free_bytes: Gauge::default(),
            removed: Family::default(),
            flush_seconds: Histogram::new(exponential_buckets(0.01, 4.0, 7)),
        };
        let r = registry.sub_registry_with_prefix("stackwatch_storage");
        r.register("series", "Active series in memory", t.series.clone());
        r.register_with_unit(
            "head",
            "Estimated memory of series and samples not yet in a block",
            Unit::Bytes,
            t.head_bytes.clone(),
        );
        r.register(
            "samples_appended",
            "Samples stored",
            t.samples_appended.clone(),
        );
        r.register(
            "samples_late",
            "Of the samples stored, those older than the newest of their series",
            t.samples_late.clone(),
        );
        r.register(
            "samples_refused",
            "Samples not stored, by reason",
            t.samples_refused.clone(),
        );
        r.register("log_lines", "Log lines stored", t.log_lines.clone());
        r.register_with_unit(
            "log_lines_raw",
            "Bytes of log lines stored, before compression",
            Unit::Bytes,
            t.log_raw_bytes.clone(),
        );
        r.register_with_unit(
            "log_head",
            "Estimated memory of lines not yet in a frame",
            Unit::Bytes,
            t.log_head_bytes.clone(),
        );
        r.register_with_unit(
            "wal_fsync_duration",
            "Time to make the write-ahead logs durable",
            Unit::Seconds,
            t.fsync_seconds.clone(),
        );
        r.register_with_unit(
            "flush_duration",
            "Time to write one block from memory",
            Unit::Seconds,
            t.flush_seconds.clone(),
        );
        r.register(
            "write_errors",
            "Failed writes and syncs, by kind of file",
            t.write_errors.clone(),
        );
        r.register(
            "corruptions",
            "Damaged pieces found, by kind of file",
            t.corruptions.clone(),
        );
        r.register_with_unit(
            "torn_tail",
            "Bytes cut from ends of files that a crash had torn",
            Unit::Bytes,
            t.torn_bytes.clone(),
        );
        r.register_with_unit(
            "disk",
            "Bytes on disk, by kind of file",
            Unit::Bytes,
            t.disk_bytes.clone(),
        );
        r.register(
            "files_set_aside",
            "Damaged files that were set aside and are still there",
            t.set_aside.clone(),
        );
        r.register_with_unit(
            "disk_free",
            "Bytes free on the file system of the data directory",
            Unit::Bytes,
            t.free_bytes.clone(),
        );
        r.register(
            "pieces_removed",
            "Blocks and log files removed by retention, by reason",
            t.removed.clone(),
        );
        t
    }

    pub(crate) fn refuse(&self, reason: Refusal, count: u64) {
        if count > 0 {
            let labels = RefusalLabels { reason };
            self.samples_refused.get_or_create(&labels).inc_by(count);
        }
    }
}
