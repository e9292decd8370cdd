//! TCP, plain (`tcp://`) or with TLS (`tls://`), and a conversation in lines over it.

use std::net::SocketAddr;

use model::Regex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::config::{Prober, QueryResponse};
use super::report::Report;
use super::{Failure, Probe, dial, tls};

/// Bytes read in one conversation at most.
const READ_BYTES_MAX: u64 = 1 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) async fn probe(probe: &Probe, report: &mut Report) -> Result<(), Failure> {
    report.set("probe_failed_due_to_regex", 0.0);
    let host = probe.url.host_str().unwrap_or_default();
    let (ip, _) = dial::resolve(&probe.config, host, report).await?;
    let port = probe.url.port().unwrap_or_default();
    let plain = dial::connect(SocketAddr::new(ip, port)).await?;
    let mut stream: Box<dyn Stream> = Box::new(plain);
    if probe.prober == Prober::Tls {
        stream = secure(stream, probe, report).await?;
    }
    let mut conversation = reader(stream);
    for step in &probe.config.query_response {
        let answer = exchange(&mut conversation, step, report).await?;
        if let Some(line) = answer {
            send(&mut conversation, &line).await?;
        }
        if step.starttls {
            // What came before the handshake is no part of it.
            let stream = conversation.into_inner().into_inner();
            conversation = reader(secure(stream, probe, report).await?);
        }
    }
    Ok(())
}

type Conversation = BufReader<tokio::io::Take<Box<dyn Stream>>>;

fn reader(stream: Box<dyn Stream>) -> Conversation {
    BufReader::new(stream.take(READ_BYTES_MAX))
}

async fn secure(
    stream: Box<dyn Stream>,
    probe: &Probe,
    report: &mut Report,
) -> Result<Box<dyn Stream>, Failure> {
    let host = probe.url.host_str().unwrap_or_default();
    let (connected, seen) =
        tls::handshake(stream, host, &probe.config.tls_config, &probe.system).await;
    seen.tell(report);
    Ok(Box::new(connected?))
}

/// Waits for the line a step expects; what to say then.
async fn exchange(
    conversation: &mut Conversation,
    step: &QueryResponse,
    report: &mut Report,
) -> Result<Option<String>, Failure> {
    let send = step.send.as_ref().map(|s| s.0.clone());
    let Some(expect) = &step.expect else {
        return Ok(send);
    };
    let expect = regex(expect)?;
    loop {
        let mut line = Vec::new();
        let read = conversation.read_until(b'\n', &mut line).await;
        if read.map_err(Failure::io("reading"))? == 0 {
            report.set("probe_failed_due_to_regex", 1.0);
            return Err(Failure::Unwanted(format!(
                "the connection ended before a line matched {:?}",
                expect.as_str()
            )));
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n').trim_end_matches('\r');
        if expect.is_match(text) {
            report.set("probe_failed_due_to_regex", 0.0);
            return Ok(filled(&expect, text, send));
        }
    }
}

/// What to send, with the groups of the match filled in.
pub(super) fn filled(expect: &Regex, text: &str, send: Option<String>) -> Option<String> {
    let send = send?;
    Some(expect.expand(text, &send).unwrap_or(send))
}

/// The expression; it was compiled when the configuration was checked.
pub(super) fn regex(pattern: &str) -> Result<Regex, Failure> {
    Regex::unanchored(pattern).map_err(|e| Failure::Unwanted(format!("{pattern:?}: {e}")))
}

async fn send(conversation: &mut Conversation, line: &str) -> Result<(), Failure> {
    let stream = conversation.get_mut().get_mut();
    let line = format!("{line}\n");
    let sent = stream.write_all(line.as_bytes()).await;
    sent.map_err(Failure::io("sending"))?;
    stream.flush().await.map_err(Failure::io("sending"))
}
