//! Real redis-servers of every kind, and redis_exporter beside us on the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use stackwatch_tests::redis::{Program, Redis};
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, http, skipped};

/// Name, then its label sets (job and instance left out) with their values.
type Families = BTreeMap<String, BTreeMap<BTreeMap<String, String>, f64>>;

/// Families that Debian's redis_exporter 1.45 has and we do not.
const NOT_OURS: [(&str, &str); 2] = [
    (
        "redis_target_scrape_request_errors_total",
        "of its own HTTP server",
    ),
    (
        "redis_last_key_groups_scrape_duration_milliseconds",
        "of key groups, which we do not make",
    ),
];

/// Families whose labels differ, and why.
const OTHER_LABELS: [(&str, &str); 4] = [
    ("redis_exporter_build_info", "it tells who collects"),
    (
        "redis_instance_info",
        "1.88, whose labels we have, has master_replid too",
    ),
    (
        "redis_config_client_output_buffer_limit_bytes",
        "1.88 has it, 1.45 does not",
    ),
    (
        "redis_exporter_scrape_duration_seconds",
        "a summary without quantiles",
    ),
];

/// Names of 1.45 that 1.88, whose names we have, spells otherwise.
const RENAMED: [(&str, &str); 1] = [("redis_latest_fork_usec", "redis_latest_fork_seconds")];

/// Types of 1.45 that 1.88, whose types we have, mended.
const RETYPED: [&str; 1] = ["redis_expired_time_cap_reached_total"];

#[test]
fn beside_redis_exporter_the_same_families_types_labels_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(
        dir.path(),
        &["--appendonly", "yes", "--latency-monitor-threshold", "1"],
    ) else {
        return skipped("no redis-server");
    };
    load(&redis);
    let (address, port) = (free_address(), redis.port);
    let Some(_exporter) = Program::start(
        "prometheus-redis-exporter",
        &dir.path().join("exporter"),
        &[
            &format!("--redis.addr=redis://127.0.0.1:{port}"),
            &format!("--web.listen-address={address}"),
            "--include-system-metrics",
            "--check-single-keys=db0=number,db0=list,db3=hll,db0=gone",
            "--check-keys=db0=many:*",
            "--check-streams=db0=st*",
            "--count-keys=db0=many:*",
        ],
    ) else {
        return skipped("no prometheus-redis-exporter");
    };
    let config = format!(
        "collect:
  interval: 1s
  host: false
  docker: false
  redis:
    - url: redis://127.0.0.1:{port}
      check_single_keys: [db0=number, db0=list, db3=hll, db0=gone]
      check_keys: ['db0=many:*']
      check_streams: ['db0=st*']
      count_keys: ['db0=many:*']
"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    eventually("both collect", Duration::from_secs(20), || {
        let theirs = http::request("GET", &address, "/metrics", &[], "").ok()?;
        (theirs.status == 200 && stackwatch.value("redis_exporter_scrapes_total")? >= 2.0)
            .then_some(())
    });
    let theirs = http::request("GET", &address, "/metrics", &[], "")
        .unwrap()
        .body;
    let ours = ours(&stackwatch);
    let metadata = stackwatch.get("/api/v1/metadata").json();
    let types = theirs.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    let types: BTreeMap<&str, &str> = types.filter_map(|l| l.split_once(' ')).collect();
    let theirs = parse(&theirs);

    let mut problems = Vec::new();
    for (name, series) in theirs.iter().filter(|(name, _)| name.starts_with("redis_")) {
        let renamed = RENAMED.iter().find(|(old, _)| old == name);
        let our_name = renamed.map_or(name.as_str(), |(_, new)| new);
        if NOT_OURS.iter().any(|(not, _)| not == name) {
            continue;
        }
        let Some(own) = ours.get(our_name) else {
            problems.push(format!("{name} is not there"));
            continue;
        };
        let base = family(name);
        let own_type = &metadata["data"][family(our_name)][0]["type"];
        if *own_type != types[base] && !RETYPED.contains(&name.as_str()) {
            problems.push(format!("{name} is a {own_type}, and was a {}", types[base]));
        }
        if OTHER_LABELS.iter().any(|(other, _)| *other == base) {
            continue;
        }
        for (labels, value) in series {
            match own.get(labels) {
                None => problems.push(format!("{name} {labels:?} is not there")),
                Some(_) if moves(name) || renamed.is_some() => {}
                Some(own) if own == value => {}
                Some(own) => problems.push(format!("{name} {labels:?} is {own}, and was {value}")),
            }
        }
        // Commands that only one of both has used when the other looked.
        let mut more = own.keys().filter(|labels| !series.contains_key(*labels));
        let by_command = |labels: &&BTreeMap<String, String>| labels.contains_key("cmd");
        if let Some(labels) = more.find(|l| !by_command(l)) {
            problems.push(format!("{name} {labels:?} is there, and was not"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(theirs.len() > 150, "only {} families", theirs.len());
    p1_families(&ours, &metadata);
    // What 1.45 does not have.
    assert_eq!(
        stackwatch
            .value("redis_key_memory_usage_bytes{key=\"number\"} > 0")
            .map(|_| ()),
        Some(())
    );
    let percentiles =
        stackwatch.query("redis_latency_percentiles_usec{cmd=\"get\",quantile=\"99.0\"}");
    assert_eq!(percentiles.len(), 1);
    // No errors are caused by looking: 1.45 asks PFCOUNT of every string.
    assert_eq!(stackwatch.value("redis_errors_total{err=\"NOPERM\"}"), None);
}

/// Every family of names.tsv with priority P1, with its type and labels.
fn p1_families(ours: &Families, metadata: &Value) {
    let list = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/exporter-metrics/names.tsv"
    );
    let Ok(list) = std::fs::read_to_string(list) else {
        println!("SKIPPED: names.tsv is not there");
        return;
    };
    let mut count = 0;
    for line in list.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let ["P1", name, kind, labels, "redis_exporter", ..] = columns[..] else {
            continue;
        };
        let series = ours
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!(metadata["data"][name][0]["type"], kind, "{name}");
        let wanted: BTreeSet<&str> = labels.split(',').filter(|l| !l.is_empty()).collect();
        for own in series.keys() {
            let own: BTreeSet<&str> = own.keys().map(String::as_str).collect();
            // An empty label is no label.
            let fine = own == wanted || name == "redis_exporter_last_scrape_error";
            assert!(fine, "{name}: {own:?}, not {wanted:?}");
        }
        count += 1;
    }
    assert!(count > 35, "only {count} families");
}

/// Some of everything there is.
fn load(redis: &Redis) {
    let script = "for i = 1, 500 do redis.call('SET', 'many:' .. i, i) redis.call('GET', 'many:' .. i) redis.call('LPUSH', 'list', i) end return 1";
    redis.cli(&["EVAL", script, "0"]);
    redis.cli(&["SET", "number", "42"]);
    redis.cli(&["SET", "passing", "x", "EX", "1000"]);
    redis.cli(&["XADD", "stream", "*", "k", "v"]);
    redis.cli(&["XGROUP", "CREATE", "stream", "g", "0"]);
    redis.cli(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "stream", ">"]);
    redis.cli(&["-n", "3", "PFADD", "hll", "a", "b", "c"]);
    redis.cli(&["GET", "number"]);
    redis.cli(&["LPUSH", "number", "x"]);
    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "10000000"]);
    redis.cli(&["CONFIG", "RESETSTAT"]);
    redis.cli(&["LPUSH", "number", "x"]);
    redis.cli(&["GET", "number"]);
}

/// Values that one collection of the other changes, or that time does.
fn moves(name: &str) -> bool {
    let parts = [
        "_cpu_",
        "memory",
        "mem_",
        "allocator",
        "defrag",
        "uptime",
        "net_",
        "commands_",
        "connections_received",
        "start_time",
        "scrape",
        "latency",
        "total_reads",
        "total_writes",
        "errors",
        "error_replies",
        "keyspace_hits",
        "keyspace_misses",
        "connected_clients",
        "client_recent",
        "expire_cycle",
        "stream_group_consumer_idle",
        "reply_buffer",
        "aof_",
        "db_avg_ttl",
    ];
    parts.iter().any(|part| name.contains(part))
}

fn family(name: &str) -> &str {
    let compound = [
        "redis_latency_percentiles_usec",
        "redis_commands_latencies_usec",
        "redis_exporter_scrape_duration_seconds",
    ];
    let stripped = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|s| name.strip_suffix(s));
    stripped
        .filter(|base| compound.contains(base))
        .unwrap_or(name)
}

/// Our newest samples of Redis.
fn ours(stackwatch: &Stackwatch) -> Families {
    let mut families = Families::new();
    for one in stackwatch.query("{job=\"redis\"}") {
        let metric = one["metric"].as_object().unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let labels = metric
            .iter()
            .filter(|(k, _)| !["__name__", "job", "instance"].contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), text(v)))
            .collect();
        let value = one["value"][1].as_str().unwrap().parse().unwrap();
        let name = text(&metric["__name__"]);
        families
            .entry(name.clone())
            .or_default()
            .insert(labels, value);
        // The parts of a family count as it too.
        families.entry(family(&name).to_owned()).or_default();
    }
    families
}

/// An exposition without escapes.
fn parse(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, rest) = series.split_once('{').unwrap_or((series, ""));
        let mut labels = BTreeMap::new();
        for pair in rest
            .trim_end_matches('}')
            .split("\",")
            .filter(|p| !p.is_empty())
        {
            let (key, value) = pair.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"');
            // As Prometheus 3 stores it.
            let whole = key == "quantile" && !value.contains('.');
            let value = &format!("{value}{}", if whole { ".0" } else { "" });
            if !value.is_empty() {
                labels.insert(key.to_owned(), value.to_owned());
            }
        }
        let value = value.parse().unwrap();
        families
            .entry(name.to_owned())
            .or_default()
            .insert(labels, value);
    }
    families
}

/// The target of an instance, as `/api/v1/targets` shows it.
fn target(stackwatch: &Stackwatch, instance: &str) -> Value {
    let all = stackwatch.get("/api/v1/targets").json();
    let mut all = all["data"]["activeTargets"].as_array().unwrap().iter();
    let found = all.find(|t| t["labels"]["instance"] == instance);
    found.cloned().unwrap_or_default()
}

fn wait_for(stackwatch: &Stackwatch, expr: &str) {
    eventually(expr, Duration::from_secs(20), || stackwatch.value(expr));
}

#[test]
fn replica_cluster_sentinel_socket_and_tls_are_watched_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let Some(primary) = Redis::start(root, &[]) else {
        return skipped("no redis-server");
    };
    let port = primary.port.to_string();
    let replica = Redis::start(root, &["--replicaof", "127.0.0.1", &port]).unwrap();
    let cluster = Redis::start(root, &["--cluster-enabled", "yes"]).unwrap();
    cluster.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let socket = root.join("redis.sock");
    let socket = socket.to_str().unwrap();
    let _with_socket = Redis::start(root, &["--unixsocket", socket]).unwrap();
    let conf = root.join("sentinel.conf");
    let watched = format!("sentinel monitor main 127.0.0.1 {port} 1\n");
    std::fs::write(&conf, watched).unwrap();
    let sentinel = Redis::start(root, &[conf.to_str().unwrap(), "--sentinel"]).unwrap();
    let Some((certificate, key)) = certificate(root) else {
        return skipped("no openssl");
    };
    let tls_args = [
        "--tls-port",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "hunter2",
    ];
    let cli = ["--tls", "--insecure", "-a", "hunter2"];
    let tls = Redis::start_with(root, &tls_args, &cli).unwrap();
    std::fs::write(root.join("password"), "hunter2\n").unwrap();

    // One that accepts and never answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_address = mute.local_addr().unwrap();
    let config = format!(
        "collect:
  interval: 1s
  host: false
  docker: false
  redis:
    - {{ url: 'redis://127.0.0.1:{port}', instance: primary }}
    - {{ url: 'redis://127.0.0.1:{}', instance: replica }}
    - {{ url: 'redis://127.0.0.1:{}', instance: cluster }}
    - {{ url: 'redis://127.0.0.1:{}', instance: sentinel }}
    - {{ url: 'unix://{socket}', instance: socket, export_client_list: true }}
    - {{ url: 'rediss://127.0.0.1:{}', instance: tls, password_file: password, tls_config: {{ ca_file: {certificate} }} }}
    - {{ url: 'rediss://:hunter2@localhost:{}', instance: skip, tls_config: {{ insecure_skip_verify: true }} }}
    - {{ url: 'rediss://:hunter2@127.0.0.1:{}', instance: distrust }}
    - {{ url: 'redis://me:hunter3@127.0.0.1:{port}', instance: stranger }}
    - {{ url: 'redis://me:hunter3@{mute_address}', instance: mute }}
",
        replica.port, cluster.port, sentinel.port, tls.port, tls.port, tls.port
    );
    let stackwatch = Stackwatch::start(root, &config);
    let replica_port = replica.port;
    for expr in [
        &format!(
            "redis_connected_slave_offset_bytes{{instance=\"primary\",slave_port=\"{replica_port}\",slave_state=\"online\"}}"
        ),
        &format!("redis_master_link_up{{instance=\"replica\",master_port=\"{port}\"}} == 1"),
        "redis_instance_info{instance=\"replica\",role=\"slave\"}",
        "redis_slave_info{instance=\"replica\",read_only=\"1\"}",
        "redis_cluster_state{instance=\"cluster\"} == 1",
        "redis_cluster_slots_ok{instance=\"cluster\"} == 16384",
        "count(redis_db_keys{instance=\"cluster\"}) == 1",
        "redis_sentinel_masters{instance=\"sentinel\"} == 1",
        "redis_sentinel_master_status{instance=\"sentinel\",master_name=\"main\",master_status=\"ok\"} == 1",
        "redis_sentinel_master_ckquorum_status{instance=\"sentinel\",master_name=\"main\"} == 1",
        "redis_sentinel_master_ok_slaves{instance=\"sentinel\"} == 1",
        "redis_sentinel_master_ok_sentinels{instance=\"sentinel\"} == 1",
        "redis_up{instance=\"socket\"} == 1",
        "redis_connected_client_info{instance=\"socket\",name=\"stackwatch\"}",
        "redis_up{instance=\"tls\"} == 1",
        "redis_up{instance=\"skip\"} == 1",
        "redis_up{instance=\"distrust\"} == 0",
        "redis_up{instance=\"stranger\"} == 0",
        "redis_up{instance=\"mute\"} == 0",
    ] {
        wait_for(&stackwatch, expr);
    }
    let error = |instance: &str| target(&stackwatch, instance)["lastError"].to_string();
    assert!(
        error("distrust").contains("certificate"),
        "{}",
        error("distrust")
    );
    assert!(error("stranger").contains("wrong password, or no such user"));
    assert!(
        error("mute").contains("no answer to connect"),
        "{}",
        error("mute")
    );
    for instance in ["primary", "replica", "cluster", "sentinel", "socket", "tls"] {
        let found = target(&stackwatch, instance);
        assert_eq!(found["health"], "up", "{found}");
        assert_eq!(found.get("notes"), None, "{found}");
    }
    no_secret(&stackwatch, &["hunter2", "hunter3"]);
}

#[test]
fn nine_commands_are_enough_and_less_is_told_with_the_line_that_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(dir.path(), &[]) else {
        return skipped("no redis-server");
    };
    let base = ["ACL", "SETUSER"];
    let rights = "on >hunter2 resetkeys resetchannels -@all";
    let set = |user: &str, rules: &str| {
        let words: Vec<&str> = base
            .into_iter()
            .chain([user])
            .chain(rules.split(' '))
            .collect();
        assert_eq!(redis.cli(&words), "OK", "{user} {rules}");
    };
    let all = "+client|setname +cluster|info +config|get +info +latency|histogram +latency|latest +select +slowlog|get +slowlog|len";
    set("nine", &format!("{rights} {all}"));
    set("less", &format!("{rights} +info +slowlog|len"));
    set(
        "some",
        &format!("{rights} {all} ~mine +type +strlen +getrange +memory|usage"),
    );
    set("none", rights);
    let port = redis.port;
    let config = format!(
        "collect:
  interval: 1s
  host: false
  docker: false
  redis:
    - {{ url: 'redis://127.0.0.1:{port}', instance: nine, username: nine, password: hunter2 }}
    - {{ url: 'redis://less:hunter2@127.0.0.1:{port}', instance: less, check_single_keys: [k] }}
    - {{ url: 'redis://some:hunter2@127.0.0.1:{port}', instance: some, check_single_keys: [mine, yours] }}
    - {{ url: 'redis://none:hunter2@127.0.0.1:{port}', instance: none }}
"
    );
    let mut stackwatch = Stackwatch::start(dir.path(), &config);
    wait_for(&stackwatch, "redis_slowlog_last_id{instance=\"nine\"}");
    wait_for(
        &stackwatch,
        "redis_config_maxclients{instance=\"less\"} == 10000",
    );
    wait_for(&stackwatch, "redis_up{instance=\"none\"} == 0");
    assert_eq!(target(&stackwatch, "nine").get("notes"), None);
    // Refused once each, not at every collection.
    let refusals = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find(|l| l.starts_with("cmdstat_latency|latest:"));
        let rest = line?.split_once("rejected_calls=")?.1;
        rest.split(',').next()?.parse::<u32>().ok()
    };
    wait_for(
        &stackwatch,
        "redis_exporter_scrapes_total{instance=\"less\"} >= 4",
    );
    assert_eq!(refusals(), Some(1));
    // Keys that may be read are, at every collection, though others may not.
    wait_for(
        &stackwatch,
        "redis_exporter_scrapes_total{instance=\"some\"} >= 4",
    );
    assert_eq!(
        stackwatch.value("redis_key_size{instance=\"some\",key=\"mine\"}"),
        Some(0.0)
    );
    let note = target(&stackwatch, "some")["notes"][0].to_string();
    assert!(
        note.contains("ACL SETUSER some +select +scan +type"),
        "{note}"
    );

    // The line does what it says; a restart stands for the ten minutes until the next attempt.
    let note = target(&stackwatch, "less")["notes"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let line = |text: &str| {
        text.split_once("to mend it: ")
            .map(|(_, l)| l.to_owned())
            .unwrap()
    };
    assert!(line(&note).starts_with("ACL SETUSER less +"), "{note}");
    let words: Vec<String> = line(&note).split(' ').map(str::to_owned).collect();
    let error = target(&stackwatch, "none")["lastError"]
        .as_str()
        .unwrap()
        .to_owned();
    let more: Vec<String> = line(&error).split(' ').map(str::to_owned).collect();
    for words in [words, more] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(redis.cli(&words), "OK", "{words:?}");
    }
    wait_for(&stackwatch, "redis_up{instance=\"none\"} == 1");
    stackwatch.kill_and_restart();
    wait_for(&stackwatch, "redis_slowlog_last_id{instance=\"less\"}");
    wait_for(
        &stackwatch,
        "redis_key_size{instance=\"less\",key=\"k\"} == 0",
    );
    assert_eq!(target(&stackwatch, "less").get("notes"), None);
    no_secret(&stackwatch, &["hunter2"]);
}

/// Neither the log nor any answer that shows configuration, targets or labels has a password in it.
fn no_secret(stackwatch: &Stackwatch, secrets: &[&str]) {
    let mut shown = stackwatch.log();
    for path in [
        "/api/v1/targets",
        "/api/v1/status/config",
        "/api/v1/series?match[]={job=%22redis%22}",
        "/metrics",
        "/health",
    ] {
        shown.push_str(&stackwatch.get(path).body);
    }
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

/// A certificate for 127.0.0.1 and its key; `None` without openssl.
fn certificate(dir: &Path) -> Option<(String, String)> {
    let (certificate, key) = (dir.join("redis.crt"), dir.join("redis.key"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=localhost", "-addext"])
        .args(["subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    let text = |path: &Path| path.to_str().map(str::to_owned);
    made.ok().filter(std::process::ExitStatus::success)?;
    Some((text(&certificate)?, text(&key)?))
}
