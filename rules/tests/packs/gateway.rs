//! `rules/packs/gateway.yml`.

use std::sync::Arc;

use model::control::MemoryControlStore;
use model::{ControlStore, SeriesReader, TimeRange};
use prometheus_client::registry::Registry;
use query::{Engine, EngineOptions};
use rules::Groups;

use crate::support::{TestEnvironment, defaults, labels, seconds};

/// Counters with their growth per second, and what the pack makes of them after ten minutes.
#[track_caller]
fn check(counters: &[(&str, f64)], expect: &[&str]) {
    let file = rules::file::parse("gateway", rules::packs::text("gateway").unwrap()).unwrap();
    let control: Arc<dyn ControlStore> = Arc::new(MemoryControlStore::default());
    let groups = Groups::load(vec![file], defaults(), control, &mut Registry::default()).unwrap();
    let env = TestEnvironment::default();
    for second in (0..=600_i32).step_by(15) {
        for (counter, growth) in counters {
            let value = growth * f64::from(second);
            env.series
                .push(&labels(counter), seconds(second.into()), value);
        }
    }
    let engine = Engine::new(EngineOptions::default());
    for group in groups.groups() {
        assert_eq!(group.eval(seconds(600), &engine, &env).failures, 0);
    }
    let all = env
        .series
        .series(&[], TimeRange::new(seconds(0), seconds(600)))
        .unwrap();
    let recorded = all.into_iter().filter(|l| l.metric_name().contains(':'));
    let mut found: Vec<String> = recorded
        .map(|l| {
            let value = env.series.points(&l).replace("600:", "");
            let value = value.parse::<f64>().unwrap();
            format!("{l} {}", (value * 1000.0).round() / 1000.0)
        })
        .collect();
    found.sort();
    assert_eq!(found, expect);
}

#[test]
fn kong_by_service() {
    check(
        &[
            (
                r#"kong_http_requests_total{job="kong",instance="k",service="rest",route="a",code="200"}"#,
                6.0,
            ),
            (
                r#"kong_http_requests_total{job="kong",instance="k",service="rest",route="b",code="503"}"#,
                2.0,
            ),
            (
                r#"kong_http_requests_total{job="kong",instance="k",service="auth",route="c",code="200"}"#,
                1.0,
            ),
            (
                r#"kong_request_latency_ms_bucket{job="kong",instance="k",service="rest",route="a",le="100.0"}"#,
                9.0,
            ),
            (
                r#"kong_request_latency_ms_bucket{job="kong",instance="k",service="rest",route="a",le="200.0"}"#,
                10.0,
            ),
            (
                r#"kong_request_latency_ms_bucket{job="kong",instance="k",service="rest",route="a",le="+Inf"}"#,
                10.0,
            ),
        ],
        &[
            r#"service:gateway_errors:rate5m{gateway="kong", instance="k", job="kong", service="auth"} 0"#,
            r#"service:gateway_errors:rate5m{gateway="kong", instance="k", job="kong", service="rest"} 2"#,
            r#"service:gateway_request_duration_seconds:p95_rate5m{gateway="kong", instance="k", job="kong", service="rest"} 0.15"#,
            r#"service:gateway_requests:rate5m{gateway="kong", instance="k", job="kong", service="auth"} 1"#,
            r#"service:gateway_requests:rate5m{gateway="kong", instance="k", job="kong", service="rest"} 8"#,
        ],
    );
}

#[test]
fn envoy_by_cluster() {
    check(
        &[
            (
                r#"envoy_cluster_upstream_rq_xx{job="e",instance="i",envoy_cluster_name="rest",envoy_response_code_class="2"}"#,
                3.0,
            ),
            (
                r#"envoy_cluster_upstream_rq_xx{job="e",instance="i",envoy_cluster_name="rest",envoy_response_code_class="5"}"#,
                1.0,
            ),
            (
                r#"envoy_cluster_upstream_rq_time_bucket{job="e",instance="i",envoy_cluster_name="rest",le="500.0"}"#,
                4.0,
            ),
            (
                r#"envoy_cluster_upstream_rq_time_bucket{job="e",instance="i",envoy_cluster_name="rest",le="+Inf"}"#,
                4.0,
            ),
        ],
        &[
            r#"service:gateway_errors:rate5m{gateway="envoy", instance="i", job="e", service="rest"} 1"#,
            r#"service:gateway_request_duration_seconds:p95_rate5m{gateway="envoy", instance="i", job="e", service="rest"} 0.475"#,
            r#"service:gateway_requests:rate5m{gateway="envoy", instance="i", job="e", service="rest"} 4"#,
        ],
    );
}

#[test]
fn traefik_by_service() {
    check(
        &[
            (
                r#"traefik_service_requests_total{job="t",instance="i",service="web",code="200",method="GET"}"#,
                3.0,
            ),
            (
                r#"traefik_service_requests_total{job="t",instance="i",service="web",code="502",method="GET"}"#,
                0.5,
            ),
            (
                r#"traefik_service_request_duration_seconds_bucket{job="t",instance="i",service="web",le="0.1"}"#,
                3.5,
            ),
            (
                r#"traefik_service_request_duration_seconds_bucket{job="t",instance="i",service="web",le="+Inf"}"#,
                3.5,
            ),
        ],
        &[
            r#"service:gateway_errors:rate5m{gateway="traefik", instance="i", job="t", service="web"} 0.5"#,
            r#"service:gateway_request_duration_seconds:p95_rate5m{gateway="traefik", instance="i", job="t", service="web"} 0.095"#,
            r#"service:gateway_requests:rate5m{gateway="traefik", instance="i", job="t", service="web"} 3.5"#,
        ],
    );
}

#[test]
fn caddy_counts_a_request_once_though_it_passes_several_handlers() {
    check(
        &[
            (
                r#"caddy_http_request_duration_seconds_count{job="c",instance="i",server="srv0",handler="subroute",code="200"}"#,
                2.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_count{job="c",instance="i",server="srv0",handler="subroute",code="500"}"#,
                1.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_count{job="c",instance="i",server="srv0",handler="reverse_proxy",code="200"}"#,
                2.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_bucket{job="c",instance="i",server="srv0",handler="subroute",le="2.0"}"#,
                3.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_bucket{job="c",instance="i",server="srv0",handler="subroute",le="+Inf"}"#,
                3.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_bucket{job="c",instance="i",server="srv0",handler="reverse_proxy",le="1.0"}"#,
                2.0,
            ),
            (
                r#"caddy_http_request_duration_seconds_bucket{job="c",instance="i",server="srv0",handler="reverse_proxy",le="+Inf"}"#,
                2.0,
            ),
        ],
        &[
            r#"service:gateway_errors:rate5m{gateway="caddy", instance="i", job="c", service="srv0"} 1"#,
            r#"service:gateway_request_duration_seconds:p95_rate5m{gateway="caddy", instance="i", job="c", service="srv0"} 1.9"#,
            r#"service:gateway_requests:rate5m{gateway="caddy", instance="i", job="c", service="srv0"} 3"#,
        ],
    );
}

#[test]
fn nginx_has_a_rate() {
    check(
        &[(
            r#"nginx_http_requests_total{job="nginx",instance="n:80"}"#,
            5.0,
        )],
        &[r#"service:gateway_requests:rate5m{gateway="nginx", instance="n:80", job="nginx"} 5"#],
    );
}
