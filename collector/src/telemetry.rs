//! What the collector tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The collector's own metrics.
#[derive(Default)]
pub(crate) struct Telemetry {
    /// Scrapes that failed, by reason.
    pub(crate) scrape_failures: Family<Vec<(String, String)>, Counter>,
    /// Samples handed on.
    pub(crate) samples: Counter,
    /// Samples that came twice in one scrape and were left out.
    pub(crate) duplicate_samples: Counter,
    /// Ticks that passed while a collection was still running.
    pub(crate) missed_ticks: Counter,
    /// Docker events acted on.
    pub(crate) docker_events: Counter,
    /// Docker event streams that broke.
    pub(crate) docker_reconnects: Counter,
    /// Times that service discovery did not find out what there is.
    pub(crate) discovery_failures: Counter,
    /// Of log tailing.
    pub(crate) logs: crate::logs::Telemetry,
    /// Of log sources beside containers.
    pub(crate) log_sources: crate::logs::SourceTelemetry,
}

impl Telemetry {
    /// Registers the metrics.
    pub(crate) fn new(registry: &mut Registry) -> Telemetry {
        let t = Telemetry {
            logs: crate::logs::Telemetry::new(registry),
            log_sources: crate::logs::SourceTelemetry::new(registry),
            ..Telemetry::default()
        };
        registry.register(
            "stackwatch_collector_scrape_failures",
            "Scrapes that failed",
            t.scrape_failures.clone(),
        );
        for (name, help, metric) in [
            ("samples", "Samples handed to the store", &t.samples),
            (
                "duplicate_samples",
                "Samples left out because their series came twice in one scrape",
                &t.duplicate_samples,
            ),
            (
                "missed_ticks",
                "Collections left out because the one before was still running",
                &t.missed_ticks,
            ),
            ("docker_events", "Docker events acted on", &t.docker_events),
            (
                "docker_reconnects",
                "Docker event streams that broke and were opened again",
                &t.docker_reconnects,
            ),
            (
                "discovery_failures",
                "Times that service discovery could not read its source, or a part of it",
                &t.discovery_failures,
            ),
        ] {
            registry.register(format!("stackwatch_collector_{name}"), help, metric.clone());
        }
        t
    }

    /// Counts a failed scrape.
    pub(crate) fn scrape_failed(&self, reason: &'static str) {
        self.scrape_failures
            .get_or_create(&vec![("reason".to_owned(), reason.to_owned())])
            .inc();
    }
}
