//! Log sources beside Docker's containers: text files, syslog, the journal.

use std::sync::Arc;

use scrub::{LogBatch, Scrubber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::files::{self, LogFilesConfig};
use super::journal::{self, JournalConfig};
use super::lines::Lines;
use super::sent::Sent;
use super::syslog::{self, SyslogConfig};
use crate::config::ConfigError;
use crate::host::hostname;
use crate::{Config, Positions, Status};

/// What is read beside containers. Nothing unless it is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSources {
    /// Text files.
    pub files: Vec<LogFilesConfig>,
    /// Listeners for syslog messages.
    pub syslog: Vec<SyslogConfig>,
    /// systemd's journal.
    pub journal: Option<JournalConfig>,
}

impl LogSources {
    /// Each problem found.
    pub(crate) fn check(&self) -> Vec<ConfigError> {
        let item = |key: &'static str, at: usize, text: String| ConfigError {
            item: Some(at),
            ..ConfigError::key(&["logs", key], format!("logs.{key}: {text}"))
        };
        let files = self.files.iter().map(LogFilesConfig::check).enumerate();
        let syslog = self.syslog.iter().map(SyslogConfig::check).enumerate();
        let files = files.filter_map(|(at, found)| Some(item("files", at, found.err()?)));
        let syslog = syslog.filter_map(|(at, found)| Some(item("syslog", at, found.err()?)));
        let journal = self
            .journal
            .as_ref()
            .and_then(|config| config.check().err());
        let journal =
            journal.map(|e| ConfigError::key(&["logs", "journal"], format!("logs.journal: {e}")));
        files.chain(syslog).chain(journal).collect()
    }
}

/// What a source hands its lines on with.
#[derive(Clone)]
pub(super) struct Context {
    /// The `host` label.
    pub(super) host: String,
    pub(super) scrubber: Arc<Scrubber>,
    pub(super) positions: Arc<dyn Positions>,
    pub(super) sent: Sent,
    /// When full, reading waits.
    pub(super) out: mpsc::Sender<LogBatch>,
    pub(super) status: Status,
}

impl Context {
    /// What makes entries of lines of that source.
    pub(super) fn lines(&self, source: &'static str) -> Lines {
        let telemetry = self.status.telemetry().log_sources.of(source);
        Lines::new(Arc::clone(&self.scrubber), telemetry)
    }
}

/// Runs the sources that the configuration in force wants.
pub(crate) struct RunningSources {
    context: Context,
    files: Slot<Vec<LogFilesConfig>>,
    syslog: Slot<Vec<SyslogConfig>>,
    journal: Slot<JournalConfig>,
}

/// A source, restarted only by what concerns it.
struct Slot<T> {
    name: &'static str,
    running: Option<((T, String), Task)>,
}

/// A task that ends when dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: PartialEq + Send + 'static> Slot<T> {
    fn new(name: &'static str) -> Self {
        Slot {
            name,
            running: None,
        }
    }

    /// Has the source run as `wanted`; a panic ended it when it is not running then.
    fn apply<F>(&mut self, wanted: Option<T>, context: &Context, start: impl FnOnce(&T) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let wanted = wanted.map(|config| (config, context.host.clone()));
        let running = self
            .running
            .as_ref()
            .filter(|(_, task)| !task.0.is_finished());
        if running.map(|(running, _)| running) == wanted.as_ref() {
            return;
        }
        let before = self.running.take();
        match wanted {
            Some(wanted) => {
                let next = start(&wanted.0);
                let task = tokio::spawn(async move {
                    // It continues where the one before was, so that one must have ended.
                    if let Some((_, mut before)) = before {
                        before.0.abort();
                        let _ = (&mut before.0).await;
                    }
                    next.await;
                });
                self.running = Some((wanted, Task(task)));
            }
            None => context.status.remove_source(self.name),
        }
    }
}

impl RunningSources {
    /// Nothing runs before [`RunningSources::apply`].
    pub(crate) fn new(
        scrubber: Arc<Scrubber>,
        positions: Arc<dyn Positions>,
        out: mpsc::Sender<LogBatch>,
        status: Status,
    ) -> Self {
        RunningSources {
            context: Context {
                host: String::new(),
                scrubber,
                positions,
                sent: Sent::default(),
                out,
                status,
            },
            files: Slot::new(files::NAME),
            syslog: Slot::new(syslog::NAME),
            journal: Slot::new(journal::NAME),
        }
    }

    /// Starts, restarts or stops what does not run as `config` wants.
    pub(crate) fn apply(&mut self, config: &Config) {
        let instance = config.instance.clone();
        self.context.host = instance.unwrap_or_else(|| hostname(&config.roots));
        let sources = &config.log_sources;
        let context = &self.context;
        let wanted = Some(sources.files.clone()).filter(|files| !files.is_empty());
        let start = |files: &Vec<LogFilesConfig>| files::run(context.clone(), files.clone());
        self.files.apply(wanted, context, start);
        let wanted = Some(sources.syslog.clone()).filter(|syslog| !syslog.is_empty());
        let start = |syslog: &Vec<SyslogConfig>| syslog::run(context.clone(), syslog.clone());
        self.syslog.apply(wanted, context, start);
        let start = |journal: &JournalConfig| journal::run(context.clone(), journal.clone());
        self.journal.apply(sources.journal.clone(), context, start);
    }
}
