//! Raw log line in, [`ScrubbedLine`] out: the only way to make one.
//!
//! `storage` accepts nothing else, so a line that has not passed here does not compile
//! into the disk path. Pure: no clock, no I/O.

mod batch;

pub use batch::{LogBatch, ScrubbedEntry, ScrubbedLabels, ScrubbedLine, SourcePosition};
