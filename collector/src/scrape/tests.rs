//! Scrapes of a target on the loopback interface that says what the test wants.

use std::sync::Arc;
use std::time::Duration;

use model::{Timestamp, is_stale};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::Status;
use crate::source::Source;
use crate::target::Target;

const TIMING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// One job with one target that answers scrape after scrape with the next of its answers.
struct Rig {
    scraper: Scraper,
    target: Target,
    status: Status,
    at: i64,
}

/// A 200 answer in Prometheus text.
fn text(body: &str) -> Vec<u8> {
    http(
        "200 OK",
        "Content-Type: text/plain; version=0.0.4\r\n",
        body.as_bytes(),
    )
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn rig(yaml: &str, answers: Vec<Vec<u8>>) -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = io.read(&mut request).await.unwrap();
            io.write_all(&answer).await.unwrap();
        }
    });
    let yaml = format!(
        "job_name: j\nstatic_configs: [{{ targets: ['{address}'], labels: {{ instance: i }} }}]\n{yaml}"
    );
    let config: ScrapeConfig = serde_saphyr::from_str(&yaml).unwrap();
    let job = Arc::new(Job::new(&config, &Bodies::default()).unwrap());
    let spec = targets(&config, &[], &job.relabel, TIMING).active.remove(0);
    let status = Status::default();
    let target = Target::new(
        "j",
        &spec.url,
        spec.labels.clone(),
        spec.discovered.clone(),
        TIMING,
        status.clone(),
    );
    Rig {
        scraper: Scraper::new(job, spec, None),
        target,
        status,
        at: 0,
    }
}

impl Rig {
    /// Scrapes once and prints the samples; the report only as far as it is not about durations.
    async fn scrape(&mut self) -> Vec<String> {
        self.at += 15_000;
        let at = Timestamp::from_millis(self.at);
        let batch = self.scraper.collect(&mut self.target, at).await;
        self.print(batch)
    }

    fn print(&self, batch: model::SampleBatch) -> Vec<String> {
        let mut out = Vec::new();
        for sample in batch.samples {
            let labels = sample.labels.to_string();
            let name = labels
                .replace(", instance=\"i\", job=\"j\"", "")
                .replace("{instance=\"i\", job=\"j\"}", "");
            let value = if is_stale(sample.value) {
                "stale".to_owned()
            } else {
                sample.value.to_string()
            };
            let own_time = sample.at.millis() != self.at;
            let time = if own_time {
                format!(" @{}", sample.at.millis())
            } else {
                String::new()
            };
            let name = name.strip_prefix("scrape_samples_").unwrap_or(&name);
            if !name.starts_with("scrape_duration") {
                out.push(format!("{name} {value}{time}"));
            }
        }
        out
    }

    fn error(&self) -> String {
        self.status.targets().remove(0).last_error
    }
}

fn report(up: u8, scraped: u8, kept: u8, added: u8) -> Vec<String> {
    vec![
        format!("up {up}"),
        format!("scraped {scraped}"),
        format!("post_metric_relabeling {kept}"),
        format!("scrape_series_added {added}"),
    ]
}

fn with_report(samples: &[&str], report: Vec<String>) -> Vec<String> {
    let samples = samples.iter().map(|s| (*s).to_owned());
    samples.chain(report).collect()
}

#[tokio::test]
async fn series_that_vanish_get_a_marker_and_come_back() {
    let mut rig = rig(
        "",
        vec![text("a 1\nb 2\n"), text("b 3\n"), text("a 4\nb 5\n")],
    )
    .await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 1", "b 2"], report(1, 2, 2, 2))
    );
    assert_eq!(
        rig.scrape().await,
        with_report(&["b 3", "a stale"], report(1, 1, 1, 0))
    );
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 4", "b 5"], report(1, 2, 2, 1))
    );
}

#[tokio::test]
async fn a_failed_scrape_ends_every_series_once_and_says_why() {
    let gone = http("503 Service Unavailable", "", b"");
    let mut rig = rig(
        "",
        vec![
            text("a 1\n"),
            gone.clone(),
            gone,
            text("a 1\nb{\n"),
            text("a 2\n"),
        ],
    )
    .await;
    rig.scrape().await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a stale"], report(0, 0, 0, 0))
    );
    assert_eq!(
        rig.error(),
        "server returned HTTP status 503 Service Unavailable"
    );
    assert_eq!(rig.scrape().await, report(0, 0, 0, 0));
    assert_eq!(rig.scrape().await, report(0, 0, 0, 0));
    assert_eq!(rig.error(), "line 2: labels are not closed");
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 2"], report(1, 1, 1, 1))
    );
    assert_eq!(rig.error(), "");
}

#[tokio::test]
async fn a_target_that_is_removed_ends_its_report_too() {
    let mut rig = rig("", vec![text("a 1\n")]).await;
    rig.scrape().await;
    let end = rig.target.end(Timestamp::from_millis(rig.at));
    assert_eq!(
        rig.print(end),
        [
            "a stale",
            "up stale",
            "scraped stale",
            "post_metric_relabeling stale",
            "scrape_series_added stale"
        ]
    );
    assert_eq!(rig.status.targets(), []);
}

#[tokio::test]
async fn a_series_with_its_own_time_gets_no_marker() {
    let mut rig = rig("", vec![text("a 1 123\na 2 456\n"), text("")]).await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 1 @123", "a 2 @456"], report(1, 2, 2, 1))
    );
    assert_eq!(rig.scrape().await, report(1, 0, 0, 0));
}

#[tokio::test]
async fn times_of_its_own_can_be_ignored() {
    let mut rig = rig("honor_timestamps: false", vec![text("a 1 123\n"), text("")]).await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 1"], report(1, 1, 1, 1))
    );
    assert_eq!(
        rig.scrape().await,
        with_report(&["a stale"], report(1, 0, 0, 0))
    );
}

#[tokio::test]
async fn a_series_that_comes_twice_counts_once() {
    let mut rig = rig("", vec![text("a 1\na{} 2\na 3\n")]).await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 1"], report(1, 3, 3, 1))
    );
}

#[tokio::test]
async fn limits_fail_the_whole_scrape() {
    let mut few = rig(
        "sample_limit: 2",
        vec![text("a 1\nb 1\n"), text("a 1\nb 1\nc 1\n")],
    )
    .await;
    assert_eq!(few.scrape().await.len(), 6);
    assert_eq!(
        few.scrape().await,
        with_report(&["a stale", "b stale"], report(0, 0, 0, 0))
    );
    assert_eq!(few.error(), "line 3: sample limit exceeded (2)");
    let mut short = rig("body_size_limit: 5B", vec![text("a 1\nb 1\n")]).await;
    assert_eq!(short.scrape().await, report(0, 0, 0, 0));
    assert_eq!(short.error(), "body size limit exceeded (5 bytes)");
}

#[tokio::test]
async fn a_small_body_does_not_become_endless_labels() {
    let rules = format!(
        "relabel_configs: [{{ target_label: t, replacement: {} }}]",
        "x".repeat(15_000)
    );
    let body: String = (0..4000).map(|n| format!("a{{i=\"{n}\"}} 1\n")).collect();
    let mut rig = rig(&rules, vec![text(&body)]).await;
    assert_eq!(rig.scrape().await.len(), 4);
    let error = rig.error();
    let expect = "the labels of all series have more than 51200000 bytes";
    assert!(error.ends_with(expect), "{error}");
}

#[tokio::test]
async fn relabelling_changes_what_is_kept_but_not_what_was_scraped() {
    let rules =
        "metric_relabel_configs: [{ source_labels: [__name__], regex: go_.*, action: drop }]";
    let mut rig = rig(rules, vec![text("go_x 1\na 1\n")]).await;
    assert_eq!(
        rig.scrape().await,
        with_report(&["a 1"], report(1, 2, 1, 1))
    );
}

#[tokio::test]
async fn an_answer_without_a_useful_type_is_refused() {
    let html = http("200 OK", "Content-Type: text/html\r\n", b"a 1\n");
    let mut strict = rig("", vec![html.clone()]).await;
    assert_eq!(strict.scrape().await, report(0, 0, 0, 0));
    assert!(
        strict
            .error()
            .starts_with("received unsupported Content-Type \"text/html\"")
    );
    let mut lenient = rig("fallback_scrape_protocol: PrometheusText0.0.4", vec![html]).await;
    assert_eq!(
        lenient.scrape().await,
        with_report(&["a 1"], report(1, 1, 1, 1))
    );
}

#[tokio::test]
async fn compressed_and_open_metrics_answers_are_understood() {
    // gzip of "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# EOF\n", stored uncompressed.
    let plain = b"# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# EOF\n";
    let headers =
        "Content-Type: application/openmetrics-text; version=1.0.0\r\nContent-Encoding: gzip\r\n";
    let mut rig = rig("", vec![http("200 OK", headers, &gzip_stored(plain))]).await;
    assert_eq!(
        rig.scrape().await,
        with_report(
            &["h_bucket{instance=\"i\", job=\"j\", le=\"1.0\"} 1"],
            report(1, 1, 1, 1)
        )
    );
}

/// A gzip member with one stored block: enough to prove that somebody unpacks it.
fn gzip_stored(data: &[u8]) -> Vec<u8> {
    let mut crc = !0_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    let len = data.len() as u16;
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(data);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(len).to_le_bytes());
    out
}

#[tokio::test]
async fn a_closed_port_is_named() {
    let mut rig = rig("", vec![]).await;
    // The server is gone with its last answer.
    tokio::task::yield_now().await;
    assert_eq!(rig.scrape().await, report(0, 0, 0, 0));
    let error = rig.error();
    assert!(
        error.contains("onnection") || error.contains("closed"),
        "{error}"
    );
}
