//! The shell: opens the durable state, owns timers and senders.
//!
//! The dispatcher sits behind one lock, and everyone who changes it commits before letting go:
//! what [`Handle`] has answered is on disk, and there is no queue between a caller and the
//! dispatcher that could fill up. Network I/O happens outside the lock, one attempt per
//! integration at a time, so a receiver that hangs delays only itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use model::{Alert, ControlError, ControlStore, Timestamp};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::dispatch::{Dispatcher, Job};
use crate::outbox::{Lane, Outcome, Row, Trouble};
use crate::receivers;
use crate::silence::{Silence, SilenceError, SilenceSpec, SilenceState};
use crate::telemetry::{Destination, Telemetry, raise};
use crate::templates::{Renderer, read_files};
use crate::view::{AlertView, GroupView, Health, OutboxView, Received, ReceiverView};

/// Longest sleep of the loop: a clock that was set back is noticed after this long.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Where operators find more about a warning in health.
const MORE: &str = "more in the log and in docs/runbooks/NotificationsStuck.md";

/// What alerting needs besides its configuration.
pub struct Options {
    /// Our address as people reach it, for links; without a trailing slash.
    pub external_url: String,
    /// Where alerts, silences, the notification log and the outbox are kept.
    pub control: Arc<dyn ControlStore>,
    /// Folder that relative `templates` patterns start from: that of the configuration file.
    pub base_dir: PathBuf,
}

/// Why alerting could not start or take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Stored state could not be read.
    #[error("reading stored alerting state: {0}")]
    Store(#[from] ControlError),
    /// A template file is missing or wrong.
    #[error("loading notification templates: {0}")]
    Template(String),
}

/// What is shared between the loop and its callers.
struct Core {
    dispatcher: Dispatcher,
    control: Arc<dyn ControlStore>,
    telemetry: Telemetry,
    /// Why the last commit failed; `None` once one succeeds.
    commit_error: Option<String>,
    /// Lanes that began to fail and have delivered nothing since: failed attempts so far.
    failing: HashMap<Lane, u64>,
}

impl Core {
    /// Commits what was decided. When the disk refuses, notifications still go out from memory,
    /// and the changes go with the next commit that succeeds.
    fn save(&mut self) -> bool {
        match self.dispatcher.changes.commit(&*self.control) {
            Ok(()) => {
                if self.commit_error.take().is_some() {
                    tracing::info!("alerting state is written to disk again");
                }
                true
            }
            Err(error) => {
                self.telemetry.commit_failures.inc();
                if self.commit_error.is_none() {
                    tracing::error!(%error, "alerting state cannot be written to disk");
                }
                self.commit_error = Some(error.to_string());
                false
            }
        }
    }

    fn measure(&self, now: Timestamp) {
        let (t, d) = (&self.telemetry, &self.dispatcher);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        t.outbox_rows.set(count(d.outbox.len()));
        let oldest = d.outbox.oldest_age(now).unwrap_or_default();
        t.outbox_oldest_age_seconds.set(oldest.as_secs_f64());
        t.outbox_dead_letters.set(count(d.outbox.dead_letters()));
        raise(&t.outbox_given_up, d.outbox.counts.dead);
        raise(&t.outbox_ambiguous, d.outbox.counts.ambiguous);
        raise(&t.outbox_superseded, d.outbox.counts.superseded);
        raise(&t.template_failures, d.template_failures);
        t.alerts.set(count(d.alert_count(now)));
        t.groups.set(count(d.group_count()));
        let active = |s: &&Silence| s.state(now) == SilenceState::Active;
        t.silences
            .set(count(d.silences.all().filter(active).count()));
    }

    /// One turn of the loop: looks at due groups, begins due attempts, commits both.
    fn turn(&mut self, now: Timestamp) -> Turn {
        self.dispatcher.flush_due(now);
        let jobs = self.dispatcher.begin_due(now);
        let saved = self.save();
        self.measure(now);
        Turn {
            jobs,
            // A disk that refused is asked again soon even when nothing else is due.
            next: match saved {
                true => self.dispatcher.next_due(),
                false => Some(now.plus(Duration::from_secs(1))),
            },
        }
    }

    /// Logs that a lane began to fail; each further attempt is for those who look closer. What
    /// stays without success is in health.
    fn note_failure(&mut self, row: &Row, error: &str) {
        let failing = self.failing.get_mut(&row.lane());
        let news = failing.is_none() && row.attempts == 1;
        if news {
            tracing::warn!(
                receiver = row.receiver,
                integration = row.integration,
                error,
                "notification attempt failed, it will be made again"
            );
        } else {
            tracing::debug!(
                receiver = row.receiver,
                integration = row.integration,
                attempts = row.attempts,
                error,
                "notification attempt failed"
            );
        }
        match failing {
            Some(failed) => *failed += 1,
            // A single message that is refused while others arrive is no news at each attempt.
            None if news => {
                self.failing.insert(row.lane(), 1);
            }
            None => {}
        }
    }

    fn finish(&mut self, job: &Job, outcome: &Outcome, now: Timestamp) {
        let destination = Destination {
            integration: job.row.kind().to_owned(),
            receiver: job.row.receiver.clone(),
        };
        let t = &self.telemetry;
        t.notifications.get_or_create(&destination).inc();
        // Both start at zero with the first attempt, so that an increase shows from the first on.
        let failed = t.notifications_failed.get_or_create_owned(&destination);
        let latency = t
            .notification_latency_seconds
            .get_or_create_owned(&destination);
        match outcome {
            Outcome::Delivered => {
                let waited = now.since(Timestamp::from_millis(job.row.created_at));
                latency.observe(waited.as_secs_f64());
                if let Some(failed) = self.failing.remove(&job.row.lane()) {
                    tracing::info!(
                        receiver = job.row.receiver,
                        integration = job.row.integration,
                        failed_attempts = failed,
                        "the receiver takes notifications again"
                    );
                }
                tracing::info!(
                    receiver = job.row.receiver,
                    integration = job.row.integration,
                    group = job.row.group_key,
                    reason = job.row.reason.as_str(),
                    "notification delivered"
                );
            }
            // That it was given up is logged with its error.
            Outcome::Refused { .. } => {
                failed.inc();
            }
            Outcome::Retry { error, .. } => {
                failed.inc();
                self.note_failure(&job.row, error);
            }
        }
        let d = &mut self.dispatcher;
        d.outbox.finish(job.ordinal, outcome, now, &mut d.changes);
        self.save();
        self.measure(now);
    }
}

/// What a turn of the loop leaves to do.
struct Turn {
    jobs: Vec<Job>,
    next: Option<Timestamp>,
}

struct Shared {
    core: Mutex<Core>,
    changed: Notify,
}

impl Shared {
    /// A panic while the lock was held leaves state that is still consistent on disk; going on
    /// with it beats silence.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part that runs: timers and senders. Cloning shares the state, so that a run that panicked
/// can be followed by another; there must be one at a time.
#[derive(Clone)]
pub struct Alerting {
    shared: Arc<Shared>,
}

/// The part that is called: cheap to clone, usable from any thread. Calls that change something
/// return once the change is on disk, so call them where a few milliseconds of blocking are fine.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    base_dir: PathBuf,
}

impl Alerting {
    /// Reads the stored state. Alerts that were firing get a grace of five minutes to be sent again
    /// before they count as ended.
    ///
    /// # Errors
    /// When the store or a template file cannot be read.
    pub fn open(
        config: Config,
        options: Options,
        now: Timestamp,
        registry: &mut Registry,
    ) -> Result<(Alerting, Handle), OpenError> {
        let renderer = renderer(&config, &options.base_dir)?;
        let url = options.external_url.trim_end_matches('/').to_owned();
        let mut core = Core {
            dispatcher: Dispatcher::restore(config, renderer, url, &*options.control, now)?,
            control: options.control,
            telemetry: Telemetry::new(registry),
            commit_error: None,
            failing: HashMap::new(),
        };
        core.save();
        core.measure(now);
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            changed: Notify::new(),
        });
        let handle = Handle {
            shared: shared.clone(),
            base_dir: options.base_dir,
        };
        Ok((Alerting { shared }, handle))
    }

    /// Flushes groups when they are due and sends what the outbox holds. Runs until dropped;
    /// whatever was accepted by then is on disk and continues after the next start.
    pub async fn run(self) {
        // The attempts of a run that ended before this one ended with it.
        self.shared.core().dispatcher.outbox.abandon();
        let mut attempts: JoinSet<()> = JoinSet::new();
        loop {
            let shared = self.shared.clone();
            let turn = tokio::task::spawn_blocking(move || {
                let now = wall_clock();
                shared.core().turn(now)
            });
            let turn = match turn.await {
                Ok(turn) => turn,
                Err(error) => {
                    tracing::error!(%error, "internal error while dispatching alerts");
                    Turn {
                        jobs: Vec::new(),
                        next: None,
                    }
                }
            };
            for job in turn.jobs {
                attempts.spawn(attempt(self.shared.clone(), job));
            }
            let sleep = turn
                .next
                .map_or(SLEEP_MAX, |next| next.since(wall_clock()))
                .min(SLEEP_MAX);
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.shared.changed.notified() => {}
                Some(_) = attempts.join_next() => {}
            }
        }
    }
}

/// Makes one attempt and notes how it ended. A receiver that panics has failed like any other.
async fn attempt(shared: Arc<Shared>, mut job: Job) {
    let outcome = match job.integration.take() {
        None => Outcome::Refused {
            error: "the receiver is no longer configured".to_owned(),
        },
        Some(integration) => {
            let (id, payload) = (job.row.id.clone(), job.row.payload.clone());
            let now = wall_clock();
            let mut sending = JoinSet::new();
            sending.spawn(async move { receivers::send(&integration, &id, &payload, now).await });
            match sending.join_next().await {
                Some(Ok(outcome)) => outcome,
                _ => Outcome::Retry {
                    after: None,
                    error: "internal error in the receiver".to_owned(),
                },
            }
        }
    };
    let noted = tokio::task::spawn_blocking(move || {
        let now = wall_clock();
        shared.core().finish(&job, &outcome, now);
    });
    if let Err(error) = noted.await {
        tracing::error!(%error, "internal error while noting an attempt");
    }
}

/// The loop's clock; nothing else in this crate reads one.
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().plus(since_epoch)
}

fn renderer(config: &Config, base_dir: &std::path::Path) -> Result<Renderer, OpenError> {
    let files = read_files(&config.templates, base_dir).map_err(OpenError::Template)?;
    Renderer::new(config, &files).map_err(OpenError::Template)
}

/// Reads and checks the template files of a configuration, as [`Alerting::open`] does.
///
/// # Errors
/// When a file is missing, or a template or a text of the configuration cannot work.
pub fn check_templates(config: &Config, base_dir: &std::path::Path) -> Result<(), OpenError> {
    renderer(config, base_dir).map(|_| ())
}

impl Handle {
    /// Takes alerts as `POST /api/v2/alerts` does: a `starts_at` of zero means now (or `ends_at`
    /// when set), no `ends_at` means now plus `resolve_timeout`, valid alerts are kept even if
    /// others are refused.
    pub fn receive(&self, alerts: Vec<Alert>, now: Timestamp) -> Received {
        let mut core = self.shared.core();
        let mut received = core.dispatcher.receive(alerts, now);
        received.durable = core.save();
        let t = &core.telemetry;
        t.alerts_received.inc_by(received.accepted as u64);
        t.alerts_refused.inc_by(received.refused.len() as u64);
        core.measure(now);
        drop(core);
        self.shared.changed.notify_one();
        received
    }

    /// Alerts that have not ended, by labels.
    pub fn alerts(&self, now: Timestamp) -> Vec<AlertView> {
        self.shared.core().dispatcher.alert_views(now)
    }

    /// Groups with at least one alert that has not ended, by key.
    pub fn groups(&self, now: Timestamp) -> Vec<GroupView> {
        self.shared.core().dispatcher.group_views(now)
    }

    /// Receivers as configured.
    pub fn receivers(&self) -> Vec<ReceiverView> {
        let config = self.shared.core().dispatcher.config.clone();
        let view = |r: &crate::config::Receiver| ReceiverView {
            name: r.name.clone(),
            integrations: r.integrations.iter().map(|i| i.kind.name()).collect(),
        };
        config.receivers.iter().map(view).collect()
    }

    /// The configuration text as it was read, for `/api/v2/status`; secrets are masked. Empty when
    /// the configuration is part of a larger file.
    pub fn config_text(&self) -> String {
        self.shared.core().dispatcher.config.text.clone()
    }

    /// All silences that are kept, expired ones for five days.
    pub fn silences(&self) -> Vec<Silence> {
        self.shared
            .core()
            .dispatcher
            .silences
            .all()
            .cloned()
            .collect()
    }

    /// Creates a silence, or changes one; returns its identifier.
    ///
    /// # Errors
    /// When the request is invalid, names an unknown silence, or the disk refuses.
    pub fn set_silence(&self, spec: SilenceSpec, now: Timestamp) -> Result<String, SilenceError> {
        let core = &mut *self.shared.core();
        let id = core.dispatcher.silences.set(spec, now, &*core.control)?;
        core.measure(now);
        Ok(id)
    }

    /// Ends a silence now; ending it twice is fine.
    ///
    /// # Errors
    /// When there is none with this identifier, or the disk refuses.
    pub fn expire_silence(&self, id: &str, now: Timestamp) -> Result<(), SilenceError> {
        let core = &mut *self.shared.core();
        core.dispatcher.silences.expire(id, now, &*core.control)?;
        core.measure(now);
        Ok(())
    }

    /// Undelivered notifications, oldest first, then dead letters.
    pub fn outbox(&self) -> Vec<OutboxView> {
        self.shared.core().dispatcher.outbox.views()
    }

    /// How alerting is doing.
    pub fn health(&self, now: Timestamp) -> Health {
        let core = self.shared.core();
        core.measure(now);
        let outbox = &core.dispatcher.outbox;
        let mut problems = Vec::new();
        if let Some(error) = &core.commit_error {
            problems.push(format!("alerting state cannot be written to disk: {error}"));
        }
        let tell = |trouble: Trouble| format!("{trouble}; {MORE}");
        Health {
            ok: problems.is_empty(),
            problems,
            warnings: outbox.troubles(now).into_iter().map(tell).collect(),
            alerts: core.dispatcher.alert_count(now),
            outbox_rows: outbox.len(),
            dead_letters: outbox.dead_letters(),
        }
    }

    /// Takes a new configuration; alerts, silences, the notification log and the outbox stay.
    ///
    /// # Errors
    /// When a template file cannot be read; the old configuration stays in force then.
    pub fn reload(&self, config: Config, now: Timestamp) -> Result<(), OpenError> {
        let renderer = renderer(&config, &self.base_dir)?;
        let mut core = self.shared.core();
        core.dispatcher.reconfigure(config, renderer, now);
        let config = core.dispatcher.config.clone();
        core.failing
            .retain(|(receiver, _), _| config.receiver(receiver).is_some());
        core.save();
        core.measure(now);
        drop(core);
        self.shared.changed.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
