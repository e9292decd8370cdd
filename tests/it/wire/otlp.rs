//! OTLP over protobuf: what becomes of names, times, resources and histograms.

use stackwatch_tests::http::{self, Response};
use stackwatch_tests::protobuf::Message;

use super::{now, raw, start};

const CUMULATIVE: i32 = 2;
const DELTA: i32 = 1;

fn attribute(key: &str, value: &str) -> Message {
    let value = Message::new().bytes(1, value);
    Message::new().bytes(1, key).message(2, value)
}

fn metric(name: &str, unit: &str, field: u32, data: Message) -> Message {
    let metric = Message::new()
        .bytes(1, name)
        .bytes(2, "Help.")
        .bytes(3, unit);
    metric.message(field, data)
}

/// Times and attributes of a point of any kind; the attributes' field number differs.
fn point(t: i64, attributes: u32) -> Message {
    Message::new()
        .fixed64(2, (t - 60_000) as u64 * 1_000_000)
        .fixed64(3, t as u64 * 1_000_000)
        .message(attributes, attribute("http.route", "/a"))
}

fn send(address: &str, metrics: Vec<Message>) -> Response {
    let resource = Message::new()
        .message(1, attribute("service.namespace", "shop"))
        .message(1, attribute("service.name", "cart"))
        .message(1, attribute("service.instance.id", "i-1"))
        .message(1, attribute("host.name", "box"));
    let scope = Message::new().message(1, Message::new().bytes(1, "scope"));
    let scope = metrics.into_iter().fold(scope, |s, m| s.message(2, m));
    let resource_metrics = Message::new().message(1, resource).message(2, scope);
    let body = Message::new().message(1, resource_metrics).into_bytes();
    let headers = [("Content-Type", "application/x-protobuf")];
    http::request("POST", address, "/api/v1/otlp/v1/metrics", &headers, body).unwrap()
}

#[test]
fn an_otlp_request_becomes_the_series_prometheus_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let t = now();
    let sum = |v: f64| {
        Message::new()
            .message(1, point(t, 7).double(4, v))
            .varint(2, CUMULATIVE)
            .varint(3, 1)
    };
    let buckets = |offset, counts: &[u64]| Message::new().sint(1, offset).varints(2, counts);
    let exponential = point(t, 1)
        .fixed64(4, 9)
        .double(5, 12.5)
        .sint(6, 0)
        .fixed64(7, 1)
        .message(8, buckets(0, &[2, 0, 0, 0, 4]))
        .message(9, buckets(-1, &[2]));
    let explicit = point(t, 9)
        .fixed64(4, 6)
        .double(5, 9.5)
        .bytes(6, [1_u64, 2, 3].map(u64::to_le_bytes).concat())
        .doubles(7, &[0.1, 2.0]);
    let ended = Message::new().message(1, point(t, 7).varint(8, 1));
    let cumulative = |p: Message| Message::new().message(1, p).varint(2, CUMULATIVE);
    let answer = send(
        ours.listen(),
        vec![
            metric("http.requests", "{request}", 7, sum(3.5)),
            metric(
                "memory.used",
                "By",
                5,
                Message::new().message(1, point(t, 7).fixed64(6, 7)),
            ),
            metric(
                "cpu.utilization",
                "1",
                5,
                Message::new().message(1, point(t, 7).double(4, 0.5)),
            ),
            metric("took", "s", 10, cumulative(exponential)),
            metric("size", "By", 9, cumulative(explicit)),
            metric("ended", "", 5, ended),
            metric(
                "hops",
                "",
                7,
                Message::new()
                    .message(1, point(t, 7).double(4, 1.0))
                    .varint(2, DELTA)
                    .varint(3, 1),
            ),
        ],
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The partial success: one point, and why.
    assert!(
        answer.body.contains("hops") && answer.body.contains("temporality"),
        "{}",
        answer.body
    );
    let own = r#"{job="shop/cart",instance="i-1",http_route="/a"}"#;
    for (name, value) in [
        ("http_requests_total", 3.5),
        ("memory_used_bytes", 7.0),
        ("cpu_utilization_ratio", 0.5),
        ("size_bytes_count", 6.0),
        ("size_bytes_sum", 9.5),
    ] {
        assert_eq!(ours.value(&format!("{name}{own}")), Some(value), "{name}");
    }
    for (le, value) in [("0.1", 1.0), ("2", 3.0), ("+Inf", 6.0)] {
        assert_eq!(
            ours.value(&format!("size_bytes_bucket{{le=\"{le}\"}}")),
            Some(value)
        );
    }
    let info = ours.query("target_info");
    assert_eq!(
        info[0]["metric"],
        serde_json::json!({"__name__": "target_info", "job": "shop/cart", "instance": "i-1", "host_name": "box"})
    );
    let native = raw(
        ours.listen(),
        &format!("took_seconds{own}"),
        t,
        "histograms",
    );
    assert_eq!(
        native[0][1],
        serde_json::json!({"count": "9", "sum": "12.5", "buckets": [
            [1, "-1", "-0.5", "2"], [3, "-1e-128", "1e-128", "1"],
            [0, "1", "2", "2"], [0, "16", "32", "4"]]})
    );
    assert_eq!(
        ours.query("ended").len() + ours.query("hops_total").len(),
        0
    );
    let metadata = ours
        .get("/api/v1/metadata?metric=http_requests_total")
        .json();
    assert_eq!(
        metadata["data"]["http_requests_total"][0]["type"],
        "counter"
    );

    // Another value at the same instant is refused for good.
    let again = send(
        ours.listen(),
        vec![metric("http.requests", "", 7, sum(4.0))],
    );
    assert_eq!(again.status, 400, "{}", again.body);
    assert!(again.body.contains("duplicate sample"), "{}", again.body);
}
