//! One entry of `collect.heartbeats`.

use std::time::Duration;

use jiff::tz::TimeZone;
use model::Timestamp;
use serde::Deserialize;

use super::cron::Cron;
use super::state::PingKind;
use crate::scrape::Secret;

/// How late a ping may be unless the heartbeat says otherwise; at most its period.
const DEFAULT_GRACE: Duration = Duration::from_secs(3600);

/// A job that says when it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeartbeatConfig {
    /// The `name` label.
    pub name: String,
    /// Its name in a URL; when absent made of `name`: small letters, digits, `-` and `_`.
    pub slug: Option<String>,
    /// Time between two pings at most. Either this or `schedule`.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub period: Option<Duration>,
    /// When it runs, as in a crontab: minute, hour, day, month, weekday.
    pub schedule: Option<String>,
    /// The time zone of `schedule`; UTC when absent.
    pub timezone: Option<String>,
    /// How late a ping may be, and how long a run that said `start` may take. Absent: an hour,
    /// or the period when that is shorter.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub grace: Option<Duration>,
    /// With this `/ping/<uuid>` is taken, and `/ping/<slug>` is not.
    pub uuid: Option<String>,
    /// With this `/ping/<ping_key>/<slug>` is taken, and `/ping/<slug>` is not.
    pub ping_key: Option<Secret>,
}

/// When pings are due.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    due: Due,
    pub(super) grace: Duration,
}

#[derive(Clone, Debug)]
enum Due {
    Period(Duration),
    Cron(Box<Cron>, TimeZone),
}

impl Schedule {
    /// When a ping is due that follows the one at `last`. `None` when never.
    pub(super) fn next(&self, last: Timestamp) -> Option<Timestamp> {
        match &self.due {
            Due::Period(period) => Some(last.plus(*period)),
            Due::Cron(cron, zone) => cron.next(last, zone),
        }
    }

    /// Time between two pings, where it is always the same.
    pub(super) fn period(&self) -> Option<Duration> {
        match &self.due {
            Due::Period(period) => Some(*period),
            Due::Cron(..) => None,
        }
    }
}

impl HeartbeatConfig {
    /// When pings are due.
    ///
    /// # Errors
    /// When that is not said, or cannot be.
    pub(super) fn schedule(&self) -> Result<Schedule, String> {
        let (due, usual) = match (&self.period, &self.schedule) {
            (Some(period), None) if !period.is_zero() => {
                (Due::Period(*period), DEFAULT_GRACE.min(*period))
            }
            (Some(_), None) => return Err("period must be positive".to_owned()),
            (None, Some(schedule)) => {
                let cron = Cron::parse(schedule).map_err(|e| format!("schedule: {e}"))?;
                let zone = self.timezone.as_deref().unwrap_or("UTC");
                let zone = TimeZone::get(zone)
                    .map_err(|_| format!("timezone: {zone:?} is not known here"))?;
                (Due::Cron(Box::new(cron), zone), DEFAULT_GRACE)
            }
            _ => return Err("either period or schedule must be set".to_owned()),
        };
        if self.timezone.is_some() && self.schedule.is_none() {
            return Err("timezone means nothing without schedule".to_owned());
        }
        Ok(Schedule {
            due,
            grace: self.grace.unwrap_or(usual),
        })
    }

    /// Its name in a URL.
    pub(crate) fn slug(&self) -> String {
        self.slug.clone().unwrap_or_else(|| slug_of(&self.name))
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("name is missing".to_owned());
        }
        let slug = self.slug();
        if slug.is_empty() || slug != slug_of(&slug) {
            return Err(format!(
                "{slug:?} cannot stand in a URL: give a slug of small letters, digits, - and _"
            ));
        }
        if PingKind::of_path(&slug).is_some() || slug.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "{slug:?} has a meaning of its own in the URL of a ping"
            ));
        }
        if let Some(uuid) = &self.uuid
            && !is_uuid(uuid)
        {
            return Err("uuid is none: 8-4-4-4-12 hexadecimal digits".to_owned());
        }
        if self.ping_key.as_ref().is_some_and(|key| key.0.is_empty()) {
            return Err("ping_key is empty".to_owned());
        }
        self.schedule().map(|_| ())
    }

    /// Whether `/ping/<word>` means it.
    pub(super) fn answers_to(&self, word: &str) -> bool {
        match &self.uuid {
            Some(uuid) if same(&uuid.to_ascii_lowercase(), &word.to_ascii_lowercase()) => true,
            Some(_) => false,
            None => self.ping_key.is_none() && self.slug() == word,
        }
    }

    /// Whether `/ping/<key>/<slug>` means it. Where no key is set any will do, so that lines
    /// written for another server need no change but its address.
    pub(super) fn answers_to_key(&self, key: &str, slug: &str) -> bool {
        self.slug() == slug
            && match &self.ping_key {
                Some(own) => same(&own.0, key),
                None => self.uuid.is_none(),
            }
    }
}

/// Compares in the same time wherever the first difference is.
fn same(a: &str, b: &str) -> bool {
    let different = a.bytes().zip(b.bytes()).fold(0, |d, (x, y)| d | (x ^ y));
    a.len() == b.len() && different == 0
}

fn slug_of(name: &str) -> String {
    let mut out = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' | '-' => out.push(c),
            _ if out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    out.trim_matches('-').to_owned()
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|p| p.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.concat().bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let check = |yaml: &str| {
            let config: HeartbeatConfig = serde_saphyr::from_str(yaml).unwrap();
            config.check()
        };
        assert_eq!(check("{name: Nightly Backup, period: 1d}"), Ok(()));
        assert_eq!(
            check("{name: x, schedule: '0 3 * * *', timezone: Europe/Berlin}"),
            Ok(())
        );
        for (yaml, problem) in [
            ("period: 1d", "name is missing"),
            ("name: x", "either period or schedule"),
            (
                "{name: x, period: 1d, schedule: '* * * * *'}",
                "either period or schedule",
            ),
            ("{name: x, schedule: '61 * * * *'}", "schedule: "),
            (
                "{name: x, schedule: '* * * * *', timezone: Mars}",
                "timezone: \"Mars\"",
            ),
            (
                "{name: x, period: 1d, timezone: UTC}",
                "timezone means nothing",
            ),
            ("{name: fail, period: 1d}", "\"fail\" has a meaning"),
            ("{name: '7', period: 1d}", "\"7\" has a meaning"),
            ("{name: '***', period: 1d}", "\"\" cannot stand in a URL"),
            ("{name: x, slug: A/B, period: 1d}", "\"A/B\" cannot stand"),
            ("{name: x, uuid: 1234, period: 1d}", "uuid is none"),
        ] {
            let found = check(yaml).unwrap_err();
            assert!(found.contains(problem), "{yaml}: {found}");
        }
    }

    #[test]
    fn a_name_becomes_a_slug() {
        assert_eq!(slug_of("Nightly  Backup (db_1)"), "nightly-backup-db_1");
        assert_eq!(slug_of("Über"), "ber");
    }
}
