//! What Grafana's Prometheus data source asks, one after the other, and the form of the answers
//! it relies on (grafana/grafana: pkg/promlib, packages/grafana-prometheus).

use serde_json::Value;

use super::*;

impl Server {
    async fn data(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        succeeded(path, &body)
    }

    async fn posted(&self, path: &str, form: &str) -> Value {
        let (status, body) = self.post(path, form.to_owned()).await;
        assert_eq!(status, 200, "{path}: {body}");
        succeeded(path, &body)
    }
}

fn succeeded(path: &str, body: &str) -> Value {
    let mut answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["status"], "success", "{path}");
    answer["data"].take()
}

#[tokio::test]
async fn the_health_check_finds_a_prometheus_and_not_a_mimir() {
    let server = Server::ready().await;
    let two = server.posted("/api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!(two["resultType"], "scalar");
    assert_eq!(two["result"], serde_json::json!([4, "2"]));
    let build = server.data("/api/v1/status/buildinfo").await;
    assert!(build["version"].is_string());
    // Grafana takes whoever has these for a Mimir.
    assert!(build.get("features").is_none() && build.get("application").is_none());
    let flags = server.data("/api/v1/status/flags").await;
    assert!(flags.as_object().unwrap().values().all(Value::is_string));
    for path in ["/api/v1/rules/test/test", "/config/v1/rules", "/ruler/ring"] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert!(body.contains("page not found"), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_panel_is_filled() {
    let server = Server::ready().await;
    let form = "query=up&start=0.000&end=600.000&step=15&timeout=30s";
    let range = server.posted("/api/v1/query_range", form).await;
    assert_eq!(range["resultType"], "matrix");
    let first = &range["result"][0];
    assert_eq!(first["metric"]["job"], "a");
    assert_eq!(first["values"].as_array().unwrap().len(), 41);
    assert!(first["values"][0][0].is_number() && first["values"][0][1].is_string());
    let now = server
        .posted("/api/v1/query", "query=up&time=600.000")
        .await;
    assert_eq!(now["resultType"], "vector");
    assert_eq!(now["result"][1]["value"], serde_json::json!([600, "0"]));
    // Its times are milliseconds here.
    let probe = "/api/v1/query_exemplars?query=test&start=1700000000000&end=1700003600000";
    assert_eq!(server.data(probe).await, serde_json::json!([]));
}

#[tokio::test]
async fn the_editor_and_variables_find_names() {
    let server = Server::ready().await;
    let names = "/api/v1/label/__name__/values?start=0&end=600&limit=40000";
    assert_eq!(server.data(names).await, serde_json::json!(["up"]));
    let matched = "/api/v1/label/job/values?start=0&end=600&match[]=up%7Bjob%3D%22a%22%7D";
    assert_eq!(server.data(matched).await, serde_json::json!(["a"]));
    let escaped = "/api/v1/label/U__job/values?start=0&end=600";
    assert_eq!(server.data(escaped).await, serde_json::json!(["a", "b"]));
    let labels = server
        .posted("/api/v1/labels", "start=0&end=600&limit=40000")
        .await;
    assert_eq!(labels, serde_json::json!(["__name__", "job"]));
    assert!(server.data("/api/v1/metadata").await.is_object());
    let form = "match%5B%5D=%7B__name__%21%3D%22%22%7D&start=0&end=600&limit=40000";
    let series = server.posted("/api/v1/series", form).await;
    assert_eq!(
        series[0],
        serde_json::json!({ "__name__": "up", "job": "a" })
    );
    // Only by GET, as in Prometheus.
    let (status, _) = server.post("/api/v1/label/job/values", String::new()).await;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn the_alert_list_reads_rules() {
    let server = Server::ready().await;
    for path in [
        "/api/v1/rules",
        "/api/v1/rules?group_limit=40",
        "/api/v1/rules?type=record",
    ] {
        assert!(server.data(path).await["groups"].is_array(), "{path}");
    }
    assert!(server.data("/api/v1/alerts").await["alerts"].is_array());
}
