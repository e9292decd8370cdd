//! Nodes of each kind, replayed over HTTP.

use super::*;
use crate::config::target_labels;
use crate::status::Status;
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A node that answers each path with a status and a text.
async fn node(answers: Vec<(&'static str, u16, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut read = [0; 4096];
            let n = io.read(&mut read).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&read[..n]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("");
            let found = answers.iter().find(|(p, ..)| *p == path);
            let (code, body) = found.map_or((404, ""), |(_, code, body)| (*code, body));
            let head = format!(
                "HTTP/1.1 {code} X\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = io.write_all((head + body).as_bytes()).await;
        }
    });
    address
}

/// Samples as text, the error, and the note.
async fn collect(address: &str, path: &str) -> (BTreeSet<String>, String, String) {
    let yaml = format!("url: 'http://{address}{path}'");
    let config: HttpSourceConfig = serde_saphyr::from_str(&yaml).unwrap();
    let second = Duration::from_secs(5);
    let mut kong = Kong::new(&config, second, &Bodies::default()).unwrap();
    let status = Status::default();
    let labels = target_labels("kong", "k");
    let url = config.url.as_str();
    let times = (second, second);
    let mut target = Target::new("kong", url, labels.clone(), labels, times, status.clone());
    let batch = kong.collect(&mut target, Timestamp::from_millis(1)).await;
    let samples = batch.samples.iter();
    let samples = samples.map(|s| format!("{} {}", s.labels, s.value));
    let shown = status.targets().remove(0);
    (samples.collect(), shown.last_error, shown.notes.concat())
}

fn genuine(version: &str) -> Option<String> {
    let path = format!("../../shared/exporter-metrics/kong-{version}.prom");
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("SKIPPED: {path} is not there");
    }
    text
}

fn names(samples: &BTreeSet<String>) -> BTreeSet<&str> {
    let names = samples.iter().filter_map(|s| s.split(['{', ' ']).next());
    names.filter(|n| n.starts_with("kong_")).collect()
}

#[tokio::test]
async fn kong_2_is_offered_under_the_names_of_kong_3_too() {
    let (Some(two), Some(three)) = (genuine("2.8.1"), genuine("3.9.1")) else {
        return;
    };
    let three = node(vec![("/metrics", 200, three)]).await;
    let (three, error, _) = collect(&three, "").await;
    assert_eq!(error, "");
    let two = node(vec![("/metrics", 200, two)]).await;
    let (samples, error, note) = collect(&two, "/metrics").await;
    assert_eq!((error.as_str(), note.as_str()), ("", ""));
    let mut missing = names(&three);
    missing.retain(|name| !names(&samples).contains(name));
    // Who the node is, Kong 2 does not tell.
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["kong_node_info"]);
    for line in [
        r#"kong_http_status{code="200", instance="k", job="kong", route="auth-v1-all", service="auth-v1"} 40"#,
        r#"kong_http_requests_total{code="200", instance="k", job="kong", route="auth-v1-all", service="auth-v1"} 40"#,
        r#"kong_bandwidth_bytes{direction="egress", instance="k", job="kong", route="auth-v1-all", service="auth-v1"} 8044"#,
        r#"kong_kong_latency_ms_bucket{instance="k", job="kong", le="1.0", route="auth-v1-all", service="auth-v1"} 34"#,
    ] {
        assert!(samples.contains(line), "no {line}");
    }
}

#[tokio::test]
async fn without_the_plugin_the_status_is_read_and_the_plugin_recommended() {
    let status = r#"{"server": {"connections_active": 2, "total_requests": 30}, "database": {"reachable": true}}"#;
    let address = node(vec![("/status?unit=b", 200, status.to_owned())]).await;
    let (samples, error, note) = collect(&address, "").await;
    assert_eq!(error, "");
    assert!(note.contains("add prometheus to KONG_PLUGINS"), "{note}");
    let line = r#"kong_nginx_requests_total{instance="k", job="kong", subsystem="http"} 30"#;
    assert!(samples.contains(line), "{samples:#?}");
}

#[tokio::test]
async fn a_node_that_answers_nonsense_is_down() {
    let address = node(vec![("/metrics", 200, "<html>".to_owned())]).await;
    let (samples, error, _) = collect(&address, "").await;
    assert!(error.starts_with("line 1"), "{error}");
    assert!(samples.contains(r#"up{instance="k", job="kong"} 0"#));
    let address = node(vec![("/metrics", 500, String::new())]).await;
    let (_, error, _) = collect(&address, "").await;
    assert!(error.contains("500"), "{error}");
    let address = node(Vec::new()).await;
    let (_, error, _) = collect(&address, "").await;
    assert!(error.contains("404"), "{error}");
}
