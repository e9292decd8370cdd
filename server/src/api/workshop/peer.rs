//! Whose request it is, for taking turns.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::Notify;

/// Longest forwarded address looked at, in bytes; an IPv6 address has 45.
const FORWARDED_BYTES_MAX: usize = 64;

/// The address of a connection's other end; the server puts it beside each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Where a connection is shown out; the server puts it beside each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door(Arc<Notify>);

impl Door {
    /// Ends the connection.
    pub(crate) fn show(&self) {
        self.0.notify_one();
    }

    /// Done when the connection is to end.
    pub(crate) async fn shown(&self) {
        self.0.notified().await;
    }
}

/// A client: its address, or the one a proxy on this machine forwards for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    name: String,
    door: Door,
}

impl Client {
    pub(super) fn key(&self) -> &str {
        &self.name
    }

    /// Of the connection its request came by.
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }

    #[cfg(test)]
    pub(super) fn named(name: &str) -> Client {
        Client {
            name: name.to_owned(),
            door: Door::default(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let Some(Peer(peer)) = parts.extensions.get::<Peer>() else {
            return Ok(Client::default());
        };
        // Anybody can write this header; only a proxy beside us is believed, and its own
        // entry is the last.
        let forwarded = parts
            .headers
            .get("x-forwarded-for")
            .filter(|_| peer.is_loopback())
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.rsplit(',').next())
            .map(str::trim)
            .filter(|v| !v.is_empty() && v.len() <= FORWARDED_BYTES_MAX);
        Ok(Client {
            name: forwarded.map_or_else(|| peer.to_string(), str::to_owned),
            door: parts.extensions.get().cloned().unwrap_or_default(),
        })
    }
}
