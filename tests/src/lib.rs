//! The outside world of an end-to-end test: the real binary, a real Docker engine, a real SMTP
//! server, and HTTP sinks that remember what they were sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a harness fails loudly; it is no product code"
)]

pub mod cargo;
pub mod crash;
pub mod docker;
pub mod engine;
pub mod http;
pub mod log_reader;
pub mod postgres;
pub mod protobuf;
pub mod redis;
pub mod remote_write;
pub mod series;
pub mod sink;
pub mod smtp;
pub mod stackwatch;
pub mod systemd;

use std::time::{Duration, Instant};

/// Waits until `probe` gives something, looking every 50 ms.
///
/// # Panics
/// After `limit`, naming what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says why a test does not run here. CI treats it as a failure: its machine must have everything.
///
/// # Panics
/// When the environment says CI.
#[track_caller]
pub fn skipped(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("CI").is_none(), "CI must not skip: {why}");
}
