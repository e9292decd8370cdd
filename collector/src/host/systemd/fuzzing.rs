//! A bus and a systemd that are not trusted.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;

use super::bus::{Bus, Peer};
use super::{Questions, SystemdConfig, put};
use crate::fuzzing::assert_metric;
use crate::target::Sink;

/// The input is all that the peer says; the first byte tells whether it is a bus. What is told of it
/// has proper names, each series once.
pub fn dbus(input: &[u8]) {
    let Some((which, said)) = input.split_first() else {
        return;
    };
    let peer = match which % 2 {
        0 => Peer::Program,
        _ => Peer::Bus,
    };
    let config = SystemdConfig {
        unit_exclude: String::new(),
        start_times: true,
        tasks: true,
        ..SystemdConfig::default()
    };
    let Ok(mut questions) = Questions::new(&config) else {
        return;
    };
    let stream = tokio::io::join(said, tokio::io::sink());
    // Nothing is waited for: all there is to read is there.
    let asked = async {
        let mut bus = Bus::open(stream, peer).await?;
        questions.ask(&mut bus).await
    };
    if let Some(Ok(Some(found))) = asked.now_or_never() {
        put(&found, &mut Once::default());
    }
}

#[derive(Default)]
struct Once(BTreeSet<String>);

impl Sink for Once {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        assert_metric(name);
        for (label, text) in labels {
            assert_metric(label);
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(value >= 0.0, "{name} {value}");
        assert!(
            self.0.insert(format!("{name} {labels:?}")),
            "{name} {labels:?}"
        );
    }
}
