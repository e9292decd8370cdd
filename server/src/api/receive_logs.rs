//! What all receivers of log lines share: every line passes the scrubber, lines go to the store
//! in batches of bounded size, and a tally tells what became of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Labels, Timestamp};
use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels};

use super::Parts;
use super::receive::Stop;
use crate::clock::rfc3339;

/// What senders are told where lines are not taken.
pub(crate) const DISABLED: &str =
    "the receiver of log lines is off; to open it: server.log_receiver: true";
/// Longest line, in bytes; Loki's default.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Bytes of names and values of one entry's structured metadata; Loki's default.
const METADATA_BYTES_MAX: usize = 64 << 10;
/// Labels of one stream. Loki's default is 15; OTLP's resources have more.
const LABELS_MAX: usize = 40;
/// Longest name of a label, in bytes; Loki's default.
const NAME_BYTES_MAX: usize = 1024;
/// Longest value of a label, in bytes; Loki's default.
const VALUE_BYTES_MAX: usize = 2048;
/// How far ahead of our clock a line may be; Loki's default.
const AHEAD_MAX: Duration = Duration::from_secs(600);
/// Lines and bytes handed to the store at once.
const BATCH_LINES_MAX: usize = 2000;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Different complaints told to a sender.
const COMPLAINTS_MAX: usize = 10;
/// Longest complaint, in bytes: they repeat what was sent.
const COMPLAINT_BYTES_MAX: usize = 1024;

/// Collects lines of a request and stores them.
pub(crate) struct LogReceiver<'a> {
    parts: &'a Parts,
    /// Set when nobody waits for the answer any more.
    cancel: &'a AtomicBool,
    oldest_ns: i64,
    newest_ns: i64,
    /// The stream whose lines come now, as it was sent; `None` when it was refused.
    stream: Option<Labels>,
    batch: LogBatch,
    /// What the scrubber left of the last metadata: mostly all, and the next line has the same.
    clean: ScrubbedLabels,
    bytes: usize,
    tally: LogTally,
}

/// What became of a request's lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogTally {
    /// Lines stored; those that were in memory already included.
    pub(crate) stored: u64,
    /// Lines that can never be stored.
    pub(crate) invalid: u64,
    complaints: Vec<String>,
}

impl LogTally {
    fn refuse(&mut self, lines: u64, why: impl FnOnce() -> String) {
        self.invalid += lines;
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(shortened(why()));
        }
    }

    /// Why lines were refused, for the sender.
    pub(crate) fn complaint(&self) -> String {
        self.complaints.join("\n")
    }

    /// Whether nothing was refused.
    pub(crate) fn is_clean(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// The beginning of a complaint.
pub(crate) fn shortened(mut why: String) -> String {
    if why.len() > COMPLAINT_BYTES_MAX {
        why.truncate(why.floor_char_boundary(COMPLAINT_BYTES_MAX));
        why.push('…');
    }
    why
}

impl<'a> LogReceiver<'a> {
    /// Lines older than `retention` are refused, and those far in the future.
    pub(crate) fn new(
        parts: &'a Parts,
        cancel: &'a AtomicBool,
        now: Timestamp,
        retention: Duration,
    ) -> Self {
        LogReceiver {
            parts,
            cancel,
            oldest_ns: nanos(now.minus(retention)),
            newest_ns: nanos(now.plus(AHEAD_MAX)),
            stream: None,
            batch: empty_batch(),
            clean: ScrubbedLabels::default(),
            bytes: 0,
            tally: LogTally::default(),
        }
    }

    /// What follows are lines of this stream.
    pub(crate) fn stream(&mut self, labels: Result<Labels, String>) -> Result<(), Stop> {
        self.store()?;
        self.stream = None;
        match labels.and_then(checked) {
            Ok(labels) => {
                self.batch.stream = self.parts.scrubber.labels(&labels);
                self.stream = Some(labels);
            }
            Err(why) => self.tally.refuse(0, || why),
        }
        Ok(())
    }

    /// One line of the stream.
    pub(crate) fn entry(&mut self, at_ns: i64, line: &str, metadata: &Labels) -> Result<(), Stop> {
        let Some(stream) = &self.stream else {
            self.tally.invalid += 1;
            return Ok(());
        };
        if at_ns < self.oldest_ns {
            let (at, oldest) = (time(at_ns), time(self.oldest_ns));
            self.tally.refuse(1, || {
                format!(
                    "entry for stream '{stream}' has timestamp too old: {at}, oldest acceptable timestamp is: {oldest}"
                )
            });
            return Ok(());
        }
        if at_ns > self.newest_ns {
            let at = time(at_ns);
            self.tally.refuse(1, || {
                format!("entry for stream '{stream}' has timestamp too new: {at}")
            });
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX {
            self.tally.refuse(1, || {
                format!(
                    "Max entry size '{LINE_BYTES_MAX}' bytes exceeded for stream '{stream}' while adding an entry with length '{}' bytes",
                    line.len()
                )
            });
            return Ok(());
        }
        if metadata.heap_bytes() > METADATA_BYTES_MAX {
            self.tally.refuse(1, || {
                format!(
                    "stream '{stream}' has structured metadata too large: '{}' bytes, limit: '{METADATA_BYTES_MAX}' bytes",
                    metadata.heap_bytes()
                )
            });
            return Ok(());
        }
        let scrubber = &self.parts.scrubber;
        let Some(scrubbed) = scrubber.keep(line.as_bytes()) else {
            // Dropped by a rule of the operator's, who knows better than the sender.
            return Ok(());
        };
        if self.clean.labels() != metadata {
            self.clean = scrubber.labels(metadata);
        }
        self.batch.entries.push(ScrubbedEntry {
            at_ns,
            line: scrubbed,
            metadata: self.clean.clone(),
        });
        self.bytes += line.len() + metadata.heap_bytes();
        if self.batch.entries.len() >= BATCH_LINES_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.store()?;
        }
        Ok(())
    }

    /// Stores the rest.
    pub(crate) fn finish(mut self) -> Result<LogTally, Stop> {
        self.store()?;
        Ok(self.tally)
    }

    fn store(&mut self) -> Result<(), Stop> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Stop::Canceled);
        }
        self.bytes = 0;
        if !self.batch.entries.is_empty() {
            (self.parts.append_logs)(&self.batch)?;
            self.tally.stored += self.batch.entries.len() as u64;
            self.batch.entries.clear();
        }
        Ok(())
    }
}

fn empty_batch() -> LogBatch {
    LogBatch {
        stream: ScrubbedLabels::default(),
        entries: Vec::new(),
        position: None,
    }
}

/// The labels of a stream, if they can be.
fn checked(labels: Labels) -> Result<Labels, String> {
    if labels.is_empty() {
        return Err("error at least one label pair is required per stream".to_owned());
    }
    if labels.len() > LABELS_MAX {
        return Err(format!(
            "entry for stream '{labels}' has {} label names; limit {LABELS_MAX}",
            labels.len()
        ));
    }
    for (name, value) in &labels {
        if !is_label_name(name) {
            return Err(format!(
                "Error parsing labels '{labels}' with error: invalid label name {name:?}"
            ));
        }
        if name.len() > NAME_BYTES_MAX {
            let start: String = name.chars().take(80).collect();
            return Err(format!("a stream has label name too long: '{start}…'"));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "a stream has label value too long: the one of '{name}'"
            ));
        }
    }
    Ok(labels)
}

/// As Loki's stream selectors can ask for.
pub(crate) fn is_label_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(is_letter)
        && name
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

fn nanos(at: Timestamp) -> i64 {
    at.millis().saturating_mul(1_000_000)
}

fn time(at_ns: i64) -> String {
    rfc3339(Timestamp::from_millis(at_ns.div_euclid(1_000_000)))
}
