//! `cargo xtask bench scrub` and `exposition`: MB/s per core of what reads text. The measuring itself
//! stands beside the code, in `benches/` of its crate, and compiles without the rest.

use anyhow::{Result, bail};
use stackwatch_tests::cargo;

/// Runs a benchmark of a crate.
pub(crate) fn run(package: &str, bench: &str) -> Result<()> {
    let status = cargo::command()
        .args(["bench", "--locked", "-p", package, "--bench", bench])
        .status()?;
    if !status.success() {
        bail!("the benchmark {bench} of {package} failed");
    }
    Ok(())
}
