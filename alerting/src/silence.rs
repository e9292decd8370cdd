//! Silences: which alerts they cover, how they change, and their durable form.

use model::{ControlError, Matcher, Timestamp};

/// A request to create a silence, or to change the one named by `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceSpec {
    /// Empty to create.
    pub id: String,
    /// All must hold; at least one must not match the empty string.
    pub matchers: Vec<Matcher>,
    /// When it begins.
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
