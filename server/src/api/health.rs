//! `/health`, `/-/healthy`, `/-/ready`, and `/ready` as Loki has it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Api;

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All is well.
    Ok,
    /// Something an operator should know; the product still does its job.
    Warning,
    /// The job is not done: the answer is 503.
    Failed,
}

impl State {
    /// The word in the answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "failed",
        }
    }
}

/// What a component says about itself.
#[derive(Clone, Debug)]
pub struct Component {
    /// See [`State`].
    pub state: State,
    /// One sentence per problem.
    pub problems: Vec<String>,
    /// Figures worth a look, as a JSON object; null when there are none.
    pub details: serde_json::Value,
}

impl Component {
    /// Failed when there are problems.
    #[must_use]
    pub fn failing(problems: Vec<String>) -> Self {
        Component::with_problems(State::Failed, problems)
    }

    /// A warning when there are problems.
    #[must_use]
    pub fn warning(problems: Vec<String>) -> Self {
        Component::with_problems(State::Warning, problems)
    }

    fn with_problems(worst: State, problems: Vec<String>) -> Self {
        Component {
            state: if problems.is_empty() {
                State::Ok
            } else {
                worst
            },
            problems,
            details: serde_json::Value::Null,
        }
    }

    /// With figures.
    #[must_use]
    pub fn with_details(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }
}

type Ask = dyn Fn() -> Component + Send + Sync;

/// A component's name and how to ask it.
pub struct Probe {
    name: &'static str,
    ask: Arc<Ask>,
    /// One at a time: a component that hangs holds one thread.
    turn: Arc<Mutex<()>>,
}

impl Probe {
    /// `name` is the key in the answer. `ask` may block, not for long when all is well.
    #[must_use]
    pub fn new(name: &'static str, ask: impl Fn() -> Component + Send + Sync + 'static) -> Self {
        Probe {
            name,
            ask: Arc::new(ask),
            turn: Arc::default(),
        }
    }

    /// What the component says, or that it does not until `deadline`.
    fn component(&self, deadline: Instant) -> impl Future<Output = Component> + use<> {
        let (ask, turn) = (Arc::clone(&self.ask), Arc::clone(&self.turn));
        let asked = async move {
            let turn = turn.lock_owned().await;
            let asking = tokio::task::spawn_blocking(move || {
                let component = ask();
                drop(turn);
                component
            });
            asking.await.ok()
        };
        async move {
            let silent = || {
                Component::failing(vec![format!(
                    "no answer within {} s: it may be waiting for a disk that stands still",
                    ANSWER_TIME_MAX.as_secs()
                )])
            };
            let asked = tokio::time::timeout_at(deadline, asked).await;
            asked.ok().flatten().unwrap_or_else(silent)
        }
    }
}

/// How long components are waited for, together.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/health", get(health))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/ready", get(ready_as_loki))
}

async fn healthy() -> &'static str {
    "stackwatch is Healthy.\n"
}

async fn ready(Shared(api): Shared<Api>) -> Response {
    match api.ready_parts() {
        Some(_) => "stackwatch is Ready.\n".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable\n").into_response(),
    }
}

/// Loki's words.
async fn ready_as_loki(Shared(api): Shared<Api>) -> Response {
    match api.ready_parts() {
        Some(_) => "ready\n".into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Ingester not ready: starting\n",
        )
            .into_response(),
    }
}

async fn health(Shared(api): Shared<Api>) -> Response {
    let Some(parts) = api.ready_parts() else {
        let body = json!({ "status": "starting", "version": env!("CARGO_PKG_VERSION") });
        return answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    };
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    // All begin before the first is waited for.
    let asked = parts.probes.iter();
    let asked: Vec<_> = asked
        .map(|probe| (probe.name, tokio::spawn(probe.component(deadline))))
        .collect();
    let mut answers = Vec::new();
    for (name, component) in asked {
        let Ok(component) = component.await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        answers.push((name, component));
    }
    let (status, components) = together(answers);
    let code = if status == State::Failed {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let body = json!({
        "status": status.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": api.now().since(api.started()).as_secs(),
        "components": components,
    });
    answer(code, &body)
}

/// Every component's answer and the worst state among them.
fn together(
    answers: Vec<(&str, Component)>,
) -> (State, serde_json::Map<String, serde_json::Value>) {
    let mut components = serde_json::Map::new();
    let mut worst = State::Ok;
    for (name, component) in answers {
        worst = match (worst, component.state) {
            (State::Failed, _) | (_, State::Failed) => State::Failed,
            (State::Warning, _) | (_, State::Warning) => State::Warning,
            (State::Ok, State::Ok) => State::Ok,
        };
        let mut shown = serde_json::Map::new();
        shown.insert("status".to_owned(), json!(component.state.as_str()));
        if !component.problems.is_empty() {
            shown.insert("problems".to_owned(), json!(component.problems));
        }
        if let serde_json::Value::Object(details) = component.details {
            shown.extend(details);
        }
        components.insert(name.to_owned(), shown.into());
    }
    (worst, components)
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut text = serde_json::to_string_pretty(body).unwrap_or_default();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_component_that_hangs_is_told_and_waited_for_once() {
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hang = std::sync::Mutex::new(hang);
        let hung = Probe::new("storage", move || {
            let _ = hang.lock().unwrap().recv();
            Component::warning(Vec::new())
        });
        for _ in 0..3 {
            let soon = Instant::now() + Duration::from_millis(20);
            let component = hung.component(soon).await;
            assert_eq!(component.state, State::Failed);
            assert!(component.problems[0].starts_with("no answer within 2 s"));
        }
        release.send(()).unwrap();
        release.send(()).unwrap();
        let late = Instant::now() + Duration::from_secs(60);
        assert_eq!(hung.component(late).await.state, State::Ok);
    }
}
