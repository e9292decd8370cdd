//! What the receiver tells about itself: statsd_exporter's own metrics.

use std::collections::BTreeMap;

use crate::exposition::Kind;
use crate::metadata::Said;
use crate::target::Pass;

/// By a label whose values are known beforehand.
pub(super) type ByWord = BTreeMap<&'static str, u64>;

/// Counters since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) udp_packets: u64,
    pub(super) tcp_connections: u64,
    /// Reads that failed, and connections beyond the bound.
    pub(super) tcp_errors: u64,
    pub(super) tcp_long_lines: u64,
    pub(super) lines: u64,
    pub(super) samples: u64,
    /// By reason.
    pub(super) sample_errors: ByWord,
    /// Samples with tags.
    pub(super) tags: u64,
    pub(super) tag_errors: u64,
    /// By type.
    pub(super) events: ByWord,
    pub(super) unmapped: u64,
    /// By action.
    pub(super) actions: ByWord,
    /// By reason.
    pub(super) errors: ByWord,
    /// By type: a metric of this name has another one.
    pub(super) conflicts: ByWord,
    /// Mappings taken anew.
    pub(super) reloads: u64,
}

/// Counts one.
pub(super) fn count(words: &mut ByWord, word: &'static str) {
    *words.entry(word).or_default() += 1;
}

impl Counts {
    /// A sample that is not understood.
    pub(super) fn bad_sample(&mut self, reason: &'static str) {
        count(&mut self.sample_errors, reason);
    }

    /// Puts all of them; `mappings` are loaded, and `families` there are by type.
    pub(super) fn put(&self, pass: &mut Pass<'_>, mappings: usize, families: &ByWord) {
        let mut put = |name: &str, help: &str, kind: Kind, values: &[(&str, &str, u64)]| {
            pass.describe(&Said {
                name,
                kind,
                help,
                plain_help: false,
                unit: "",
            });
            for (label, word, value) in values {
                let labels = [(*label, *word)];
                let labels = if label.is_empty() { &[] } else { &labels[..] };
                pass.put_described(name, labels, *value as f64);
            }
        };
        for (name, help, value) in [
            ("udp_packets", "Packets received by UDP.", self.udp_packets),
            (
                "tcp_connections",
                "TCP connections taken.",
                self.tcp_connections,
            ),
            (
                "tcp_connection_errors",
                "TCP connections that failed or were too many.",
                self.tcp_errors,
            ),
            (
                "tcp_too_long_lines",
                "Lines too long for their TCP connection to go on.",
                self.tcp_long_lines,
            ),
            ("lines", "Lines received.", self.lines),
            ("samples", "Samples received.", self.samples),
            ("tags", "Samples received with tags.", self.tags),
            ("tag_errors", "Tags not understood.", self.tag_errors),
            (
                "events_unmapped",
                "Events that no mapping is for.",
                self.unmapped,
            ),
        ] {
            let name = format!("statsd_exporter_{name}_total");
            put(&name, help, Kind::Counter, &[("", "", value)]);
        }
        for (name, help, label, words) in [
            (
                "sample_errors",
                "Samples not understood.",
                "reason",
                &self.sample_errors,
            ),
            ("events", "Events taken.", "type", &self.events),
            (
                "events_actions",
                "Events by what their mapping does.",
                "action",
                &self.actions,
            ),
            (
                "events_error",
                "Events understood and not taken.",
                "reason",
                &self.errors,
            ),
            (
                "events_conflict",
                "Events of another type than the metric of their name.",
                "type",
                &self.conflicts,
            ),
        ] {
            let values: Vec<_> = words.iter().map(|(word, n)| (label, *word, *n)).collect();
            let name = format!("statsd_exporter_{name}_total");
            put(&name, help, Kind::Counter, &values);
        }
        put(
            "statsd_exporter_config_reloads_total",
            "Mappings taken anew.",
            Kind::Counter,
            &[("outcome", "success", self.reloads)],
        );
        put(
            "statsd_exporter_loaded_mappings",
            "Mappings there are.",
            Kind::Gauge,
            &[("", "", mappings as u64)],
        );
        let values: Vec<_> = families.iter().map(|(w, n)| ("type", *w, *n)).collect();
        put(
            "statsd_exporter_metrics_total",
            "Metrics told.",
            Kind::Gauge,
            &values,
        );
    }
}
