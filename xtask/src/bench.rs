//! `cargo xtask bench WHAT`: stackwatch beside what it replaces, in the same run.

mod promql;

use anyhow::{Result, bail};

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.split_first() {
        Some((what, rest)) if what == "promql" => promql::run(rest),
        _ => bail!("bench what? promql"),
    }
}
