//! A connection, whatever comes over it.

use std::sync::{Arc, LazyLock};

use scrub::Scrubber;

use super::SyslogConfig;
use super::framing::{Framer, MESSAGE_BYTES_MAX};
use super::streams::Streams;
use crate::logs::lines::{LineTelemetry, Lines};

/// Costs more than an input.
static SCRUBBER: LazyLock<Arc<Scrubber>> = LazyLock::new(Arc::default);

/// What comes is taken apart the same however the network cuts it, and nothing panics; labels have
/// proper names.
pub fn syslog(input: &[u8]) {
    let whole = frames(input, input.len().max(1));
    assert_eq!(whole, frames(input, 3));
    let config = SyslogConfig {
        listen: ":1".to_owned(),
        udp: true,
        tcp: true,
        job: "j".to_owned(),
        labels: Default::default(),
        use_incoming_timestamp: true,
    };
    let lines = Lines::new(Arc::clone(&SCRUBBER), LineTelemetry::default());
    let mut streams = Streams::new(config, "h".to_owned(), lines);
    for frame in whole {
        assert!(!frame.is_empty() && frame.len() <= MESSAGE_BYTES_MAX);
        streams.push(&frame, false, 1);
    }
    // As a datagram too.
    streams.push(input, false, 1);
    for batch in streams.take() {
        assert!(!batch.entries.is_empty() && batch.position.is_none());
        for entry in &batch.entries {
            for (name, _) in batch.stream.labels().iter().chain(entry.metadata.labels()) {
                let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
                assert!(name.chars().all(plain), "{name:?}");
            }
        }
    }
}

fn frames(input: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (mut framer, mut frames) = (Framer::default(), Vec::new());
    for piece in input.chunks(size) {
        framer.push(piece, |frame| frames.push(frame.bytes));
    }
    frames.extend(framer.finish().map(|frame| frame.bytes));
    frames
}
