//! Packets, whatever is in them.

use std::time::Duration;

use futures_util::FutureExt as _;
use model::Timestamp;
use tokio::task::JoinSet;

use super::{MappingFile, Received, Statsd, StatsdConfig};
use crate::Status;
use crate::config::target_labels;
use crate::fuzzing::assert_named;
use crate::source::Source;
use crate::target::Target;

const MAPPINGS: &str = r#"
defaults: { ttl: 1m }
mappings:
- { match: "web.*.*", name: "web_$1", labels: { to: "$2" } }
- { match: "timer.*", name: "${1}_seconds", observer_type: histogram, buckets: [0.1, 1] }
- { match: "(.+)\\.(\\w*)", match_type: regex, name: "$2_$1", labels: { all: "$0" } }
- { match: "drop.*", action: drop }
"#;

/// The first byte says whether there are mappings; packets are divided by `\0`. What is told has
/// proper names, each series once, and histograms add up.
pub fn statsd(input: &[u8]) {
    let Some((which, packets)) = input.split_first() else {
        return;
    };
    let text = if which % 2 == 0 { "" } else { MAPPINGS };
    let file = MappingFile::parse(text).unwrap_or_default();
    let received = Received::default();
    let configured = received.configure(&StatsdConfig::default(), &file);
    assert_eq!(configured, Ok(()));
    let labels = target_labels("statsd", "h");
    let timing = (Duration::from_secs(15), Duration::from_secs(10));
    let own = labels.clone();
    let mut target = Target::new("statsd", "statsd:", own, labels, timing, Status::default());
    let mut statsd = Statsd {
        received: received.clone(),
        _sockets: JoinSet::new(),
    };
    let mut at = Timestamp::from_millis(1_700_000_000_000);
    for packet in packets.split(|byte| *byte == 0) {
        received.take(packet, at);
        at = at.plus(Duration::from_secs(7));
        let Some(batch) = statsd.collect(&mut target, at).now_or_never() else {
            continue;
        };
        let mut seen = std::collections::BTreeSet::new();
        for sample in &batch.samples {
            assert_named(&sample.labels);
            // A sender may name a series of the target itself.
            let name = sample.labels.metric_name();
            let own = name == "up" || name.starts_with("scrape_") || name.starts_with("statsd_");
            assert!(
                own || seen.insert(sample.labels.clone()),
                "{}",
                sample.labels
            );
        }
    }
}
