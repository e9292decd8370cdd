//! Samples and scrubbed lines to disk and back.

mod bytes;
mod config;
mod control;
mod disk;
mod error;
mod health;
mod lock;
mod logs;
mod metrics;
mod report;
mod retention;
mod store;
mod telemetry;
mod wal;

use std::time::Duration;

pub use config::Config;
pub use error::{OpenError, WriteError};
pub use report::{AppendReport, Health, Stats};
pub use store::Storage;

/// How far ahead of the clock a sample may be. More would let one wrong clock close the
/// door for everybody else's samples.
pub const FUTURE_MAX: Duration = Duration::from_secs(600);

/// Memory reckoned for one active series; `head_bytes_max` divided by it bounds the series.
pub const SERIES_BYTES_ASSUMED: u64 = 1024;
