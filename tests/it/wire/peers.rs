//! Real senders and readers, as Debian has them: Prometheus and vmagent.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, http, skipped};

use super::exporter::Exporter;
use super::{now, raw, same, start};

/// Another program; killed on drop.
pub(crate) struct Peer {
    child: Child,
    listen: String,
}

impl Peer {
    /// Prometheus, when it is installed; its files in `dir`.
    pub(crate) fn prometheus(dir: &Path, config: &str, args: &[&str]) -> Option<Peer> {
        let listen = free_address();
        let file = dir.join(format!("prometheus-{listen}.yml"));
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join(format!("tsdb-{listen}")).display()
            ))
            .arg(format!("--web.listen-address={listen}"))
            .arg("--log.level=warn")
            .args(args);
        Peer::spawn(command, listen, &dir.join("prometheus.log"), "/-/ready")
    }

    fn spawn(mut command: Command, listen: String, log: &Path, ready: &str) -> Option<Peer> {
        let log = std::fs::File::create(log).unwrap();
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let peer = Peer {
            child: started.ok()?,
            listen,
        };
        eventually("the peer is ready", Duration::from_secs(60), || {
            let answer = http::request("GET", &peer.listen, ready, &[], "");
            answer.is_ok_and(|a| a.status == 200).then_some(())
        });
        Some(peer)
    }

    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Scrapes the exporter every second and sends what it finds to `ours`.
fn scraping(exporter: &Exporter, ours: &Stackwatch) -> String {
    format!(
        "global: {{ scrape_interval: 1s, external_labels: {{ site: there }} }}\n\
         scrape_configs:\n\
         - job_name: wire\n\
         \x20 static_configs: [ {{ targets: [ \"{}\" ] }} ]\n\
         remote_write:\n\
         - url: http://{}/api/v1/write\n\
         \x20 send_native_histograms: true\n\
         \x20 metadata_config: {{ send_interval: 1s }}\n",
        exporter.address(),
        ours.listen()
    )
}

/// The points of `selector` up to `t`, as text.
pub(super) fn points(address: &str, selector: &str, t: i64) -> Vec<Value> {
    [
        raw(address, selector, t, "values"),
        raw(address, selector, t, "histograms"),
    ]
    .concat()
}

/// Floats to the last digit; see [`same`] for histograms.
pub(super) fn same_point(a: &Value, b: &Value) -> bool {
    a == b || (a[1].is_object() && same(a, b))
}

/// Waits until `address` has the same points of each selector as `other` up to some instant.
fn same_points(address: &str, other: &str, selectors: &[&str], points_min: usize) {
    for selector in selectors {
        eventually(selector, Duration::from_secs(60), || {
            let (t, at_least) = (now() - 3000, points_min);
            let theirs = points(other, selector, t);
            let own = points(address, selector, t);
            let all_same =
                own.len() == theirs.len() && own.iter().zip(&theirs).all(|(a, b)| same_point(a, b));
            (theirs.len() >= at_least && all_same).then_some(())
        });
    }
}

pub(super) const SELECTORS: [&str; 5] = [
    "wire_scrapes_total",
    "wire_level{kind=\"\"}",
    "wire_level{kind=\"none\"}",
    "wire_whole",
    "wire_float",
];

#[test]
fn prometheus_sends_reads_and_federates() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, exporter) = (start(dir.path()), Exporter::start());
    let histograms = "--enable-feature=native-histograms";
    let sender = Peer::prometheus(dir.path(), &scraping(&exporter, &ours), &[histograms]);
    let Some(sender) = sender else {
        return skipped("no prometheus");
    };
    // Sent: every point, floats and histograms.
    same_points(ours.listen(), sender.listen(), &SELECTORS, 4);
    let labels = &ours.query("wire_float")[0]["metric"];
    assert_eq!(
        (labels["site"].as_str(), labels["zone"].as_str()),
        (Some("there"), Some("é"))
    );
    eventually("metadata", Duration::from_secs(30), || {
        let metadata = ours
            .get("/api/v1/metadata?metric=wire_scrapes_total")
            .json();
        (metadata["data"]["wire_scrapes_total"][0]["type"] == "counter").then_some(())
    });
    // Read through a Prometheus that has nothing of its own; 2.42 leaves out the histograms that
    // it is sent.
    let config = format!(
        "remote_read:\n- url: http://{}/api/v1/read\n  read_recent: true\n",
        ours.listen()
    );
    let reader = Peer::prometheus(dir.path(), &config, &[histograms]).unwrap();
    let t = now() - 2000;
    for selector in &SELECTORS[..3] {
        let theirs = points(reader.listen(), selector, t);
        assert!(theirs.len() >= 3, "{selector}: {theirs:?}");
        let own = points(ours.listen(), selector, t);
        let all_same =
            own.len() == theirs.len() && own.iter().zip(&theirs).all(|(a, b)| same_point(a, b));
        assert!(all_same, "{selector}: {own:?} {theirs:?}");
    }
    // Federated: the newest points, with their labels and instants.
    let config = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs:\n\
         - job_name: federate\n\
         \x20 honor_labels: true\n\
         \x20 metrics_path: /federate\n\
         \x20 params: {{ \"match[]\": [ '{{job=\"wire\"}}' ] }}\n\
         \x20 static_configs: [ {{ targets: [ \"{}\" ] }} ]\n",
        ours.listen()
    );
    let federating = Peer::prometheus(dir.path(), &config, &[histograms]).unwrap();
    for selector in SELECTORS {
        let selector = selector.replace("{", "{job=\"wire\",site=\"there\",");
        let found = eventually("federated points", Duration::from_secs(30), || {
            let found = points(federating.listen(), &selector, now());
            (found.len() >= 2).then_some(found)
        });
        let own = points(ours.listen(), &selector, now());
        for point in found {
            assert!(
                own.iter().any(|p| same_point(p, &point)),
                "{selector}: {point} is none of {own:?}"
            );
        }
    }
    // Without histograms it asks for text, which has none of them.
    let plain = Peer::prometheus(dir.path(), &config, &[]).unwrap();
    eventually("federated floats", Duration::from_secs(30), || {
        (points(plain.listen(), SELECTORS[0], now()).len() >= 2).then_some(())
    });
    assert_eq!(
        points(plain.listen(), "wire_whole", now()),
        [Value::Null; 0]
    );
    // The target's end is told with markers: the series are gone at once, `up` is zero.
    drop(exporter);
    eventually("the series end", Duration::from_secs(30), || {
        let ended = SELECTORS.iter().all(|s| ours.query(s).is_empty());
        (ended && ours.value("up{job=\"wire\"}") == Some(0.0)).then_some(())
    });
}

#[test]
fn vmagent_sends() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, exporter) = (start(dir.path()), Exporter::start());
    let config = dir.path().join("vmagent.yml");
    let scraping = scraping(&exporter, &ours);
    let scraping = scraping.split("remote_write:").next().unwrap();
    std::fs::write(&config, scraping).unwrap();
    let listen = free_address();
    let mut command = Command::new("vmagent");
    command
        .arg(format!("-promscrape.config={}", config.display()))
        .arg(format!(
            "-remoteWrite.url=http://{}/api/v1/write",
            ours.listen()
        ))
        .arg(format!(
            "-remoteWrite.tmpDataPath={}",
            dir.path().join("vmagent").display()
        ))
        .arg(format!("-httpListenAddr={listen}"));
    let log = dir.path().join("vmagent.log");
    let Some(vmagent) = Peer::spawn(command, listen, &log, "/health") else {
        return skipped("no vmagent");
    };
    eventually("ten samples", Duration::from_secs(60), || {
        (points(ours.listen(), SELECTORS[0], now()).len() >= 5).then_some(())
    });
    let values = points(ours.listen(), SELECTORS[0], now());
    let numbers: Vec<f64> = values
        .iter()
        .map(|v| v[1].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(
        numbers.windows(2).all(|w| w[0] + 1.0 == w[1]),
        "{numbers:?}"
    );
    // Nothing was refused or is sent again for ever.
    let metrics = http::request("GET", vmagent.listen(), "/metrics", &[], "")
        .unwrap()
        .body;
    let of = |name: &str| -> f64 {
        let lines = metrics.lines().filter(|l| l.starts_with(name));
        lines
            .filter_map(|l| l.split(' ').next_back()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(of("vmagent_remotewrite_packets_dropped_total"), 0.0);
    assert_eq!(of("vmagent_remotewrite_retries_count_total"), 0.0);
    drop(exporter);
    eventually("the series end", Duration::from_secs(30), || {
        let ended = SELECTORS[..3].iter().all(|s| ours.query(s).is_empty());
        (ended && ours.value("up{job=\"wire\"}") == Some(0.0)).then_some(())
    });
}
