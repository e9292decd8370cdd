//! Type and meaning of the metrics we collect ourselves, for `/api/v1/metadata`.
//!
//! Types are those of the exporters whose names these are; the words are ours.
//! Probes, heartbeats, files and nginx have their tables beside them.

mod containers;
mod host;

use crate::exposition::Kind;

/// The family that a series of ours belongs to: its name, unless it is a part of a histogram or
/// summary.
#[must_use]
pub(crate) fn family(name: &str) -> &str {
    if name.starts_with("redis_") {
        crate::redis::family(name)
    } else {
        name
    }
}

/// The type of a family of ours, by its name alone.
#[must_use]
pub(crate) fn kind(name: &str) -> Kind {
    if name.starts_with("redis_") {
        crate::redis::kind(name)
    } else if name.starts_with("kong_") {
        crate::kong::kind(name)
    } else if name.starts_with("nginx_") {
        crate::nginx::kind(name)
    } else if name.starts_with("node_netstat_") || name.starts_with("node_vmstat_") {
        // The kernel does not say which of these only grow.
        Kind::Unknown
    } else if matches!(
        name,
        // Named like counters by the exporters, and told as gauges.
        "container_fs_inodes_total" | "node_systemd_socket_refused_connections_total"
    ) {
        Kind::Gauge
    } else if name.ends_with("_total") || name == "container_memory_failcnt" {
        Kind::Counter
    } else {
        Kind::Gauge
    }
}

/// What a metric of ours tells; empty when there is nothing to add to its name.
#[must_use]
pub(crate) fn help(name: &str) -> String {
    for own in [
        crate::probe::help,
        crate::heartbeat::help,
        crate::files::help,
        crate::nginx::help,
    ] {
        if let Some(text) = own(name) {
            return text.to_owned();
        }
    }
    for table in [host::HELP, containers::HELP] {
        if let Ok(found) = table.binary_search_by(|(known, _)| (*known).cmp(name)) {
            return table[found].1.to_owned();
        }
    }
    if name.starts_with("redis_") {
        return crate::redis::help(name);
    }
    if name.starts_with("kong_") {
        return crate::kong::help(name).to_owned();
    }
    let rest = |prefix: &str| name.strip_prefix(prefix);
    if let Some(field) = rest("node_memory_") {
        format!("{field} of /proc/meminfo.")
    } else if let Some(field) = rest("node_netstat_") {
        format!(
            "{} of /proc/net/netstat, snmp and snmp6.",
            field.replace('_', " ")
        )
    } else if let Some(field) = rest("node_vmstat_") {
        format!("{field} of /proc/vmstat.")
    } else if let Some(field) = rest("node_sockstat_") {
        format!(
            "{} of /proc/net/sockstat and sockstat6.",
            field.replace('_', " ")
        )
    } else if let Some(field) = rest("node_network_") {
        format!("{}, by network device.", words(field))
    } else if let Some(field) = rest("container_network_") {
        format!("{}, by network device of the container.", words(field))
    } else if rest("container_pressure_").is_some() || rest("node_pressure_").is_some() {
        let who = if name.contains("_stalled_") {
            "all tasks"
        } else {
            "some task"
        };
        format!("Seconds during which {who} had to wait (pressure stall information).")
    } else {
        String::new()
    }
}

/// `receive_bytes_total` as `Receive bytes`.
fn words(field: &str) -> String {
    let plain = field
        .strip_suffix("_total")
        .unwrap_or(field)
        .replace('_', " ");
    let mut chars = plain.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        for table in [host::HELP, containers::HELP] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn families_have_the_types_of_the_exporters_they_are_named_after() {
        let dir = "../../shared/exporter-metrics";
        for file in ["node-1.12.1.prom", "cadvisor.prom"] {
            let Ok(text) = std::fs::read_to_string(format!("{dir}/{file}")) else {
                eprintln!("SKIPPED: {dir}/{file} is not there");
                return;
            };
            let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
            for (name, stated) in types.filter_map(|l| l.split_once(' ')) {
                let tables = host::HELP.iter().chain(containers::HELP);
                let ours = tables.map(|(known, _)| known).any(|known| *known == name)
                    || name.starts_with("node_network_")
                    || name.starts_with("node_netstat_");
                let stated = stated.replace("untyped", "unknown");
                if ours {
                    assert_eq!(kind(name).as_str(), stated, "{name}");
                }
            }
        }
    }

    #[test]
    fn names_made_from_the_kernels_words_are_explained_by_rule() {
        assert_eq!(
            help("node_memory_MemFree_bytes"),
            "MemFree_bytes of /proc/meminfo."
        );
        assert_eq!(
            help("node_network_receive_bytes_total"),
            "Receive bytes, by network device."
        );
        assert_eq!(kind("node_netstat_Tcp_InSegs"), Kind::Unknown);
        assert_eq!(help("unheard_of"), "");
    }
}
