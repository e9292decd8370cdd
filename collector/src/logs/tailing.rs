//! Runs tailing as the configuration in force wants it.

use std::path::PathBuf;
use std::sync::Arc;

use scrub::{LogBatch, Scrubber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Context, LogsConfig, Progress};
use crate::host::hostname;
use crate::{Config, Engine, Positions, Status};

/// Keeps one run of [`super::run`], restarted only by what concerns it.
pub(crate) struct Tailing {
    scrubber: Arc<Scrubber>,
    positions: Arc<dyn Positions>,
    progress: Progress,
    out: mpsc::Sender<LogBatch>,
    status: Status,
    running: Option<(Desired, Task)>,
}

/// What a run depends on.
#[derive(Clone, PartialEq)]
struct Desired {
    config: LogsConfig,
    socket: String,
    host: String,
    rootfs: PathBuf,
}

/// A task that ends when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tailing {
    /// Nothing runs before [`Tailing::apply`].
    pub(crate) fn new(
        scrubber: Arc<Scrubber>,
        positions: Arc<dyn Positions>,
        out: mpsc::Sender<LogBatch>,
        status: Status,
    ) -> Self {
        Tailing {
            scrubber,
            positions,
            progress: Progress::default(),
            out,
            status,
            running: None,
        }
    }

    /// Starts, restarts or stops, unless what runs is what `config` wants.
    pub(crate) fn apply(&mut self, config: &Config) {
        let desired = config
            .logs
            .as_ref()
            .zip(config.docker.as_ref())
            .map(|(logs, docker)| Desired {
                config: logs.clone(),
                socket: docker.socket.clone(),
                host: config
                    .instance
                    .clone()
                    .unwrap_or_else(|| hostname(&config.roots)),
                rootfs: config.roots.rootfs.clone(),
            });
        if self.running.as_ref().map(|(running, _)| running) == desired.as_ref() {
            return;
        }
        self.running = None;
        match desired {
            Some(desired) => self.start(desired),
            None => self.status.remove_source("logs"),
        }
    }

    /// Starts again what ended by itself, which only a panic does.
    pub(crate) fn revive(&mut self) {
        if let Some((desired, _)) = self.running.take_if(|(_, task)| task.0.is_finished()) {
            tracing::error!("tailing logs failed, starting it again");
            self.start(desired);
        }
    }

    fn start(&mut self, desired: Desired) {
        let engine = match Engine::new(&desired.socket) {
            Ok(engine) => engine,
            Err(error) => {
                self.status.set_source("logs", Err(error.to_string()));
                return;
            }
        };
        let context = Context {
            engine,
            config: desired.config.clone(),
            host: desired.host.clone(),
            rootfs: desired.rootfs.clone(),
            scrubber: Arc::clone(&self.scrubber),
            positions: Arc::clone(&self.positions),
            progress: self.progress.clone(),
            out: self.out.clone(),
            status: self.status.clone(),
            telemetry: self.status.telemetry().logs.clone(),
        };
        let task = Task(tokio::spawn(super::run(context)));
        self.running = Some((desired, task));
    }
}
