//! Messages into the batches of their streams.

use std::collections::HashMap;

use scrub::{LogBatch, ScrubbedEntry, ScrubbedLabels};

use super::SyslogConfig;
use super::message::Message;
use crate::logs::labels::stream_labels;
use crate::logs::lines::{Lines, RawLine};

/// Streams that senders can make: names of hosts and programs are theirs to choose. Messages of
/// further ones go to one stream for each facility and severity and have these names in their metadata.
const STREAMS_MAX: usize = 1000;
/// What an entry costs beyond its text.
const ENTRY_BYTES: usize = 64;

/// Host, program, facility, severity.
type Key = (String, String, &'static str, &'static str);

pub(super) struct Streams {
    config: SyslogConfig,
    host: String,
    lines: Lines,
    streams: HashMap<Key, Stream>,
    /// Those with entries, in the order in which they came.
    filled: Vec<Key>,
    bytes: usize,
    last_ns: i64,
}

struct Stream {
    labels: ScrubbedLabels,
    entries: Vec<ScrubbedEntry>,
}

impl Streams {
    pub(super) fn new(config: SyslogConfig, host: String, lines: Lines) -> Self {
        Streams {
            config,
            host,
            lines,
            streams: HashMap::new(),
            filled: Vec::new(),
            bytes: 0,
            last_ns: 0,
        }
    }

    /// About how many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message.
    pub(super) fn push(&mut self, raw: &[u8], truncated: bool, now_ns: i64) {
        let message = Message::parse(raw);
        if message.text.is_empty() && message.data.is_empty() {
            return;
        }
        // Messages of one moment stay in their order.
        self.last_ns = now_ns.max(self.last_ns + 1);
        let said = message.at_ns.filter(|_| self.config.use_incoming_timestamp);
        let mut metadata = vec![
            ("procid", message.procid.as_str()),
            ("msgid", &message.msgid),
        ];
        metadata.extend(message.data.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        metadata.retain(|(_, value)| !value.is_empty());
        let (hostname, appname) = (&message.hostname, &message.appname);
        let kind = (message.facility(), message.severity());
        let mut key = (hostname.clone(), appname.clone(), kind.0, kind.1);
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&key) {
            key = (String::new(), String::new(), kind.0, kind.1);
            metadata.extend([("hostname", hostname.as_str()), ("appname", appname)]);
        }
        let Some(entry) = self.lines.entry(RawLine {
            at_ns: said.unwrap_or(self.last_ns),
            text: message.text,
            truncated,
            level: message.level(),
            metadata: &metadata,
        }) else {
            return;
        };
        self.bytes += entry.line.len() + ENTRY_BYTES;
        if !self.streams.contains_key(&key) {
            let stream = Stream {
                labels: self.labels(&key),
                entries: Vec::new(),
            };
            self.streams.insert(key.clone(), stream);
        }
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.entries.push(entry);
            if stream.entries.len() == 1 {
                self.filled.push(key);
            }
        }
    }

    /// Everything that waits.
    pub(super) fn take(&mut self) -> Vec<LogBatch> {
        self.bytes = 0;
        let streams = &mut self.streams;
        let filled = std::mem::take(&mut self.filled);
        let batches = filled.into_iter().filter_map(|key| {
            let stream = streams.get_mut(&key)?;
            Some(LogBatch {
                stream: stream.labels.clone(),
                entries: std::mem::take(&mut stream.entries),
                // Nothing can be asked for again.
                position: None,
            })
        });
        batches.collect()
    }

    fn labels(&self, (hostname, appname, facility, severity): &Key) -> ScrubbedLabels {
        let config = &self.config;
        let mut labels = stream_labels(&config.job, appname, &self.host, &config.labels);
        labels
            .set("hostname", hostname)
            .set("appname", appname)
            .set("facility", *facility)
            .set("severity", *severity);
        self.lines.labels(&labels.build())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scrub::Scrubber;

    use super::*;
    use crate::logs::lines::LineTelemetry;

    const NOW_NS: i64 = 1_700_000_000_000_000_000;

    fn streams(config: &str) -> Streams {
        let config: SyslogConfig = serde_saphyr::from_str(config).unwrap();
        assert_eq!(config.check(), Ok(()));
        let lines = Lines::new(Arc::new(Scrubber::default()), LineTelemetry::default());
        Streams::new(config, "h".to_owned(), lines)
    }

    #[test]
    fn streams_have_the_labels_that_users_of_promtail_make() {
        let mut streams = streams("{listen: ':1514', labels: {env: prod}}");
        let raw =
            b"<34>1 2003-10-11T22:14:15.003Z web-1 su 7 ID47 [a b=\"c\"] root jane@example.org";
        streams.push(raw, false, NOW_NS);
        streams.push(b"<34>Oct 11 22:14:15 web-1 su: again", true, NOW_NS);
        let batches = streams.take();
        assert_eq!((batches.len(), streams.bytes()), (1, 0));
        let expect = model::Labels::from_pairs([
            ("appname", "su"),
            ("env", "prod"),
            ("facility", "auth"),
            ("host", "h"),
            ("hostname", "web-1"),
            ("job", "syslog"),
            ("service_name", "su"),
            ("severity", "critical"),
        ]);
        assert_eq!(batches[0].stream.labels(), &expect);
        let [first, second] = &batches[0].entries[..] else {
            panic!("two entries");
        };
        assert!(first.line.as_str().starts_with("root ") && !first.line.as_str().contains("jane"));
        assert_eq!((first.at_ns, second.at_ns), (NOW_NS, NOW_NS + 1));
        let metadata = model::Labels::from_pairs([
            ("detected_level", "critical"),
            ("msgid", "ID47"),
            ("procid", "7"),
            ("sd_a_b", "c"),
        ]);
        assert_eq!(first.metadata.labels(), &metadata);
        assert_eq!(second.metadata.labels().get("truncated"), Some("true"));
        assert!(streams.take().is_empty());
    }

    #[test]
    fn a_senders_time_counts_when_so_configured() {
        let mut streams = streams("{listen: ':1514', use_incoming_timestamp: true}");
        streams.push(b"<34>1 2003-10-11T22:14:15.003Z a b - - - x", false, NOW_NS);
        streams.push(b"<34>Oct 11 22:14:15 a b: y", false, NOW_NS);
        let entries = streams.take().remove(0).entries;
        assert_eq!(entries[0].at_ns, 1_065_910_455_003_000_000);
        assert!(entries[1].at_ns >= NOW_NS);
    }

    #[test]
    fn senders_cannot_make_streams_without_end() {
        let mut streams = streams("{listen: ':1514'}");
        for n in 0..STREAMS_MAX + 50 {
            streams.push(
                format!("<13>Nov 22 05:00:00 host-{n} a: x").as_bytes(),
                false,
                NOW_NS,
            );
        }
        let batches = streams.take();
        assert_eq!(batches.len(), STREAMS_MAX + 1);
        let last = batches.last().unwrap();
        assert_eq!(last.entries.len(), 50);
        assert_eq!(
            last.entries[0].metadata.labels().get("hostname"),
            Some("host-1000")
        );
        assert_eq!(last.stream.labels().get("hostname"), None);
    }

    #[test]
    fn configurations_are_checked() {
        let check = |text: &str| {
            serde_saphyr::from_str::<SyslogConfig>(text)
                .unwrap()
                .check()
        };
        assert!(check("{listen: '1514'}").is_err());
        assert!(check("{listen: ':1514', udp: false, tcp: false}").is_err());
        assert!(check("{listen: ':1514', labels: {'1': x}}").is_err());
    }
}
