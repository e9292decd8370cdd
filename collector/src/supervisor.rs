//! Which targets there should be, and the tasks that collect from them.

mod found;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, SampleBatch, Timestamp};
use scrub::Scrubber;
use tls::SystemRoots;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{Config, DockerConfig, HostConfig, Roots, target_labels};
use crate::discovery::{Advice, Discovery};
use crate::docker::Docker;
use crate::files::{FileConfig, Files};
use crate::heartbeat::HeartbeatSource;
use crate::host::{Host, hostname};
use crate::kong::{HttpSourceConfig, Kong};
use crate::log_series::LogSource;
use crate::masked::{masked, masked_label};
use crate::nginx::Nginx;
use crate::postgres::{self, Postgres, PostgresConfig};
use crate::probe::{Probe, ProbeConfig};
use crate::push::PushSource;
use crate::redis::{Redis, RedisConfig};
use crate::scrape::{Bodies, Discoverers, Job, ScrapeConfig, ScrapeTarget, Scraper, targets};
use crate::self_metrics::{Expose, SelfMetrics};
use crate::statsd::{self, MappingFile, Statsd, StatsdConfig};
use crate::target::Target;
use crate::{Inbox, Status, clock, docker, source};

/// Targets dropped by relabelling that are shown of one job: a few hundred bytes each.
const DROPPED_MAX: usize = 1000;

/// Keeps one task per target, as the configuration in force wants it.
pub(crate) struct Supervisor {
    expose: Expose,
    inbox: Inbox,
    samples: mpsc::Sender<SampleBatch>,
    status: Status,
    running: BTreeMap<Key, Running>,
    jobs: BTreeMap<String, Arc<Job>>,
    /// Finds services among containers.
    discovery: Discovery,
    /// Finds targets of jobs.
    discoverers: Discoverers,
    /// What answers to scrapes may hold together.
    bodies: Bodies,
    /// What was said about targets that cannot be used, by job.
    broken: BTreeMap<String, Vec<String>>,
    /// Certificates this machine trusts, for all probes.
    system: SystemRoots,
    /// Keeps credentials out of what is shown of a probe's URL.
    scrubber: Scrubber,
    /// What StatsD's lines said.
    statsd: statsd::Received,
    /// Tasks that write the last markers of targets that are gone.
    farewells: JoinSet<()>,
}

/// Pool, URL, labels.
type Key = (String, String, Labels);

/// A target as it should be. Equal ones need no restart.
#[derive(Clone, PartialEq)]
struct Desired {
    discovered: Labels,
    interval: Duration,
    timeout: Duration,
    kind: Kind,
    /// Of a target nobody wrote down: what would mend it. It is no concern before it has answered.
    advice: Option<Advice>,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Host(HostConfig, Roots),
    Docker(DockerConfig, Roots),
    Own,
    Postgres(Box<PostgresConfig>),
    Redis(Box<RedisConfig>),
    Kong(Box<HttpSourceConfig>),
    Nginx(Box<HttpSourceConfig>),
    Probe(Box<ProbeConfig>),
    Heartbeats,
    Pushes,
    LogSeries,
    Statsd(Box<StatsdConfig>, Box<MappingFile>),
    Files(Vec<FileConfig>),
    /// Found, and not to be read as it is; why, with the line that would change it.
    Unreadable(String),
    Scrape {
        config: Box<ScrapeConfig>,
        spec: ScrapeTarget,
        refused: Option<String>,
    },
}

/// What a target's loop needs beside its source.
struct Launch<F> {
    /// The target, once the loop before has let go of it.
    before: F,
    interval: Duration,
    samples: mpsc::Sender<SampleBatch>,
    stopped: oneshot::Receiver<()>,
}

impl<F: Future<Output = Target> + Send + 'static> Launch<F> {
    fn run(self, source: impl source::Source + 'static) -> JoinHandle<Target> {
        tokio::spawn(async move {
            let target = self.before.await;
            source::run(source, target, self.interval, self.samples, self.stopped).await
        })
    }

    /// Containers also change between ticks.
    fn run_docker(self, docker: Docker) -> JoinHandle<Target> {
        tokio::spawn(async move {
            let target = self.before.await;
            docker::run(docker, target, self.interval, self.samples, self.stopped).await
        })
    }
}

struct Running {
    desired: Desired,
    stop: oneshot::Sender<()>,
    task: Task,
}

/// A task that ends when dropped.
struct Task(JoinHandle<Target>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Supervisor {
    pub(crate) fn new(
        expose: Expose,
        inbox: Inbox,
        samples: mpsc::Sender<SampleBatch>,
        status: Status,
        discovered: Arc<Notify>,
    ) -> Supervisor {
        let bodies = Bodies::default();
        Supervisor {
            discovery: Discovery::new(Arc::clone(&discovered)),
            discoverers: Discoverers::new(status.clone(), discovered, bodies.clone()),
            bodies,
            broken: BTreeMap::new(),
            expose,
            inbox,
            samples,
            status,
            running: BTreeMap::new(),
            jobs: BTreeMap::new(),
            system: SystemRoots::default(),
            scrubber: Scrubber::default(),
            statsd: statsd::Received::default(),
            farewells: JoinSet::new(),
        }
    }

    /// Starts, restarts and stops tasks until they are what `config` wants.
    pub(crate) fn apply(&mut self, config: &Config) {
        while self.farewells.try_join_next().is_some() {}
        self.configure_heartbeats(config);
        self.discoverers.apply(&config.scrape_configs);
        let docker = config.docker.as_ref();
        self.discovery.apply(config.discovery.as_ref(), docker);
        let desired = self.desired(config);
        let gone: Vec<Key> = self
            .running
            .keys()
            .filter(|key| !desired.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(running) = self.running.remove(&key) {
                self.say_farewell(running);
            }
        }
        for (key, desired) in desired {
            match self.running.remove(&key) {
                Some(running) if running.desired == desired => {
                    self.running.insert(key, running);
                }
                old => self.start(key, desired, old),
            }
        }
        for (name, on) in [
            ("host", config.host.is_some()),
            ("docker", config.docker.is_some()),
        ] {
            if !on {
                self.status.remove_source(name);
            }
        }
    }

    /// Starts again what ended by itself, which only a panic does.
    pub(crate) fn revive(&mut self) {
        let dead = |(_, running): &(&Key, &Running)| running.task.0.is_finished();
        let dead: Vec<Key> = self
            .running
            .iter()
            .filter(dead)
            .map(|(k, _)| k.clone())
            .collect();
        for key in dead {
            if let Some(old) = self.running.remove(&key) {
                tracing::error!(
                    pool = key.0,
                    target = key.1,
                    "collection failed, starting it again"
                );
                self.start(key, old.desired.clone(), Some(old));
            }
        }
    }

    fn desired(&mut self, config: &Config) -> BTreeMap<Key, Desired> {
        let instance = config
            .instance
            .clone()
            .unwrap_or_else(|| hostname(&config.roots));
        let timeout = config.timeout.min(config.interval);
        let mut out = BTreeMap::new();
        let mut own = |pool: &str, url: &str, labels: Labels, kind| {
            let desired = Desired {
                discovered: labels.clone(),
                interval: config.interval,
                timeout,
                kind,
                advice: None,
            };
            out.insert((pool.to_owned(), url.to_owned(), labels), desired);
        };
        own(
            "stackwatch",
            "self:",
            target_labels("stackwatch", &config.self_instance),
            Kind::Own,
        );
        if let Some(host) = &config.host {
            let kind = Kind::Host(host.clone(), config.roots.clone());
            own("node", "host:", target_labels("node", &instance), kind);
        }
        if let Some(docker) = &config.docker {
            let kind = Kind::Docker(docker.clone(), config.roots.clone());
            let labels = target_labels("cadvisor", &instance);
            own("cadvisor", "docker:", labels, kind);
        }
        for redis in &config.redis {
            let labels = target_labels("redis", &redis.instance());
            let kind = Kind::Redis(Box::new(redis.clone()));
            own("redis", &redis.address(), labels, kind);
        }
        for kong in &config.kong {
            let labels = target_labels("kong", &kong.instance());
            let kind = Kind::Kong(Box::new(kong.clone()));
            own("kong", &masked(kong.url.as_str()), labels, kind);
        }
        for nginx in &config.nginx {
            let labels = target_labels("nginx", &nginx.instance());
            let kind = Kind::Nginx(Box::new(nginx.clone()));
            own("nginx", &masked(nginx.url.as_str()), labels, kind);
        }
        if !config.heartbeats.is_empty() {
            let labels = target_labels("heartbeat", &instance);
            own("heartbeat", "heartbeats:", labels, Kind::Heartbeats);
        }
        let labels = target_labels("logs", &instance);
        own("logs", "logs:", labels, Kind::LogSeries);
        if config.pushgateway {
            let labels = target_labels("pushgateway", &instance);
            own("pushgateway", "pushes:", labels, Kind::Pushes);
        }
        if let Some(statsd) = &config.statsd {
            if let Some(file) = self.mappings(statsd) {
                let kind = Kind::Statsd(Box::new(statsd.clone()), Box::new(file));
                own(
                    "statsd",
                    "statsd:",
                    target_labels("statsd", &instance),
                    kind,
                );
            }
        } else {
            self.statsd.clear();
        }
        if !config.files.is_empty() {
            let kind = Kind::Files(config.files.clone());
            own("files", "files:", target_labels("files", &instance), kind);
        }
        for server in &config.postgres {
            desired_postgres(config, server, &mut out);
        }
        for probe in &config.probes {
            let (key, desired) = self.desired_probe(config, probe);
            out.insert(key, desired);
        }
        let is_job = |name: &str| config.scrape_configs.iter().any(|s| s.job_name == name);
        self.jobs
            .retain(|name, _| is_job(name) || found::is_found(name));
        self.broken.retain(|name, _| is_job(name));
        self.status.keep_dropped_of(is_job);
        for scrape in &config.scrape_configs {
            self.desired_of_job(config, scrape, &mut out);
        }
        self.desired_found(config, &mut out);
        out
    }

    /// The mappings are read here, so that a reload notices what changed in their file. While that cannot
    /// be used, those in force stay: it may be half written when a container starts.
    fn mappings(&self, statsd: &StatsdConfig) -> Option<MappingFile> {
        let problem = match statsd.mapping_file() {
            Ok(file) => return Some(file),
            Err(problem) => problem,
        };
        tracing::error!(problem, "statsd goes on with the mappings it has, if any");
        self.running.values().find_map(|r| match &r.desired.kind {
            Kind::Statsd(_, file) => Some((**file).clone()),
            _ => None,
        })
    }

    fn desired_probe(&self, config: &Config, probe: &ProbeConfig) -> (Key, Desired) {
        let labels = probe.target_labels(&self.scrubber);
        let (interval, timeout) = probe.timing(config.interval, config.timeout);
        let desired = Desired {
            discovered: labels.clone(),
            interval,
            timeout,
            kind: Kind::Probe(Box::new(probe.clone())),
            advice: None,
        };
        let pool = labels.get("job").unwrap_or_default().to_owned();
        ((pool, probe.shown(&self.scrubber), labels), desired)
    }

    fn desired_of_job(
        &mut self,
        config: &Config,
        scrape: &ScrapeConfig,
        out: &mut BTreeMap<Key, Desired>,
    ) {
        let Some(job) = self.job(scrape) else {
            return;
        };
        let timing = scrape.timing(config.interval, config.timeout);
        let groups = self.discoverers.groups(&scrape.job_name);
        let found = targets(scrape, &groups, &job.relabel, timing);
        self.say_broken(&scrape.job_name, found.broken);
        let shown_max = match scrape.keep_dropped_targets {
            0 => DROPPED_MAX,
            wanted => wanted.min(DROPPED_MAX),
        };
        let dropped = found.dropped.iter().map(shown).collect();
        self.status
            .set_dropped(&scrape.job_name, dropped, shown_max);
        let limit = scrape.target_limit;
        let refused = (limit > 0 && found.active.len() > limit).then(|| {
            let count = found.active.len();
            format!("target_limit exceeded (number of targets: {count}, limit: {limit})")
        });
        for spec in found.active {
            let key = (
                scrape.job_name.clone(),
                masked(&spec.url).into_owned(),
                spec.labels.clone(),
            );
            let desired = Desired {
                discovered: shown(&spec.discovered),
                interval: spec.interval,
                timeout: spec.timeout,
                kind: Kind::Scrape {
                    config: Box::new(scrape.clone()),
                    spec,
                    refused: refused.clone(),
                },
                advice: None,
            };
            out.insert(key, desired);
        }
    }

    /// Says which targets of a job cannot be used, when that is news.
    fn say_broken(&mut self, job: &str, problems: Vec<String>) {
        let said = self.broken.insert(job.to_owned(), problems.clone());
        for problem in problems {
            if said.as_ref().is_none_or(|said| !said.contains(&problem)) {
                tracing::warn!(job, problem, "target left out");
            }
        }
    }

    /// The job as configured: the one there is, unless its configuration changed.
    fn job(&mut self, scrape: &ScrapeConfig) -> Option<Arc<Job>> {
        if let Some(job) = self.jobs.get(&scrape.job_name)
            && job.config == *scrape
        {
            return Some(Arc::clone(job));
        }
        match Job::new(scrape, &self.bodies) {
            Ok(job) => {
                let job = Arc::new(job);
                self.jobs.insert(scrape.job_name.clone(), Arc::clone(&job));
                Some(job)
            }
            Err(problem) => {
                tracing::error!(job = scrape.job_name, problem, "job cannot be scraped");
                self.jobs.remove(&scrape.job_name);
                None
            }
        }
    }

    fn start(&mut self, key: Key, desired: Desired, old: Option<Running>) {
        let mut target = Target::new(
            &key.0,
            &key.1,
            key.2.clone(),
            desired.discovered.clone(),
            (desired.interval, desired.timeout),
            self.status.clone(),
        );
        let is_found = desired.advice.is_some() || matches!(desired.kind, Kind::Unreadable(_));
        if is_found {
            target.nobody_asked_for(desired.advice.clone());
        }
        let (stop, stopped) = oneshot::channel();
        let before = async move {
            if let Some(target_before) = finish(old).await {
                target.take_over(target_before);
            }
            target
        };
        let launch = Launch {
            before,
            interval: desired.interval,
            samples: self.samples.clone(),
            stopped,
        };
        let timeout = desired.timeout;
        let task = match &desired.kind {
            Kind::Own => Ok(launch.run(SelfMetrics::new(Arc::clone(&self.expose)))),
            Kind::Host(host, roots) => Host::new(host, roots).map(|s| launch.run(s)),
            Kind::Docker(config, roots) => Docker::new(config, roots).map(|s| launch.run_docker(s)),
            Kind::Postgres(config) => Postgres::new(config, timeout).map(|s| launch.run(s)),
            Kind::Redis(config) => Ok(launch.run(Redis::new(config, timeout))),
            Kind::Kong(config) => Kong::new(config, timeout, &self.bodies).map(|s| launch.run(s)),
            Kind::Nginx(config) => Nginx::new(config, timeout, &self.bodies).map(|s| launch.run(s)),
            Kind::Heartbeats => Ok(launch.run(HeartbeatSource(self.inbox.heartbeats.clone()))),
            Kind::Pushes => Ok(launch.run(PushSource(self.inbox.pushes.clone()))),
            Kind::LogSeries => Ok(launch.run(LogSource(Arc::clone(&self.inbox.log_series)))),
            Kind::Statsd(config, file) => {
                Statsd::new(config, file, self.statsd.clone()).map(|s| launch.run(s))
            }
            Kind::Unreadable(problem) => Ok(launch.run(Unreadable(problem.clone()))),
            Kind::Files(configs) => Ok(launch.run(Files::new(configs.clone(), timeout))),
            Kind::Probe(config) => {
                Probe::new(config, timeout, self.system.clone()).map(|s| launch.run(s))
            }
            Kind::Scrape {
                spec,
                refused,
                config,
            } => {
                let Some(job) = self.jobs.get(&config.job_name) else {
                    return;
                };
                let source = Scraper::new(Arc::clone(job), spec.clone(), refused.clone());
                Ok(launch.run(source))
            }
        };
        let task = match task {
            Ok(task) => Task(task),
            Err(problem) => {
                tracing::error!(pool = key.0, target = key.1, problem, "cannot be watched");
                return;
            }
        };
        self.running.insert(
            key,
            Running {
                desired,
                stop,
                task,
            },
        );
    }

    /// At once, not at the next tick: pings of a new heartbeat may come any moment.
    fn configure_heartbeats(&self, config: &Config) {
        if self.inbox.heartbeats.are(&config.heartbeats) {
            return;
        }
        let (heartbeats, configs) = (self.inbox.heartbeats.clone(), config.heartbeats.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = heartbeats.configure(&configs, clock::now()) {
                tracing::warn!(%error, "heartbeats are not kept on disk as configured");
            }
        });
    }

    fn say_farewell(&mut self, running: Running) {
        let samples = self.samples.clone();
        self.farewells.spawn(async move {
            if let Some(mut target) = finish(Some(running)).await {
                let _ = samples.send(target.end(clock::now())).await;
            }
        });
    }
}

/// A target's labels before relabelling, as they are shown.
fn shown(discovered: &Labels) -> Labels {
    let masked = discovered.iter().map(|(n, v)| (n, masked_label(n, v)));
    Labels::from_pairs(masked)
}

/// Says of something found why it is not read.
struct Unreadable(String);

impl source::Source for Unreadable {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        target.finish(at, Duration::ZERO, Err(&self.0))
    }
}

/// The target of one PostgreSQL server.
fn desired_postgres(config: &Config, server: &PostgresConfig, out: &mut BTreeMap<Key, Desired>) {
    let (labels, url) = postgres::target(server);
    // Own queries are read here, so that a reload notices what changed in their file.
    let server = match server.with_query_file() {
        Ok(whole) => whole,
        Err(problem) => {
            tracing::error!(target = url, problem, "postgres cannot be watched");
            return;
        }
    };
    let interval = server.interval.unwrap_or(config.interval);
    let timeout = server.timeout.unwrap_or(config.timeout).min(interval);
    let desired = Desired {
        discovered: labels.clone(),
        interval,
        timeout,
        kind: Kind::Postgres(Box::new(server)),
        advice: None,
    };
    out.insert(("postgres".to_owned(), url, labels), desired);
}

/// Stops a task and waits for its target; `None` when it panicked or there is no task.
async fn finish(running: Option<Running>) -> Option<Target> {
    let Running { stop, mut task, .. } = running?;
    // An error means that it has ended already.
    let _ = stop.send(());
    (&mut task.0).await.ok()
}
