//! Which containers are tailed: one task each.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::config::Filter;
use super::container::{self, End};
use super::frame::Stream;
use super::reader::{container_of, source};
use super::{Container, Context};
use crate::docker::CONTAINERS_MAX;
use crate::engine::{ContainerSummary, Event};

/// How long after a container's removal its position is dropped: by then the store has what
/// was on its way, and would not bring the position back.
const FORGET_DELAY: Duration = Duration::from_secs(60);

/// The tasks, by container. Dropping ends them all.
pub(super) struct Tails {
    context: Arc<Context>,
    filter: Filter,
    own_id: Option<String>,
    tasks: JoinSet<End>,
    containers: HashMap<String, Tail>,
    /// Whether stored positions were compared with the engine's containers.
    positions_checked: bool,
    /// Whether it was said that there are more containers than are tailed.
    full: bool,
}

struct Tail {
    container: Container,
    task: Option<AbortHandle>,
    /// Whether it runs, as far as events and lists tell.
    running: watch::Sender<bool>,
    /// It started again while its task was still at the end of the run before.
    again: bool,
    /// Its log driver keeps nothing.
    unreadable: bool,
    /// When it was removed.
    removed: Option<Instant>,
}

impl Tails {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Tails {
            filter: Filter::new(&context.config),
            own_id: if context.config.own {
                None
            } else {
                own_container_id()
            },
            context,
            tasks: JoinSet::new(),
            containers: HashMap::new(),
            positions_checked: false,
            full: false,
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn shared(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// Whether the container of an event is read.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let attributes = &event.actor.attributes;
        let name = attributes.get("name").map_or("", String::as_str);
        self.is_wanted(
            &Container::new(&event.actor.id, name, attributes),
            attributes,
        )
    }

    fn is_wanted(&self, container: &Container, labels: &BTreeMap<String, String>) -> bool {
        let own = self.own_id.as_ref() == Some(&container.id);
        let by_configuration = || self.filter.wants(&container.name, labels);
        !own && container.settings.read.unwrap_or_else(by_configuration)
    }

    /// Does what an event asks for.
    pub(super) fn handle(&mut self, event: &Event) {
        let id = event.actor.id.as_str();
        let attributes = &event.actor.attributes;
        let name = attributes.get("name").map_or("", String::as_str);
        let container = || Container::new(id, name, attributes);
        match event.action.as_str() {
            "start" => self.start(container(), attributes, true),
            "die" => self.is_running(id, false),
            "destroy" => self.removed(id),
            "rename" => self.renamed(container(), attributes),
            _ => {}
        }
    }

    /// Compares with the list of all containers: starts what is missing, drops what is gone.
    pub(super) fn reconcile(&mut self, list: &[ContainerSummary]) {
        for summary in list {
            let name = own_name(&summary.names);
            let container = Container::new(&summary.id, name, &summary.labels);
            let runs = matches!(summary.state.as_str(), "running" | "paused");
            match self.containers.get(&summary.id) {
                Some(known) if known.container.name != name => {
                    self.renamed(container, &summary.labels);
                }
                Some(known) if known.task.is_some() => self.is_running(&summary.id, runs),
                Some(known) if !runs || known.unreadable => {}
                _ => self.start(container, &summary.labels, runs),
            }
        }
        let listed: HashSet<&str> = list.iter().map(|summary| summary.id.as_str()).collect();
        let gone = self
            .containers
            .keys()
            .filter(|id| !listed.contains(id.as_str()));
        for id in gone.cloned().collect::<Vec<_>>() {
            self.removed(&id);
        }
        if !std::mem::replace(&mut self.positions_checked, true) {
            let stored = self.context.positions.sources();
            for id in removed_meanwhile(&stored, &listed) {
                self.containers.entry(id).or_insert_with_key(|id| Tail {
                    container: Container::new(id, "", &BTreeMap::new()),
                    task: None,
                    running: watch::Sender::new(false),
                    again: false,
                    unreadable: false,
                    removed: Some(Instant::now()),
                });
            }
        }
        self.forget();
    }

    /// Waits until a task ends and sees to what follows. Cancel-safe.
    pub(super) async fn one_ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (task, end) = match ended {
            Ok((task, end)) => (task, Some(end)),
            Err(error) => (error.id(), None),
        };
        self.ended(task, end);
    }

    fn ended(&mut self, task: Id, end: Option<End>) {
        let of_task =
            |tail: &&mut Tail| tail.task.as_ref().is_some_and(|handle| handle.id() == task);
        // None: it was replaced or removed meanwhile.
        let Some(tail) = self.containers.values_mut().find(of_task) else {
            return;
        };
        tail.task = None;
        let container = &tail.container;
        let name = &container.name;
        match end {
            Some(End::Unreadable) => {
                tracing::warn!(container = %name, "its log driver keeps nothing to read; json-file or local does");
            }
            // Reconciling starts it again.
            None => tracing::error!(container = %name, "reading its log failed within us"),
            Some(End::Exited | End::Gone | End::Closed) => {}
        }
        let unreadable = end == Some(End::Unreadable);
        tail.unreadable = unreadable;
        self.context
            .telemetry
            .proof
            .set(&container.id, name, |status| {
                status.state = if unreadable { "unreadable" } else { "ended" };
                if unreadable {
                    status.notes = vec![format!(
                        "its log driver {} keeps nothing that could be read; to mend it, in the container's service: logging: {{ driver: local }}",
                        status.driver
                    )];
                }
            });
        if std::mem::take(&mut tail.again) && end == Some(End::Exited) {
            let (container, running) = (container.clone(), *tail.running.borrow());
            self.spawn(container, running);
        }
    }

    fn start(&mut self, container: Container, labels: &BTreeMap<String, String>, running: bool) {
        if !self.is_wanted(&container, labels) {
            return;
        }
        if let Some(tail) = self.containers.get_mut(&container.id)
            && tail.task.is_some()
        {
            tail.again = true;
            tail.running.send_replace(running);
            return;
        }
        self.spawn(container, running);
    }

    fn spawn(&mut self, container: Container, running: bool) {
        if self.tasks.len() >= CONTAINERS_MAX {
            // Reconciling tries again.
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(
                    limit = CONTAINERS_MAX,
                    "too many containers, logs of the rest are left out"
                );
            }
            return;
        }
        let context = Arc::clone(&self.context);
        let tailed = container.clone();
        let (sender, receiver) = watch::channel(running);
        self.context
            .telemetry
            .proof
            .set(&container.id, &container.name, |status| {
                status.state = "following";
                status.notes.clear();
            });
        let task = self
            .tasks
            .spawn(async move { container::follow(&context, &tailed, receiver).await });
        let tail = Tail {
            container,
            task: Some(task),
            running: sender,
            again: false,
            unreadable: false,
            removed: None,
        };
        self.containers.insert(tail.container.id.clone(), tail);
    }

    fn is_running(&self, id: &str, running: bool) {
        if let Some(tail) = self.containers.get(id) {
            tail.running.send_if_modified(|known| {
                let changed = *known != running;
                *known = running;
                changed
            });
        }
    }

    /// A new name means new labels, so a new task.
    fn renamed(&mut self, container: Container, labels: &BTreeMap<String, String>) {
        if let Some(tail) = self.containers.remove(&container.id)
            && let Some(task) = tail.task
        {
            task.abort();
            let running = *tail.running.borrow();
            self.start(container, labels, running);
        }
    }

    /// Its task ends by itself once it has read what is left.
    fn removed(&mut self, id: &str) {
        self.is_running(id, false);
        if let Some(tail) = self.containers.get_mut(id) {
            tail.removed.get_or_insert_with(Instant::now);
        }
    }

    fn forget(&mut self) {
        let Tails {
            containers,
            context,
            ..
        } = self;
        containers.retain(|id, tail| {
            let old = tail.removed.is_some_and(|at| at.elapsed() >= FORGET_DELAY);
            if old && tail.task.is_none() {
                for stream in Stream::ALL {
                    let source = source(id, stream);
                    context.progress.remove(&source);
                    context.positions.forget(&source);
                }
                context.telemetry.proof.remove(id);
                return false;
            }
            true
        });
    }
}

/// Containers that have positions and were removed while nobody watched.
fn removed_meanwhile(stored: &[String], listed: &HashSet<&str>) -> HashSet<String> {
    let ids = stored.iter().filter_map(|source| container_of(source));
    ids.filter(|id| !listed.contains(id))
        .map(str::to_owned)
        .collect()
}

/// The name without a slash inside; links add names with one.
fn own_name(names: &[String]) -> &str {
    let plain = |name: &&String| !name.trim_start_matches('/').contains('/');
    names
        .iter()
        .find(plain)
        .map_or("", |name| name.trim_start_matches('/'))
}

/// The id of the container we run in: engines mount files from a folder of that name into it,
/// whatever the version of the control groups.
pub(crate) fn own_container_id() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    own_id_of(&mounts)
}

fn own_id_of(mounts: &str) -> Option<String> {
    const FOLDER: &str = "/docker/containers/";
    mounts.lines().find_map(|line| {
        // Only what is mounted by the engine into a container, not its folder on a host.
        let target = line.split(' ').nth(4)?;
        if !matches!(target, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let id = line.split_once(FOLDER)?.1.split('/').next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_container_is_known_by_its_mounts() {
        let id = "0123456789abcdef".repeat(4);
        let inside = format!(
            "1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw"
        );
        assert_eq!(
            own_id_of(&format!("0 1 0:1 / / rw\n{inside}")),
            Some(id.clone())
        );
        let host =
            format!("1 2 8:1 / /var/lib/docker/containers/{id}/mounts/shm rw - tmpfs shm rw");
        assert_eq!(own_id_of(&host), None);
    }

    #[test]
    fn positions_of_containers_removed_meanwhile_are_found() {
        let mut stored: Vec<_> = Stream::ALL.map(|stream| source("gone", stream)).into();
        stored.push(source("there", Stream::ALL[0]));
        stored.push("file/gone".to_owned());
        let gone = removed_meanwhile(&stored, &HashSet::from(["there", "new"]));
        assert_eq!(gone, HashSet::from(["gone".to_owned()]));
    }

    #[test]
    fn a_container_has_one_name_of_its_own() {
        let names = ["/web/db".to_owned(), "/db".to_owned()];
        assert_eq!(own_name(&names), "db");
        assert_eq!(own_name(&[]), "");
    }
}
