//! The shell against real sockets: a small HTTP server and a small SMTP sink in this process.

use std::sync::atomic::{AtomicUsize, Ordering};

use model::control::MemoryControlStore;
use model::{Labels, labels};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;

/// Longest a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server was sent: its head (request line and headers, lower case) and its body.
#[derive(Debug)]
struct Seen {
    head: String,
    body: String,
}

impl Seen {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> String {
        let start = format!("{name}: ");
        let value = self.head.lines().find_map(|l| l.strip_prefix(&start));
        value.unwrap_or_default().to_owned()
    }
}

/// Answers the n-th request with the n-th reply, the last one from then on. `None` hangs.
async fn http_server(
    listener: TcpListener,
    replies: &'static [Option<&'static str>],
) -> mpsc::UnboundedReceiver<Seen> {
    let (seen, receiver) = mpsc::unbounded_channel();
    let served = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, served) = (seen.clone(), served.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some(request) = read_request(&mut stream).await {
                    let n = served.fetch_add(1, Ordering::SeqCst);
                    let _ = seen.send(request);
                    match replies[n.min(replies.len() - 1)] {
                        Some(reply) => stream.write_all(reply.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                }
            });
        }
    });
    receiver
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line.trim_end().to_lowercase());
        head.push('\n');
    }
    let mut seen = Seen {
        head,
        body: String::new(),
    };
    let mut body = vec![0; seen.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

const OK: Option<&str> = Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const UNAVAILABLE: Option<&str> = Some("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");

struct Running {
    handle: Handle,
    control: Arc<MemoryControlStore>,
    task: JoinHandle<()>,
}

/// Starts alerting with these receivers (YAML lines below `- name: a`).
fn start(receiver: &str, control: Arc<MemoryControlStore>) -> Running {
    let yaml = format!(
        "route: {{receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 50ms}}\nreceivers:\n- name: a\n{receiver}\n"
    );
    let config = Config::parse("t.yml", &yaml).unwrap();
    let options = Options {
        external_url: "http://sw.example/".to_owned(),
        control: control.clone(),
        base_dir: PathBuf::new(),
    };
    let mut registry = Registry::default();
    let (alerting, handle) = Alerting::open(config, options, wall_clock(), &mut registry).unwrap();
    Running {
        handle,
        control,
        task: tokio::spawn(alerting.run()),
    }
}

impl Running {
    fn fire(&self, name: &str) {
        self.report(name, None);
    }

    fn report(&self, name: &str, ends_at: Option<Timestamp>) {
        let now = wall_clock();
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::from_pairs([("summary", "it broke")]),
            starts_at: now.minus(Duration::from_secs(60)),
            ends_at,
            generator_url: String::new(),
            updated_at: now,
        };
        let received = self.handle.receive(vec![alert], now);
        assert!(received.durable, "{received:?}");
    }

    /// Waits until `done` holds of the outbox.
    async fn until(&self, done: impl Fn(&[OutboxView]) -> bool) -> Vec<OutboxView> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let rows = self.handle.outbox();
                if done(&rows) {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap()
    }
}

async fn next<T>(receiver: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, receiver.recv())
        .await
        .unwrap()
        .unwrap()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn webhook(port: u16) -> String {
    format!("  webhook_configs: [{{url: 'http://127.0.0.1:{port}/hook', timeout: 300ms}}]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_start_and_end() {
    let (listener, port) = listen().await;
    let mut seen = http_server(listener, &[OK]).await;
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    let first = next(&mut seen).await;
    assert!(first.head.starts_with("post /hook "), "{}", first.head);
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("idempotency-key").len(), 32);
    assert_eq!(first.json()["status"], "firing");
    assert_eq!(first.json()["externalURL"], "http://sw.example");
    sw.report("A", Some(wall_clock()));
    let second = next(&mut seen).await;
    assert_eq!(second.json()["status"], "resolved");
    assert_ne!(
        second.header("idempotency-key"),
        first.header("idempotency-key")
    );
    sw.until(<[OutboxView]>::is_empty).await;
    assert!(sw.handle.health(wall_clock()).ok);
    assert!(sw.handle.alerts(wall_clock()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_attempt_is_made_again_with_the_same_bytes() {
    let (listener, port) = listen().await;
    let mut seen = http_server(listener, &[UNAVAILABLE, OK]).await;
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    let (first, second) = (next(&mut seen).await, next(&mut seen).await);
    assert_eq!(first.body, second.body);
    assert_eq!(
        first.header("idempotency-key"),
        second.header("idempotency-key")
    );
    sw.until(<[OutboxView]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_waits_as_long_as_asked() {
    const LATER: Option<&str> =
        Some("HTTP/1.1 429 Slow\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n");
    let (listener, port) = listen().await;
    let mut seen = http_server(listener, &[LATER, OK]).await;
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    next(&mut seen).await;
    let asked_at = wall_clock();
    next(&mut seen).await;
    let waited = wall_clock().since(asked_at);
    assert!(waited >= Duration::from_millis(1900), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_a_dead_letter_in_health() {
    let (listener, port) = listen().await;
    let gone = &[Some("HTTP/1.1 404 No\r\ncontent-length: 7\r\n\r\nno hook")];
    let mut seen = http_server(listener, gone).await;
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    next(&mut seen).await;
    let rows = sw
        .until(|rows| rows.iter().any(|r| r.next_attempt.is_none()))
        .await;
    assert!(rows[0].last_error.contains("404"), "{rows:?}");
    assert!(rows[0].last_error.contains("no hook"), "{rows:?}");
    let health = sw.handle.health(wall_clock());
    assert_eq!((health.ok, health.dead_letters), (true, 1)); // a restart would not mend it
    let warning = health.warnings.concat();
    assert!(
        warning.starts_with("1 notification to receiver \"a\" (webhook/0) given up"),
        "{warning}"
    );
    assert!(warning.contains("404"), "{warning}");
    assert!(!warning.contains("/hook"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_gets_the_message_when_it_is_up() {
    let (listener, port) = listen().await;
    drop(listener);
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    let rows = sw
        .until(|rows| rows.iter().any(|r| !r.last_error.is_empty()))
        .await;
    assert!(
        rows[0].last_error.to_lowercase().contains("refused"),
        "{rows:?}"
    );
    assert!(!rows[0].last_error.contains("/hook"), "{rows:?}");
    let reason = format!("127.0.0.1:{port}: Connection refused");
    assert!(rows[0].last_error.starts_with(&reason), "{rows:?}");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut seen = http_server(listener, &[OK]).await;
    assert_eq!(next(&mut seen).await.json()["status"], "firing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_does_not_delay_another() {
    let (hanging, hanging_port) = listen().await;
    let mut stuck = http_server(hanging, &[None]).await;
    let (listener, port) = listen().await;
    let mut seen = http_server(listener, &[OK]).await;
    let both = format!(
        "  webhook_configs: [{{url: 'http://127.0.0.1:{hanging_port}/', timeout: 1h}}, {{url: 'http://127.0.0.1:{port}/'}}]"
    );
    let sw = start(&both, Arc::default());
    sw.fire("A");
    next(&mut stuck).await;
    next(&mut seen).await;
    sw.fire("B");
    assert_eq!(
        next(&mut seen).await.json()["groupLabels"]["alertname"],
        "B"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_ends_at_its_timeout() {
    let (hanging, port) = listen().await;
    let mut stuck = http_server(hanging, &[None, OK]).await;
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    next(&mut stuck).await;
    next(&mut stuck).await;
    sw.until(<[OutboxView]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_cut_short_is_made_again_after_the_restart_under_the_same_key() {
    let (hanging, port) = listen().await;
    let mut seen = http_server(hanging, &[None, OK]).await;
    let receiver = format!("  webhook_configs: [{{url: 'http://127.0.0.1:{port}/', timeout: 1h}}]");
    let sw = start(&receiver, Arc::default());
    sw.fire("A");
    let first = next(&mut seen).await;
    sw.task.abort();
    let _ = sw.task.await;
    let sw = start(&receiver, sw.control.clone());
    let second = next(&mut seen).await;
    assert_eq!(
        first.header("idempotency-key"),
        second.header("idempotency-key")
    );
    assert_eq!(first.body, second.body);
    sw.until(<[OutboxView]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_sent_an_attachment_and_must_say_ok() {
    const NO: Option<&str> = Some("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\ninvalid_payload");
    let (listener, port) = listen().await;
    let mut seen = http_server(listener, &[OK, NO]).await;
    let receiver = format!(
        "  slack_configs: [{{api_url: 'http://127.0.0.1:{port}/services/x', channel: '#ops', send_resolved: true}}]"
    );
    let sw = start(&receiver, Arc::default());
    sw.fire("Disk");
    let message = next(&mut seen).await.json();
    assert_eq!(message["channel"], "#ops");
    let attachment = &message["attachments"][0];
    assert_eq!(attachment["color"], "danger");
    assert_eq!(attachment["title"], "[FIRING:1] Disk");
    assert!(
        attachment["text"].as_str().unwrap().contains("it broke"),
        "{attachment}"
    );
    sw.until(<[OutboxView]>::is_empty).await;
    sw.report("Disk", Some(wall_clock()));
    let message = next(&mut seen).await.json();
    assert_eq!(message["attachments"][0]["color"], "good");
    let rows = sw
        .until(|rows| rows.iter().any(|r| r.next_attempt.is_none()))
        .await;
    assert!(rows[0].last_error.contains("invalid_payload"), "{rows:?}");
}

/// Accepts mail without TLS. `rcpt` answers the n-th `RCPT TO`, the last one from then on.
async fn smtp_sink(rcpt: &'static [&'static str]) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let (listener, port) = listen().await;
    let (seen, receiver) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, asked) = (seen.clone(), asked.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                let mut reply = "220 sink\r\n".to_owned();
                loop {
                    stream.write_all(reply.as_bytes()).await.unwrap();
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    head.push_str(&line);
                    let verb = line.get(..4).unwrap_or_default().to_uppercase();
                    reply = match verb.as_str() {
                        "EHLO" => "250-sink\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
                        "AUTH" => "235 welcome\r\n".to_owned(),
                        "RCPT" => {
                            let n = asked.fetch_add(1, Ordering::SeqCst);
                            format!("{}\r\n", rcpt[n.min(rcpt.len() - 1)])
                        }
                        "DATA" => {
                            stream.write_all(b"354 go\r\n").await.unwrap();
                            let mut body = String::new();
                            while !body.ends_with("\r\n.\r\n") {
                                if stream.read_line(&mut body).await.unwrap() == 0 {
                                    return;
                                }
                            }
                            let head = std::mem::take(&mut head);
                            let _ = seen.send(Seen { head, body });
                            "250 taken\r\n".to_owned()
                        }
                        _ => "250 fine\r\n".to_owned(),
                    };
                }
            });
        }
    });
    (port, receiver)
}

fn email(port: u16, more: &str) -> String {
    format!(
        "  email_configs: [{{to: ops@example.org, from: sw@example.net, smarthost: '127.0.0.1:{port}', require_tls: false{more}}}]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_arrives_with_subject_and_both_bodies() {
    let (port, mut seen) = smtp_sink(&["250 yes"]).await;
    let sw = start(
        &email(port, ", auth_username: me, auth_password: pw"),
        Arc::default(),
    );
    sw.fire("Disk");
    let mail = next(&mut seen).await;
    assert!(mail.head.contains("AUTH PLAIN"), "{}", mail.head);
    assert!(
        mail.head.contains("MAIL FROM:<sw@example.net>"),
        "{}",
        mail.head
    );
    assert!(
        mail.head.contains("RCPT TO:<ops@example.org>"),
        "{}",
        mail.head
    );
    for part in [
        "Subject: [FIRING:1] Disk",
        "text/plain",
        "text/html",
        "it broke",
        "Message-ID: <",
    ] {
        assert!(mail.body.contains(part), "{part} in {}", mail.body);
    }
    sw.until(<[OutboxView]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greylisted_mail_is_sent_again_and_a_refused_one_is_given_up() {
    let (port, mut seen) = smtp_sink(&["451 later", "250 yes", "550 nobody here"]).await;
    let sw = start(&email(port, ""), Arc::default());
    sw.fire("A");
    next(&mut seen).await;
    sw.until(<[OutboxView]>::is_empty).await;
    sw.fire("B");
    let rows = sw
        .until(|rows| rows.iter().any(|r| r.next_attempt.is_none()))
        .await;
    assert!(rows[0].last_error.contains("nobody here"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_not_sent_in_the_clear_when_tls_is_required() {
    let (port, mut seen) = smtp_sink(&["250 yes"]).await;
    let receiver = email(port, "").replace("require_tls: false", "require_tls: true");
    let sw = start(&receiver, Arc::default());
    sw.fire("A");
    let rows = sw
        .until(|rows| rows.iter().any(|r| !r.last_error.is_empty()))
        .await;
    assert!(
        rows[0].last_error.to_lowercase().contains("starttls"),
        "{rows:?}"
    );
    let hint = "(set smtp_require_tls: false for a trusted relay)";
    assert!(rows[0].last_error.contains(hint), "{rows:?}");
    let host = format!("127.0.0.1:{port}: ");
    assert!(rows[0].last_error.starts_with(&host), "{rows:?}");
    assert!(seen.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_takes_effect_and_an_unconfigured_receiver_leaves_dead_letters() {
    let (listener, port) = listen().await;
    drop(listener);
    let sw = start(&webhook(port), Arc::default());
    sw.fire("A");
    sw.until(|rows| rows.iter().any(|r| !r.last_error.is_empty()))
        .await;
    sw.handle.reload(Config::default(), wall_clock()).unwrap();
    let names: Vec<String> = sw.handle.receivers().into_iter().map(|r| r.name).collect();
    assert_eq!(names, [crate::config::NULL_RECEIVER]);
    let rows = sw
        .until(|rows| rows.iter().any(|r| r.next_attempt.is_none()))
        .await;
    assert!(
        rows[0].last_error.contains("no longer configured"),
        "{rows:?}"
    );
    let alerts = sw.handle.alerts(wall_clock());
    assert_eq!(alerts[0].receivers, [crate::config::NULL_RECEIVER]);
    assert_eq!(labels::Quoted(alerts[0].alert.name()).to_string(), "\"A\"");
}
