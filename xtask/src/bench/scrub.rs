//! `cargo xtask bench scrub`: MB/s per core of the scrubber beside patterns one after another. The
//! measuring itself is `scrub/benches/throughput.rs`, which compiles without the rest.

use anyhow::{Result, bail};
use stackwatch_tests::cargo;

pub(crate) fn run() -> Result<()> {
    let status = cargo::command()
        .args(["bench", "--locked", "-p", "scrub", "--bench", "throughput"])
        .status()?;
    if !status.success() {
        bail!("the benchmark of the scrubber failed");
    }
    Ok(())
}
