//! What a scrape forgives and `check metrics` does not.

use super::{Format, ParseError};

/// Checks an exposition in full.
///
/// # Errors
/// The first violation.
pub fn check(body: &[u8], format: Format) -> Result<(), ParseError> {
    for item in super::Parser::new(body, format)? {
        item?;
    }
    Ok(())
}
