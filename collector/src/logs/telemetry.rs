//! What tailing tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::proof::Proof;

/// Counters of log tailing. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telemetry {
    /// Lines handed to the store.
    pub(crate) lines: Counter,
    /// Bytes of these lines as the containers wrote them.
    pub(crate) bytes: Counter,
    /// Lines the engine sent again and which were left out.
    pub(crate) duplicates: Counter,
    /// Places where lines are missing.
    pub(crate) gaps: Counter,
    /// Lines longer than the bound, of which the rest was left out.
    pub(crate) cut: Counter,
    /// Lines left out by a container's quota.
    pub(crate) dropped: Counter,
    /// Log streams opened again after they ended or broke.
    pub(crate) reconnects: Counter,
    /// Containers that are being followed.
    pub(crate) containers: Gauge,
    /// By container.
    pub(crate) proof: Proof,
}

impl Telemetry {
    /// Registers the metrics.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let t = Telemetry::default();
        for (name, help, counter) in [
            ("lines", "Log lines handed to the store", &t.lines),
            (
                "bytes",
                "Bytes of log lines as the containers wrote them",
                &t.bytes,
            ),
            (
                "duplicate_lines",
                "Log lines the engine sent again, left out",
                &t.duplicates,
            ),
            (
                "gaps",
                "Places in log streams where lines are missing",
                &t.gaps,
            ),
            (
                "cut_lines",
                "Log lines cut at the longest length allowed",
                &t.cut,
            ),
            (
                "dropped_lines",
                "Log lines left out by the quotas of their containers",
                &t.dropped,
            ),
            ("reconnects", "Log streams opened again", &t.reconnects),
        ] {
            registry.register(format!("stackwatch_logs_{name}"), help, counter.clone());
        }
        registry.register(
            "stackwatch_logs_containers",
            "Containers whose log streams are open",
            t.containers.clone(),
        );
        t.proof.register(registry);
        t
    }
}
