//! Questions what containers are: several at a time, none waited for longer than a moment, and one
//! without an answer keeps nobody else's back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::{ContainerDetail, Engine, EngineError};

/// Containers asked about at a time.
const AT_ONCE: usize = 8;
/// How long an answer is waited for. An engine that starts many at once keeps back what it knows of
/// a container until that has started, and meanwhile answers everything else.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How long all answers are waited for: a tick may be due.
const ROUND_WAIT: Duration = Duration::from_secs(5);
/// Troubles told one by one.
const TOLD_MAX: usize = 3;

/// Containers that the engine has not answered about, and what it said instead.
#[derive(Debug, Default)]
pub(super) struct Inspections {
    /// How often each was asked about in vain.
    owed: BTreeMap<String, u32>,
    troubles: BTreeMap<String, String>,
}

/// What was learnt about a container.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: String,
    /// `None` when it is gone.
    pub(super) detail: Option<ContainerDetail>,
    /// When its image was made, as the engine says, if that was asked. That may be forbidden, or the
    /// image be gone.
    pub(super) image_created: Option<String>,
}

impl Inspections {
    /// Whether answers are still to come.
    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether this container's is.
    pub(super) fn owes(&self, id: &str) -> bool {
        self.owed.contains_key(id)
    }

    /// Forgets containers that are no more.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.owed.retain(|id, _| exists(id));
        self.troubles.retain(|id, _| exists(id));
    }

    /// What cannot be told, for whoever looks at the target.
    pub(super) fn note(&self) -> Option<String> {
        let count = self.troubles.len();
        let told = self.troubles.iter().take(TOLD_MAX);
        let told: Vec<String> = told
            .map(|(id, why)| format!("{}: {why}", id.get(..12).unwrap_or(id)))
            .collect();
        (count > 0).then(|| {
            format!(
                "{count} containers cannot be inspected and are left out, or told as they were: {}",
                told.join("; ")
            )
        })
    }

    /// Asks about `ids`, those first that have been asked about least often; what is not answered
    /// in time is owed. `known_images` are not asked about.
    pub(super) async fn ask(
        &mut self,
        engine: &Engine,
        mut ids: Vec<String>,
        known_images: &BTreeSet<String>,
    ) -> Vec<Answer> {
        ids.sort_by_cached_key(|id| self.owed.get(id).copied().unwrap_or(0));
        let known_images = Arc::new(known_images.clone());
        let end = Instant::now() + ROUND_WAIT;
        let mut answers = Vec::with_capacity(ids.len());
        let mut running = JoinSet::new();
        let mut ids = ids.into_iter();
        loop {
            while running.len() < AT_ONCE
                && Instant::now() < end
                && let Some(id) = ids.next()
            {
                let (engine, known) = (engine.clone(), Arc::clone(&known_images));
                let limit = (Instant::now() + ANSWER_WAIT).min(end);
                running.spawn(async move {
                    let asked = tokio::time::timeout_at(limit, ask(&engine, &id, &known)).await;
                    (id, asked.ok())
                });
            }
            let Some(next) = running.join_next().await else {
                break;
            };
            // The task neither panics nor is stopped.
            let Ok((id, answer)) = next else { continue };
            match answer {
                Some(Ok((detail, image_created))) => {
                    self.owed.remove(&id);
                    self.troubles.remove(&id);
                    answers.push(Answer {
                        id,
                        detail,
                        image_created,
                    });
                }
                Some(Err(error)) => {
                    self.troubles.insert(id.clone(), error.to_string());
                    *self.owed.entry(id).or_default() += 1;
                }
                None => *self.owed.entry(id).or_default() += 1,
            }
        }
        for id in ids {
            self.owed.entry(id).or_default();
        }
        answers
    }
}

async fn ask(
    engine: &Engine,
    id: &str,
    known_images: &BTreeSet<String>,
) -> Result<(Option<ContainerDetail>, Option<String>), EngineError> {
    let Some(detail) = engine.inspect(id).await? else {
        return Ok((None, None));
    };
    let mut created = None;
    if !detail.image.is_empty() && !known_images.contains(&detail.image) {
        // Worth less than the rest: it must not cost the answer.
        let asked = tokio::time::timeout(ANSWER_WAIT / 4, engine.image(&detail.image)).await;
        created = asked.ok().and_then(Result::ok).map(|image| image.created);
    }
    Ok((Some(detail), created))
}
