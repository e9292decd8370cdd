//! `rules/packs/docker.yml`.

use crate::scene::{
    BASE, Curve, Line, always, check, container, fires, from, play, quiet, rate, step, until,
};

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
