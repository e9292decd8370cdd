//! HTTP: Prometheus, Loki and Alertmanager as Grafana knows them, and our own health.
//!
//! The listener is bound before the store replays, so every handler that needs data asks for
//! [`Parts`] and answers 503 until they are there.

mod alertmanager;
mod federate;
mod health;
mod heartbeats;
mod held_body;
mod json;
mod loki;
mod metric_metadata;
mod metrics;
mod otlp;
mod pages;
pub(crate) mod params;
mod pieces;
mod prometheus;
pub(crate) use prometheus::analysis;
mod push;
mod reading;
mod receive;
mod receive_logs;
mod reload;
mod remote_read;
mod remote_write;
mod request_head;
mod request_line;
mod routing;
mod same_site;
mod serve;
mod snapshot;
mod workshop;

use std::sync::{Arc, OnceLock, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::{LogReader, SampleBatch, SeriesReader, Timestamp};
use prometheus_client::registry::Registry;

use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

pub use health::{Component, Probe, State as ComponentState};
pub use serve::serve;

use crate::clock::Clock;
use crate::config::Config;
use crate::reload::Reloader;
use crate::telemetry::HttpMetrics;
use metric_metadata::MetadataTable;
use prometheus::envelope::{ErrorType, Failure};
pub(crate) use workshop::Memory;
use workshop::Workshop;

/// What handlers share. Cloning shares it.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    clock: Clock,
    started: Timestamp,
    config: RwLock<Arc<Config>>,
    reload: RwLock<LastReload>,
    parts: OnceLock<Arc<Parts>>,
    workshop: Workshop,
    memory: Memory,
    writes: Workshop,
    metadata: MetadataTable,
    http: HttpMetrics,
    reloader: Reloader,
    /// One for each client that follows lines.
    tails: Arc<Semaphore>,
}

/// [`storage::Storage::append_samples`] with the clock filled in.
pub type AppendSamples =
    dyn Fn(&SampleBatch) -> Result<storage::AppendReport, storage::WriteError> + Send + Sync;

/// [`storage::Storage::append_logs_once`], counting what was stored.
pub type AppendLogs = dyn Fn(&scrub::LogBatch) -> Result<(), storage::WriteError> + Send + Sync;

/// How the last reload of the configuration went.
#[derive(Clone, Copy, Debug)]
struct LastReload {
    /// When the configuration in force was read.
    loaded_at: Timestamp,
    /// When another one was refused, if that was the last time.
    problem: Option<Timestamp>,
}

/// What can be asked once the store has replayed.
pub struct Parts {
    /// Stored samples.
    pub series: Arc<dyn SeriesReader>,
    /// Stored lines.
    pub logs: Arc<dyn LogReader>,
    /// Stores samples that were received; accepted means written to the log, which reaches the
    /// disk within a second.
    pub append: Box<AppendSamples>,
    /// Stores lines that were received, as durably.
    pub append_logs: Box<AppendLogs>,
    /// [`storage::Storage::watch_logs`].
    pub watch_logs: Box<dyn Fn(Box<storage::LogWatcher>) + Send + Sync>,
    /// What received lines have to pass.
    pub scrubber: Arc<scrub::Scrubber>,
    /// The store itself, for what only it can do: snapshots, deletion, analysis. `None` where
    /// tests stand in for it.
    pub storage: Option<storage::Storage>,
    /// The store in figures.
    pub stats: Box<dyn Fn() -> storage::Stats + Send + Sync>,
    /// Evaluates queries.
    pub engine: Arc<query::Engine>,
    /// State of rules.
    pub rules: Box<dyn Fn() -> Vec<rules::GroupStatus> + Send + Sync>,
    /// Alerts and silences.
    pub alerting: alerting::Handle,
    /// Targets.
    pub targets: collector::Status,
    /// Where pings go.
    pub heartbeats: collector::Heartbeats,
    /// Where pushes go.
    pub pushes: collector::Pushes,
    /// Our own metrics.
    pub registry: Arc<Registry>,
    /// What `/health` asks, in the order it shows.
    pub probes: Vec<Probe>,
}

impl Api {
    /// An API without data yet.
    #[must_use]
    pub fn new(config: Arc<Config>, clock: Clock, http: HttpMetrics, reloader: Reloader) -> Api {
        let workshop = Workshop::counted(config.query.concurrency, http.queue());
        let memory = http.memory(&config.memory, config.query.concurrency);
        Api(Arc::new(Shared {
            clock,
            started: clock(),
            config: RwLock::new(config),
            reload: RwLock::new(LastReload {
                loaded_at: clock(),
                problem: None,
            }),
            parts: OnceLock::new(),
            workshop,
            memory,
            writes: Workshop::new(receive::WRITES_MAX),
            metadata: MetadataTable::default(),
            http,
            reloader,
            tails: Arc::new(Semaphore::new(loki::TAILS_MAX)),
        }))
    }

    /// Opens the door: from now on queries are answered. The first call counts.
    pub fn ready(&self, parts: Parts) {
        let _ = self.0.parts.set(Arc::new(parts));
    }

    /// Shows another configuration from now on.
    pub fn set_config(&self, config: Arc<Config>) {
        // Nobody panics while holding this lock, and an `Arc` is whole in any case.
        *self
            .0
            .config
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = config;
    }

    /// Notes whether a configuration was taken.
    pub fn reloaded(&self, ok: bool) {
        let now = self.now();
        let mut reload = self
            .0
            .reload
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match ok {
            true => {
                *reload = LastReload {
                    loaded_at: now,
                    problem: None,
                };
            }
            false => reload.problem = Some(now),
        }
    }

    fn last_reload(&self) -> LastReload {
        *self
            .0
            .reload
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(
            &self
                .0
                .config
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    fn started(&self) -> Timestamp {
        self.0.started
    }

    fn workshop(&self) -> &Workshop {
        &self.0.workshop
    }

    /// What reads may hold together.
    fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Where received samples are decoded and stored.
    fn writes(&self) -> &Workshop {
        &self.0.writes
    }

    /// Type, help and unit of the metrics that were sent to us.
    fn metadata(&self) -> &MetadataTable {
        &self.0.metadata
    }

    fn reloader(&self) -> &Reloader {
        &self.0.reloader
    }

    fn ready_parts(&self) -> Option<Arc<Parts>> {
        self.0.parts.get().map(Arc::clone)
    }

    /// The parts, for handlers of Prometheus' API. [`require_ready`] has let nobody through
    /// before they were there.
    fn parts(&self) -> Result<Arc<Parts>, Failure> {
        self.ready_parts()
            .ok_or_else(|| Failure::new(ErrorType::Internal, "stackwatch is starting"))
    }
}

/// All routes.
pub fn router(api: Api) -> Router {
    let data = Router::new()
        .nest("/api/v1", prometheus::routes())
        .route("/otlp/v1/logs", axum::routing::post(otlp::logs::logs))
        .nest("/loki/api/v1", loki::routes())
        .nest("/prometheus/api/v1", loki::rule_routes())
        .nest("/api/v2", alertmanager::routes())
        .merge(metrics::routes())
        .merge(federate::routes())
        .merge(heartbeats::routes())
        .merge(push::routes())
        .layer(middleware::from_fn_with_state(api.clone(), require_ready));
    let all = Router::new()
        .merge(pages::routes())
        .merge(health::routes())
        .merge(reload::routes())
        .merge(snapshot::routes())
        .route("/version", get(prometheus::status::version))
        .route("/api/v1/status/walreplay", get(prometheus::tsdb::walreplay))
        .merge(data)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // `serve` has bounded the body before it comes here.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(middleware::from_fn(cors))
        .layer(middleware::from_fn(same_site::only))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(api.clone(), measure))
        .with_state(api);
    Router::new()
        .fallback_service(all)
        .layer(middleware::from_fn(routing::as_prometheus))
}

/// Go's words: Grafana reads them to tell a Prometheus from a Mimir.
async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n").into_response()
}

async fn require_ready(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.ready_parts().is_some() {
        next.run(request).await
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n").into_response()
    }
}

/// Prometheus' cross-origin answers: pages from anywhere may read metrics. Not lines, which tell
/// of people; Loki has no such answers either.
async fn cors(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/api/v1/") {
        return next.run(request).await;
    }
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Authorization, Content-Type, Origin",
        ),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        (header::VARY, "Origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn measure(
    State(api): State<Api>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let handler = path.as_ref().map_or("unknown", MatchedPath::as_str);
    let begun = Instant::now();
    let response = next.run(request).await;
    let took: Duration = begun.elapsed();
    api.0.http.record(handler, response.status(), took);
    response
}

#[cfg(test)]
mod tests;
