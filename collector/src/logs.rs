//! Tails the logs of a Docker engine's containers: each line once, also over restarts of the
//! engine, of the container and of ourselves.
//!
//! The engine's own files are the buffer: batches carry the position behind them, the store
//! keeps both or neither, and a reader continues from the position.

mod assemble;
mod config;
mod container;
mod container_settings;
mod entries;
mod files;
mod frame;
mod from_file;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod group;
mod journal;
mod json_files;
mod json_record;
mod labels;
pub mod level;
mod lifecycle;
mod lines;
mod position;
mod progress;
mod proof;
mod quota;
mod reader;
mod replay;
mod sent;
mod sources;
mod stall;
mod stamp;
pub(crate) mod syslog;
mod tailing;
mod tails;
mod telemetry;
mod trace;
mod when;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, LabelsBuilder};
use scrub::{LogBatch, Scrubber};
use tokio::sync::mpsc;

use crate::clock;
use crate::engine::{Engine, EngineError};
use crate::{Positions, Status};
pub use config::{FirstLine, LogsConfig, ReadFrom, Timestamps};
use container_settings::ContainerSettings;
pub use files::LogFilesConfig;
pub use journal::JournalConfig;
use lifecycle::Lifecycle;
pub(crate) use lines::SourceTelemetry;
use progress::Progress;
pub use proof::{LogStreamStatus, LogSums};
pub use sources::LogSources;
pub(crate) use sources::RunningSources;
pub use syslog::SyslogConfig;
pub(crate) use tailing::Tailing;
use tails::Tails;
pub(crate) use tails::own_container_id;
pub(crate) use telemetry::Telemetry;

/// How often the list of containers is compared with what is tailed, should an event be lost.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(10);
/// Waits between two attempts to reach the engine.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Events this old are asked for when the stream opens: those that happen while it does.
const EVENTS_OVERLAP_NS: i64 = 10_000_000_000;

/// What tailing needs.
struct Context {
    engine: Engine,
    config: LogsConfig,
    /// The `host` label.
    host: String,
    /// The engine's host's `/`, as we see it.
    rootfs: PathBuf,
    scrubber: Arc<Scrubber>,
    positions: Arc<dyn Positions>,
    /// The same over all runs of one process.
    progress: Progress,
    /// When full, reading waits.
    out: mpsc::Sender<LogBatch>,
    status: Status,
    telemetry: Telemetry,
}

/// A container, as the list and the events name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    id: String,
    name: String,
    compose_project: String,
    compose_service: String,
    settings: ContainerSettings,
}

impl Container {
    fn new(id: &str, name: &str, labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        Container {
            id: id.to_owned(),
            name: name.trim_start_matches('/').to_owned(),
            compose_project: label("com.docker.compose.project"),
            compose_service: label("com.docker.compose.service"),
            settings: ContainerSettings::new(labels),
        }
    }

    /// Of its streams, but for `stream`. A service keeps its name over containers.
    fn labels(&self, host: &str) -> Labels {
        let service = if self.compose_service.is_empty() {
            &self.name
        } else {
            &self.compose_service
        };
        let mut labels = LabelsBuilder::default();
        labels
            .set("service_name", service)
            .set("container", &self.name)
            .set("compose_project", &self.compose_project)
            .set("host", host);
        labels.build()
    }
}

/// Tails until dropped, which may happen at any time: the next run continues where the last
/// batch ended.
async fn run(context: Context) {
    let status = context.status.clone();
    let mut tails = Tails::new(Arc::new(context));
    loop {
        let Err(error) = watch(&mut tails).await;
        let news = status.set_source("logs", Err(error.to_string()));
        match error {
            _ if !news => {}
            // Whoever watches containers warns of this, and says which socket.
            EngineError::NoSocket(_) | EngineError::Denied(_) => {
                tracing::info!("containers' logs wait for docker");
            }
            error => tracing::warn!(%error, "watching containers' logs failed, trying again"),
        }
        // Tails go on by themselves meanwhile.
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Starts and ends tails as containers come and go, until the engine cannot be watched.
async fn watch(tails: &mut Tails) -> Result<std::convert::Infallible, EngineError> {
    const KINDS: &[(&str, &[&str])] = &[
        ("type", &["container"]),
        (
            "event",
            &["start", "destroy", "rename", "die", "oom", "health_status"],
        ),
    ];
    let engine = tails.context().engine.clone();
    let mut lifecycle = Lifecycle::new(tails.shared());
    // Events first, so that no container can start between the list and them.
    let now = clock::now().millis().saturating_mul(1_000_000);
    let since = lifecycle.since(now - EVENTS_OVERLAP_NS);
    let mut events = engine.events(KINDS, Some(since)).await?;
    tails.reconcile(&engine.list(true).await?);
    if tails.context().status.set_source("logs", Ok(())) {
        tracing::info!("watching containers' logs");
    }
    let mut reconcile = tokio::time::interval(RECONCILE_INTERVAL);
    reconcile.reset();
    loop {
        tokio::select! {
            event = events.next() => match event? {
                Some(event) => {
                    tails.handle(&event);
                    if tails.wants(&event) {
                        lifecycle.tell(&event).await;
                    }
                }
                None => return Err(EngineError::Status {
                    path: "/events".to_owned(),
                    status: 200,
                    message: "the stream of events ended".to_owned(),
                }),
            },
            () = tails.one_ended() => {}
            _ = reconcile.tick() => tails.reconcile(&engine.list(true).await?),
        }
    }
}
