//! What an operator can set.

use std::path::PathBuf;
use std::time::Duration;

use model::Matcher;

/// Where and how much to store. Every bound of the crate that is not a constant is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data directory; made when absent.
    pub dir: PathBuf,
    /// Samples older than this go, block by block (2 h each). Default 15 days.
    pub retention_metrics: Duration,
    /// Other times for some series, by selector; the first that matches decides. Shorter ones
    /// free their space when the block that ends before is rewritten, within a day; longer ones
    /// keep those series beyond `retention_metrics`. Roll-ups have all series. Default none.
    pub retention_rules: Vec<(Vec<Matcher>, Duration)>,
    /// Coarser copies that outlive the samples. Default none.
    pub rollups: Vec<Rollup>,
    /// Log lines older than this go, file by file. Default 30 days.
    pub retention_logs: Duration,
    /// All bytes under `dir`, write-ahead logs and temporary files included; past it the
    /// oldest blocks and log files go first, whichever kind they are. Default 5 GB.
    pub size_bytes_max: u64,
    /// Free bytes to leave on the file system, at most 5 % of it; below it the oldest pieces
    /// go first, but none from the last two hours. Default 200 MB.
    pub free_bytes_min: u64,
    /// Memory for samples that are not in a block yet. Past it the head is flushed early;
    /// it also bounds how many series may be active, at
    /// [`crate::SERIES_BYTES_ASSUMED`] each. Default 64 MB.
    pub head_bytes_max: u64,
    /// How late a sample may be that is older than the newest one of its series: older than the
    /// newest sample stored (or than the clock, when that is behind) by more than this it is
    /// refused. Zero refuses every such sample. Default 2 h, which is what a Prometheus that could not
    /// reach its remote-write target keeps and then sends.
    pub out_of_order_window: Duration,
    /// Most active series of one target, which is one `job` and `instance`. One target that
    /// makes series without end is refused before it takes the place of the others.
    /// Default 50,000.
    pub series_per_target_max: usize,
    /// Memory for lines that are not in a frame yet. Default 8 MB.
    pub log_head_bytes_max: u64,
    /// What a power cut may cost: accepted data reach the disk at least this often.
    /// Values above one second are taken as one second. Default 1 s.
    pub sync_interval: Duration,
}

impl Config {
    /// How long any sample may be kept, in whatever form.
    pub(crate) fn longest_retention(&self) -> Duration {
        let rules = self.retention_rules.iter().map(|(_, keep)| *keep);
        let rollups = self.rollups.iter().map(|r| r.retention);
        rules
            .chain(rollups)
            .fold(self.retention_metrics, Duration::max)
    }
}

/// A coarser copy of all series; what it keeps of them: `docs/formats/block.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Length of its buckets, e.g. 5 m or 1 h; they start at multiples of it since the epoch.
    pub resolution: Duration,
    /// How long it is kept.
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Config {
            dir: PathBuf::from("data"),
            retention_metrics: 15 * DAY,
            retention_rules: Vec::new(),
            rollups: Vec::new(),
            retention_logs: 30 * DAY,
            size_bytes_max: 5_000_000_000,
            free_bytes_min: 200_000_000,
            head_bytes_max: 64_000_000,
            out_of_order_window: Duration::from_secs(2 * 3600),
            series_per_target_max: 50_000,
            log_head_bytes_max: 8_000_000,
            sync_interval: Duration::from_secs(1),
        }
    }
}
