//! What goes wrong with a server costs its own target and nothing else, and is told with the line
//! that helps.

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

use super::{
    LIMIT, PASSWORD, after_collections, dsn, no_password, server, target, until_health, until_note,
    watch, watch_every,
};

#[test]
fn a_server_that_is_killed_hangs_and_comes_back_costs_its_own_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    let stackwatch = watch(dir.path(), &dsn(&server), "");
    until_health(&stackwatch, "up");
    eventually("pg_up is 1", LIMIT, || stackwatch.value("pg_up == 1"));

    server.signal_all("STOP");
    let down = until_health(&stackwatch, "down");
    let error = down["lastError"].as_str().unwrap();
    assert!(error.contains("context deadline exceeded"), "{error}");
    assert!(down["lastScrapeDuration"].as_f64().unwrap() < 1.2, "{down}");
    eventually("pg_up is 0", LIMIT, || stackwatch.value("pg_up == 0"));
    eventually("up is 0", LIMIT, || {
        stackwatch.value("up{job=\"postgres\"} == 0")
    });
    eventually("old figures are gone", LIMIT, || {
        stackwatch
            .query("pg_stat_database_numbackends")
            .is_empty()
            .then_some(())
    });
    // Nobody else waits for it.
    let own = "up{job=\"stackwatch\"}";
    assert_eq!(stackwatch.value(own), Some(1.0));
    server.signal_all("CONT");
    until_health(&stackwatch, "up");

    server.kill();
    let down = until_health(&stackwatch, "down");
    assert_ne!(down["lastError"], "");
    server.restart();
    until_health(&stackwatch, "up");
    eventually("figures are back", LIMIT, || {
        stackwatch.value("pg_stat_database_numbackends")
    });
    no_password(&stackwatch);
}

#[test]
fn a_wrong_password_is_told_with_the_line_that_helps() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    server.sql("postgres", "ALTER ROLE mon PASSWORD 'another'");
    let stackwatch = watch(dir.path(), &dsn(&server), "");
    let down = until_health(&stackwatch, "down");
    let error = down["lastError"].as_str().unwrap();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(error.contains("ALTER ROLE \"mon\" PASSWORD"), "{error}");
    eventually("pg_up is 0", LIMIT, || stackwatch.value("pg_up == 0"));
    server.sql("postgres", &format!("ALTER ROLE mon PASSWORD '{PASSWORD}'"));
    until_health(&stackwatch, "up");

    server.sql("postgres", "ALTER ROLE mon NOLOGIN");
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mon'",
    );
    let down = until_health(&stackwatch, "down");
    let error = down["lastError"].as_str().unwrap();
    assert!(error.contains("not permitted to log in"), "{error}");
    no_password(&stackwatch);
}

#[test]
fn a_role_without_rights_sees_less_and_is_told_how_to_see_more() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    server.sql("postgres", "REVOKE pg_monitor FROM mon");
    let stackwatch = watch(dir.path(), &dsn(&server), "");
    let note = until_note(&stackwatch, "pg_ls_waldir");
    assert!(note.ends_with("GRANT pg_monitor TO \"mon\";"), "{note}");
    let note = until_note(&stackwatch, "stat_statements");
    assert!(
        note.contains("CREATE EXTENSION pg_stat_statements;"),
        "{note}"
    );
    // The rest goes on.
    until_health(&stackwatch, "up");
    let rest = "pg_stat_database_xact_commit";
    eventually(rest, LIMIT, || stackwatch.value(rest));
    assert!(stackwatch.query("pg_wal_segments").is_empty());
    let failed = "pg_scrape_collector_success{collector=\"wal\"}";
    assert_eq!(stackwatch.value(failed), Some(0.0));
    // Said once, not at each tick.
    after_collections(&stackwatch, 3.0);
    assert_eq!(stackwatch.log().matches("pg_ls_waldir").count(), 1);

    server.sql("postgres", "GRANT pg_monitor TO mon");
    eventually("the log's size", LIMIT, || {
        stackwatch.value("pg_wal_segments")
    });
    eventually("no note about the role", LIMIT, || {
        let notes = target(&stackwatch)["notes"].to_string();
        (!notes.contains("pg_monitor")).then_some(())
    });
}

#[test]
fn many_databases_are_read_one_after_the_other() {
    const DATABASES: usize = 120;
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "max_connections = 10\nautovacuum = off") else {
        return skipped("no PostgreSQL");
    };
    let mut script = String::new();
    server.sql(
        "template1",
        "CREATE TABLE mine(a int); INSERT INTO mine VALUES (1)",
    );
    for i in 1..=DATABASES {
        let _ = writeln!(script, "CREATE DATABASE d{i};");
    }
    server.script("postgres", &script);
    let stackwatch = watch_every(4, dir.path(), &dsn(&server), ", databases_max: 90");
    let note = until_note(&stackwatch, "databases_max");
    assert_eq!(
        note,
        "tables of 31 databases are not read: raise databases_max, now 90"
    );
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stackwatch'";
    let mut most = 0;
    let read = "count(pg_stat_user_tables_seq_scan{relname=\"mine\"})";
    eventually(
        "tables of all chosen databases",
        Duration::from_secs(90),
        || {
            let now: usize = server.sql("postgres", connections).parse().unwrap();
            most = most.max(now);
            stackwatch.value(read).filter(|n| *n == 89.0)
        },
    );
    assert!(most <= 2, "{most} connections at once");
    assert_eq!(target(&stackwatch)["health"], "up");
    // Figures that need no connection of their own are there for all of them.
    let all = stackwatch.value("count(pg_database_size_bytes)");
    assert_eq!(all, Some(DATABASES as f64 + 3.0));
}

#[test]
fn a_table_somebody_has_for_himself_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    server.sql(
        "postgres",
        "CREATE TABLE free(a int); CREATE TABLE held(a int PRIMARY KEY)",
    );
    let stackwatch = watch(dir.path(), &dsn(&server), "");
    let size = |table: &str| format!("pg_stat_user_tables_table_size_bytes{{relname=\"{table}\"}}");
    eventually("sizes", LIMIT, || stackwatch.value(&size("held")));
    let session = server.in_background(
        "postgres",
        "SET application_name = 'hog'; BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(300)",
    );
    eventually("the size of what is held is gone", LIMIT, || {
        stackwatch.query(&size("held")).is_empty().then_some(())
    });
    assert!(stackwatch.value(&size("free")).is_some());
    assert!(
        stackwatch
            .value("pg_stat_user_tables_seq_scan{relname=\"held\"}")
            .is_some()
    );
    let ok = "pg_scrape_collector_success{collector=\"stat_user_tables\"}";
    assert_eq!(stackwatch.value(ok), Some(1.0));
    drop(session);
}

#[test]
fn own_queries_are_asked_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    std::fs::write(
        dir.path().join("queries.yaml"),
        "pg_jobs:\n  query: SELECT 'mail' AS queue, 7 AS waiting\n  metrics:\n    \
         - queue: { usage: LABEL, description: q }\n    - waiting: { usage: GAUGE, description: w }\n\
         pg_slow:\n  query: SELECT pg_sleep(60), 1 AS a\n  cache_seconds: 3600\n  metrics: [{ a: { usage: GAUGE } }]\n\
         pg_writes:\n  query: CREATE TABLE evil(a int)\n  cache_seconds: 3600\n\
         pg_many:\n  query: SELECT g AS i, 1 AS a FROM generate_series(1, 20000) g\n  cache_seconds: 3600\n  \
         metrics: [{ i: { usage: LABEL } }, { a: { usage: COUNTER } }]\n",
    )
    .unwrap();
    let stackwatch = watch(dir.path(), &dsn(&server), ", queries_file: queries.yaml");
    let jobs = "pg_jobs_waiting{queue=\"mail\"}";
    assert_eq!(eventually(jobs, LIMIT, || stackwatch.value(jobs)), 7.0);
    let note = until_note(&stackwatch, "pg_slow");
    assert!(note.contains("statement timeout"), "{note}");
    let note = until_note(&stackwatch, "pg_writes");
    assert!(note.contains("read-only transaction"), "{note}");
    until_note(&stackwatch, "only the first 10000 rows");
    eventually("the first rows", LIMIT, || {
        stackwatch
            .value("count(pg_many_a)")
            .filter(|n| *n == 10_000.0)
    });
    until_health(&stackwatch, "up");
}

#[test]
fn tls_is_verified_as_far_as_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = server(dir.path(), "") else {
        return skipped("no PostgreSQL");
    };
    if !certificate(server.data()) {
        return skipped("no openssl");
    }
    server.sql("postgres", "ALTER SYSTEM SET ssl = on");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let hba = server.data().join("pg_hba.conf");
    std::fs::write(
        &hba,
        "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
    )
    .unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()");
    let root = server.data().join("server.crt");
    let base = dsn(&server).replace("sslmode=disable", "");
    let try_with = |mode: &str| -> (Stackwatch, tempfile::TempDir) {
        let here = tempfile::tempdir().unwrap();
        let stackwatch = watch(here.path(), &format!("{base}{mode}"), "");
        (stackwatch, here)
    };
    let verified = format!("sslmode=verify-full&sslrootcert={}", root.display());
    for mode in ["", "sslmode=require", &verified] {
        let (stackwatch, _dir) = try_with(mode);
        until_health(&stackwatch, "up");
    }
    let (stackwatch, _dir) = try_with("sslmode=verify-full");
    let down = until_health(&stackwatch, "down");
    let error = down["lastError"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
    let (stackwatch, _dir) = try_with("sslmode=disable");
    let down = until_health(&stackwatch, "down");
    let error = down["lastError"].as_str().unwrap();
    assert!(error.contains("add to pg_hba.conf"), "{error}");
}

/// Makes the server's key and a certificate for 127.0.0.1 that is its own root; false without
/// openssl.
fn certificate(data: &std::path::Path) -> bool {
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(data.join("server.key"))
        .arg("-out")
        .arg(data.join("server.crt"))
        .output();
    if !made.is_ok_and(|o| o.status.success()) {
        return false;
    }
    // The files are the server's, whoever we are.
    let owner = Command::new("chown")
        .arg("--reference")
        .arg(data.join("PG_VERSION"))
        .args([data.join("server.key"), data.join("server.crt")])
        .status();
    owner.is_ok_and(|s| s.success())
}
