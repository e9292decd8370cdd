//! Kong's `/status`, a JSON object, under the names of its plugin.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::target::Sink;

/// Shared dictionaries told. Kong has about a dozen.
const DICTIONARIES_MAX: usize = 200;
/// Workers told.
const WORKERS_MAX: usize = 1000;

#[derive(Deserialize)]
struct Status {
    server: BTreeMap<String, Value>,
    #[serde(default)]
    memory: Memory,
    database: Option<Database>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Memory {
    workers_lua_vms: Vec<Worker>,
    lua_shared_dicts: BTreeMap<String, Dictionary>,
}

#[derive(Deserialize)]
struct Worker {
    http_allocated_gc: Option<Value>,
    #[serde(default)]
    pid: Value,
}

#[derive(Deserialize)]
struct Dictionary {
    allocated_slabs: Option<Value>,
    capacity: Option<Value>,
}

#[derive(Deserialize)]
struct Database {
    reachable: bool,
}

/// Adds what the text says.
///
/// # Errors
/// When it is not Kong's.
pub(super) fn put(body: &[u8], sink: &mut impl Sink) -> Result<(), String> {
    let status: Status = serde_json::from_slice(body)
        .map_err(|e| format!("/metrics is not there, and /status is not Kong's: {e}"))?;
    for state in [
        "accepted", "active", "handled", "reading", "waiting", "writing",
    ] {
        // Kong says connections_active, and connections_reading since 3.0 only.
        let long = format!("connections_{state}");
        let value = status
            .server
            .get(&long)
            .or_else(|| status.server.get(state));
        if let Some(value) = value.and_then(Value::as_f64) {
            let labels = [("state", state), ("subsystem", "http")];
            sink.put("kong_nginx_connections_total", &labels, value);
        }
    }
    if let Some(total) = status.server.get("total_requests").and_then(Value::as_f64) {
        let labels = [("subsystem", "http")];
        sink.put("kong_nginx_requests_total", &labels, total);
    }
    for worker in status.memory.workers_lua_vms.iter().take(WORKERS_MAX) {
        let pid = match &worker.pid {
            Value::String(pid) => pid.clone(),
            pid => pid.to_string(),
        };
        if let Some(bytes) = worker.http_allocated_gc.as_ref().and_then(bytes) {
            let labels = [("kong_subsystem", "http"), ("pid", pid.as_str())];
            sink.put("kong_memory_workers_lua_vms_bytes", &labels, bytes);
        }
    }
    let dictionaries = status.memory.lua_shared_dicts.iter();
    for (name, dictionary) in dictionaries.take(DICTIONARIES_MAX) {
        let labels = [("kong_subsystem", "http"), ("shared_dict", name.as_str())];
        for (metric, value) in [
            (
                "kong_memory_lua_shared_dict_bytes",
                &dictionary.allocated_slabs,
            ),
            (
                "kong_memory_lua_shared_dict_total_bytes",
                &dictionary.capacity,
            ),
        ] {
            if let Some(bytes) = value.as_ref().and_then(bytes) {
                sink.put(metric, &labels, bytes);
            }
        }
    }
    // Without a database there is none that could be out of reach; the plugin says 1 then.
    let reachable = status.database.is_none_or(|d| d.reachable);
    sink.put(
        "kong_datastore_reachable",
        &[],
        f64::from(u8::from(reachable)),
    );
    Ok(())
}

/// A number of bytes, or text such as `0.04 MiB` of a Kong that does not heed `unit`.
fn bytes(value: &Value) -> Option<f64> {
    if let Some(number) = value.as_f64() {
        return Some(number);
    }
    let (number, unit) = value.as_str()?.split_once(' ')?;
    let factor = match unit {
        "B" | "b" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Lines;

    fn lines(json: &str) -> Result<Vec<String>, String> {
        let mut lines = Lines::default();
        put(json.as_bytes(), &mut lines)?;
        Ok(lines.0)
    }

    #[test]
    fn a_status_has_connections_memory_and_the_database() {
        let json = r#"{"server": {"connections_active": 2, "connections_accepted": 10, "total_requests": 30},
            "memory": {"workers_lua_vms": [{"http_allocated_gc": 1102, "pid": 18004}],
                "lua_shared_dicts": {"kong": {"allocated_slabs": "0.04 MiB", "capacity": 24576}}},
            "database": {"reachable": false}, "configuration_hash": "x"}"#;
        assert_eq!(
            lines(json).unwrap(),
            [
                "kong_nginx_connections_total{state=accepted,subsystem=http} 10",
                "kong_nginx_connections_total{state=active,subsystem=http} 2",
                "kong_nginx_requests_total{subsystem=http} 30",
                "kong_memory_workers_lua_vms_bytes{kong_subsystem=http,pid=18004} 1102",
                "kong_memory_lua_shared_dict_bytes{kong_subsystem=http,shared_dict=kong} 41943.04",
                "kong_memory_lua_shared_dict_total_bytes{kong_subsystem=http,shared_dict=kong} 24576",
                "kong_datastore_reachable 0",
            ]
        );
    }

    #[test]
    fn without_a_database_none_is_out_of_reach() {
        let got = lines(r#"{"server": {"connections_active": 1}}"#).unwrap();
        assert_eq!(got.last().unwrap(), "kong_datastore_reachable 1");
    }

    #[test]
    fn something_else_is_refused() {
        assert!(lines("<html>").unwrap_err().contains("not Kong's"));
        assert!(lines("{}").is_err());
        assert!(lines(&"[".repeat(100_000)).is_err());
    }
}
