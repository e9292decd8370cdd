//! Real containers: cAdvisor's names, and what happens in a container's life.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stackwatch_tests::docker::{self, Container, docker, run};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(40);

/// Names whose figures a kernel may not have for anybody: stalls, and block devices by cgroup.
const BY_KERNEL: [&str; 2] = ["container_pressure_", "container_blkio_"];

fn watch(dir: &std::path::Path) -> Stackwatch {
    Stackwatch::start(
        dir,
        "collect: { host: false, interval: 1s, docker: { labels: [team] } }\nlogs: { docker: false }\n",
    )
}

/// The list of what dashboards and alert rules ask for, beside the repository.
#[test]
fn what_dashboards_ask_of_containers_is_there_with_its_type_and_labels() {
    let list = "../../shared/exporter-metrics/names.tsv";
    let Ok(list) = std::fs::read_to_string(list) else {
        return skipped("no ../shared/exporter-metrics beside the repository");
    };
    if !docker::available() {
        return skipped("no Docker engine");
    }
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--cpus=0.5", "--memory=64m", "--label=team=blue"];
    let name = run("names", "web", &limits, "while :; do sleep 1; done");
    let stackwatch = watch(dir.path());
    let of_it = |family: &str| format!("{family}{{name=\"{}\"}}", name.name);
    eventually("what it has written", LIMIT, || {
        stackwatch.value(&of_it("container_fs_usage_bytes"))
    });
    let metadata = stackwatch.get("/api/v1/metadata").json();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for series in stackwatch.query("{job=\"cadvisor\"}") {
        let metric = series["metric"].as_object().unwrap();
        let name = metric["__name__"].as_str().unwrap().to_owned();
        labels
            .entry(name)
            .or_default()
            .extend(metric.keys().cloned());
    }
    let target = ["__name__", "job", "instance", "id", "image", "name"];
    let mut compared = 0;
    for row in list.lines() {
        let fields: Vec<&str> = row.split('\t').collect();
        let ["P1", name, kind, wanted, "cAdvisor", ..] = fields[..] else {
            continue;
        };
        let Some(told) = labels.get(name) else {
            let optional = BY_KERNEL.iter().any(|k| name.starts_with(k));
            assert!(optional, "{name} is not told");
            continue;
        };
        assert_eq!(
            metadata["data"][name][0]["type"].as_str(),
            Some(kind),
            "{name}"
        );
        let of_docker =
            |l: &&String| l.starts_with("container_label_") || target.contains(&l.as_str());
        for label in told.iter().filter(|l| !of_docker(l)) {
            assert!(wanted.split(',').any(|w| w == label), "{name} has {label}");
        }
        compared += 1;
    }
    assert!(compared > 55, "{compared} families compared");
    let blue = of_it("container_memory_rss").replace('}', ",container_label_team=\"blue\"}");
    assert!(stackwatch.value(&blue).is_some(), "{blue}");
    assert_eq!(
        stackwatch.value(&of_it("container_spec_cpu_quota")),
        Some(50_000.0)
    );
    assert_eq!(stackwatch.value("up{job=\"cadvisor\"}"), Some(1.0));
}

#[test]
fn a_containers_life_is_told() {
    if !docker::available() {
        return skipped("no Docker engine");
    }
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = watch(dir.path());
    let value = |family: &str, container: &Container| {
        stackwatch.value(&format!("{family}{{name=\"{}\"}}", container.name))
    };
    let becomes = |family: &str, container: &Container, expect: f64| {
        let what = format!("{family} of {} = {expect}", container.name);
        eventually(&what, LIMIT, || {
            value(family, container).filter(|v| *v == expect)
        });
    };

    // Not decided yet, which is not unhealthy; then it is.
    let health = [
        "--health-cmd=false",
        "--health-interval=3s",
        "--health-retries=1",
    ];
    let sick = run("life", "sick", &health, "while :; do sleep 1; done");
    becomes("container_health_starting", &sick, 1.0);
    becomes("container_health_state", &sick, 0.0);
    becomes("container_health_starting", &sick, 0.0);

    // One that dies again and again.
    let restless = run("life", "restless", &["--restart=always"], "exit 3");
    eventually("two restarts", LIMIT, || {
        value("container_restarts_total", &restless).filter(|v| *v >= 2.0)
    });
    becomes("container_exit_code", &restless, 3.0);

    // One that wants more memory than it may have.
    let greedy = run(
        "life",
        "greedy",
        &["--memory=16m", "--memory-swap=16m"],
        "dd if=/dev/zero of=/dev/null bs=256M count=1; sleep 1; exit 9",
    );
    eventually("a kill", LIMIT, || {
        value("container_oom_events_total", &greedy).filter(|v| *v >= 1.0)
    });
    becomes("container_running", &greedy, 0.0);
    // Stopped ones stay.
    let image = value("container_image_created_time_seconds", &greedy);
    assert!(image.is_some_and(|at| at > 1.6e9), "{image:?}");

    // Compose's `up -d` with another image: a new container in the same place.
    let old = run("life", "web", &[], "while :; do sleep 1; done");
    becomes("container_recreations_total", &old, 0.0);
    let new = run("life", "web", &[], "while :; do sleep 2; done");
    becomes("container_recreations_total", &new, 1.0);
    becomes("container_restarts_total", &new, 0.0);
    let _ = docker(&["rm", "-f", &new.name]);
    eventually("its series end", LIMIT, || {
        value("container_running", &new).is_none().then_some(())
    });
    let down =
        stackwatch.query("ALERTS{alertname=~\"ContainerDied|ContainerDown\",name=~\"life-web.*\"}");
    assert!(down.is_empty(), "{down:?}");
}

/// As of an engine in a virtual machine, or with `/sys` not mounted.
#[test]
fn what_no_file_tells_is_asked_of_the_engine() {
    if !docker::available() {
        return skipped("no Docker engine");
    }
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let limits = ["--cpus=0.5", "--memory=64m", "--cpu-shares=512"];
    let container = run(
        "asked",
        "web",
        &limits,
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 600",
    );
    let near = watch(dirs[0].path());
    let far = Stackwatch::start(
        dirs[1].path(),
        "collect: { host: false, interval: 1s, roots: { sys: /nowhere } }\nlogs: { docker: false }\n",
    );
    let value = |of: &Stackwatch, family: &str| {
        of.value(&format!("{family}{{name=\"{}\"}}", container.name))
    };
    // Until it has settled both say the same.
    let same = |family: &str, within: f64| {
        let mut told = (None, None);
        eventually(family, LIMIT, || {
            told = (value(&near, family), value(&far, family));
            let (Some(files), Some(asked)) = told else {
                return None;
            };
            ((files - asked).abs() <= within).then_some(())
        });
    };
    for family in [
        "container_spec_cpu_quota",
        "container_spec_cpu_period",
        "container_spec_cpu_shares",
        "container_spec_memory_limit_bytes",
        "container_memory_failcnt",
        "container_threads",
        "container_cpu_cfs_throttled_seconds_total",
        "container_memory_rss",
        "container_memory_cache",
        "container_memory_mapped_file",
        "container_last_seen",
    ] {
        // Two collections do not fall together; nothing else differs of one that sleeps.
        let within = if family == "container_last_seen" {
            2.0
        } else {
            0.0
        };
        same(family, within);
    }
    for family in [
        "container_memory_usage_bytes",
        "container_memory_working_set_bytes",
        "container_memory_max_usage_bytes",
    ] {
        same(family, 256.0 * 1024.0);
    }
    for family in [
        "container_cpu_usage_seconds_total",
        "container_cpu_user_seconds_total",
        "container_cpu_system_seconds_total",
    ] {
        same(family, 0.05);
    }
    let targets = far.get("/api/v1/targets").body;
    assert!(targets.contains("no cgroup files here"), "{targets}");
    assert!(
        !near
            .get("/api/v1/targets")
            .body
            .contains("no cgroup files here")
    );
}
