//! Connections, over real sockets.

use super::*;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than sockets keep.
const LARGE_BYTES: usize = 32 << 20;

/// An answer that takes most of the time there is.
async fn later() -> &'static str {
    tokio::time::sleep(HALF_CLOSED_TIME_MAX / 2).await;
    "later"
}

async fn started() -> (std::net::SocketAddr, Counter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/", post(|body: String| async move { body }))
        .route("/large", get(|| async { "x".repeat(LARGE_BYTES) }))
        .route("/later", get(later))
        .route(
            "/query",
            get(|uri: axum::http::Uri| async move { uri.to_string() }),
        )
        .route(
            "/api/v1/write",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .layer(axum::extract::DefaultBodyLimit::disable());
    let evicted = Counter::default();
    let counted = evicted.clone();
    tokio::spawn(serve(listener, router, counted, std::future::pending()));
    (address, evicted)
}

/// What comes back for `request` until the server closes.
async fn ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_url_typed_by_hand_is_understood_whatever_its_length() {
    let (address, _) = started().await;
    for padding in [0, 4090, 4096, 9000, 60_000] {
        let query = format!("{}up{{a=\"b\"}}>`1`<2", "x".repeat(padding));
        let request = format!(
            "GET /query?{query} HTTP/1.1\r\nHost: a\r\nX: \"<>`\r\nConnection: close\r\n\r\n"
        );
        let answer = ask(address, &request).await;
        let escaped = query
            .replace('"', "%22")
            .replace('<', "%3C")
            .replace('>', "%3E")
            .replace('`', "%60");
        assert!(
            answer.ends_with(&format!("/query?{escaped}")),
            "{padding}: {answer}"
        );
    }
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let (address, evicted) = started().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    assert!(ask(address, GET).await.ends_with("here"));
    assert_eq!(evicted.get(), 1);
    // It was the one that had waited longest; unread bytes make its end a reset.
    assert!(matches!(idle[0].read(&mut [0; 8]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_worker() {
    use crate::api::workshop::{Client, Workshop};
    use std::sync::atomic::Ordering;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shop = Arc::new(Workshop::new(1));
    let (told, mut heard) = tokio::sync::mpsc::channel(2);
    let handler = move |client: Client| {
        let (shop, told) = (Arc::clone(&shop), told.clone());
        async move {
            let work = move |gone: Arc<std::sync::atomic::AtomicBool>| {
                let _ = told.blocking_send("begun");
                while !gone.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                let _ = told.blocking_send("gone");
            };
            let _ = shop.run_for(&client, Duration::from_secs(600), work).await;
        }
    };
    let router = Router::new().route("/", get(handler));
    tokio::spawn(serve(
        listener,
        router,
        Counter::default(),
        std::future::pending(),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(heard.recv().await, Some("begun"));
    let left = Instant::now();
    drop(stream);
    assert_eq!(heard.recv().await, Some("gone"));
    assert!(
        left.elapsed() < 10 * HALF_CLOSED_TIME_MAX,
        "{:?}",
        left.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_answered() {
    let (address, _) = started().await;
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
    let large = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n{}",
        "x".repeat(BODY_BYTES_MAX)
    );
    for (requests, answers, end) in [
        (get.to_owned(), 1, "here"),
        (get.replace("/ ", "/later ").repeat(3), 3, "later"),
        (get.repeat(3), 3, "here"),
        (format!("{get}{post}"), 2, "12345"),
        (large, 1, "xxxxx"),
        ("GET / HT".to_owned(), 0, ""),
        (String::new(), 0, ""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1 200").count(), answers, "{answer}");
        assert!(answer.ends_with(end), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_shuts_down_while_it_reads_gets_the_rest() {
    let (address, _) = started().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let get = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 15]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > LARGE_BYTES, "{}", answer.len());
}

#[tokio::test]
async fn a_request_that_go_refuses_is_refused() {
    let (address, _) = started().await;
    for (head, expect) in [
        (
            "GET / HTTP/1.1\r\n",
            "400 Bad Request: missing required Host header",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n", ""),
        ("GET / HTTP/1.0\r\n", "here"),
    ] {
        let answer = ask(address, &format!("{head}\r\n")).await;
        assert!(answer.ends_with(expect), "{head}: {answer}");
        assert_eq!(
            answer.contains(" 200 OK"),
            expect == "here",
            "{head}: {answer}"
        );
    }
}

#[tokio::test]
async fn bodies_are_read_whole_or_refused() {
    let (address, _) = started().await;
    let post = |length: usize, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    assert!(ask(address, &post(5, "12345")).await.ends_with("12345"));
    let refused = ask(address, &post(BODY_BYTES_MAX + 1, "")).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    let push = |length| post(length, "").replace("POST / ", "POST /api/v1/write ");
    let refused = ask(address, &push(PUSH_BYTES_MAX + 1)).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let refused = ask(address, chunked).await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[tokio::test]
async fn large_bodies_do_not_wait_for_each_other() {
    const BODIES: usize = 6;
    let (address, _) = started().await;
    let mut senders = JoinSet::new();
    // Two hold all of the shared room, half done, when the others come.
    let halfway = Arc::new(tokio::sync::Barrier::new(BODIES));
    for n in 0..BODIES {
        let halfway = Arc::clone(&halfway);
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {PUSH_BYTES_MAX}\r\n\r\n"
            );
            let half = vec![b' '; PUSH_BYTES_MAX / 2];
            if n >= 2 {
                halfway.wait().await;
            }
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&half).await.unwrap();
            if n < 2 {
                halfway.wait().await;
            }
            stream.write_all(&half).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
    }
    while let Some(answer) = senders.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.ends_with(&PUSH_BYTES_MAX.to_string()), "{answer}");
    }
}
