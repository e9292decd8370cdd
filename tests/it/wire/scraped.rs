//! What we scrape in protobuf: native histograms, and of real exporters the same as in text.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use stackwatch_tests::redis::Program;
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, skipped};

use super::exporter::Exporter;
use super::now;
use super::peers::{Peer, SELECTORS, points, same_point};

const LIMIT: Duration = Duration::from_secs(60);
/// What says nothing but how we scrape.
const NOTHING_ELSE: &str = "collect:\n\
    \x20 { docker: false, host: false, interval: 1s, scrape_configs: [ JOBS ] }\n";

fn scraping(dir: &std::path::Path, name: &str, jobs: &[String]) -> Stackwatch {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    Stackwatch::start(&dir, &NOTHING_ELSE.replace("JOBS", &jobs.join(", ")))
}

/// A job that federates what another has scraped as `wire`.
fn federating(address: &str, via: &str) -> String {
    format!(
        "{{ job_name: {via}, honor_labels: true, scrape_native_histograms: true, metrics_path: /federate, \
            params: {{ 'match[]': ['{{job=\"wire\"}}'] }}, \
            static_configs: [ {{ targets: ['{address}'], labels: {{ via: {via} }} }} ] }}"
    )
}

#[test]
fn native_histograms_are_scraped_from_exporters_us_and_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let exporter = Exporter::start();
    let job = format!(
        "{{ job_name: wire, scrape_native_histograms: true, static_configs: [ {{ targets: ['{}'] }} ] }}",
        exporter.address()
    );
    let first = scraping(dir.path(), "first", &[job]);
    // The exporter's third answer has eleven observations in all, and so on.
    eventually("whole and fractional histograms", LIMIT, || {
        let count = |name: &str| first.value(&format!("histogram_count({name})"));
        let whole = (count("wire_whole")? - 2.0) / 3.0;
        let float = count("wire_float{zone=\"é\"}")? / 1.5;
        (whole >= 2.0 && whole == float && whole.fract() == 0.0).then_some(())
    });
    assert_eq!(first.value("wire_whole_count"), None);
    assert_eq!(
        first.value("scrape_samples_scraped{job=\"wire\"}"),
        Some(5.0)
    );

    let config = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [ {{ job_name: wire, static_configs: [ {{ targets: [ '{}' ] }} ] }} ]\n",
        exporter.address()
    );
    let histograms = "--enable-feature=native-histograms";
    let theirs = Peer::prometheus(dir.path(), &config, &[histograms]);
    let mut sources = vec![("ours", first.listen())];
    match &theirs {
        Some(theirs) => sources.push(("theirs", theirs.listen())),
        None => skipped("no prometheus"),
    }
    let jobs: Vec<String> = sources.iter().map(|(v, a)| federating(a, v)).collect();
    let second = scraping(dir.path(), "second", &jobs);
    for (via, source) in sources {
        for selector in SELECTORS {
            let from = selector.replace('{', "{job=\"wire\",");
            let to = match selector.split_once('{') {
                Some((name, rest)) => format!("{name}{{via=\"{via}\",{rest}"),
                None => format!("{selector}{{via=\"{via}\"}}"),
            };
            let found = eventually(&to, LIMIT, || {
                let found = points(second.listen(), &to, now());
                (found.len() >= 2).then_some(found)
            });
            let there = points(source, &from, now());
            for point in found {
                assert!(
                    there.iter().any(|p| same_point(p, &point)),
                    "{to}: {point} is none of {there:?}"
                );
            }
        }
    }
    // The target's end is told with markers of either kind.
    drop(exporter);
    eventually("the series end", LIMIT, || {
        let ended = SELECTORS.iter().all(|s| first.query(s).is_empty());
        (ended && first.value("up{job=\"wire\"}") == Some(0.0)).then_some(())
    });
}

const TEXT: &str = "\
# HELP my_total How \"many\".\\nTwo lines and a \\\\.
# TYPE my_total counter
my_total{a=\"\",b=\"x\\\\y\\\"z\\n\"} 3
my_total 1e+16
# TYPE my_level gauge
my_level{zone=\"é\"} -0.1
my_level{zone=\"none\"} NaN
my_level{zone=\"most\"} +Inf
my_plain 7
# TYPE my_seconds histogram
my_seconds_bucket{le=\"0.005\"} 1
my_seconds_bucket{le=\"1\"} 2
my_seconds_bucket{le=\"250\"} 2
my_seconds_bucket{le=\"1e+06\"} 3
my_seconds_bucket{le=\"+Inf\"} 4
my_seconds_sum 12345678.9
my_seconds_count 4
# TYPE my_parts summary
my_parts{quantile=\"0.5\"} 2
my_parts{quantile=\"1\"} NaN
my_parts_sum 5
my_parts_count 3
";

/// Each series of a job, without the job, and its value.
fn series(ours: &Stackwatch, job: &str) -> BTreeMap<String, String> {
    let series = ours.query(&format!("{{job=\"{job}\"}}"));
    let told = series.iter().map(|s| {
        let mut labels = s["metric"].as_object().unwrap().clone();
        labels.remove("job");
        let value = s["value"][1].as_str().unwrap().to_owned();
        (Value::Object(labels).to_string(), value)
    });
    told.filter(|(name, _)| !name.contains("\"scrape_"))
        .collect()
}

/// What a job's target says of its families.
fn families(ours: &Stackwatch, job: &str) -> Vec<String> {
    let target = stackwatch_tests::http::encode(&format!("{{job=\"{job}\"}}"));
    let answer = ours.get(&format!("/api/v1/targets/metadata?match_target={target}"));
    let answer = answer.json();
    let mut families: Vec<String> = answer["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("{} {} {}", f["metric"], f["type"], f["help"]))
        .collect();
    families.sort();
    families
}

#[test]
fn real_exporters_say_the_same_in_text_and_in_protobuf() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("text");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("my.prom"), TEXT).unwrap();
    let exporter = free_address();
    let args = [
        format!("--web.listen-address={exporter}"),
        "--collector.disable-defaults".to_owned(),
        "--collector.textfile".to_owned(),
        format!("--collector.textfile.directory={}", folder.display()),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let started = Program::start("prometheus-node-exporter", dir.path(), &args);
    let theirs = Peer::prometheus(dir.path(), "", &[]);
    let (Some(_exporter), Some(theirs)) = (started, theirs) else {
        return skipped("no prometheus-node-exporter or no prometheus");
    };
    let jobs =
        [("node", exporter.as_str()), ("prometheus", theirs.listen())].map(|(name, address)| {
            [
                ("text", "PrometheusText0.0.4"),
                ("proto", "PrometheusProto"),
            ]
            .map(|(job, protocol)| {
                format!(
                    "{{ job_name: {name}-{job}, scrape_protocols: [{protocol}], \
                    static_configs: [ {{ targets: ['{address}'] }} ] }}"
                )
            })
        });
    let ours = scraping(dir.path(), "ours", &jobs.concat());
    // Which statuses it has answered with and the like come with time.
    for name in ["node", "prometheus"] {
        let jobs = [format!("{name}-text"), format!("{name}-proto")];
        eventually(&format!("the same series of {name}"), LIMIT, || {
            let [text, proto] = [&jobs[0], &jobs[1]].map(|job| series(&ours, job));
            let same = text.keys().eq(proto.keys());
            (text.len() > 20 && same).then_some(())
        });
        let [text, proto] = [&jobs[0], &jobs[1]].map(|job| families(&ours, job));
        assert!(text.len() > 10, "{text:?}");
        assert_eq!(text, proto);
    }
    let [text, proto] = ["node-text", "node-proto"].map(|job| {
        let mut all = series(&ours, job);
        all.retain(|name, _| name.contains("\"my_"));
        all
    });
    assert_eq!(text.len(), 17, "{text:?}");
    assert_eq!(text, proto);
}
