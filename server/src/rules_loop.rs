//! The loop that evaluates rule groups when they are due: it reads the clock, `rules` does not.
//!
//! One thread evaluates all groups one after the other. Groups are small and their slots are
//! spread over the interval; a group that comes late counts the slots it missed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use model::{Alert, Labels, LogReader, ReadBounds, SampleBatch, SeriesReader, Timestamp};
use query::logql;
use rules::{Environment, Group, Groups};
use storage::Storage;

use crate::app::supervise::{TaskState, Tasks, panic_text};
use crate::clock::Clock;

/// Longest sleep: a clock that was set is noticed after this.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Pause after a panic, so that a rule that always panics does not spin.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
/// Longest evaluation of a group, unless its interval is shorter: one slow rule must not keep
/// the others from firing. What is left of the group fails and is tried again in its next slot.
const EVALUATION_MAX: Duration = Duration::from_secs(30);
/// Shortest time a group gets, however short its interval.
const EVALUATION_MIN: Duration = Duration::from_secs(1);
/// Bytes of lines that one expression may read: some seconds. It is read again at every evaluation, so
/// that what needs more is better recorded from shorter windows.
const LOG_BYTES_MAX: u64 = 4 << 30;
/// Series of one expression over lines; as many as a rule may have alerts.
const LOG_SERIES_MAX: usize = 10_000;
const NAME: &str = "rules";

/// What can be told to the loop.
pub(crate) enum Command {
    /// End after the evaluation in progress.
    Stop,
}

/// The store, alerting and our address, as rules see them.
pub(crate) struct RuleEnvironment {
    pub(crate) storage: Storage,
    pub(crate) alerting: alerting::Handle,
    pub(crate) external_url: String,
    pub(crate) external_labels: Labels,
    pub(crate) clock: Clock,
    pub(crate) started: Instant,
    /// Samples one expression may hold in memory, as for queries.
    pub(crate) samples_max: usize,
    /// Bytes one expression may hold in memory, as for queries.
    pub(crate) bytes_max: usize,
    /// The store, within these bytes; see [`bounded`].
    pub(crate) reader: Box<dyn SeriesReader>,
    /// What has been collected so far.
    pub(crate) status: collector::Status,
    /// Since when that is everything; survives a reload.
    pub(crate) collected: Arc<OnceLock<Timestamp>>,
    /// Set while the group in evaluation has used up its time.
    pub(crate) late: Arc<AtomicBool>,
}

impl Environment for RuleEnvironment {
    fn reader(&self) -> &dyn SeriesReader {
        &*self.reader
    }

    fn logs(&self) -> &dyn LogReader {
        &self.storage
    }

    fn append(&self, batch: SampleBatch) -> Result<(), String> {
        self.storage
            .append_samples(&batch, (self.clock)())
            .map(drop)
            .map_err(|e| e.to_string())
    }

    fn send(&self, alerts: Vec<Alert>) {
        let received = self.alerting.receive(alerts, (self.clock)());
        for problem in received.refused {
            tracing::warn!(%problem, "alerting refused an alert");
        }
    }

    fn collected_at(&self) -> Option<Timestamp> {
        if self.collected.get().is_none() && self.status.is_complete() {
            let _ = self.collected.set((self.clock)());
        }
        self.collected.get().copied()
    }

    fn external_url(&self) -> &str {
        &self.external_url
    }

    fn external_labels(&self) -> &Labels {
        &self.external_labels
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn log_limits(&self) -> logql::Limits {
        logql::Limits {
            read_bytes_max: LOG_BYTES_MAX,
            held_bytes_max: self.bytes_max,
            series_max: LOG_SERIES_MAX,
            cancel: Some(Arc::clone(&self.late)),
        }
    }

    fn limits(&self) -> query::Limits {
        query::Limits {
            samples_max: self.samples_max,
            bytes_max: self.bytes_max,
            cancel: Some(Arc::clone(&self.late)),
        }
    }
}

/// The store for expressions that may hold so many bytes, until they are late.
pub(crate) fn bounded(
    storage: &Storage,
    bytes_max: usize,
    late: &Arc<AtomicBool>,
) -> Box<dyn SeriesReader> {
    let bounds = ReadBounds {
        bytes_max,
        setting: "query.bytes_max",
        cancel: Some(Arc::clone(late)),
        ..ReadBounds::default()
    };
    let bounded = storage.within(bounds);
    bounded.unwrap_or_else(|| Box::new(storage.clone()))
}

/// The environment in force; a reload puts another in its place.
pub(crate) type SharedEnvironment = Arc<Mutex<Arc<RuleEnvironment>>>;

/// Evaluates until told to stop. Blocks: give it a thread of its own.
pub(crate) fn run(
    groups: &Groups,
    engine: &query::Engine,
    environment: &SharedEnvironment,
    clock: Clock,
    commands: &Receiver<Command>,
    tasks: &Tasks,
) {
    tasks.set(NAME, TaskState::Running);
    let watchdog = Watchdog::start();
    let mut due: HashMap<(String, String), Timestamp> = HashMap::new();
    loop {
        let now = clock();
        let current = groups.groups();
        let next = choose(&current, &mut due, now);
        let wait = match &next {
            Some((at, _)) if *at <= now => Duration::ZERO,
            Some((at, _)) => at.since(now).min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        match commands.recv_timeout(wait) {
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Some((at, group)) = next.filter(|(at, _)| *at <= now) else {
            continue;
        };
        due.insert(key(group), group.next_eval(at.max(now)));
        let environment = Arc::clone(&environment.lock().unwrap_or_else(PoisonError::into_inner));
        let allowed = group.interval().clamp(EVALUATION_MIN, EVALUATION_MAX);
        let guard = watchdog.watch(Arc::clone(&environment.late), allowed);
        let done = catch_unwind(AssertUnwindSafe(|| group.eval(at, engine, &*environment)));
        drop(guard);
        match done {
            Ok(_) => tasks.set(NAME, TaskState::Running),
            Err(panic) => {
                tasks.panicked(NAME, &panic_text(&*panic));
                std::thread::sleep(PANIC_PAUSE);
            }
        }
    }
}

/// Raises a flag when an evaluation takes too long. One thread, which sleeps until it is needed.
struct Watchdog(Option<SyncSender<Watch>>);

/// An evaluation's flag, its time, and the line that is cut when it is done.
struct Watch {
    late: Arc<AtomicBool>,
    allowed: Duration,
    done: Receiver<()>,
}

/// An evaluation under watch; dropping it ends the watch and lowers the flag.
struct Watched {
    late: Arc<AtomicBool>,
    done: Option<SyncSender<()>>,
}

impl Watchdog {
    /// Without a thread there is no limit; the log says so.
    fn start() -> Watchdog {
        let (watch, watches) = sync_channel::<Watch>(0);
        let started = std::thread::Builder::new()
            .name("rules-watchdog".to_owned())
            .spawn(move || {
                for watch in watches {
                    let ended = watch.done.recv_timeout(watch.allowed);
                    if ended == Err(RecvTimeoutError::Timeout) {
                        watch.late.store(true, Ordering::Relaxed);
                        // Until the evaluation has noticed, so that the flag is lowered after.
                        let _ = watch.done.recv();
                    }
                }
            });
        match started {
            Ok(_) => Watchdog(Some(watch)),
            Err(error) => {
                tracing::warn!(%error, "rules are evaluated without a time limit");
                Watchdog(None)
            }
        }
    }

    fn watch(&self, late: Arc<AtomicBool>, allowed: Duration) -> Watched {
        let (done, line) = sync_channel(0);
        if let Some(watches) = &self.0 {
            let _ = watches.send(Watch {
                late: Arc::clone(&late),
                allowed,
                done: line,
            });
        }
        // The thread has taken this watch, so it has done with the one before, which may have
        // ended just when its time was over.
        late.store(false, Ordering::Relaxed);
        Watched {
            late,
            done: Some(done),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.done = None;
        self.late.store(false, Ordering::Relaxed);
    }
}

/// The group that is due first, and when. Groups that are gone are forgotten, new ones get
/// their first slot; a slot further ahead than the interval (the clock was set back) is taken anew.
fn choose<'g>(
    groups: &'g [Arc<Group>],
    due: &mut HashMap<(String, String), Timestamp>,
    now: Timestamp,
) -> Option<(Timestamp, &'g Arc<Group>)> {
    due.retain(|known, _| groups.iter().any(|g| key(g) == *known));
    groups
        .iter()
        .map(|group| {
            let at = due
                .entry(key(group))
                .or_insert_with(|| group.next_eval(now));
            if *at > now.plus(group.interval()) {
                *at = group.next_eval(now);
            }
            (*at, group)
        })
        .min_by_key(|(at, _)| *at)
}

fn key(group: &Group) -> (String, String) {
    (group.file().to_owned(), group.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_is_told_when_its_time_is_over_and_the_next_starts_afresh() {
        let watchdog = Watchdog::start();
        let late = Arc::new(AtomicBool::new(false));
        for _ in 0..2 {
            let guard = watchdog.watch(Arc::clone(&late), Duration::from_millis(50));
            while !late.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            drop(guard);
            let next = watchdog.watch(Arc::clone(&late), Duration::from_secs(600));
            assert!(!late.load(Ordering::Relaxed));
            drop(next);
        }
    }
}
