//! WebSocket (RFC 6455): the upgrade, a conversation in messages, and whether Supabase Realtime
//! lets us join a channel and answers a heartbeat.

mod frame;
mod realtime;
mod sha1;

use std::net::SocketAddr;

use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::http::{self, Request, Stream};
use super::report::Report;
use super::tcp::{filled, regex};
use super::{Failure, Probe, dial, tls};
use frame::Messages;

pub(super) async fn probe(probe: &Probe, report: &mut Report) -> Result<(), Failure> {
    report.set("probe_websocket_connection_upgraded", 0.0);
    report.set("probe_websocket_status_code", 0.0);
    let host = probe.url.host_str().unwrap_or_default();
    let (ip, _) = dial::resolve(&probe.config, host, report).await?;
    let port = probe.url.port_or_known_default().unwrap_or(80);
    let mut stream: Box<dyn Stream> = Box::new(dial::connect(SocketAddr::new(ip, port)).await?);
    let mut shown = None;
    if probe.url.scheme() == "wss" {
        let (connected, seen) =
            tls::handshake(stream, host, &probe.config.tls_config, &probe.system).await;
        seen.tell(report);
        stream = Box::new(connected?);
        shown = Some(seen);
    }
    let key = key();
    let mut request = Request::new(probe).await?;
    let joining = match &probe.config.realtime {
        Some(config) => Some(realtime::Joining::new(config, &mut request.url).await?),
        None => None,
    };
    let mut upgrade = request.build()?;
    let headers = upgrade.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert("sec-websocket-key", key);
    }
    let answer = http::exchange(stream, upgrade, shown).await?;
    let status = answer.response.status();
    report.set("probe_websocket_status_code", f64::from(status.as_u16()));
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let why = format!("status {}, wanted 101", status.as_u16());
        return Err(Failure::Unwanted(why));
    }
    let accepted = answer.response.headers().get("sec-websocket-accept");
    if accepted.map(HeaderValue::as_bytes) != Some(accept(&key).as_bytes()) {
        return Err(Failure::Protocol(
            "the answer to the upgrade does not fit the question".to_owned(),
        ));
    }
    report.set("probe_websocket_connection_upgraded", 1.0);
    let http::Answer {
        response, driver, ..
    } = answer;
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|e| Failure::Protocol(crate::scrape::chain(&e)))?;
    let mut messages = Messages::new(TokioIo::new(upgraded));
    converse(probe, &mut messages, report).await?;
    if let Some(joining) = joining {
        let started = Instant::now();
        report.set("probe_websocket_realtime_joined", 0.0);
        joining.join(&mut messages).await?;
        report.set("probe_websocket_realtime_joined", 1.0);
        let took = started.elapsed().as_secs_f64();
        report.add_phase("probe_websocket_realtime_duration_seconds", "join", took);
        let started = Instant::now();
        realtime::heartbeat(&mut messages).await?;
        let took = started.elapsed().as_secs_f64();
        report.add_phase(
            "probe_websocket_realtime_duration_seconds",
            "heartbeat",
            took,
        );
    }
    messages.close().await;
    drop(driver);
    Ok(())
}

async fn converse<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    probe: &Probe,
    messages: &mut Messages<S>,
    report: &mut Report,
) -> Result<(), Failure> {
    const FAILED: &str = "probe_websocket_failed_due_to_regex";
    if !probe.config.query_response.is_empty() {
        report.set(FAILED, 0.0);
    }
    for step in &probe.config.query_response {
        let mut send = step.send.as_ref().map(|s| s.0.clone());
        if let Some(expect) = &step.expect {
            let expect = regex(expect)?;
            let message = messages.next().await?;
            if !expect.is_match(&message) {
                report.set(FAILED, 1.0);
                let why = format!("a message does not match {:?}", expect.as_str());
                return Err(Failure::Unwanted(why));
            }
            send = filled(&expect, &message, send);
        }
        if let Some(text) = send {
            messages.send(&text).await?;
        }
    }
    Ok(())
}

/// 16 bytes that no cache has seen, as the protocol wants them. They keep nothing secret.
fn key() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(frame::fresh().to_le_bytes())
}

/// What a server must answer to a client's `Sec-WebSocket-Key`.
#[must_use]
pub fn accept(key: &str) -> String {
    use base64::Engine as _;
    const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let digest = sha1::digest(format!("{key}{GUID}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let accepted = accept("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
