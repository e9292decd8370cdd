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
        r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"service_name":"web"},"values":[["100000000000","line 0",{}],["100000000001","line 1",{"structuredMetadata":{"level":"error"}}]]}],"encodingFlags":["categorize-labels"]}}"#
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
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
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
