//! Where samples and log lines come from: scraped targets, this host, the Docker engine, Redis,
//! gateways, ourselves.
//!
//! [`run`] owns one task per target and source; each hands whole batches to the bounded
//! channels of [`Outputs`] and waits when they are full.

mod cache;
mod clock;
pub mod config;
mod discovery;
mod docker;
pub mod engine;
pub mod exposition;
mod families;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod glob;
pub mod heartbeat;
mod host;
mod kong;
mod log_series;
mod logs;
mod masked;
pub mod metadata;
mod names;
mod nginx;
mod postgres;
pub mod probe;
pub mod push;
mod redis;
mod regular;
pub mod relabel;
pub mod scrape;
mod self_metrics;
mod source;
mod statsd;
pub mod status;
mod supervisor;
mod target;
mod telemetry;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use model::SampleBatch;
use scrub::{LogBatch, Scrubber};
use tokio::sync::{Notify, mpsc, watch};

pub use config::{Config, ConfigError, DockerConfig, HostConfig, Roots};
pub use discovery::{Credentials, DiscoveryConfig};
pub use engine::{Engine, EngineError};
pub use files::FileConfig;
pub use heartbeat::{HeartbeatConfig, Heartbeats};
pub use host::SystemdConfig;
pub use kong::HttpSourceConfig;
pub use log_series::{LogSeries, Told};
pub use logs::level as log_level;
pub use logs::{
    FirstLine, JournalConfig, LogFilesConfig, LogSources, LogStreamStatus, LogSums, LogsConfig,
    ReadFrom, SyslogConfig, Timestamps,
};
use logs::{RunningSources, Tailing};
pub use metadata::FamilyMetadata;
pub use postgres::{CustomColumn, CustomQueries, CustomQuery, PostgresConfig};
pub use probe::{ProbeConfig, websocket_accept};
pub use push::Pushes;
pub use redis::RedisConfig;
pub use scrape::ScrapeConfig;
pub use statsd::StatsdConfig;
use supervisor::Supervisor;

pub use status::{SourceStatus, Status, TargetHealth, TargetStatus};

/// Where batches go. Policy of both channels when full: the producer waits. A scrape that waits
/// past its next tick leaves that tick out (counted); log lines stay in the engine's own files.
#[derive(Clone)]
pub struct Outputs {
    /// One batch per scrape or collection.
    pub samples: mpsc::Sender<SampleBatch>,
    /// Scrubbed lines with the position behind them.
    pub logs: mpsc::Sender<LogBatch>,
}

/// What comes by itself, and is collected like everything else.
#[derive(Clone)]
pub struct Inbox {
    /// Where pings go.
    pub heartbeats: Heartbeats,
    /// Where pushes go.
    pub pushes: Pushes,
    /// What counts log lines.
    pub log_series: Arc<dyn LogSeries>,
}

/// How far log sources have been read, as storage remembers it.
pub trait Positions: Send + Sync {
    /// The last stored position of a source.
    fn get(&self, source: &str) -> Option<Vec<u8>>;
    /// All sources that have a position.
    fn sources(&self) -> Vec<String>;
    /// Drops the position of a source that is gone for good.
    fn forget(&self, source: &str);
}

/// Collects until dropped. A new configuration restarts only what it changes.
///
/// Dropping the future stops every task; what was handed to `outputs` is the receiver's,
/// nothing else was promised.
pub async fn run(
    mut config: watch::Receiver<Arc<Config>>,
    scrubber: Arc<Scrubber>,
    positions: Arc<dyn Positions>,
    inbox: Inbox,
    self_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    outputs: Outputs,
    status: Status,
) {
    let (lines, known) = (outputs.logs.clone(), Arc::clone(&positions));
    let mut sources = RunningSources::new(Arc::clone(&scrubber), known, lines, status.clone());
    let mut tailing = Tailing::new(scrubber, positions, outputs.logs, status.clone());
    let discovered = Arc::new(Notify::new());
    let mut supervisor = Supervisor::new(
        self_metrics,
        inbox,
        outputs.samples,
        status,
        Arc::clone(&discovered),
    );
    let mut current = Arc::clone(&config.borrow_and_update());
    supervisor.apply(&current);
    tailing.apply(&current);
    sources.apply(&current);
    let mut revive = tokio::time::interval(REVIVE_INTERVAL);
    revive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Without a sender the configuration stays what it is.
            Ok(()) = config.changed() => {
                current = Arc::clone(&config.borrow_and_update());
                supervisor.apply(&current);
                tailing.apply(&current);
                sources.apply(&current);
            }
            () = discovered.notified() => {
                // What changes seldom changes alone.
                tokio::time::sleep(SETTLE).await;
                supervisor.apply(&current);
            }
            _ = revive.tick() => {
                supervisor.revive();
                if supervisor.waits_for_passwords() {
                    supervisor.apply(&current);
                }
                tailing.revive();
                sources.apply(&current);
            }
        }
    }
}

/// How long a collection that panicked stays down.
const REVIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long further discoveries are waited for: a stack that starts is one change.
const SETTLE: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
