//! The durable outbox: what must be sent, in which order, and what became of it. Pure: it decides,
//! the shell commits and sends.
//!
//! A row is rendered once and every attempt sends the same bytes. An attempt is on disk before its
//! first byte leaves; so after a crash a row that says "attempting" may have arrived, and is sent
//! again under the same identity: webhooks see it as `Idempotency-Key`, mail as `Message-Id`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use model::{ControlError, ControlStore, Timestamp};
use serde::{Deserialize, Serialize};

use crate::changes::{Changes, read_table};
use crate::notify_log::{NotifyReason, hash_id};
use crate::view::OutboxView;

/// Payload bytes of undelivered rows held at once; see [`ROWS_MAX`] for what happens beyond.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Largest payload that a dead letter keeps, in bytes.
const DEAD_PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Undelivered rows held at once. Beyond it a row is given up as a dead letter: the oldest one
/// that is not a critical firing, and only if there is none the oldest critical one. Counted,
/// logged and visible in health either way.
pub const ROWS_MAX: usize = 5_000;
/// Dead letters kept for people to look at; beyond it the oldest is removed.
pub const DEAD_LETTERS_MAX: usize = 500;
/// A row older than this is given up: its news is history.
pub const AGE_MAX: Duration = Duration::from_secs(120 * 60 * 60);
/// First delay between attempts; doubled each time.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// Longest delay between attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest `Retry-After` that is obeyed in full.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// A notification that waits longer than this is worth telling.
const STUCK_AFTER: Duration = Duration::from_secs(5 * 60);
/// So is one that failed this many attempts.
const FAILED_ATTEMPTS_TOLD: u32 = 3;
/// How long a notification that was given up is worth telling.
const DEAD_IS_NEWS: Duration = Duration::from_secs(24 * 60 * 60);
/// A waiting row is made due by the deliveries of its lane at most this often: one that is refused
/// while others arrive must not be tried between each two of them.
const HURRY_INTERVAL: Duration = Duration::from_secs(30);
/// Longest error text that is kept, in bytes.
const ERROR_BYTES_MAX: usize = 500;

const TABLE: &str = "alerting.outbox";

/// What is sent, ready to go but for secrets, which are looked up when sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A complete RFC 5322 message.
    Email {
        /// Envelope sender.
        from: String,
        /// Envelope recipients.
        to: Vec<String>,
        /// The message, headers included.
        message: String,
    },
    /// A JSON body for `POST`.
    Json {
        /// The rendered address, where the configured one is a template.
        url: Option<String>,
        /// The body.
        body: String,
    },
}

impl Payload {
    fn bytes(&self) -> usize {
        match self {
            Payload::Email { message, .. } => message.len(),
            Payload::Json { body, .. } => body.len(),
        }
    }

    fn text_mut(&mut self) -> &mut String {
        match self {
            Payload::Email { message, .. } => message,
            Payload::Json { body, .. } => body,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side took it.
    Delivered,
    /// It may work later; `after` is what the other side asked for.
    Retry {
        /// From `Retry-After`.
        after: Option<Duration>,
        /// For operators; no secrets.
        error: String,
    },
    /// It will never work.
    Refused {
        /// For operators; no secrets.
        error: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    Waiting,
    Attempting,
    Dead,
}

/// A notification on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// Order of creation.
    ordinal: u64,
    pub(crate) receiver: String,
    /// Kind and index, e.g. `slack/0`.
    pub(crate) integration: String,
    pub(crate) group_key: String,
    pub(crate) reason: NotifyReason,
    /// A firing alert in it has `severity="critical"`.
    critical: bool,
    pub(crate) payload: Payload,
    pub(crate) created_at: i64,
    pub(crate) attempts: u32,
    not_before: i64,
    status: Status,
    last_error: String,
    /// When it was given up.
    died_at: i64,
    /// When a delivery in its lane made it due last.
    #[serde(skip)]
    hurried_at: i64,
}

impl Row {
    pub(crate) fn lane(&self) -> Lane {
        (self.receiver.clone(), self.integration.clone())
    }

    pub(crate) fn kind(&self) -> &str {
        self.integration.split('/').next().unwrap_or_default()
    }

    /// Attempts that are over.
    fn failed_attempts(&self) -> u32 {
        let under_way = self.status == Status::Attempting;
        self.attempts.saturating_sub(under_way.into())
    }

    fn view(&self) -> OutboxView {
        OutboxView {
            id: self.id.clone(),
            receiver: self.receiver.clone(),
            integration: self.integration.clone(),
            group_key: self.group_key.clone(),
            created_at: Timestamp::from_millis(self.created_at),
            attempts: self.attempts,
            next_attempt: (self.status != Status::Dead)
                .then(|| Timestamp::from_millis(self.not_before)),
            last_error: self.last_error.clone(),
        }
    }
}

/// Receiver and integration: what is sent one at a time.
pub(crate) type Lane = (String, String);

/// A new row's content.
pub(crate) struct Draft<'a> {
    pub(crate) group_key: &'a str,
    pub(crate) receiver: &'a str,
    pub(crate) integration: &'a str,
    pub(crate) reason: NotifyReason,
    pub(crate) critical: bool,
    pub(crate) payload: Payload,
}

/// What a lane has not delivered, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    receiver: String,
    integration: String,
    /// Dead letters; otherwise they are still tried.
    given_up: bool,
    rows: usize,
    oldest: Duration,
    last_error: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.rows {
            1 => "1 notification".to_owned(),
            n => format!("{n} notifications"),
        };
        let to = format!("receiver {:?} ({})", self.receiver, self.integration);
        if self.given_up {
            write!(f, "{what} to {to} given up within a day")?;
        } else {
            let oldest = self.oldest.as_secs();
            write!(
                f,
                "{what} to {to} not delivered yet, waiting for {oldest} s"
            )?;
        }
        match self.last_error.as_str() {
            "" => Ok(()),
            error => write!(f, ", last error: {error}"),
        }
    }
}

/// What happened that metrics count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows given up, for whatever reason.
    pub(crate) dead: u64,
    /// Attempts that a crash left undecided.
    pub(crate) ambiguous: u64,
    /// Repeats not queued because an earlier message about the group still waits.
    pub(crate) superseded: u64,
}

#[derive(Default)]
pub(crate) struct Outbox {
    rows: BTreeMap<u64, Row>,
    dead: BTreeMap<u64, Row>,
    next_ordinal: u64,
    held_until: HashMap<Lane, Timestamp>,
    busy: HashSet<Lane>,
    pub(crate) counts: Counts,
}

impl Outbox {
    pub(crate) fn restore(control: &dyn ControlStore) -> Result<Self, ControlError> {
        let mut outbox = Outbox::default();
        for (_, mut row) in read_table::<Row>(control, TABLE)? {
            outbox.next_ordinal = outbox.next_ordinal.max(row.ordinal + 1);
            match row.status {
                Status::Dead => {
                    outbox.dead.insert(row.ordinal, row);
                    continue;
                }
                Status::Attempting => {
                    outbox.counts.ambiguous += 1;
                    row.status = Status::Waiting;
                    row.not_before = 0;
                }
                Status::Waiting => {}
            }
            outbox.rows.insert(row.ordinal, row);
        }
        Ok(outbox)
    }

    /// The identity of the `seq`-th notification about a group; a later life of the same group
    /// counts from one again, so the time is part of it.
    pub(crate) fn row_id(draft: (&str, &str, &str), seq: u64, now: Timestamp) -> String {
        let (group_key, receiver, integration) = draft;
        hash_id(&[
            group_key.as_bytes(),
            receiver.as_bytes(),
            integration.as_bytes(),
            &seq.to_le_bytes(),
            &now.millis().to_le_bytes(),
        ])
    }

    /// Whether something about this group still waits for this integration.
    pub(crate) fn has_waiting(&self, group_key: &str, receiver: &str, integration: &str) -> bool {
        self.rows.values().any(|r| {
            r.group_key == group_key && r.receiver == receiver && r.integration == integration
        })
    }

    pub(crate) fn add(
        &mut self,
        id: String,
        draft: Draft<'_>,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let room = PAYLOAD_BYTES_MAX.saturating_sub(draft.payload.bytes());
        while self.rows.len() >= ROWS_MAX || self.payload_bytes() > room {
            let oldest_plain = self
                .rows
                .values()
                .find(|r| !r.critical && r.status == Status::Waiting);
            let Some(victim) = oldest_plain
                .or(self.rows.values().next())
                .map(|r| r.ordinal)
            else {
                break;
            };
            self.give_up(victim, "the outbox is full", now, changes);
        }
        let row = Row {
            id,
            ordinal: self.next_ordinal,
            receiver: draft.receiver.to_owned(),
            integration: draft.integration.to_owned(),
            group_key: draft.group_key.to_owned(),
            reason: draft.reason,
            critical: draft.critical,
            payload: draft.payload,
            created_at: now.millis(),
            attempts: 0,
            not_before: now.millis(),
            status: Status::Waiting,
            last_error: String::new(),
            died_at: 0,
            hurried_at: 0,
        };
        self.next_ordinal += 1;
        changes.put(TABLE, row.id.clone(), &row);
        self.rows.insert(row.ordinal, row);
    }

    /// The next row of each lane that may be sent now. Within a lane one at a time; a later
    /// message about a group waits for the earlier one, other groups do not.
    pub(crate) fn choose(&self, now: Timestamp) -> Vec<u64> {
        let mut taken: HashSet<Lane> = self.busy.clone();
        // Farther off than any delay means that the clock was set back.
        let latest = now.plus(RETRY_AFTER_MAX);
        self.sendable()
            .filter(|(row, due)| (*due <= now || *due > latest) && taken.insert(row.lane()))
            .map(|(row, _)| row.ordinal)
            .collect()
    }

    /// When [`Outbox::choose`] will have something for a lane that is free.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.sendable()
            .filter(|(row, _)| !self.busy.contains(&row.lane()))
            .map(|(_, due)| due)
            .min()
    }

    /// The first row of each group in each lane, oldest first, and when it may go.
    fn sendable(&self) -> impl Iterator<Item = (&Row, Timestamp)> {
        let mut seen: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
        self.rows.values().filter_map(move |row| {
            if !seen.insert((&row.receiver, &row.integration, &row.group_key)) {
                return None;
            }
            let own = Timestamp::from_millis(row.not_before);
            let held = self.held_until.get(&row.lane());
            Some((row, held.map_or(own, |h| own.max(*h))))
        })
    }

    /// Marks an attempt as begun; commit before sending. `None` when the row is gone.
    pub(crate) fn begin(&mut self, ordinal: u64, changes: &mut Changes) -> Option<Row> {
        let row = self.rows.get_mut(&ordinal)?;
        row.attempts += 1;
        row.status = Status::Attempting;
        changes.put(TABLE, row.id.clone(), row);
        self.busy.insert(row.lane());
        Some(row.clone())
    }

    /// Makes attempts whose sender is gone due again.
    pub(crate) fn abandon(&mut self) {
        self.busy.clear();
        for row in self.rows.values_mut() {
            if row.status == Status::Attempting {
                row.status = Status::Waiting;
                self.counts.ambiguous += 1;
            }
        }
    }

    /// Notes how an attempt ended.
    pub(crate) fn finish(
        &mut self,
        ordinal: u64,
        outcome: &Outcome,
        now: Timestamp,
        changes: &mut Changes,
    ) {
        let Some(row) = self.rows.get_mut(&ordinal) else {
            return;
        };
        let lane = row.lane();
        self.busy.remove(&lane);
        row.status = Status::Waiting;
        match outcome {
            Outcome::Delivered => {
                changes.delete(TABLE, row.id.clone());
                self.rows.remove(&ordinal);
                self.held_until.remove(&lane);
                self.hurry(&lane, now);
            }
            Outcome::Refused { error } => self.give_up(ordinal, error, now, changes),
            Outcome::Retry { after, error } => {
                let age = now.since(Timestamp::from_millis(row.created_at));
                if age > AGE_MAX {
                    let error = format!("given up after {} attempts: {error}", row.attempts);
                    self.give_up(ordinal, &error, now, changes);
                    return;
                }
                let mut delay = backoff(&row.id, row.attempts);
                if let Some(asked) = after {
                    let asked = (*asked).min(RETRY_AFTER_MAX);
                    delay = delay.max(asked);
                    // The other side speaks for all that we send it, not for one message.
                    self.held_until.insert(lane, now.plus(asked));
                }
                row.not_before = now.plus(delay).millis();
                row.last_error = shorten(error);
                changes.put(TABLE, row.id.clone(), row);
            }
        }
    }

    /// The lane works: what waits in it out of caution need not. A wait that the other side asked
    /// for was over before anything in the lane was delivered. Not worth a write: after a restart
    /// the old waits hold.
    fn hurry(&mut self, lane: &Lane, now: Timestamp) {
        for row in self.rows.values_mut() {
            let hurried = Timestamp::from_millis(row.hurried_at);
            if row.not_before > now.millis()
                && row.status == Status::Waiting
                && (&row.receiver, &row.integration) == (&lane.0, &lane.1)
                && now.since(hurried) >= HURRY_INTERVAL
            {
                row.not_before = now.millis();
                row.hurried_at = now.millis();
            }
        }
    }

    fn give_up(&mut self, ordinal: u64, error: &str, now: Timestamp, changes: &mut Changes) {
        let Some(mut row) = self.rows.remove(&ordinal) else {
            return;
        };
        row.status = Status::Dead;
        row.died_at = now.millis();
        row.last_error = shorten(error);
        if row.payload.bytes() > DEAD_PAYLOAD_BYTES_MAX {
            *row.payload.text_mut() = String::new();
        }
        tracing::error!(
            receiver = row.receiver,
            integration = row.integration,
            group = row.group_key,
            critical = row.critical,
            attempts = row.attempts,
            error = row.last_error,
            "notification given up"
        );
        self.counts.dead += 1;
        changes.put(TABLE, row.id.clone(), &row);
        self.dead.insert(row.ordinal, row);
        while self.dead.len() > DEAD_LETTERS_MAX {
            if let Some((_, oldest)) = self.dead.pop_first() {
                changes.delete(TABLE, oldest.id);
            }
        }
    }

    fn payload_bytes(&self) -> usize {
        self.rows.values().map(|r| r.payload.bytes()).sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    /// What people should know: per lane, what was given up lately and what does not get through.
    pub(crate) fn troubles(&self, now: Timestamp) -> Vec<Trouble> {
        let since = |millis: i64| now.since(Timestamp::from_millis(millis));
        let dead = self.dead.values();
        let dead = dead.filter(|row| since(row.died_at) <= DEAD_IS_NEWS);
        let stuck = |row: &&Row| {
            since(row.created_at) > STUCK_AFTER || row.failed_attempts() >= FAILED_ATTEMPTS_TOLD
        };
        let mut troubles: BTreeMap<(bool, Lane), Trouble> = BTreeMap::new();
        for row in dead.chain(self.rows.values().filter(stuck)) {
            let given_up = row.status == Status::Dead;
            let trouble = troubles
                .entry((given_up, row.lane()))
                .or_insert_with(|| Trouble {
                    receiver: row.receiver.clone(),
                    integration: row.integration.clone(),
                    given_up,
                    rows: 0,
                    oldest: since(row.created_at),
                    last_error: String::new(),
                });
            trouble.rows += 1;
            if !row.last_error.is_empty() {
                trouble.last_error.clone_from(&row.last_error);
            }
        }
        troubles.into_values().collect()
    }

    /// Forgets dead letters that nobody will look at any more.
    pub(crate) fn forget_dead(&mut self, now: Timestamp, changes: &mut Changes) {
        self.dead.retain(|_, row| {
            let keep = now.since(Timestamp::from_millis(row.died_at)) <= AGE_MAX;
            if !keep {
                changes.delete(TABLE, row.id.clone());
            }
            keep
        });
    }

    /// Age of the oldest waiting row.
    pub(crate) fn oldest_age(&self, now: Timestamp) -> Option<Duration> {
        let oldest = self.rows.values().next()?;
        Some(now.since(Timestamp::from_millis(oldest.created_at)))
    }

    pub(crate) fn views(&self) -> Vec<OutboxView> {
        self.rows
            .values()
            .chain(self.dead.values())
            .map(Row::view)
            .collect()
    }
}

/// Full jitter: anything up to the doubled delay, but never less than a tenth of it. The draw
/// comes from identity and attempt, so it needs no random source and differs between rows.
/// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
fn backoff(id: &str, attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let ceiling = (BACKOFF_MIN * 2_u32.pow(doublings)).min(BACKOFF_MAX);
    let draw = hash_id(&[id.as_bytes(), &attempts.to_le_bytes()]);
    let draw = u32::from_str_radix(&draw[..8], 16).unwrap_or(u32::MAX);
    ceiling.mul_f64((f64::from(draw) / f64::from(u32::MAX)).max(0.1))
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests;
