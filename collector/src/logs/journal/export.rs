//! The journal's export format, as far as lines are made of it.
//!
//! Source: systemd's "Journal Export Formats": fields are `NAME=value` and a line end, or, where the
//! value has one itself, `NAME`, a line end, its length in 8 bytes, the value, a line end. An empty
//! line ends an entry.

use crate::logs::level;
use crate::logs::lines::LINE_BYTES_MAX;

/// Names and the values of short fields are kept so far.
const SHORT_BYTES_MAX: usize = 1024;

/// The fields that are asked for beside those that tell time and place.
pub(super) const FIELDS: &str =
    "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_HOSTNAME,_PID,_TRANSPORT,CONTAINER_ID_FULL";

/// An entry. Fields that it does not have are empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Names its place in the journal.
    pub(super) cursor: String,
    /// Nanoseconds since the epoch.
    pub(super) at_ns: i64,
    pub(super) message: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) priority: String,
    pub(super) identifier: String,
    pub(super) unit: String,
    pub(super) hostname: String,
    pub(super) pid: String,
    pub(super) transport: String,
    /// Whether Docker wrote it for a container.
    pub(super) of_container: bool,
}

/// Takes the format apart.
#[derive(Default)]
pub(super) struct Export {
    state: State,
    /// The line or value so far, and whether it was longer.
    kept: Vec<u8>,
    cut: bool,
    /// The field whose length or value is being read.
    name: Vec<u8>,
    entry: Entry,
}

#[derive(Default)]
enum State {
    #[default]
    Line,
    Length,
    /// So many bytes of a value are to come, and a line end.
    Value(u64),
    ValueEnd,
}

impl Export {
    /// Takes bytes; hands on the entries that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Entry)) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.state {
                State::Line => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    self.keep(
                        &bytes[..end.unwrap_or(bytes.len())],
                        LINE_BYTES_MAX + SHORT_BYTES_MAX,
                    );
                    bytes = end.map_or(&[], |end| &bytes[end + 1..]);
                    if end.is_some() {
                        self.line().into_iter().for_each(&mut each);
                    }
                }
                State::Length => {
                    self.keep(&[first], 8);
                    bytes = rest;
                    if let Some(length) = self.kept.first_chunk() {
                        self.state = State::Value(u64::from_le_bytes(*length));
                        self.kept.clear();
                    }
                }
                State::Value(0) => self.state = State::ValueEnd,
                State::Value(left) => {
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.keep(&bytes[..count], LINE_BYTES_MAX);
                    bytes = &bytes[count..];
                    self.state = State::Value(left - count as u64);
                }
                State::ValueEnd => {
                    let (name, value) = (
                        std::mem::take(&mut self.name),
                        std::mem::take(&mut self.kept),
                    );
                    let cut = std::mem::take(&mut self.cut);
                    self.entry.set(&name, value, cut);
                    self.state = State::Line;
                    bytes = rest;
                }
            }
        }
    }

    /// A whole line: a field, the name of one, or the end of an entry.
    fn line(&mut self) -> Option<Entry> {
        let line = std::mem::take(&mut self.kept);
        let cut = std::mem::take(&mut self.cut);
        if line.is_empty() {
            let entry = std::mem::take(&mut self.entry);
            return (!entry.cursor.is_empty()).then_some(entry);
        }
        match line.iter().position(|byte| *byte == b'=') {
            Some(at) => self.entry.set(&line[..at], line[at + 1..].to_vec(), cut),
            None => {
                self.name = line;
                self.state = State::Length;
            }
        }
        None
    }

    fn keep(&mut self, bytes: &[u8], max: usize) {
        let room = max.saturating_sub(self.kept.len());
        self.cut |= bytes.len() > room;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Entry {
    fn set(&mut self, name: &[u8], mut value: Vec<u8>, cut: bool) {
        if name == b"MESSAGE" {
            self.truncated = cut || value.len() > LINE_BYTES_MAX;
            value.truncate(LINE_BYTES_MAX);
            self.message = value;
            return;
        }
        value.truncate(SHORT_BYTES_MAX);
        let text = String::from_utf8_lossy(&value).into_owned();
        match name {
            b"__CURSOR" => self.cursor = text,
            b"__REALTIME_TIMESTAMP" => {
                let micros: i64 = text.parse().unwrap_or(0);
                self.at_ns = micros.saturating_mul(1000);
            }
            b"PRIORITY" => self.priority = text,
            b"SYSLOG_IDENTIFIER" => self.identifier = text,
            b"_SYSTEMD_UNIT" => self.unit = text,
            b"_HOSTNAME" => self.hostname = text,
            b"_PID" => self.pid = text,
            b"_TRANSPORT" => self.transport = text,
            b"CONTAINER_ID_FULL" => self.of_container = true,
            _ => {}
        }
    }

    /// The priority as containers' lines tell it.
    pub(super) fn level(&self) -> Option<&'static str> {
        level::of_severity(self.priority.parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Vec<Entry> {
        let mut all = Vec::new();
        // However the pipe cuts it.
        for size in [1, 7, bytes.len()] {
            let (mut export, mut found) = (Export::default(), Vec::new());
            for piece in bytes.chunks(size) {
                export.push(piece, |entry| found.push(entry));
            }
            all.push(found);
        }
        assert_eq!(all[0], all[1]);
        assert_eq!(all[1], all[2]);
        all.remove(0)
    }

    #[test]
    fn entries_of_journalctl_are_read() {
        let mut bytes = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1700000000000001\nPRIORITY=3\n\
            SYSLOG_IDENTIFIER=app\n_SYSTEMD_UNIT=app.service\n_HOSTNAME=vm\n_PID=7\nOTHER=x\n\
            MESSAGE=a=b c\n\n__CURSOR=s=1;i=3\nMESSAGE\n"
            .to_vec();
        let text = b"two\n\nlines";
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\nCONTAINER_ID_FULL=1\n\n__CURSOR=cut off\n");
        let found = entries(&bytes);
        assert_eq!(found.len(), 2);
        let first = Entry {
            cursor: "s=1;i=2".to_owned(),
            at_ns: 1_700_000_000_000_001_000,
            message: b"a=b c".to_vec(),
            priority: "3".to_owned(),
            identifier: "app".to_owned(),
            unit: "app.service".to_owned(),
            hostname: "vm".to_owned(),
            pid: "7".to_owned(),
            ..Entry::default()
        };
        assert_eq!(found[0], first);
        assert_eq!(first.level(), Some("error"));
        assert_eq!(found[1].message, text);
        assert!(found[1].of_container && !found[1].truncated);
    }

    #[test]
    fn long_messages_are_cut_and_lengths_that_lie_hold_no_memory() {
        let long = "x".repeat(LINE_BYTES_MAX + 5);
        let (mut export, mut found) = (Export::default(), Vec::new());
        export.push(format!("__CURSOR=a\nMESSAGE={long}\n\n").as_bytes(), |e| {
            found.push(e);
        });
        assert_eq!(
            (found[0].message.len(), found[0].truncated),
            (LINE_BYTES_MAX, true)
        );
        export.push(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff", |e| {
            found.push(e);
        });
        for _ in 0..10 {
            export.push(long.as_bytes(), |e| found.push(e));
        }
        assert!(export.kept.len() <= LINE_BYTES_MAX && found.len() == 1);
    }
}
