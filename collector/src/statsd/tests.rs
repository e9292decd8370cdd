//! What lines become in the end.

use std::time::Duration;

use super::*;
use crate::Status;
use crate::config::target_labels;
use model::is_stale;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Receiver {
    statsd: Statsd,
    target: Target,
}

impl Receiver {
    /// Without sockets.
    fn new(mappings: &str) -> Receiver {
        let received = Received::default();
        let file = MappingFile::parse(mappings).unwrap();
        received.configure(&StatsdConfig::default(), &file).unwrap();
        let labels = target_labels("statsd", "h");
        let timing = (Duration::from_secs(15), Duration::from_secs(10));
        Receiver {
            statsd: Statsd {
                received,
                _sockets: JoinSet::new(),
            },
            target: Target::new(
                "statsd",
                "statsd:",
                labels.clone(),
                labels,
                timing,
                Status::default(),
            ),
        }
    }

    fn take(&self, text: &str) {
        self.statsd.received.take(text.as_bytes(), NOW);
    }

    /// What a collection tells, without its report; of the receiver's own metrics those that are not 0.
    fn told(&mut self, at: Timestamp) -> Vec<String> {
        let (statsd, target) = (&mut self.statsd, &mut self.target);
        let batch = futures_util::FutureExt::now_or_never(statsd.collect(target, at)).unwrap();
        let mut lines: Vec<String> = Vec::new();
        for sample in &batch.samples {
            let mut labels = sample.labels.to_builder();
            let own = sample.labels.metric_name().starts_with("statsd_exporter_");
            if sample.labels.get("instance") == Some("h")
                && sample.labels.get("job") == Some("statsd")
            {
                labels.remove("instance").remove("job");
            }
            let labels = labels.build();
            let report =
                labels.metric_name() == "up" || labels.metric_name().starts_with("scrape_");
            if report || own && sample.value == 0.0 {
                continue;
            }
            let value = if is_stale(sample.value) {
                "stale".to_owned()
            } else {
                sample.value.to_string()
            };
            lines.push(format!("{labels} {value}"));
        }
        lines.sort();
        lines
    }

    /// As [`Receiver::told`], without the receiver's own metrics.
    fn metrics(&mut self) -> Vec<String> {
        let mut all = self.told(NOW);
        all.retain(|line| !line.starts_with("statsd_exporter_"));
        all
    }
}

#[test]
fn counters_add_up_and_gauges_are_set_or_moved() {
    let mut receiver = Receiver::new("");
    receiver.take("web.hits:1|c\nweb.hits:2|c|@0.5\r\nweb.hits:3|c|#code:200\n\nload:5|g\nload:-2|g\nload:+1|g");
    receiver.take("only.moved:-3|g");
    let expect = [
        "load 4",
        "only_moved -3",
        "web_hits 5",
        "web_hits{code=\"200\"} 3",
    ];
    assert_eq!(receiver.metrics(), expect);
    receiver.take("web.hits:1|c\nload:7|g");
    assert_eq!(receiver.metrics()[0], "load 7");
    assert_eq!(receiver.metrics()[2], "web_hits 6");
}

#[test]
fn timers_are_summaries_in_seconds_unless_mapped_to_histograms() {
    let mut receiver = Receiver::new(
        "mappings: [{match: 'h.*', name: h, observer_type: histogram, buckets: [0.1, 1]}]",
    );
    receiver.take("t:200|ms\nt:0.4|h|@0.5\nh.x:100|ms\nh.y:0.5:2|d\n");
    let expect = [
        "h_bucket{le=\"+Inf\"} 3",
        "h_bucket{le=\"0.1\"} 1",
        "h_bucket{le=\"1.0\"} 2",
        "h_count 3",
        "h_sum 2.6",
        "t_count 3",
        "t_sum 1",
        "t{quantile=\"0.5\"} 0.4",
        "t{quantile=\"0.9\"} 0.4",
        "t{quantile=\"0.99\"} 0.4",
    ];
    assert_eq!(receiver.metrics(), expect);
    let metadata = receiver.target.status.metadata();
    let kinds: Vec<String> = metadata[0]
        .1
        .iter()
        .take(1)
        .map(|f| format!("{} {}", f.name, f.kind))
        .collect();
    assert_eq!(kinds, ["h histogram"]);
    // Ten minutes later nothing is known of the last ten minutes.
    let later = receiver.told(NOW.plus(Duration::from_secs(660)));
    assert!(
        later.contains(&"t{quantile=\"0.5\"} NaN".to_owned()),
        "{later:?}"
    );
    assert!(later.contains(&"t_count 3".to_owned()), "{later:?}");
}

#[test]
fn labels_of_mappings_and_tags_come_together() {
    let mut receiver = Receiver::new(
        "mappings:
- { match: 'a.*', name: a, labels: { job: $1, env: dev }, help: Own words., scale: 0.001 }
- { match: 'b.*', name: b, honor_labels: true, labels: { env: dev } }",
    );
    receiver.take("a.shop:2000|g|#env:prod,x:y\nb.x:1|c|#env:prod\n");
    let expect = [
        "a{env=\"dev\", instance=\"h\", job=\"shop\", x=\"y\"} 2",
        "b{env=\"prod\"} 1",
    ];
    assert_eq!(receiver.metrics(), expect);
    assert_eq!(receiver.target.status.metadata()[0].1[0].help, "Own words.");
}

#[test]
fn what_expires_ends_with_a_marker() {
    let mut receiver = Receiver::new("defaults: { ttl: 1m }");
    receiver.take("a:1|c\nb:1|g");
    assert_eq!(receiver.metrics().len(), 2);
    receiver
        .statsd
        .received
        .take(b"b:2|g", NOW.plus(Duration::from_secs(60)));
    let later = receiver.told(NOW.plus(Duration::from_secs(61)));
    assert_eq!(later[..2], ["a stale", "b 2"]);
}

#[test]
fn the_receiver_counts_what_it_does_under_statsd_exporters_names() {
    let mut receiver = Receiver::new(
        "mappings: [{match: 'm.*', name: m}, {match: 'd.*', action: drop}, {match: '(e)', match_type: regex, name: '$2'}]",
    );
    receiver
        .take("m.a:1|c\nd.a:1|c\ne:1|c\nx:1|c|#a:b,c\nx:1|g\nx:-1|c\nnonsense\nx:1|s\ny:1|ms|@0.1");
    receiver.statsd.received.take(b"\xff\xfe:1|c", NOW);
    let own: Vec<String> = receiver
        .told(NOW)
        .into_iter()
        .filter_map(|line| line.strip_prefix("statsd_exporter_").map(str::to_owned))
        .collect();
    let expect = [
        "events_actions_total{action=\"drop\"} 1",
        "events_actions_total{action=\"map\"} 1",
        "events_conflict_total{type=\"gauge\"} 1",
        "events_error_total{reason=\"empty_metric_name\"} 1",
        "events_error_total{reason=\"illegal_negative_counter\"} 1",
        "events_total{type=\"counter\"} 2",
        "events_total{type=\"observer\"} 10",
        "events_unmapped_total 4",
        "lines_total 10",
        "loaded_mappings 3",
        "metrics_total{type=\"counter\"} 2",
        "metrics_total{type=\"summary\"} 1",
        "sample_errors_total{reason=\"illegal_event\"} 1",
        "sample_errors_total{reason=\"malformed_line\"} 2",
        "samples_total 8",
        "tag_errors_total 1",
        "tags_total 1",
    ];
    assert_eq!(own, expect);
}

#[test]
fn counters_and_gauges_outlive_new_mappings() {
    let mut receiver = Receiver::new("");
    receiver.take("a:1|c\nb:1|g\nt:1|ms");
    let received = receiver.statsd.received.clone();
    let configure = |mappings: &str| {
        let file = MappingFile::parse(mappings).unwrap();
        received.configure(&StatsdConfig::default(), &file)
    };
    configure("").unwrap();
    assert_eq!(receiver.metrics().len(), 7);
    configure("defaults: { observer_type: histogram }").unwrap();
    receiver.take("a:1|c\nt:1|ms");
    let after = receiver.metrics();
    assert!(after.contains(&"a 2".to_owned()), "{after:?}");
    assert!(after.contains(&"b 1".to_owned()), "{after:?}");
    assert!(
        after.contains(&"t_bucket{le=\"0.005\"} 1".to_owned()),
        "{after:?}"
    );
    // Those that do not work change nothing.
    assert!(configure("mappings: [{match: 'a*', name: b}]").is_err());
    // The quantiles have ended meanwhile.
    assert_eq!(receiver.metrics(), after[..after.len() - 3]);
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_tried_again() {
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let config = StatsdConfig {
        listen: listen.clone(),
        tcp: false,
        ..StatsdConfig::default()
    };
    let received = Received::default();
    let statsd = Statsd::new(&config, &MappingFile::default(), received.clone()).unwrap();
    let wait = async |what: &dyn Fn(&State) -> bool| {
        while !what(&received.lock()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    wait(&|state| state.udp_problem.is_some()).await;
    let problem = received.lock().udp_problem.clone().unwrap();
    assert!(
        problem.starts_with(&format!("cannot listen on {listen} by UDP: ")),
        "{problem}"
    );
    drop(taken);
    wait(&|state| state.udp_problem.is_none()).await;
    let sender = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.send_to(b"a:1|c", &listen).await.unwrap();
    wait(&|state| state.counts.samples == 1).await;
    drop(statsd);
}
