//! Service discovery of scrape jobs, with Prometheus' configuration keys and meta labels.
//!
//! One task for each entry of `file_sd_configs`, `http_sd_configs` and `docker_sd_configs` finds
//! target groups and leaves them where the supervisor looks for them. An entry that fails keeps
//! what it found last. Sources: prometheus discovery/{file,http,moby}.

mod config;
mod docker;
mod file;
mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use config::{DockerFilter, DockerSdConfig, FileSdConfig, HttpSdConfig};

use super::{Bodies, ScrapeConfig, StaticConfig};
use crate::Status;

/// Targets one entry may find; further ones are left out and said. Each is a task and at least
/// seven series: what a server of this size can scrape at all.
const TARGETS_MAX: usize = 5000;
/// The largest file or answer read, in bytes: some 80,000 targets.
const BYTES_MAX: u64 = 8 << 20;

/// One entry of one job: the job's name, and the number of the entry among all of the job's.
type Key = (String, usize);

/// Where the targets of an entry come from.
#[derive(Clone, Debug, PartialEq)]
enum Mechanism {
    File(FileSdConfig),
    Http(Box<HttpSdConfig>),
    Docker(DockerSdConfig),
}

/// Finds targets until dropped.
pub(crate) struct Discoverers {
    shared: Arc<Shared>,
    running: BTreeMap<Key, Running>,
    status: Status,
    bodies: Bodies,
}

struct Running {
    mechanism: Mechanism,
    shown: String,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Shared {
    found: Mutex<BTreeMap<Key, Vec<StaticConfig>>>,
    changed: Arc<Notify>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<StaticConfig>>> {
        // A writer that panicked left whole values.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Discoverers {
    /// `changed` is told whenever other targets were found than before.
    pub(crate) fn new(status: Status, changed: Arc<Notify>, bodies: Bodies) -> Discoverers {
        Discoverers {
            shared: Arc::new(Shared {
                changed,
                ..Shared::default()
            }),
            running: BTreeMap::new(),
            status,
            bodies,
        }
    }

    /// Starts, restarts and ends tasks until they are those of `jobs`. What an entry found stays
    /// until its changed successor has found something.
    pub(crate) fn apply(&mut self, jobs: &[ScrapeConfig]) {
        let mut wanted = BTreeMap::new();
        for job in jobs {
            for (at, (shown, mechanism)) in mechanisms(job).into_iter().enumerate() {
                wanted.insert((job.job_name.clone(), at), (shown, mechanism));
            }
        }
        let mut ended = Vec::new();
        self.running.retain(|key, running| {
            let stays = wanted.contains_key(key);
            if !stays {
                ended.push(running.shown.clone());
            }
            stays
        });
        self.shared.lock().retain(|key, _| wanted.contains_key(key));
        for shown in ended {
            self.status.remove_source(&shown);
        }
        for (key, (shown, mechanism)) in wanted {
            let known = self.running.get(&key);
            let alive = known.filter(|r| r.mechanism == mechanism && !r.task.is_finished());
            if alive.is_some() {
                continue;
            }
            let running = self.start(key.clone(), shown, mechanism);
            self.running.insert(key, running);
        }
    }

    fn start(&self, key: Key, shown: String, mechanism: Mechanism) -> Running {
        let waiting = "has not been read yet".to_owned();
        self.status.set_source(&shown, Err(waiting));
        let publisher = Publisher {
            key,
            shown: shown.clone(),
            shared: Arc::clone(&self.shared),
            status: self.status.clone(),
        };
        let task = match mechanism.clone() {
            Mechanism::File(config) => tokio::spawn(file::run(config, publisher)),
            Mechanism::Http(config) => {
                tokio::spawn(http::run(*config, self.bodies.clone(), publisher))
            }
            Mechanism::Docker(config) => tokio::spawn(docker::run(config, publisher)),
        };
        Running {
            mechanism,
            shown,
            task,
        }
    }

    /// The groups that the entries of a job have found.
    pub(crate) fn groups(&self, job: &str) -> Vec<StaticConfig> {
        let found = self.shared.lock();
        let of_job = found.range((job.to_owned(), 0)..=(job.to_owned(), usize::MAX));
        of_job.flat_map(|(_, groups)| groups.clone()).collect()
    }
}

/// The entries of a job, each with the name it is spoken of by.
fn mechanisms(job: &ScrapeConfig) -> Vec<(String, Mechanism)> {
    let name = &job.job_name;
    let shown = |key: &str, at: usize| format!("job {name:?}, {key}[{at}]");
    let files = job.file_sd_configs.iter().enumerate();
    let https = job.http_sd_configs.iter().enumerate();
    let dockers = job.docker_sd_configs.iter().enumerate();
    files
        .map(|(at, c)| (shown("file_sd_configs", at), Mechanism::File(c.clone())))
        .chain(https.map(|(at, c)| {
            let mechanism = Mechanism::Http(Box::new(c.clone()));
            (shown("http_sd_configs", at), mechanism)
        }))
        .chain(
            dockers.map(|(at, c)| (shown("docker_sd_configs", at), Mechanism::Docker(c.clone()))),
        )
        .collect()
}

/// Where an entry's task leaves what it finds.
struct Publisher {
    key: Key,
    shown: String,
    shared: Arc<Shared>,
    status: Status,
}

impl Publisher {
    /// All groups there are now. `problem` tells what could not be read beside them.
    fn found(&self, mut groups: Vec<StaticConfig>, problem: Option<String>) {
        let mut left = TARGETS_MAX;
        let mut cut = 0;
        for group in &mut groups {
            cut += group.targets.len().saturating_sub(left);
            group.targets.truncate(left);
            left -= group.targets.len();
        }
        let too_many = (cut > 0).then(|| {
            format!("{cut} targets are left out: one entry may have {TARGETS_MAX}, write several")
        });
        {
            let mut found = self.shared.lock();
            // An entry that begins with nothing has found something too: nothing.
            if found.get(&self.key) != Some(&groups) {
                found.insert(self.key.clone(), groups);
                self.shared.changed.notify_one();
            }
        }
        self.note(problem.or(too_many));
    }

    /// Nothing could be read: what was found last stays.
    fn failed(&self, problem: String) {
        self.note(Some(problem));
    }

    fn note(&self, problem: Option<String>) {
        if problem.is_some() {
            self.status.telemetry().discovery_failures.inc();
        }
        let news = self
            .status
            .set_source(&self.shown, problem.clone().map_or(Ok(()), Err));
        match problem {
            Some(problem) if news => {
                tracing::warn!(
                    discovery = self.shown,
                    problem,
                    "targets are not discovered"
                );
            }
            None if news => tracing::info!(discovery = self.shown, "targets are discovered"),
            _ => {}
        }
    }
}

/// What is wrong with the files that `jobs` name, each with its job. A file that is not there is
/// no mistake: it may come.
#[must_use]
pub fn check_files(jobs: &[ScrapeConfig]) -> Vec<String> {
    let mut problems = Vec::new();
    for job in jobs {
        for path in job.file_sd_configs.iter().flat_map(file::paths) {
            if path.exists()
                && let Err(problem) = file::read(&path)
            {
                let name = &job.job_name;
                problems.push(format!("scrape_configs, job {name:?}: {problem}"));
            }
        }
    }
    problems
}
