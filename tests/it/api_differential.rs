//! One table of requests, right ones and wrong ones, answered by Prometheus and by us from the
//! same data: status code and JSON are equal.
//!
//! Prometheus is Debian's 2.42; we follow 3.x. Where the two differ on purpose, [`DIFFERENT`]
//! says why, and ours alone is checked elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stackwatch_tests::remote_write::{EncodedLabels, Sender, WriteRequest};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, http, skipped};

use crate::promql_differential::prometheus::Prometheus;

/// Requests whose answers differ, by what they contain, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("time=soon", "3.x begins the sentence in lower case"),
    ("start=soon&match", "3.x begins the sentence in lower case"),
    ("labels?start=soon", "3.x begins the sentence in lower case"),
    ("time=NaN", "2.42 takes it for the year 1677; we refuse it"),
    ("lookback_delta=x", "2.42 does not know lookback_delta"),
    ("limit=", "2.42 does not know limit here"),
    ("query=%zz", "2.42 drops what it cannot decode; we say so"),
    (
        "query=%ff",
        "2.42 reads it as a replacement character; we refuse it",
    ),
    ("query=a;b", "2.42 drops it; we say so"),
    (
        "%7E%22%28%22%7D",
        "the words of the regular expression library",
    ),
    (
        "up%20offset",
        "3.x takes expressions as offsets and says what it expects",
    ),
    ("label/a-b/values", "any UTF-8 name is valid in 3.x"),
    ("start=Inf", "2.42 takes it for the year 1677; we refuse it"),
    ("time=Inf", "2.42 takes it for the year 1677; we refuse it"),
    ("time=-Inf", "2.42 takes it for the year 1677; we refuse it"),
    (
        "time=1e30",
        "2.42 overflows to 1970; we take the last instant there is",
    ),
    ("step=0.0004", "2.42 divides by zero; we refuse it"),
    ("/query/?", "2.42 redirects to a page it does not have"),
    ("labels/", "2.42 redirects to a page it does not have"),
    ("values/", "2.42 redirects to a page it does not have"),
];

/// Expressions; `%T` in a request is the end of the data.
const EXPRESSIONS: &[&str] = &[
    "up",
    "requests_total",
    "requests_total{code=\"200\"}",
    "requests_total{code=~\"2..|5..\"}",
    "sum(requests_total)",
    "sum by (code) (rate(requests_total[5m]))",
    "topk(1, requests_total)",
    "1",
    "1e21",
    "0.0000001",
    "-0",
    "NaN",
    "1/0",
    "\"text <b>&\"",
    "vector(1)",
    "time()",
    "odd",
    "absent(nothing)",
    "requests_total[1m]",
    "count_values(\"v\", up)",
    "label_replace(up, \"x\", \"<$1>\", \"job\", \"(.*)\")",
    "",
    "up{",
    "up}",
    "sum(",
    "sum(up",
    "1 +",
    "1 + * 2",
    "up < * 1",
    "rate(up)",
    "nothing_like_it(up)",
    "up{job=\"a\" job=\"b\"}",
    "up{job=~\"(\"}",
    "up offset",
    "up[5m",
    "up[0s]",
    "\"unclosed",
    "{}",
    "{job=~\".*\"}",
    "sum by (job) up",
    "1 and 1",
    "up == bool",
];

const OTHERS: &[&str] = &[
    "/api/v1/query?query=up&time=soon",
    "/api/v1/query?query=up&time=%T&timeout=x",
    "/api/v1/query?query=up&time=%T&timeout=10s",
    "/api/v1/query?query=up&time=%T&lookback_delta=x",
    "/api/v1/query?query=up&time=%T&limit=x",
    "/api/v1/query?query=up&time=NaN",
    "/api/v1/query?query=up&time=1970-01-01T00:00:01.5Z",
    "/api/v1/query?query=1&time=-1.5",
    "/api/v1/query?query=1&time=1e3",
    "/api/v1/query?query=%zz",
    "/api/v1/query?query=%ff",
    "/api/v1/query?query=a;b",
    "/api/v1/query?query=&query=up",
    "/api/v1/query_range?query=up",
    "/api/v1/query_range?query=up&start=1",
    "/api/v1/query_range?query=up&start=1&end=2",
    "/api/v1/query_range?query=up&start=2&end=1&step=1",
    "/api/v1/query_range?query=up&start=1&end=2&step=0",
    "/api/v1/query_range?query=up&start=1&end=2&step=-1",
    "/api/v1/query_range?query=up&start=1&end=2&step=NaN",
    "/api/v1/query_range?query=up&start=1&end=2&step=-Inf",
    "/api/v1/query_range?query=up&start=1&end=2&step=1h1",
    "/api/v1/query_range?query=up&start=0&end=11001&step=1",
    "/api/v1/query_range?query=1&start=0&end=11000&step=1",
    "/api/v1/query_range?query=up&start=x&end=1&step=1",
    "/api/v1/query_range?query=up[5m]&start=0&end=1&step=1",
    "/api/v1/query_range?query=%22a%22&start=0&end=1&step=1",
    "/api/v1/query_exemplars?query=up",
    "/api/v1/query_exemplars?query=1",
    "/api/v1/query_exemplars?query=up&start=5&end=1",
    "/api/v1/query_exemplars?query=test&start=1795250000000&end=1795250060000",
    "/api/v1/labels",
    "/api/v1/labels?start=%S&end=%T",
    "/api/v1/labels?start=5&end=1",
    "/api/v1/labels?start=soon",
    "/api/v1/labels?match[]=up",
    "/api/v1/labels?match[]=up&match[]=odd",
    "/api/v1/labels?match[]={}",
    "/api/v1/labels?match[]=%7Ba%3D~%22.*%22%7D",
    "/api/v1/labels?match[]=up%7B",
    "/api/v1/label/__name__/values",
    "/api/v1/label/job/values",
    "/api/v1/label/job/values?match[]=up",
    "/api/v1/label/job/values?match[]={}",
    "/api/v1/label/nothing/values",
    "/api/v1/label/a-b/values",
    "/api/v1/label/code/values?start=%S&end=%T",
    "/api/v1/label/job/values?start=5&end=1",
    "/api/v1/series",
    "/api/v1/series?match[]=up",
    "/api/v1/series?match[]=up&match[]=odd",
    "/api/v1/series?match[]={}",
    "/api/v1/series?match[]=up%7B",
    "/api/v1/series?match[]=%zz",
    "/api/v1/series?start=soon&match[]=up",
    "/api/v1/series?match[]=up&start=5&end=1",
    "/api/v1/metadata?limit=x",
    "/api/v1/targets/metadata?limit=x",
    "/api/v1/targets/metadata?match_target=%7B",
    "/api/v1/rules?type=x",
    "/api/v1/status/walreplay",
    "/api/v1/nothing",
    "/api/v1/status/nothing",
    "/api/v1/rules/nothing",
    "/config/v1/rules",
    "/ruler/rules",
    "/api/v1/query?query=up&query=odd&time=%T",
    "/api/v1/query?query=up&time=%T&time=1",
    "/api/v1/query?query=1&time=Inf",
    "/api/v1/query?query=1&time=-Inf",
    "/api/v1/query?query=1&time=1e30",
    "/api/v1/query?query=1&time=%T&timeout=-1s",
    "/api/v1/query?query=1&time=%T&timeout=1e30",
    "/api/v1/query_range?query=1&start=1&end=2&step=Inf",
    "/api/v1/query_range?query=1&start=1&end=2&step=1e30",
    "/api/v1/query_range?query=1&start=1&end=2&step=0.0004",
    "/api/v1/query_range?query=1&start=1&end=2&step=1e-3",
    "/api/v1/query_range?query=1&start=Inf&end=2&step=1",
    "/api/v1/query_range?query=1&start=2&end=1&step=NaN",
    "/api/v1/query_range?query=1&start=1&end=1&step=1&step=0",
    "/api/v1/query_range?query=1&start=0&end=1100000&step=99",
    "/api/v1/query/?query=up&time=%T",
    "/api/v1/labels/",
    "/api/v1/label/job/values/",
    "/api/v1/label//values",
    "/api/v1/label/job",
    "/api/v1/",
    "/api/v2/query?query=up",
    "//api/v1/labels",
    "/-/healthy/",
    "/federate/",
    "/api/v1//query?query=up&time=%T",
];

/// Method and path of requests that are not of the kind that is served there.
const METHODS: &[(&str, &str)] = &[
    ("HEAD", "/-/healthy"),
    ("HEAD", "/-/ready"),
    ("HEAD", "/api/v1/query?query=up&time=%T"),
    ("HEAD", "/api/v1/labels"),
    ("HEAD", "/federate"),
    ("HEAD", "/metrics"),
    ("HEAD", "/api/v1/nothing"),
    ("OPTIONS", "/federate"),
    ("OPTIONS", "/-/healthy"),
    ("POST", "/-/healthy"),
    ("PATCH", "/api/v1/query?query=up&time=%T"),
    ("PUT", "/api/v1/labels"),
    ("DELETE", "/api/v1/labels"),
    ("POST", "/api/v1/label/job/values"),
    ("POST", "/api/v1/targets"),
    ("POST", "/api/v1/status/config"),
    ("GET", "/api/v1/write"),
    ("GET", "/api/v1/read"),
    ("OPTIONS", "/api/v1/query"),
];

#[test]
fn requests_have_prometheus_answers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(dir.path()) else {
        return skipped("no prometheus");
    };
    let ours = Stackwatch::start(
        dir.path(),
        "server: { remote_write_receiver: true }\ncollect: { docker: false, host: false, interval: 1h }\nrules: { packs: [] }\n",
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() as i64 - 60;
    let data = data(end);
    for address in [ours.listen(), prometheus.listen()] {
        let mut sender = Sender::connect(address, "/api/v1/write").unwrap();
        let (status, answer) = sender.send(&data).unwrap();
        assert!((200..300).contains(&status), "{address}: {status} {answer}");
    }
    eventually("ours has the data", Duration::from_secs(20), || {
        (ours.query("odd").len() == 1).then_some(())
    });

    let requests = requests(end);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (method, path, form) in &requests {
        if DIFFERENT
            .iter()
            .any(|(part, _)| path.contains(part) || form.contains(part))
        {
            continue;
        }
        let theirs = ask(prometheus.listen(), method, path, form);
        let mut own = ask(ours.listen(), method, path, form);
        if path.contains("query_range") {
            without_parameter(&mut own.1);
        }
        compared += 1;
        if theirs != own {
            wrong.push(format!("{method} {path} {form}\n  {theirs:?}\n  {own:?}"));
        }
    }
    println!("{compared} requests compared of {}", requests.len());
    assert!(compared >= 180, "only {compared} requests compared");
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn requests(end: i64) -> Vec<(&'static str, String, String)> {
    let at = |text: &str| {
        text.replace("%T", &end.to_string())
            .replace("%S", &(end - 300).to_string())
    };
    let mut out = Vec::new();
    for expr in EXPRESSIONS {
        let expr = http::encode(expr);
        let instant = format!("query={expr}&time={end}");
        let range = format!("query={expr}&start={}&end={end}&step=15", end - 300);
        out.push(("GET", format!("/api/v1/query?{instant}"), String::new()));
        out.push(("POST", "/api/v1/query".to_owned(), instant));
        out.push(("GET", format!("/api/v1/query_range?{range}"), String::new()));
        out.push(("POST", "/api/v1/query_range".to_owned(), range));
    }
    for path in OTHERS {
        out.push(("GET", at(path), String::new()));
    }
    for (method, path) in METHODS {
        out.push((method, at(path), String::new()));
    }
    // As long as ours takes it; in an address it may have a little less.
    let long = format!("up{{job!=\"{}\"}}", "x".repeat((64 << 10) - 12));
    let long = format!("query={}&time={end}", http::encode(&long));
    out.push(("POST", "/api/v1/query".to_owned(), long));
    for method in ["DELETE", "PUT"] {
        out.push((method, "/api/v1/query".to_owned(), String::new()));
    }
    out
}

/// Status and body, as JSON where it is.
fn ask(address: &str, method: &str, path: &str, form: &str) -> (u16, Value) {
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = http::request(method, address, path, &headers, form)
        .unwrap_or_else(|e| panic!("{method} {path}: {e}"));
    let body = serde_json::from_str(&answer.body)
        .unwrap_or_else(|_| Value::String(answer.body.trim_end().to_owned()));
    (answer.status, sorted(body))
}

/// 2.42 names the parameter of a wrong expression in `/query` only, 3.x in `/query_range` too.
fn without_parameter(body: &mut Value) {
    let short = body["error"]
        .as_str()
        .and_then(|e| e.strip_prefix("invalid parameter \"query\": "))
        .map(str::to_owned);
    if let Some(short) = short {
        body["error"] = Value::String(short);
    }
}

/// Elements of an instant vector have no order.
fn sorted(mut body: Value) -> Value {
    if body["data"]["resultType"] == "vector"
        && let Some(items) = body["data"]["result"].as_array_mut()
    {
        items.sort_by_key(|item| item["metric"].to_string());
    }
    body
}

/// Five minutes before `end`, a sample every 15 s, none on a whole evaluation time.
fn data(end: i64) -> Vec<u8> {
    let mut request = WriteRequest::default();
    let mut push = |labels: &[(&str, &str)], value: &dyn Fn(i64) -> f64| {
        let encoded = EncodedLabels::new(labels);
        let samples = (0..21).map(|i| ((end - 300 + 15 * i) * 1000 - 500, value(i)));
        request.push(&encoded, samples);
    };
    for (job, value) in [("a", 1.0), ("b", 0.0)] {
        push(&[("__name__", "up"), ("job", job)], &|_| value);
    }
    for (code, step) in [("200", 10.0), ("404", 1.0), ("500", 0.25)] {
        let labels = [("__name__", "requests_total"), ("code", code), ("job", "a")];
        push(&labels, &|i| 1000.0 + step * i as f64);
    }
    push(
        &[
            ("__name__", "odd"),
            ("text", "<a href=\"x\">&amp;\\\n\u{fc}"),
        ],
        &|_| 1e21,
    );
    request.finish()
}
