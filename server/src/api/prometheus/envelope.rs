//! The envelope of Prometheus' API: `{"status":…,"data":…}` or an error with its type.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::ReadError;

use crate::api::json;
use crate::api::pieces::{Pieces, Room};
use crate::api::workshop::{Share, WorkError};

/// Warnings and infos shown per answer; the rest is counted.
const ANNOTATIONS_MAX: usize = 10;

/// `data` and what was noticed on the way.
#[derive(Debug, Default)]
pub(crate) struct Success {
    /// JSON; empty when there is nothing to say, not even that there is nothing.
    pub(crate) data: Pieces,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
    /// Memory the answer holds until it is sent.
    pub(crate) share: Option<Share>,
}

impl Success {
    /// `data` is JSON already.
    pub(crate) fn new(data: String) -> Self {
        Success {
            data: data.into(),
            ..Success::default()
        }
    }

    /// From what [`crate::api::Api::read`] gives.
    pub(crate) fn read((success, share): (Success, Option<Share>)) -> Self {
        Success { share, ..success }
    }

    /// With further warnings.
    pub(crate) fn warning(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Without a body: 204.
    pub(crate) fn nothing() -> Self {
        Success::default()
    }

    /// From a small tree.
    pub(crate) fn from_value(data: &serde_json::Value) -> Self {
        Success::new(data.to_string())
    }

    /// A JSON list, cut after `limit` with the usual warning. Each item has `bytes`.
    ///
    /// # Errors
    /// When nobody waits any more, or there is no room.
    pub(crate) fn list<T>(
        mut items: Vec<T>,
        limit: Option<usize>,
        room: Room<'_>,
        bytes: impl Fn(&T) -> usize,
        write: impl FnMut(&mut String, &T),
    ) -> Answer {
        let cut = cut(&mut items, limit);
        let mut success = Success::default();
        success.data.array(items, room, bytes, write)?;
        success.warnings.extend(cut);
        Ok(success)
    }
}

/// Shortens to `limit`; the warning that says so.
pub(crate) fn cut<T>(items: &mut Vec<T>, limit: Option<usize>) -> Option<String> {
    let limit = limit.filter(|l| items.len() > *l)?;
    items.truncate(limit);
    Some("results truncated due to limit".to_owned())
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        if self.data.is_empty() {
            return StatusCode::NO_CONTENT.into_response();
        }
        let mut data = self.data;
        data.put_first("{\"status\":\"success\",\"data\":");
        annotations(&mut data.last, "warnings", self.warnings);
        annotations(&mut data.last, "infos", self.infos);
        data.last.push('}');
        let json = [(header::CONTENT_TYPE, "application/json")];
        let response = (json, data.body()).into_response();
        match self.share {
            Some(share) => response.map(|body| share.held_by(body)),
            None => response,
        }
    }
}

fn annotations(body: &mut String, key: &str, mut texts: Vec<String>) {
    if texts.is_empty() {
        return;
    }
    if texts.len() > ANNOTATIONS_MAX {
        let more = texts.len() - ANNOTATIONS_MAX;
        texts.truncate(ANNOTATIONS_MAX);
        let kind = key.trim_end_matches('s');
        texts.push(format!("{more} more {kind} annotations omitted"));
    }
    body.push_str(",\"");
    body.push_str(key);
    body.push_str("\":");
    json::array(body, &texts, |out, text| json::html_safe(out, text));
}

/// Prometheus' kinds of errors; each has its status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    BadData,
    Execution,
    /// As `Execution`: it needs more memory than it may have.
    Memory,
    Timeout,
    Canceled,
    Internal,
    /// Not now.
    Unavailable,
}

impl ErrorType {
    fn word_and_status(self) -> (&'static str, StatusCode) {
        match self {
            ErrorType::BadData => ("bad_data", StatusCode::BAD_REQUEST),
            ErrorType::Execution | ErrorType::Memory => {
                ("execution", StatusCode::UNPROCESSABLE_ENTITY)
            }
            ErrorType::Timeout => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            // 499 is nginx' "client closed request", which Prometheus answers with too.
            ErrorType::Canceled => (
                "canceled",
                StatusCode::from_u16(499).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            ),
            ErrorType::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
            ErrorType::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

/// An error as the client sees it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorType,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
        }
    }

    /// Its status code.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.word_and_status().1
    }

    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Failure::new(ErrorType::BadData, message)
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        let kind = match error {
            WorkError::Timeout | WorkError::TimeoutWaiting => ErrorType::Timeout,
            WorkError::Full { .. } => ErrorType::Unavailable,
            WorkError::Panicked => ErrorType::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::Limit(_) => ErrorType::Memory,
            ReadError::Canceled => ErrorType::Canceled,
            ReadError::Io { .. } | ReadError::Corrupt(_) => ErrorType::Internal,
        };
        Failure::new(kind, error.to_string())
    }
}

impl From<query::EvalError> for Failure {
    fn from(error: query::EvalError) -> Self {
        match error {
            query::EvalError::Canceled => Failure::new(ErrorType::Canceled, error.to_string()),
            query::EvalError::Read(read) => read.into(),
            query::EvalError::TooManyBytes { .. } => {
                Failure::new(ErrorType::Memory, error.to_string())
            }
            other => Failure::new(ErrorType::Execution, other.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (word, status) = self.kind.word_and_status();
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{word}\",\"error\":");
        json::html_safe(&mut body, &self.message);
        body.push('}');
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// What a handler returns.
pub(crate) type Answer = Result<Success, Failure>;
