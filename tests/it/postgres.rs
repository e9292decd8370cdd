//! A real PostgreSQL server watched by the real binary.

mod side_by_side;
mod trouble;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use stackwatch_tests::eventually;
use stackwatch_tests::postgres::Postgres;
use stackwatch_tests::stackwatch::Stackwatch;

const LIMIT: Duration = Duration::from_secs(30);
/// The monitoring role's password: nobody may ever read it anywhere.
const PASSWORD: &str = "pg-s3cret-word";

/// A server with the role `mon`, which may do what the documentation asks for and no more.
fn server(dir: &Path, settings: &str) -> Option<Postgres> {
    let server = Postgres::start(dir, settings)?;
    server.sql(
        "postgres",
        &format!("CREATE ROLE mon LOGIN PASSWORD '{PASSWORD}'; GRANT pg_monitor TO mon"),
    );
    Some(server)
}

fn dsn(server: &Postgres) -> String {
    let port = server.port();
    format!("postgresql://mon:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// Watches the server each second; `more` are further keys of the entry.
fn watch(dir: &Path, dsn: &str, more: &str) -> Stackwatch {
    watch_every(1, dir, dsn, more)
}

/// As [`watch`], at another interval.
fn watch_every(seconds: u32, dir: &Path, dsn: &str, more: &str) -> Stackwatch {
    let config = format!(
        "collect:\n  interval: {seconds}s\n  timeout: {seconds}s\n  host: false\n  docker: false\n  postgres:\n    \
         - {{ dsn: '{dsn}', slow_interval: 1s{more} }}\nlogs: {{ docker: false }}\nrules: {{ packs: [] }}\n"
    );
    Stackwatch::start(dir, &config)
}

/// The target as the API shows it.
fn target(stackwatch: &Stackwatch) -> Value {
    let answer = stackwatch.get("/api/v1/targets?scrapePool=postgres").json();
    answer["data"]["activeTargets"][0].clone()
}

fn until_health(stackwatch: &Stackwatch, health: &str) -> Value {
    eventually(&format!("the target is {health}"), LIMIT, || {
        Some(target(stackwatch)).filter(|t| t["health"] == health)
    })
}

/// Waits until so many more collections have been made.
fn after_collections(stackwatch: &Stackwatch, more: f64) {
    let count = || stackwatch.value("pg_exporter_scrapes_total");
    let before = count().unwrap_or(0.0);
    eventually("collections", LIMIT, || {
        count().filter(|now| *now >= before + more)
    });
}

/// Waits for a note of the target that contains `text`.
fn until_note(stackwatch: &Stackwatch, text: &str) -> String {
    eventually(&format!("a note with {text:?}"), LIMIT, || {
        let notes = target(stackwatch)["notes"].clone();
        let notes = notes.as_array().cloned().unwrap_or_default();
        let note = notes
            .iter()
            .filter_map(Value::as_str)
            .find(|n| n.contains(text));
        note.map(str::to_owned)
    })
}

/// The password is nowhere to be read.
fn no_password(stackwatch: &Stackwatch) {
    assert!(!stackwatch.log().contains(PASSWORD), "{}", stackwatch.log());
    for path in [
        "/api/v1/targets",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/metrics",
        "/health",
        "/api/v1/series?match%5B%5D=%7Bjob%3D%22postgres%22%7D",
    ] {
        let answer = stackwatch.get(path);
        assert!(!answer.body.contains(PASSWORD), "{path}");
    }
}
