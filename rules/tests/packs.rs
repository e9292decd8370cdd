//! Every shipped alert fires on series that should trigger it and is quiet on healthy ones.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, called with fresh scenes"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use model::control::MemoryControlStore;
use model::{ControlStore, Labels, STALE_NAN};
use prometheus_client::registry::Registry;
use query::{Engine, EngineOptions};
use rules::file::RuleSpec;
use rules::{Groups, RuleFile};
use support::{TestEnvironment, defaults, labels, seconds};

/// When every scene begins, in seconds since the epoch.
const BASE: f64 = 1_700_000_000.0;

/// A value by seconds since the scene began; `None` is no sample.
type Curve = Box<dyn Fn(f64) -> Option<f64>>;
type Line = (&'static str, Curve);

fn always(v: f64) -> Curve {
    Box::new(move |_| Some(v))
}

/// A counter that grows by `per_second`.
fn rate(per_second: f64) -> Curve {
    Box::new(move |t| Some(t * per_second))
}

/// `before` until `at`, `after` from then on.
fn step(at: f64, before: f64, after: f64) -> Curve {
    Box::new(move |t| Some(if t < at { before } else { after }))
}

/// No sample until `at`.
fn from(at: f64, v: f64) -> Curve {
    Box::new(move |t| (t >= at).then_some(v))
}

/// No sample from `at` on, as of a container that was removed.
fn until(at: f64, v: f64) -> Curve {
    Box::new(move |t| (t < at).then_some(v))
}

fn pack_files() -> Vec<RuleFile> {
    rules::packs::names()
        .iter()
        .map(|name| rules::file::parse(name, rules::packs::text(name).unwrap()).unwrap())
        .collect()
}

/// Plays a scene and tells in which minutes the alert fired.
fn play(alert: &str, minutes: u32, lines: &[Line]) -> Vec<u32> {
    let (file, spec) = pack_files()
        .into_iter()
        .flat_map(|f| f.groups.into_iter().map(move |g| (f.name.clone(), g)))
        .find(|(_, g)| g.rules.iter().any(|r| r.name() == alert))
        .unwrap();
    let mut spec = spec;
    spec.rules.retain(|r| r.name() == alert);
    let control: Arc<dyn ControlStore> = Arc::new(MemoryControlStore::default());
    let groups = Groups::load(
        vec![RuleFile {
            name: file,
            groups: vec![spec],
        }],
        defaults(),
        control,
        &mut Registry::default(),
    )
    .unwrap();
    let group = &groups.groups()[0];
    let engine = Engine::new(EngineOptions::default());
    let env = TestEnvironment::default();
    // Long scenes have coarser samples.
    let pause = if minutes > 120 { 60 } else { 15 };
    let series: Vec<(Labels, &Curve)> = lines.iter().map(|(s, c)| (labels(s), c)).collect();
    let mut there = vec![false; series.len()];
    let mut fired = Vec::new();
    for second in (0..=minutes * 60).step_by(pause) {
        let at = seconds(BASE as i64 + i64::from(second));
        for ((labels, curve), there) in series.iter().zip(&mut there) {
            match curve(f64::from(second)) {
                Some(v) => env.series.push(labels, at, v),
                None if *there => env.series.push(labels, at, STALE_NAN),
                None => {}
            }
            *there = curve(f64::from(second)).is_some();
        }
        if second % 60 == 0 {
            let report = group.eval(at, &engine, &env);
            let status = group.status();
            assert_eq!(
                report.failures, 0,
                "{alert}: {:?}",
                status.rules[0].last_error
            );
            if let rules::RuleKind::Alerting { alerts, .. } = &status.rules[0].kind {
                for a in alerts {
                    for (name, text) in &a.annotations {
                        assert!(
                            !text.contains("<error") && !text.contains("<no value>"),
                            "{alert} {name}: {text}"
                        );
                    }
                    if a.state == rules::AlertState::Firing {
                        fired.push(second / 60);
                    }
                }
            }
        }
    }
    fired.dedup();
    fired
}

#[track_caller]
fn fires(alert: &str, minutes: u32, lines: Vec<Line>) {
    assert!(
        !play(alert, minutes, &lines).is_empty(),
        "{alert} did not fire"
    );
}

#[track_caller]
fn quiet(alert: &str, minutes: u32, lines: Vec<Line>) {
    assert_eq!(
        play(alert, minutes, &lines),
        Vec::<u32>::new(),
        "{alert} fired in these minutes"
    );
}

/// Both at once.
#[track_caller]
fn check(alert: &str, minutes: u32, bad: Vec<Line>, healthy: Vec<Line>) {
    fires(alert, minutes, bad);
    quiet(alert, minutes, healthy);
}

macro_rules! cpu {
    ($mode:literal) => {
        concat!(
            "node_cpu_seconds_total{job=\"node\",instance=\"h\",cpu=\"0\",mode=\"",
            $mode,
            "\"}"
        )
    };
}

macro_rules! host {
    ($name:literal) => {
        concat!($name, "{job=\"node\",instance=\"h\"}")
    };
}

macro_rules! disk {
    ($name:literal) => {
        concat!(
            $name,
            "{job=\"node\",instance=\"h\",device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"}"
        )
    };
}

/// A plain container.
macro_rules! container {
    ($name:literal) => {
        concat!(
            $name,
            "{job=\"cadvisor\",instance=\"h\",id=\"/docker/1\",name=\"web\",image=\"i\"}"
        )
    };
}

/// The container of a Compose service.
macro_rules! service {
    ($name:literal) => {
        service!($name, "1")
    };
    ($name:literal, $id:literal) => {
        concat!(
            $name, "{job=\"cadvisor\",instance=\"h\",id=\"/docker/", $id, "\",name=\"p-web-", $id,
            "\",image=\"i\",container_label_com_docker_compose_project=\"p\",container_label_com_docker_compose_service=\"web\"}"
        )
    };
}

#[test]
fn host_cpu() {
    check(
        "HostHighCpu",
        25,
        vec![
            (cpu!("idle"), rate(0.02)),
            (cpu!("user"), rate(0.98)),
            (cpu!("iowait"), rate(0.0)),
        ],
        vec![
            (cpu!("idle"), rate(0.5)),
            (cpu!("user"), rate(0.5)),
            (cpu!("iowait"), rate(0.0)),
        ],
    );
    quiet(
        "HostHighCpu",
        25,
        vec![(cpu!("idle"), rate(0.02)), (cpu!("iowait"), rate(0.95))],
    );
    check(
        "HostCpuSteal",
        25,
        vec![(cpu!("steal"), rate(0.2))],
        vec![(cpu!("steal"), rate(0.02))],
    );
    check(
        "HostHighIowait",
        25,
        vec![(cpu!("iowait"), rate(0.4))],
        vec![(cpu!("iowait"), rate(0.1))],
    );
}

#[test]
fn host_memory() {
    let memory = |available: f64| -> Vec<Line> {
        vec![
            (host!("node_memory_MemAvailable_bytes"), always(available)),
            (host!("node_memory_MemTotal_bytes"), always(100.0)),
        ]
    };
    check("HostMemoryLow", 10, memory(8.0), memory(50.0));
    check("HostMemoryCritical", 10, memory(3.0), memory(8.0));
    let swap = |pages: f64| -> Vec<Line> {
        vec![
            (host!("node_vmstat_pswpin"), rate(pages)),
            (host!("node_vmstat_pswpout"), rate(pages)),
        ]
    };
    check("HostSwapThrash", 20, swap(800.0), swap(10.0));
    check(
        "HostOomKill",
        20,
        vec![(host!("node_vmstat_oom_kill"), step(600.0, 3.0, 4.0))],
        vec![(host!("node_vmstat_oom_kill"), always(3.0))],
    );
    // The victim was a container, which ContainerOomKilled reports.
    quiet(
        "HostOomKill",
        20,
        vec![
            (host!("node_vmstat_oom_kill"), step(600.0, 3.0, 4.0)),
            (
                container!("container_oom_events_total"),
                step(595.0, 0.0, 1.0),
            ),
        ],
    );
}

#[test]
fn host_disks() {
    let space = |avail: f64| -> Vec<Line> {
        vec![
            (disk!("node_filesystem_avail_bytes"), always(avail)),
            (disk!("node_filesystem_size_bytes"), always(100.0)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostDiskLow", 15, space(10.0), space(50.0));
    check("HostDiskCritical", 10, space(3.0), space(10.0));
    quiet(
        "HostDiskLow",
        15,
        vec![
            (
                "node_filesystem_avail_bytes{job=\"node\",fstype=\"squashfs\"}",
                always(0.0),
            ),
            (
                "node_filesystem_size_bytes{job=\"node\",fstype=\"squashfs\"}",
                always(100.0),
            ),
        ],
    );
    let falling = |per_hour: f64| -> Vec<Line> {
        vec![
            (
                disk!("node_filesystem_avail_bytes"),
                Box::new(move |t| Some(30e9 - t / 3600.0 * per_hour)),
            ),
            (disk!("node_filesystem_size_bytes"), always(100e9)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostDiskFillsIn24h", 300, falling(3e9), falling(0.1e9));
    quiet("HostDiskFillsIn24h", 90, falling(3e9));
    // An image was pulled.
    quiet(
        "HostDiskFillsIn24h",
        600,
        vec![
            (
                disk!("node_filesystem_avail_bytes"),
                Box::new(|t| Some(30e9 - ((t - 14_400.0) * 1e7).clamp(0.0, 6e9))),
            ),
            (disk!("node_filesystem_size_bytes"), always(100e9)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ],
    );
    let inodes = |free: f64, all: f64| -> Vec<Line> {
        vec![
            (disk!("node_filesystem_files_free"), always(free)),
            (disk!("node_filesystem_files"), always(all)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostInodesLow", 15, inodes(5.0, 100.0), inodes(50.0, 100.0));
    quiet("HostInodesLow", 15, inodes(0.0, 0.0));
    check(
        "HostFilesystemReadonly",
        20,
        vec![(disk!("node_filesystem_readonly"), step(600.0, 0.0, 1.0))],
        vec![(disk!("node_filesystem_readonly"), always(1.0))],
    );
    let busy = |share: f64| -> Vec<Line> {
        vec![(
            "node_disk_io_time_seconds_total{job=\"node\",instance=\"h\",device=\"vda\"}",
            rate(share),
        )]
    };
    check("HostDiskIoSaturated", 25, busy(0.99), busy(0.5));
}

#[test]
fn host_kernel() {
    let table = |entries: f64| -> Vec<Line> {
        vec![
            (host!("node_nf_conntrack_entries"), always(entries)),
            (host!("node_nf_conntrack_entries_limit"), always(100.0)),
        ]
    };
    check("HostConntrackNearLimit", 10, table(90.0), table(10.0));
    let clock = |synced: f64, offset: f64| -> Vec<Line> {
        vec![
            (host!("node_timex_sync_status"), always(synced)),
            (host!("node_timex_offset_seconds"), always(offset)),
        ]
    };
    check("HostClockUnsynced", 15, clock(0.0, 0.0), clock(1.0, 0.001));
    fires("HostClockUnsynced", 15, clock(1.0, -0.2));
}

#[test]
fn docker_engine() {
    check(
        "DockerDaemonUnreachable",
        10,
        vec![(
            "docker_engine_up{job=\"cadvisor\",instance=\"h\"}",
            step(60.0, 1.0, 0.0),
        )],
        vec![(
            "docker_engine_up{job=\"cadvisor\",instance=\"h\"}",
            always(1.0),
        )],
    );
    // A host without Docker.
    quiet(
        "DockerDaemonUnreachable",
        10,
        vec![(
            "docker_engine_up{job=\"cadvisor\",instance=\"h\"}",
            always(0.0),
        )],
    );
}

/// A container that ends after five minutes with `code`.
fn ended(code: f64) -> Vec<Line> {
    vec![
        (container!("container_running"), step(300.0, 1.0, 0.0)),
        (container!("container_restarting"), always(0.0)),
        (container!("container_exit_code"), from(300.0, code)),
        (
            container!("container_finished_time_seconds"),
            from(300.0, BASE + 300.0),
        ),
        (
            container!("container_started_time_seconds"),
            always(BASE - 60.0),
        ),
    ]
}

#[test]
fn a_container_that_dies_is_reported_and_one_that_ends_well_is_not() {
    let died = play("ContainerDied", 10, &ended(1.0));
    assert_eq!(
        died,
        [5, 6, 7, 8, 9, 10],
        "at once, and as long as it lies there"
    );
    fires("ContainerDied", 10, ended(137.0));
    for asked in [0.0, 143.0, 130.0] {
        quiet("ContainerDied", 10, ended(asked));
    }
    // It runs again.
    quiet(
        "ContainerDied",
        10,
        vec![
            (container!("container_running"), always(1.0)),
            (container!("container_exit_code"), always(1.0)),
            (
                container!("container_finished_time_seconds"),
                always(BASE - 60.0),
            ),
        ],
    );
    // It failed days before anybody looked.
    quiet(
        "ContainerDied",
        10,
        vec![
            (container!("container_running"), always(0.0)),
            (container!("container_exit_code"), always(1.0)),
            (
                container!("container_finished_time_seconds"),
                always(BASE - 3.0 * 86_400.0),
            ),
        ],
    );
    // Docker is about to start it again.
    let mut looping = ended(1.0);
    looping[1].1 = step(300.0, 0.0, 1.0);
    quiet("ContainerDied", 10, looping);
    // `docker stop` of what ignores SIGTERM; and one that was stopped, started, and then died.
    let requested = container!("container_stop_requested_time_seconds");
    let mut asked = ended(137.0);
    asked.push((requested, from(300.0, BASE + 290.0)));
    quiet("ContainerDied", 10, asked);
    // We were restarted meanwhile and have forgotten who asked.
    let mut asked = ended(137.0);
    asked.push((
        requested,
        Box::new(|t| (300.0..400.0).contains(&t).then_some(BASE + 290.0)),
    ));
    quiet("ContainerDied", 20, asked);
    let mut later = ended(137.0);
    later.push((requested, always(BASE - 61.0)));
    fires("ContainerDied", 10, later);
    // It was removed: the alert ends.
    let removed: Vec<Line> = vec![
        (container!("container_running"), until(180.0, 0.0)),
        (container!("container_exit_code"), until(180.0, 1.0)),
        (
            container!("container_finished_time_seconds"),
            until(180.0, BASE - 60.0),
        ),
    ];
    assert_eq!(play("ContainerDied", 10, &removed), [0, 1, 2]);
}

/// A service whose one container, started `ran` seconds before, ends after five minutes.
fn stopped(code: f64, ran: f64) -> Vec<Line> {
    vec![
        (service!("container_running"), step(300.0, 1.0, 0.0)),
        (service!("container_restarting"), always(0.0)),
        (service!("container_exit_code"), from(300.0, code)),
        (
            service!("container_finished_time_seconds"),
            from(300.0, BASE + 300.0),
        ),
        (
            service!("container_started_time_seconds"),
            always(BASE + 300.0 - ran),
        ),
    ]
}

#[test]
fn a_service_without_a_running_container_is_down_and_a_job_that_is_done_is_not() {
    // Stopped by hand after a long run, or by a signal.
    assert_eq!(
        play("ContainerDown", 10, &stopped(0.0, 7200.0)),
        [6, 7, 8, 9, 10]
    );
    fires("ContainerDown", 10, stopped(143.0, 200.0));
    assert_eq!(
        play("ContainerDown", 100, &stopped(0.0, 7200.0)).len(),
        95,
        "as long as nobody starts it"
    );
    // A migration that is done; a crash, which ContainerDied reports; a re-creation.
    quiet("ContainerDown", 10, stopped(0.0, 200.0));
    quiet("ContainerDown", 10, stopped(1.0, 7200.0));
    fires("ContainerDied", 10, stopped(1.0, 7200.0));
    let mut recreated = vec![
        (service!("container_running"), until(300.0, 1.0)),
        (
            service!("container_started_time_seconds"),
            until(300.0, BASE - 9000.0),
        ),
        (service!("container_restarting"), until(300.0, 0.0)),
        (service!("container_running", "2"), from(330.0, 1.0)),
        (service!("container_restarting", "2"), from(330.0, 0.0)),
    ];
    quiet("ContainerDown", 10, std::mem::take(&mut recreated));
    // Another replica still runs.
    let mut replicas = stopped(0.0, 7200.0);
    replicas.push((service!("container_running", "2"), always(1.0)));
    replicas.push((service!("container_restarting", "2"), always(0.0)));
    quiet("ContainerDown", 10, replicas);
    // Stopped on request: down soon after, whatever the code, and not dead.
    for code in [0.0, 137.0] {
        let mut asked = stopped(code, 200.0);
        let requested = service!("container_stop_requested_time_seconds");
        asked.push((requested, from(300.0, BASE + 290.0)));
        fires("ContainerDown", 10, asked);
    }
    // Docker waits before it starts it again.
    let mut looping = stopped(1.0, 200.0);
    looping[1].1 = step(300.0, 0.0, 1.0);
    quiet("ContainerDown", 10, looping);
    // Stopped weeks before anybody watched.
    let finished = BASE - 14.0 * 86_400.0;
    quiet(
        "ContainerDown",
        10,
        vec![
            (service!("container_running"), always(0.0)),
            (service!("container_restarting"), always(0.0)),
            (service!("container_exit_code"), always(137.0)),
            (
                service!("container_finished_time_seconds"),
                always(finished),
            ),
            (
                service!("container_started_time_seconds"),
                always(finished - 86_400.0),
            ),
        ],
    );
}

#[test]
fn container_trouble() {
    let restarts = |restarting: f64, count: Curve| -> Vec<Line> {
        vec![
            (container!("container_restarts_total"), count),
            (container!("container_running"), always(0.0)),
            (container!("container_restarting"), always(restarting)),
        ]
    };
    check(
        "ContainerRestartLoop",
        20,
        restarts(1.0, Box::new(|t| Some((t / 120.0).floor()))),
        restarts(1.0, step(300.0, 0.0, 2.0)),
    );
    // Docker gave up: ContainerDied reports it.
    quiet(
        "ContainerRestartLoop",
        20,
        restarts(0.0, step(300.0, 0.0, 5.0)),
    );
    let health = |state: f64, starting: f64| -> Vec<Line> {
        vec![
            (container!("container_health_state"), always(state)),
            (container!("container_health_starting"), always(starting)),
            (container!("container_running"), always(1.0)),
        ]
    };
    check("ContainerUnhealthy", 10, health(0.0, 0.0), health(1.0, 0.0));
    quiet("ContainerUnhealthy", 10, health(0.0, 1.0));
    quiet("ContainerUnhealthy", 10, health(-1.0, 0.0));
    check(
        "ContainerOomKilled",
        20,
        vec![(
            container!("container_oom_events_total"),
            step(300.0, 0.0, 1.0),
        )],
        vec![
            (container!("container_oom_events_total"), always(2.0)),
            (
                container!("container_start_time_seconds"),
                always(BASE - 86_400.0),
            ),
        ],
    );
    fires(
        "ContainerOomKilled",
        10,
        vec![
            (container!("container_oom_events_total"), from(300.0, 1.0)),
            (
                container!("container_start_time_seconds"),
                from(300.0, BASE + 290.0),
            ),
        ],
    );
    let memory = |used: f64, limit: f64| -> Vec<Line> {
        vec![
            (
                container!("container_memory_working_set_bytes"),
                always(used),
            ),
            (
                container!("container_spec_memory_limit_bytes"),
                always(limit),
            ),
        ]
    };
    check(
        "ContainerMemoryNearLimit",
        10,
        memory(95.0, 100.0),
        memory(50.0, 100.0),
    );
    quiet("ContainerMemoryNearLimit", 10, memory(95.0, 0.0));
    // Most of it is file cache.
    let mut cached = memory(95.0, 100.0);
    cached.push((
        container!("container_memory_total_active_file_bytes"),
        always(60.0),
    ));
    quiet("ContainerMemoryNearLimit", 10, cached);
    let throttled = |share: f64| -> Vec<Line> {
        vec![
            (
                container!("container_cpu_cfs_throttled_periods_total"),
                rate(share * 10.0),
            ),
            (container!("container_cpu_cfs_periods_total"), rate(10.0)),
        ]
    };
    check("ContainerCpuThrottled", 25, throttled(0.5), throttled(0.1));
}

#[test]
fn the_monitoring_itself() {
    fires("Watchdog", 1, vec![]);
    let up = |v: f64| -> Vec<Line> { vec![("up{job=\"j\",instance=\"i\"}", always(v))] };
    check("ScrapeTargetDown", 5, up(0.0), up(1.0));
    let mut docker = up(0.0);
    docker.push(("docker_engine_up{job=\"j\",instance=\"i\"}", always(0.0)));
    quiet("ScrapeTargetDown", 5, docker);
    macro_rules! grows {
        ($alert:literal, $series:literal) => {
            check(
                $alert,
                15,
                vec![($series, rate(0.05))],
                vec![($series, always(7.0))],
            );
        };
    }
    grows!(
        "RuleEvaluationFailing",
        "stackwatch_rule_evaluation_failures_total{rule_group=\"g\"}"
    );
    grows!(
        "RuleGroupLate",
        "stackwatch_rule_group_iterations_missed_total{rule_group=\"g\"}"
    );
    grows!(
        "NotificationsFailing",
        "stackwatch_notifications_failed_total{receiver=\"r\",integration=\"slack\"}"
    );
    // Fails for `minutes`, then delivers what waited; another receiver works all the time.
    let failing = |minutes: f64| -> Vec<Line> {
        let end = minutes * 60.0;
        vec![
            (
                "stackwatch_notifications_failed_total{receiver=\"r\",integration=\"slack\"}",
                Box::new(move |s| Some((s.min(end) / 20.0).floor())),
            ),
            (
                "stackwatch_notification_latency_seconds_count{receiver=\"r\",integration=\"slack\"}",
                step(end, 0.0, 1.0),
            ),
            (
                "stackwatch_notification_latency_seconds_count{receiver=\"q\",integration=\"slack\"}",
                rate(0.05),
            ),
        ]
    };
    quiet("NotificationsFailing", 40, failing(4.0));
    let fired = play("NotificationsFailing", 40, &failing(20.0));
    assert_eq!((fired.first(), fired.last()), (Some(&6), Some(&19)));
    grows!(
        "StorageWriteErrors",
        "stackwatch_storage_write_errors_total"
    );
    let outbox = |age: f64, dead: f64| -> Vec<Line> {
        vec![
            ("stackwatch_outbox_oldest_age_seconds", always(age)),
            ("stackwatch_outbox_dead_letters", always(dead)),
        ]
    };
    check(
        "NotificationsStuck",
        2,
        outbox(400.0, 0.0),
        outbox(10.0, 0.0),
    );
    fires("NotificationsStuck", 2, outbox(0.0, 1.0));
    check(
        "StorageCorruption",
        5,
        vec![("stackwatch_storage_corruptions_total", always(1.0))],
        vec![("stackwatch_storage_corruptions_total", always(0.0))],
    );
}

#[test]
fn every_alert_has_a_test_a_runbook_and_texts() {
    let this_file = include_str!("packs.rs");
    let runbooks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks"));
    let mut names = BTreeSet::new();
    for rule in pack_files()
        .into_iter()
        .flat_map(|f| f.groups)
        .flat_map(|g| g.rules)
    {
        let RuleSpec::Alert(alert) = rule else {
            continue;
        };
        let name = &alert.name;
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(
            this_file.contains(&format!("\"{name}\"")),
            "{name} has no test"
        );
        for key in ["summary", "description"] {
            assert!(alert.annotations.contains_key(key), "{name} has no {key}");
        }
        assert_eq!(
            alert.annotations.get("runbook_url"),
            Some(&format!(
                "https://github.com/stackwatch/stackwatch/blob/main/docs/runbooks/{name}.md"
            ))
        );
        assert!(
            runbooks.join(format!("{name}.md")).is_file(),
            "{name} has no runbook"
        );
        let severity = alert.labels.get("severity").map_or("", String::as_str);
        assert!(
            ["critical", "warning", "none"].contains(&severity),
            "{name}: {severity}"
        );
    }
    assert_eq!(names.len(), 31);
}

#[test]
fn every_recording_rule_is_named_level_metric_operations() {
    for rule in pack_files()
        .into_iter()
        .flat_map(|f| f.groups)
        .flat_map(|g| g.rules)
    {
        if let RuleSpec::Record(record) = rule {
            assert!(record.name.contains(':'), "{}", record.name);
        }
    }
}
