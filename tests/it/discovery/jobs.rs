//! Service discovery of scrape jobs, beside a real Prometheus with the same configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use stackwatch_tests::docker::{self, Container, docker};
use stackwatch_tests::redis::Program;
use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, http, skipped};

const LIMIT: Duration = Duration::from_secs(30);

/// Serves one metric on port 9100 of the container.
const SERVE: &str =
    "mkdir -p /www && echo 'app_up 1' > /www/metrics.txt && exec busybox httpd -f -p 9100 -h /www";

fn config(jobs: &str) -> String {
    format!(
        "collect:\n  interval: 1s\n  timeout: 1s\n  host: false\n  docker: false\n  scrape_configs:\n{jobs}"
    )
}

/// Pool, what was discovered, what came of it, and where it is scraped; dropped ones without the
/// last two.
fn targets(listen: &str) -> Option<BTreeSet<[String; 4]>> {
    let answer = http::request("GET", listen, "/api/v1/targets", &[], "").ok()?;
    let data = answer.json()["data"].clone();
    let text = |v: &Value| match v {
        // Prometheus 2 showed labels without a value, 3 does not.
        Value::Object(labels) => {
            let filled = labels.iter().filter(|(_, v)| *v != "");
            format!("{:?}", filled.collect::<Vec<_>>())
        }
        v => v.as_str().map_or_else(|| v.to_string(), str::to_owned),
    };
    let row = |t: &Value| {
        let mut t = t.clone();
        // Prometheus 2.42 shows labels made by relabelling among the discovered ones, in place of others.
        if let Some(labels) = t["discoveredLabels"].as_object_mut() {
            labels.retain(|name, _| name.starts_with("__"));
        }
        ["scrapePool", "discoveredLabels", "labels", "scrapeUrl"].map(|key| text(&t[key]))
    };
    let active = data["activeTargets"].as_array()?.iter().map(row);
    let dropped = data["droppedTargets"].as_array()?.iter().map(|t| {
        // Older ones do not tell the pool.
        let [_, discovered, ..] = row(t);
        [String::new(), discovered, String::new(), String::new()]
    });
    // What we tell of ourselves and of log lines.
    let is_scraped = |row: &[String; 4]| !["stackwatch", "logs"].contains(&row[0].as_str());
    Some(active.chain(dropped).filter(is_scraped).collect())
}

fn prometheus(dir: &Path, jobs: &str) -> Option<(Program, String)> {
    let listen = free_address();
    let text =
        format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n{jobs}");
    std::fs::write(dir.join("prometheus.yml"), text).unwrap();
    let program = Program::start(
        "prometheus",
        dir,
        &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            &format!("--web.listen-address={listen}"),
        ],
    )?;
    Some((program, listen))
}

#[test]
fn files_servers_and_containers_give_the_targets_that_prometheus_finds() {
    if !docker::available() {
        return skipped("no Docker engine answers");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write(
        "tg_a.json",
        r#"[{"targets":["127.0.0.1:1","127.0.0.1:2"],"labels":{"env":"prod","__metrics_path__":"/m"}}]"#,
    );
    write(
        "tg_b.yml",
        "- targets: ['127.0.0.1:3']\n  labels: { env: test }\n",
    );
    write("other.yml", "- targets: ['127.0.0.1:4']\n");
    let server = Sink::start_as(
        r#"[{"targets":["127.0.0.1:5"],"labels":{"__meta_rack":"r1","rack":"r1"}},{"targets":["127.0.0.1:6"],"labels":{}}]"#,
        "application/json; charset=utf-8",
    );
    let network = format!("stackwatch-test-{}", std::process::id());
    let _ = docker(&["network", "rm", &network]);
    docker(&["network", "create", "--label", "team.name=a b", &network]).unwrap();
    let label = format!("sd.test={network}");
    let labelled = |more: &[&'static str]| -> Vec<String> {
        let own = ["--label", &label].map(str::to_owned);
        own.into_iter()
            .chain(more.iter().map(|m| (*m).to_owned()))
            .collect()
    };
    let run = |name: &str, options: &[String]| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Container::run_with(name, docker::IMAGE, &options, &["sleep", "600"])
    };
    let in_network = ["--network".to_owned(), network.clone()];
    let _web = run(
        "sd-web",
        &[
            labelled(&[
                "--expose",
                "9100",
                "--expose",
                "53/udp",
                "-p",
                "127.0.0.1::8080",
                "--label",
                "a.b/c=x=y",
            ]),
            in_network.to_vec(),
        ]
        .concat(),
    );
    let _bare = run("sd-bare", &labelled(&[]));
    let _host = run("sd-host", &labelled(&["--network=host"]));
    let jobs = format!(
        "    - job_name: files
      file_sd_configs: [{{ files: ['{path}/tg_*.json', '{path}/tg_b.yml', '{path}/none.yml'] }}]
      relabel_configs: [{{ source_labels: [env], regex: prod, action: keep }}]
    - job_name: server
      http_sd_configs: [{{ url: 'http://{}/sd?x=1', refresh_interval: 1s }}]
      relabel_configs: [{{ source_labels: [__meta_url], target_label: found_by }}]
    - job_name: containers
      docker_sd_configs:
        - host: unix:///var/run/docker.sock
          port: 9999
          host_networking_host: 127.0.0.1:9100
          refresh_interval: 1s
          filters: [{{ name: label, values: ['{label}'] }}]
      relabel_configs:
        - {{ source_labels: [__meta_docker_container_name], regex: /(.*), target_label: container }}
        - {{ regex: __meta_docker_network_label_(.+), action: labelmap }}
        - {{ source_labels: [__meta_docker_port_private], regex: '8080', action: drop }}
",
        server.address(),
    );
    let theirs_dir = dir.path().join("theirs");
    std::fs::create_dir(&theirs_dir).unwrap();
    let Some((_prometheus, listen)) = prometheus(&theirs_dir, &jobs) else {
        return skipped("no prometheus");
    };
    let stackwatch = Stackwatch::start(dir.path(), &config(&jobs));
    let mut shown = (BTreeSet::new(), BTreeSet::new());
    // Two of the first file, one dropped of the second; two; two ports, one dropped, a bare one, a host one.
    let wanted = 3 + 2 + 4;
    for _ in 0..300 {
        let both = (targets(stackwatch.listen()), targets(&listen));
        if let (Some(ours), Some(theirs)) = both {
            if ours == theirs && ours.len() == wanted {
                return drop(docker_network_gone(&network, [_web, _bare, _host]));
            }
            shown = (ours, theirs);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (ours, theirs) = shown;
    panic!(
        "only ours: {:#?}\nonly Prometheus': {:#?}\n{} in all, {wanted} wanted",
        ours.difference(&theirs).collect::<Vec<_>>(),
        theirs.difference(&ours).collect::<Vec<_>>(),
        ours.len(),
    );
}

fn docker_network_gone<const N: usize>(
    network: &str,
    containers: [Container; N],
) -> Option<String> {
    drop(containers);
    docker(&["network", "rm", network])
}

#[test]
fn targets_come_and_go_with_their_files_answers_and_containers() {
    if !docker::available() {
        return skipped("no Docker engine answers");
    }
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (Sink::start("a 1\n"), Sink::start("a 2\n"));
    let file = dir.path().join("targets.json");
    let list = |address: &str| format!("[{{\"targets\":[\"{address}\"]}}]");
    std::fs::write(&file, list(first.address())).unwrap();
    let server = Sink::start_as(&list(first.address()), "application/json");
    let label = format!("sd.test=life-{}", std::process::id());
    let jobs = format!(
        "    - job_name: file
      file_sd_configs: [{{ files: [targets.json] }}]
    - job_name: server
      http_sd_configs: [{{ url: 'http://u:hunter2@{}/', refresh_interval: 1s }}]
    - job_name: containers
      metrics_path: /metrics.txt
      docker_sd_configs: [{{ host: 'unix:///var/run/docker.sock', refresh_interval: 1s, port: 9100, filters: [{{ name: label, values: ['{label}'] }}] }}]
",
        server.address(),
    );
    let stackwatch = Stackwatch::start(dir.path(), &config(&jobs));
    let instance =
        |job: &str, sink: &Sink| format!("a{{job=\"{job}\",instance=\"{}\"}}", sink.address());
    for job in ["file", "server"] {
        eventually(job, LIMIT, || stackwatch.value(&instance(job, &first)));
    }
    // The password is sent and never shown.
    let asked = server.received().pop().unwrap();
    assert!(
        asked
            .header("authorization")
            .is_some_and(|h| h.starts_with("Basic "))
    );
    assert_eq!(
        asked.header("x-prometheus-refresh-interval-seconds"),
        Some("1")
    );
    let shown = stackwatch.get("/api/v1/targets").body;
    assert!(
        !shown.contains("hunter2") && shown.contains("__meta_url"),
        "{shown}"
    );

    // A file and an answer change: the old target's series end, the new one's begin.
    std::fs::write(&file, list(second.address())).unwrap();
    server.answer(200, &list(second.address()));
    for job in ["file", "server"] {
        eventually(job, LIMIT, || stackwatch.value(&instance(job, &second)));
        eventually("the end of the first", LIMIT, || {
            stackwatch
                .value(&instance(job, &first))
                .is_none()
                .then_some(())
        });
        let up = format!("up{{job=\"{job}\"}}");
        assert_eq!(stackwatch.query(&up).len(), 1);
    }

    // What breaks keeps its targets, and says so.
    std::fs::write(&file, "[{").unwrap();
    server.answer(503, "");
    eventually("both problems in /health", LIMIT, || {
        let health = stackwatch.get("/health").body;
        (health.contains("targets.json: ") && health.contains("status 503")).then_some(())
    });
    for job in ["file", "server"] {
        assert_eq!(stackwatch.value(&instance(job, &second)), Some(2.0));
    }
    assert!(!stackwatch.log().contains("hunter2"));

    // A container comes, is scraped, and goes.
    let container = Container::run_with(
        "sd-life",
        docker::IMAGE,
        &["--label", &label],
        &["sh", "-c", SERVE],
    );
    eventually("the container's metric", LIMIT, || {
        stackwatch.value("app_up{job=\"containers\"}")
    });
    container.remove();
    eventually("its end", LIMIT, || {
        let left = stackwatch.query("{job=\"containers\",__name__=~\"up|app_up|scrape_.*\"}");
        left.is_empty().then_some(())
    });
    let pools = stackwatch
        .get("/api/v1/targets?scrapePool=containers")
        .json();
    assert_eq!(
        pools["data"]["activeTargets"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn check_config_reads_the_files_that_discovery_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("stackwatch.yml");
    let jobs = "    - job_name: a\n      file_sd_configs: [{ files: ['sd/*.json', later.yml] }]\n";
    std::fs::write(&file, config(jobs)).unwrap();
    std::fs::create_dir(dir.path().join("sd")).unwrap();
    let check = |text: &str| {
        std::fs::write(dir.path().join("sd/a.json"), text).unwrap();
        let out = std::process::Command::new(stackwatch_tests::stackwatch::binary())
            .args(["check", "config"])
            .arg(&file)
            .output()
            .unwrap();
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    assert_eq!(check("[]").0, Some(0));
    let (code, said) = check("[{\"targts\": []}]");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("job \"a\"") && said.contains("sd/a.json"),
        "{said}"
    );
}
