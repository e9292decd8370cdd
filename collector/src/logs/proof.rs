//! What became of each container's lines: the sums that show whether any was lost or stored twice.
//!
//! Whatever was seen was stored, known before, or left out by the quota; what of it is still on its
//! way is the difference.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Containers that have counters of their own, by name. Others share [`OTHERS`].
const NAMES_MAX: usize = 500;
/// The name of those beyond [`NAMES_MAX`].
const OTHERS: &str = "(others)";
/// Log streams that are told one by one.
const STREAMS_MAX: usize = 2000;

/// One container's log, for the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStreamStatus {
    /// The container's name.
    pub container: String,
    /// Its id, 64 hex digits.
    pub id: String,
    /// The engine's log driver; empty before it is known.
    pub driver: String,
    /// How it is read: `api`, `file`; empty before that is decided.
    pub read_from: &'static str,
    /// `following`, `ended`, `unreadable`.
    pub state: &'static str,
    /// What cannot be read or may be lost, each with the line that would change it.
    pub notes: Vec<String>,
    /// The container's sums; those of another one of the same name are in them.
    pub sums: LogSums,
}

/// Lines of a container since we started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSums {
    /// Lines that came from the engine, those it sent again included.
    pub seen: u64,
    /// Lines handed to the store.
    pub stored: u64,
    /// Lines left out because they were stored before.
    pub duplicate: u64,
    /// Lines in entries of which the scrubber changed something.
    pub scrubbed: u64,
    /// Lines left out by the quota.
    pub dropped: u64,
    /// Places where lines are missing.
    pub gaps: u64,
    /// Bytes handed to the store, as the container wrote them.
    pub bytes: u64,
}

/// The counters of one container. Cloning shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) seen: Counter,
    pub(crate) stored: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) scrubbed: Counter,
    pub(crate) dropped: Counter,
    pub(crate) gaps: Counter,
    pub(crate) bytes: Counter,
}

impl Counts {
    fn sums(&self) -> LogSums {
        LogSums {
            seen: self.seen.get(),
            stored: self.stored.get(),
            duplicate: self.duplicate.get(),
            scrubbed: self.scrubbed.get(),
            dropped: self.dropped.get(),
            gaps: self.gaps.get(),
            bytes: self.bytes.get(),
        }
    }
}

type ByContainer = Family<Vec<(String, String)>, Counter>;

/// All containers' counters. Cloning shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    families: Arc<Families>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct Families {
    seen: ByContainer,
    stored: ByContainer,
    duplicate: ByContainer,
    scrubbed: ByContainer,
    dropped: ByContainer,
    gaps: ByContainer,
    bytes: ByContainer,
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<String, Counts>,
    streams: BTreeMap<String, (LogStreamStatus, Counts)>,
}

impl Proof {
    /// Registers the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let f = &self.families;
        for (name, help, family) in [
            (
                "lines_seen",
                "Lines that came from the engine, those it sent again included",
                &f.seen,
            ),
            ("lines_stored", "Lines handed to the store", &f.stored),
            (
                "lines_duplicate",
                "Lines left out because they were stored before",
                &f.duplicate,
            ),
            (
                "lines_scrubbed",
                "Lines in entries of which the scrubber changed something",
                &f.scrubbed,
            ),
            (
                "lines_dropped",
                "Lines left out by the container's quota",
                &f.dropped,
            ),
            (
                "suspected_gaps",
                "Places in the container's log where lines are missing",
                &f.gaps,
            ),
            (
                "bytes",
                "Bytes of lines handed to the store, as the container wrote them",
                &f.bytes,
            ),
        ] {
            registry.register(
                format!("stackwatch_logs_container_{name}"),
                help,
                family.clone(),
            );
        }
    }

    /// The counters of the containers of that name.
    pub(crate) fn counts(&self, container: &str) -> Counts {
        let mut state = self.lock();
        let name = match state.counts.contains_key(container) || state.counts.len() < NAMES_MAX {
            true => container,
            false => OTHERS,
        };
        if let Some(known) = state.counts.get(name) {
            return known.clone();
        }
        let label = vec![("container".to_owned(), name.to_owned())];
        let f = &self.families;
        let counter = |family: &ByContainer| family.get_or_create(&label).clone();
        let counts = Counts {
            seen: counter(&f.seen),
            stored: counter(&f.stored),
            duplicate: counter(&f.duplicate),
            scrubbed: counter(&f.scrubbed),
            dropped: counter(&f.dropped),
            gaps: counter(&f.gaps),
            bytes: counter(&f.bytes),
        };
        state.counts.insert(name.to_owned(), counts.clone());
        counts
    }

    /// Changes what is told of a container's log; it is new when it was not known.
    pub(crate) fn set(&self, id: &str, container: &str, change: impl FnOnce(&mut LogStreamStatus)) {
        let counts = self.counts(container);
        let mut state = self.lock();
        if !state.streams.contains_key(id) && state.streams.len() >= STREAMS_MAX {
            return;
        }
        let (status, kept) = state.streams.entry(id.to_owned()).or_default();
        id.clone_into(&mut status.id);
        container.clone_into(&mut status.container);
        *kept = counts;
        change(status);
    }

    /// Forgets a container that was removed; its sums stay with its name.
    pub(crate) fn remove(&self, id: &str) {
        self.lock().streams.remove(id);
    }

    /// Every container's log, by name.
    pub(crate) fn streams(&self) -> Vec<LogStreamStatus> {
        let state = self.lock();
        let each = state.streams.values();
        let mut streams: Vec<LogStreamStatus> = each
            .map(|(status, counts)| LogStreamStatus {
                sums: counts.sums(),
                ..status.clone()
            })
            .collect();
        streams.sort_by(|a, b| (&a.container, &a.id).cmp(&(&b.container, &b.id)));
        streams
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A writer that panicked left whole values.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_counters_over_containers() {
        let proof = Proof::default();
        proof.counts("web").seen.inc_by(2);
        proof.set("id1", "web", |status| status.state = "ended");
        proof.set("id2", "web", |status| status.state = "following");
        proof.counts("web").seen.inc();
        let streams = proof.streams();
        assert_eq!(streams.len(), 2);
        assert!(streams.iter().all(|stream| stream.sums.seen == 3));
        proof.remove("id1");
        assert_eq!(proof.streams()[0].id, "id2");
    }

    #[test]
    fn names_are_bounded() {
        let proof = Proof::default();
        for n in 0..NAMES_MAX + 10 {
            proof.counts(&format!("c{n}")).seen.inc();
        }
        assert_eq!(proof.counts("yet another").seen.get(), 10);
        assert_eq!(proof.lock().counts.len(), NAMES_MAX + 1);
    }
}
