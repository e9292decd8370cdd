//! Metrics that short jobs push, as to a Pushgateway, and that stay until they are pushed anew or
//! deleted.
//!
//! A push belongs to a group, named by the labels in its path. [`Pushes`] is the handle of whoever
//! receives pushes; the source that tells of them reads the same state. Groups live in memory: after
//! a restart they are absent until they are pushed again; what was stored of them stays stored.

mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::labels::METRIC_NAME;
use model::{Labels, SampleBatch, Timestamp};
use tokio::time::Instant;

use crate::exposition::{Format, Item, Kind, Parser, series};
use crate::metadata::Said;
use crate::source::Source;
use crate::target::{Pass, Target, check_label_bytes};

/// Groups kept; pushes for further ones are refused.
const GROUPS_MAX: usize = 1000;
/// Samples kept in all groups; a push that would exceed it is refused.
const SAMPLES_MAX: usize = 50_000;
/// Bytes of labels and help texts in all groups; a push that would exceed it is refused.
const TEXT_BYTES_MAX: usize = 32 << 20;
/// Told of each group; what a push says of them does not count.
const OWN: [&str; 2] = ["push_time_seconds", "push_failure_time_seconds"];

/// Why a push was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The path names no group.
    #[error("{0}")]
    Path(String),
    /// The body is not right, or contradicts what is known.
    #[error("pushed metrics are invalid or inconsistent with existing metrics: {0}")]
    Metrics(String),
    /// There is no room.
    #[error("{0}")]
    Full(String),
}

/// What was pushed. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct Pushes(Arc<Mutex<BTreeMap<Labels, Group>>>);

#[derive(Debug, Default)]
struct Group {
    families: BTreeMap<String, Family>,
    /// When the last push was taken, and refused.
    pushed: Option<Timestamp>,
    failed: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
struct Family {
    kind: Kind,
    help: String,
    samples: Vec<(Labels, f64)>,
}

impl Family {
    /// Bytes of its labels and its help text.
    fn text_bytes(&self) -> usize {
        let labels = self.samples.iter().map(|(labels, _)| labels.heap_bytes());
        self.help.len() + labels.sum::<usize>()
    }
}

impl Pushes {
    /// Takes a push. `path` is what follows `/metrics/`, still percent-encoded; `replace` drops
    /// what the group had, else only families of the same name go.
    ///
    /// # Errors
    /// When nothing was taken; what the group had stays.
    pub fn push(
        &self,
        path: &str,
        body: &[u8],
        replace: bool,
        now: Timestamp,
    ) -> Result<(), PushError> {
        let labels = path::group(path).map_err(PushError::Path)?;
        let parsed = parse(body, &labels).map_err(PushError::Metrics);
        let mut groups = self.groups();
        if !groups.contains_key(&labels) && groups.len() >= GROUPS_MAX {
            return Err(PushError::Full(format!("more than {GROUPS_MAX} groups")));
        }
        let parsed = parsed.and_then(|families| {
            check(&groups, &labels, &families, replace)?;
            Ok(families)
        });
        let group = groups.entry(labels).or_default();
        match parsed {
            Ok(families) => {
                if replace {
                    group.families.clear();
                }
                group.families.extend(families);
                group.pushed = Some(now);
                Ok(())
            }
            Err(error) => {
                group.failed = Some(now);
                Err(error)
            }
        }
    }

    /// Forgets a group, whether there is one or not.
    ///
    /// # Errors
    /// When the path names no group.
    pub fn delete(&self, path: &str) -> Result<(), PushError> {
        let labels = path::group(path).map_err(PushError::Path)?;
        self.groups().remove(&labels);
        Ok(())
    }

    fn put(&self, pass: &mut Pass<'_>) {
        for (name, help) in [
            (
                OWN[0],
                "When the last push to this group was taken, in seconds since 1970.",
            ),
            (
                OWN[1],
                "When the last push to this group was refused, in seconds since 1970.",
            ),
        ] {
            pass.describe(&Said {
                name,
                kind: Kind::Gauge,
                help,
                plain_help: false,
                unit: "",
            });
        }
        for (labels, group) in self.groups().iter() {
            for (name, at) in OWN.into_iter().zip([group.pushed, group.failed]) {
                let mut own = labels.to_builder();
                own.set(METRIC_NAME, name);
                add(pass, &own.build(), at.map_or(0.0, Timestamp::as_secs_f64));
            }
            for (name, family) in &group.families {
                pass.describe(&Said {
                    name,
                    kind: family.kind,
                    help: &family.help,
                    plain_help: false,
                    unit: "",
                });
                for (labels, value) in &family.samples {
                    add(pass, labels, *value);
                }
            }
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<Labels, Group>> {
        // Each change is complete before it is made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pushed labels win over those of the target, as with `honor_labels`.
fn add(pass: &mut Pass<'_>, labels: &Labels, value: f64) {
    let make = || Ok::<_, std::convert::Infallible>(Some(labels.clone()));
    let _ = pass.add(&labels.to_string(), None, false, value, make);
}

/// Tells of all groups at every tick.
pub(crate) struct PushSource(pub(crate) Pushes);

impl Source for PushSource {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let mut pass = target.pass(at);
        self.0.put(&mut pass);
        let collected = pass.done();
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

/// Whether families fit to what is there already, and there is room for them.
fn check(
    groups: &BTreeMap<Labels, Group>,
    labels: &Labels,
    families: &BTreeMap<String, Family>,
    replace: bool,
) -> Result<(), PushError> {
    let mut samples: usize = families.values().map(|f| f.samples.len()).sum();
    let mut bytes: usize = families.values().map(Family::text_bytes).sum();
    for (other, group) in groups {
        for (name, known) in &group.families {
            let pushed = families.get(name);
            if other == labels && (replace || pushed.is_some()) {
                continue;
            }
            samples += known.samples.len();
            bytes += known.text_bytes();
            if let Some(pushed) = pushed.filter(|p| p.kind != known.kind) {
                return Err(PushError::Metrics(format!(
                    "{name} is a {} here and a {} in the group {other}",
                    pushed.kind, known.kind
                )));
            }
        }
    }
    if samples > SAMPLES_MAX {
        let text = format!("more than {SAMPLES_MAX} samples in all groups");
        return Err(PushError::Full(text));
    }
    if bytes > TEXT_BYTES_MAX {
        let text =
            format!("more than {TEXT_BYTES_MAX} bytes of labels and help texts in all groups");
        return Err(PushError::Full(text));
    }
    Ok(())
}

/// Reads a push; the labels of the group win over those in it.
fn parse(body: &[u8], group: &Labels) -> Result<BTreeMap<String, Family>, String> {
    if body.last().is_some_and(|last| *last != b'\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen: BTreeSet<Labels> = BTreeSet::new();
    let mut parser = Parser::new(body, Format::Prometheus).map_err(|e| e.to_string())?;
    while let Some(item) = parser.next() {
        let sample = match item.map_err(|e| e.to_string())? {
            Item::Help { family, text } => {
                families.entry(family.to_owned()).or_default().help = text.to_owned();
                continue;
            }
            Item::Type { family, kind } => {
                families.entry(family.to_owned()).or_default().kind = kind;
                continue;
            }
            Item::Unit { .. } => continue,
            Item::Sample(sample) => sample,
        };
        let error = |text: &str| parser.error(text).to_string();
        if sample.timestamp_ms.is_some() {
            return Err(error("pushed metrics must not have timestamps"));
        }
        let mut labels = series::parse(sample.series).map_err(|e| error(&e))?;
        let name = labels.get(METRIC_NAME).unwrap_or_default().to_owned();
        if OWN.contains(&name.as_str()) {
            continue;
        }
        let family = family_of(&families, &name);
        let family = families.entry(family).or_default();
        series::normalise(family.kind, &mut labels);
        for (name, value) in group {
            labels.set(name, value);
        }
        let labels = labels.build();
        check_label_bytes(&labels).map_err(|e| error(&e))?;
        if !seen.insert(labels.clone()) {
            return Err(error(&format!("{labels} was there already")));
        }
        family.samples.push((labels, sample.value));
    }
    families.retain(|_, family| !family.samples.is_empty());
    Ok(families)
}

/// The family of a sample: of its own name, or the histogram or summary it is a part of.
fn family_of(families: &BTreeMap<String, Family>, name: &str) -> String {
    let parts = ["_bucket", "_sum", "_count"].into_iter();
    let mut bases = parts.filter_map(|suffix| name.strip_suffix(suffix));
    let composed = |base: &&str| {
        let kind = families.get(*base).map(|f| f.kind);
        matches!(kind, Some(Kind::Histogram | Kind::Summary))
    };
    match bases.find(composed) {
        Some(base) if !families.contains_key(name) => base.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
