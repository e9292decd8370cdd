//! A whole engine, as far as we ask: answers by path, and events when the test says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use model::is_stale;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::broadcast;

use super::*;
use crate::Status;
use crate::config::target_labels;

struct FakeEngine {
    dir: tempfile::TempDir,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    events: broadcast::Sender<String>,
}

impl FakeEngine {
    fn start() -> FakeEngine {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        let answers = Arc::new(Mutex::new(BTreeMap::new()));
        let events = broadcast::channel(16).0;
        let engine = FakeEngine {
            dir,
            answers: Arc::clone(&answers),
            events: events.clone(),
        };
        engine.answer("/version", r#"{"Version":"99.0","ApiVersion":"9.9"}"#);
        engine.answer("/containers/json?all=1", "[]");
        tokio::spawn(async move {
            loop {
                let (mut io, _) = listener.accept().await.unwrap();
                let (answers, mut events) = (Arc::clone(&answers), events.subscribe());
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let n = io.read(&mut request).await.unwrap();
                    let request = String::from_utf8_lossy(&request[..n]).into_owned();
                    let path = request.split(' ').nth(1).unwrap().to_owned();
                    if path.starts_with("/events") {
                        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                        let _ = io.write_all(head.as_bytes()).await;
                        while let Ok(event) = events.recv().await {
                            if event.is_empty() {
                                // The engine is restarted.
                                return;
                            }
                            let chunk = format!("{:x}\r\n{event}\n\r\n", event.len() + 1);
                            let _ = io.write_all(chunk.as_bytes()).await;
                        }
                        return;
                    }
                    let body = answers.lock().unwrap().get(&path).cloned();
                    if body.as_deref() == Some(SILENCE) {
                        std::future::pending::<()>().await;
                    }
                    let (status, body) = match body {
                        Some(body) => ("200 OK", body),
                        None => (
                            "404 Not Found",
                            "{\"message\":\"no such container\"}".to_owned(),
                        ),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = io.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        engine
    }

    fn answer(&self, path: &str, body: &str) {
        self.answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), body.to_owned());
    }

    /// Container `c1` in a state, as list and inspect tell it.
    fn container(&self, status: &str, state: &str) {
        self.answer(
            "/containers/json?all=1",
            &format!(r#"[{{"Id":"c1","Names":["/web"],"State":"{status}"}}]"#),
        );
        self.answer(
            "/containers/c1/json",
            &format!(
                r#"{{"Id":"c1","Name":"/web","RestartCount":0,"Config":{{"Image":"nginx"}},"State":{{"Status":"{status}",{state}}}}}"#
            ),
        );
    }

    /// The container runs, and its control group tells 1.5 seconds of CPU.
    fn running_with_usage(&self) {
        self.container("running", RUNNING);
        self.file("proc/7/cgroup", "0::/docker/c1\n");
        self.file("sys/fs/cgroup/cgroup.controllers", "");
        self.file("sys/fs/cgroup/docker/c1/cpu.stat", "usage_usec 1500000\n");
    }

    fn event(&self, action: &str, exit_code: &str) {
        let event = format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"c1","Attributes":{{"exitCode":"{exit_code}"}}}},"timeNano":{}}}"#,
            clock::now().nanos()
        );
        self.events.send(event).unwrap();
    }

    /// Watches this engine on a host whose `/proc` and cgroups are in the same directory.
    fn watch(&self) -> (mpsc::Receiver<SampleBatch>, oneshot::Sender<()>, Status) {
        let roots = Roots {
            proc: self.dir.path().join("proc"),
            sys: self.dir.path().join("sys"),
            rootfs: "/".into(),
        };
        let config = DockerConfig {
            socket: format!("unix://{}", self.dir.path().join("docker.sock").display()),
            ..DockerConfig::default()
        };
        watch(&config, &roots)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// The answer that does not come.
const SILENCE: &str = "…";

const INTERVAL: Duration = Duration::from_millis(300);

fn target_of(status: Status) -> Target {
    let labels = target_labels("cadvisor", "h");
    let timing = (INTERVAL, INTERVAL);
    let own = labels.clone();
    Target::new("cadvisor", "docker:", own, labels, timing, status)
}

fn watch(
    config: &DockerConfig,
    roots: &Roots,
) -> (mpsc::Receiver<SampleBatch>, oneshot::Sender<()>, Status) {
    let status = Status::default();
    let target = target_of(status.clone());
    let (samples, received) = mpsc::channel(4);
    let (stop, stopped) = oneshot::channel();
    let mut docker = Docker::new(config, roots).unwrap();
    // What is not in the usual place was named by somebody.
    docker.expected &= !config.socket.ends_with("unnamed.sock");
    tokio::spawn(run(docker, target, INTERVAL, samples, stopped));
    (received, stop, status)
}

/// Values by name, `/` behind it for the machine's; a staleness marker is `None`.
fn values(batch: &SampleBatch) -> BTreeMap<String, Option<f64>> {
    let each = batch.samples.iter();
    each.map(|s| {
        let value = (!is_stale(s.value)).then_some(s.value);
        let machine = if s.labels.get("id") == Some("/") {
            "/"
        } else {
            ""
        };
        (format!("{}{machine}", s.labels.metric_name()), value)
    })
    .collect()
}

/// Waits for a batch in which `name` has the value `expect`.
async fn wait_for(
    received: &mut mpsc::Receiver<SampleBatch>,
    name: &str,
    expect: Option<f64>,
) -> BTreeMap<String, Option<f64>> {
    let found = async {
        loop {
            let batch = values(&received.recv().await.unwrap());
            if batch.get(name) == Some(&expect) {
                return batch;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .expect(name)
}

const RUNNING: &str = r#""Running":true,"Pid":7,"StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z""#;
const EXITED: &str =
    r#""ExitCode":3,"StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"2026-01-01T00:01:00Z""#;

#[tokio::test]
async fn a_container_lives_dies_and_is_removed() {
    let engine = FakeEngine::start();
    engine.running_with_usage();
    engine.file("sys/fs/cgroup/docker/c1/memory.current", "4096\n");
    let (mut received, _stop, status) = engine.watch();

    let batch = wait_for(&mut received, "container_running", Some(1.0)).await;
    assert_eq!(batch["container_cpu_usage_seconds_total"], Some(1.5));
    assert_eq!(batch["docker_engine_up"], Some(1.0));
    assert_eq!(batch["up"], Some(1.0));
    assert!(!batch.contains_key("container_exit_code"));
    assert!(status.sources()[0].1.ok);

    engine.container("exited", EXITED);
    engine.event("die", "3");
    let update = wait_for(&mut received, "container_running", Some(0.0)).await;
    assert_eq!(update["container_exit_code"], Some(3.0));
    assert!(!update.contains_key("up"), "the news waited for a tick");
    // Usage ends at the next tick; state stays.
    let batch = wait_for(&mut received, "container_cpu_usage_seconds_total", None).await;
    assert_eq!(batch["container_running"], Some(0.0));

    engine.answer("/containers/json?all=1", "[]");
    engine.event("destroy", "");
    wait_for(&mut received, "container_running", None).await;
}

#[tokio::test]
async fn a_container_that_somebody_stopped_says_so() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    let (mut received, _stop, _status) = engine.watch();
    let batch = wait_for(&mut received, "container_running", Some(1.0)).await;
    assert!(!batch.contains_key("container_stop_requested_time_seconds"));
    // Before we came: a death of a run before, which is not news.
    let old = r#"{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"exitCode":"9"}},"timeNano":1600000000000000000}"#;
    engine.events.send(old.to_owned()).unwrap();
    engine.container("exited", EXITED);
    engine.events.send(r#"{"Type":"container","Action":"kill","Actor":{"ID":"c1","Attributes":{"signal":"15"}},"timeNano":1700000000000000000}"#.to_owned()).unwrap();
    engine.event("die", "137");
    let update = wait_for(&mut received, "container_running", Some(0.0)).await;
    let asked = update["container_stop_requested_time_seconds"];
    assert_eq!(asked, Some(1_700_000_000.0));
    assert_eq!(update["container_exit_code"], Some(137.0));
    assert_eq!(update["container_restarting"], Some(0.0));
}

#[tokio::test]
async fn a_container_that_docker_starts_again_is_restarting() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    let (mut received, _stop, _status) = engine.watch();
    wait_for(&mut received, "container_restarting", Some(0.0)).await;
    let restarting = format!(r#""Running":true,"Restarting":true,{EXITED}"#);
    engine.container("restarting", &restarting);
    engine.event("die", "3");
    let update = wait_for(&mut received, "container_restarting", Some(1.0)).await;
    assert_eq!(update["container_running"], Some(0.0));
    assert_eq!(update["container_exit_code"], Some(3.0));
}

#[tokio::test]
async fn the_death_of_a_container_that_removes_itself_is_told() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    let (mut received, _stop, _status) = engine.watch();
    wait_for(&mut received, "container_running", Some(1.0)).await;
    engine.answers.lock().unwrap().remove("/containers/c1/json");
    engine.event("die", "137");
    let update = wait_for(&mut received, "container_running", Some(0.0)).await;
    assert_eq!(update["container_exit_code"], Some(137.0));
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_a_problem_that_says_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    let config = DockerConfig {
        socket: format!("unix://{}", nowhere.path().join("docker.sock").display()),
        ..DockerConfig::default()
    };
    let (mut received, _stop, status) = watch(&config, &Roots::default());
    let batch = wait_for(&mut received, "docker_engine_up", Some(0.0)).await;
    // Somebody named the address: it should be there.
    assert_eq!(batch["up"], Some(0.0));
    let (name, source) = status.sources().remove(0);
    assert_eq!((name.as_str(), source.ok), ("docker", false));
    assert!(
        source.problem.contains("start Docker, mount the socket"),
        "{}",
        source.problem
    );
}

#[tokio::test]
async fn a_machine_without_docker_has_no_target_that_is_down() {
    let nowhere = tempfile::tempdir().unwrap();
    let socket = nowhere.path().join("unnamed.sock");
    let config = DockerConfig {
        socket: format!("unix://{}", socket.display()),
        ..DockerConfig::default()
    };
    let (mut received, _stop, status) = watch(&config, &Roots::default());
    let batch = wait_for(&mut received, "docker_engine_up", Some(0.0)).await;
    assert_eq!(batch.len(), 1, "{batch:?}");
    let target = status.targets().remove(0);
    assert_eq!(target.health, crate::TargetHealth::Unknown);
    assert_eq!(target.last_error, "there is no docker engine");
    // A socket that nobody answers on says that there should be one.
    let _socket = UnixListener::bind(&socket).unwrap();
    drop(_socket);
    assert!(socket.exists());
    let mut docker = Docker::new(&config, &Roots::default()).unwrap();
    docker.expected = false;
    let error = docker.connect().await.unwrap_err();
    let target = target_of(status);
    docker.note(&target, Err(&error));
    assert!(docker.expected, "{error}");
}

#[tokio::test]
async fn what_it_was_made_of_and_what_it_wrote_is_told() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    let detail = |id: &str| {
        format!(
            r#"{{"Id":"{id}","Name":"/p-web-1","Image":"sha256:1","Created":"2026-01-01T00:00:00Z","Config":{{"Image":"nginx","Labels":{{"com.docker.compose.project":"p","com.docker.compose.service":"web"}}}},"State":{{"Status":"running",{RUNNING}}}}}"#
        )
    };
    engine.answer("/containers/c1/json", &detail("c1"));
    engine.answer(
        "/images/sha256%3A1/json",
        r#"{"Created":"2025-12-01T00:00:00Z"}"#,
    );
    engine.answer("/info", r#"{"DockerRootDir":"/data/docker"}"#);
    engine.answer(
        "/containers/json?all=1&size=1",
        r#"[{"Id":"c1","SizeRw":4096}]"#,
    );
    for id in ["c1", "c2"] {
        engine.file(
            &format!("sys/fs/cgroup/docker/{id}/cpu.stat"),
            "usage_usec 1500000\n",
        );
        engine.file(&format!("sys/fs/cgroup/docker/{id}/cgroup.procs"), "7\n8\n");
    }
    engine.file("proc/7/cgroup", "0::/docker/c1\n");
    engine.file("sys/fs/cgroup/cgroup.controllers", "");
    engine.file("sys/fs/cgroup/cpu.stat", "usage_usec 9000000\n");
    engine.file("proc/meminfo", "MemTotal: 4 kB\nMemFree: 1 kB\n");
    engine.file(
        "proc/stat",
        "cpu 1\ncpu0 1\nbtime 1700000000\nprocs_running 3\nprocs_blocked 1\n",
    );
    engine.file("proc/self/mountinfo", "1 0 8:1 / / rw - ext4 /dev/vda rw\n");
    engine.file("proc/diskstats", " 8 1 vda 5 0 16 0 7 0 2 0 0 30 0\n");
    let (mut received, _stop, _status) = engine.watch();

    let batch = wait_for(&mut received, "container_fs_usage_bytes", Some(4096.0)).await;
    assert_eq!(batch["container_processes"], Some(2.0));
    assert_eq!(
        batch["container_creation_time_seconds"],
        Some(1_767_225_600.0)
    );
    assert_eq!(
        batch["container_image_created_time_seconds"],
        Some(1_764_547_200.0)
    );
    assert_eq!(batch["container_recreations_total"], Some(0.0));
    assert!(batch["container_fs_limit_bytes"] > Some(0.0));
    assert_eq!(batch["container_cpu_usage_seconds_total/"], Some(9.0));
    assert_eq!(batch["container_memory_usage_bytes/"], Some(3072.0));
    assert_eq!(batch["container_tasks_state/"], Some(1.0));
    assert_eq!(batch["container_cpu_load_average_10s/"], Some(4000.0));
    assert_eq!(batch["container_fs_sector_reads_total/"], Some(16.0));
    assert_eq!(batch["machine_cpu_cores"], Some(1.0));
    assert_eq!(batch["cadvisor_version_info"], Some(1.0));

    // Another one in its place.
    engine.answer("/containers/c2/json", &detail("c2"));
    engine.answer(
        "/containers/json?all=1",
        r#"[{"Id":"c2","State":"running"}]"#,
    );
    engine.file("proc/7/cgroup", "0::/docker/c2\n");
    let event = |action: &str, id: &str| {
        let event = format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}"}},"timeNano":{}}}"#,
            clock::now().nanos()
        );
        engine.events.send(event).unwrap();
    };
    event("destroy", "c1");
    event("create", "c2");
    wait_for(&mut received, "container_recreations_total", Some(1.0)).await;
}

#[tokio::test]
async fn what_was_started_again_while_nobody_listened_is_found() {
    let engine = FakeEngine::start();
    engine.running_with_usage();
    let (mut received, _stop, _status) = engine.watch();
    let usage = "container_cpu_usage_seconds_total";
    wait_for(&mut received, usage, Some(1.5)).await;
    // Another process in another cgroup, and no event about it.
    std::fs::remove_dir_all(engine.dir.path().join("sys/fs/cgroup/docker")).unwrap();
    engine.container("running", &RUNNING.replace("7", "8"));
    engine.file("proc/8/cgroup", "0::/other/c1\n");
    engine.file("sys/fs/cgroup/other/c1/cpu.stat", "usage_usec 2500000\n");
    engine.events.send(String::new()).unwrap();
    wait_for(&mut received, usage, Some(2.5)).await;
}

#[tokio::test]
async fn usage_that_no_file_tells_is_asked_of_the_engine() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    engine.answer(
        "/containers/c1/stats?stream=false&one-shot=true",
        r#"{"cpu_stats":{"cpu_usage":{"total_usage":1500000000}},"memory_stats":{"usage":4096}}"#,
    );
    let (mut received, _stop, status) = engine.watch();
    let usage = "container_cpu_usage_seconds_total";
    let batch = wait_for(&mut received, usage, Some(1.5)).await;
    assert_eq!(batch["container_memory_usage_bytes"], Some(4096.0));
    assert_eq!(batch["container_spec_memory_limit_bytes"], Some(0.0));
    let notes = status.targets().remove(0).notes;
    assert!(
        notes[0].starts_with("1 containers have no cgroup files here"),
        "{notes:?}"
    );
    // Files are better.
    engine.file("proc/7/cgroup", "0::/docker/c1\n");
    engine.file("sys/fs/cgroup/cgroup.controllers", "");
    engine.file("sys/fs/cgroup/docker/c1/cpu.stat", "usage_usec 2500000\n");
    wait_for(&mut received, usage, Some(2.5)).await;
    assert!(status.targets().remove(0).notes.is_empty());
}

#[tokio::test]
async fn a_container_that_the_engine_is_silent_about_keeps_nothing_else_back() {
    let engine = FakeEngine::start();
    engine.container("running", RUNNING);
    engine.answer("/containers/c1/json", SILENCE);
    let (mut received, _stop, _status) = engine.watch();
    let batch = wait_for(&mut received, "docker_engine_up", Some(1.0)).await;
    assert!(!batch.contains_key("container_running"));
    assert_eq!(batch["up"], Some(1.0));
    engine.container("running", RUNNING);
    let batch = wait_for(&mut received, "container_running", Some(1.0)).await;
    assert!(!batch.contains_key("up") || batch["up"] == Some(1.0));
}

#[tokio::test]
async fn what_it_may_use_is_read_again_when_the_engine_says_so() {
    let engine = FakeEngine::start();
    engine.file("sys/fs/cgroup/docker/c1/memory.max", "4096\n");
    engine.running_with_usage();
    let (mut received, _stop, _status) = engine.watch();
    let limit = "container_spec_memory_limit_bytes";
    wait_for(&mut received, limit, Some(4096.0)).await;
    engine.file("sys/fs/cgroup/docker/c1/memory.max", "8192\n");
    engine.event("update", "");
    wait_for(&mut received, limit, Some(8192.0)).await;
}

#[tokio::test]
async fn containers_that_cannot_be_inspected_keep_no_other_back() {
    let engine = FakeEngine::start();
    // Two are never told, one is told wrongly, and they come first.
    let ids: Vec<String> = (0..30).map(|n| format!("c{n:02}")).collect();
    let list: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"Id":"{id}","Names":["/{id}"],"State":"running"}}"#))
        .collect();
    engine.answer("/containers/json?all=1", &format!("[{}]", list.join(",")));
    for id in &ids {
        let detail =
            format!(r#"{{"Id":"{id}","Name":"/{id}","State":{{"Status":"running",{RUNNING}}}}}"#);
        let odd = detail.replace(r#""Name""#, r#""RestartCount":-1,"Name""#);
        let answer = match id.as_str() {
            "c00" | "c01" => SILENCE,
            "c02" => &odd,
            _ => &detail,
        };
        engine.answer(&format!("/containers/{id}/json"), answer);
    }
    let (mut received, _stop, status) = engine.watch();
    let found = async {
        loop {
            let batch = received.recv().await.expect("the watch goes on");
            let is_running = |s: &&model::Sample| s.labels.metric_name() == "container_running";
            if batch.samples.iter().filter(is_running).count() == 27 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found)
        .await
        .unwrap();
    let target = status.targets().remove(0);
    assert!(target.last_error.is_empty(), "{}", target.last_error);
    let note = target
        .notes
        .iter()
        .find(|n| n.contains("cannot be inspected"));
    assert!(
        note.is_some_and(|n| n.contains("c02: ")),
        "{:?}",
        target.notes
    );
}
