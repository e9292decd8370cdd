//! `cargo xtask bench tail [MEGABYTES [CONTAINERS]]`: containers' logs from the engine to durable
//! storage, and what many chatty containers cost.
//!
//! An engine of its own holds a container's log of so many megabytes, of lines as services write
//! them. The release binary starts with nothing stored, reads it in the engine's files and again by
//! its API, and is asked until the last line is there. Then so many containers write ten lines a
//! second each for a minute.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stackwatch_tests::docker::IMAGE;
use stackwatch_tests::engine::PrivateEngine;
use stackwatch_tests::stackwatch::free_address;
use stackwatch_tests::{cargo, http};

use super::peer::{Cost, Running};

/// A line with a number before it, 200 bytes together.
const LINE: &str = " level=info caller=handler.go:117 msg=\"handled request\" method=GET path=/v1/users/12345 status=200 duration=3.117ms bytes=1832 agent=\"Mozilla/5.0 (X11; Linux x86_64)\" trace_id=4bf92f3577b34da6";
const LIMIT: Duration = Duration::from_secs(600);
const CHATTY_TIME: Duration = Duration::from_secs(60);

pub(super) fn run(args: &[String]) -> Result<()> {
    let megabytes: u64 = args.first().map_or(Ok(200), |a| a.parse())?;
    let containers: usize = args.get(1).map_or(Ok(50), |a| a.parse())?;
    let binary = cargo::release_binary()?;
    let engine = PrivateEngine::start(&[]).context("no Docker engine of its own")?;
    let lines = megabytes * 1_000_000 / 200;
    // `yes` writes faster than a shell; the last line says that all was read.
    let script = format!(
        "yes 'x{LINE}' | dd bs=200000 count={} iflag=fullblock 2>/dev/null; echo the-end",
        lines / 1000
    );
    run_container(&engine, "loud", &script)?;
    let began = Instant::now();
    while engine
        .docker(&["inspect", "-f", "{{.State.Running}}", "loud"])
        .as_deref()
        != Some("false")
    {
        ensure!(began.elapsed() < LIMIT, "the container does not end");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("| read | {megabytes} MB | CPU | per core | resident | peak |");
    println!("|---|---|---|---|---|---|");
    for read in ["auto", "api"] {
        let dir = tempfile::tempdir()?;
        let (ours, address) = start(&binary, &dir, &engine, read)?;
        let began = Instant::now();
        while !is_stored(&address, "{container=\"loud\"} |= \"the-end\"")? {
            ensure!(began.elapsed() < LIMIT, "the last line does not come");
            std::thread::sleep(Duration::from_millis(100));
        }
        let seconds = began.elapsed().as_secs_f64();
        let cost = ours.cost().context("it ended early")?;
        row(read, seconds, &cost, cost.cpu_seconds, megabytes as f64);
    }
    let script = format!(
        "while :; do for i in 0 1 2 3 4 5 6 7 8 9; do echo \"$i{LINE}\"; done; sleep 1; done"
    );
    for number in 0..containers {
        run_container(&engine, &format!("chatty-{number}"), &script)?;
    }
    for read in ["auto", "api"] {
        let dir = tempfile::tempdir()?;
        let (ours, _) = start(&binary, &dir, &engine, read)?;
        std::thread::sleep(Duration::from_secs(15));
        let before = ours.cost().context("it ended early")?;
        std::thread::sleep(CHATTY_TIME);
        let cost = ours.cost().context("it ended early")?;
        let cpu = 100.0 * (cost.cpu_seconds - before.cpu_seconds) / CHATTY_TIME.as_secs_f64();
        println!(
            "{read}: {containers} containers of ten lines a second: {:.1} MB resident, {:.1} MB at the peak, {cpu:.1} % of a core",
            cost.rss_mb, cost.rss_peak_mb
        );
    }
    Ok(())
}

fn run_container(engine: &PrivateEngine, name: &str, script: &str) -> Result<()> {
    let name = format!("--name={name}");
    let words = [
        "run",
        "-d",
        "--network=none",
        &name,
        IMAGE,
        "sh",
        "-c",
        script,
    ];
    engine
        .docker(&words)
        .with_context(|| format!("docker run {name}"))?;
    Ok(())
}

fn start(
    binary: &std::path::Path,
    dir: &tempfile::TempDir,
    engine: &PrivateEngine,
    read: &str,
) -> Result<(Running, String)> {
    let address = free_address();
    let config = format!(
        "collect: {{ host: false, docker: {{ socket: '{}' }} }}\nlogs: {{ docker: {{ read: {read} }} }}\n",
        engine.address()
    );
    let file = dir.path().join("stackwatch.yml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(&file)
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .args(["--listen", &address])
        .current_dir(dir.path());
    Ok((Running::start(command, dir.path())?, address))
}

fn is_stored(address: &str, selector: &str) -> Result<bool> {
    let path = format!(
        "/loki/api/v1/query_range?query={}&limit=1",
        http::encode(selector)
    );
    let answer = http::request("GET", address, &path, &[], "");
    Ok(answer.is_ok_and(|a| a.status == 200 && a.body.contains("the-end")))
}

fn row(read: &str, seconds: f64, cost: &Cost, cpu_seconds: f64, megabytes: f64) {
    println!(
        "| {read} | {seconds:.1} s, {:.1} MB/s | {cpu_seconds:.1} s | {:.1} MB/s | {:.1} MB | {:.1} MB |",
        megabytes / seconds,
        megabytes / cpu_seconds,
        cost.rss_mb,
        cost.rss_peak_mb
    );
}
