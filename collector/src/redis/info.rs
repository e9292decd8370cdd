//! INFO and CLUSTER INFO: lines of `key:value` in sections.

use std::collections::BTreeMap;

use crate::target::Sink;

use super::names;

/// Lines of INFO that are read: of 500 commands with their latencies there are some 1,500.
pub(super) const LINES_MAX: usize = 20_000;
/// A longer line is left out: its text would become labels.
const LINE_BYTES_MAX: usize = 4096;
/// Databases that are told as empty although INFO does not list them.
const EMPTY_DATABASES_MAX: u32 = 64;
/// Databases of a server that does not say how many it has: the default of Redis.
const DATABASES: u32 = 16;

/// What INFO says.
#[derive(Default)]
pub(super) struct Info<'a> {
    /// Section, key and value, in their order.
    lines: Vec<(&'a str, &'a str, &'a str)>,
    by_key: BTreeMap<&'a str, &'a str>,
    /// Microseconds and calls of each command.
    commands: BTreeMap<&'a str, (f64, f64)>,
}

impl<'a> Info<'a> {
    pub(super) fn parse(text: &'a str) -> Info<'a> {
        let mut info = Info::default();
        let mut section = "";
        for line in text.lines().take(LINES_MAX) {
            if let Some(title) = line.strip_prefix("# ") {
                section = title.trim();
            } else if let Some((key, value)) = line.split_once(':')
                && line.len() <= LINE_BYTES_MAX
            {
                info.lines.push((section, key, value));
                info.by_key.entry(key).or_insert(value);
                if let Some(command) = key.strip_prefix("cmdstat_")
                    && let (Some(usec), Some(calls)) = (part(value, "usec"), part(value, "calls"))
                {
                    info.commands.insert(command, (usec, calls));
                }
            }
        }
        info
    }

    /// The value of a key, wherever it stands.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.by_key.get(key).copied()
    }

    /// Whether this is a Sentinel, which has no data.
    pub(super) fn is_sentinel(&self) -> bool {
        self.get("redis_mode") == Some("sentinel") || self.get("server_mode") == Some("sentinel")
    }

    /// Whether the server is a node of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.get("cluster_enabled") == Some("1")
    }

    /// Microseconds that all calls of a command took.
    pub(super) fn command_usec(&self, command: &str) -> Option<f64> {
        self.commands.get(command).map(|(usec, _)| *usec)
    }

    /// Adds what it says. `databases` is how many the server is configured to have, if it says so;
    /// `now` is in seconds since 1970.
    pub(super) fn put(&self, databases: Option<u32>, now: f64, sink: &mut impl Sink) {
        let mut primary = ("", "");
        let mut listed = Vec::new();
        for (section, key, value) in &self.lines {
            let done = match *section {
                "Commandstats" => {
                    put_command(key, value, sink);
                    true
                }
                "Latencystats" => {
                    self.put_percentiles(key, value, sink);
                    true
                }
                "Errorstats" => {
                    put_error(key, value, sink);
                    true
                }
                "Replication" => put_replication(key, value, &mut primary, sink),
                "Keyspace" => match put_database(key, value, sink) {
                    Some(database) => {
                        listed.push(database);
                        true
                    }
                    None => false,
                },
                "Sentinel" => put_sentinel(key, value, sink),
                // Valkey repeats here what CLUSTER INFO says.
                "Cluster Info" => true,
                _ => false,
            };
            if !done {
                put_figure(key, value, sink);
            }
        }
        if !self.is_sentinel() {
            let all = match databases {
                // A cluster has one database only.
                _ if self.is_cluster() => 1,
                Some(count) => count.min(EMPTY_DATABASES_MAX),
                None => DATABASES,
            };
            for database in (0..all).filter(|d| !listed.contains(d)) {
                let name = format!("db{database}");
                let labels = [("db", name.as_str())];
                sink.put("redis_db_keys", &labels, 0.0);
                sink.put("redis_db_keys_expiring", &labels, 0.0);
            }
        }
        if let Some(started) = self.started(now) {
            sink.put("redis_start_time_seconds", &[], started);
        }
        self.put_instance(sink);
    }

    /// When the server was started. Its own clock, where it shows it, gives the same answer each
    /// time: both figures are read off the same second.
    fn started(&self, now: f64) -> Option<f64> {
        let uptime: f64 = self.get("uptime_in_seconds")?.parse().ok()?;
        let own = self.get("server_time_usec").and_then(number);
        Some(own.map_or(now, |usec| usec / 1e6).floor() - uptime)
    }

    fn put_instance(&self, sink: &mut impl Sink) {
        let get = |key: &str| self.get(key).unwrap_or("");
        let mode = match get("redis_mode") {
            "" => get("server_mode"),
            mode => mode,
        };
        let labels = [
            ("availability_zone", get("availability_zone")),
            ("master_replid", get("master_replid")),
            ("maxmemory_policy", get("maxmemory_policy")),
            ("os", get("os")),
            ("process_id", get("process_id")),
            ("redis_build_id", get("redis_build_id")),
            ("redis_mode", mode),
            ("redis_version", get("redis_version")),
            ("role", get("role")),
            ("run_id", get("run_id")),
            ("tcp_port", get("tcp_port")),
            ("valkey_release_stage", get("valkey_release_stage")),
            ("valkey_version", get("valkey_version")),
        ];
        sink.put("redis_instance_info", &labels, 1.0);
        if get("role") == "slave" {
            let labels = [
                ("master_host", get("master_host")),
                ("master_port", get("master_port")),
                ("read_only", get("slave_read_only")),
            ];
            sink.put("redis_slave_info", &labels, 1.0);
        }
    }

    /// `latency_percentiles_usec_get:p50=0.001,p99=1.003`
    fn put_percentiles(&self, key: &str, value: &str, sink: &mut impl Sink) {
        let name = "redis_latency_percentiles_usec";
        let Some(command) = key.strip_prefix("latency_percentiles_usec_") else {
            return;
        };
        let Some((usec, calls)) = self.commands.get(command) else {
            return;
        };
        for (percent, usec) in pairs(value) {
            let percent = percent.strip_prefix('p').and_then(number);
            if let (Some(percent), Some(usec)) = (percent, number(usec)) {
                let quantile = crate::exposition::series::format_bound(percent);
                sink.put(name, &[("cmd", command), ("quantile", &quantile)], usec);
            }
        }
        let labels = [("cmd", command)];
        sink.put("redis_latency_percentiles_usec_sum", &labels, *usec);
        sink.put("redis_latency_percentiles_usec_count", &labels, *calls);
    }
}

/// Adds what CLUSTER INFO says.
pub(super) fn put_cluster(text: &str, sink: &mut impl Sink) {
    for line in text.lines().take(LINES_MAX) {
        if let Some((key, value)) = line.split_once(':') {
            put_figure(key, value, sink);
        }
    }
}

/// A figure without labels.
fn put_figure(key: &str, value: &str, sink: &mut impl Sink) {
    let thread = key.strip_prefix("used_active_time_io_thread_");
    if let (Some(thread), Some(seconds)) = (thread, number(value)) {
        let labels = [("thread", thread)];
        sink.put(
            "redis_active_time_io_thread_seconds_total",
            &labels,
            seconds,
        );
        return;
    }
    let value = match value {
        "ok" | "true" => 1.0,
        "err" | "fail" | "false" => 0.0,
        text => match number(text) {
            Some(value) => value,
            None => return,
        },
    };
    match names::metric(key) {
        Some(name) if key == "latest_fork_usec" => sink.put(name, &[], value / 1e6),
        Some(name) => sink.put(name, &[], value),
        None if is_cluster_figure(key) => sink.put(&format!("redis_{key}"), &[], value),
        None => {}
    }
}

fn is_cluster_figure(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    key.starts_with("cluster_") && key.len() <= 100 && key.bytes().all(plain)
}

/// `cmdstat_get:calls=21,usec=175,usec_per_call=8.33,rejected_calls=0,failed_calls=0`, the last two
/// since Redis 6.2.
fn put_command(key: &str, value: &str, sink: &mut impl Sink) {
    let Some(command) = key.strip_prefix("cmdstat_") else {
        return;
    };
    let labels = [("cmd", command)];
    for (field, name, scale) in [
        ("calls", "redis_commands_total", 1.0),
        ("usec", "redis_commands_duration_seconds_total", 1e6),
        ("rejected_calls", "redis_commands_rejected_calls_total", 1.0),
        ("failed_calls", "redis_commands_failed_calls_total", 1.0),
        // Since Redis 8.8.
        ("slowlog_count", "redis_commands_slowlog_total", 1.0),
        (
            "slowlog_time_ms_sum",
            "redis_commands_slowlog_duration_seconds_total",
            1e3,
        ),
        (
            "slowlog_time_ms_max",
            "redis_commands_slowlog_duration_seconds_max",
            1e3,
        ),
    ] {
        if let Some(value) = part(value, field) {
            sink.put(name, &labels, value / scale);
        }
    }
}

/// `errorstat_WRONGTYPE:count=3`
fn put_error(key: &str, value: &str, sink: &mut impl Sink) {
    if let Some(code) = key.strip_prefix("errorstat_")
        && let Some(count) = part(value, "count")
    {
        sink.put("redis_errors_total", &[("err", code)], count);
    }
}

/// `db0:keys=5,expires=1,avg_ttl=1000`; gives the database's number.
fn put_database(key: &str, value: &str, sink: &mut impl Sink) -> Option<u32> {
    let database: u32 = key.strip_prefix("db")?.parse().ok()?;
    let (keys, expiring) = (part(value, "keys")?, part(value, "expires")?);
    let labels = [("db", key)];
    sink.put("redis_db_keys", &labels, keys);
    sink.put("redis_db_keys_expiring", &labels, expiring);
    if let Some(ms) = part(value, "avg_ttl") {
        sink.put("redis_db_avg_ttl_seconds", &labels, ms / 1e3);
    }
    if let Some(cached) = part(value, "cached_keys") {
        sink.put("redis_db_keys_cached", &labels, cached);
    }
    // Redis' name and Valkey's.
    let items = part(value, "subexpiry").or_else(|| part(value, "keys_with_volatile_items"));
    if let Some(count) = items {
        sink.put("redis_db_keys_with_expiring_items", &labels, count);
    }
    Some(database)
}

/// What a replica says about its primary, and a primary about its replicas. KeyDB's replicas have
/// several primaries: `master_host`, `master_1_host`.
fn put_replication<'a>(
    key: &'a str,
    value: &'a str,
    primary: &mut (&'a str, &'a str),
    sink: &mut impl Sink,
) -> bool {
    let labels = [("master_host", primary.0), ("master_port", primary.1)];
    if key == "slave_repl_offset" {
        let offset = number(value).unwrap_or(0.0);
        sink.put("redis_slave_repl_offset", &labels, offset);
        return true;
    }
    if let Some(rest) = key.strip_prefix("master_") {
        let numbered = rest.split_once('_');
        let rest = match numbered {
            Some((n, rest)) if n.bytes().all(|b| b.is_ascii_digit()) => rest,
            _ => rest,
        };
        let (name, value) = match rest {
            "host" => {
                primary.0 = value;
                return true;
            }
            "port" => {
                primary.1 = value;
                return true;
            }
            "link_status" => ("redis_master_link_up", f64::from(u8::from(value == "up"))),
            "last_io_seconds_ago" => (
                "redis_master_last_io_seconds_ago",
                number(value).unwrap_or(0.0),
            ),
            "sync_in_progress" => (
                "redis_master_sync_in_progress",
                number(value).unwrap_or(0.0),
            ),
            _ => return false,
        };
        sink.put(name, &labels, value);
        return true;
    }
    // slave0:ip=10.0.0.2,port=6379,state=online,offset=175,lag=0
    let numbered = key
        .strip_prefix("slave")
        .is_some_and(|n| n.parse::<u32>().is_ok());
    let Some(offset) = part(value, "offset").filter(|_| numbered) else {
        return false;
    };
    let text = |field: &str| {
        pairs(value)
            .find(|(k, _)| *k == field)
            .map_or("", |(_, v)| v)
    };
    let labels = [
        ("slave_ip", text("ip")),
        ("slave_port", text("port")),
        ("slave_state", text("state")),
    ];
    sink.put("redis_connected_slave_offset_bytes", &labels, offset);
    if let Some(lag) = part(value, "lag").filter(|lag| *lag >= 0.0) {
        sink.put("redis_connected_slave_lag_seconds", &labels, lag);
    }
    true
}

/// `sentinel_masters:1`, `master0:name=m,status=ok,address=10.0.0.1:6379,slaves=1,sentinels=3`
fn put_sentinel(key: &str, value: &str, sink: &mut impl Sink) -> bool {
    let plain = match key {
        "sentinel_masters" => "redis_sentinel_masters",
        "sentinel_tilt" => "redis_sentinel_tilt",
        "sentinel_running_scripts" => "redis_sentinel_running_scripts",
        "sentinel_scripts_queue_length" => "redis_sentinel_scripts_queue_length",
        "sentinel_simulate_failure_flags" => "redis_sentinel_simulate_failure_flags",
        _ => "",
    };
    if !plain.is_empty() {
        sink.put(plain, &[], number(value).unwrap_or(0.0));
        return true;
    }
    let number = key.strip_prefix("master");
    if number.is_none_or(|n| n.parse::<u32>().is_err()) {
        return false;
    }
    let text = |field: &str| {
        pairs(value)
            .find(|(k, _)| *k == field)
            .map_or("", |(_, v)| v)
    };
    let (name, address, status) = (text("name"), text("address"), text("status"));
    let labels = [("master_address", address), ("master_name", name)];
    let (Some(replicas), Some(sentinels)) = (part(value, "slaves"), part(value, "sentinels"))
    else {
        return true;
    };
    let with_status = [labels[0], labels[1], ("master_status", status)];
    let up = f64::from(u8::from(status == "ok"));
    sink.put("redis_sentinel_master_status", &with_status, up);
    sink.put("redis_sentinel_master_slaves", &labels, replicas);
    sink.put("redis_sentinel_master_sentinels", &labels, sentinels);
    true
}

/// The pieces of `a=1,b=2`.
fn pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(',').filter_map(|pair| pair.split_once('='))
}

/// The number of one piece.
fn part(value: &str, field: &str) -> Option<f64> {
    pairs(value)
        .find(|(key, _)| *key == field)
        .and_then(|(_, text)| number(text))
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Lines;

    #[track_caller]
    fn check(info: &str, expect: &[&str]) {
        let mut lines = Lines::default();
        // A cluster of one database, so that empty ones are not in the way.
        let text =
            format!("{info}\n# Cluster\ncluster_enabled:1\n# Keyspace\ndb0:keys=1,expires=0\n");
        Info::parse(&text).put(None, 1000.5, &mut lines);
        for line in expect {
            assert!(
                lines.0.contains(&(*line).to_owned()),
                "no {line} in {:#?}",
                lines.0
            );
        }
    }

    #[test]
    fn plain_figures_are_renamed_and_words_are_numbers() {
        check(
            "# Memory\r\nused_memory:916264\r\n# Persistence\r\nrdb_last_bgsave_status:err\r\naof_last_write_status:ok\r\nlatest_fork_usec:250\r\nos:Linux\r\n",
            &[
                "redis_memory_used_bytes 916264",
                "redis_rdb_last_bgsave_status 0",
                "redis_aof_last_write_status 1",
                "redis_latest_fork_seconds 0.00025",
                "redis_cluster_enabled 1",
            ],
        );
    }

    #[test]
    fn commands_have_counts_durations_and_percentiles() {
        check(
            "# Commandstats\ncmdstat_config|get:calls=6,usec=619,usec_per_call=103.17,rejected_calls=1,failed_calls=2\ncmdstat_old:calls=1,usec=2,usec_per_call=2\n# Errorstats\nerrorstat_WRONGTYPE:count=3\n# Latencystats\nlatency_percentiles_usec_config|get:p50=143.359,p99.9=239\n",
            &[
                "redis_commands_total{cmd=config|get} 6",
                "redis_commands_duration_seconds_total{cmd=config|get} 0.000619",
                "redis_commands_rejected_calls_total{cmd=config|get} 1",
                "redis_commands_failed_calls_total{cmd=config|get} 2",
                "redis_commands_total{cmd=old} 1",
                "redis_errors_total{err=WRONGTYPE} 3",
                "redis_latency_percentiles_usec{cmd=config|get,quantile=50.0} 143.359",
                "redis_latency_percentiles_usec{cmd=config|get,quantile=99.9} 239",
                "redis_latency_percentiles_usec_sum{cmd=config|get} 619",
                "redis_latency_percentiles_usec_count{cmd=config|get} 6",
            ],
        );
    }

    #[test]
    fn replicas_and_primaries_name_each_other() {
        check(
            "# Replication\nrole:master\nconnected_slaves:1\nslave0:ip=10.0.0.2,port=6380,state=online,offset=175,lag=2\n",
            &[
                "redis_connected_slaves 1",
                "redis_connected_slave_offset_bytes{slave_ip=10.0.0.2,slave_port=6380,slave_state=online} 175",
                "redis_connected_slave_lag_seconds{slave_ip=10.0.0.2,slave_port=6380,slave_state=online} 2",
            ],
        );
        check(
            "# Replication\nrole:slave\nmaster_host:a\nmaster_port:1\nmaster_link_status:down\nmaster_last_io_seconds_ago:-1\nmaster_sync_in_progress:1\nslave_repl_offset:9\nslave_priority:100\nslave_read_only:1\nmaster_1_host:b\nmaster_1_port:2\nmaster_1_link_status:up\n",
            &[
                "redis_master_link_up{master_host=a,master_port=1} 0",
                "redis_master_last_io_seconds_ago{master_host=a,master_port=1} -1",
                "redis_master_sync_in_progress{master_host=a,master_port=1} 1",
                "redis_slave_repl_offset{master_host=a,master_port=1} 9",
                "redis_slave_priority 100",
                "redis_master_link_up{master_host=b,master_port=2} 1",
                "redis_slave_info{master_host=a,master_port=1,read_only=1} 1",
            ],
        );
    }

    #[test]
    fn a_sentinel_tells_of_its_primaries_and_has_no_databases() {
        let text = "# Server\nredis_mode:sentinel\n# Sentinel\nsentinel_masters:1\nsentinel_tilt:0\nmaster0:name=m,status=sdown,address=10.0.0.1:6379,slaves=1,sentinels=3\n";
        let mut lines = Lines::default();
        Info::parse(text).put(None, 0.0, &mut lines);
        for line in [
            "redis_sentinel_masters 1",
            "redis_sentinel_tilt 0",
            "redis_sentinel_master_status{master_address=10.0.0.1:6379,master_name=m,master_status=sdown} 0",
            "redis_sentinel_master_sentinels{master_address=10.0.0.1:6379,master_name=m} 3",
        ] {
            assert!(lines.0.contains(&line.to_owned()), "{line}: {:#?}", lines.0);
        }
        assert!(!lines.0.iter().any(|l| l.starts_with("redis_db_keys")));
    }

    #[test]
    fn empty_databases_are_told_up_to_a_bound() {
        let count = |databases| {
            let mut lines = Lines::default();
            Info::parse("# Keyspace\ndb3:keys=1,expires=0,avg_ttl=0\n")
                .put(databases, 0.0, &mut lines);
            let keys = |l: &&String| l.starts_with("redis_db_keys{");
            lines.0.iter().filter(keys).count()
        };
        assert_eq!(count(None), 16);
        assert_eq!(count(Some(4)), 4);
        assert_eq!(count(Some(2)), 3);
        assert_eq!(count(Some(100_000)), 64);
    }

    #[test]
    fn the_start_is_told_by_the_servers_own_clock() {
        check(
            "# Server\nserver_time_usec:5000999999\nuptime_in_seconds:100\n",
            &["redis_start_time_seconds 4900"],
        );
        check(
            "# Server\nuptime_in_seconds:100\n",
            &["redis_start_time_seconds 900"],
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(# (Keyspace|Replication|Commandstats|Latencystats|Sentinel|Errorstats)\n|db|slave|master_?|cmdstat_|latency_percentiles_usec_|errorstat_|[0-9=:,.\n-]|usec|calls|p|ip|[a-zé]){0,60}") {
            Info::parse(&text).put(None, 0.0, &mut Lines::default());
            put_cluster(&text, &mut Lines::default());
        }
    }
}
