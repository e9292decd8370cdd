//! What the process tells about itself: its log, its HTTP counters, its tasks and queues.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing_subscriber::filter::LevelFilter;

use crate::api::Memory;
use crate::config::MemoryBudget;

/// Starts logging to stderr. `false` when something else in the process already does,
/// which only happens in tests.
pub fn start_logging(level: LevelFilter) -> bool {
    use std::io::IsTerminal as _;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level)
        .with_target(false)
        .compact()
        .try_init()
        .is_ok()
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HandlerCode {
    handler: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Handler {
    handler: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Queries that run, wait, and are given up.
#[derive(Clone, Default)]
pub(crate) struct QueueMetrics {
    pub(crate) running: Gauge,
    pub(crate) waiting: Gauge,
    given_up: Family<Reason, Counter>,
}

impl QueueMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "stackwatch_query_running",
            "Queries and listings a worker is busy with; at most query.concurrency",
            self.running.clone(),
        );
        registry.register(
            "stackwatch_query_waiting",
            "Queries and listings that wait for a worker",
            self.waiting.clone(),
        );
        registry.register(
            "stackwatch_query_given_up",
            "Queries and listings without a result: the queue was full, the time was over, the client had gone",
            self.given_up.clone(),
        );
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.given_up.get_or_create(&Reason { reason }).inc();
    }
}

/// Requests by handler. Handlers are route patterns, so their number is fixed.
#[derive(Clone)]
pub struct HttpMetrics {
    requests: Family<HandlerCode, Counter>,
    durations: Family<Handler, Histogram, fn() -> Histogram>,
    evicted: Counter,
    received: Family<Received, Counter>,
    exemplars_ignored: Counter,
    queue: QueueMetrics,
    budget: Family<Part, Gauge>,
    reserved: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Received {
    protocol: &'static str,
    result: &'static str,
}

impl HttpMetrics {
    /// Registers `stackwatch_http_*`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = HttpMetrics {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| {
                Histogram::new([0.005, 0.025, 0.1, 0.5, 2.0, 10.0])
            }),
            evicted: Counter::default(),
            received: Family::default(),
            exemplars_ignored: Counter::default(),
            queue: QueueMetrics::default(),
            budget: Family::default(),
            reserved: Gauge::default(),
        };
        registry.register(
            "stackwatch_received_samples",
            "Samples others sent, by protocol and by what became of them",
            metrics.received.clone(),
        );
        registry.register(
            "stackwatch_received_exemplars_ignored",
            "Exemplars others sent; they are not kept",
            metrics.exemplars_ignored.clone(),
        );
        metrics.queue.register(registry);
        registry.register(
            "stackwatch_memory_budget_bytes",
            "Parts of memory.budget",
            metrics.budget.clone(),
        );
        registry.register(
            "stackwatch_query_memory_reserved_bytes",
            "Memory large queries, and answers on their way, have reserved of the queries' part",
            metrics.reserved.clone(),
        );
        registry.register(
            "stackwatch_http_requests",
            "HTTP requests by handler and status code",
            metrics.requests.clone(),
        );
        registry.register(
            "stackwatch_http_request_duration_seconds",
            "Time until the answer was ready, by handler",
            metrics.durations.clone(),
        );
        registry.register(
            "stackwatch_http_connections_evicted",
            "Idle connections closed because all seats were taken and another client waited",
            metrics.evicted.clone(),
        );
        metrics
    }

    /// Counts samples that came by `protocol`.
    pub(crate) fn received(&self, protocol: &'static str, result: &'static str, count: u64) {
        if count > 0 {
            let labels = Received { protocol, result };
            self.received.get_or_create(&labels).inc_by(count);
        }
    }

    /// Counts exemplars that were not kept.
    pub(crate) fn exemplars_ignored(&self, count: u64) {
        self.exemplars_ignored.inc_by(count);
    }

    /// Counts connections that lost their seat.
    pub(crate) fn evicted(&self) -> Counter {
        self.evicted.clone()
    }

    /// What reads share of `budget`, which is shown.
    pub(crate) fn memory(&self, budget: &MemoryBudget, workers: usize) -> Memory {
        for (part, bytes) in [
            ("head", budget.head),
            ("queries", budget.queries),
            ("caches", budget.caches),
        ] {
            let gauge = self.budget.get_or_create(&Part { part });
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Memory::new(budget.queries, workers, self.reserved.clone())
    }

    /// What the workshop counts.
    pub(crate) fn queue(&self) -> QueueMetrics {
        self.queue.clone()
    }

    pub(crate) fn record(&self, handler: &str, status: StatusCode, took: Duration) {
        self.requests
            .get_or_create(&HandlerCode {
                handler: handler.to_owned(),
                code: status.as_u16(),
            })
            .inc();
        self.durations
            .get_or_create(&Handler {
                handler: handler.to_owned(),
            })
            .observe(took.as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct TaskLabel {
    pub(crate) task: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

/// Tasks, ingestion and configuration.
#[derive(Clone, Default)]
pub struct AppMetrics {
    pub(crate) task_panics: Family<TaskLabel, Counter>,
    pub(crate) samples: Family<ResultLabel, Counter>,
    pub(crate) batches_waiting: Family<TaskLabel, Gauge>,
    pub(crate) write_failures: Counter,
    pub(crate) batches_dropped: Counter,
    pub(crate) reload_successful: Gauge,
    pub(crate) reload_seconds: Gauge,
}

impl AppMetrics {
    /// Registers the metrics of the assembly.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = AppMetrics::default();
        registry.register(
            "stackwatch_task_panics",
            "Panics of background tasks; each was restarted where that is safe",
            metrics.task_panics.clone(),
        );
        registry.register(
            "stackwatch_ingest_samples",
            "Samples handed to the store, by what became of them",
            metrics.samples.clone(),
        );
        registry.register(
            "stackwatch_ingest_batches_waiting",
            "Batches of samples and lines that wait for the store",
            metrics.batches_waiting.clone(),
        );
        registry.register(
            "stackwatch_ingest_write_failures",
            "Batches the disk refused; each is tried again",
            metrics.write_failures.clone(),
        );
        registry.register(
            "stackwatch_ingest_batches_dropped",
            "Batches given up because the store could not take them",
            metrics.batches_dropped.clone(),
        );
        registry.register(
            "stackwatch_config_last_reload_successful",
            "Whether the last reload of the configuration succeeded",
            metrics.reload_successful.clone(),
        );
        registry.register(
            "stackwatch_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded",
            metrics.reload_seconds.clone(),
        );
        metrics
    }
}

/// Finds per detector, read when metrics are asked for.
pub(crate) struct ScrubMetrics(pub(crate) std::sync::Arc<scrub::Scrubber>);

impl std::fmt::Debug for ScrubMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScrubMetrics")
    }
}

impl Collector for ScrubMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "stackwatch_scrub_replacements",
            "What was found in log lines and labels that must not be stored, by detector and by what was done with it",
            None,
            MetricType::Counter,
        )?;
        for found in self.0.counts() {
            let labels = [
                ("detector", found.detector),
                ("action", found.action.name()),
            ];
            ConstCounter::new(found.count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
