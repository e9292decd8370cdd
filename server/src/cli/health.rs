//! `stackwatch health`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;

use super::client::{Url, get};
use super::{Failure, Shared};

/// Docker's own limit for a health check is 30 s.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    url: Url,
}

pub(super) fn health(args: &HealthArgs, shared: &Shared) -> Result<(), Failure> {
    let base = args.url.base(shared)?;
    let (status, body) = get(&base, "/health", &[], TIMEOUT)?;
    write!(std::io::stdout(), "{body}")?;
    if status == 200 {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}
