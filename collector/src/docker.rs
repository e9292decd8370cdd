//! Containers of a Docker engine: usage from cgroup files at every tick, under cAdvisor's names;
//! state from the engine's event stream, at the moment it changes.
//!
//! The engine is asked for a list once a minute and about one container when something happens
//! to it; its stats API, which costs a hundred times as much, only where cgroup files are out of reach.

mod cgroup;
mod container;
mod events;
mod inspections;
mod machine;
mod service;
mod stats;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{SampleBatch, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::{self, Schedule};
use crate::config::{DEFAULT_SOCKET, DockerConfig, Roots};
use crate::engine::{ContainerSummary, Engine, EngineError, Event, JsonLines, Version};
use crate::host::disk_of;
use crate::target::{Collected, Sink, Target};
use cgroup::{Places, Usage};
use container::Container;
use events::Change;
use inspections::Inspections;
use machine::{Look, Machine};
use service::Services;
use stats::Stats;

/// Time between two comparisons with the engine's list: how long a lost event goes unnoticed.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// Time between two attempts to reach an engine that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Time to the next try where it has not answered about a container.
const OWED_INTERVAL: Duration = Duration::from_secs(3);
/// How far back requests to stop are asked for at the start: as long as a dead container is news.
/// The engine remembers its last few hundred events only.
const REQUESTS_KNOWN: Duration = Duration::from_secs(86_400);
/// How long what a container may use is taken for known. The engine tells of changes made through
/// it at once; this is for those made to the files.
const BOUNDS_TIME_MAX: Duration = Duration::from_secs(60);
/// Containers watched, and tailed; those behind are left out with a warning.
pub(crate) const CONTAINERS_MAX: usize = 2000;
/// Containers with Docker labels that are too long, of which the notes tell.
const LEFT_OUT_SHOWN: usize = 10;

/// Time between two questions how much containers have written.
const SIZES_INTERVAL: Duration = Duration::from_secs(600);
/// That question may keep the engine busy for one part of so many of the time.
const SIZES_SHARE: u32 = 200;

/// Going back by more than this is a clock that was set, not two samples in the same millisecond.
const CLOCK_STEP: Duration = Duration::from_secs(10);

/// States the engine knows, each counted even when there is none.
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// Watches one engine.
pub(crate) struct Docker {
    engine: Engine,
    roots: Roots,
    containers: BTreeMap<String, Container>,
    version: Version,
    /// `None` while the engine does not answer.
    events: Option<JsonLines<Event>>,
    /// Docker labels that become labels.
    labels: Vec<String>,
    /// Whether it ever answered, or somebody named its address.
    expected: bool,
    machine: Machine,
    services: Services,
    /// When images were made, by id.
    images: BTreeMap<String, Option<f64>>,
    /// Where the engine keeps its files, on its host.
    root_dir: String,
    sizes: Option<Sizes>,
    stats: Stats,
    inspections: Inspections,
    /// Newest event seen, nanoseconds since the epoch: where to go on after a break.
    last_event_ns: Option<i64>,
    /// When it first answered, nanoseconds since the epoch: what happened before is known by asking.
    connected_ns: Option<i64>,
    /// Samples of a series must not go back in time.
    last_at: Timestamp,
}

/// The question how much containers have written.
enum Sizes {
    /// Not before then.
    Wait(Instant),
    /// Asked then.
    Asked(Instant, JoinHandle<Option<Vec<(String, f64)>>>),
}

impl Docker {
    /// # Errors
    /// When the socket's address makes no sense.
    pub(crate) fn new(config: &DockerConfig, roots: &Roots) -> Result<Docker, String> {
        Ok(Docker {
            engine: Engine::new(&config.socket).map_err(|e| e.to_string())?,
            roots: roots.clone(),
            labels: config.labels.clone(),
            expected: config.socket != DEFAULT_SOCKET,
            machine: Machine::new(roots),
            services: Services::default(),
            images: BTreeMap::new(),
            root_dir: String::new(),
            sizes: config.sizes.then(|| Sizes::Wait(Instant::now())),
            stats: Stats::default(),
            inspections: Inspections::default(),
            containers: BTreeMap::new(),
            version: Version::default(),
            events: None,
            last_event_ns: None,
            connected_ns: None,
            last_at: Timestamp::MIN,
        })
    }

    /// Opens the event stream, then asks for everything: what happens in between comes as an event.
    async fn connect(&mut self) -> Result<(), EngineError> {
        self.version = self.engine.version().await?;
        let now = clock::now();
        let since = self
            .last_event_ns
            .map_or_else(|| now.minus(REQUESTS_KNOWN).nanos(), |ns| ns + 1);
        let events = self.engine.events(&events::FILTERS, Some(since)).await?;
        // A proxy may not let this through.
        self.root_dir = self.engine.info().await.unwrap_or_default().docker_root_dir;
        // One that was started again meanwhile has another process and the same state; its events may
        // be forgotten, of which the engine keeps 256.
        self.reconcile(true).await?;
        self.connected_ns.get_or_insert(now.nanos());
        self.events = Some(events);
        Ok(())
    }

    /// Compares with the engine's list and inspects what is new or different, or `all`.
    async fn reconcile(&mut self, all: bool) -> Result<(), EngineError> {
        let mut list = self.engine.list(true).await?;
        if list.len() > CONTAINERS_MAX {
            tracing::warn!(
                containers = list.len(),
                limit = CONTAINERS_MAX,
                "too many containers, the rest is left out"
            );
            list.truncate(CONTAINERS_MAX);
        }
        self.containers
            .retain(|id, _| list.iter().any(|summary| summary.id == *id));
        self.inspections
            .retain(|id| list.iter().any(|summary| summary.id == id));
        let differs = |summary: &ContainerSummary| {
            let known = self.containers.get(&summary.id);
            all || known.is_none_or(|c| c.status() != summary.state)
        };
        let ids = list
            .into_iter()
            .filter(|summary| self.inspections.owes(&summary.id) || differs(summary))
            .map(|summary| summary.id)
            .collect();
        self.inspect(ids).await;
        let used: BTreeSet<&String> = self.containers.values().map(|c| &c.image_id).collect();
        self.images.retain(|id, _| used.contains(id));
        Ok(())
    }

    /// Learns what containers are, now or when the engine answers.
    async fn inspect(&mut self, ids: Vec<String>) {
        let known = self.images.keys().cloned().collect();
        let answers = self.inspections.ask(&self.engine, ids, &known).await;
        for answer in answers {
            let id = answer.id.as_str();
            let Some(detail) = answer.detail else {
                self.containers.remove(id);
                continue;
            };
            let image = detail.image.clone();
            let full = self.containers.len() >= CONTAINERS_MAX;
            match self.containers.get_mut(id) {
                Some(container) => container.update(detail, &self.labels),
                None if full => {}
                None => {
                    let container = Container::new(detail, &self.labels);
                    self.containers.insert(id.to_owned(), container);
                }
            }
            let service = self.containers.get(id).and_then(|c| c.service.as_ref());
            if let Some(service) = service {
                self.services.seen(service, id);
            }
            if !image.is_empty() {
                let created = answer.image_created;
                let created = || created.as_deref().and_then(container::seconds);
                self.images.entry(image).or_insert_with(created);
            }
        }
    }

    /// Asks from time to time how much containers have written, and takes the answer when it comes.
    async fn know_sizes(&mut self) {
        match &mut self.sizes {
            Some(Sizes::Wait(next)) if *next <= Instant::now() && self.events.is_some() => {
                let engine = self.engine.clone();
                let asked = tokio::spawn(async move {
                    let all = engine.sizes().await.ok()?;
                    let each = all.into_iter();
                    let sizes = each.map(|c| (c.id, c.size_rw.unwrap_or(0) as f64));
                    Some(sizes.collect())
                });
                self.sizes = Some(Sizes::Asked(Instant::now(), asked));
            }
            Some(Sizes::Asked(since, asked)) if asked.is_finished() => {
                let wait = (since.elapsed() * SIZES_SHARE).max(SIZES_INTERVAL);
                let sizes = asked.await.ok().flatten().unwrap_or_default();
                for (id, bytes) in sizes {
                    if let Some(container) = self.containers.get_mut(&id) {
                        container.written_bytes = Some(bytes);
                    }
                }
                self.sizes = Some(Sizes::Wait(Instant::now() + wait));
            }
            _ => {}
        }
    }

    /// Acts on an event; gives what to tell at once.
    async fn handle(
        &mut self,
        event: &Event,
        target: &mut Target,
    ) -> Result<Option<SampleBatch>, EngineError> {
        self.last_event_ns = self.last_event_ns.max(Some(event.time_ns));
        let id = event.actor.id.as_str();
        let past = self.connected_ns.is_some_and(|ns| event.time_ns < ns);
        let change = match events::change(event) {
            // Who asked for the end of a container is all that the engine does not tell now.
            change if past && change != Change::StopRequested => Change::Nothing,
            change => change,
        };
        match change {
            Change::Nothing => return Ok(None),
            Change::Removed => {
                // Its series end at the next tick, when they are missed.
                self.containers.remove(id);
                return Ok(None);
            }
            // The cgroup's count, if it is still there, is read at the next tick.
            Change::OomKilled => {
                if !self.containers.contains_key(id) {
                    self.inspect(vec![id.to_owned()]).await;
                } else if let Some(container) = self.containers.get_mut(id) {
                    container.oom_killed();
                }
            }
            Change::StopRequested => {
                if let Some(container) = self.containers.get_mut(id) {
                    container.stop_requested(event.time_ns as f64 / 1e9);
                }
            }
            Change::Inspect => self.inspect(vec![id.to_owned()]).await,
            Change::Died { exit_code } => {
                // One that removes itself may be gone already; its death is told all the same.
                let mut answers = Vec::new();
                if self.containers.contains_key(id) {
                    let known = self.images.keys().cloned().collect();
                    let ids = vec![id.to_owned()];
                    answers = self.inspections.ask(&self.engine, ids, &known).await;
                }
                if let Some(container) = self.containers.get_mut(id) {
                    if let Some(detail) = answers.pop().and_then(|answer| answer.detail) {
                        container.update(detail, &self.labels);
                    }
                    container.died(exit_code, event.time_ns as f64 / 1e9);
                }
            }
        }
        target.status.telemetry().docker_events.inc();
        let at = self.next_at(clock::now());
        Ok(self.containers.get(id).map(|container| {
            let mut update = target.update(at);
            let image = self.images.get(&container.image_id);
            container.put_state(image.copied().flatten(), &mut update);
            update.done()
        }))
    }

    /// Reads the usage of all running containers on a thread that may block, and asks the engine
    /// about those that have no files here.
    async fn read_usage(&mut self, target: &Target) -> (Vec<(String, Usage)>, Look) {
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        for container in self.containers.values_mut() {
            let Some(pid) = container.pid() else {
                continue;
            };
            if container.places.is_none() {
                container.places =
                    Places::find(&self.roots, &container.id, pid, container.own_network)
                        .map(|places| (pid, places));
            }
            match &container.places {
                Some((_, places)) => {
                    let read = container.bounds.as_ref();
                    if read.is_some_and(|(at, _)| at.elapsed() >= BOUNDS_TIME_MAX) {
                        container.bounds = None;
                    }
                    let known = container.bounds.map(|(_, bounds)| bounds);
                    wanted.push((container.id.clone(), places.clone(), known));
                }
                None => others.push(container.id.clone()),
            }
        }
        if self.events.is_none() {
            others.clear();
        }
        let note = (!others.is_empty()).then(|| {
            format!(
                "{} containers have no cgroup files here, so the engine is asked what they use, which costs \
                 more: mount the host's /proc and /sys and set collect.roots",
                others.len()
            )
        });
        let left_out = self.containers.values().filter_map(Container::note);
        let notes = note.into_iter().chain(self.inspections.note());
        let notes = notes.chain(left_out.take(LEFT_OUT_SHOWN));
        target.set_notes(notes.collect());
        let roots = self.roots.clone();
        let read = move || {
            let each = wanted.into_iter();
            let usage =
                each.filter_map(|(id, places, known)| Some((id, places.read(&roots.sys, known)?)));
            (usage.collect(), Look::new(&roots))
        };
        let (mut usage, look): (Vec<(String, Usage)>, Look) =
            tokio::task::spawn_blocking(read).await.unwrap_or_default();
        let now = Instant::now();
        for (id, own) in &usage {
            if let Some(container) = self.containers.get_mut(id) {
                container.bounds.get_or_insert((now, own.bounds));
            }
        }
        for (id, mut own) in self.stats.of(&self.engine, others).await {
            if let Some(container) = self.containers.get(&id) {
                own.bounds = stats::bounds(&container.given);
                usage.push((id, own));
            }
        }
        (usage, look)
    }

    async fn collect(&mut self, target: &mut Target, tick: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let up = self.events.is_some();
        if !up && !self.expected {
            return self.collect_nothing(target, tick, started);
        }
        self.know_sizes().await;
        let (usage, look) = self.read_usage(target).await;
        let at = self.next_at(tick);
        let mut pass = target.pass(at);
        pass.put("docker_engine_up", &[], f64::from(u8::from(up)));
        if up {
            let version = [
                ("api_version", self.version.api_version.as_str()),
                ("version", self.version.version.as_str()),
            ];
            pass.put("docker_engine_info", &version, 1.0);
            for state in STATES {
                let all = self.containers.values();
                let count = all.filter(|c| c.status() == state).count();
                pass.put("docker_containers", &[("state", state)], count as f64);
            }
        }
        let seconds = at.as_secs_f64();
        let disk = disk_of(&look.disks, &self.root_dir).filter(|_| !self.root_dir.is_empty());
        for (id, usage) in &usage {
            if let Some(container) = self.containers.get_mut(id) {
                if let Some(kills) = usage.memory.oom_kills {
                    container.saw_oom_kills(kills);
                }
                container.put_usage(usage, seconds, &mut pass);
                if let Some(disk) = disk {
                    container.put_disk(disk, &mut pass);
                }
            }
        }
        // Nobody knows the state of a container whose engine does not answer.
        if up {
            for container in self.containers.values() {
                let image = self.images.get(&container.image_id);
                container.put_state(image.copied().flatten(), &mut pass);
            }
            let exists = |id: &str| self.containers.contains_key(id);
            self.services.put(exists, seconds, &mut pass);
        }
        pass.put("container_scrape_error", &[], f64::from(u8::from(!up)));
        let engine = &self.version.version;
        self.machine.put(&look, engine, seconds, &mut pass);
        let mut collected: Collected = pass.done();
        if !up {
            collected.problem = Some("the docker engine does not answer".to_owned());
        }
        target.finish(at, started.elapsed(), Ok(collected))
    }

    /// A machine on which Docker has not been seen has no target that could be up or down.
    fn collect_nothing(
        &mut self,
        target: &mut Target,
        tick: Timestamp,
        started: Instant,
    ) -> SampleBatch {
        let at = self.next_at(tick);
        let mut pass = target.pass(at);
        pass.put("docker_engine_up", &[], 0.0);
        let collected = pass.done();
        target.finish_without_report(
            at,
            started.elapsed(),
            collected,
            "there is no docker engine",
        )
    }

    /// The time to stamp on samples: later than those before, unless the clock was set back.
    fn next_at(&mut self, wanted: Timestamp) -> Timestamp {
        let set_back = self.last_at.since(wanted) > CLOCK_STEP;
        let least = self.last_at.plus(Duration::from_millis(1));
        self.last_at = if set_back { wanted } else { wanted.max(least) };
        self.last_at
    }

    /// Notes that the engine answers, or why not; only news are logged.
    fn note(&mut self, target: &Target, result: Result<(), &EngineError>) {
        let news = target
            .status
            .set_source("docker", result.map_err(ToString::to_string));
        match result {
            Ok(()) => {
                self.expected = true;
                if news {
                    tracing::info!(
                        version = self.version.version,
                        containers = self.containers.len(),
                        "watching docker"
                    );
                }
            }
            Err(error) => {
                self.events = None;
                // A socket that is there says that Docker should be.
                self.expected |= !matches!(error, EngineError::NoSocket(_));
                if news {
                    tracing::warn!(%error, "docker is not watched, trying again every {} s", RETRY_INTERVAL.as_secs());
                }
            }
        }
    }
}

/// Watches until `stop`, and gives the target back for whoever goes on with it.
pub(crate) async fn run(
    mut docker: Docker,
    mut target: Target,
    interval: Duration,
    samples: mpsc::Sender<SampleBatch>,
    mut stop: oneshot::Receiver<()>,
) -> Target {
    tokio::select! {
        () = docker.watch(&mut target, interval, &samples) => {}
        _ = &mut stop => {}
    }
    target
}

impl Docker {
    async fn watch(
        &mut self,
        target: &mut Target,
        interval: Duration,
        samples: &mpsc::Sender<SampleBatch>,
    ) {
        let schedule = Schedule::new(interval, &(&target.url, target.labels.fingerprint()));
        let mut tick = schedule.next(clock::now());
        let mut next_check = Instant::now();
        loop {
            let batch = tokio::select! {
                // The tick first: a flood of events must not starve it.
                biased;
                at = clock::sleep_until(tick) => {
                    let next = schedule.following(tick, clock::now());
                    let missed = schedule.between(tick, next);
                    target.status.telemetry().missed_ticks.inc_by(missed);
                    tick = next;
                    Some(self.collect(target, at).await)
                }
                () = tokio::time::sleep_until(next_check) => {
                    next_check = Instant::now() + self.check(target).await;
                    None
                }
                event = next_event(&mut self.events) => {
                    let handled = match event {
                        Ok(event) => self.handle(&event, target).await,
                        Err(e) => Err(e),
                    };
                    if self.inspections.is_owed() {
                        next_check = next_check.min(Instant::now() + OWED_INTERVAL);
                    }
                    match handled {
                        Ok(batch) => batch,
                        Err(error) => {
                            target.status.telemetry().docker_reconnects.inc();
                            self.note(target, Err(&error));
                            // A proxy may only have dropped an idle stream: look at once, then wait.
                            next_check = Instant::now() + Duration::from_secs(1);
                            None
                        }
                    }
                }
            };
            if let Some(batch) = batch
                && samples.send(batch).await.is_err()
            {
                return;
            }
        }
    }

    /// Connects or compares; gives the time to the next check.
    async fn check(&mut self, target: &Target) -> Duration {
        let result = if self.events.is_some() {
            self.reconcile(false).await
        } else {
            self.connect().await
        };
        let next = match result {
            Ok(()) if !self.inspections.is_owed() => RECONCILE_INTERVAL,
            Ok(()) => OWED_INTERVAL,
            Err(_) => RETRY_INTERVAL,
        };
        self.note(target, result.as_ref().copied());
        next
    }
}

/// The next event; never, while there is no stream.
async fn next_event(events: &mut Option<JsonLines<Event>>) -> Result<Event, EngineError> {
    let Some(stream) = events else {
        return std::future::pending().await;
    };
    match stream.next().await {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(EngineError::Closed),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
