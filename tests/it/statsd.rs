//! Applications send their metrics by StatsD, over UDP and TCP.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use stackwatch_tests::eventually;
use stackwatch_tests::stackwatch::{Stackwatch, free_address};

const LIMIT: Duration = Duration::from_secs(20);

const MAPPINGS: &str = "
defaults: { observer_type: summary }
mappings:
- match: \"shop.*.orders\"
  name: orders_total
  labels: { shop: \"$1\", job: \"shop\" }
- match: 'http\\.(\\w+)\\.time'
  match_type: regex
  name: http_seconds
  observer_type: histogram
  buckets: [0.1, 1]
  help: How long answers took.
  labels: { method: \"$1\" }
- match: \"noise.*\"
  action: drop
- match: \"short.*\"
  name: short_lived
  ttl: 2s
";

#[test]
fn what_applications_send_is_stored_under_the_names_of_statsd_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let listen = free_address();
    let config = |tcp: bool| {
        format!(
            "collect:
  host: false
  docker: false
  interval: 1s
  instance: box
  statsd: {{ listen: '{listen}', mapping_config: statsd.yml, tcp: {tcp} }}
"
        )
    };
    std::fs::write(dir.path().join("statsd.yml"), MAPPINGS).unwrap();
    let stackwatch = Stackwatch::start(dir.path(), &config(true));
    let becomes = |expr: &str, expect: f64| {
        eventually(&format!("{expr} = {expect}"), LIMIT, || {
            stackwatch.value(expr).filter(|v| *v == expect)
        });
    };
    // Datagrams before anybody listens are lost, so wait for the connection.
    let mut tcp = eventually("TCP", LIMIT, || TcpStream::connect(&listen).ok());
    becomes("up{job=\"statsd\",instance=\"box\"}", 1.0);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |text: &str| udp.send_to(text.as_bytes(), &listen).unwrap();
    send("web.hits:3|c\nweb.hits:1|c|@0.5\nload:7|g\nload:-2|g\nshop.berlin.orders:2|c");
    send(
        "page.time:200|ms|#env:prod,page:start\nhttp.get.time:50:500:5000|ms\nnoise.a:1|c\nusers:17|s\nshort.a:1|g",
    );
    tcp.write_all(b"web.hits:1|c\nby.tcp,zone=a:4|g\nby.tcp#zone=b:5|g\nby.tcp[zone=c]:6|g\n")
        .unwrap();
    becomes("web_hits{job=\"statsd\",instance=\"box\"}", 6.0);
    becomes("load", 5.0);
    becomes("orders_total{shop=\"berlin\",job=\"shop\"}", 2.0);
    becomes(
        "page_time{env=\"prod\",page=\"start\",quantile=\"0.99\"}",
        0.2,
    );
    becomes("page_time_count", 1.0);
    becomes("http_seconds_bucket{method=\"get\",le=\"1.0\"}", 2.0);
    becomes("http_seconds_bucket{le=\"+Inf\"}", 3.0);
    becomes("http_seconds_sum", 5.55);
    becomes("sum(by_tcp)", 15.0);
    becomes("count(count by (zone) (by_tcp))", 3.0);
    becomes(
        "statsd_exporter_sample_errors_total{reason=\"illegal_event\"}",
        1.0,
    );
    becomes("statsd_exporter_events_actions_total{action=\"drop\"}", 1.0);
    becomes("statsd_exporter_udp_packets_total", 2.0);
    becomes("statsd_exporter_loaded_mappings", 4.0);
    eventually("the end of short_lived", LIMIT, || {
        (stackwatch.value("short_lived").is_none() && stackwatch.value("noise_a").is_none())
            .then_some(())
    });
    let metadata = stackwatch.get("/api/v1/metadata").json();
    for (name, kind) in [
        ("web_hits", "counter"),
        ("load", "gauge"),
        ("page_time", "summary"),
        ("http_seconds", "histogram"),
    ] {
        assert_eq!(metadata["data"][name][0]["type"], kind, "{name}");
    }
    assert_eq!(
        metadata["data"]["http_seconds"][0]["help"],
        "How long answers took."
    );

    // New mappings, read by a reload; counters and gauges go on.
    let more = MAPPINGS.replace("orders_total", "sales_total");
    std::fs::write(dir.path().join("statsd.yml"), more).unwrap();
    std::fs::write(dir.path().join("stackwatch.yml"), config(false)).unwrap();
    stackwatch.signal("HUP");
    becomes("statsd_exporter_config_reloads_total", 1.0);
    eventually("only UDP", LIMIT, || {
        TcpStream::connect(&listen).is_err().then_some(())
    });
    eventually("a packet that is taken", LIMIT, || {
        send("shop.bonn.orders:1|c");
        stackwatch.value("sales_total{shop=\"bonn\"}")
    });
    send("web.hits:1|c");
    becomes("web_hits", 7.0);

    // A mapping file that makes no sense changes nothing.
    std::fs::write(
        dir.path().join("statsd.yml"),
        "mappings: [{match: 'a*', name: b}]",
    )
    .unwrap();
    stackwatch.signal("HUP");
    eventually("a complaint", LIMIT, || {
        stackwatch
            .log()
            .contains("is no piece of a glob")
            .then_some(())
    });
    send("web.hits:1|c");
    becomes("web_hits", 8.0);
}
