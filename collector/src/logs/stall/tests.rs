//! An engine whose log is torn: it reads up to the damage, and the last lines from the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scrub::{LogBatch, Scrubber};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use super::super::config::ReadFrom;
use super::super::{Container, Context, LogsConfig, Progress, container};
use crate::{Engine, Positions, Status};

/// Lines before the damage and behind it.
const BEFORE: i64 = 3;
const BEHIND: i64 = 20;

struct Nothing;

impl Positions for Nothing {
    fn get(&self, _: &str) -> Option<Vec<u8>> {
        None
    }
    fn sources(&self) -> Vec<String> {
        Vec::new()
    }
    fn forget(&self, _: &str) {}
}

fn frame(number: i64) -> Vec<u8> {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(100 - number);
    let text = format!(
        "{:.9} line {number}\n",
        at.round(jiff::Unit::Second).unwrap()
    );
    let mut frame = vec![1, 0, 0, 0];
    frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

async fn answer(mut client: UnixStream, frames: Arc<Vec<Vec<u8>>>) {
    let mut request = vec![0; 4096];
    let read = client.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..read]);
    let path = request.split(' ').nth(1).unwrap();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    if path.ends_with("/json") {
        let body =
            br#"{"Id":"id","State":{"Running":true},"HostConfig":{"LogConfig":{"Type":"local"}}}"#;
        client.write_all(body).await.unwrap();
        return;
    }
    let tail = path
        .split_once("tail=")
        .map(|(_, n)| n.parse::<usize>().unwrap());
    let lines = match tail {
        None => &frames[..BEFORE as usize],
        Some(lines) if lines <= BEHIND as usize => &frames[frames.len() - lines..],
        // It would begin before the damage.
        Some(_) => &frames[..0],
    };
    client.write_all(&lines.concat()).await.unwrap();
    if tail.is_some() && path.contains("follow=1") {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn behind_a_torn_record_the_last_lines_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let frames: Arc<Vec<_>> = Arc::new((1..=BEFORE + BEHIND).map(frame).collect());
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(client, Arc::clone(&frames)));
        }
    });
    let (out, mut batches) = mpsc::channel::<LogBatch>(16);
    let status = Status::default();
    let context = Context {
        engine: Engine::new(socket.to_str().unwrap()).unwrap(),
        config: LogsConfig {
            read: ReadFrom::Api,
            ..LogsConfig::default()
        },
        host: "host".to_owned(),
        rootfs: "/".into(),
        scrubber: Arc::new(Scrubber::default()),
        positions: Arc::new(Nothing),
        progress: Progress::default(),
        out,
        telemetry: status.telemetry().logs.clone(),
        status,
    };
    let web = Container::new("id", "web", &BTreeMap::new());
    let (_running, receiver) = watch::channel(true);
    let mut found = Vec::new();
    let reading = async {
        while found.last().is_none_or(|line| line != "line 23") {
            let batch = batches.recv().await.unwrap();
            let lines = batch.entries.into_iter();
            found.extend(lines.map(|entry| match entry.metadata.labels().get("gap") {
                Some(kind) => format!("! {kind}"),
                None => entry.line.into_string(),
            }));
        }
    };
    let limit = Duration::from_secs(60);
    tokio::select! {
        _ = container::follow(&context, &web, receiver) => panic!("ended"),
        read = tokio::time::timeout(limit, reading) => read.unwrap(),
    }
    let lines = |from: i64, to: i64| (from..=to).map(|n| format!("line {n}"));
    let expect: Vec<String> = lines(1, BEFORE)
        .chain(["! damaged".to_owned()])
        .chain(lines(BEFORE + 1, BEFORE + BEHIND))
        .collect();
    assert_eq!(found, expect);
}
