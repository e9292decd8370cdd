//! A bus with a systemd, both made here.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::message::peer::Answer;
use super::message::{HEAD_BYTES, length};
use super::*;
use crate::target::Lines;

const UNITS: &[[&str; 4]] = &[
    ["web.service", "loaded", "active", "/u/web"],
    ["job.service", "loaded", "failed", "/u/job"],
    ["gone.service", "not-found", "inactive", "/u/gone"],
    ["tick.timer", "loaded", "active", "/u/tick"],
    ["api.socket", "loaded", "maintenance", "/u/api"],
    ["dev-vda.device", "loaded", "active", "/u/dev"],
    ["bad\u{1}.service", "loaded", "active", "/u/bad"],
];

/// Answers one connection after the other by what `answer` makes of a call's bytes.
fn serve(listener: UnixListener, greet: bool, answer: fn(&str) -> Answer<'static>) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(BufReader::new(stream), greet, answer));
        }
    });
}

async fn talk(
    mut stream: BufReader<UnixStream>,
    greet: bool,
    answer: fn(&str) -> Answer<'static>,
) -> io::Result<()> {
    let mut line = String::new();
    let mut hear = async |stream: &mut BufReader<UnixStream>, expect: &str| {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, expect);
    };
    hear(&mut stream, "\0AUTH EXTERNAL\r\n").await;
    if greet {
        stream.write_all(b"DATA\r\n").await?;
        hear(&mut stream, "DATA\r\n").await;
    }
    stream.write_all(b"OK 1234\r\n").await?;
    hear(&mut stream, "BEGIN\r\n").await;
    let mut greeted = !greet;
    loop {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let mut rest = vec![0; length(&head)? - HEAD_BYTES];
        stream.read_exact(&mut rest).await?;
        let serial = u32::from_le_bytes(*head[8..].first_chunk().unwrap());
        let call = String::from_utf8_lossy(&rest).into_owned();
        let answer = if call.contains("Hello") {
            greeted = true;
            Answer::Text(":1.7")
        } else {
            assert!(greeted);
            answer(&call)
        };
        stream.write_all(&answer.write(1, serial)).await?;
    }
}

fn answer(call: &str) -> Answer<'static> {
    let is = |word: &str| call.contains(&format!("{word}\0"));
    let of = |unit: &str| call.contains(&format!("/u/{unit}\0"));
    match () {
        () if is("ListUnits") => Answer::Units(UNITS),
        () if is("Version") => Answer::Text("252.38-1~deb12u1"),
        () if is("Virtualization") => Answer::Text("kvm"),
        () if is("SystemState") => Answer::Text("degraded"),
        () if is("Type") && of("web") => Answer::Text("notify"),
        () if is("Type") => Answer::Text("oneshot"),
        () if is("NRestarts") && of("web") => Answer::U32(4),
        () if is("TasksMax") => Answer::U64(u64::MAX),
        () if is("TasksCurrent") => Answer::U64(9),
        () if is("ActiveEnterTimestamp") => Answer::U64(1_700_000_000_500_000),
        () if is("LastTriggerUSec") => Answer::U64(1_700_000_001_000_000),
        () if is("NAccepted") => Answer::U32(11),
        () if is("NConnections") => Answer::U32(2),
        () => Answer::Error("org.freedesktop.DBus.Error.UnknownProperty"),
    }
}

fn systemd(root: &Path, config: &SystemdConfig) -> Systemd {
    let roots = Roots {
        rootfs: root.to_owned(),
        ..Roots::default()
    };
    Systemd::new(config, &roots).unwrap()
}

/// Listens where `path` is below a new root.
fn root_with(path: &str) -> (tempfile::TempDir, UnixListener) {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join(path);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    (root, listener)
}

async fn told(systemd: &mut Systemd) -> Vec<String> {
    let found = systemd.ask().await.unwrap().unwrap();
    let mut lines = Lines::default();
    assert_eq!(put(&found, &mut lines), None);
    lines.0
}

#[tokio::test]
async fn units_are_told_under_node_exporters_names() {
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    serve(listener, true, answer);
    let config = SystemdConfig {
        start_times: true,
        tasks: true,
        ..SystemdConfig::default()
    };
    let mut systemd = systemd(root.path(), &config);
    let lines = told(&mut systemd).await;
    let expect = "node_systemd_version{version=252.38-1~deb12u1} 252.38
node_systemd_virtualization_info{virtualization_type=kvm} 1
node_systemd_system_running 0
node_systemd_units{state=activating} 0
node_systemd_units{state=active} 3
node_systemd_units{state=deactivating} 0
node_systemd_units{state=failed} 1
node_systemd_units{state=inactive} 1
node_systemd_units{state=maintenance} 1
node_systemd_unit_state{name=job.service,state=failed,type=oneshot} 1
node_systemd_unit_state{name=web.service,state=active,type=notify} 1
node_systemd_unit_state{name=tick.timer,state=active} 1
node_systemd_service_restart_total{name=web.service} 4
node_systemd_unit_start_time_seconds{name=job.service} 0
node_systemd_unit_start_time_seconds{name=web.service} 1700000000.5
node_systemd_unit_tasks_current{name=job.service} 9
node_systemd_timer_last_trigger_seconds{name=tick.timer} 1700000001
node_systemd_socket_accepted_connections_total{name=api.socket} 11
node_systemd_socket_current_connections{name=api.socket} 2";
    for line in expect.lines() {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
    }
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(count("node_systemd_unit_state"), 4 * STATES.len());
    for absent in ["gone", "dev-vda", "bad", "tasks_max", "refused"] {
        assert_eq!(count(absent), 0, "{absent}");
    }
    // The connection is kept, and types are remembered.
    assert!(systemd.bus.is_some());
    assert_eq!(told(&mut systemd).await, lines);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    serve(listener, true, answer);
    let mut systemd = systemd(root.path(), &SystemdConfig::default());
    let lines = told(&mut systemd).await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    // Closed right after it was opened.
    let opening = tokio::spawn(Bus::open(ours, Peer::Program));
    let mut theirs = BufReader::new(theirs);
    let mut line = String::new();
    theirs.read_line(&mut line).await.unwrap();
    theirs.write_all(b"OK 1\r\n").await.unwrap();
    systemd.bus = Some(opening.await.unwrap().unwrap());
    drop(theirs);
    assert_eq!(told(&mut systemd).await, lines);
}

#[tokio::test]
async fn systemds_own_socket_serves_where_there_is_no_bus() {
    let (root, listener) = root_with("run/systemd/private");
    serve(listener, false, answer);
    let mut systemd = systemd(root.path(), &SystemdConfig::default());
    let lines = told(&mut systemd).await;
    assert!(lines.contains(&"node_systemd_units{state=failed} 1".to_owned()));
}

#[tokio::test]
async fn a_machine_without_systemd_is_no_failure() {
    let empty = tempfile::tempdir().unwrap();
    let config = SystemdConfig::default();
    assert!(systemd(empty.path(), &config).ask().await.is_none());
    // A bus that nobody serves any more.
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    drop(listener);
    let mut it = systemd(root.path(), &config);
    assert!(it.ask().await.is_none());
    // But where systemd runs the machine it should.
    std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
    assert!(it.ask().await.unwrap().is_err());
    // A bus of others.
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    serve(listener, true, |_| {
        Answer::Error("org.freedesktop.DBus.Error.ServiceUnknown")
    });
    assert!(systemd(root.path(), &config).ask().await.is_none());
}

#[tokio::test]
async fn a_bus_that_lets_nobody_ask_is_a_failure_that_says_what_to_do() {
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    serve(listener, true, |_| {
        Answer::Error("org.freedesktop.DBus.Error.AccessDenied")
    });
    let asked = systemd(root.path(), &SystemdConfig::default()).ask().await;
    let error = asked.unwrap().unwrap_err().to_string();
    assert!(error.contains("apparmor=unconfined"), "{error}");
}

#[tokio::test]
async fn what_is_no_bus_is_a_failure() {
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let endless = vec![b'x'; 10_000];
        let _ = stream.write_all(&endless).await;
    });
    let asked = systemd(root.path(), &SystemdConfig::default()).ask().await;
    assert!(asked.unwrap().is_err());
}

#[tokio::test]
async fn a_bus_that_hangs_costs_its_timeout() {
    let (root, listener) = root_with("run/dbus/system_bus_socket");
    let mut systemd = systemd(root.path(), &SystemdConfig::default());
    let asked = systemd.ask_within(Duration::from_millis(1)).await;
    assert_eq!(asked.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(listener);
}

#[test]
fn of_too_many_units_the_failed_ones_stay() {
    let names: Vec<String> = (0..UNITS_MAX + 20)
        .map(|n| format!("u{n:04}.service"))
        .collect();
    let state = |n: usize| if n >= UNITS_MAX { "failed" } else { "active" };
    let rows: Vec<[&str; 4]> = names
        .iter()
        .enumerate()
        .map(|(n, name)| [name, "loaded", state(n), "/"])
        .collect();
    let message = Message::parse(Answer::Units(&rows).write(1, 1)).unwrap();
    let questions = Questions::new(&SystemdConfig::default()).unwrap();
    let mut found = Found::default();
    questions.choose(&message, &mut found).unwrap();
    assert_eq!(found.units.len(), UNITS_MAX);
    assert!(found.units[..20].iter().all(|unit| unit.state == "failed"));
    let note = put(&found, &mut Lines::default()).unwrap();
    assert!(note.starts_with("systemd: 20 units more"), "{note}");
}

#[test]
fn versions_are_numbers_too() {
    let check = |version: &str, expect: Option<f64>| assert_eq!(version_number(version), expect);
    check("252.38-1~deb12u1", Some(252.38));
    check("249", Some(249.0));
    check("v255.4-1ubuntu8", Some(255.4));
    check("systemd 12 v257~rc1", Some(257.0));
    check("42", None);
    check("", None);
}

#[test]
fn expressions_are_checked() {
    let config: SystemdConfig = serde_saphyr::from_str("unit_exclude: '('").unwrap();
    assert!(config.check().unwrap_err().starts_with("unit_exclude: "));
    assert_eq!(SystemdConfig::default().check(), Ok(()));
}

/// The seeds of the fuzz target, when asked for: what a bus and a systemd say.
#[test]
#[ignore = "writes fuzz/seeds/dbus.hex"]
fn seeds_of_the_fuzz_target() {
    use std::fmt::Write as _;
    let hello = Answer::Text(":1.7");
    let error = || Answer::Error("org.freedesktop.DBus.Error.UnknownProperty");
    let manager = [
        Answer::Text("252"),
        Answer::Text(""),
        Answer::Text("running"),
    ];
    let types = [Answer::Text("oneshot"), Answer::Text("notify")];
    let figures = [
        Answer::U32(0),
        Answer::U32(4),
        Answer::U64(17),
        Answer::U64(18),
        Answer::U64(5),
        Answer::U64(6),
        Answer::U64(u64::MAX),
        error(),
        Answer::U64(19),
        Answer::U32(1),
        Answer::U32(2),
        Answer::U32(3),
    ];
    let small = &UNITS[..5];
    let all = std::iter::once(hello)
        .chain([Answer::Units(small)])
        .chain(manager)
        .chain(types)
        .chain(figures);
    let answers: Vec<Answer<'_>> = all.collect();
    let mut text = String::new();
    for (kind, greeting, skip) in [(1, "DATA\r\nOK 1\r\n", 0), (0, "OK 1\r\n", 1)] {
        let mut seed = vec![kind];
        seed.extend_from_slice(greeting.as_bytes());
        for (at, answer) in answers[skip..].iter().enumerate() {
            seed.extend(answer.write(1, at as u32 + 1));
        }
        seed.iter()
            .for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    std::fs::write("../fuzz/seeds/dbus.hex", text).unwrap();
}
