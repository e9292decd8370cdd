//! `stackwatch reload`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;

use super::client::{Url, post};
use super::{Failure, Shared};

/// A reload waits for the rule groups that are being evaluated.
const TIMEOUT: Duration = Duration::from_secs(150);

#[derive(Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    url: Url,
}

pub(super) fn reload(args: &ReloadArgs, shared: &Shared) -> Result<(), Failure> {
    let base = args.url.base(shared)?;
    let (status, body) = post(&base, "/-/reload", &[], TIMEOUT)?;
    if status == 200 {
        let mut out = std::io::stdout();
        writeln!(out, "{base}: reloaded")?;
        if !body.trim().is_empty() {
            writeln!(out, "{}", body.trim())?;
        }
        return Ok(());
    }
    let body = body.trim();
    Err(Failure::Other(match body.is_empty() {
        true => format!("{base} answered {status}: is that stackwatch?"),
        false => body.to_owned(),
    }))
}
