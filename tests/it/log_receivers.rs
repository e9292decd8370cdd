//! Lines that others send: Loki's push API and OTLP logs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stackwatch_tests::http::{self, Response};
use stackwatch_tests::protobuf::Message;
use stackwatch_tests::remote_write::snappy;
use stackwatch_tests::stackwatch::Stackwatch;

const CONFIG: &str = "collect: { host: false, docker: false }\n";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

fn push(stackwatch: &Stackwatch, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let answer = post(stackwatch, "/loki/api/v1/push", &[JSON], body.as_bytes());
    (answer.status, answer.body)
}

fn post(to: &Stackwatch, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    http::request("POST", to.listen(), path, headers, body).unwrap()
}

/// The streams of a query with their values, metadata apart.
fn streams(stackwatch: &Stackwatch, query: &str, start_ns: u64) -> Vec<Value> {
    let path = format!(
        "/loki/api/v1/query_range?direction=forward&query={}&start={start_ns}&end={}",
        http::encode(query),
        now_ns()
    );
    let flags = [("X-Loki-Response-Encoding-Flags", "categorize-labels")];
    let answer = http::request("GET", stackwatch.listen(), &path, &flags, "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["data"]["result"].as_array().unwrap().clone()
}

#[test]
fn what_is_pushed_to_loki_is_scrubbed_stored_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let t = now_ns() - 60_000_000_000;
    let body = json!({"streams": [
        {"stream": {"job": "app", "mail": "jane@example.com"}, "values": [
            [t.to_string(), "first of jane@example.com"],
            [(t + 1).to_string(), "second", {"trace_id": "7", "password": "hunter2"}],
        ]},
        {"stream": {"job": "old"}, "values": [
            // Out of order, and of the day before yesterday.
            [(t + 5).to_string(), "new"],
            [(t - 2 * 86_400_000_000_000).to_string(), "old"],
        ]},
    ]});
    assert_eq!(push(&stackwatch, &body), (204, String::new()));
    // The answer was lost; the sender tries again, this time as protobuf.
    let entry = |at: u64, line: &str| {
        let seconds = i64::try_from(at / 1_000_000_000).unwrap();
        let nanos = i64::try_from(at % 1_000_000_000).unwrap();
        let time = Message::new().varint(1, seconds).varint(2, nanos);
        Message::new().message(1, time).bytes(2, line)
    };
    let stream = Message::new()
        .bytes(1, "{job=\"app\", mail=\"jane@example.com\"}")
        .message(2, entry(t, "first of jane@example.com"))
        .message(2, entry(t + 9, "third"));
    let request = snappy(&Message::new().message(1, stream).into_bytes());
    let protobuf = [("Content-Type", "application/x-protobuf")];
    let answer = post(&stackwatch, "/loki/api/v1/push", &protobuf, &request);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));

    let check = |stackwatch: &Stackwatch| {
        let found = streams(stackwatch, "{job=\"app\"}", t - 1);
        assert_eq!(found.len(), 1, "{found:?}");
        let all = found[0].to_string();
        assert!(!all.contains("jane@") && !all.contains("hunter2"), "{all}");
        let values = found[0]["values"].as_array().unwrap();
        let times: Vec<u64> = values
            .iter()
            .map(|v| v[0].as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(times, [t, t + 1, t + 9], "{all}");
        assert_eq!(values[1][2]["structuredMetadata"]["trace_id"], "7", "{all}");
        let three_days = t - 3 * 86_400_000_000_000;
        let old = streams(stackwatch, "{job=\"old\"}", three_days);
        let lines = old[0]["values"].as_array().unwrap();
        assert_eq!((&lines[0][1], &lines[1][1]), (&json!("old"), &json!("new")));
    };
    check(&stackwatch);
    stackwatch.kill_and_restart();
    check(&stackwatch);
}

#[test]
fn what_cannot_be_taken_is_refused_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let t = now_ns() - 60_000_000_000;
    let year = 365 * 86_400_000_000_000_u64;
    let one = |stream: Value, at: u64, line: &str| json!({"streams": [{"stream": stream, "values": [[at.to_string(), line]]}]});
    for (body, why) in [
        (one(json!({}), t, "x"), "at least one label pair"),
        (one(json!({"a.b": "c"}), t, "x"), "invalid label name"),
        (
            one(json!({"job": "a"}), t - year, "x"),
            "has timestamp too old",
        ),
        (
            one(json!({"job": "a"}), t + year, "x"),
            "has timestamp too new",
        ),
        (
            one(json!({"job": "a"}), t, &"x".repeat(300_000)),
            "Max entry size",
        ),
        (one(json!({"job": 7}), t, "x"), "invalid type"),
        // Names that repeat a long text would make a long answer.
        (
            one(
                (0..100_000).map(|n| (format!("l{n}"), "v")).collect(),
                t,
                "x",
            ),
            "entry for stream",
        ),
        (json!({"streams": 7}), "invalid type"),
        (json!([]), "invalid length"),
    ] {
        let (status, answer) = push(&stackwatch, &body);
        assert_eq!(status, 400, "{why}: {answer}");
        assert!(answer.contains(why), "{why}: {answer}");
        assert!(answer.len() < 2000, "{why}: {} bytes", answer.len());
    }
    let protobuf = [("Content-Type", "application/x-protobuf")];
    let torn = post(&stackwatch, "/loki/api/v1/push", &protobuf, b"no snappy");
    assert_eq!(
        (torn.status, torn.body.as_str()),
        (400, "snappy: corrupt input\n")
    );

    let mixed = json!({"streams": [
        {"stream": {"job": "good"}, "values": [[(t - year).to_string(), "old"], [t.to_string(), "kept"]]},
        {"stream": {"": "bad"}, "values": [[t.to_string(), "x"]]},
    ]});
    assert_eq!(push(&stackwatch, &mixed).0, 400);
    assert_eq!(stackwatch.lines("{job=\"good\"}"), ["kept"]);

    let off = tempfile::tempdir().unwrap();
    let shut = format!("server: {{ log_receiver: false }}\n{CONFIG}");
    let stackwatch = Stackwatch::start(off.path(), &shut);
    let (status, answer) = push(&stackwatch, &one(json!({"job": "a"}), t, "x"));
    assert_eq!(status, 404);
    assert!(answer.contains("server.log_receiver"), "{answer}");
}

#[test]
fn otlp_logs_become_streams_by_service() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let t = now_ns() - 60_000_000_000;
    let body = json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "shop"}},
            {"key": "host.name", "value": {"stringValue": "box"}},
        ]},
        "scopeLogs": [{"logRecords": [
            {"timeUnixNano": t.to_string(), "severityNumber": 17,
             "body": {"stringValue": "card 4111 1111 1111 1111 refused"},
             "traceId": "5b8efff798038103d269b633813fc60c"},
        ]}],
    }]});
    for path in ["/otlp/v1/logs", "/api/v1/otlp/v1/logs"] {
        let answer = post(&stackwatch, path, &[JSON], body.to_string().as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{path}");
    }
    let found = streams(&stackwatch, "{service_name=\"shop\"}", t - 1);
    let values = found[0]["values"].as_array().unwrap();
    assert_eq!(values.len(), 1, "{values:?}");
    let line = values[0][1].as_str().unwrap();
    assert!(
        line.starts_with("card <") && !line.contains("4111"),
        "{line}"
    );
    let metadata = &values[0][2]["structuredMetadata"];
    assert_eq!(metadata["detected_level"], "error");
    assert_eq!(metadata["host_name"], "box");
    assert_eq!(metadata["trace_id"], "5b8efff798038103d269b633813fc60c");

    // A record of last year is refused, as OTLP says it: the rest was taken.
    let old = body
        .to_string()
        .replace(&t.to_string(), "1500000000000000000");
    let answer = post(&stackwatch, "/otlp/v1/logs", &[JSON], old.as_bytes());
    assert_eq!(answer.status, 200);
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedLogRecords"], "1", "{partial}");
    let why = partial["errorMessage"].as_str().unwrap();
    assert!(why.contains("timestamp too old"), "{why}");
}
