//! `log_lines_total` and `log_bytes_total`: what services write, by level.

use collector::{Told, log_level};
use model::{Labels, Timestamp};
use scrub::ScrubbedEntry;

use super::config::{BYTES, LINES};
use super::table::{OTHER, Table};

/// Services (with container and project) that are told apart: with eight levels each at most
/// 8,000 series. Further ones are `service_name="other"`.
const SERVICES_MAX: usize = 500;
/// The values of the label `level`.
const LEVELS: [&str; 8] = [
    "unknown", "trace", "debug", "info", "warn", "error", "critical", "fatal",
];
/// Labels of a stream that become labels of its counters.
const LABELS: [&str; 3] = ["service_name", "container", "compose_project"];
/// Where the service's name is looked for, in this order; Loki's `discover_service_name`.
const SERVICE_LABELS: [&str; 13] = [
    "service_name",
    "service",
    "app",
    "application",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
/// Loki's name for a service that has none.
const NAMELESS: &str = "unknown_service";
/// Where a level may stand, scrubber and senders permitting.
const LEVEL_LABELS: [&str; 2] = ["detected_level", "level"];

/// Counters by service and level.
pub(super) struct Lines(Table<[Count; LEVELS.len()]>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    lines: u64,
    bytes: u64,
    told: bool,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines(Table::new(SERVICES_MAX))
    }

    pub(super) fn count(&mut self, stream: &Labels, entries: &[ScrubbedEntry], now: Timestamp) {
        let find = |name: &&str| stream.get(name);
        let service = SERVICE_LABELS.iter().find_map(find).unwrap_or(NAMELESS);
        let others = LABELS[1..].iter().map(|name| find(name).unwrap_or(""));
        let values = std::iter::once(service).chain(others);
        let of_stream = LEVEL_LABELS.iter().find_map(find);
        let counts = self.0.find(values, now, Default::default);
        for entry in entries {
            let of_line = |name: &&str| entry.metadata.labels().get(name);
            let told = LEVEL_LABELS.iter().find_map(of_line).or(of_stream);
            let level = match told {
                Some(name) => log_level::named(name.as_bytes()),
                None => log_level::of(entry.line.as_str()),
            };
            let place = level.and_then(|l| LEVELS.iter().position(|known| *known == l));
            let count = &mut counts[place.unwrap_or(0)];
            count.lines += 1;
            count.bytes += entry.line.len() as u64;
        }
    }

    /// As [`collector::LogSeries::tell`]; new counters were 0 at `since`.
    pub(super) fn tell(
        &mut self,
        since: Option<Timestamp>,
        told: &mut dyn FnMut(&Told<'_>),
    ) -> Vec<String> {
        for (values, counts) in self.0.iter_mut() {
            // Nothing is known of the others' containers.
            let known = if values.iter().all(|v| &**v == OTHER) {
                1
            } else {
                LABELS.len()
            };
            let labels = LABELS.iter().zip(values).take(known);
            let labels = labels.map(|(name, value)| (*name, &**value));
            let mut labels: Vec<(&str, &str)> = labels.filter(|(_, v)| !v.is_empty()).collect();
            labels.push(("level", ""));
            for (level, count) in LEVELS.iter().zip(counts) {
                if count.lines == 0 {
                    continue;
                }
                if let Some(last) = labels.last_mut() {
                    last.1 = level;
                }
                let since = since.filter(|_| !count.told);
                count.told = true;
                for (name, value) in [(LINES, count.lines), (BYTES, count.bytes)] {
                    told(&Told {
                        name,
                        suffix: "",
                        labels: &labels,
                        bound: None,
                        value: value as f64,
                        since,
                    });
                }
            }
        }
        let note = || {
            format!(
                "{LINES} and {BYTES} tell {SERVICES_MAX} services apart; further ones are service_name=\"{OTHER}\""
            )
        };
        self.0.is_full().then(note).into_iter().collect()
    }
}
