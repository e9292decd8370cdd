//! A real journald that is sent messages, through `kill -9`.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(30);
const PROGRAM: &str = "/lib/systemd/systemd-journald";

/// With a `/run` of its own, whose sockets and files are in `dir`; killed on drop.
struct Journald(Child);

impl Journald {
    fn start(dir: &Path) -> Journald {
        let (sockets, files) = (dir.join("sockets"), dir.join("journal"));
        std::fs::create_dir(&sockets).unwrap();
        std::fs::create_dir(&files).unwrap();
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal &&
             mount --bind {} /run/systemd/journal && mount --bind {} /run/log/journal && exec {PROGRAM}",
            sockets.display(),
            files.display()
        );
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn();
        Journald(child.unwrap())
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn each_entry_is_stored_once_through_kills() {
    if !Path::new(PROGRAM).exists() {
        return skipped("no systemd-journald");
    }
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        println!("SKIPPED: starting journald takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _journald = Journald::start(dir.path());
    let socket = UnixDatagram::unbound().unwrap();
    let address = dir.path().join("sockets/socket");
    eventually("journald listens", LIMIT, || socket.connect(&address).ok());
    let mut sent = 0;
    let mut send = |count: usize| {
        for _ in 0..count {
            sent += 1;
            let entry = format!(
                "SYSLOG_IDENTIFIER=swtest\nPRIORITY=4\nMESSAGE=line {sent} of jane.doe@example.org\n"
            );
            socket.send(entry.as_bytes()).unwrap();
        }
        sent
    };
    send(50);
    let config = format!(
        "collect: {{ docker: false, host: false }}\nlogs: {{ journal: {{ path: '{}', matches: [SYSLOG_IDENTIFIER=swtest] }} }}\n",
        dir.path().join("journal").display()
    );
    let mut stackwatch = Stackwatch::start(dir.path(), &config);
    let selector = "{job=\"systemd-journal\", hostname=~\".+\"}";
    let until_stored = |stackwatch: &Stackwatch, sent: usize| {
        eventually("all entries so far", LIMIT, || {
            let lines = stackwatch.lines(selector);
            (lines.len() >= sent).then_some(lines)
        })
    };
    until_stored(&stackwatch, 50);
    for _ in 0..2 {
        send(50);
        stackwatch.kill();
        send(50);
        let _ = stackwatch.restart();
        let sent = send(50);
        until_stored(&stackwatch, sent);
    }
    let sent = send(1);
    let lines = until_stored(&stackwatch, sent);
    let mut numbers: Vec<usize> = lines
        .iter()
        .map(|line| {
            assert!(!line.contains("jane.doe"), "{line}");
            line.split(' ').nth(1).unwrap().parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=sent).collect::<Vec<_>>());
}
