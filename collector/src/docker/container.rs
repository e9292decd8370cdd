//! One container: what the engine says about it, and the samples that follow from that.

use crate::engine::{ContainerDetail, ContainerState, HealthStatus};
use crate::target::Sink;

use super::cgroup::{Places, Usage};

/// A container from its creation to its removal.
#[derive(Debug)]
pub(super) struct Container {
    /// 64 hex digits.
    pub(super) id: String,
    labels: [(&'static str, String); LABELS],
    state: ContainerState,
    restarts: u64,
    /// Of the last run that ended under our eyes, or of the one the engine remembers.
    exit_code: Option<i64>,
    finished: Option<f64>,
    started: Option<f64>,
    /// When somebody last asked for its end, in seconds since the epoch.
    stop_requested: Option<f64>,
    oom: OomCount,
    /// `host` and `container:…` networks are counted elsewhere.
    pub(super) own_network: bool,
    /// Where its usage is to be read; with the process it was found for.
    pub(super) places: Option<(u32, Places)>,
}

const LABELS: usize = 6;

/// Kills by the kernel, over all runs. The engine's events and the cgroup's own count see the
/// same kills from two sides, and either may miss some: a cgroup goes with its container, an
/// event is lost while we are not connected. The larger one counts.
#[derive(Clone, Copy, Debug, Default)]
struct OomCount {
    ended_runs: u64,
    events: u64,
    cgroup: u64,
}

impl OomCount {
    fn total(self) -> u64 {
        self.ended_runs + self.events.max(self.cgroup)
    }

    fn next_run(&mut self) {
        *self = OomCount {
            ended_runs: self.total(),
            ..OomCount::default()
        };
    }
}

impl Container {
    pub(super) fn new(detail: ContainerDetail) -> Container {
        let mut container = Container {
            id: detail.id.clone(),
            labels: labels(&detail),
            state: ContainerState::default(),
            restarts: 0,
            exit_code: None,
            finished: None,
            started: None,
            stop_requested: None,
            oom: OomCount::default(),
            own_network: true,
            places: None,
        };
        container.oom.events = u64::from(detail.state.oom_killed);
        container.update(detail);
        container
    }

    /// Takes over what the engine says now.
    pub(super) fn update(&mut self, detail: ContainerDetail) {
        self.labels = labels(&detail);
        self.restarts = detail.restart_count;
        let network = detail.host_config.network_mode.as_str();
        self.own_network = network != "host" && !network.starts_with("container:");
        let state = detail.state;
        let started = seconds(&state.started_at);
        if started != self.started {
            if self.started.is_some() {
                self.oom.next_run();
            }
            self.started = started;
        }
        if let Some(finished) = seconds(&state.finished_at) {
            self.finished = Some(finished);
            // While it runs the engine says 0, whatever the last run ended with.
            if !state.running || state.restarting {
                self.exit_code = Some(state.exit_code);
            }
        }
        if state.pid == 0
            || self
                .places
                .as_ref()
                .is_some_and(|(pid, _)| *pid != state.pid)
        {
            self.places = None;
        }
        self.state = state;
    }

    /// The main process ended.
    pub(super) fn died(&mut self, exit_code: Option<i64>, at_seconds: f64) {
        self.exit_code = exit_code.or(self.exit_code);
        // The engine may know the time more precisely, or of a run before.
        if self.finished.is_none_or(|f| (f - at_seconds).abs() > 2.0) {
            self.finished = Some(at_seconds);
        }
        // The engine was asked after the event: it may have started the container again already.
        if self.state.running && self.started.is_some_and(|s| s > at_seconds) {
            return;
        }
        self.state.running = false;
        if self.state.status == "running" {
            "exited".clone_into(&mut self.state.status);
        }
        self.state.pid = 0;
        self.places = None;
    }

    /// The kernel killed one of its processes.
    pub(super) fn oom_killed(&mut self) {
        self.oom.events += 1;
    }

    /// Somebody asked for its end: `docker stop`, `kill`, `restart`, Compose.
    pub(super) fn stop_requested(&mut self, at_seconds: f64) {
        self.stop_requested = Some(at_seconds);
    }

    /// Kills that its cgroup counted in this run.
    pub(super) fn saw_oom_kills(&mut self, count: f64) {
        self.oom.cgroup = self.oom.cgroup.max(count as u64);
    }

    /// `running`, `exited`, …
    pub(super) fn status(&self) -> &str {
        &self.state.status
    }

    /// The main process, when there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        (self.state.pid != 0).then_some(self.state.pid)
    }

    /// Adds what the engine says.
    pub(super) fn put_state(&self, sink: &mut impl Sink) {
        let labels = self.labels.each_ref().map(|(n, v)| (*n, v.as_str()));
        let mut put = |name: &str, value: f64| sink.put(name, &labels, value);
        let flag = |on: bool| f64::from(u8::from(on));
        let runs = self.state.running && !self.state.restarting;
        put("container_running", flag(runs));
        put("container_restarting", flag(self.state.restarting));
        put("container_restarts_total", self.restarts as f64);
        put("container_oom_events_total", self.oom.total() as f64);
        if let Some(code) = self.exit_code {
            put("container_exit_code", code as f64);
        }
        if let Some(finished) = self.finished {
            put("container_finished_time_seconds", finished);
        }
        if let Some(at) = self.stop_requested {
            put("container_stop_requested_time_seconds", at);
        }
        if let Some(started) = self.started {
            // Of the run that ended too: cAdvisor's name is for running containers only.
            put("container_started_time_seconds", started);
            if runs {
                put("container_start_time_seconds", started);
            }
        }
        if runs {
            let health = self.state.health.as_ref().map(|h| h.status);
            let state = match health {
                Some(HealthStatus::Healthy) => 1.0,
                Some(HealthStatus::Starting | HealthStatus::Unhealthy) => 0.0,
                Some(HealthStatus::None) | None => -1.0,
            };
            put("container_health_state", state);
            put(
                "container_health_starting",
                flag(health == Some(HealthStatus::Starting)),
            );
        }
    }

    /// Adds what it uses.
    pub(super) fn put_usage(&self, usage: &Usage, at_seconds: f64, sink: &mut impl Sink) {
        let labels = self.labels.each_ref().map(|(n, v)| (*n, v.as_str()));
        // Whole seconds, as cAdvisor.
        sink.put("container_last_seen", &labels, at_seconds.floor());
        let plain = usage.plain();
        for (name, value) in plain {
            if let Some(value) = value {
                sink.put(name, &labels, value);
            }
        }
        let mut put = |name: &str, extra: &[(&str, &str)], value: f64| {
            let mut all = labels.to_vec();
            all.extend_from_slice(extra);
            sink.put(name, &all, value);
        };
        if let Some(seconds) = usage.cpu.usage {
            put(
                "container_cpu_usage_seconds_total",
                &[("cpu", "total")],
                seconds,
            );
        }
        for (kind, value) in [
            ("pgfault", usage.memory.page_faults),
            ("pgmajfault", usage.memory.major_page_faults),
        ] {
            if let Some(value) = value {
                let extra = [("failure_type", kind), ("scope", "hierarchy")];
                put("container_memory_failures_total", &extra, value);
            }
        }
        for io in &usage.blocks {
            let device = [("device", io.device.as_str())];
            put("container_fs_reads_bytes_total", &device, io.read_bytes);
            put("container_fs_writes_bytes_total", &device, io.written_bytes);
            put("container_fs_reads_total", &device, io.reads);
            put("container_fs_writes_total", &device, io.writes);
        }
        for network in &usage.networks {
            let interface = [("interface", network.interface.as_str())];
            let received = RECEIVED.iter().zip(network.received);
            let transmitted = TRANSMITTED.iter().zip(network.transmitted);
            for (name, value) in received.chain(transmitted) {
                put(name, &interface, value);
            }
        }
        for (what, some, full) in &usage.pressure {
            for (kind, seconds) in [("waiting", some), ("stalled", full)] {
                if let Some(seconds) = seconds {
                    let name = format!("container_pressure_{what}_{kind}_seconds_total");
                    put(&name, &[], *seconds);
                }
            }
        }
    }
}

const RECEIVED: [&str; 4] = [
    "container_network_receive_bytes_total",
    "container_network_receive_packets_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
];
const TRANSMITTED: [&str; 4] = [
    "container_network_transmit_bytes_total",
    "container_network_transmit_packets_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
];

impl Usage {
    /// The figures that have no label of their own.
    fn plain(&self) -> [(&'static str, Option<f64>); 22] {
        let (cpu, memory) = (&self.cpu, &self.memory);
        [
            ("container_cpu_user_seconds_total", cpu.user),
            ("container_cpu_system_seconds_total", cpu.system),
            ("container_cpu_cfs_periods_total", cpu.periods),
            (
                "container_cpu_cfs_throttled_periods_total",
                cpu.throttled_periods,
            ),
            ("container_cpu_cfs_throttled_seconds_total", cpu.throttled),
            ("container_spec_cpu_quota", cpu.quota),
            ("container_spec_cpu_period", cpu.period),
            ("container_spec_cpu_shares", cpu.shares),
            ("container_memory_usage_bytes", memory.usage),
            ("container_memory_max_usage_bytes", memory.max_usage),
            ("container_memory_working_set_bytes", memory.working_set),
            ("container_memory_rss", memory.rss),
            ("container_memory_cache", memory.cache),
            ("container_memory_swap", memory.swap),
            ("container_memory_mapped_file", memory.mapped_file),
            (
                "container_memory_total_active_file_bytes",
                memory.active_file,
            ),
            (
                "container_memory_total_inactive_file_bytes",
                memory.inactive_file,
            ),
            ("container_memory_failcnt", memory.failures),
            ("container_spec_memory_limit_bytes", memory.limit),
            ("container_spec_memory_swap_limit_bytes", memory.swap_limit),
            (
                "container_spec_memory_reservation_limit_bytes",
                memory.reservation,
            ),
            ("container_threads", self.pids),
        ]
    }
}

fn labels(detail: &ContainerDetail) -> [(&'static str, String); LABELS] {
    let label = |name: &str| detail.config.labels.get(name).cloned().unwrap_or_default();
    // Every container of Compose carries it; only `True`, of `docker compose run`, tells anything.
    let oneoff = Some(label("com.docker.compose.oneoff")).filter(|v| v == "True");
    [
        (
            "container_label_com_docker_compose_oneoff",
            oneoff.unwrap_or_default(),
        ),
        (
            "container_label_com_docker_compose_project",
            label("com.docker.compose.project"),
        ),
        (
            "container_label_com_docker_compose_service",
            label("com.docker.compose.service"),
        ),
        ("id", format!("/docker/{}", detail.id)),
        ("image", detail.config.image.clone()),
        ("name", detail.plain_name().to_owned()),
    ]
}

/// RFC 3339 to seconds since the epoch; the year 1 stands for "never".
fn seconds(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    let seconds = at.as_millisecond() as f64 / 1000.0;
    (seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Names and labels of all samples.
    #[derive(Default)]
    struct Names(Vec<(String, Vec<String>)>);

    impl Sink for Names {
        fn put(&mut self, name: &str, labels: &[(&str, &str)], _: f64) {
            let labels = labels.iter().map(|(n, _)| (*n).to_owned()).collect();
            self.0.push((name.to_owned(), labels));
        }
    }

    #[test]
    fn names_and_labels_are_those_of_cadvisor() {
        let Ok(list) = std::fs::read_to_string("../../shared/exporter-metrics/names.tsv") else {
            eprintln!("SKIPPED: ../shared/exporter-metrics is not there");
            return;
        };
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for line in list.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            if let [_, name, _, labels, source, ..] = columns[..]
                && source.contains("cAdvisor")
            {
                known.insert(name, labels);
            }
        }
        let one = Some(1.0);
        let usage = Usage {
            cpu: super::super::cgroup::Cpu {
                usage: one,
                user: one,
                system: one,
                periods: one,
                throttled_periods: one,
                throttled: one,
                quota: one,
                period: one,
                shares: one,
            },
            memory: super::super::cgroup::Memory {
                usage: one,
                working_set: one,
                limit: one,
                page_faults: one,
                ..Default::default()
            },
            blocks: vec![Default::default()],
            pids: one,
            networks: vec![Default::default()],
            pressure: vec![("cpu", one, one), ("io", one, one), ("memory", one, one)],
        };
        let mut names = Names::default();
        Container::new(detail(RUNNING)).put_usage(&usage, 1.0, &mut names);
        assert!(names.0.len() > 30);
        let common = ["id", "image", "name"];
        for (name, labels) in names.0 {
            let Some(expected) = known.get(name.as_str()) else {
                // Listed by pattern or not at all.
                assert!(name.starts_with("container_"), "{name}");
                eprintln!("not in the reference: {name}");
                continue;
            };
            for label in labels {
                let fine = expected.contains(&label)
                    || common.contains(&label.as_str())
                    || label.starts_with("container_label_");
                assert!(fine, "{name} has {label}, cAdvisor has {expected}");
            }
        }
    }

    #[derive(Default)]
    struct Collect(BTreeMap<String, f64>);

    impl Sink for Collect {
        fn put(&mut self, name: &str, _: &[(&str, &str)], value: f64) {
            self.0.insert(name.to_owned(), value);
        }
    }

    fn detail(state: &str) -> ContainerDetail {
        serde_json::from_str(&format!(
            r#"{{"Id":"ab","Name":"/web","RestartCount":2,"State":{state}}}"#
        ))
        .unwrap()
    }

    const RUNNING: &str = r#"{"Status":"running","Running":true,"Pid":7,"StartedAt":"2026-01-01T00:00:10Z","FinishedAt":"0001-01-01T00:00:00Z","Health":{"Status":"starting"}}"#;
    const EXITED: &str = r#"{"Status":"exited","ExitCode":137,"OOMKilled":true,"StartedAt":"2026-01-01T00:00:10Z","FinishedAt":"2026-01-01T00:00:20.5Z"}"#;
    const AGAIN: &str = r#"{"Status":"running","Running":true,"Pid":8,"StartedAt":"2026-01-01T00:00:30Z","FinishedAt":"2026-01-01T00:00:20.5Z"}"#;

    #[track_caller]
    fn check(container: &Container, name: &str, expect: Option<f64>) {
        let mut sink = Collect::default();
        container.put_state(&mut sink);
        assert_eq!(sink.0.get(name).copied(), expect, "{name}");
    }

    #[test]
    fn a_running_container_has_health_and_no_exit() {
        let container = Container::new(detail(RUNNING));
        check(&container, "container_running", Some(1.0));
        check(&container, "container_restarts_total", Some(2.0));
        check(&container, "container_health_state", Some(0.0));
        check(&container, "container_health_starting", Some(1.0));
        check(&container, "container_exit_code", None);
        check(&container, "container_finished_time_seconds", None);
        let started = Some(1_767_225_610.0);
        check(&container, "container_start_time_seconds", started);
        check(&container, "container_started_time_seconds", started);
    }

    #[test]
    fn a_stopped_container_tells_when_its_last_run_began() {
        let container = Container::new(detail(EXITED));
        check(&container, "container_start_time_seconds", None);
        let started = Some(1_767_225_610.0);
        check(&container, "container_started_time_seconds", started);
        let never = Container::new(detail(
            r#"{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}"#,
        ));
        check(&never, "container_started_time_seconds", None);
    }

    #[test]
    fn only_a_one_off_container_is_labelled_so() {
        let check = |value: &str, expect: &str| {
            let detail = serde_json::from_str(&format!(
                r#"{{"Id":"ab","Name":"/web","Config":{{"Labels":{{"com.docker.compose.oneoff":"{value}"}}}},"State":{RUNNING}}}"#
            ));
            let found = labels(&detail.unwrap());
            let oneoff = found.iter().find(|(n, _)| n.ends_with("_oneoff"));
            assert_eq!(oneoff.unwrap().1, expect, "{value}");
        };
        check("True", "True");
        check("False", "");
        check("", "");
    }

    #[test]
    fn a_dead_container_keeps_its_exit_over_the_next_run() {
        let mut container = Container::new(detail(RUNNING));
        container.oom_killed();
        container.died(Some(137), 1_767_225_620.4);
        check(&container, "container_running", Some(0.0));
        check(&container, "container_exit_code", Some(137.0));
        check(&container, "container_health_state", None);
        container.update(detail(EXITED));
        check(
            &container,
            "container_finished_time_seconds",
            Some(1_767_225_620.5),
        );
        container.update(detail(AGAIN));
        check(&container, "container_running", Some(1.0));
        check(&container, "container_exit_code", Some(137.0));
        check(&container, "container_oom_events_total", Some(1.0));
        container.saw_oom_kills(2.0);
        check(&container, "container_oom_events_total", Some(3.0));
    }

    #[test]
    fn a_container_that_was_started_again_before_we_asked_runs() {
        let mut container = Container::new(detail(AGAIN));
        container.died(Some(3), 1_767_225_620.5);
        check(&container, "container_running", Some(1.0));
        check(&container, "container_exit_code", Some(3.0));
        container.died(Some(4), 1_767_225_640.0);
        check(&container, "container_running", Some(0.0));
        check(&container, "container_exit_code", Some(4.0));
    }

    #[test]
    fn a_container_found_dead_was_killed_once_if_the_engine_says_so() {
        let container = Container::new(detail(EXITED));
        check(&container, "container_oom_events_total", Some(1.0));
        check(&container, "container_exit_code", Some(137.0));
    }
}
