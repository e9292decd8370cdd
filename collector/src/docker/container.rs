//! One container: what the engine says about it, and the samples that follow from that.

use tokio::time::Instant;

use crate::engine::{ContainerDetail, ContainerState, HealthStatus, HostConfig};
use crate::host::Disk;
use crate::target::Sink;

use super::cgroup::{Bounds, Places, Usage};
use super::machine::put_space;
use super::service::Service;

/// Bytes of all Docker labels of a container that its series carry; with more they would exceed what a
/// series may have, and all be left out.
const LABEL_BYTES_MAX: usize = crate::target::LABEL_BYTES_MAX / 2;

/// A container from its creation to its removal.
#[derive(Debug)]
pub(super) struct Container {
    /// 64 hex digits.
    pub(super) id: String,
    labels: Vec<(String, String)>,
    /// Docker labels left out: they are too long.
    left_out: Vec<String>,
    /// What it is one of, when Compose made it.
    pub(super) service: Option<Service>,
    /// `sha256:…`.
    pub(super) image_id: String,
    created: Option<f64>,
    /// Bytes in its own layer, as the engine last counted them.
    pub(super) written_bytes: Option<f64>,
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
    /// What it was given, as the engine says.
    pub(super) given: HostConfig,
    /// What it may use, as its files say, and when they were read.
    pub(super) bounds: Option<(Instant, Bounds)>,
    /// Where its usage is to be read; with the process it was found for.
    pub(super) places: Option<(u32, Places)>,
}

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
    /// `chosen` are the Docker labels that become labels of its series.
    pub(super) fn new(detail: ContainerDetail, chosen: &[String]) -> Container {
        let mut container = Container {
            id: detail.id.clone(),
            labels: Vec::new(),
            left_out: Vec::new(),
            service: None,
            image_id: String::new(),
            created: None,
            written_bytes: None,
            state: ContainerState::default(),
            restarts: 0,
            exit_code: None,
            finished: None,
            started: None,
            stop_requested: None,
            oom: OomCount::default(),
            own_network: true,
            given: HostConfig::default(),
            bounds: None,
            places: None,
        };
        container.oom.events = u64::from(detail.state.oom_killed);
        container.update(detail, chosen);
        container
    }

    /// Takes over what the engine says now.
    pub(super) fn update(&mut self, detail: ContainerDetail, chosen: &[String]) {
        (self.labels, self.left_out) = labels(&detail, chosen);
        self.service = Service::of(&detail);
        self.image_id.clone_from(&detail.image);
        self.created = seconds(&detail.created);
        self.restarts = detail.restart_count;
        let network = detail.host_config.network_mode.as_str();
        self.own_network = network != "host" && !network.starts_with("container:");
        self.given = detail.host_config;
        self.bounds = None;
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

    /// Adds what the engine says; `image_created` is when its image was made.
    pub(super) fn put_state(&self, image_created: Option<f64>, sink: &mut impl Sink) {
        let labels = self.labels();
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
        if let Some(created) = self.created {
            put("container_creation_time_seconds", created);
        }
        if let Some(created) = image_created {
            put("container_image_created_time_seconds", created);
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
        usage.put(&self.labels(), at_seconds, sink);
    }

    /// Adds how much it has written, which is known when `disk`, where all containers are, is.
    pub(super) fn put_disk(&self, disk: &Disk, sink: &mut impl Sink) {
        let mut labels = self.labels();
        labels.push(("device", &disk.device));
        put_space(disk, &labels, sink);
        if let Some(bytes) = self.written_bytes {
            sink.put("container_fs_usage_bytes", &labels, bytes);
        }
    }

    /// What is left out of its labels.
    pub(super) fn note(&self) -> Option<String> {
        let first = self.left_out.first()?;
        let name = self.labels.iter().find(|(name, _)| name == "name");
        Some(format!(
            "the container {:.100} has no series label for its Docker label {first:.100}: one may have \
             {LABEL_BYTES_MAX} bytes of them",
            name.map_or("", |(_, name)| name)
        ))
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        let each = self.labels.iter();
        each.map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }
}

/// Its labels: whose it is, and those of its Docker labels that were `chosen`; beside them the names
/// of those for which there is no room.
fn labels(detail: &ContainerDetail, chosen: &[String]) -> (Vec<(String, String)>, Vec<String>) {
    let of = &detail.config.labels;
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut left_out = Vec::new();
    let mut left = LABEL_BYTES_MAX;
    for name in COMPOSE
        .iter()
        .copied()
        .chain(chosen.iter().map(String::as_str))
    {
        let value = of.get(name).cloned().unwrap_or_default();
        // Every container of Compose carries it; only `True`, of `docker compose run`, tells anything.
        let says = !name.ends_with(".oneoff") || value == "True";
        if value.len() > left {
            left_out.push(name.to_owned());
            continue;
        }
        left -= value.len();
        let name = label_name(name);
        if says && labels.iter().all(|(known, _)| *known != name) {
            labels.push((name, value));
        }
    }
    let own = [
        ("id", format!("/docker/{}", detail.id)),
        ("image", detail.config.image.clone()),
        ("name", detail.plain_name().to_owned()),
    ];
    labels.extend(own.map(|(name, value)| (name.to_owned(), value)));
    (labels, left_out)
}

const COMPOSE: [&str; 3] = [
    "com.docker.compose.oneoff",
    "com.docker.compose.project",
    "com.docker.compose.service",
];

/// As cAdvisor spells a Docker label: what no label name may have becomes `_`.
fn label_name(label: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let rest: String = label.chars().map(plain).collect();
    format!("container_label_{rest}")
}

/// RFC 3339 to seconds since the epoch; the year 1 stands for "never".
pub(super) fn seconds(text: &str) -> Option<f64> {
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
            bounds: Bounds {
                quota: one,
                period: one,
                shares: one,
                memory: one,
                ..Default::default()
            },
            cpu: super::super::cgroup::Cpu {
                usage: one,
                user: one,
                system: one,
                periods: one,
                throttled_periods: one,
                throttled: one,
            },
            memory: super::super::cgroup::Memory {
                usage: one,
                working_set: one,
                page_faults: one,
                ..Default::default()
            },
            blocks: vec![Default::default()],
            pids: one,
            processes: one,
            descriptors: one,
            networks: vec![Default::default()],
            pressure: vec![("cpu", one, one), ("io", one, one), ("memory", one, one)],
        };
        let mut names = Names::default();
        Container::new(detail(RUNNING), &[]).put_usage(&usage, 1.0, &mut names);
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

    #[test]
    fn labels_that_were_chosen_are_told_once_and_under_cadvisors_names() {
        let detail: ContainerDetail = serde_json::from_str(
            r#"{"Id":"ab","Name":"/web","Config":{"Image":"i","Labels":{"org.label-schema.group":"monitoring","other":"x","com.docker.compose.project":"p"}}}"#,
        )
        .unwrap();
        let chosen = [
            "org.label-schema.group",
            "com.docker.compose.project",
            "gone",
        ];
        let chosen: Vec<String> = chosen.iter().map(|c| (*c).to_owned()).collect();
        let mut lines = crate::target::Lines::default();
        Container::new(detail, &chosen).put_state(Some(5.0), &mut lines);
        let expect = "container_image_created_time_seconds{container_label_com_docker_compose_project=p,container_label_org_label_schema_group=monitoring,id=/docker/ab,image=i,name=web} 5";
        assert!(lines.0.iter().any(|l| l == expect), "{:?}", lines.0);
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
        container.put_state(None, &mut sink);
        assert_eq!(sink.0.get(name).copied(), expect, "{name}");
    }

    #[test]
    fn a_running_container_has_health_and_no_exit() {
        let container = Container::new(detail(RUNNING), &[]);
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
        let container = Container::new(detail(EXITED), &[]);
        check(&container, "container_start_time_seconds", None);
        let started = Some(1_767_225_610.0);
        check(&container, "container_started_time_seconds", started);
        let never = Container::new(
            detail(r#"{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}"#),
            &[],
        );
        check(&never, "container_started_time_seconds", None);
    }

    #[test]
    fn a_docker_label_without_end_is_left_out_and_named() {
        let long = "x".repeat(50_000);
        let detail: ContainerDetail = serde_json::from_str(&format!(
            r#"{{"Id":"ab","Name":"/web","Config":{{"Image":"i","Labels":{{"com.docker.compose.project":"{long}","com.docker.compose.service":"s"}}}}}}"#
        ))
        .unwrap();
        let container = Container::new(detail, &[]);
        let names: Vec<&str> = container.labels().iter().map(|(n, _)| *n).collect();
        assert!(!names.contains(&"container_label_com_docker_compose_project"));
        assert!(names.contains(&"container_label_com_docker_compose_service"));
        let note = container.note().unwrap();
        let expect =
            "the container web has no series label for its Docker label com.docker.compose.project";
        assert!(note.starts_with(expect), "{note}");
    }

    #[test]
    fn only_a_one_off_container_is_labelled_so() {
        let check = |value: &str, expect: &str| {
            let detail = serde_json::from_str(&format!(
                r#"{{"Id":"ab","Name":"/web","Config":{{"Labels":{{"com.docker.compose.oneoff":"{value}"}}}},"State":{RUNNING}}}"#
            ));
            let (found, _) = labels(&detail.unwrap(), &[]);
            let oneoff = found.iter().find(|(n, _)| n.ends_with("_oneoff"));
            assert_eq!(oneoff.map_or("", |(_, v)| v), expect, "{value}");
        };
        check("True", "True");
        check("False", "");
        check("", "");
    }

    #[test]
    fn a_dead_container_keeps_its_exit_over_the_next_run() {
        let mut container = Container::new(detail(RUNNING), &[]);
        container.oom_killed();
        container.died(Some(137), 1_767_225_620.4);
        check(&container, "container_running", Some(0.0));
        check(&container, "container_exit_code", Some(137.0));
        check(&container, "container_health_state", None);
        container.update(detail(EXITED), &[]);
        check(
            &container,
            "container_finished_time_seconds",
            Some(1_767_225_620.5),
        );
        container.update(detail(AGAIN), &[]);
        check(&container, "container_running", Some(1.0));
        check(&container, "container_exit_code", Some(137.0));
        check(&container, "container_oom_events_total", Some(1.0));
        container.saw_oom_kills(2.0);
        check(&container, "container_oom_events_total", Some(3.0));
    }

    #[test]
    fn a_container_that_was_started_again_before_we_asked_runs() {
        let mut container = Container::new(detail(AGAIN), &[]);
        container.died(Some(3), 1_767_225_620.5);
        check(&container, "container_running", Some(1.0));
        check(&container, "container_exit_code", Some(3.0));
        container.died(Some(4), 1_767_225_640.0);
        check(&container, "container_running", Some(0.0));
        check(&container, "container_exit_code", Some(4.0));
    }

    #[test]
    fn a_container_found_dead_was_killed_once_if_the_engine_says_so() {
        let container = Container::new(detail(EXITED), &[]);
        check(&container, "container_oom_events_total", Some(1.0));
        check(&container, "container_exit_code", Some(137.0));
    }
}
