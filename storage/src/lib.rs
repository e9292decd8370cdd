//! Samples and scrubbed lines to disk and back.
//!
//! Both kinds go the same way: a record in a write-ahead log (`wal`), memory, then
//! immutable pieces (blocks of samples, frames of lines) that retention removes as files.
//! A thread of the store syncs the logs at least once a second; everything else happens in
//! the caller's thread. Formats: `docs/formats/`.
//!
//! What holds whatever happens to the process or the power: a batch is there as a whole or
//! not at all; what is there is a prefix of what was accepted, and all of it up to the last
//! sync; the position of a log source is exactly that of its stored lines; damage costs the
//! damaged piece and is shown in [`Health`], never the start.

pub mod analyze;
pub mod backup;
mod bytes;
mod config;
mod control;
pub mod crc32c;
mod disk;
mod error;
mod format;
mod health;
pub mod import;
mod left_out;
mod lock;
mod logs;
mod metrics;
mod report;
mod retention;
mod set_aside;
mod store;
mod telemetry;
mod wal;

/// The doors for `fuzz/`.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::logs::fuzzing::frames;
    pub use crate::metrics::fuzzing::{block, head_chunk, wal};
}

use std::time::Duration;

pub use config::{Config, Rollup};
pub use error::{OpenError, WriteError};
pub use left_out::LeftOut;
pub use logs::{LogFiles, LogWatcher, read_log_files};
pub use metrics::Deleted;
pub use report::{AppendReport, BlockFigures, Health, Stats};
pub use store::Storage;

/// How far ahead of the clock a sample may be. More would let one wrong clock close the
/// door for everybody else's samples.
pub const FUTURE_MAX: Duration = Duration::from_secs(600);

/// Memory reckoned for one active series; `head_bytes_max` divided by it bounds the series.
/// Of 100,000 series as node and redis exporters have them each took at most 390 bytes of
/// the head, half an hour of samples included, and 470 of resident memory (`cargo run --release
/// -p storage --example restart`); the rest is for longer labels, and for samples that do not
/// pack as well. What the
/// head really takes is bounded by flushing it early.
pub const SERIES_BYTES_ASSUMED: u64 = 512;
