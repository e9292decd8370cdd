//! The assembly, in the order the data takes: store, alerting, collector, ingestion, rules, server.
//!
//! The listener is bound first, so that an occupied port is noticed before anything is written,
//! and answers "starting" until the store has replayed. Stopping goes the other way.

mod ingest;
mod probes;
mod reloading;
mod stop;
pub(crate) mod supervise;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rules::{GroupDefaults, Groups, RuleFile};
use scrub::Scrubber;
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::api::{self, Api, Parts};
use crate::clock::{self, Clock};
use crate::config::expand::ProcessSurroundings;
use crate::config::{Config, ConfigError, Diagnostic, Overrides};
use crate::log_metrics::LogMetrics;
use crate::process::ProcessMetrics;
use crate::reload::Reloader;
use crate::rules_loop::{self, Command, RuleEnvironment, SharedEnvironment};
use crate::scrub_key;
use crate::telemetry::{AppMetrics, HttpMetrics, ScrubMetrics};
use ingest::{Ingest, LOG_BATCHES_MAX, SAMPLE_BATCHES_MAX};
use reloading::Reloading;
use supervise::Tasks;

/// How often the store tidies up.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(10);
/// Evaluations recurse over expressions, whose depth the parser bounds.
const RULES_STACK_BYTES: usize = 2 << 20;
/// Threads of one query at most. More would let one dashboard keep collection and rules waiting
/// on a larger machine too.
const QUERY_WORKERS_MAX: usize = 2;

/// Where the configuration comes from; kept for reloads.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The file, if there is one.
    pub config_file: Option<PathBuf>,
    /// What the command line says.
    pub overrides: Overrides,
}

impl Settings {
    /// Reads and checks the configuration and every rule file it names.
    ///
    /// # Errors
    /// Everything found wrong.
    pub fn load(&self) -> Result<(Config, Vec<RuleFile>), ConfigError> {
        let config = Config::load(
            self.config_file.as_deref(),
            &self.overrides,
            &ProcessSurroundings,
        )?;
        let rules = load_rules(&config)?;
        Ok((config, rules))
    }
}

/// Why the process cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{hint}")]
    Listen {
        /// As configured.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
        /// What to do about it, or nothing.
        hint: &'static str,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] storage::OpenError),
    /// Alerting's state cannot be read.
    #[error("{0}")]
    Alerting(#[from] alerting::OpenError),
    /// Stored alert state cannot be read.
    #[error("reading the state of alerts: {0}")]
    Rules(#[from] model::ControlError),
    /// What is known of heartbeats cannot be read or written.
    #[error("reading the state of heartbeats: {0}")]
    Heartbeats(#[source] model::ControlError),
    /// There is no key for pseudonyms.
    #[error("{0}")]
    ScrubKey(String),
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// Something of ours panicked while starting; the panic has been logged.
    #[error("starting failed inside stackwatch")]
    Panicked,
    /// Stopping took longer than the deadline, or the last sync failed.
    #[error("stopping: {0}")]
    Stop(String),
}

/// A running stackwatch. Dropping it without [`App::stop`] leaves threads behind.
pub struct App {
    address: std::net::SocketAddr,
    reloader: Reloader,
    server: JoinHandle<()>,
    stop_server: oneshot::Sender<()>,
    running: Running,
}

impl App {
    /// Starts everything.
    ///
    /// # Errors
    /// [`RunError`]; nothing runs any more then.
    pub async fn start(settings: Settings) -> Result<App, RunError> {
        let (config, rule_files) = settings.load()?;
        let config = Arc::new(config);
        announce(&config);
        let listener = listen(&config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|e| listen_error(&config.listen, e))?;

        let mut registry = Registry::default();
        let metrics = AppMetrics::new(&mut registry);
        let http = HttpMetrics::new(&mut registry);
        let evicted = http.evicted();
        let (reloader, reload_requests) = Reloader::new();
        let clock: Clock = clock::wall;
        let api = Api::new(Arc::clone(&config), clock, http, reloader.clone());
        let (stop_server, stopped) = oneshot::channel();
        let server = serve(listener, api.clone(), evicted, stopped);
        tracing::info!(%address, "listening");

        let starting = Starting {
            settings,
            config,
            rule_files,
            registry,
            metrics,
            clock,
            api,
        };
        match starting.finish(reload_requests).await {
            Ok(running) => Ok(App {
                address,
                reloader,
                server,
                stop_server,
                running,
            }),
            Err(e) => {
                server.abort();
                Err(e)
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// For asking it to reload.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

/// What is known once the listener is bound.
struct Starting {
    settings: Settings,
    config: Arc<Config>,
    rule_files: Vec<RuleFile>,
    registry: Registry,
    metrics: AppMetrics,
    clock: Clock,
    api: Api,
}

/// What works behind the listener.
struct Running {
    storage: Storage,
    collector: JoinHandle<()>,
    alerting: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
    rules_commands: mpsc::SyncSender<Command>,
    rules_thread: std::thread::JoinHandle<()>,
    ingest_threads: Vec<std::thread::JoinHandle<()>>,
    give_up: Arc<AtomicBool>,
}

impl Starting {
    async fn finish(
        self,
        reload_requests: tokio::sync::mpsc::Receiver<crate::reload::ReloadRequest>,
    ) -> Result<Running, RunError> {
        let Starting {
            settings,
            config,
            rule_files,
            registry,
            metrics,
            clock,
            api,
        } = self;

        // 1. The store.
        let (storage, mut registry) = open_storage(&config, clock, registry).await?;

        // 2. Alerting: it must be there before a rule fires.
        let options = alerting::Options {
            external_url: config.external_url.clone(),
            control: storage.control(),
            base_dir: config.base_dir(),
        };
        let (alerting, handle) =
            alerting::Alerting::open(config.alerting.clone(), options, clock(), &mut registry)?;

        // 3. Everything else that has metrics, then the registry is closed.
        let defaults = GroupDefaults {
            interval: config.rules.interval,
            ..GroupDefaults::default()
        };
        let groups = Arc::new(Groups::load(
            rule_files,
            defaults,
            storage.control(),
            &mut registry,
        )?);
        let key = scrub_key::load_or_make(&config.storage.dir)
            .map_err(|e| RunError::ScrubKey(e.to_string()))?;
        let scrubber = Arc::new(Scrubber::new(&config.scrub, &key).map_err(|e| {
            // The configuration was checked with the same call.
            ConfigError::whole_file("logs.scrub", e.to_string())
        })?);
        let status = collector::Status::new(&mut registry);
        registry.register_collector(Box::new(ProcessMetrics));
        registry.register_collector(Box::new(ScrubMetrics(Arc::clone(&scrubber))));
        let registry = Arc::new(registry);
        let configured = &config.collector.heartbeats;
        let heartbeats = collector::Heartbeats::open(storage.control(), configured, clock())
            .map_err(RunError::Heartbeats)?;
        let pushes = collector::Pushes::default();

        // 4. Ingestion, then the collector that feeds it.
        let tasks = Tasks::new(metrics.clone());
        let give_up = Arc::new(AtomicBool::new(false));
        let log_metrics = Arc::new(LogMetrics::new(&config.log_metrics, clock()));
        let ingest = Ingest {
            log_metrics: Arc::clone(&log_metrics),
            storage: storage.clone(),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            clock,
            give_up: Arc::clone(&give_up),
        };
        let (samples, samples_queue) = tokio::sync::mpsc::channel(SAMPLE_BATCHES_MAX);
        let (logs, logs_queue) = tokio::sync::mpsc::channel(LOG_BATCHES_MAX);
        let ingest_threads = vec![
            ingest
                .clone()
                .samples(samples_queue)
                .map_err(RunError::Thread)?,
            ingest.logs(logs_queue).map_err(RunError::Thread)?,
        ];
        // Its state is durable and shared, so a new run goes on where one that panicked ended.
        let alerting_task = tasks.spawn("alerting", move || Some(alerting.clone().run()));
        let (collector_config, seen_config) = watch::channel(Arc::clone(&config.collector));
        let outputs = collector::Outputs { samples, logs };
        let collector_task = {
            let (scrubber, status) = (Arc::clone(&scrubber), status.clone());
            let inbox = collector::Inbox {
                heartbeats: heartbeats.clone(),
                pushes: pushes.clone(),
                log_series: Arc::<LogMetrics>::clone(&log_metrics),
            };
            let positions: Arc<dyn collector::Positions> =
                Arc::new(StoredPositions(storage.clone()));
            let self_metrics = self_metrics(Arc::clone(&registry));
            tasks.spawn("collector", move || {
                Some(collector::run(
                    seen_config.clone(),
                    Arc::clone(&scrubber),
                    Arc::clone(&positions),
                    inbox.clone(),
                    Arc::clone(&self_metrics),
                    outputs.clone(),
                    status.clone(),
                ))
            })
        };

        // 5. Rules.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let engine = Arc::new(query::Engine::new(query::EngineOptions {
            workers: cores.min(QUERY_WORKERS_MAX),
            ..query::EngineOptions::default()
        }));
        let late = Arc::default();
        let environment: SharedEnvironment = Arc::new(Mutex::new(Arc::new(RuleEnvironment {
            reader: rules_loop::bounded(&storage, config.query_bytes_max(), &late),
            storage: storage.clone(),
            alerting: handle.clone(),
            external_url: config.external_url.clone(),
            external_labels: config.rules.external_labels.clone(),
            clock,
            started: Instant::now(),
            samples_max: config.query.samples_max,
            bytes_max: config.query_bytes_max(),
            status: status.clone(),
            collected: Arc::default(),
            late,
        })));
        let (rules_commands, commands) = mpsc::sync_channel(1);
        let rules_thread = {
            let (groups, engine) = (Arc::clone(&groups), Arc::clone(&engine));
            let (environment, tasks) = (Arc::clone(&environment), tasks.clone());
            std::thread::Builder::new()
                .name("rules".to_owned())
                .stack_size(RULES_STACK_BYTES)
                .spawn(move || {
                    rules_loop::run(&groups, &engine, &environment, clock, &commands, &tasks);
                })
                .map_err(RunError::Thread)?
        };

        // 6. Upkeep and reloads, and the door opens.
        let maintain = maintain(&tasks, &storage, clock);
        let reloading = Reloading {
            settings,
            config: Arc::clone(&config),
            api: api.clone(),
            alerting: handle.clone(),
            groups: Arc::clone(&groups),
            collector: collector_config,
            environment,
            log_metrics: Arc::clone(&log_metrics),
            metrics,
            clock,
            last_error: Arc::default(),
        };
        let probes = probes::all(
            &storage,
            &status,
            &groups,
            &handle,
            &tasks,
            &reloading.last_error,
            clock,
        );
        let reloads = tokio::spawn(reloading.serve(reload_requests));
        let (stats, appending) = (storage.clone(), storage.clone());
        let (lines, watching) = (storage.clone(), storage.clone());
        api.ready(Parts {
            series: Arc::new(storage.clone()),
            logs: Arc::new(storage.clone()),
            append: Box::new(move |batch| appending.append_samples(batch, clock())),
            append_logs: Box::new(move |batch| {
                let stored = lines.append_logs_once(batch)?;
                log_metrics.count(&stored, clock());
                Ok(())
            }),
            watch_logs: Box::new(move |watcher| watching.watch_logs(watcher)),
            scrubber,
            storage: Some(storage.clone()),
            stats: Box::new(move || stats.stats()),
            engine,
            rules: Box::new(move || groups.status()),
            alerting: handle,
            targets: status,
            heartbeats,
            pushes,
            registry,
            probes,
        });
        tracing::info!(url = %config.external_url, "ready");
        Ok(Running {
            storage,
            collector: collector_task,
            alerting: alerting_task,
            others: vec![maintain, reloads],
            rules_commands,
            rules_thread,
            ingest_threads,
            give_up,
        })
    }
}

fn announce(config: &Config) {
    let version = env!("CARGO_PKG_VERSION");
    match &config.file {
        Some(file) => {
            tracing::info!(version, config = %file.display(), "stackwatch starts");
        }
        None => tracing::info!(
            version,
            "stackwatch starts; no configuration file: watching this host and Docker"
        ),
    }
    let on = |on: bool| if on { "on" } else { "off" };
    tracing::info!(
        host = on(config.collector.host.is_some()),
        docker = on(config.collector.docker.is_some()),
        scrape_jobs = config.collector.scrape_configs.len(),
        interval = %model::number::format_duration(config.collector.interval),
        rule_packs = %config.rules.packs.join(","),
        rule_files = config.rules.files.len(),
        "sources"
    );
}

fn listen_error(address: &str, source: std::io::Error) -> RunError {
    let hint = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or choose another address with --listen"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        _ => "",
    };
    RunError::Listen {
        address: address.to_owned(),
        source,
        hint,
    }
}

async fn listen(address: &str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|e| listen_error(address, e))
}

fn serve(
    listener: TcpListener,
    api: Api,
    evicted: Counter,
    stopped: oneshot::Receiver<()>,
) -> JoinHandle<()> {
    tokio::spawn(api::serve(listener, api::router(api), evicted, async {
        // A dropped sender means the same as a message.
        let _ = stopped.await;
    }))
}

async fn open_storage(
    config: &Config,
    clock: Clock,
    mut registry: Registry,
) -> Result<(Storage, Registry), RunError> {
    let storage_config = config.storage.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Storage::open(storage_config, clock(), &mut registry).map(|s| (s, registry))
    });
    Ok(opened.await.map_err(|_| RunError::Panicked)??)
}

fn maintain(tasks: &Tasks, storage: &Storage, clock: Clock) -> JoinHandle<()> {
    let storage = storage.clone();
    tasks.spawn("maintenance", move || {
        let storage = storage.clone();
        Some(async move {
            let mut ticks = tokio::time::interval(MAINTAIN_INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let storage = storage.clone();
                let done = tokio::task::spawn_blocking(move || storage.maintain(clock())).await;
                if let Err(e) = done
                    && e.is_panic()
                {
                    // Into the supervisor, which logs, counts and restarts.
                    std::panic::resume_unwind(e.into_panic());
                }
            }
        })
    })
}

fn self_metrics(registry: Arc<Registry>) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        let mut text = String::new();
        // Writing to a string fails only if an encoder does; a scrape of nothing shows it.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    })
}

/// The store's log positions, as the collector asks for them.
struct StoredPositions(Storage);

impl collector::Positions for StoredPositions {
    fn get(&self, source: &str) -> Option<Vec<u8>> {
        self.0.log_position(source)
    }

    fn sources(&self) -> Vec<String> {
        self.0.log_sources()
    }

    fn forget(&self, source: &str) {
        self.0.forget_log_position(source);
    }
}

/// The packs and files a configuration names.
///
/// # Errors
/// Every complaint about every file.
pub(crate) fn load_rules(config: &Config) -> Result<Vec<RuleFile>, ConfigError> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let mut take = |name: &str, text: &str| match rules::file::parse(name, text) {
        Ok(file) => {
            for note in &file.notes {
                tracing::warn!(%note, "rule");
            }
            files.push(file);
        }
        Err(found) => problems.extend(found.into_iter().map(diagnostic)),
    };
    for pack in &config.rules.packs {
        if let Some(text) = rules::packs::text(pack) {
            take(&format!("packs/{pack}.yml"), text);
        }
    }
    let mut unreadable = Vec::new();
    for path in &config.rules.files {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => take(&name, &text),
            Err(e) => unreadable.push(Diagnostic {
                file: name,
                position: None,
                message: format!("cannot read: {e}"),
            }),
        }
    }
    problems.append(&mut unreadable);
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(ConfigError(problems))
    }
}

/// A complaint of the rules crate as one of ours.
pub(crate) fn diagnostic(d: rules::Diagnostic) -> Diagnostic {
    Diagnostic {
        file: d.file,
        position: (d.line > 0).then_some((d.line as u64, d.column.max(1) as u64)),
        message: match d.hint {
            Some(hint) => format!("{} ({hint})", d.message),
            None => d.message,
        },
    }
}

/// Why the last reload failed; `None` when it did not.
pub(crate) type LastError = Arc<Mutex<Option<String>>>;
