//! Receives syslog messages: RFC 5424 and RFC 3164, over UDP and TCP.

mod config;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod message;
mod streams;

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::SyslogConfig;
use framing::{Frame, Framer, MESSAGE_BYTES_MAX};
use streams::Streams;

use super::sources::Context;
use crate::clock;

/// In the status.
pub(super) const NAME: &str = "syslog";
/// A message waits at most this long for company in its batch.
const BATCH_DELAY: Duration = Duration::from_millis(250);
/// Batches are due at this size, whatever their age.
const BATCH_BYTES: usize = 256 * 1024;
/// Connections at once; further ones wait to be taken.
const CONNECTIONS_MAX: usize = 256;
/// Messages of connections that wait to be taken apart; beyond, connections are not read.
const FRAMES_MAX: usize = 128;
/// A connection over which nothing comes for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Waits before an address that could not be had is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Listens until dropped. What was received and not handed on then is lost, as it is when a datagram
/// comes while the store is slow: the protocol has no answers.
pub(super) async fn run(context: Context, configs: Vec<SyslogConfig>) {
    let mut listeners = JoinSet::new();
    for config in configs {
        listeners.spawn(listen(context.clone(), config));
    }
    // None ends by itself but by a panic; all are started again then.
    let _ = listeners.join_next().await;
}

async fn listen(context: Context, config: SyslogConfig) {
    loop {
        let address = &config.listen;
        match bind(&config).await {
            Ok(sockets) => {
                if context.status.set_source(NAME, Ok(())) {
                    tracing::info!(address, "listening for syslog messages");
                }
                return serve(&context, &config, sockets).await;
            }
            Err(e) => {
                let problem = format!("{address}: {e}");
                if context.status.set_source(NAME, Err(problem.clone())) {
                    tracing::warn!(problem, "nobody listens for syslog messages");
                }
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

type Sockets = (Option<UdpSocket>, Option<TcpListener>);

async fn bind(config: &SyslogConfig) -> io::Result<Sockets> {
    // A port without a host is one on every address, as elsewhere.
    let address = match config.listen.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => config.listen.clone(),
    };
    let udp = match config.udp {
        true => Some(UdpSocket::bind(&address).await?),
        false => None,
    };
    let tcp = match config.tcp {
        true => Some(TcpListener::bind(&address).await?),
        false => None,
    };
    Ok((udp, tcp))
}

async fn serve(context: &Context, config: &SyslogConfig, (udp, tcp): Sockets) {
    let lines = context.lines(NAME);
    let mut streams = Streams::new(config.clone(), context.host.clone(), lines);
    let (send, mut frames) = mpsc::channel(FRAMES_MAX);
    let mut connections = JoinSet::new();
    let mut datagram = vec![0; MESSAGE_BYTES_MAX];
    let mut flush_at: Option<Instant> = None;
    loop {
        tokio::select! {
            received = receive(udp.as_ref(), &mut datagram) => match received {
                Ok(count) => streams.push(&datagram[..count], false, now_ns()),
                // Of an earlier answer that nobody took; there is none.
                Err(_) => tokio::task::yield_now().await,
            },
            accepted = accept(tcp.as_ref()), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(stream) => drop(connections.spawn(connection(stream, send.clone()))),
                // Out of descriptors: others may close.
                Err(_) => tokio::time::sleep(BATCH_DELAY).await,
            },
            Some(_) = connections.join_next() => {}
            Some(Frame { bytes, truncated }) = frames.recv() => {
                streams.push(&bytes, truncated, now_ns());
            }
            () = tokio::time::sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
        }
        let due = flush_at.is_some_and(|at| at <= Instant::now());
        if due || streams.bytes() >= BATCH_BYTES {
            for batch in streams.take() {
                // Meanwhile connections wait, and the kernel keeps what datagrams it can.
                if context.out.send(batch).await.is_err() {
                    return;
                }
            }
        }
        flush_at = match streams.bytes() {
            0 => None,
            _ => flush_at
                .filter(|_| !due)
                .or_else(|| Some(Instant::now() + BATCH_DELAY)),
        };
    }
}

async fn receive(socket: Option<&UdpSocket>, datagram: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(datagram).await,
        None => std::future::pending().await,
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Takes a connection's messages until it ends, is silent for long, or nobody wants them.
async fn connection(mut stream: TcpStream, frames: mpsc::Sender<Frame>) {
    let mut framer = Framer::default();
    let mut buffer = vec![0; 16 * 1024];
    let mut whole = Vec::new();
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(IDLE_MAX, stream.read(&mut buffer)).await {
        framer.push(&buffer[..count], |frame| whole.push(frame));
        for frame in whole.drain(..) {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    }
    if let Some(last) = framer.finish() {
        let _ = frames.send(last).await;
    }
}

fn now_ns() -> i64 {
    clock::now().millis().saturating_mul(1_000_000)
}
