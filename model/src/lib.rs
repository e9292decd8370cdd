//! The words everyone shares, and the traits by which anyone reads series and logs.
//!
//! No I/O, no async, no clock: time is an argument everywhere. Nothing here serialises;
//! API shapes live in `server`, bytes in `storage`.

pub mod alert;
pub mod control;
pub mod diagnostic;
pub mod histogram;
pub mod labels;
pub mod labels_list;
pub mod log;
pub mod matcher;
pub mod nearest;
pub mod number;
pub mod regex;
pub mod sample;
pub mod selected;
pub mod series;
pub mod sieve;
pub mod time;

pub use alert::{Alert, AlertStatus};
pub use control::{ControlError, ControlStore, ControlWrite};
pub use diagnostic::Diagnostic;
pub use histogram::{CounterResetHint, Histogram, Span};
pub use labels::{Labels, LabelsBuilder};
pub use labels_list::{LabelsList, LabelsWalk};
pub use log::{Direction, LogEntry, LogPiece, LogReader, LogSelection, PassedOver, Skim};
pub use matcher::{MatchOp, Matcher};
pub use nearest::nearest;
pub use regex::{Regex, RegexError};
pub use sample::{
    FPoint, HPoint, HistogramSample, STALE_NAN, Sample, SampleBatch, Samples, is_stale,
};
pub use selected::{LabelsRef, Selected, SelectedSeries, SelectedSource};
pub use series::{
    Gap, Hints, Missing, ReadBounds, ReadError, SampleCursor, Selection, SeriesReader,
};
pub use sieve::Sieve;
pub use time::{TimeRange, Timestamp};
