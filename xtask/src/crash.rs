//! `cargo xtask crash [KILLS [SEED]]`: the crash harness against the release binary.

use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use stackwatch_tests::{cargo, crash};

const KILLS_DEFAULT: u32 = 200;

pub(crate) fn run(args: &[String]) -> Result<()> {
    let kills = args.first().map_or(Ok(KILLS_DEFAULT), |a| a.parse());
    let kills = kills.context("KILLS is a number")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = args.get(1).map_or(Ok(now.as_secs()), |a| a.parse());
    let seed = seed.context("SEED is a number")?;
    let dir = tempfile::tempdir()?;
    let report = crash::run(&cargo::release_binary()?, dir.path(), kills, seed);
    if report.refused > 0 {
        bail!("{} requests within the bounds were refused", report.refused);
    }
    Ok(())
}
