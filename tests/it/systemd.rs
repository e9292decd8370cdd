//! Units of a real systemd: Debian's node_exporter and stackwatch tell the same.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stackwatch_tests::series::{exposed, stored};
use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::systemd::Systemd;
use stackwatch_tests::{eventually, http, skipped};

const LIMIT: Duration = Duration::from_secs(30);

const UNITS: [(&str, &str); 5] = [
    (
        "flappy.service",
        "[Unit]\nStartLimitBurst=3\n[Service]\nExecStart=false\nRestart=always\nRestartSec=10ms\n",
    ),
    (
        "stays.service",
        "[Service]\nType=exec\nExecStart=sleep infinity\nTasksMax=17\n",
    ),
    ("tick.service", "[Service]\nType=oneshot\nExecStart=true\n"),
    ("tick.timer", "[Timer]\nOnActiveSec=10ms\nAccuracySec=1ms\n"),
    (
        "idle.socket",
        "[Socket]\nListenStream=%t/idle\nAccept=yes\n",
    ),
];

/// Ended on drop.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn units_are_told_as_by_debians_node_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let idle = ("idle@.service", "[Service]\nExecStart=true\n");
    let units: Vec<_> = UNITS.into_iter().chain([idle]).collect();
    let wants = "flappy.service stays.service tick.timer idle.socket";
    let Some(systemd) = Systemd::start(dir.path(), &units, wants) else {
        return skipped("no systemd or no dbus-daemon, or no right to start them");
    };
    let address = free_address();
    let exporter = Command::new("prometheus-node-exporter")
        .args([
            &format!("--web.listen-address={address}"),
            "--collector.disable-defaults",
            "--collector.systemd",
            "--collector.systemd.enable-restarts-metrics",
            "--collector.systemd.enable-start-time-metrics",
            "--collector.systemd.enable-task-metrics",
            r"--collector.systemd.unit-exclude=.+\.(automount|device|mount|scope|slice)",
        ])
        .env("DBUS_SYSTEM_BUS_ADDRESS", systemd.address())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(_exporter) = exporter.map(Exporter) else {
        return skipped("no prometheus-node-exporter");
    };
    let socket = systemd.socket();
    let config = format!(
        "collect: {{ docker: false, interval: 1s, host: {{ systemd: {{ socket: '{}', start_times: true, tasks: true }} }} }}\n",
        socket.display()
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    let scrape = || {
        let text = http::request("GET", &address, "/metrics", &[], "")
            .ok()?
            .body;
        let mut all = exposed(&text);
        all.retain(|(name, _), _| name.starts_with("node_systemd_"));
        (!all.is_empty()).then_some((text, all))
    };
    let ours = || {
        let mut all = stored(&stackwatch, "node");
        all.retain(|(name, _), _| name.starts_with("node_systemd_"));
        // Later versions of node_exporter have it.
        all.remove(&virtualization(&all)?);
        Some(all)
    };
    // Everything that was started has come to rest.
    let (text, theirs) = eventually("both tell the same", LIMIT, || {
        let (text, theirs) = scrape()?;
        let failed =
            "node_systemd_unit_state{name=\"flappy.service\",state=\"failed\",type=\"simple\"} 1";
        (text.contains(failed) && ours()? == theirs).then_some((text, theirs))
    });
    let value = |name: &str, unit: &str| {
        let labels = BTreeMap::from([("name".to_owned(), unit.to_owned())]);
        theirs[&(name.to_owned(), labels)]
    };
    assert_eq!(
        value("node_systemd_service_restart_total", "flappy.service"),
        3.0
    );
    assert_eq!(value("node_systemd_unit_tasks_max", "stays.service"), 17.0);
    assert!(value("node_systemd_timer_last_trigger_seconds", "tick.timer") > 1e9);
    assert!(value("node_systemd_unit_start_time_seconds", "stays.service") > 1e9);
    assert!(text.contains("node_systemd_socket_refused_connections_total{name=\"idle.socket\"}"));
    let metadata = stackwatch.get("/api/v1/metadata").json();
    for line in text.lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE node_systemd_")
            .and_then(|l| l.split_once(' '))
        else {
            continue;
        };
        let name = format!("node_systemd_{name}");
        assert_eq!(
            metadata["data"][&name][0]["type"].as_str(),
            Some(kind),
            "{name}"
        );
    }
    let worked = "node_scrape_collector_success{collector=\"systemd\"}";
    assert_eq!(stackwatch.value(worked), Some(1.0));

    // What changes is told anew, over the connection there is.
    assert!(systemd.systemctl(&["stop", "stays.service"]));
    eventually("a stopped unit", LIMIT, || {
        let stopped = "node_systemd_unit_state{name=\"stays.service\",state=\"active\"} == 0";
        stackwatch.value(stopped)
    });
    // Without it there is nothing to tell, and the rest of the host goes on.
    drop(systemd);
    eventually("units that are no longer told", LIMIT, || {
        stackwatch
            .query("node_systemd_units")
            .is_empty()
            .then_some(())
    });
    assert_eq!(stackwatch.value("up{job=\"node\"}"), Some(1.0));
}

fn virtualization(
    all: &BTreeMap<(String, BTreeMap<String, String>), f64>,
) -> Option<(String, BTreeMap<String, String>)> {
    let mut keys = all.keys();
    keys.find(|(name, _)| name == "node_systemd_virtualization_info")
        .cloned()
}
