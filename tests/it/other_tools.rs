//! Other people's tools find what they expect: amtool, promtool, and Grafana's first calls.

use std::process::{Command, Stdio};
use std::time::Duration;

use stackwatch_tests::http;
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

fn tool(name: &str, args: &[&str]) -> Option<(bool, String)> {
    let out = Command::new(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [out.stdout, out.stderr].concat();
    Some((
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn amtool_lists_alerts_and_manages_silences_that_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut stackwatch =
        Stackwatch::start(dir.path(), "collect: { docker: false, interval: 1s }\n");
    let url = format!("--alertmanager.url=http://{}", stackwatch.listen());
    let amtool = |args: &[&str]| {
        let all: Vec<&str> = [url.as_str()]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        tool("amtool", &all)
    };
    if amtool(&["--version"]).is_none() {
        return skipped("no amtool");
    }
    let sent = http::request(
        "POST",
        stackwatch.listen(),
        "/api/v2/alerts",
        &[("Content-Type", "application/json")],
        r#"[{"labels": {"alertname": "Hand", "severity": "warning"}, "annotations": {"summary": "made by hand"}}]"#,
    );
    assert_eq!(sent.unwrap().status, 200);
    let (ok, text) = amtool(&["alert", "query", "alertname=Hand"]).unwrap();
    assert!(
        ok && text.contains("Hand") && text.contains("made by hand"),
        "{text}"
    );

    let (ok, id) = amtool(&[
        "silence",
        "add",
        "alertname=Hand",
        "--duration=1h",
        "--comment=test",
        "--author=me",
    ])
    .unwrap();
    assert!(ok, "{id}");
    let id = id
        .lines()
        .find(|l| l.len() == 36)
        .unwrap_or_else(|| panic!("no silence id in: {id}"))
        .to_owned();
    let silenced = |stackwatch: &Stackwatch| {
        let alerts = stackwatch
            .get("/api/v2/alerts?filter=alertname%3DHand")
            .json();
        alerts[0]["status"]["silencedBy"] == serde_json::json!([id])
    };
    assert!(silenced(&stackwatch));
    stackwatch.kill_and_restart();
    assert!(
        silenced(&stackwatch),
        "the silence and the alert survive kill -9"
    );

    let (ok, text) = amtool(&["silence", "expire", &id]).unwrap();
    assert!(ok, "{text}");
    assert!(!silenced(&stackwatch));
}

#[test]
fn promtool_accepts_the_shipped_packs_and_our_metrics() {
    let Some((_, version)) = tool("promtool", &["--version"]) else {
        return skipped("no promtool");
    };
    let packs = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/packs");
    for pack in ["host.yml", "docker.yml", "stackwatch.yml", "gateway.yml"] {
        let (ok, text) = tool("promtool", &["check", "rules", &format!("{packs}/{pack}")]).unwrap();
        assert!(ok, "{version}\n{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), "collect: { docker: false, interval: 1s }\n");
    let up = eventually("promtool's query", Duration::from_secs(15), || {
        let (ok, text) = tool(
            "promtool",
            &[
                "query",
                "instant",
                &format!("http://{}", stackwatch.listen()),
                "up == 1",
            ],
        )?;
        (ok && text.contains("job=\"node\"")).then_some(text)
    });
    assert!(up.contains("=> 1 @["), "{up}");
}

#[test]
fn grafanas_first_calls_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), "collect: { docker: false, interval: 1s }\n");
    // Save & Test of the three data sources.
    let answer = stackwatch.get("/api/v1/query?query=1%2B1&time=4").json();
    assert_eq!(
        answer["data"],
        serde_json::json!({"resultType": "scalar", "result": [4, "2"]})
    );
    let build = stackwatch.get("/api/v1/status/buildinfo").json();
    assert!(build["data"].get("features").is_none(), "{build}");
    let answer = stackwatch
        .get("/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000")
        .json();
    assert_eq!(answer["data"]["result"][0]["value"][1], "2", "{answer}");
    assert_eq!(stackwatch.get("/api/v2/status").status, 200);
    assert_eq!(stackwatch.get("/alertmanager/api/v2/status").status, 404);
    // The editor.
    eventually("metric names", Duration::from_secs(15), || {
        let names = stackwatch.get("/api/v1/label/__name__/values").json();
        names["data"]
            .as_array()?
            .iter()
            .any(|n| n == "node_load1")
            .then_some(())
    });
    // The exemplar probe speaks milliseconds.
    let probe =
        stackwatch.get("/api/v1/query_exemplars?query=test&start=1795250000000&end=1795250060000");
    assert_eq!(probe.json()["status"], "success", "{}", probe.body);
    // A panel.
    let form = "query=rate(node_cpu_seconds_total[1m])&start=1795250000&end=1795250060&step=15";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let panel = http::request(
        "POST",
        stackwatch.listen(),
        "/api/v1/query_range",
        &headers,
        form,
    )
    .unwrap();
    assert_eq!(
        panel.json()["data"]["resultType"],
        "matrix",
        "{}",
        panel.body
    );
}
