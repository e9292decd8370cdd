//! Silences: which alerts they cover, how they change, and their durable form.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ControlError, ControlStore, Labels, MatchOp, Matcher, Timestamp};
use serde::{Deserialize, Serialize};

use crate::changes::{Changes, read_table};
use crate::notify_log::hash_id;

/// Silences held at once, expired ones included; further ones are refused.
pub const SILENCES_MAX: usize = 5_000;
/// How long an expired silence stays visible.
pub const RETENTION: Duration = Duration::from_secs(120 * 60 * 60);

const TABLE: &str = "alerting.silences";

/// A request to create a silence, or to change the one named by `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceSpec {
    /// Empty to create.
    pub id: String,
    /// All must hold; at least one must not match the empty string.
    pub matchers: Vec<Matcher>,
    /// When it begins; an instant in the past means now.
    pub starts_at: Timestamp,
    /// When it ends, exclusive.
    pub ends_at: Timestamp,
    /// Who asks.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// What it says; `id` is set.
    pub spec: SilenceSpec,
    /// Last change.
    pub updated_at: Timestamp,
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    /// Not begun.
    Pending,
    /// In force.
    Active,
    /// Ended.
    Expired,
}

impl SilenceState {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SilenceState::Pending => "pending",
            SilenceState::Active => "active",
            SilenceState::Expired => "expired",
        }
    }
}

impl Silence {
    /// Its state at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.spec.starts_at && now < self.spec.ends_at {
            SilenceState::Pending
        } else if now < self.spec.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Whether it covers an alert with these labels at `now`.
    #[must_use]
    pub fn covers(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active
            && self.spec.matchers.iter().all(|m| m.matches_labels(labels))
    }
}

/// Why a silence was refused.
#[derive(Debug, thiserror::Error)]
pub enum SilenceError {
    /// The request makes no sense; the text says why.
    #[error("invalid silence: {0}")]
    Invalid(String),
    /// There is no silence with this identifier.
    #[error("silence {0} not found")]
    NotFound(String),
    /// The disk refused; nothing changed.
    #[error("storing silence: {0}")]
    Store(#[source] ControlError),
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Name, operator, value.
    matchers: Vec<(String, String, String)>,
    starts_at: i64,
    ends_at: i64,
    updated_at: i64,
    created_by: String,
    comment: String,
}

#[derive(Default)]
pub(crate) struct Silences {
    by_id: BTreeMap<String, Silence>,
}

impl Silences {
    pub(crate) fn restore(control: &dyn ControlStore) -> Result<Self, ControlError> {
        let mut silences = Silences::default();
        for (id, stored) in read_table::<Stored>(control, TABLE)? {
            match stored.into_silence(&id) {
                Ok(silence) => {
                    silences.by_id.insert(id, silence);
                }
                Err(error) => tracing::error!(id, error, "stored silence is unreadable"),
            }
        }
        Ok(silences)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Silence> {
        self.by_id.values()
    }

    /// Identifiers of the silences that cover these labels, sorted.
    pub(crate) fn covering(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        self.by_id
            .values()
            .filter(|s| s.covers(labels, now))
            .map(|s| s.spec.id.clone())
            .collect()
    }

    /// Creates or changes a silence. It is on disk before it has an effect.
    pub(crate) fn set(
        &mut self,
        mut spec: SilenceSpec,
        now: Timestamp,
        control: &dyn ControlStore,
    ) -> Result<String, SilenceError> {
        validate(&spec, now)?;
        let mut expired = None;
        if !spec.id.is_empty() {
            let old = self
                .by_id
                .get(&spec.id)
                .ok_or_else(|| SilenceError::NotFound(spec.id.clone()))?;
            if can_change_in_place(old, &spec, now) {
                return self.store(
                    vec![Silence {
                        spec,
                        updated_at: now,
                    }],
                    control,
                );
            }
            // What it covered so far stays on record under the old identifier.
            if old.state(now) != SilenceState::Expired {
                expired = Some(ended(old, now));
            }
        }
        if self.by_id.len() >= SILENCES_MAX {
            return Err(SilenceError::Invalid(format!(
                "{SILENCES_MAX} silences are held already"
            )));
        }
        spec.starts_at = spec.starts_at.max(now);
        spec.id = self.new_id(&spec, now);
        let mut changed: Vec<Silence> = expired.into_iter().collect();
        changed.push(Silence {
            spec,
            updated_at: now,
        });
        self.store(changed, control)
    }

    /// Ends a silence; one that has ended already stays as it is.
    pub(crate) fn expire(
        &mut self,
        id: &str,
        now: Timestamp,
        control: &dyn ControlStore,
    ) -> Result<(), SilenceError> {
        let old = self
            .by_id
            .get(id)
            .ok_or_else(|| SilenceError::NotFound(id.to_owned()))?;
        if old.state(now) != SilenceState::Expired {
            let changed = ended(old, now);
            self.store(vec![changed], control)?;
        }
        Ok(())
    }

    /// Forgets silences that expired long ago.
    pub(crate) fn forget_expired(&mut self, now: Timestamp, changes: &mut Changes) {
        self.by_id.retain(|id, silence| {
            let keep = silence.spec.ends_at.plus(RETENTION) > now;
            if !keep {
                changes.delete(TABLE, id.clone());
            }
            keep
        });
    }

    /// Commits, then applies; returns the identifier of the last one.
    fn store(
        &mut self,
        changed: Vec<Silence>,
        control: &dyn ControlStore,
    ) -> Result<String, SilenceError> {
        let mut changes = Changes::default();
        for silence in &changed {
            changes.put(TABLE, silence.spec.id.clone(), &Stored::of(silence));
        }
        changes.commit(control).map_err(SilenceError::Store)?;
        let mut id = String::new();
        for silence in changed {
            id.clone_from(&silence.spec.id);
            self.by_id.insert(id.clone(), silence);
        }
        Ok(id)
    }

    /// A name in the form of a UUID (version 8: our own hash over request, time and count).
    fn new_id(&self, spec: &SilenceSpec, now: Timestamp) -> String {
        let (mut count, stamp) = (self.by_id.len(), now.millis().to_le_bytes());
        loop {
            let text = format!("{:?} {count}", spec.matchers);
            let mut hex = hash_id(&[&stamp, text.as_bytes()]);
            hex.replace_range(12..13, "8");
            hex.replace_range(16..17, "a");
            let id = format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            );
            if !self.by_id.contains_key(&id) {
                return id;
            }
            count += 1;
        }
    }
}

fn validate(spec: &SilenceSpec, now: Timestamp) -> Result<(), SilenceError> {
    let fail = |reason: &str| Err(SilenceError::Invalid(reason.to_owned()));
    if spec.matchers.is_empty() {
        return fail("at least one matcher is required");
    }
    if spec.matchers.iter().any(|m| m.name().is_empty()) {
        return fail("a matcher has an empty label name");
    }
    if spec.matchers.iter().all(Matcher::matches_empty) {
        return fail("at least one matcher must not match the empty string");
    }
    if spec.ends_at <= spec.starts_at {
        return fail("it must end after it starts");
    }
    if spec.ends_at <= now {
        return fail("its end is in the past");
    }
    Ok(())
}

/// Source: alertmanager/silence `canUpdate`.
fn can_change_in_place(old: &Silence, new: &SilenceSpec, now: Timestamp) -> bool {
    if old.spec.matchers != new.matchers {
        return false;
    }
    match old.state(now) {
        SilenceState::Active => new.starts_at == old.spec.starts_at && new.ends_at >= now,
        SilenceState::Pending => new.starts_at >= now,
        SilenceState::Expired => false,
    }
}

fn ended(old: &Silence, now: Timestamp) -> Silence {
    let mut ended = old.clone();
    ended.spec.starts_at = ended.spec.starts_at.min(now);
    ended.spec.ends_at = now;
    ended.updated_at = now;
    ended
}

impl Stored {
    fn of(silence: &Silence) -> Stored {
        let spec = &silence.spec;
        Stored {
            matchers: spec
                .matchers
                .iter()
                .map(|m| {
                    let op = m.op().as_str().to_owned();
                    (m.name().to_owned(), op, m.value().to_owned())
                })
                .collect(),
            starts_at: spec.starts_at.millis(),
            ends_at: spec.ends_at.millis(),
            updated_at: silence.updated_at.millis(),
            created_by: spec.created_by.clone(),
            comment: spec.comment.clone(),
        }
    }

    fn into_silence(self, id: &str) -> Result<Silence, String> {
        let mut matchers = Vec::new();
        for (name, op, value) in self.matchers {
            let op = [
                MatchOp::Equal,
                MatchOp::NotEqual,
                MatchOp::Regex,
                MatchOp::NotRegex,
            ]
            .into_iter()
            .find(|o| o.as_str() == op)
            .ok_or_else(|| format!("unknown operator {op:?}"))?;
            matchers.push(Matcher::new(name, op, value).map_err(|e| e.to_string())?);
        }
        Ok(Silence {
            spec: SilenceSpec {
                id: id.to_owned(),
                matchers,
                starts_at: Timestamp::from_millis(self.starts_at),
                ends_at: Timestamp::from_millis(self.ends_at),
                created_by: self.created_by,
                comment: self.comment,
            },
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::control::MemoryControlStore;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn spec(id: &str, matchers: &str, starts: i64, ends: i64) -> SilenceSpec {
        SilenceSpec {
            id: id.to_owned(),
            matchers: crate::config::parse_matchers(matchers).unwrap(),
            starts_at: at(starts),
            ends_at: at(ends),
            created_by: "me".to_owned(),
            comment: "why".to_owned(),
        }
    }

    #[test]
    fn a_silence_survives_a_restart_and_ends_when_told() {
        let control = MemoryControlStore::default();
        let mut silences = Silences::default();
        let id = silences
            .set(spec("", "a=~\"b.*\"", 0, 900), at(100), &control)
            .unwrap();
        let mut back = Silences::restore(&control).unwrap();
        let labels = Labels::from_pairs([("a", "bc")]);
        assert_eq!(back.covering(&labels, at(200)), std::slice::from_ref(&id));
        assert!(back.covering(&labels, at(900)).is_empty());
        back.expire(&id, at(300), &control).unwrap();
        back.expire(&id, at(400), &control).unwrap();
        let back = Silences::restore(&control).unwrap();
        assert!(back.covering(&labels, at(350)).is_empty());
        assert_eq!(back.all().next().unwrap().spec.ends_at, at(300));
    }

    #[test]
    fn an_edit_keeps_the_identifier_only_while_it_covers_the_same() {
        let control = MemoryControlStore::default();
        let mut silences = Silences::default();
        let id = silences
            .set(spec("", "a=b", 100, 900), at(100), &control)
            .unwrap();
        let same = silences
            .set(spec(&id, "a=b", 100, 1900), at(200), &control)
            .unwrap();
        assert_eq!(same, id);
        let other = silences
            .set(spec(&id, "a=c", 100, 1900), at(300), &control)
            .unwrap();
        assert_ne!(other, id);
        let states: Vec<_> = silences
            .all()
            .map(|s| (s.spec.id == id, s.state(at(300))))
            .collect();
        assert!(
            states.contains(&(true, SilenceState::Expired)),
            "{states:?}"
        );
        assert!(
            states.contains(&(false, SilenceState::Active)),
            "{states:?}"
        );
    }

    #[test]
    fn senseless_silences_are_refused() {
        let control = MemoryControlStore::default();
        let set = |spec| {
            Silences::default()
                .set(spec, at(100), &control)
                .unwrap_err()
                .to_string()
        };
        assert!(set(spec("", "a=~\".*\"", 100, 900)).contains("empty string"));
        assert!(set(spec("", "a=b", 20, 90)).contains("in the past"));
        assert!(set(spec("", "a=b", 200, 150)).contains("after it starts"));
        assert!(set(spec("x", "a=b", 100, 900)).contains("not found"));
    }
}
