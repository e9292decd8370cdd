//! Background tasks: a panic in one is logged, counted and shown, and the task starts again
//! where that is safe. The others go on.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::telemetry::{AppMetrics, TaskLabel};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What the tasks are doing. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Tasks {
    states: Arc<Mutex<BTreeMap<&'static str, TaskState>>>,
    metrics: AppMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    Running,
    /// It panicked and waits to start again, or does not start again.
    Failed(String),
}

impl Tasks {
    pub(crate) fn new(metrics: AppMetrics) -> Self {
        Tasks {
            states: Arc::default(),
            metrics,
        }
    }

    /// One sentence per task that does not run.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter_map(|(name, state)| match state {
                TaskState::Running => None,
                TaskState::Failed(why) => Some(format!("{name}: {why}")),
            })
            .collect()
    }

    pub(crate) fn set(&self, name: &'static str, state: TaskState) {
        self.lock().insert(name, state);
    }

    /// Logs and counts a panic.
    pub(crate) fn panicked(&self, name: &'static str, what: &str) {
        tracing::error!(task = name, panic = what, "a task panicked");
        self.metrics
            .task_panics
            .get_or_create(&TaskLabel { task: name })
            .inc();
        self.set(name, TaskState::Failed(format!("panicked: {what}")));
    }

    /// Runs what `make` gives; after a panic it is asked again, `None` meaning that the task
    /// cannot start twice. Dropping the handle's task (abort) stops the inner one too.
    pub(crate) fn spawn<F>(
        &self,
        name: &'static str,
        mut make: impl FnMut() -> Option<F> + Send + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        tokio::spawn(async move {
            let mut backoff = BACKOFF_MIN;
            while let Some(work) = make() {
                tasks.set(name, TaskState::Running);
                let begun = tokio::time::Instant::now();
                let inner = AbortOnDrop(tokio::spawn(work));
                let Err(ended) = inner.wait().await else {
                    return;
                };
                if !ended.is_panic() {
                    return;
                }
                tasks.panicked(name, &panic_text(&*ended.into_panic()));
                if begun.elapsed() > BACKOFF_MAX {
                    backoff = BACKOFF_MIN;
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, TaskState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    async fn wait(mut self) -> Result<(), tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_counted_and_starts_again() {
        let metrics = AppMetrics::default();
        let tasks = Tasks::new(metrics.clone());
        let mut runs = 0;
        let supervised = tasks.spawn("collector", move || {
            runs += 1;
            let first = runs == 1;
            Some(async move { assert!(!first, "on purpose") })
        });
        supervised.await.unwrap();
        assert_eq!(tasks.problems(), Vec::<String>::new());
        let label = TaskLabel { task: "collector" };
        assert_eq!(metrics.task_panics.get_or_create(&label).get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_cannot_start_twice_stays_failed() {
        let tasks = Tasks::new(AppMetrics::default());
        let mut once = Some(async { panic!("on purpose") });
        tasks.spawn("alerting", move || once.take()).await.unwrap();
        assert_eq!(tasks.problems(), ["alerting: panicked: on purpose"]);
    }
}
