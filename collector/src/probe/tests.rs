//! Probes of servers that behave, and of servers that do not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server that hands each connection, with what it sent first, to `serve`.
async fn server<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, String) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = vec![0; 8192];
            let length = stream.read(&mut first).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&first[..length]).into_owned();
            tokio::spawn(serve(stream, text));
        }
    });
    address
}

/// A server that answers every request with `answer` and closes.
async fn answers(answer: &'static str) -> SocketAddr {
    server(move |mut stream, _| async move {
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// A server that listens and says nothing until the client goes.
async fn silent() -> SocketAddr {
    server(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await
}

async fn run(yaml: &str) -> (Report, Result<(), String>) {
    run_within(yaml, Duration::from_secs(10)).await
}

async fn run_within(yaml: &str, timeout: Duration) -> (Report, Result<(), String>) {
    let config: ProbeConfig = serde_saphyr::from_str(yaml).unwrap();
    let probe = Probe::new(&config, timeout, SystemRoots::default()).unwrap();
    let (report, result) = probe.run().await;
    (report, result.map_err(|e| e.to_string()))
}

/// An HTTP answer with a body.
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kind: a\r\n\
    Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\nhello";

#[tokio::test]
async fn an_answer_is_told_in_figures() {
    let address = answers(HELLO).await;
    let (report, result) = run(&format!("url: http://{address}/x")).await;
    assert_eq!(result, Ok(()));
    for (name, value) in [
        ("probe_http_status_code", 200.0),
        ("probe_http_content_length", 5.0),
        ("probe_http_uncompressed_body_length", 5.0),
        ("probe_http_redirects", 0.0),
        ("probe_http_ssl", 0.0),
        ("probe_http_version", 1.1),
        ("probe_failed_due_to_regex", 0.0),
        (
            "probe_http_last_modified_timestamp_seconds",
            1_445_412_480.0,
        ),
        ("probe_ip_protocol", 4.0),
        ("probe_ip_addr_hash", 3_668_918_509.0),
    ] {
        assert_eq!(report.get(name), Some(value), "{name}");
    }
    assert_eq!(report.get("probe_ssl_earliest_cert_expiry"), None);
}

#[tokio::test]
async fn an_answer_is_wanted_or_not() {
    let address = answers(HELLO).await;
    for (options, expect) in [
        ("valid_status_codes: [200, 204]", Ok(())),
        (
            "valid_status_codes: [204]",
            Err("status 200, wanted one of [204]"),
        ),
        ("valid_http_versions: [HTTP/1.1, HTTP/2.0]", Ok(())),
        (
            "valid_http_versions: [HTTP/2.0]",
            Err("HTTP/1.1 was spoken"),
        ),
        (
            "fail_if_not_ssl: true",
            Err("the last answer did not come over TLS"),
        ),
        ("fail_if_body_matches_regexp: [bye]", Ok(())),
        (
            "fail_if_body_matches_regexp: ['hel+o']",
            Err("the body matches \"hel+o\""),
        ),
        (
            "fail_if_body_not_matches_regexp: [hello, bye]",
            Err("the body does not match \"bye\""),
        ),
        (
            "fail_if_header_matches: [{header: x-kind, regexp: '^a'}]",
            Err("the header \"x-kind\" matches \"^a\""),
        ),
        (
            "fail_if_header_not_matches: [{header: X-Kind, regexp: b}]",
            Err("the header \"X-Kind\" does not match \"b\""),
        ),
        (
            "fail_if_header_matches: [{header: y, regexp: b}]",
            Err("the header \"y\" is missing"),
        ),
        (
            "fail_if_header_matches: [{header: y, regexp: b, allow_missing: true}]",
            Ok(()),
        ),
        (
            "body_size_limit: 4",
            Err("the body is larger than body_size_limit, 4 bytes"),
        ),
    ] {
        let (report, result) = run(&format!("{{url: 'http://{address}', {options}}}")).await;
        assert_eq!(result, expect.map_err(str::to_owned), "{options}");
        let regex = options.contains("regexp") && expect.is_err();
        let told = report.get("probe_failed_due_to_regex");
        assert_eq!(told, Some(f64::from(u8::from(regex))), "{options}");
    }
}

#[tokio::test]
async fn a_redirect_loop_ends_where_blackbox_exporter_ends_it() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n";
    let address = answers(answer).await;
    let (report, result) = run(&format!("url: http://{address}/")).await;
    assert_eq!(result, Err("status 302, wanted 2xx".to_owned()));
    assert_eq!(report.get("probe_http_redirects"), Some(11.0));
    assert_eq!(report.get("probe_http_status_code"), Some(302.0));
    let (report, result) = run(&format!(
        "{{url: 'http://{address}/', follow_redirects: false, valid_status_codes: [302]}}"
    ))
    .await;
    assert_eq!(result, Ok(()));
    assert_eq!(report.get("probe_http_redirects"), Some(1.0));
}

#[tokio::test]
async fn a_redirect_to_a_file_is_counted_and_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n";
    let address = answers(answer).await;
    let (report, result) = run(&format!("url: http://{address}/")).await;
    let error = "redirected to what is no http or https URL".to_owned();
    assert_eq!(result, Err(error));
    assert_eq!(report.get("probe_http_redirects"), Some(1.0));
}

#[tokio::test]
async fn credentials_and_cookies_stay_with_the_host_they_belong_to() {
    let (heard, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let stranger = {
        let heard = heard.clone();
        server(move |mut stream, request| {
            let _ = heard.send(request);
            async move {
                let _ = stream.write_all(HELLO.as_bytes()).await;
            }
        })
        .await
    };
    // `localhost` and 127.0.0.1 are different hosts to whoever keeps a password.
    let away = format!("http://localhost:{}/", stranger.port());
    let home = server(move |mut stream, request| {
        let location = if request.contains("/first") { "/second" } else { away.as_str() };
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nSet-Cookie: seen=1; Path=/\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = heard.send(request);
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let (_, result) = run(&format!(
        "{{url: 'http://us%40er:pass@{home}/first', preferred_ip_protocol: ip4, method: POST, body: text, headers: {{X-Key: secret, Accept: text/html}}}}"
    ))
    .await;
    assert_eq!(result, Ok(()));
    let first = requests.recv().await.unwrap().to_lowercase();
    assert!(first.starts_with("post /first http/1.1\r\n"), "{first}");
    // us@er:pass
    for part in [
        "authorization: basic dxnazxi6cgfzcw==",
        "x-key: secret",
        "\r\n\r\ntext",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let second = requests.recv().await.unwrap().to_lowercase();
    assert!(second.starts_with("get /second"), "{second}");
    for part in ["authorization: ", "x-key: secret", "cookie: seen=1"] {
        assert!(second.contains(part), "{part}: {second}");
    }
    let third = requests.recv().await.unwrap().to_lowercase();
    for part in ["authorization", "secret", "cookie"] {
        assert!(!third.contains(part), "{part}: {third}");
    }
    assert!(third.contains("accept: text/html"), "{third}");
}

#[tokio::test]
async fn a_bearer_token_comes_from_a_file_and_its_absence_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let address = server(|mut stream, request| async move {
        let known = request.contains("authorization: Bearer t0ken\r\n");
        let answer = if known {
            HELLO
        } else {
            "HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n"
        };
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let yaml = format!(
        "{{url: 'http://{address}', bearer_token_file: '{}'}}",
        file.display()
    );
    let (_, result) = run(&yaml).await;
    assert!(
        result.unwrap_err().contains("token: No such file"),
        "no file yet"
    );
    std::fs::write(&file, "t0ken\n").unwrap();
    assert_eq!(run(&yaml).await.1, Ok(()));
}

#[tokio::test]
async fn a_server_that_misbehaves_costs_its_timeout_and_no_more() {
    const HANGS: &str = "no answer within 300ms";
    let short = Duration::from_millis(300);
    let hanging = silent().await;
    let half = answers("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let lying = answers("220 smtp ready\r\n").await;
    let wide = answers("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx").await;
    let endless = server(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await;
    let headers = server(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"X-More: and more and more\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let never = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    for (url, expect) in [
        (format!("http://{hanging}"), HANGS),
        (format!("https://{hanging}"), HANGS),
        (format!("ws://{hanging}"), HANGS),
        (format!("http://{half}"), "reading the body: "),
        (format!("http://{lying}"), ""),
        (format!("https://{lying}"), "TLS: "),
        (format!("ws://{half}"), "status 200, wanted 101"),
        (format!("http://{wide}"), "reading the body: "),
        (
            format!("http://{endless}"),
            "the body is larger than body_size_limit, 10485760 bytes",
        ),
        (format!("http://{headers}"), ""),
        (format!("http://{never}"), "connecting to 127.0.0.1:"),
        (format!("tcp://{never}"), "connecting to 127.0.0.1:"),
        (
            "http://no-such-host.invalid".to_owned(),
            "resolving no-such-host.invalid: ",
        ),
    ] {
        // Who hangs is given little time; the others end by themselves, however busy the machine is.
        let timeout = match expect {
            HANGS => short,
            _ => Duration::from_secs(60),
        };
        let (report, result) = run_within(&format!("url: '{url}'"), timeout).await;
        let why = result.unwrap_err();
        assert!(why.contains(expect), "{url}: {why}");
        if url.starts_with("http") {
            // Every figure is there whatever happens.
            for name in [
                "probe_http_status_code",
                "probe_http_duration_seconds",
                "probe_ip_protocol",
            ] {
                assert!(report.get(name).is_some(), "{url}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_tcp_conversation_waits_for_its_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream
                    .write_all(b"220-hello\r\n220 mail.example.org ready\r\n")
                    .await;
                let mut line = vec![0; 100];
                let length = stream.read(&mut line).await.unwrap_or(0);
                let said = String::from_utf8_lossy(&line[..length]).into_owned();
                let _ = stream
                    .write_all(format!("you said {said}").as_bytes())
                    .await;
            });
        }
    });
    let probe = |last: &str| {
        format!(
            "{{url: 'tcp://{address}', query_response: [{{expect: '^220 (\\S+)', send: 'EHLO ${{1}}'}}, {{expect: '{last}'}}]}}"
        )
    };
    let (report, result) = run(&probe("^you said EHLO mail.example.org$")).await;
    assert_eq!(result, Ok(()));
    assert_eq!(report.get("probe_failed_due_to_regex"), Some(0.0));
    let (report, result) = run(&probe("nobody")).await;
    assert!(
        result
            .unwrap_err()
            .starts_with("the connection ended before")
    );
    assert_eq!(report.get("probe_failed_due_to_regex"), Some(1.0));
}

/// A Realtime server that answers `join` with a status.
async fn realtime(status: &'static str) -> SocketAddr {
    server(move |mut stream, request| async move {
        let line = |name: &str| {
            request
                .lines()
                .find_map(|l| l.to_lowercase().starts_with(name).then(|| l[name.len()..].trim().to_owned()))
        };
        let known = request.starts_with("GET /realtime/v1/websocket?apikey=anon&vsn=1.0.0 ");
        let (true, Some(key)) = (known, line("sec-websocket-key:")) else {
            let _ = stream.write_all(b"HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n").await;
            return;
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            websocket::accept(&key)
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        for reference in ["1", "2"] {
            let mut head = [0; 4];
            if stream.read_exact(&mut head[..2]).await.is_err() {
                return;
            }
            let mut length = usize::from(head[1] & 0x7f);
            if length == 126 {
                length = usize::from(stream.read_u16().await.unwrap());
            }
            let mut masked = vec![0; 4 + length];
            stream.read_exact(&mut masked).await.unwrap();
            let (mask, payload) = masked.split_at(4);
            let text: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
            let said: serde_json::Value = serde_json::from_slice(&text).unwrap();
            if reference == "1" {
                assert_eq!(said["payload"]["access_token"], "anon");
            }
            let other = r#"{"event":"presence_state","payload":{},"ref":null,"topic":"t"}"#;
            let reply = format!(
                r#"{{"event":"phx_reply","payload":{{"response":{{}},"status":"{status}"}},"ref":"{reference}","topic":"t"}}"#
            );
            for text in [other, &reply] {
                let mut frame = vec![0x81, text.len() as u8];
                frame.extend_from_slice(text.as_bytes());
                assert!(text.len() < 126);
                let _ = stream.write_all(&frame).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn realtime_is_joined_and_its_heartbeat_answered() {
    let good = realtime("ok").await;
    let yaml = |address, key: &str| {
        format!("{{url: 'ws://{address}/realtime/v1/websocket', realtime: {{api_key: {key}}}}}")
    };
    let (report, result) = run(&yaml(good, "anon")).await;
    assert_eq!(result, Ok(()));
    for (name, value) in [
        ("probe_websocket_connection_upgraded", 1.0),
        ("probe_websocket_status_code", 101.0),
        ("probe_websocket_realtime_joined", 1.0),
    ] {
        assert_eq!(report.get(name), Some(value), "{name}");
    }
    let (report, result) = run(&yaml(good, "wrong")).await;
    assert_eq!(result, Err("status 401, wanted 101".to_owned()));
    assert_eq!(report.get("probe_websocket_connection_upgraded"), Some(0.0));
    let bad = realtime("error").await;
    let (report, result) = run(&yaml(bad, "anon")).await;
    let why = "joining the channel was answered with status \"error\"";
    assert_eq!(result, Err(why.to_owned()));
    assert_eq!(report.get("probe_websocket_realtime_joined"), Some(0.0));
}

#[tokio::test]
async fn a_dns_answer_is_counted_whoever_else_sends_datagrams() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question).await {
            let mut answer = question[..length].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            let mut forged = answer.clone();
            forged[0] ^= 0xff;
            let _ = socket.send_to(&forged, from).await;
            answer[7] = 1;
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
            let _ = socket.send_to(&answer, from).await;
        }
    });
    let (report, result) = run(&format!("url: dns://{address}/example.org")).await;
    assert_eq!(result, Ok(()));
    assert_eq!(report.get("probe_dns_answer_rrs"), Some(1.0));
    assert_eq!(report.get("probe_dns_query_succeeded"), Some(1.0));
    let (report, result) = run(&format!(
        "{{url: 'dns://{address}/example.org', valid_rcodes: [NXDOMAIN]}}"
    ))
    .await;
    assert_eq!(result, Err("the server answered NOERROR".to_owned()));
    assert_eq!(report.get("probe_dns_query_succeeded"), Some(1.0));
}

#[tokio::test]
async fn an_echo_comes_back_or_the_operator_is_told_what_to_do() {
    let (report, result) = run("url: icmp://127.0.0.1").await;
    assert!(report.get("probe_icmp_duration_seconds").is_some());
    match result {
        Ok(()) => {}
        Err(why) => assert!(why.contains("net.ipv4.ping_group_range"), "{why}"),
    }
}

#[test]
fn no_failure_shows_a_credential() {
    let config: ProbeConfig =
        serde_saphyr::from_str("{url: 'http://u:hunter2@h', bearer_token: hunter2, body: hunter2}")
            .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    for yaml in [
        "url: 'ftp://u:hunter2@h'",
        "url: 'http://u:hunter2@'",
        "url: 'tcp://u:hunter2@h'",
    ] {
        let config: ProbeConfig = serde_saphyr::from_str(yaml).unwrap();
        let why = config.check().unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }
}
