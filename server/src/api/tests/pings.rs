//! `/ping/…` as healthchecks.io's clients use it.

use super::*;

/// Two heartbeats: one by its name, one by its key.
pub(super) fn heartbeats() -> collector::Heartbeats {
    let open = collector::HeartbeatConfig {
        name: "backup".to_owned(),
        period: Some(Duration::from_secs(86_400)),
        ..Default::default()
    };
    let keyed = collector::HeartbeatConfig {
        name: "keyed".to_owned(),
        ping_key: Some(collector::scrape::Secret("k3y".to_owned())),
        ..open.clone()
    };
    let control = Arc::new(model::control::MemoryControlStore::default());
    collector::Heartbeats::open(control, &[open, keyed], ten_minutes()).unwrap()
}

#[tokio::test]
async fn pings_are_taken_in_all_their_forms() {
    let server = Server::ready().await;
    server.check("/ping/backup", 200, "OK").await;
    server.check("/ping/backup/start?rid=1-2", 200, "OK").await;
    server.check("/ping/backup/", 200, "OK").await;
    server.check("/ping/some-key/backup/fail", 200, "OK").await;
    server.check("/ping/k3y/keyed/0", 200, "OK").await;
    server.check("/ping/keyed", 404, "not found").await;
    server.check("/ping/nobody", 404, "not found").await;
    let malformed = "invalid url format";
    server.check("/ping/backup/256", 400, malformed).await;
    server.check("/ping/a/backup/x", 400, malformed).await;
    let client = reqwest::Client::new();
    let url = format!("{}/ping/backup/3", server.base);
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    // What `curl --data-raw` sends is no form, whatever it says.
    let posted = client
        .post(&url)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("100 %zz & done")
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 200);
    let put = client.put(&url).send().await.unwrap();
    assert_eq!(put.status(), 405);
}
