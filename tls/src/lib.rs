//! Whom our clients trust: TLS of every outgoing connection, on rustls with ring.
//!
//! Every client that may speak TLS is made with a [`Client`], HTTP without TLS included: this
//! machine's certificates are read when a handshake needs them and not before.

mod certificate;
mod client;
mod roots;
mod verifier;

pub use certificate::{Certificate, chain_expiry, earliest_expiry};
pub use client::{Client, TlsError};
pub use roots::{Roots, SystemRoots};
pub use verifier::{Trust, Verifier};

/// Bytes as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
