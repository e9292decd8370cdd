//! Servers that do not behave.

use super::*;
use crate::config::target_labels;
use crate::status::{Status, TargetHealth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub(super) fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

pub(super) fn array(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

/// A server that answers by what it reads; `None` closes.
async fn server(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            let answer = std::sync::Arc::clone(&answer);
            tokio::spawn(async move {
                let mut read = [0; 8192];
                while let Ok(n @ 1..) = io.read(&mut read).await {
                    let asked = String::from_utf8_lossy(&read[..n]).into_owned();
                    match answer(&asked) {
                        Some(text) => drop(io.write_all(text.as_bytes()).await),
                        None => return,
                    }
                }
            });
        }
    });
    address
}

struct Watch {
    redis: Redis,
    target: Target,
    status: Status,
}

impl Watch {
    fn new(yaml: &str) -> Watch {
        let config: RedisConfig = serde_saphyr::from_str(yaml).unwrap();
        config.check().unwrap();
        let timeout = Duration::from_secs(5);
        let status = Status::default();
        let labels = target_labels("redis", &config.instance());
        let target = Target::new(
            "redis",
            &config.address(),
            labels.clone(),
            labels,
            (timeout, timeout),
            status.clone(),
        );
        Watch {
            redis: Redis::new(&config, timeout),
            target,
            status,
        }
    }

    /// Collects; gives samples as text.
    async fn collect(&mut self) -> Vec<String> {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let batch = self.redis.collect(&mut self.target, at).await;
        let samples = batch.samples.iter();
        samples
            .map(|s| format!("{} {}", s.labels, s.value))
            .collect()
    }

    fn error(&self) -> String {
        self.status.targets()[0].last_error.clone()
    }
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// One answer for each command in what was read.
fn each(asked: &str, answer: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let words: Vec<&str> = asked.split("\r\n").collect();
    for (at, word) in words.iter().enumerate() {
        if let Some(count) = word.strip_prefix('*').and_then(|n| n.parse::<usize>().ok()) {
            let command: Vec<&str> = words[at + 1..]
                .iter()
                .skip(1)
                .step_by(2)
                .take(count)
                .copied()
                .collect();
            out.push_str(&answer(&command.join(" ")));
        }
    }
    out
}

const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:5\r\n# Clients\r\nmaxclients:9\r\n# Replication\r\nrole:master\r\n# Cluster\r\ncluster_enabled:0\r\n";

#[tokio::test]
async fn what_is_not_permitted_is_left_out_said_and_not_asked_again() {
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&asked);
    let address = server(move |read| {
        Some(each(read, |command| {
            heard.lock().unwrap().push(command.to_owned());
            match command {
                "INFO ALL" => bulk(INFO),
                "LATENCY HISTOGRAM" => {
                    "-ERR Unknown subcommand or wrong number of arguments for 'HISTOGRAM'\r\n"
                        .to_owned()
                }
                "SLOWLOG LEN" => ":3\r\n".to_owned(),
                "CLIENT SETNAME stackwatch" | "SLOWLOG GET 1" => "*0\r\n".to_owned(),
                _ => format!("-NOPERM this user has no permissions to run '{command}'\r\n"),
            }
        }))
    })
    .await;
    let mut watch = Watch::new(&format!("url: {address}\nusername: mon\npassword: x"));
    // AUTH is refused with NOPERM by that server: without a user it is not sent.
    assert!(
        watch
            .collect()
            .await
            .iter()
            .any(|l| l.starts_with("redis_up") && l.ends_with(" 0"))
    );
    assert_eq!(watch.error(), "the server refused AUTH (NOPERM)");

    let mut watch = Watch::new(&format!("url: {address}"));
    let lines = watch.collect().await;
    let has = |start: &str| lines.iter().any(|l| l.starts_with(start));
    assert!(
        has("redis_slowlog_length{") && has("redis_config_maxclients{"),
        "{lines:#?}"
    );
    let target = watch.status.targets().remove(0);
    assert_eq!(target.health, TargetHealth::Up);
    assert_eq!(
        target.notes,
        [
            "some metrics are left out for want of rights; to mend it: ACL SETUSER default +config|get +latency|latest"
        ]
    );
    asked.lock().unwrap().clear();
    watch.collect().await;
    assert_eq!(
        *asked.lock().unwrap(),
        ["INFO ALL", "SLOWLOG LEN", "SLOWLOG GET 1"]
    );
}

#[tokio::test]
async fn a_password_that_the_server_repeats_is_nowhere_to_be_seen() {
    let address = server(|read| {
        Some(each(read, |command| {
            format!("-ERR unknown command, with args beginning with: {command}\r\n")
        }))
    })
    .await;
    let mut watch = Watch::new(&format!("url: 'redis://mon:hunter2@{address}'"));
    let lines = watch.collect().await;
    assert_eq!(watch.error(), "the server refused AUTH (ERR)");
    let shown = format!("{lines:?} {:?}", watch.status.targets());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains(&format!("instance=\"{address}\"")) || shown.contains(&address));

    let address = server(|read| {
        Some(each(read, |command| match command {
            c if c.starts_with("INFO") => "-LOADING hunter2\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        }))
    })
    .await;
    let mut watch = Watch::new(&format!("url: 'redis://:hunter2@{address}'"));
    watch.collect().await;
    assert_eq!(watch.error(), "the server answered INFO with: LOADING");
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let batches = std::sync::atomic::AtomicUsize::new(0);
    let address = server(move |read| {
        // Closed once, when INFO is asked for the second time.
        let is_second = read.contains("INFO")
            && batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1;
        (!is_second).then(|| {
            each(read, |command| match command {
                "INFO ALL" => bulk(INFO),
                _ => "*0\r\n".to_owned(),
            })
        })
    })
    .await;
    let mut watch = Watch::new(&format!("url: {address}"));
    for _ in 0..3 {
        watch.collect().await;
        assert_eq!(watch.error(), "");
    }
}

#[tokio::test]
async fn servers_that_lie_hang_or_vanish_are_down_and_nothing_else() {
    for (answer, expect) in [
        ("", "closed the connection"),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not speak Redis' protocol",
        ),
        ("+OK\r\n$99999999999999\r\n", "the answer exceeds"),
        ("+OK\r\n*1000000000\r\n", "the answer exceeds"),
        ("+OK\r\n:1\r\n", "something that is no text"),
        (
            "+OK\r\n-NOAUTH Authentication required.\r\n",
            "set password_file",
        ),
        (
            "+OK\r\n-NOPERM no\r\n",
            "to mend it: ACL SETUSER default +client|setname",
        ),
    ] {
        let address = server(move |_| (!answer.is_empty()).then(|| answer.to_owned())).await;
        let mut watch = Watch::new(&format!("url: {address}"));
        let lines = watch.collect().await;
        assert!(
            watch.error().contains(expect),
            "{answer:?}: {}",
            watch.error()
        );
        let down = |l: &&String| l.starts_with("redis_up{") && l.ends_with(" 0");
        assert_eq!(lines.iter().filter(down).count(), 1, "{lines:#?}");
        assert_eq!(watch.status.targets()[0].health, TargetHealth::Down);
    }
    let mut watch = Watch::new("url: unix:///nonexistent/redis.sock");
    watch.collect().await;
    assert!(
        watch.error().starts_with("connecting: No such file"),
        "{}",
        watch.error()
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Watch::new(&format!("url: {address}"));
    watch.redis.timeout = Duration::from_millis(100);
    watch.collect().await;
    assert_eq!(watch.error(), "no answer to connect within 100ms");
}

/// Wall and CPU time of a collection from the server at `REDIS_URL`, after a warm-up.
#[tokio::test]
#[ignore = "a measurement: REDIS_URL=… cargo test --release -p collector --lib cost_of_a_collection -- --ignored --nocapture"]
async fn cost_of_a_collection() {
    const TIMES: u32 = 2000;
    let url = std::env::var("REDIS_URL").unwrap();
    let mut watch = Watch::new(&format!("url: '{url}'"));
    // Nanoseconds this thread has run.
    let ran = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let first = text.split(' ').next().unwrap().parse::<u64>().unwrap();
        Duration::from_nanos(first)
    };
    let mut samples = 0;
    let at = |n: u32| Timestamp::from_millis(1_700_000_000_000 + i64::from(n));
    watch.redis.collect(&mut watch.target, at(0)).await;
    let (started, before) = (Instant::now(), ran());
    for n in 1..=TIMES {
        samples = watch
            .redis
            .collect(&mut watch.target, at(n))
            .await
            .samples
            .len();
    }
    assert_eq!(watch.error(), "");
    let (wall, cpu) = (started.elapsed() / TIMES, (ran() - before) / TIMES);
    eprintln!("{samples} samples, {wall:?} wall, {cpu:?} CPU a collection");
}
