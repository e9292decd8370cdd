//! `/health`, `/-/healthy`, `/-/ready`.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

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

/// A component's name and how to ask it.
pub struct Probe {
    /// Key in the answer.
    pub name: &'static str,
    /// Asks; must not block for long.
    pub ask: Box<dyn Fn() -> Component + Send + Sync>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/health", get(health))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
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

async fn health(Shared(api): Shared<Api>) -> Response {
    let Some(parts) = api.ready_parts() else {
        let body = json!({ "status": "starting", "version": env!("CARGO_PKG_VERSION") });
        return answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    };
    // Probes take locks that writers hold for a moment, so not on an async worker.
    let asked = tokio::task::spawn_blocking(move || ask_all(&parts.probes));
    let Ok((status, components)) = asked.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
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
fn ask_all(probes: &[Probe]) -> (State, serde_json::Map<String, serde_json::Value>) {
    let mut components = serde_json::Map::new();
    let mut worst = State::Ok;
    for probe in probes {
        let component = (probe.ask)();
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
        components.insert(probe.name.to_owned(), shown.into());
    }
    (worst, components)
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let mut text = serde_json::to_string_pretty(body).unwrap_or_default();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
