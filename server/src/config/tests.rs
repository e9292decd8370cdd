use super::*;

struct Empty;

impl Surroundings for Empty {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> std::io::Result<String> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
    }
}

fn load(text: &str) -> Result<Config, String> {
    Config::from_text(
        Some(Path::new("stackwatch.yml")),
        text,
        &Overrides::default(),
        &Empty,
    )
    .map_err(|e| e.to_string())
}

#[track_caller]
fn refused(text: &str, expect: &str) {
    match load(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(message) => assert_eq!(message, expect, "{text}"),
    }
}

#[test]
fn nothing_written_means_host_and_docker_with_the_shipped_rules() {
    let config = load("").unwrap();
    assert_eq!(config.listen, "127.0.0.1:9090");
    assert_eq!(config.external_url, "http://127.0.0.1:9090");
    assert!(config.collector.host.is_some());
    assert!(config.collector.docker.is_some());
    assert_eq!(config.rules.packs, DEFAULT_PACKS);
    assert_eq!(
        load("# only a comment\n---\n").unwrap().listen,
        config.listen
    );
}

#[test]
fn the_keys_of_the_example_are_understood() {
    let config = load(
        "server: { listen: 0.0.0.0:80, external_url: https://watch.example.org/ }\n\
         storage: { dir: /tmp/x, retention: { metrics: 3d, logs: 1w, size: 2GB } }\n\
         collect:\n  interval: 30s\n  host: false\n  docker: { socket: tcp://proxy:2375 }\n  scrape_configs: []\n\
         logs: { docker: {}, files: [], scrub: { plain_keys: [token_bucket], actions: { email: pseudonym }, rules: [{ name: customer, regex: 'C-(\\d+)' }] } }\n\
         rules: { packs: [host], files: [], interval: 1m }\n\
         alerting: {}\n\
         remote_write: []\n",
    )
    .unwrap();
    assert_eq!(config.external_url, "https://watch.example.org");
    assert_eq!(config.storage.size_bytes_max, 2 << 30);
    assert_eq!(
        config.storage.retention_logs,
        Duration::from_secs(7 * 86400)
    );
    assert!(config.collector.host.is_none());
    assert_eq!(config.collector.interval, Duration::from_secs(30));
    assert_eq!(config.scrub.plain_keys, ["token_bucket"]);
    assert_eq!(config.scrub.actions["email"], "pseudonym");
    assert_eq!(config.scrub.rules[0].regex, "C-(\\d+)");
    assert_eq!(config.rules.interval, Duration::from_secs(60));
}

#[test]
fn retention_by_selector_roll_ups_and_budgets_are_understood() {
    let config = load(
        "memory: { budget: 64MB }\n\
         query: { bytes_max: 8MB, concurrency: 2 }\n\
         storage:\n  out_of_order_window: 10m\n  series_per_target_max: 1000\n\
         \x20 retention: { selectors: [{ match: '{job=\"x\"}', keep: 3d }] }\n\
         \x20 rollups: [{ resolution: 5m, keep: 90d }]\n",
    )
    .unwrap();
    assert_eq!(config.storage.head_bytes_max, 32 << 20);
    assert_eq!(config.query_bytes_max(), 8 << 20);
    assert_eq!(config.storage.out_of_order_window, Duration::from_secs(600));
    assert_eq!(config.storage.series_per_target_max, 1000);
    let (matchers, keep) = &config.storage.retention_rules[0];
    assert_eq!((matchers[0].name(), matchers[0].value()), ("job", "x"));
    assert_eq!(*keep, Duration::from_secs(3 * 86_400));
    assert_eq!(
        config.storage.rollups[0].resolution,
        Duration::from_secs(300)
    );
    refused(
        "storage: { retention: { selectors: [{ match: '{}', keep: 3d }] } }\n",
        "stackwatch.yml:1:46: match: 1:1: parse error: vector selector must contain at least one non-empty matcher",
    );
    refused(
        "memory: { budget: 1MB }\n",
        "stackwatch.yml:1:19: memory.budget: 1MB is too little; at least 16MB",
    );
    refused(
        "memory: { budget: 64MB }\nstorage: { memory: 64MB }\n",
        "stackwatch.yml:2:20: storage.memory: 64MB leaves too little of memory.budget, 64MB; at most 32MB",
    );
    refused(
        "query: { concurrency: 0, timeout: 0s }\n",
        "stackwatch.yml:1:23: query.concurrency must be at least 1\n\
         stackwatch.yml:1:35: query.timeout must be more than 0s and at most 1h",
    );
}

#[test]
fn a_retention_that_removes_everything_is_refused() {
    let hint = "(leave it out for the default, write a long time such as 100y to keep it for ever)";
    for (written, said) in [("0", "0s"), ("0s", "0s"), ("59s", "59s"), ("15ms", "15ms")] {
        for key in ["metrics", "logs"] {
            refused(
                &format!("storage:\n  retention:\n    {key}: {written}\n"),
                &format!(
                    "stackwatch.yml:3:{}: {key}: {said} would remove everything at once; at least 1m {hint}",
                    key.len() + 7
                ),
            );
        }
    }
    refused(
        "storage: { retention: { selectors: [{ match: up, keep: 0 }] } }\n",
        "stackwatch.yml:1:56: keep: 0s would remove everything at once; at least 1m (write a long time such as 100y to keep it for ever)",
    );
    refused(
        "storage: { rollups: [{ resolution: 5m, keep: 0s }] }\n",
        "stackwatch.yml:1:46: keep: 0s would remove everything at once; at least 1m (write a long time such as 100y to keep it for ever)",
    );
    refused(
        "storage: { retention: { size: 0 } }\n",
        "stackwatch.yml:1:31: size: 0B would leave no room for anything; at least 16MB (leave it out for 5GB, write a large one such as 1000TB for no bound)",
    );
    for absurd in ["metrics: -1d", "logs: 300y", "size: -5GB", "metrics: 15"] {
        let text = format!("storage: {{ retention: {{ {absurd} }} }}\n");
        let said = load(&text).unwrap_err();
        assert!(said.starts_with("stackwatch.yml:1:"), "{said}");
    }
    let config = load("storage: { retention: { metrics: 100y, size: 1000TB } }\n").unwrap();
    assert_eq!(config.storage.size_bytes_max, 1000 << 40);
    assert_eq!(
        config.storage.retention_metrics,
        Duration::from_secs(100 * 365 * 86_400)
    );
}

#[test]
fn what_is_left_out_of_prometheus_is_refused_as_such() {
    let check = |key: &str, expect: &str| {
        let text = format!("collect: {{ scrape_configs: [{{ job_name: a, {key} }}] }}\n");
        let message = load(&text).err().unwrap();
        assert!(message.ends_with(expect), "{message}");
    };
    check(
        "dns_sd_configs: []",
        "dns_sd_configs is not supported; static_configs, file_sd_configs, http_sd_configs, docker_sd_configs are",
    );
    check(
        "oauth2: {}",
        "oauth2 is not supported; see docs/discovery.md",
    );
}

#[test]
fn a_wrong_file_is_refused_with_its_place() {
    refused(
        "server:\n  lisen: 127.0.0.1:1\n",
        "stackwatch.yml:2:3: unknown key \"lisen\" (did you mean listen?)",
    );
    refused(
        "colect: {}\n",
        "stackwatch.yml:1:1: unknown key \"colect\" (did you mean collect?)",
    );
    refused(
        "storage:\n  retention:\n    size: 5 parsecs\n",
        "stackwatch.yml:3:11: not a size: \"5 parsecs\" (write a number and one of B, KB, MB, GB, TB, e.g. 5GB)",
    );
    refused(
        "storage: { retention: { metrics: 5 days } }\n",
        "stackwatch.yml:1:34: unknown unit \" days\" in duration \"5 days\" (did you mean 5d?)",
    );
    refused(
        "server: { listen: nowhere }\n",
        "stackwatch.yml:1:19: listen: \"nowhere\" is not host:port, e.g. 127.0.0.1:9090",
    );
    refused(
        "server: { listen: \"127.0.0.1:${PORT}\" }\n",
        "stackwatch.yml:1:30: environment variable PORT is not set (write ${PORT:-default} if it may be missing)",
    );
    refused(
        "logs: { scrub: { disabled: [nope] } }\n",
        &format!(
            "stackwatch.yml:1:16: {}",
            scrub::ConfigError::UnknownDetector {
                name: "nope".to_owned()
            }
        ),
    );
}

#[test]
fn a_wrong_flag_is_named_and_not_the_file() {
    let overrides = Overrides {
        listen: Some("9090".to_owned()),
        external_url: Some("example.org".to_owned()),
        ..Overrides::default()
    };
    let said = Config::from_text(None, "", &overrides, &Empty).unwrap_err();
    assert_eq!(
        said.to_string(),
        "--listen (STACKWATCH_LISTEN): \"9090\" is not host:port, e.g. 127.0.0.1:9090\n\
         --external-url (STACKWATCH_EXTERNAL_URL): \"example.org\" must start with http:// or https://"
    );
}

#[test]
fn container_logs_are_switched_under_logs() {
    assert!(load("").unwrap().collector.logs.is_some());
    let config = load("logs: { docker: false }\n").unwrap();
    assert!(config.collector.logs.is_none() && config.collector.docker.is_some());
    refused(
        "collect: { logs: false }\n",
        "stackwatch.yml:1:18: write this under logs.docker",
    );
}

#[test]
fn what_a_later_version_understands_is_refused_by_name() {
    refused(
        "rules: {}\nremote_write: [ { url: y } ]\n",
        "stackwatch.yml:2:15: remote_write is not supported yet in this version; remove it",
    );
}

#[test]
fn log_sources_are_under_logs() {
    let config = load("logs: { files: [ /var/log/*.log ] }\n").unwrap();
    assert_eq!(config.collector.log_sources.files[0].job, "files");
    refused(
        "logs:\n  files:\n  - /var/log/a.log\n  - path: b.log\n",
        "stackwatch.yml:4:5: logs.files: \"b.log\" is not an absolute path",
    );
}

#[test]
fn the_example_file_is_a_configuration() {
    let config = load(include_str!("../../../stackwatch.example.yml")).unwrap();
    assert_eq!(config.collector.scrape_configs.len(), 1);
    assert_eq!(config.storage.head_bytes_max, 64 << 20);
}

#[test]
fn the_examples_of_the_page_on_discovery_are_configurations() {
    let page = include_str!("../../../docs/discovery.md");
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let with_variables = example.replace("${SHOP_DB_PASSWORD}", "x");
        load(&with_variables).unwrap();
    }
}

#[test]
fn a_wrong_entry_of_discovery_is_pointed_at() {
    let wrong = load(
        "collect:\n  discovery:\n    exclude: [a, '(']\n    credentials:\n      - { container: a, password: hunter2, password_file: b }\n",
    );
    let said = wrong.unwrap_err();
    let places: Vec<&str> = said.lines().filter(|l| l.contains(": collect.")).collect();
    assert!(
        places[0].starts_with("stackwatch.yml:3:18: collect.discovery.exclude: "),
        "{said}"
    );
    assert!(
        places[1].starts_with("stackwatch.yml:5:9: collect.discovery.credentials: "),
        "{said}"
    );
    assert!(!said.contains("hunter2"));
    refused(
        "collect:\n  scrape_configs:\n    - job_name: a\n      file_sd_configs: [{ files: [x.txt] }]\n",
        "stackwatch.yml:3:7: scrape_configs, job \"a\": file_sd_configs: path name \"x.txt\" is not valid for file discovery",
    );
}

#[test]
fn what_the_collector_finds_wrong_has_its_place_too() {
    refused(
        "collect:\n  scrape_configs:\n    - job_name: a\n    - job_name: b\n      scrape_interval: 5s\n      scrape_timeout: 10s\n    - job_name: a\n",
        "stackwatch.yml:4:7: scrape_configs, job \"b\": scrape timeout greater than scrape interval\n\
         stackwatch.yml:7:7: found multiple scrape configs with job name \"a\"",
    );
    refused(
        "collect:\n  interval: 0s\n",
        "stackwatch.yml:2:13: collect.interval must be positive",
    );
}

#[test]
fn a_value_of_another_shape_is_named_in_plain_words() {
    let text = |targets: &str| {
        format!(
            "collect:\n  scrape_configs:\n    - job_name: a\n      static_configs:\n        - targets: {targets}\n"
        )
    };
    refused(
        &text("x"),
        "stackwatch.yml:5:20: expected a list, such as [ a, b ]",
    );
    refused(&text("[{a: b}]"), "stackwatch.yml:5:21: expected text");
    refused(
        "server: x\n",
        "stackwatch.yml:1:9: expected a mapping, such as { key: value }",
    );
}

#[test]
fn a_wrong_probe_heartbeat_or_file_is_pointed_at_without_its_credentials() {
    refused(
        "collect:\n  probes:\n    - url: https://a\n    - url: ftp://u:hunter2@h\n",
        "stackwatch.yml:4:7: collect.probes: url: the scheme \"ftp\" is none of http, https, tcp, tls, dns, icmp, ws, wss",
    );
    refused(
        "collect:\n  probes:\n    - url: https://u:one@a\n    - url: https://u:two@a\n",
        "stackwatch.yml:4:7: collect.probes: another probe has the labels {instance=\"https://a\", job=\"blackbox\"} too: give one of them an instance",
    );
    refused(
        "collect:\n  heartbeats:\n    - { name: a b, period: 1d }\n    - { name: a-b, period: 1d }\n",
        "stackwatch.yml:4:7: collect.heartbeats \"a-b\": name and slug must be its own",
    );
    refused(
        "collect:\n  files:\n    - path: backup/*\n",
        "stackwatch.yml:3:7: collect.files: path \"backup/*\" is not absolute",
    );
    let config = load(
        "collect:\n  probes: [{ url: https://a, interval: 30s, body_size_limit: 1MB }]\n  \
         heartbeats: [{ name: b, schedule: '0 3 * * *', timezone: Europe/Berlin }]\n  \
         files: [{ path: '/b/*.dump', max_age: 26h, min_size: 10MB }]\n",
    );
    assert_eq!(config.unwrap().collector.probes.len(), 1);
}
