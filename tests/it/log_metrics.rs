//! Lines as PromQL sees them, and alerts over lines: pushed ones and those of a file.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stackwatch_tests::sink::{Received, Sink};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, http};

const LIMIT: Duration = Duration::from_secs(30);

const RULES: &str = r#"
groups:
  - name: lines
    interval: 1s
    rules:
      - alert: Refused
        expr: sum by (service_name) (count_over_time({service_name=~"shop|app"} |= "refused" [5m])) > 2
        annotations: { summary: '{{ $labels.service_name }}: {{ $value }}' }
      - record: shop:requests:count5m
        expr: sum(count_over_time({service_name="shop"}[5m]))
        engine: logql
      - alert: RefusedWhileCounted
        expr: |
          sum(count_over_time({service_name="app"} |= "refused" [5m])) > 2
            and on() sum(log_lines_total{service_name="app"}) >= 4
        for: 1s
"#;

fn config(dir: &Path, webhook: &Sink) -> String {
    format!(
        r#"
collect: {{ interval: 1s, host: false, docker: false }}
logs:
  files: [{{ path: {}/app.log, job: app }}]
  metrics:
    - name: shop_request_seconds
      type: histogram
      match: '{{service_name="shop"}} | json | __error__=""'
      value: duration(took)
      labels: [route]
      buckets: [0.1, 1]
    - {{ name: app_refused_total, type: counter, match: '{{job="app"}} |= "refused" | logfmt', labels: [peer] }}
rules: {{ packs: [], files: ["*.rules.yml"] }}
alerting:
  route: {{ receiver: hook, group_by: [alertname, service_name], group_wait: 0s, group_interval: 1s }}
  receivers: [{{ name: hook, webhook_configs: [{{ url: "http://{}/" }}] }}]
"#,
        dir.display(),
        webhook.address()
    )
}

fn append(dir: &Path, lines: &str) {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("app.log"))
        .unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

fn push(stackwatch: &Stackwatch, body: &Value) {
    let headers = [("Content-Type", "application/json")];
    let path = "/loki/api/v1/push";
    let body = body.to_string();
    let answer = http::request("POST", stackwatch.listen(), path, &headers, body.as_bytes());
    assert_eq!(answer.unwrap().status, 204);
}

/// The values of `expr` as `LABEL=VALUE`, sorted.
fn by(stackwatch: &Stackwatch, label: &str, expr: &str) -> String {
    let mut all: Vec<String> = stackwatch
        .query(expr)
        .iter()
        .map(|s| {
            let name = s["metric"][label].as_str().unwrap_or("-");
            format!("{name}={}", s["value"][1].as_str().unwrap_or_default())
        })
        .collect();
    all.sort();
    all.join(" ")
}

fn becomes(stackwatch: &Stackwatch, label: &str, expr: &str, expect: &str) {
    let mut seen = String::new();
    for _ in 0..150 {
        seen = by(stackwatch, label, expr);
        if seen == expect {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{expr}: {seen}, not {expect}");
}

#[test]
fn lines_are_counted_once_become_metrics_and_fire_alerts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("lines.rules.yml"), RULES).unwrap();
    let webhook = Sink::start("");
    let mut stackwatch = Stackwatch::start(dir.path(), &config(dir.path(), &webhook));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_nanos()).unwrap();

    // Ten requests that went well and three that did not; the answer is lost, and all is sent again.
    let values: Vec<Value> = (0..13)
        .map(|i| {
            let (level, text) = if i < 10 { ("info", "ok") } else { ("error", "refused") };
            let took = ["50ms", "0.5s", "2s"][i % 3];
            let line = format!("{{\"level\":\"{level}\",\"msg\":\"{text} {i}\",\"route\":\"/r{}\",\"took\":\"{took}\"}}", i % 2);
            json!([(now + i as u64).to_string(), line])
        })
        .collect();
    let body = json!({"streams": [{"stream": {"service_name": "shop"}, "values": values}]});
    push(&stackwatch, &body);
    push(&stackwatch, &body);
    let mut lines = "level=info msg=starting\n".to_owned();
    for i in 0..3 {
        writeln!(lines, "level=warn msg=refused n={i} peer=db").unwrap();
    }
    append(dir.path(), &lines);

    // 1. By level, as many as were pushed.
    let shop = "log_lines_total{job=\"logs\",service_name=\"shop\"}";
    becomes(&stackwatch, "level", shop, "error=3 info=10");
    let app = "log_lines_total{service_name=\"app\"}";
    becomes(&stackwatch, "level", app, "info=1 warn=3");
    let bytes = stackwatch.value("sum(log_bytes_total{service_name=\"app\"})");
    assert_eq!(bytes, Some((lines.len() - 4) as f64));
    // The first error of a service is an increase.
    let increase = "increase(log_lines_total{service_name=\"shop\",level=\"error\"}[1m])";
    assert!(stackwatch.value(increase) >= Some(3.0));
    assert_eq!(stackwatch.value("up{job=\"logs\"}"), Some(1.0));

    // 2. Fields as metrics: 13 requests, five of 50 ms, four each of 0.5 s and 2 s.
    let total = |of: &str| format!("sum by (le) (shop_request_seconds_{of})");
    let buckets = by(&stackwatch, "le", &total("bucket"));
    assert_eq!(buckets, "+Inf=13 0.1=5 1.0=9");
    assert_eq!(by(&stackwatch, "le", &total("count")), "-=13");
    assert_eq!(by(&stackwatch, "le", &total("sum")), "-=10.25");
    assert_eq!(
        by(&stackwatch, "route", "shop_request_seconds_count"),
        "/r0=7 /r1=6"
    );
    assert_eq!(by(&stackwatch, "peer", "app_refused_total"), "db=3");
    let metadata = stackwatch
        .get("/api/v1/metadata?metric=shop_request_seconds")
        .json();
    assert_eq!(
        metadata["data"]["shop_request_seconds"][0]["type"],
        "histogram"
    );

    // 3. The alerts arrive, each with its value, one of them over lines and metrics.
    let summary = |service: &str| {
        eventually(service, LIMIT, || {
            let all: Vec<Value> = webhook.accepted().iter().map(Received::json).collect();
            let mut alerts = all.iter().filter_map(|r| r["alerts"].as_array()).flatten();
            let wanted = |a: &&Value| {
                a["labels"]["alertname"] == "Refused" && a["labels"]["service_name"] == service
            };
            Some(
                alerts.find(wanted)?["annotations"]["summary"]
                    .as_str()?
                    .to_owned(),
            )
        })
    };
    assert_eq!(summary("shop"), "shop: 3");
    assert_eq!(summary("app"), "app: 3");
    eventually("lines and metrics", LIMIT, || {
        let all = webhook.accepted();
        all.iter()
            .find(|r| r.body.contains("RefusedWhileCounted"))
            .map(drop)
    });
    becomes(&stackwatch, "-", "shop:requests:count5m", "-=13");
    let rules = stackwatch.get("/api/v1/rules").json();
    let shown = &rules["data"]["groups"][0]["rules"];
    let query = shown[0]["query"].as_str().unwrap();
    assert!(query.contains("|= \"refused\""), "{query}");
    for rule in shown.as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
    }

    // 4. A new process begins at 0 and counts what is new, not what it knows: nothing began again.
    stackwatch.kill_and_restart();
    append(dir.path(), "level=fatal msg=gone\n");
    becomes(&stackwatch, "level", app, "fatal=1 info=1 warn=3");
    let resets = "resets(log_lines_total{service_name=\"app\"}[2m])";
    becomes(&stackwatch, "level", resets, "fatal=0 info=0 warn=0");
    append(dir.path(), "level=warn msg=back\n");
    becomes(&stackwatch, "level", app, "fatal=1 info=1 warn=1");
}

#[test]
fn a_reload_takes_other_metrics_and_refuses_wrong_ones() {
    let dir = tempfile::tempdir().unwrap();
    let base = format!(
        "collect: {{ interval: 1s, host: false, docker: false }}\nlogs:\n  files: [{{ path: {}/app.log, job: app }}]\n",
        dir.path().display()
    );
    let stackwatch = Stackwatch::start(dir.path(), &base);
    let file = dir.path().join("stackwatch.yml");
    let reload = |metrics: &str| {
        std::fs::write(&file, format!("{base}  metrics:\n    - {metrics}\n")).unwrap();
        http::request("POST", stackwatch.listen(), "/-/reload", &[], "").unwrap()
    };
    let good =
        "{ name: seen_total, type: counter, match: '{job=\"app\"} | logfmt', labels: [who] }";
    assert_eq!(reload(good).status, 200);
    append(dir.path(), "who=a\nwho=b\nwho=a\n");
    becomes(&stackwatch, "who", "seen_total", "a=2 b=1");
    let refused = reload("{ name: seen_total, type: counter, match: '{job=\"app\"} |= x' }");
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(
        refused.body.contains("stackwatch.yml:5:"),
        "{}",
        refused.body
    );
    assert!(
        refused
            .body
            .contains("metric seen_total: match: parse error"),
        "{}",
        refused.body
    );
    append(dir.path(), "who=b\n");
    becomes(&stackwatch, "who", "seen_total", "a=2 b=2");
}
