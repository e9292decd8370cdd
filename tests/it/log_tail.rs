//! Lines as they come, over a WebSocket, as Grafana's live view reads them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stackwatch_tests::http;
use stackwatch_tests::stackwatch::Stackwatch;

const CONFIG: &str = "collect: { host: false, docker: false }\n";

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

fn push(stackwatch: &Stackwatch, job: &str, lines: &[(u64, &str)]) {
    let values: Vec<Value> = lines
        .iter()
        .map(|(at, line)| json!([at.to_string(), line]))
        .collect();
    let body = json!({"streams": [{"stream": {"job": job}, "values": values}]}).to_string();
    let headers = [("Content-Type", "application/json")];
    let path = "/loki/api/v1/push";
    let answer = http::request("POST", stackwatch.listen(), path, &headers, body).unwrap();
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// A client that follows lines.
pub(crate) struct Tail(TcpStream);

impl Tail {
    fn open(address: &str, query: &str) -> Tail {
        Tail::open_as(address, query, &[])
    }

    /// With further headers.
    pub(crate) fn open_as(address: &str, query: &str, headers: &[(&str, &str)]) -> Tail {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let query = http::encode(query);
        let more: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!(
            "GET /loki/api/v1/tail?query={query}&limit=2 HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The answer to RFC 6455's own example.
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Tail(stream)
    }

    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                self.0.read_exact(&mut long).unwrap();
                usize::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut longer = [0; 8];
                self.0.read_exact(&mut longer).unwrap();
                usize::try_from(u64::from_be_bytes(longer)).unwrap()
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    pub(crate) fn message(&mut self) -> Value {
        let (head, payload) = self.frame();
        assert_eq!(head, 0x81);
        serde_json::from_slice(&payload).unwrap()
    }

    /// The lines of the next message.
    fn lines(&mut self) -> Vec<String> {
        let message = self.message();
        let streams = message["streams"].as_array().unwrap().iter();
        streams
            .flat_map(|s| s["values"].as_array().unwrap())
            .map(|value| value[1].as_str().unwrap().to_owned())
            .collect()
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = 0x80 | u8::try_from(payload.len()).unwrap();
        let frame = [&[0x80 | opcode, length, 0, 0, 0, 0], payload].concat();
        self.0.write_all(&frame).unwrap();
    }
}

#[test]
fn new_lines_follow_the_newest_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let t = now_ns() - 60_000_000_000;
    push(
        &stackwatch,
        "a",
        &[(t, "one"), (t + 1, "two"), (t + 2, "three")],
    );
    let mut tail = Tail::open(stackwatch.listen(), "{job=\"a\"} != \"noise\"");
    assert_eq!(tail.lines(), ["two", "three"]);
    push(&stackwatch, "b", &[(t + 3, "of another")]);
    // A sender repeats itself.
    push(
        &stackwatch,
        "a",
        &[(t + 2, "three"), (t + 4, "noise"), (t + 5, "four")],
    );
    assert_eq!(tail.lines(), ["four"]);
    tail.send(9, b"hi");
    assert_eq!(tail.frame(), (0x8a, b"hi".to_vec()));
    push(&stackwatch, "a", &[(t + 6, &"x".repeat(1000))]);
    assert_eq!(tail.lines(), ["x".repeat(1000)]);
    // The end of one client frees its seat: more than may be at a time come one after the other.
    tail.send(8, &[]);
    for _ in 0..15 {
        let mut tail = Tail::open(stackwatch.listen(), "{job=\"b\"}");
        assert_eq!(tail.lines(), ["of another"]);
        tail.send(8, &[]);
        assert_eq!(tail.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_client_that_reads_slowly_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let mut tail = Tail::open(stackwatch.listen(), "{job=\"a\"}");
    let (t, count) = (now_ns(), 60);
    for n in 0..count {
        let line = format!("{n} {}", "x y ".repeat(60_000));
        push(&stackwatch, "a", &[(t + n, &line)]);
    }
    let mut told = 0;
    let mut longest = 0;
    while told < count {
        let message = tail.message();
        for stream in message["streams"].as_array().unwrap() {
            told += stream["values"].as_array().unwrap().len() as u64;
        }
        let missed = message["dropped_entries"][0]["labels"]["missed"].as_str();
        let missed = missed.map_or(0, |text| {
            let (lines, _) = text.split_once(' ').unwrap();
            lines.parse().unwrap()
        });
        told += missed;
        longest = longest.max(missed);
    }
    assert_eq!(told, count);
    assert!(longest > 0, "fourteen megabytes waited for one client");
}

#[test]
fn who_cannot_follow_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let stackwatch = Stackwatch::start(dir.path(), CONFIG);
    let get = |path: &str| stackwatch.get(&format!("/loki/api/v1/tail?{path}"));
    let plain = get("query=%7Bjob%3D%22a%22%7D");
    assert_eq!(plain.status, 400);
    assert!(plain.body.contains("websocket"), "{}", plain.body);
    assert_eq!(get("query=job").status, 400);
    let delay = get("query=%7Bjob%3D%22a%22%7D&delay_for=6");
    assert_eq!(
        (delay.status, delay.body.trim()),
        (400, "delay_for can't be greater than 5")
    );

    let tails: Vec<Tail> = (0..10)
        .map(|_| Tail::open(stackwatch.listen(), "{job=\"a\"}"))
        .collect();
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let path = "/loki/api/v1/tail?query=%7Bjob%3D%22a%22%7D";
    let refused = http::request("GET", stackwatch.listen(), path, &headers, "").unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    drop(tails);
}
