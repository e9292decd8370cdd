//! `/silences` and `/silence/{id}`.

use alerting::silence::{Silence, SilenceError, SilenceSpec, SilenceState};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{MatchOp, Matcher, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::alerts::matchers;
use super::{Answer, Refused, answer, handle, read_time};
use crate::api::Api;
use crate::api::params::Params;
use crate::clock::rfc3339;

pub(super) async fn list(State(api): State<Api>, params: Params) -> Answer {
    let wanted = matchers(&params)?;
    let now = api.now();
    // A filter asks for silences that have a matcher on this label whose value fits.
    let passes = |s: &Silence| {
        wanted.iter().all(|w| {
            s.spec
                .matchers
                .iter()
                .any(|m| m.name() == w.name() && w.matches(m.value()))
        })
    };
    let mut silences = handle(&api)?.silences();
    silences.retain(passes);
    let rank = |s: &Silence| match state(s, now) {
        SilenceState::Active => 0,
        SilenceState::Pending => 1,
        SilenceState::Expired => 2,
    };
    silences.sort_by_key(|s| (rank(s), s.spec.ends_at));
    let shown: Vec<Value> = silences.iter().map(|s| shown(s, now)).collect();
    Ok(answer(&Value::Array(shown)))
}

pub(super) async fn one(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let found = handle(&api)?
        .silences()
        .into_iter()
        .find(|s| s.spec.id == id);
    match found {
        Some(silence) => Ok(answer(&shown(&silence, api.now()))),
        None => Err(Refused(
            StatusCode::NOT_FOUND,
            format!("silence {id} not found"),
        )),
    }
}

/// A silence as clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl PostedMatcher {
    fn matcher(self) -> Result<Matcher, Refused> {
        let op = match (self.is_equal, self.is_regex) {
            (true, false) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (false, true) => MatchOp::NotRegex,
        };
        Matcher::new(self.name, op, self.value).map_err(|e| Refused::bad(e.to_string()))
    }

    fn from(m: &Matcher) -> Self {
        PostedMatcher {
            name: m.name().to_owned(),
            value: m.value().to_owned(),
            is_regex: matches!(m.op(), MatchOp::Regex | MatchOp::NotRegex),
            is_equal: matches!(m.op(), MatchOp::Equal | MatchOp::Regex),
        }
    }
}

pub(super) async fn set(State(api): State<Api>, body: String) -> Answer {
    let posted: Posted =
        serde_json::from_str(&body).map_err(|e| Refused::bad(format!("wrong JSON: {e}")))?;
    let now = api.now();
    let spec = SilenceSpec {
        id: posted.id.unwrap_or_default(),
        matchers: posted
            .matchers
            .into_iter()
            .map(PostedMatcher::matcher)
            .collect::<Result<_, _>>()?,
        starts_at: read_time(Some(&posted.starts_at))?.unwrap_or(now),
        ends_at: read_time(Some(&posted.ends_at))?
            .ok_or_else(|| Refused::bad("endsAt is missing"))?,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    let handle = handle(&api)?;
    let done = api
        .workshop()
        .write(move || handle.set_silence(spec, now))
        .await?;
    match done {
        Ok(id) => Ok(answer(&json!({ "silenceID": id }))),
        Err(e) => Err(refused(&e)),
    }
}

pub(super) async fn expire(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let now = api.now();
    let handle = handle(&api)?;
    let done = api
        .workshop()
        .write(move || handle.expire_silence(&id, now))
        .await?;
    match done {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(e) => Err(refused(&e)),
    }
}

fn refused(error: &SilenceError) -> Refused {
    let status = match error {
        SilenceError::Invalid(_) => StatusCode::BAD_REQUEST,
        SilenceError::NotFound(_) => StatusCode::NOT_FOUND,
        SilenceError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refused(status, error.to_string())
}

fn state(s: &Silence, now: Timestamp) -> SilenceState {
    if s.spec.ends_at <= now {
        SilenceState::Expired
    } else if s.spec.starts_at > now {
        SilenceState::Pending
    } else {
        SilenceState::Active
    }
}

fn shown(s: &Silence, now: Timestamp) -> Value {
    let state = match state(s, now) {
        SilenceState::Pending => "pending",
        SilenceState::Active => "active",
        SilenceState::Expired => "expired",
    };
    let matchers: Vec<PostedMatcher> = s.spec.matchers.iter().map(PostedMatcher::from).collect();
    json!({
        "id": s.spec.id,
        "status": { "state": state },
        "updatedAt": rfc3339(s.updated_at),
        "comment": s.spec.comment,
        "createdBy": s.spec.created_by,
        "startsAt": rfc3339(s.spec.starts_at),
        "endsAt": rfc3339(s.spec.ends_at),
        "matchers": matchers,
    })
}
