//! Which names of community dashboards and alert rules are told, when everything there is a
//! collector for runs here. `cargo xtask coverage` has this test write the table that
//! docs/dashboards.md shows; otherwise it is held against that table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stackwatch_tests::postgres::Postgres;
use stackwatch_tests::redis::{Program, Redis};
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::systemd::Systemd;
use stackwatch_tests::{docker, eventually, skipped};

const LIMIT: Duration = Duration::from_secs(90);
const SHARED: &str = "../../shared/exporter-metrics";
const PAGE: &str = "../docs/dashboards.md";

const HEAD: &str = "# Dashboards and rules

What community dashboards and rules ask for, and how much of it is there when every collector runs:
this host, systemd, containers, PostgreSQL, Redis, nginx, Kong 2.8 and 3.9, and probes. Made by
`cargo xtask coverage` on a virtual machine without hardware sensors; a test holds it against what is
told. Groups that start with APA are awesome-prometheus-alerts. What other programs expose themselves
(Docker's engine, Traefik, Caddy, Loki …) is there once they are scraped.

| dashboard or group | used | present | missing |
|---|---|---|---|
";

/// One nginx for all that is asked over HTTP: itself, Kong's metrics, and TLS.
fn nginx(dir: &Path) -> Option<(Program, [String; 4])> {
    let addresses = [(); 4].map(|()| free_address());
    let [plain, kong3, kong2, tls] = &addresses;
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(dir)
        .output()
        .ok()?;
    assert!(made.status.success(), "openssl");
    let shared = std::fs::canonicalize(SHARED).ok()?;
    let kong = |listen: &str, file: &str| {
        let file = shared.join(file);
        format!(
            "server {{ listen {listen}; default_type text/plain; location = /metrics {{ alias {}; }} }}\n",
            file.display()
        )
    };
    let conf = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr;
user root; events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {{ listen {plain}; location = /stub_status {{ stub_status; }} location / {{ return 204; }} }}
  {}{}
  server {{ listen {tls} ssl; ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; location / {{ return 204; }} }} }}",
        kong(kong3, "kong-3.9.1.prom"),
        kong(kong2, "kong-2.8.1.prom"),
        at = dir.display()
    );
    std::fs::write(dir.join("nginx.conf"), conf).unwrap();
    let prefix = format!("{}/", dir.display());
    let args = ["-p", prefix.as_str(), "-c", "nginx.conf", "-e", "stderr"];
    let program = ["nginx", "/usr/sbin/nginx"]
        .iter()
        .find_map(|name| Program::start(name, dir, &args))?;
    Some((program, addresses))
}

#[test]
fn the_table_of_dashboards_is_true() {
    let table = format!("{SHARED}/dashboard-metrics.tsv");
    let Ok(table) = std::fs::read_to_string(table) else {
        return skipped("no ../shared/exporter-metrics beside the repository");
    };
    let Some(told) = names() else {
        return;
    };
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in table.lines().skip(1) {
        let mut columns = row.split('\t');
        // Some rows are patterns.
        let is_name = |m: &&str| {
            m.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
        };
        let (dashboard, metric) = (columns.next(), columns.next().filter(is_name));
        if let (Some(dashboard), Some(metric)) = (dashboard, metric) {
            used.entry(dashboard).or_default().insert(metric);
        }
    }
    let mut page = HEAD.to_owned();
    for (dashboard, metrics) in &used {
        let missing: Vec<&str> = metrics
            .iter()
            .copied()
            .filter(|m| !told.contains(*m))
            .collect();
        let (all, present) = (metrics.len(), metrics.len() - missing.len());
        let missing = missing.join(" ");
        writeln!(page, "| {dashboard} | {all} | {present} | {missing} |").unwrap();
    }
    if std::env::var_os("STACKWATCH_WRITE_COVERAGE").is_some() {
        std::fs::write(PAGE, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(PAGE).unwrap();
    let (before, now) = (rows(&written), rows(&page));
    for (dashboard, (all, missing)) in &now {
        let (said, known) = before
            .get(dashboard)
            .unwrap_or_else(|| panic!("cargo xtask coverage: {dashboard} is not in the table"));
        assert_eq!(all, said, "cargo xtask coverage: {dashboard}");
        let lost: Vec<_> = missing.difference(known).collect();
        assert!(lost.is_empty(), "{dashboard}: no longer told: {lost:?}");
        // Another kernel may tell more.
        let found: Vec<_> = known.difference(missing).collect();
        if !found.is_empty() {
            println!("{dashboard}: told here, missing in the table: {found:?}");
        }
    }
    assert_eq!(before.len(), now.len(), "cargo xtask coverage");
    assert!(written.starts_with(HEAD), "cargo xtask coverage");
}

/// Dashboard to the number of its names and those that are missing.
fn rows(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = page.lines().filter(|l| l.starts_with("| ")).skip(1);
    rows.map(|row| {
        let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let missing = columns[3].split_whitespace().map(str::to_owned).collect();
        (columns[0].to_owned(), (columns[1].to_owned(), missing))
    })
    .collect()
}

/// The names of all that is told; `None`, after saying so, where something is not installed.
fn names() -> Option<BTreeSet<String>> {
    let dir = tempfile::tempdir().unwrap();
    let missing = |what: &str| {
        skipped(what);
        None
    };
    if !docker::available() {
        return missing("no Docker engine");
    }
    let _container = docker::run(
        "coverage",
        "web",
        &["--cpus=0.5", "--memory=64m"],
        "while :; do sleep 1; done",
    );
    let statements = "shared_preload_libraries = 'pg_stat_statements'\n";
    let Some(postgres) = Postgres::start(dir.path(), statements) else {
        return missing("no PostgreSQL");
    };
    postgres.sql(
        "postgres",
        "CREATE ROLE mon LOGIN PASSWORD 'x'; GRANT pg_monitor TO mon",
    );
    postgres.sql("postgres", "CREATE EXTENSION pg_stat_statements");
    postgres.sql("postgres", "CREATE TABLE t(a int)");
    postgres.sql(
        "postgres",
        "SELECT pg_create_physical_replication_slot('s', true)",
    );
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return missing("no redis-server");
    };
    redis.cli(&["SET", "k", "v", "EX", "1000"]);
    let Some((_nginx, [plain, kong3, kong2, tls])) = nginx(dir.path()) else {
        return missing("no nginx or openssl");
    };
    let idle = (
        "idle.socket",
        "[Socket]\nListenStream=%t/idle\nAccept=yes\n",
    );
    let serve = ("idle@.service", "[Service]\nExecStart=true\n");
    let Some(systemd) = Systemd::start(dir.path(), &[idle, serve], "idle.socket") else {
        return missing("no systemd or no dbus-daemon, or no right to start them");
    };
    let bus = systemd.socket();
    let (pg, redis, bus) = (postgres.port(), redis.port, bus.display());
    let config = format!(
        "collect:
  interval: 2s
  host: {{ systemd: {{ socket: '{bus}' }} }}
  postgres: [{{ dsn: 'postgresql://mon:x@127.0.0.1:{pg}/postgres?sslmode=disable', interval: 5s, timeout: 5s, slow_interval: 5s }}]
  redis: [{{ url: 'redis://127.0.0.1:{redis}', check_single_keys: [k] }}]
  nginx: [{{ url: 'http://{plain}/stub_status' }}]
  kong: [{{ url: 'http://{kong3}' }}, {{ url: 'http://{kong2}' }}]
  probes: [{{ url: 'http://{plain}/' }}, {{ url: 'https://{tls}/', tls_config: {{ insecure_skip_verify: true }} }}, {{ url: 'tcp://{plain}' }}, {{ url: 'icmp://127.0.0.1' }}]
"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    for name in [
        "node_load1",
        "node_systemd_unit_state",
        "container_fs_usage_bytes{name!=\"\"}",
        "pg_stat_statements_calls_total",
        "pg_settings_max_connections",
        "pg_database_size_bytes",
        "pg_stat_user_tables_n_live_tup",
        "pg_replication_slots_active",
        "redis_commands_total",
        "redis_key_size",
        "nginx_up == 1",
        "kong_http_requests_total",
        "probe_tls_version_info",
        "probe_icmp_duration_seconds",
        "up{job=\"stackwatch\"}",
        "{__name__=\"name:container_memory_limit:ratio\"}",
    ] {
        eventually(name, LIMIT, || stackwatch.value(name));
    }
    let answer = stackwatch.get("/api/v1/label/__name__/values").json();
    let names = answer["data"].as_array().unwrap().iter();
    Some(names.map(|n| n.as_str().unwrap().to_owned()).collect())
}
