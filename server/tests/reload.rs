//! Whole applications inside the test process: start, reload, health, stop.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy only knows the tests themselves"
)]

use std::path::Path;

use stackwatch::app::{App, Settings};
use stackwatch::config::Overrides;

const QUIET: &str = "collect: { host: false, docker: false }\n";

fn settings(dir: &Path) -> Settings {
    Settings {
        config_file: Some(dir.join("stackwatch.yml")),
        overrides: Overrides {
            listen: Some("127.0.0.1:0".to_owned()),
            data_dir: Some(dir.join("data")),
            external_url: None,
            ..Overrides::default()
        },
    }
}

async fn start(dir: &Path, config: &str) -> App {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::fs::write(dir.join("stackwatch.yml"), config).unwrap();
    App::start(settings(dir)).await.unwrap()
}

async fn get(app: &App, path: &str) -> (u16, serde_json::Value) {
    let url = format!("http://{}{path}", app.address());
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(body.into()))
}

async fn groups(app: &App) -> usize {
    let (_, body) = get(app, "/api/v1/rules").await;
    body["data"]["groups"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_not_loaded_and_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "rules: { packs: [], files: [my.yml] }\n";
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "my.yml",
        "groups: [{ name: one, rules: [{ record: a:b, expr: vector(1) }] }]\n",
    );
    let app = start(dir.path(), &format!("{QUIET}{rules}")).await;
    assert_eq!(groups(&app).await, 1);

    // A rule file that is wrong, then a configuration that is.
    write(
        "my.yml",
        "groups: [{ name: two, rules: [{ record: a:b, expr: vector(1 }] }]\n",
    );
    let error = app.reloader().reload().await.unwrap_err().to_string();
    assert!(error.contains("my.yml:1:"), "{error}");
    write("stackwatch.yml", "collect: { hots: false }\n");
    let error = app.reloader().reload().await.unwrap_err().to_string();
    assert!(error.contains("did you mean host?"), "{error}");
    assert_eq!(groups(&app).await, 1);
    let (status, health) = get(&app, "/health").await;
    assert_eq!(
        (status, &health["components"]["config"]["status"]),
        (200, &"warning".into()),
        "{health}"
    );

    // Right again: in force, and the warning is gone.
    write(
        "stackwatch.yml",
        &format!("{QUIET}rules: {{ packs: [host] }}\n"),
    );
    app.reloader().reload().await.unwrap();
    assert!(groups(&app).await > 1);
    let (_, health) = get(&app, "/health").await;
    assert_eq!(health["components"]["config"]["status"], "ok");
    app.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_run_side_by_side_and_one_data_directory_has_one_owner() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = start(a.path(), QUIET).await;
    let second = start(b.path(), QUIET).await;
    assert_eq!(get(&first, "/health").await.0, 200);
    assert_eq!(get(&second, "/health").await.0, 200);

    let error = App::start(settings(a.path()))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("in use"), "{error}");
    assert_eq!(get(&first, "/health").await.0, 200);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    // What was let go can be taken again.
    start(a.path(), QUIET).await.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let app = start(dir.path(), QUIET).await;
    let silence = r#"{"matchers":[{"name":"alertname","value":"X","isRegex":false,"isEqual":true}],
        "startsAt":"2026-01-01T00:00:00Z","endsAt":"2126-01-01T00:00:00Z","createdBy":"me","comment":"why"}"#;
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v2/silences", app.address()))
        .header("Content-Type", "application/json")
        .body(silence)
        .send()
        .await
        .unwrap();
    let body = answer.text().await.unwrap();
    let id: serde_json::Value = serde_json::from_str(&body).unwrap();
    let id = id["silenceID"].as_str().unwrap().to_owned();
    app.stop().await.unwrap();

    let app = start(dir.path(), QUIET).await;
    let (status, kept) = get(&app, &format!("/api/v2/silence/{id}")).await;
    assert_eq!(
        (status, &kept["status"]["state"]),
        (200, &"active".into()),
        "{kept}"
    );
    assert_eq!(kept["comment"], "why");
    app.stop().await.unwrap();
}
