//! What Grafana sends to a Loki data source, word for word, and what it gets: Save & Test, Explore
//! with its log volume, context and paging, the live view, completion in the editor, Logs
//! Drilldown, the list of alerts. The URLs are those of Grafana's pkg/tsdb/loki and of Drilldown.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stackwatch_tests::http;
use stackwatch_tests::stackwatch::Stackwatch;

use crate::log_tail::Tail;

const CONFIG: &str = "collect: { host: false, docker: false }\n";
const SECOND: u64 = 1_000_000_000;
/// The header by which Grafana asks for metadata apart.
const CATEGORIZE: (&str, &str) = ("X-Loki-Response-Encoding-Flags", "categorize-labels");
const INFO: &str = r#"{"level":"info","msg":"order 1","took":"15ms","at":{"shop id":7}}"#;
const ERRORS: [&str; 2] = [
    r#"level=error msg="order 2" took=2s"#,
    r#"level=error msg="order 3" took=3s"#,
];

struct Grafana {
    stackwatch: Stackwatch,
    /// The minute whose first seconds have lines.
    t: u64,
    _dir: tempfile::TempDir,
}

impl Grafana {
    /// A store with four lines, two of them of one instant.
    fn open() -> Grafana {
        let dir = tempfile::tempdir().unwrap();
        let stackwatch = Stackwatch::start(dir.path(), CONFIG);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let t = (now.as_secs() / 60 - 10) * 60 * SECOND;
        let at = |seconds: u64| (t + seconds * SECOND).to_string();
        let error = json!({"detected_level": "error"});
        let values = json!([
            [at(1), INFO, {"detected_level": "info"}],
            [at(2), ERRORS[0], error],
            [at(2), ERRORS[1], error],
            [at(3), "plain"],
        ]);
        let stream = json!({"job": "shop", "service_name": "shop"});
        let body = json!({"streams": [{"stream": stream, "values": values}]}).to_string();
        let headers = [("Content-Type", "application/json")];
        let path = "/loki/api/v1/push";
        let answer = http::request("POST", stackwatch.listen(), path, &headers, body).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.body);
        Grafana {
            stackwatch,
            t,
            _dir: dir,
        }
    }

    /// The answer to a GET of the data source, without its figures.
    fn get(&self, path: &str, params: &[(&str, String)], headers: &[(&str, &str)]) -> String {
        let pairs: Vec<String> = params
            .iter()
            .map(|(name, value)| format!("{}={}", http::encode(name), http::encode(value)))
            .collect();
        let path = format!("{path}?{}", pairs.join("&"));
        let address = self.stackwatch.listen();
        let answer = http::request("GET", address, &path, headers, "").unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        match answer.body.split_once(",\"stats\":") {
            Some((result, _)) => format!("{result}}}}}"),
            None => answer.body,
        }
    }

    /// `start` and `end` in seconds of the minute, with further parameters.
    fn within(&self, start: u64, end: u64, more: &[(&'static str, &str)]) -> Params {
        let mut params = vec![
            ("start", (self.t + start * SECOND).to_string()),
            ("end", (self.t + end * SECOND).to_string()),
        ];
        params.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        params
    }

    /// The lines of a query as Explore asks it.
    fn lines(&self, params: &[(&str, String)]) -> Vec<String> {
        let path = "/loki/api/v1/query_range";
        let body: Value = serde_json::from_str(&self.get(path, params, &[CATEGORIZE])).unwrap();
        let streams = body["data"]["result"].as_array().unwrap();
        let values = streams.iter().flat_map(|s| s["values"].as_array().unwrap());
        values.map(|v| v[1].as_str().unwrap().to_owned()).collect()
    }
}

type Params = Vec<(&'static str, String)>;

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[test]
fn a_source_is_saved_and_explored() {
    let grafana = Grafana::open();
    let t = grafana.t;
    let health = [
        ("direction", "backward".to_owned()),
        ("query", "vector(1)+vector(1)".to_owned()),
        ("time", "4000000000".to_owned()),
    ];
    assert_eq!(
        grafana.get("/loki/api/v1/query", &health, &[]),
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}]}}"#
    );

    // Lines, the newest first; of one instant, the one received last.
    let query = [
        ("query", "{job=\"shop\"} |= ``"),
        ("direction", "backward"),
        ("limit", "1000"),
        ("step", "2000ms"),
    ];
    let error = r#"{"structuredMetadata":{"detected_level":"error"}}"#;
    let info = r#"{"structuredMetadata":{"detected_level":"info"}}"#;
    let (a, b, c) = (t + SECOND, t + 2 * SECOND, t + 3 * SECOND);
    assert_eq!(
        grafana.get(
            "/loki/api/v1/query_range",
            &grafana.within(0, 60, &query),
            &[CATEGORIZE]
        ),
        format!(
            r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{{"stream":{{"job":"shop","service_name":"shop"}},"values":[["{c}","plain",{{}}],["{b}",{},{error}],["{b}",{},{error}],["{a}",{},{info}]]}}]}}}}"#,
            quoted(ERRORS[1]),
            quoted(ERRORS[0]),
            quoted(INFO),
        )
    );

    // The histogram above them.
    let volume = [
        (
            "query",
            "sum by (level, detected_level) (count_over_time({job=\"shop\"} |= `` | drop __error__ [10s]))",
        ),
        ("direction", "backward"),
        ("step", "10000ms"),
    ];
    let tags = [("X-Query-Tags", "Source=logvolhist"), CATEGORIZE];
    let at = t / SECOND + 10;
    assert_eq!(
        grafana.get(
            "/loki/api/v1/query_range",
            &grafana.within(0, 20, &volume),
            &tags
        ),
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{at},"1"]]}},{{"metric":{{"detected_level":"error"}},"values":[[{at},"2"]]}},{{"metric":{{"detected_level":"info"}},"values":[[{at},"1"]]}}]}}}}"#
        )
    );
}

#[test]
fn pages_and_context_join_without_gap_or_change_of_order() {
    let grafana = Grafana::open();
    let newest_first = ["plain", ERRORS[1], ERRORS[0], INFO];
    let page = |start: u64, end: u64, direction: &str, limit: &str| {
        let more = [
            ("query", "{job=\"shop\"}"),
            ("direction", direction),
            ("limit", limit),
        ];
        grafana.lines(&grafana.within(start, end, &more))
    };
    assert_eq!(page(0, 60, "backward", "2"), newest_first[..2]);
    // What is at the end of a range is outside of it, what is at its start inside.
    assert_eq!(page(0, 3, "backward", "2"), newest_first[1..3]);
    assert_eq!(page(0, 2, "BACKWARD", "9"), newest_first[3..]);
    assert_eq!(page(2, 60, "forward", "2"), ERRORS);
    assert_eq!(page(2, 60, "forward", "3"), [ERRORS[0], ERRORS[1], "plain"]);
    assert_eq!(page(3, 60, "FORWARD", "9"), ["plain"]);
    // To the nanosecond.
    let until = |end: u64| {
        let mut params = grafana.within(0, 60, &[("query", "{job=\"shop\"}")]);
        params[1].1 = end.to_string();
        grafana.lines(&params)
    };
    let t = grafana.t + 2 * SECOND;
    assert_eq!(until(t), newest_first[3..]);
    assert_eq!(until(t + 1), newest_first[1..]);
}

#[test]
fn the_editor_completes_and_tells_how_much_a_query_reads() {
    let grafana = Grafana::open();
    let selector = ("query", "{job=\"shop\"}");
    for (path, more, expect) in [
        (
            "labels",
            &[][..],
            r#"{"status":"success","data":["job","service_name"]}"#,
        ),
        (
            "label/job/values",
            &[],
            r#"{"status":"success","data":["shop"]}"#,
        ),
        (
            "label/service_name/values",
            &[selector],
            r#"{"status":"success","data":["shop"]}"#,
        ),
        (
            "label/job/values",
            &[("query", "{job=\"other\"}")],
            r#"{"status":"success"}"#,
        ),
        (
            "series",
            &[("match[]", "{job=\"shop\"}")],
            r#"{"status":"success","data":[{"job":"shop","service_name":"shop"}]}"#,
        ),
        (
            "detected_labels",
            &[selector],
            r#"{"detectedLabels":[{"label":"job","cardinality":1},{"label":"service_name","cardinality":1}]}"#,
        ),
    ] {
        let params = grafana.within(0, 60, more);
        assert_eq!(
            grafana.get(&format!("/loki/api/v1/{path}"), &params, &[]),
            expect,
            "{path}"
        );
    }
    let bytes = INFO.len() + ERRORS[0].len() + ERRORS[1].len() + "plain".len();
    assert_eq!(
        grafana.get(
            "/loki/api/v1/index/stats",
            &grafana.within(0, 60, &[selector]),
            &[]
        ),
        format!(r#"{{"streams":1,"chunks":1,"bytes":{bytes},"entries":4}}"#)
    );
    let format = [("query", "{job=\"shop\"}|json".to_owned())];
    assert_eq!(
        grafana.get("/loki/api/v1/format_query", &format, &[]),
        r#"{"status":"success","data":"{job=\"shop\"} | json"}"#
    );
}

#[test]
fn drilldown_shows_services_fields_and_patterns() {
    let grafana = Grafana::open();
    let seconds = grafana.t / SECOND;
    let bytes = INFO.len() + ERRORS[0].len() + ERRORS[1].len() + "plain".len();
    let all = [
        ("query", "{service_name=~`.+`}"),
        ("limit", "5000"),
        ("targetLabels", "service_name"),
    ];
    assert_eq!(
        grafana.get(
            "/loki/api/v1/index/volume",
            &grafana.within(0, 60, &all),
            &[]
        ),
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"service_name":"shop"}},"value":[{},"{bytes}"]}}]}}}}"#,
            seconds + 60
        )
    );
    let steps = [all[0], all[2], ("step", "2s")];
    assert_eq!(
        grafana.get(
            "/loki/api/v1/index/volume_range",
            &grafana.within(0, 6, &steps),
            &[]
        ),
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"service_name":"shop"}},"values":[[{}.999,"{}"],[{}.999,"{}"]]}}]}}}}"#,
            seconds + 1,
            INFO.len(),
            seconds + 3,
            bytes - INFO.len()
        )
    );
    let selector = ("query", "{service_name=`shop`}");
    let lines = [selector, ("line_limit", "1000")];
    assert_eq!(
        grafana.get(
            "/loki/api/v1/detected_fields",
            &grafana.within(0, 60, &lines),
            &[]
        ),
        concat!(
            r#"{"fields":[{"label":"at_shop_id","type":"int","cardinality":1,"parsers":["json"],"jsonPath":["at","shop id"]},"#,
            r#"{"label":"detected_level","type":"string","cardinality":2,"parsers":null},"#,
            r#"{"label":"level","type":"string","cardinality":2,"parsers":["logfmt","json"],"jsonPath":["level"]},"#,
            r#"{"label":"msg","type":"string","cardinality":3,"parsers":["logfmt","json"],"jsonPath":["msg"]},"#,
            r#"{"label":"took","type":"duration","cardinality":3,"parsers":["logfmt","json"],"jsonPath":["took"]}],"limit":1000}"#
        )
    );
    let path = "/loki/api/v1/detected_field/took/values";
    assert_eq!(
        grafana.get(path, &grafana.within(0, 60, &lines), &[]),
        r#"{"limit":1000,"values":["15ms","2s","3s"]}"#
    );
    let steps = [selector, ("step", "60s")];
    assert_eq!(
        grafana.get("/loki/api/v1/patterns", &grafana.within(0, 60, &steps), &[]),
        format!(
            r#"{{"status":"success","data":[{{"pattern":"level=error msg=\"order <_>\" took=<_>","samples":[[{seconds},2]]}},{{"pattern":"plain","samples":[[{seconds},1]]}},{{"pattern":"{{\"level\":\"info\",\"msg\":\"order <_>\",\"took\":\"<_>\",\"at\":{{\"shop id\":<_>}}}}","samples":[[{seconds},1]]}}]}}"#
        )
    );
    let limits: Value =
        serde_json::from_str(&grafana.get("/loki/api/v1/drilldown-limits", &[], &[])).unwrap();
    assert_eq!(limits["limits"]["retention_period"], "30d", "{limits}");
}

#[test]
fn the_live_view_gets_metadata_apart() {
    let grafana = Grafana::open();
    let mut tail = Tail::open_as(
        grafana.stackwatch.listen(),
        "{job=\"shop\"} | logfmt took",
        &[CATEGORIZE],
    );
    let message = tail.message();
    assert_eq!(message["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(
        message["streams"][0],
        json!({
            "stream": {"job": "shop", "service_name": "shop"},
            "values": [
                [(grafana.t + 2 * SECOND).to_string(), ERRORS[1], {
                    "structuredMetadata": {"detected_level": "error"},
                    "parsed": {"took": "3s"},
                }],
                [(grafana.t + 3 * SECOND).to_string(), "plain", {"parsed": {"took": ""}}],
            ],
        })
    );
}

#[test]
fn the_list_of_alerts_has_our_rules() {
    let grafana = Grafana::open();
    let rules = grafana.get("/prometheus/api/v1/rules", &[], &[]);
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let groups = rules["data"]["groups"].as_array().unwrap();
    assert!(!groups.is_empty());
    let alerts = grafana.get("/prometheus/api/v1/alerts", &[], &[]);
    assert!(
        alerts.starts_with(r#"{"status":"success","data":{"alerts":["#),
        "{alerts}"
    );
    // As files have them.
    let path = "/loki/api/v1/rules";
    let answer = http::request("GET", grafana.stackwatch.listen(), path, &[], "").unwrap();
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    let files = answer.json();
    let written = files.as_object().unwrap().values();
    let written: usize = written.map(|file| file.as_array().unwrap().len()).sum();
    assert_eq!(written, groups.len());
}
