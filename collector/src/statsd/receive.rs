//! The sockets.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::Received;
use crate::clock;

/// The longest packet UDP has, bytes.
const PACKET_BYTES_MAX: usize = 65_535;
/// The longest line of a TCP connection, bytes; one with a longer line is closed.
const LINE_BYTES_MAX: usize = 8 << 10;
/// TCP connections at a time; further ones are closed.
const CONNECTIONS_MAX: usize = 256;
/// A connection that says nothing for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// After this an address that is taken is tried again. It may be our own, of the configuration before.
const RETRY: Duration = Duration::from_millis(500);

/// Takes packets for ever. What comes faster is dropped by the kernel and counted there
/// (`node_netstat_Udp_RcvbufErrors`).
pub(super) async fn udp(listen: String, received: Received) {
    let record = |problem| received.lock().udp_problem = problem;
    let socket = listening(|| UdpSocket::bind(&listen), ("UDP", &listen), record).await;
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        // An error is of one packet that we did not send: there is nothing to do about it.
        if let Ok((length, _)) = socket.recv_from(&mut packet).await {
            received.lock().counts.udp_packets += 1;
            received.take(&packet[..length], clock::now());
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes connections for ever.
pub(super) async fn tcp(listen: String, received: Received) {
    let record = |problem| received.lock().tcp_problem = problem;
    let listener = listening(|| TcpListener::bind(&listen), ("TCP", &listen), record).await;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    received.lock().counts.tcp_connections += 1;
                    connections.spawn(connection(stream, received.clone()));
                }
                Ok(_) => received.lock().counts.tcp_errors += 1,
                Err(_) => {
                    received.lock().counts.tcp_errors += 1;
                    // Out of descriptors, most likely.
                    tokio::time::sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut stream: TcpStream, received: Received) {
    let mut buffer = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        match tokio::time::timeout(IDLE_MAX, stream.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => break received.take(&buffer, clock::now()),
            Ok(Ok(_)) => {}
            Ok(Err(_)) => break received.lock().counts.tcp_errors += 1,
            Err(_) => break,
        }
        if let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') {
            received.take(&buffer[..end], clock::now());
            buffer.drain(..=end);
        }
        if buffer.len() >= LINE_BYTES_MAX {
            break received.lock().counts.tcp_long_lines += 1;
        }
    }
}

/// Tries to listen until it does; `record` hears why it does not.
async fn listening<T, F: Future<Output = std::io::Result<T>>>(
    bind: impl Fn() -> F,
    (protocol, listen): (&str, &str),
    record: impl Fn(Option<String>),
) -> T {
    let mut tries = 0;
    loop {
        match bind().await {
            Ok(socket) => {
                record(None);
                return socket;
            }
            // Our own socket of the configuration before is closed in a moment.
            Err(_) if tries == 0 => {}
            Err(error) => {
                let problem = format!("cannot listen on {listen} by {protocol}: {error}");
                if tries == 1 {
                    tracing::warn!(problem, "statsd");
                }
                record(Some(problem));
            }
        }
        tries += 1;
        tokio::time::sleep(RETRY).await;
    }
}
