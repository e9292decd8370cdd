//! What the store tells about a batch and about itself.

/// What became of the samples of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendReport {
    /// Stored.
    pub appended: u64,
    /// Of those, older than the newest sample of their series, by less than
    /// [`crate::Config::out_of_order_window`], or than what is in blocks.
    pub late: u64,
    /// Stored before, with the same series, instant and value: nothing to do.
    pub repeated: u64,
    /// Same series and instant as a stored sample, another value: the first one stays.
    pub duplicate: u64,
    /// Older than the newest sample of its series, and too late.
    pub out_of_order: u64,
    /// The same, and its time is already in a block; or older than anything is kept.
    pub too_old: u64,
    /// More than [`crate::FUTURE_MAX`] ahead of the clock.
    pub too_far_future: u64,
    /// Of a new series, when there are already as many as the head may hold.
    pub series_limit: u64,
    /// Of a new series, when its target has as many as
    /// [`crate::Config::series_per_target_max`].
    pub target_limit: u64,
    /// Series seen for the first time (or again after they had left memory).
    pub new_series: u64,
}

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether what is handed in is being stored.
    pub ok: bool,
    /// What is wrong now; empty when `ok`.
    pub problems: Vec<String>,
    /// What is no failure, and for a person to look at.
    pub warnings: Vec<String>,
    /// What went wrong since the start and was dealt with: torn tails cut, files set aside.
    /// The newest 20.
    pub notices: Vec<String>,
}

/// The store in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Active series (in memory).
    pub series: u64,
    /// Most series there may be.
    pub series_max: u64,
    /// Samples appended since the start, replayed ones included.
    pub samples: u64,
    /// Estimated memory of series and their samples.
    pub head_bytes: u64,
    /// Estimated memory of lines that are not in a frame yet.
    pub log_head_bytes: u64,
    /// Log lines stored since the start, replayed ones included.
    pub log_lines: u64,
    /// Log streams known, in memory or on disk.
    pub log_streams: u64,
    /// Metric blocks on disk.
    pub blocks: u64,
    /// Log frames on disk.
    pub frames: u64,
    /// All bytes under the data directory, as of the last `maintain`.
    pub disk_bytes: u64,
}

/// What a block of samples says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockFigures {
    /// Its number, which no other block of the directory has.
    pub number: u64,
    /// Instant of the first sample, in milliseconds.
    pub start_ms: i64,
    /// All samples are before it, in milliseconds.
    pub end_ms: i64,
    /// Length of a roll-up's buckets in milliseconds; 0 for samples as they came.
    pub resolution_ms: i64,
    /// Series.
    pub series: u64,
    /// Samples; of a roll-up, buckets.
    pub samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it was made of other blocks.
    pub is_compacted: bool,
}
