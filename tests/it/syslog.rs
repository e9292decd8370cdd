//! Messages of util-linux's `logger`, over UDP and TCP and in both formats.

use std::process::Command;
use std::time::Duration;

use stackwatch_tests::stackwatch::{Stackwatch, free_address};
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn messages_of_logger_are_stored_with_their_labels() {
    if Command::new("logger").arg("--version").output().is_err() {
        return skipped("no logger");
    }
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let config = format!(
        "collect: {{ docker: false, host: false }}\nlogs: {{ syslog: [{{ listen: '{address}', job: net, labels: {{ env: test }} }}] }}\n"
    );
    let stackwatch = Stackwatch::start(dir.path(), &config);
    eventually("a listener", LIMIT, || {
        std::net::TcpStream::connect(&address).ok()
    });
    let (_, port) = address.rsplit_once(':').unwrap();
    for (text, words) in [
        ("udp modern", vec!["--udp", "--rfc5424"]),
        ("udp old", vec!["--udp", "--rfc3164"]),
        ("tcp lines", vec!["--tcp", "--rfc5424"]),
        ("tcp old lines", vec!["--tcp", "--rfc3164"]),
        ("tcp counted", vec!["--tcp", "--rfc5424", "--octet-count"]),
    ] {
        let sent = Command::new("logger")
            .args(["--server", "127.0.0.1", "--port", port])
            .args(["--tag", "backup", "--priority", "cron.err"])
            .args(words)
            .arg(format!("{text} password=hunter2"))
            .status();
        assert!(sent.unwrap().success());
    }
    let selector = "{job=\"net\", env=\"test\", appname=\"backup\", facility=\"cron\", severity=\"error\", hostname=~\".+\"}";
    let mut lines = eventually("all five messages", LIMIT, || {
        let lines = stackwatch.lines(selector);
        (lines.len() == 5).then_some(lines)
    });
    lines.sort();
    let texts = [
        "tcp counted",
        "tcp lines",
        "tcp old lines",
        "udp modern",
        "udp old",
    ];
    for (line, text) in lines.iter().zip(texts) {
        assert!(
            line.starts_with(text) && !line.contains("hunter2"),
            "{line}"
        );
    }
}
