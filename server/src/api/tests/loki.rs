//! Loki's API, as Grafana uses it.

use super::*;

/// An answer of Loki's API without its figures, which tell times.
fn without_stats(body: &str) -> String {
    let (result, _) = body.split_once(",\"stats\":").unwrap();
    format!("{result}}}}}")
}

#[tokio::test]
async fn log_queries_and_metrics_of_lines_have_lokis_shapes() {
    let server = Server::ready().await;
    let web = "%7Bservice_name%3D%22web%22%7D";
    for (path, expect) in [
        (
            format!("query?query=sum%20by%20(level)(count_over_time({web}%5B1m%5D))&time=100.5"),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[100.500,"5"]},{"metric":{"level":"error"},"value":[100.500,"5"]}]}}"#,
        ),
        (
            format!(
                "query_range?query=sum(rate({web}%20%7C%3D%20%22line%22%5B10s%5D))&start=95&end=115&step=10"
            ),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[105,"1"]]}]}}"#,
        ),
        (
            "query?query=1%2B1&time=5".to_owned(),
            r#"{"status":"success","data":{"resultType":"scalar","result":[5,"2"]}}"#,
        ),
        (
            format!(
                "query_range?query={web}%7Cpattern%22line%20%3Cn%3E%22%7Cn%3D5%7Cline_format%22%7B%7B.n%7D%7D%22&start=100&end=101"
            ),
            r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"level":"error","n":"5","service_name":"web"},"values":[["100000000005","5"]]}]}}"#,
        ),
    ] {
        let (status, body) = server.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        assert_eq!(without_stats(&body), expect, "{path}");
    }
    for (path, expect) in [
        (
            "query_range?query=rate(%7Ba%3D%22b%22%7D%5B5m%5D)&start=0&end=20000&step=1",
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ),
        (
            "query_range?query=rate(%7Ba%3D%22b%22%7D%5B5m%5D)&step=0",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "query?query=vector(1)&limit=0",
            "limit must be a positive value",
        ),
        (
            "query?query=foo",
            "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER",
        ),
        (
            "query_range?query=%7Ba%3D%22b%22%7D%7Cline_format%22%7B%7B%22",
            "stage '| line_format",
        ),
    ] {
        let (status, body) = server.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.contains(expect), "{path}: {body}");
    }
    server
        .check(
            "/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D%7Cjson",
            200,
            r#"{"status":"success","data":"{a=\"b\"} | json"}"#,
        )
        .await;
    server
        .check(
            "/loki/api/v1/format_query?query=%7B",
            400,
            r#"{"status":"invalid-query","error":"parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"}"#,
        )
        .await;
}

#[tokio::test]
async fn log_lines_come_as_loki_sends_them() {
    let server = Server::ready().await;
    let web = "%7Bservice_name%3D%22web%22%7D";
    // End exclusive, newest first; metadata splits streams unless the client can tell them apart.
    let path = format!(
        "/loki/api/v1/query_range?query={web}&start=100000000000&end=100000000002&limit=10"
    );
    let (status, body) = server.get(&path).await;
    assert_eq!(
        (status, without_stats(&body).as_str()),
        (
            200,
            r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"level":"error","service_name":"web"},"values":[["100000000001","line 1"]]},{"stream":{"service_name":"web"},"values":[["100000000000","line 0"]]}]}}"#
        )
    );
    assert!(
        body.contains("\"totalBytesProcessed\":12,\"totalLinesProcessed\":2,")
            && body.contains("\"totalEntriesReturned\":2,"),
        "{body}"
    );
    let answer = reqwest::Client::new()
        .get(format!("{}{path}&direction=forward", server.base))
        .header("X-Loki-Response-Encoding-Flags", "categorize-labels")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(
        without_stats(&answer),
        r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"service_name":"web"},"values":[["100000000000","line 0",{}],["100000000001","line 1",{"structuredMetadata":{"level":"error"}}]]}]}}"#
    );
    let filtered = format!("{path}&direction=forward&query=").replace(
        &format!("query={web}"),
        &format!("query={web}%20%7C%3D%20%221%22"),
    );
    let (_, body) = server.get(&filtered).await;
    assert!(
        body.contains("line 1") && !body.contains("line 0"),
        "{body}"
    );
}

#[tokio::test]
async fn grafanas_test_of_a_loki_source_passes() {
    let server = Server::ready().await;
    let (status, body) = server
        .get("/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000")
        .await;
    assert_eq!(
        (status, without_stats(&body).as_str()),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}]}}"#
        )
    );
    for (query, expect) in [(
        "%7Ba%3D%22b%22%7D",
        "log queries are not supported as an instant query type",
    )] {
        let (status, body) = server
            .get(&format!("/loki/api/v1/query?query={query}"))
            .await;
        assert_eq!(status, 400);
        assert!(body.contains(expect), "{body}");
    }
    server
        .check(
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=5001",
            400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)\n",
        )
        .await;
    server
        .check(
            "/loki/api/v1/labels",
            200,
            r#"{"status":"success","data":["service_name"]}"#,
        )
        .await;
}

/// `{service_name="web"}` and the nanoseconds of its ten lines.
const WEB: &str = "query=%7Bservice_name%3D%22web%22%7D&start=100000000000&end=100000000010";

#[tokio::test]
async fn how_much_there_is_has_lokis_shapes() {
    let server = Server::ready().await;
    let half = WEB.replace("end=100000000010", "end=100000000005");
    server
        .check(
            &format!("/loki/api/v1/index/stats?{half}"),
            200,
            r#"{"streams":1,"chunks":1,"bytes":30,"entries":5}"#,
        )
        .await;
    server
        .check(
            "/loki/api/v1/index/stats?query=%7Ba%3D%22b%22%7D",
            200,
            r#"{"streams":0,"chunks":0,"bytes":0,"entries":0}"#,
        )
        .await;
    for (path, expect) in [
        (
            format!("index/volume?{half}"),
            r#""vector","result":[{"metric":{"service_name":"web"},"value":[100,"30"]}]"#,
        ),
        (
            format!("index/volume?{half}&aggregateBy=labels&limit=0"),
            r#""vector","result":[{"metric":{"service_name":""},"value":[100,"30"]}]"#,
        ),
        // Streams without the label have no volume.
        (
            format!("index/volume?{half}&targetLabels=container"),
            r#""vector","result":[]"#,
        ),
        (
            "index/volume?query=%7B%7D&start=99&end=101&targetLabels=service_name".to_owned(),
            r#""vector","result":[{"metric":{"service_name":"web"},"value":[101,"60"]}]"#,
        ),
        // At the end of each step, less the gap to the next one.
        (
            format!("index/volume_range?{WEB}&step=0.000000005"),
            r#""matrix","result":[{"metric":{"service_name":"web"},"values":[[99.999,"30"],[100,"30"]]}]"#,
        ),
    ] {
        let (status, body) = server.get(&format!("/loki/api/v1/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        let expect = format!("{{\"status\":\"success\",\"data\":{{\"resultType\":{expect}}}}}");
        assert_eq!(without_stats(&body), expect, "{path}");
    }
}

#[tokio::test]
async fn what_drilldown_asks_has_lokis_shapes() {
    let server = Server::ready().await;
    for (path, expect) in [
        (
            format!("detected_labels?{WEB}"),
            r#"{"detectedLabels":[{"label":"service_name","cardinality":1}]}"#,
        ),
        (
            format!("detected_fields?{WEB}"),
            r#"{"fields":[{"label":"level","type":"string","cardinality":1,"parsers":null}],"limit":1000}"#,
        ),
        (
            format!("detected_fields?{WEB}&line_limit=3&limit=7").replace(
                "%7D&",
                "%7D%7Cline_format%60%7B%22n%22%3A%7B%22a+b%22%3A5%7D%7D%60&",
            ),
            r#"{"fields":[{"label":"level","type":"string","cardinality":1,"parsers":null},{"label":"n_a_b","type":"int","cardinality":1,"parsers":["json"],"jsonPath":["n","a b"]}],"limit":7}"#,
        ),
        (
            format!("detected_field/level/values?{WEB}"),
            r#"{"limit":1000,"values":["error"]}"#,
        ),
        (format!("detected_field/none/values?{WEB}"), "{}"),
        (
            format!("patterns?{WEB}&step=10s"),
            r#"{"status":"success","data":[{"pattern":"line <_>","samples":[[100,10]]}]}"#,
        ),
        (
            "label".to_owned(),
            r#"{"status":"success","data":["service_name"]}"#,
        ),
        ("label/none/values".to_owned(), r#"{"status":"success"}"#),
        (
            "series?match[]=%7B+%7D".to_owned(),
            r#"{"status":"success","data":[{"service_name":"web"}]}"#,
        ),
    ] {
        server
            .check(&format!("/loki/api/v1/{path}"), 200, expect)
            .await;
    }
    let (status, limits) = server.get("/loki/api/v1/drilldown-limits").await;
    let limits: serde_json::Value = serde_json::from_str(&limits).unwrap();
    assert_eq!(
        (
            status,
            &limits["limits"]["max_query_series"],
            &limits["pattern_ingester_enabled"]
        ),
        (200, &serde_json::json!(500), &serde_json::json!(true)),
    );
    server.check("/ready", 200, "ready\n").await;
    let none = r#"{"status":"success","data":{"groups":[]}}"#;
    server.check("/prometheus/api/v1/rules", 200, none).await;
    let none = r#"{"status":"success","data":{"alerts":[]}}"#;
    server.check("/prometheus/api/v1/alerts", 200, none).await;
    server
        .check("/loki/api/v1/rules", 404, "no rule groups found\n")
        .await;
}

#[tokio::test]
async fn what_loki_refuses_is_refused_in_its_words() {
    let server = Server::ready().await;
    let selects_nothing = "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";
    let selector = "query=%7Ba%3D%22b%22%7D";
    for (path, expect) in [
        ("labels?query=%7B%7D".to_owned(), selects_nothing),
        (
            "label/a/values?query=%7Ba%3D~%22.*%22%7D".to_owned(),
            selects_nothing,
        ),
        ("detected_labels?query=%7B%7D".to_owned(), selects_nothing),
        ("query_range?query=%7B%7D".to_owned(), selects_nothing),
        (
            format!("index/stats?{selector}%7C%3D%22x%22"),
            "only label matchers are supported",
        ),
        (
            format!("patterns?{selector}%7Cjson"),
            "only label matchers are supported",
        ),
        (
            format!("series?match={}%7Cjson", &selector[6..]),
            "only label matchers are supported",
        ),
        (
            format!("series?match=%7B%7D&match={}", &selector[6..]),
            "0 matchers in group: {}",
        ),
        (
            "detected_fields?query=rate(%7Ba%3D%22b%22%7D%5B1m%5D)".to_owned(),
            "only log selector is supported",
        ),
        (
            format!("detected_fields?{selector}&line_limit=5001"),
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
        ),
        (
            format!("detected_fields?{selector}&limit=0"),
            "limit must be a positive value",
        ),
        (
            format!("index/volume?{selector}&aggregateBy=x"),
            "invalid aggregation option",
        ),
        (
            format!("index/volume?{selector}&limit=-1"),
            "limit must be a positive value",
        ),
        (
            format!("index/volume_range?{selector}&step=0"),
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "labels?start=soon".to_owned(),
            "could not parse 'start' parameter: strconv.ParseInt: parsing \"soon\": invalid syntax",
        ),
        (
            "labels?since=soon".to_owned(),
            "could not parse 'since' parameter: not a valid duration string: \"soon\"",
        ),
        (
            "query?query=vector(1)&time=soon".to_owned(),
            "strconv.ParseInt: parsing \"soon\": invalid syntax",
        ),
        (
            "query_range?query=vector(1)&start=2&end=1".to_owned(),
            "end timestamp must not be before or equal to start time",
        ),
        (
            format!("query_range?{selector}&direction=up"),
            "invalid direction 'up'",
        ),
        (
            format!("query_range?{selector}&interval=-1"),
            "interval must be >= 0",
        ),
    ] {
        server
            .check(&format!("/loki/api/v1/{path}"), 400, &format!("{expect}\n"))
            .await;
    }
    // The page's limit is of lines.
    let (status, _) = server
        .get("/loki/api/v1/query?query=vector(1)&limit=5001")
        .await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_form_is_as_good_as_a_query() {
    let server = Server::ready().await;
    for (path, form) in [
        ("query", "query=vector(1)&time=5"),
        ("query_range", WEB),
        ("labels", ""),
        ("label/service_name/values", ""),
        ("series", "match[]=%7Ba%3D%22b%22%7D"),
        ("index/stats", WEB),
        ("index/volume", WEB),
        ("index/volume_range", WEB),
        ("detected_labels", WEB),
        ("detected_fields", WEB),
        ("detected_field/level/values", WEB),
        ("patterns", WEB),
        ("format_query", "query=%7Ba%3D%22b%22%7D"),
    ] {
        let path = format!("/loki/api/v1/{path}");
        let posted = reqwest::Client::new()
            .post(format!("{}{path}", server.base))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let posted = (posted.status().as_u16(), posted.text().await.unwrap());
        let (status, body) = server.get(&format!("{path}?{form}")).await;
        let result = |body: &str| body.split(",\"stats\":").next().map(str::to_owned);
        assert_eq!(
            (posted.0, result(&posted.1)),
            (status, result(&body)),
            "{path}"
        );
        assert_eq!(status, 200, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_and_follows_nothing() {
    let server = Server::ready().await;
    let send = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = reqwest::Client::new()
            .request(method, format!("{}{path}", server.base))
            .body("{\"streams\":[]}");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let own = server.base.clone();
    let evil = [
        ("Origin", "http://evil.example"),
        ("Content-Type", "text/plain"),
    ];
    for path in [
        "/loki/api/v1/push",
        "/otlp/v1/logs",
        "/api/v1/write",
        "/api/v1/otlp/v1/metrics",
        "/-/reload",
        "/api/v2/silences",
        "/metrics/job/x",
    ] {
        assert_eq!(send(Method::POST, path, &evil).await, 403, "{path}");
    }
    let upgrade = [
        ("Origin", "http://evil.example"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
    ];
    let tail = "/loki/api/v1/tail?query=%7Ba%3D%22b%22%7D";
    assert_eq!(send(Method::GET, tail, &upgrade).await, 403);
    let json = ("Content-Type", "application/json");
    let push = "/loki/api/v1/push";
    assert_eq!(send(Method::POST, push, &[json]).await, 204);
    assert_eq!(
        send(Method::POST, push, &[json, ("Origin", &own)]).await,
        204
    );
    let query = "/loki/api/v1/query?query=vector(1)";
    assert_eq!(send(Method::POST, query, &evil).await, 200);
    // Nor may it read lines.
    let answer = reqwest::get(format!("{own}{query}")).await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}
