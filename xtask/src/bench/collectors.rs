//! `cargo xtask bench collectors [MINUTES [CONTAINERS]]`: what collecting costs, beside exporters.
//!
//! A PostgreSQL with a hundred tables, a Redis, this host and idle containers. Debian's exporters
//! of the first three are asked every 15 s, as Prometheus would; the release binary collects all
//! four every 15 s, and stores them. Debian has no cAdvisor: containers are in our figure alone.
//! Measured from the second minute on, so that starting costs nobody.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stackwatch_tests::docker::{self, Container};
use stackwatch_tests::postgres::Postgres;
use stackwatch_tests::redis::Redis;
use stackwatch_tests::stackwatch::free_address;
use stackwatch_tests::{cargo, http};

use super::peer::{Cost, Running};
use crate::machine;

const INTERVAL: Duration = Duration::from_secs(15);
const WARM_UP: Duration = Duration::from_secs(60);
const TABLES: usize = 100;
const PASSWORD: &str = "secret";

/// A process that collects.
struct Collector {
    name: &'static str,
    address: String,
    process: Running,
    /// Bytes of one exposition.
    bytes: usize,
}

impl Collector {
    fn cost(&self) -> Result<Cost> {
        self.process
            .cost()
            .with_context(|| format!("{} ended early", self.name))
    }
}

pub(super) fn run(args: &[String]) -> Result<()> {
    let minutes: f64 = args.first().map_or(Ok(5.0), |a| a.parse())?;
    let count: usize = args.get(1).map_or(Ok(100), |a| a.parse())?;
    let _engine = machine::Docker::ensure()?;
    ensure!(docker::available(), "no Docker engine answers");
    let binary = cargo::release_binary()?;
    let dir = tempfile::tempdir()?;
    let (Some(postgres), Some(redis)) = (server(dir.path()), Redis::start(dir.path(), &[])) else {
        bail!("PostgreSQL or Redis is missing");
    };
    redis.cli(&["debug", "populate", "10000"]);
    let _containers: Vec<Container> = (0..count)
        .map(|i| Container::run("cost", &format!("app{i}"), "sleep 1000000"))
        .collect();

    let mut all = exporters(dir.path(), &postgres, &redis)?;
    all.push(ourselves(&binary, dir.path(), &postgres, &redis)?);
    turns(&mut all, WARM_UP);
    let before: Vec<Cost> = all.iter().map(Collector::cost).collect::<Result<_>>()?;
    let began = Instant::now();
    turns(&mut all, Duration::from_secs_f64(minutes * 60.0));
    let seconds = began.elapsed().as_secs_f64();

    println!(
        "{count} containers, {TABLES} tables, {:.1} minutes\n",
        seconds / 60.0
    );
    println!("| | resident | peak | CPU, % of a core | exposition |");
    println!("|---|---|---|---|---|");
    let mut sum = (0.0, 0.0);
    let (ours, theirs) = all.split_last().context("nobody was measured")?;
    let row = |one: &Collector, before: &Cost| -> Result<(f64, f64)> {
        let cost = one.cost()?;
        let cpu = 100.0 * (cost.cpu_seconds - before.cpu_seconds) / seconds;
        println!(
            "| {} | {:.1} MB | {:.1} MB | {cpu:.2} | {:.0} KB |",
            one.name,
            cost.rss_mb,
            cost.rss_peak_mb,
            one.bytes as f64 / 1e3
        );
        Ok((cost.rss_mb, cpu))
    };
    for (one, before) in theirs.iter().zip(&before) {
        let (rss, cpu) = row(one, before)?;
        sum = (sum.0 + rss, sum.1 + cpu);
    }
    println!("| their sum | {:.1} MB | | {:.2} | |", sum.0, sum.1);
    row(ours, before.last().context("nobody was measured")?)?;
    let path = format!(
        "/api/v1/query?query={}",
        http::encode("count by (job) ({__name__=~\".+\"})")
    );
    let answer = http::request("GET", &ours.address, &path, &[], "")?;
    println!("\nour series by job: {}", answer.json()["data"]["result"]);
    Ok(())
}

fn server(dir: &Path) -> Option<Postgres> {
    let server = Postgres::start(dir, "shared_preload_libraries = 'pg_stat_statements'\n")?;
    server.sql("postgres", "CREATE EXTENSION pg_stat_statements");
    server.sql(
        "postgres",
        &format!("ALTER ROLE postgres PASSWORD '{PASSWORD}'"),
    );
    server.sql("postgres", "CREATE DATABASE shop");
    let tables: String = (0..TABLES)
        .map(|i| format!("CREATE TABLE t{i}(id int PRIMARY KEY, note text);\n"))
        .collect();
    server.script("shop", &tables);
    Some(server)
}

fn dsn(postgres: &Postgres) -> String {
    format!(
        "postgres://postgres:{PASSWORD}@127.0.0.1:{}/shop?sslmode=disable",
        postgres.port()
    )
}

/// Debian's, those that are installed.
fn exporters(dir: &Path, postgres: &Postgres, redis: &Redis) -> Result<Vec<Collector>> {
    let redis = format!("--redis.addr=redis://127.0.0.1:{}", redis.port);
    let mut found = Vec::new();
    for (name, argument) in [
        ("prometheus-node-exporter", None),
        ("prometheus-postgres-exporter", None),
        ("prometheus-redis-exporter", Some(&redis)),
    ] {
        let Some(program) = machine::find(name) else {
            println!("SKIPPED {name}: not installed");
            continue;
        };
        let address = free_address();
        let mut command = Command::new(program);
        command
            .arg(format!("--web.listen-address={address}"))
            .args(argument)
            .env("DATA_SOURCE_NAME", dsn(postgres));
        found.push(Collector {
            name,
            address,
            process: Running::start(command, dir)?,
            bytes: 0,
        });
    }
    Ok(found)
}

fn ourselves(binary: &Path, dir: &Path, postgres: &Postgres, redis: &Redis) -> Result<Collector> {
    let config = format!(
        "collect:\n  postgres: [ {{ dsn: \"{}\" }} ]\n  redis: [ {{ url: \"redis://127.0.0.1:{}\" }} ]\n\
         logs: {{ docker: false }}\nrules: {{ packs: [] }}\n",
        dsn(postgres),
        redis.port
    );
    std::fs::write(dir.join("stackwatch.yml"), config)?;
    let address = free_address();
    let mut command = Command::new(binary);
    command.args(["--config", "stackwatch.yml", "--listen", &address]);
    Ok(Collector {
        name: "stackwatch",
        address,
        process: Running::start(command, dir)?,
        bytes: 0,
    })
}

/// Asks the exporters every 15 s, as long as told; the last of `all` asks by itself.
fn turns(all: &mut [Collector], length: Duration) {
    let end = Instant::now() + length;
    let mut next = Instant::now();
    while next < end {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        for one in all.iter_mut().rev().skip(1) {
            let answer = http::request("GET", &one.address, "/metrics", &[], "");
            one.bytes = answer.map_or(0, |a| a.body.len());
        }
        next += INTERVAL;
    }
    thread::sleep(end.saturating_duration_since(Instant::now()));
}
