//! A host made of files, mounted elsewhere than usual, as in a container.

use std::path::PathBuf;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    config: HostConfig,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Fixture {
        let fixture = Fixture {
            dir: tempfile::tempdir().unwrap(),
            config: HostConfig::default(),
        };
        // Without it there is no host at all.
        fixture.write("proc/stat", "ctxt 5\n");
        for (path, text) in files {
            fixture.write(path, text);
        }
        fixture
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// All series of one collection with their values, and what the target's notes say.
    async fn collect(&self) -> (BTreeMap<String, f64>, Vec<String>) {
        let roots = Roots {
            proc: self.path("proc"),
            sys: self.path("sys"),
            rootfs: self.path("rootfs"),
        };
        let mut host = Host::new(&self.config, &roots).unwrap();
        let status = Status::default();
        let labels = Labels::from_pairs([("job", "node"), ("instance", "h")]);
        let timing = (Duration::from_secs(15), Duration::from_secs(10));
        let mut target = Target::new(
            "host",
            "host:",
            labels.clone(),
            labels,
            timing,
            status.clone(),
        );
        let at = Timestamp::from_millis(1_700_000_000_000);
        let batch = host.collect(&mut target, at).await;
        let shown = |labels: &Labels| {
            let mut plain = labels.to_builder();
            plain.set("job", "").set("instance", "");
            plain.build().to_string()
        };
        let samples = batch.samples.iter();
        let samples = samples.map(|s| (shown(&s.labels), s.value)).collect();
        (samples, status.targets().remove(0).notes)
    }
}

#[track_caller]
fn check(got: &BTreeMap<String, f64>, expect: &[(&str, f64)]) {
    for (series, value) in expect {
        assert_eq!(got.get(*series), Some(value), "{series} in {got:#?}");
    }
}

#[tokio::test]
async fn interrupts_have_a_series_once_they_happen() {
    let host = Fixture::new(&[(
        "proc/interrupts",
        "           CPU0       CPU2\n 26:          0         15  IO-APIC   4-edge      ttyS0\nLOC:   7   0   Local timer interrupts\nERR:          3\n",
    )]);
    let (got, _) = host.collect().await;
    check(
        &got,
        &[
            (
                r#"node_interrupts_total{cpu="2", devices="4-edge ttyS0", info="IO-APIC", type="26"}"#,
                15.0,
            ),
            (
                r#"node_interrupts_total{cpu="0", info="Local timer interrupts", type="LOC"}"#,
                7.0,
            ),
            (
                r#"node_scrape_collector_success{collector="interrupts"}"#,
                1.0,
            ),
        ],
    );
    let count = got
        .keys()
        .filter(|n| n.starts_with("node_interrupts"))
        .count();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn interrupts_of_a_huge_machine_are_bounded() {
    let cpus: String = (0..128).map(|i| format!(" CPU{i}")).collect();
    let line = " 1".repeat(128);
    let lines: String = (0..40).map(|i| format!("\n{i}:{line} x y")).collect();
    let host = Fixture::new(&[("proc/interrupts", &format!("{cpus}{lines}"))]);
    let (got, _) = host.collect().await;
    let count = got
        .keys()
        .filter(|n| n.starts_with("node_interrupts"))
        .count();
    assert_eq!(count, 2000);
    check(
        &got,
        &[(
            r#"node_scrape_collector_success{collector="interrupts"}"#,
            0.0,
        )],
    );
}

#[tokio::test]
async fn processes_are_counted_whatever_their_name() {
    let stat = |name: &str, state: char, threads: u32| {
        format!(
            "7 ({name}) {state} 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 {threads} 0 100 1 1 1\n"
        )
    };
    let host = Fixture::new(&[
        ("proc/sys/kernel/threads-max", "1000\n"),
        ("proc/sys/kernel/pid_max", "32768\n"),
        ("proc/1/stat", &stat("init", 'S', 1)),
        ("proc/22/stat", &stat("a) Z 1 (b", 'R', 5)),
        ("proc/333/stat", &stat("kworker/0:1", 'S', 1)),
        ("proc/4/status", "it ended a moment ago"),
        ("proc/fs/stat", "no process"),
    ]);
    let (got, _) = host.collect().await;
    check(
        &got,
        &[
            ("node_processes_max_threads", 1000.0),
            ("node_processes_max_processes", 32768.0),
            ("node_processes_pids", 3.0),
            ("node_processes_threads", 7.0),
            (r#"node_processes_state{state="S"}"#, 2.0),
            (r#"node_processes_state{state="R"}"#, 1.0),
        ],
    );
}

#[tokio::test]
async fn sockets_and_devices_are_those_of_process_1() {
    let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";
    let socket = |state: &str, queues: &str| {
        format!("   0: 0100007F:0016 00000000:0000 {state} {queues} 00:00000000 00000000\n")
    };
    let ours = format!("{head}{}", socket("01", "00000000:00000000"));
    let tcp = format!(
        "{head}{}{}",
        socket("0A", "00000000:00000000"),
        socket("01", "00000010:00000002")
    );
    let tcp6 = format!("{head}{}", socket("06", "00000000:00000000"));
    let device = |bytes: u32| format!("h\nh\n  eth0: {bytes} 2 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n");
    let host = Fixture::new(&[
        ("proc/net/tcp", &ours),
        ("proc/1/net/tcp", &tcp),
        ("proc/1/net/tcp6", &tcp6),
        ("proc/net/dev", &device(1)),
        ("proc/1/net/dev", &device(4096)),
    ]);
    let (got, _) = host.collect().await;
    check(
        &got,
        &[
            (r#"node_tcp_connection_states{state="listen"}"#, 1.0),
            (r#"node_tcp_connection_states{state="established"}"#, 1.0),
            (r#"node_tcp_connection_states{state="time_wait"}"#, 1.0),
            (r#"node_tcp_connection_states{state="close_wait"}"#, 0.0),
            (
                r#"node_tcp_connection_states{state="tx_queued_bytes"}"#,
                16.0,
            ),
            (
                r#"node_tcp_connection_states{state="rx_queued_bytes"}"#,
                2.0,
            ),
            (r#"node_network_receive_bytes_total{device="eth0"}"#, 4096.0),
        ],
    );
}

#[tokio::test]
async fn the_scheduler_and_the_connection_table_are_told() {
    let host = Fixture::new(&[
        (
            "proc/schedstat",
            "version 15\ntimestamp 4\ncpu0 0 0 0 0 0 0 1500000000 250000000 42\ndomain0 3 1 2\n",
        ),
        ("proc/sys/net/netfilter/nf_conntrack_count", "9\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "65536\n"),
        (
            "proc/1/net/stat/nf_conntrack",
            "entries  clashres found insert_failed drop\n00000002 0 0 0000000a 1\n00000002 0 0 00000001 0\n",
        ),
        ("proc/sys/kernel/hung_task_detect_count", "2\n"),
    ]);
    let (got, _) = host.collect().await;
    check(
        &got,
        &[
            (r#"node_schedstat_running_seconds_total{cpu="0"}"#, 1.5),
            (r#"node_schedstat_waiting_seconds_total{cpu="0"}"#, 0.25),
            (r#"node_schedstat_timeslices_total{cpu="0"}"#, 42.0),
            ("node_nf_conntrack_entries", 9.0),
            ("node_nf_conntrack_stat_insert_failed", 11.0),
            ("node_nf_conntrack_stat_drop", 1.0),
            ("node_nf_conntrack_stat_ignore", 0.0),
            ("node_kernel_hung_tasks_total", 2.0),
            ("node_selinux_enabled", 0.0),
            ("node_textfile_scrape_error", 0.0),
            ("up", 1.0),
        ],
    );
}

#[tokio::test]
async fn a_bad_text_file_takes_no_other_with_it() {
    let mut host = Fixture::new(&[
        (
            "text/a.prom",
            "# HELP my_backup_bytes Size.\n# TYPE my_backup_bytes gauge\nmy_backup_bytes{db=\"x\"} 2\nmy_moved{instance=\"y\"} 1\n",
        ),
        (
            "text/b.prom",
            "# TYPE my_h histogram\nmy_h_bucket{le=\"1\"} 1\nmy_h_bucket{le=\"+Inf\"} 2\nmy_h_sum 3\nmy_h_count 2\n",
        ),
        ("text/half.prom", "my_half 1"),
        ("text/stamped.prom", "my_stamped 1 1700000000000\n"),
        ("text/wrong.prom", "my_good 1\nmy_wrong x\n"),
        ("text/other.txt", "my_other 1\n"),
        ("proc/loadavg", "0.5 0.25 0.1 1/2 3\n"),
        ("text/z.prom", "node_load1 77\n"),
    ]);
    host.write("text/many.prom", &"x 1\n".repeat(10_001));
    host.config.textfile_directories = Some(vec![host.path("text"), host.path("gone")]);
    let (got, notes) = host.collect().await;
    check(
        &got,
        &[
            (r#"my_backup_bytes{db="x"}"#, 2.0),
            (r#"my_moved{exported_instance="y"}"#, 1.0),
            (r#"my_h_bucket{le="1.0"}"#, 1.0),
            ("node_load1", 0.5),
            ("node_textfile_scrape_error", 1.0),
            (
                r#"node_scrape_collector_success{collector="textfile"}"#,
                1.0,
            ),
        ],
    );
    assert!(!got.keys().any(|n| n.starts_with("my_good")
        || n.starts_with("my_other")
        || n.starts_with("my_half")
        || n.starts_with("my_stamped")));
    let read: Vec<&String> = got
        .keys()
        .filter(|n| n.starts_with("node_textfile_mtime_seconds"))
        .collect();
    assert_eq!(read.len(), 3, "{read:?}");
    assert!(read[0].contains("text/a.prom"), "{read:?}");
    assert_eq!(notes.len(), 5, "{notes:?}");
    for part in [
        "half.prom: the last line is not complete",
        "stamped.prom: line 1: timestamps",
        "wrong.prom: line 2:",
        "many.prom: more than 10000 samples",
        "gone: ",
    ] {
        assert!(notes.iter().any(|n| n.contains(part)), "{part}: {notes:?}");
    }
}

#[tokio::test]
async fn text_files_are_found_where_debian_puts_them() {
    let host = Fixture::new(&[(
        "rootfs/var/lib/prometheus/node-exporter/apt.prom",
        "apt_upgrades_pending 3\n",
    )]);
    let (got, notes) = host.collect().await;
    check(
        &got,
        &[
            ("apt_upgrades_pending", 3.0),
            ("node_textfile_scrape_error", 0.0),
        ],
    );
    assert!(notes.is_empty(), "{notes:?}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_left_out_and_nothing_waits_for_it() {
    let mut host = Fixture::new(&[("text/a.prom", "my_a 1\n"), ("proc/stat", "btime 1\n")]);
    crate::regular::make_pipe(&host.path("text/pipe.prom"));
    crate::regular::make_pipe(&host.path("proc/loadavg"));
    host.config.textfile_directories = Some(vec![host.path("text")]);
    let (got, notes) = host.collect().await;
    check(
        &got,
        &[
            ("my_a", 1.0),
            ("node_textfile_scrape_error", 1.0),
            (r#"node_scrape_collector_success{collector="loadavg"}"#, 0.0),
        ],
    );
    assert!(
        notes[0].ends_with("pipe.prom: is not a regular file"),
        "{notes:?}"
    );
}
