use std::ops::ControlFlow;

use model::{
    Direction, FPoint, Labels, LogEntry, LogSelection, Matcher, ReadError, Selected,
    SelectedSeries, Selection, TimeRange, series::InMemoryCursor,
};

use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::config::Overrides;
use crate::config::expand::ProcessSurroundings;

mod bounds;
mod grafana;
mod leaving;
mod loki;
mod pings;

/// `up{job="a"}` is 1 and `up{job="b"}` is 0, every 15 s from 0 to 10 minutes.
struct Fixture;

fn fixture_series() -> Vec<(Labels, f64)> {
    ["a", "b"]
        .into_iter()
        .zip([1.0, 0.0])
        .map(|(job, v)| (Labels::from_pairs([("__name__", "up"), ("job", job)]), v))
        .collect()
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers
        .iter()
        .all(|m| m.matches(labels.get(m.name()).unwrap_or("")))
}

impl SeriesReader for Fixture {
    fn select(&self, selection: &Selection<'_>) -> Result<Selected, ReadError> {
        Ok(fixture_series()
            .into_iter()
            .filter(|(labels, _)| matches(selection.matchers, labels))
            .map(|(labels, v)| SelectedSeries {
                labels,
                cursor: Box::new(InMemoryCursor(Some(
                    (0..=40).map(|i| FPoint { t: i * 15_000, v }).collect(),
                ))),
            })
            .collect())
    }

    fn series(&self, sets: &[Vec<Matcher>], _: TimeRange) -> Result<Vec<Labels>, ReadError> {
        let wanted = |l: &Labels| sets.is_empty() || sets.iter().any(|set| matches(set, l));
        let all = fixture_series().into_iter().map(|(l, _)| l);
        Ok(all.filter(wanted).collect())
    }
}

/// Ten lines of one stream, a nanosecond apart from 100 s on; each second one has metadata.
impl LogReader for Fixture {
    fn read(
        &self,
        selection: &LogSelection<'_>,
        visit: &mut dyn FnMut(&Labels, &LogEntry) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let stream = Labels::from_pairs([("service_name", "web")]);
        if !matches(selection.matchers, &stream) {
            return Ok(());
        }
        let mut entries: Vec<LogEntry> = (0..10)
            .map(|i| LogEntry {
                at_ns: 100_000_000_000 + i,
                line: format!("line {i}"),
                metadata: if i % 2 == 0 {
                    Labels::empty()
                } else {
                    Labels::from_pairs([("level", "error")])
                },
            })
            .filter(|e| (selection.start_ns..selection.end_ns).contains(&e.at_ns))
            .collect();
        if selection.direction == Direction::Backward {
            entries.reverse();
        }
        for entry in &entries {
            if visit(&stream, entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: i64, _: i64) -> Result<Vec<Labels>, ReadError> {
        Ok(vec![Labels::from_pairs([("service_name", "web")])])
    }
}

fn ten_minutes() -> Timestamp {
    Timestamp::from_millis(600_000)
}

/// A server on a free port of this machine; it ends with the test's runtime.
struct Server {
    base: String,
    api: Api,
}

impl Server {
    async fn starting() -> Server {
        // The client of these tests has no settings that name one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::load(None, &Overrides::default(), &ProcessSurroundings).unwrap();
        let http = HttpMetrics::new(&mut Registry::default());
        let (reloader, _) = Reloader::new();
        let api = Api::new(Arc::new(config), ten_minutes, http, reloader);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = router(api.clone());
        tokio::spawn(async move {
            serve(listener, router, Counter::default(), std::future::pending()).await;
        });
        Server { base, api }
    }

    async fn ready() -> Server {
        Server::over(Arc::new(Fixture)).await
    }

    /// Ready, with the samples of `series`.
    async fn over(series: Arc<dyn SeriesReader>) -> Server {
        let server = Server::starting().await;
        let mut registry = Registry::default();
        let (_, alerting) = alerting::Alerting::open(
            alerting::Config::default(),
            alerting::Options {
                external_url: "http://watch".to_owned(),
                control: Arc::new(model::control::MemoryControlStore::default()),
                base_dir: ".".into(),
            },
            ten_minutes(),
            &mut registry,
        )
        .unwrap();
        server.api.ready(Parts {
            series,
            logs: Arc::new(Fixture),
            append: Box::new(|_| Ok(storage::AppendReport::default())),
            append_logs: Box::new(|_| Ok(())),
            watch_logs: Box::new(drop),
            scrubber: Arc::new(scrub::Scrubber::default()),
            storage: None,
            stats: Box::new(storage::Stats::default),
            engine: Arc::new(::query::Engine::default()),
            rules: Box::new(Vec::new),
            alerting,
            targets: collector::Status::default(),
            heartbeats: pings::heartbeats(),
            pushes: collector::Pushes::default(),
            registry: Arc::new(registry),
            probes: vec![Probe::new("storage", || {
                Component::warning(vec!["tight".to_owned()])
            })],
        });
        server
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("{}{path}", self.base)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[track_caller]
    fn check<'a>(
        &'a self,
        path: &'a str,
        status: u16,
        body: &'a str,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (s, b) = self.get(path).await;
            assert_eq!((s, b.as_str()), (status, body), "{path} at {caller}");
        }
    }
}

#[tokio::test]
async fn before_the_store_has_replayed_nothing_is_answered_but_the_process_lives() {
    let server = Server::starting().await;
    server
        .check("/api/v1/query?query=up", 503, "Service Unavailable\n")
        .await;
    server.check("/-/ready", 503, "Service Unavailable\n").await;
    server
        .check("/-/healthy", 200, "stackwatch is Healthy.\n")
        .await;
    assert_eq!(server.get("/health").await.0, 503);
}

#[tokio::test]
async fn queries_have_prometheus_answers() {
    let server = Server::ready().await;
    server
        .check(
            "/api/v1/query?query=1%2B1&time=4",
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#,
        )
        .await;
    server
        .check(
            "/api/v1/query?query=up%7Bjob%3D%22a%22%7D",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[600,"1"]}]}}"#,
        )
        .await;
    server
        .check(
            "/api/v1/query?query=up&limit=1&time=30.5",
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[30.500,"1"]}]},"warnings":["results truncated due to limit"]}"#,
        )
        .await;
    server
        .check(
            "/api/v1/query_range?query=sum(up)&start=0&end=30&step=15",
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0,"1"],[15,"1"],[30,"1"]]}]}}"#,
        )
        .await;
    server
        .check(
            "/api/v1/query_exemplars?query=test&start=1&end=2",
            200,
            r#"{"status":"success","data":[]}"#,
        )
        .await;
}

#[tokio::test]
async fn wrong_queries_have_prometheus_errors() {
    let server = Server::ready().await;
    let (status, body) = server.get("/api/v1/query?query=1%2B").await;
    assert_eq!(status, 400);
    assert!(
        body.starts_with(
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:"#
        ),
        "{body}"
    );
    for (path, error) in [
        (
            "/api/v1/query?query=up&time=soon",
            r#"invalid parameter \"time\": invalid time value for 'time': cannot parse \"soon\" to a valid timestamp"#,
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=100000&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            r#"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            r#"invalid parameter \"end\": end timestamp must not be before start time"#,
        ),
        ("/api/v1/series", "no match[] parameter provided"),
        (
            "/api/v1/labels?match[]=%7Ba%3D~%22.*%22%7D",
            "match[] must contain at least one non-empty matcher",
        ),
    ] {
        let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
        server.check(path, 400, &body).await;
    }
}

#[tokio::test]
async fn a_post_form_is_as_good_as_a_query() {
    let server = Server::ready().await;
    let answer = reqwest::Client::new()
        .post(format!("{}/api/v1/query?time=4", server.base))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body("query=2*3")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        answer.text().await.unwrap(),
        r#"{"status":"success","data":{"resultType":"scalar","result":[4,"6"]}}"#
    );
}

#[tokio::test]
async fn a_preflight_request_is_answered_without_work() {
    let server = Server::ready().await;
    let answer = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}/api/v1/query", server.base))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(
        answer.headers()["access-control-allow-methods"],
        "GET, POST, OPTIONS"
    );
}

#[tokio::test]
async fn labels_and_series_are_listed() {
    let server = Server::ready().await;
    for (path, data) in [
        ("/api/v1/labels", r#"["__name__","job"]"#),
        ("/api/v1/label/job/values", r#"["a","b"]"#),
        (
            "/api/v1/label/job/values?match[]=up%7Bjob%3D%22b%22%7D",
            r#"["b"]"#,
        ),
        ("/api/v1/label/U__job/values", r#"["a","b"]"#),
        (
            "/api/v1/series?match[]=up%7Bjob%3D%22b%22%7D",
            r#"[{"__name__":"up","job":"b"}]"#,
        ),
        ("/api/v1/metadata?limit=1", "{}"),
    ] {
        let body = format!(r#"{{"status":"success","data":{data}}}"#);
        server.check(path, 200, &body).await;
    }
}

#[tokio::test]
async fn an_unknown_path_is_what_grafana_expects_of_a_prometheus() {
    let server = Server::ready().await;
    for path in [
        "/nothing",
        "/api/v1/nothing",
        "/loki/api/v1/nothing",
        "/api/v2/nothing",
    ] {
        server.check(path, 404, "404 page not found\n").await;
    }
    let (_, build) = server.get("/api/v1/status/buildinfo").await;
    assert!(
        !build.contains("features") && build.contains(r#""version":"3."#),
        "{build}"
    );
}

#[tokio::test]
async fn health_shows_each_component_and_a_warning_is_still_200() {
    let server = Server::ready().await;
    let (status, body) = server.get("/health").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["status"], "warning");
    assert_eq!(body["components"]["storage"]["problems"][0], "tight");
    assert_eq!(server.get("/metrics").await.0, 200);
    assert_eq!(server.get("/").await.0, 200);
}

#[tokio::test]
async fn grafanas_alertmanager_source_finds_what_it_asks_for() {
    let server = Server::ready().await;
    for path in [
        "/api/v2/alerts",
        "/api/v2/alerts/groups",
        "/api/v2/silences",
    ] {
        server.check(path, 200, "[]").await;
    }
    let (status, body) = server.get("/api/v2/status").await;
    assert_eq!(status, 200);
    assert!(body.contains("versionInfo"), "{body}");
    assert_eq!(server.get("/alertmanager/api/v2/status").await.0, 404);
    assert_eq!(server.get("/api/v2/silence/nope").await.0, 404);
}

impl Server {
    async fn post(&self, path: &str, form: String) -> (u16, String) {
        let answer = reqwest::Client::new()
            .post(format!("{}{path}", self.base))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

#[tokio::test]
async fn hostile_requests_get_clear_errors() {
    let server = Server::ready().await;
    let deep = |n: usize| format!("query={}1{}", "(".repeat(n), ")".repeat(n));
    let selectors = "match[]=up&".repeat(10_000);
    for (path, form, status, part) in [
        ("/api/v1/query", deep(30_000), 400, "bad_data"),
        (
            "/api/v1/query",
            deep(40_000),
            400,
            "at most 65536 are accepted",
        ),
        (
            "/api/v1/query",
            format!("query={}1", "-".repeat(60_000)),
            400,
            "bad_data",
        ),
        (
            "/api/v1/query",
            format!("query=1{}", "%2B1".repeat(30_000)),
            400,
            "bad_data",
        ),
        (
            "/api/v1/query",
            "query=up%7Bjob%3D~%22(x%2Bx%2B)%2By%22%7D".to_owned(),
            200,
            "success",
        ),
        (
            "/api/v1/query",
            "query=up%7Bjob%3D~%22(((a%7B1000%7D)%7B1000%7D)%7B1000%7D)%22%7D".to_owned(),
            400,
            "bad_data",
        ),
        (
            "/api/v1/query",
            "query=%ff".to_owned(),
            400,
            "not valid UTF-8",
        ),
        (
            "/api/v1/query",
            "query=%zz".to_owned(),
            400,
            "invalid URL escape",
        ),
        (
            "/api/v1/query",
            "query=up&limit=99999999999999999999".to_owned(),
            400,
            "value out of range",
        ),
        (
            "/api/v1/query",
            "query=up&limit=9223372036854775807".to_owned(),
            200,
            "success",
        ),
        ("/api/v1/series", selectors, 400, "more than 1000 selectors"),
        (
            "/api/v1/labels",
            "a&".repeat(20_001),
            400,
            "more than 20000 parameters",
        ),
        (
            "/api/v1/query_range",
            "query=up&start=0&end=1&step=NaN".to_owned(),
            400,
            "zero or negative",
        ),
        (
            "/api/v1/query_range",
            "query=up&start=0&end=1&step=1e300".to_owned(),
            400,
            "overflows int64",
        ),
        (
            "/api/v1/query_range",
            "query=up&start=0&end=1e300&step=1".to_owned(),
            400,
            "11,000 points",
        ),
    ] {
        let shown: String = form.chars().take(60).collect();
        let (got, body) = server.post(path, form).await;
        assert_eq!(got, status, "{path} {shown}: {body}");
        assert!(body.contains(part), "{path} {shown}: {body}");
    }
    server
        .check(
            "/api/v1/query?query=1&time=1",
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
        )
        .await;
}

#[tokio::test]
async fn what_a_query_cost_is_told_when_asked() {
    let server = Server::ready().await;
    let (status, body) = server.get("/api/v1/query?query=up&stats=all").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    let stats = &body["data"]["stats"];
    assert!(
        stats["timings"]["execTotalTime"].as_f64().unwrap() > 0.0,
        "{stats}"
    );
    assert!(
        stats["samples"]["peakSamples"].as_u64().is_some(),
        "{stats}"
    );
    assert_eq!(stats["samples"]["totalQueryableSamples"], 2);
    let path = "/api/v1/query_range?query=count_over_time(up[1m])&start=30&end=90&step=30";
    for (wanted, per_step) in [
        ("all", serde_json::json!([[30.0, 6], [60.0, 8], [90.0, 8]])),
        ("true", serde_json::Value::Null),
    ] {
        let (_, body) = server.get(&format!("{path}&stats={wanted}")).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let samples = &body["data"]["stats"]["samples"];
        assert_eq!(samples["totalQueryableSamples"], 22);
        assert_eq!(samples["totalQueryableSamplesPerStep"], per_step);
    }
}

#[tokio::test]
async fn the_small_endpoints_answer() {
    let server = Server::ready().await;
    for (path, data) in [
        ("/api/v1/metadata", "{}"),
        ("/api/v1/targets/metadata", "[]"),
        ("/api/v1/notifications", "[]"),
        ("/api/v1/rules?group_limit=1", r#"{"groups":[]}"#),
        (
            "/api/v1/status/walreplay",
            r#"{"current":0,"max":0,"min":0}"#,
        ),
        ("/api/v1/status/tsdb/blocks", r#"{"blocks":[]}"#),
        ("/api/v1/format_query?query=1%2B1", r#""1 + 1""#),
        (
            "/api/v1/parse_query?query=1",
            r#"{"type":"numberLiteral","val":"1"}"#,
        ),
    ] {
        let body = format!(r#"{{"status":"success","data":{data}}}"#);
        server.check(path, 200, &body).await;
    }
    server
        .check("/api/v1/query_exemplars?query=1", 204, "")
        .await;
    server.check("/api/v1/notifications/live", 204, "").await;
    for (path, error) in [
        (
            "/api/v1/rules?group_next_token=x",
            r#"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"#,
        ),
        (
            "/api/v1/rules?group_limit=1&group_next_token=x",
            r#"invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?"#,
        ),
        (
            "/api/v1/rules?exclude_alerts=maybe",
            r#"invalid parameter \"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"maybe\": invalid syntax"#,
        ),
        ("/api/v1/metadata?limit=x", "limit must be a number"),
        (
            "/api/v1/targets/relabel_steps?labels=%7B%7D",
            "no scrapePool parameter provided",
        ),
        (
            "/api/v1/status/tsdb?limit=0",
            "limit must be a positive number",
        ),
    ] {
        let body = format!(r#"{{"status":"error","errorType":"bad_data","error":"{error}"}}"#);
        server.check(path, 400, &body).await;
    }
    let (_, config) = server.get("/api/v1/status/runtimeinfo").await;
    assert!(config.contains("\"memoryBudget\""), "{config}");
    assert!(server.get("/version").await.1.contains("\"version\":\"3."));
}
