//! `cargo xtask bench WHAT`: stackwatch beside what it replaces, in the same run.

mod collectors;
mod exposition;
mod logs;
mod peer;
mod player;
mod promql;
mod recording;
mod storage;
mod tail;
mod throughput;

use anyhow::{Result, bail};

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.split_first() {
        Some((what, rest)) if what == "collectors" => collectors::run(rest),
        Some((what, rest)) if what == "promql" => promql::run(rest),
        Some((what, _)) if what == "exposition" => throughput::run("collector", "exposition"),
        Some((what, rest)) if what == "logs" => logs::run(rest),
        Some((what, _)) if what == "scrub" => throughput::run("scrub", "throughput"),
        Some((what, rest)) if what == "storage" => storage::run(rest),
        Some((what, rest)) if what == "tail" => tail::run(rest),
        _ => bail!(
            "bench what? collectors [MINUTES [CONTAINERS]]; exposition; logs [MEGABYTES]; promql [RUNS]; scrub; storage [--series N,N] [--hours H] [--minutes M] [--only PEER,PEER]; tail [MEGABYTES [CONTAINERS]]"
        ),
    }
}
