//! Whose request it is, for taking turns.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Longest forwarded address looked at, in bytes; an IPv6 address has 45.
const FORWARDED_BYTES_MAX: usize = 64;

/// The address of a connection's other end; the server puts it beside each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A client: its address, or the one a proxy on this machine forwards for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client(String);

impl Client {
    pub(super) fn key(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn named(name: &str) -> Client {
        Client(name.to_owned())
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
        Ok(Client(
            forwarded.map_or_else(|| peer.to_string(), str::to_owned),
        ))
    }
}
