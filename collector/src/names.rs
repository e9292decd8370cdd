//! Addresses of names, asked of the system's resolver on threads of their own.
//!
//! The resolver may take half a minute where nameservers do not answer, and cannot be told to stop.
//! On the runtime's threads for blocking work a few dead names would keep everything else waiting
//! that needs these: files of this host, the store's upkeep, health.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

/// Names asked about at a time; further ones wait, each for as long as it has.
const AT_ONCE: usize = 64;
/// Bytes of stack; the resolver's buffers are kilobytes.
const STACK_BYTES: usize = 256 << 10;

/// Bounds the threads of this process, which is one whatever runs in it.
static SEATS: Semaphore = Semaphore::const_new(AT_ONCE);

/// The addresses of a host, which may be one itself.
///
/// # Errors
/// When the resolver knows none.
pub(crate) async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let seat = SEATS.acquire().await.map_err(io::Error::other)?;
    let (tell, answer) = oneshot::channel();
    let host = host.to_owned();
    std::thread::Builder::new()
        .name("names".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            // Whoever asked may have given up.
            let _ = tell.send(found.map(Iterator::collect));
            drop(seat);
        })?;
    answer.await.map_err(io::Error::other)?
}

/// A connection to the first of a host's addresses that takes it.
///
/// # Errors
/// When there is no address, or none takes it: the last one's reason.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup(host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The same for HTTP clients.
#[derive(Debug)]
pub(crate) struct Names;

impl Names {
    pub(crate) fn shared() -> Arc<Names> {
        Arc::new(Names)
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The client puts the port in.
            let found = lookup(name.as_str(), 0).await?;
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_their_own_and_names_are_asked_about() {
        for (host, port, expect) in [("192.0.2.7", 80, "192.0.2.7:80"), ("::1", 443, "[::1]:443")] {
            let found = lookup(host, port).await.unwrap();
            assert_eq!(found, [expect.parse().unwrap()]);
        }
        let found = lookup("localhost", 5).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 5));
        assert!(!found.is_empty());
        assert!(lookup("no name at all", 1).await.is_err());
    }

    #[tokio::test]
    async fn another_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // `localhost` may be ::1 first, where nobody listens.
        connect("localhost", port).await.unwrap();
        drop(listener);
        assert!(connect("localhost", port).await.is_err());
    }
}
