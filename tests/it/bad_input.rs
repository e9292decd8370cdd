//! What is wrong is said once, clearly, with the right exit code: 2 for configuration, 1 for the rest.

use std::path::Path;
use std::process::{Command, Output};

use stackwatch_tests::stackwatch::{binary, free_address};

/// Runs the binary in `dir` and waits for it to end (it must, within `timeout`'s 20 s).
fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new("timeout")
        .arg("20")
        .arg(binary())
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// `config` as stackwatch.yml makes it end with exit code 2 and a message that holds all of `expect`.
#[track_caller]
fn check(config: &str, expect: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("stackwatch.yml"), config).unwrap();
    let out = run(dir.path(), &["--listen", &free_address()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    for part in expect {
        assert!(said.contains(part), "{part:?} is missing in:\n{said}");
    }
    assert!(
        !dir.path().join("data").exists(),
        "a refused configuration leaves nothing behind"
    );
}

#[test]
fn a_wrong_configuration_names_file_line_and_column() {
    check(
        "collect:\n  intervall: 5s\n",
        &[
            "stackwatch.yml:2:3",
            "intervall",
            "did you mean",
            "interval",
        ],
    );
    check(
        "collect:\n  interval: 5 min\n",
        &["stackwatch.yml:2:", "5m"],
    );
    check("collect: [\n", &["stackwatch.yml:"]);
    check(
        "collect:\n  scrape_configs:\n    - static_configs: []\n",
        &["stackwatch.yml:3:", "job_name"],
    );
    check(
        "storage:\n  dir: ${NOT_SET_ANYWHERE}\n",
        &["stackwatch.yml:2:", "NOT_SET_ANYWHERE"],
    );
    check(
        "alerting:\n  route: { receiver: nobody }\n  receivers: [{ name: somebody }]\n",
        &["stackwatch.yml:", "nobody"],
    );
}

#[test]
fn a_wrong_rule_names_file_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("stackwatch.yml"),
        "rules: { files: [bad.yml] }\n",
    )
    .unwrap();
    let rules =
        "groups:\n  - name: x\n    rules:\n      - alert: A\n        expr: sum(rate(up[5m])\n";
    std::fs::write(dir.path().join("bad.yml"), rules).unwrap();
    let out = run(dir.path(), &["--listen", &free_address()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("bad.yml:5:"), "{said}");
}

#[test]
fn an_occupied_port_is_one_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let out = run(dir.path(), &["--listen", &address]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.to_lowercase().contains("in use"),
        "{said}"
    );
}

#[test]
fn an_unusable_data_directory_is_one_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data"), "a file is in the way").unwrap();
    let out = run(dir.path(), &["--listen", &free_address()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("data"), "{said}");
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first =
        stackwatch_tests::stackwatch::Stackwatch::start(dir.path(), "collect: { docker: false }\n");
    let out = run(
        dir.path(),
        &[
            "--config",
            "stackwatch.yml",
            "--data-dir",
            "data",
            "--listen",
            &free_address(),
        ],
    );
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("data"), "{said}");
    assert_eq!(first.get("/-/healthy").status, 200);
}

#[test]
fn a_missing_docker_socket_is_a_warning_and_the_rest_runs() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        "collect:\n  interval: 1s\n  docker: { socket: unix:///nonexistent/docker.sock }\n";
    let stackwatch = stackwatch_tests::stackwatch::Stackwatch::start(dir.path(), config);
    stackwatch_tests::eventually("host samples", std::time::Duration::from_secs(15), || {
        stackwatch.value("node_load1")
    });
    let log = stackwatch.log();
    assert_eq!(
        log.matches("/nonexistent/docker.sock").count(),
        1,
        "said once:\n{log}"
    );
    assert_eq!(
        stackwatch.get("/health").status,
        200,
        "{}",
        stackwatch.get("/health").body
    );
}

#[test]
fn unknown_paths_are_real_404s() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch =
        stackwatch_tests::stackwatch::Stackwatch::start(dir.path(), "collect: { docker: false }\n");
    for path in [
        "/nothing",
        "/api/v1/nothing",
        "/loki/api/v1/nothing",
        "/api/v2/nothing",
    ] {
        let answer = stackwatch.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.body.contains("page not found"),
            "{path}: {}",
            answer.body
        );
    }
}
