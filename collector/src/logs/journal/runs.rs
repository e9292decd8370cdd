//! Entries into batches: one for each run of entries of one stream, in the journal's order. So each
//! position says that all before it is stored, whatever the stream.

use scrub::{LogBatch, ScrubbedLabels, SourcePosition};

use super::export::Entry;
use super::{JournalConfig, SOURCE};
use crate::logs::labels::stream_labels;
use crate::logs::lines::{Lines, RawLine};

/// Streams whose labels are remembered; there are as many as units.
const STREAMS_MAX: usize = 1000;
/// What an entry costs beyond its text.
const ENTRY_BYTES: usize = 64;
/// Version of a position.
const VERSION: u8 = 1;

/// Unit, host, and the program where there is no unit.
type Key = (String, String, String);

pub(super) struct Runs {
    config: JournalConfig,
    host: String,
    lines: Lines,
    known: Vec<(Key, ScrubbedLabels)>,
    batches: Vec<LogBatch>,
    /// Of the last batch.
    key: Option<Key>,
    bytes: usize,
}

impl Runs {
    pub(super) fn new(config: JournalConfig, host: String, lines: Lines) -> Self {
        Runs {
            config,
            host,
            lines,
            known: Vec::new(),
            batches: Vec::new(),
            key: None,
            bytes: 0,
        }
    }

    /// About how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an entry. Containers' are the engine's to tell.
    pub(super) fn push(&mut self, entry: Entry) {
        if entry.of_container || entry.message.is_empty() {
            return;
        }
        let metadata = [
            ("syslog_identifier", entry.identifier.as_str()),
            ("pid", &entry.pid),
            ("transport", &entry.transport),
        ];
        let Some(line) = self.lines.entry(RawLine {
            at_ns: entry.at_ns,
            text: &entry.message,
            truncated: entry.truncated,
            level: entry.level(),
            metadata: &metadata,
        }) else {
            return;
        };
        self.bytes += line.line.len() + ENTRY_BYTES;
        let program = if entry.unit.is_empty() {
            entry.identifier
        } else {
            String::new()
        };
        let key = (entry.unit, entry.hostname, program);
        let position = Some(SourcePosition {
            source: SOURCE.to_owned(),
            position: encode(&entry.cursor),
        });
        if let (true, Some(last)) = (self.key.as_ref() == Some(&key), self.batches.last_mut()) {
            last.entries.push(line);
            last.position = position;
            return;
        }
        let stream = self.labels(&key);
        self.key = Some(key);
        self.batches.push(LogBatch {
            stream,
            entries: vec![line],
            position,
        });
    }

    /// Everything that waits.
    pub(super) fn take(&mut self) -> Vec<LogBatch> {
        self.bytes = 0;
        self.key = None;
        std::mem::take(&mut self.batches)
    }

    fn labels(&mut self, key: &Key) -> ScrubbedLabels {
        if let Some((_, labels)) = self.known.iter().find(|(known, _)| known == key) {
            return labels.clone();
        }
        let (unit, hostname, program) = key;
        let service = if unit.is_empty() { program } else { unit };
        let service = service.strip_suffix(".service").unwrap_or(service);
        let config = &self.config;
        let mut labels = stream_labels(&config.job, service, &self.host, &config.labels);
        labels.set("unit", unit).set("hostname", hostname);
        let labels = self.lines.labels(&labels.build());
        if self.known.len() >= STREAMS_MAX {
            self.known.clear();
        }
        self.known.push((key.clone(), labels.clone()));
        labels
    }
}

fn encode(cursor: &str) -> Vec<u8> {
    [&[VERSION], cursor.as_bytes()].concat()
}

/// The cursor of a position; `None` when another version wrote it.
pub(super) fn decode(position: &[u8]) -> Option<String> {
    let text = position.strip_prefix(&[VERSION])?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scrub::Scrubber;

    use super::*;
    use crate::logs::lines::LineTelemetry;

    fn entry(n: i64, unit: &str) -> Entry {
        Entry {
            cursor: format!("i={n}"),
            at_ns: n,
            message: format!("line {n} of jane@example.org").into(),
            priority: "4".to_owned(),
            identifier: "app".to_owned(),
            unit: unit.to_owned(),
            hostname: "vm".to_owned(),
            ..Entry::default()
        }
    }

    #[test]
    fn each_batch_says_that_all_before_it_is_stored() {
        let lines = Lines::new(Arc::new(Scrubber::default()), LineTelemetry::default());
        let mut runs = Runs::new(JournalConfig::default(), "h".to_owned(), lines);
        for (n, unit) in ["a.service", "a.service", "b.service", "a.service", ""]
            .iter()
            .enumerate()
        {
            runs.push(entry(n as i64, unit));
        }
        runs.push(Entry {
            of_container: true,
            ..entry(9, "docker.service")
        });
        let batches = runs.take();
        let cursor = |b: &LogBatch| decode(&b.position.as_ref().unwrap().position).unwrap();
        let shown: Vec<_> = batches
            .iter()
            .map(|b| (b.entries.len(), cursor(b)))
            .collect();
        let expect = [(2, "i=1"), (1, "i=2"), (1, "i=3"), (1, "i=4")];
        assert_eq!(shown, expect.map(|(n, c)| (n, c.to_owned())));
        let labels = model::Labels::from_pairs([
            ("host", "h"),
            ("hostname", "vm"),
            ("job", "systemd-journal"),
            ("service_name", "a"),
            ("unit", "a.service"),
        ]);
        assert_eq!(batches[0].stream.labels(), &labels);
        assert_eq!(batches[3].stream.labels().get("service_name"), Some("app"));
        let first = &batches[0].entries[0];
        assert!(!first.line.as_str().contains("jane"));
        let metadata = first.metadata.labels();
        assert_eq!(metadata.get("detected_level"), Some("warn"));
        assert_eq!(metadata.get("syslog_identifier"), Some("app"));
        assert_eq!((runs.bytes(), runs.take().len()), (0, 0));
    }

    #[test]
    fn configurations_are_checked() {
        let check = |text: &str| {
            serde_saphyr::from_str::<JournalConfig>(text)
                .unwrap()
                .check()
        };
        assert_eq!(
            check("{matches: [_SYSTEMD_UNIT=ssh.service, +, PRIORITY=3]}"),
            Ok(())
        );
        assert!(check("{matches: [--file=/etc/passwd]}").is_err());
        assert!(check("{matches: [ssh]}").is_err());
    }
}
