//! `stackwatch version`.

use std::io::Write as _;

use super::Failure;

pub(super) fn version() -> Result<(), Failure> {
    writeln!(
        std::io::stdout(),
        "stackwatch {}",
        env!("CARGO_PKG_VERSION")
    )?;
    Ok(())
}
