//! The one place of this crate that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;

/// Tells the time. A plain function in production, a fixed instant in tests.
pub type Clock = fn() -> Timestamp;

/// The machine's wall clock.
#[must_use]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(model::time::duration_millis(since_epoch))
}

/// An instant as `2026-01-02T03:04:05.678Z`; the zero time of Go when it cannot be shown.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string())
}

/// Reads RFC 3339. The last days of the year 9999, which people write for "never ends", lie beyond
/// what the calendar library knows and count as its last instant.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) if text.starts_with("9999-12-3") && text.ends_with('Z') => jiff::Timestamp::MAX,
        Err(_) => return None,
    };
    Some(Timestamp::from_millis(at.as_millisecond()))
}
