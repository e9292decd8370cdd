//! The road from a running container to a page at night, with real parts.
//! Begin with `scrape_to_notification.rs`: it is the best introduction to the system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

mod api_differential;
mod backup;
mod bad_input;
mod check_metrics;
mod containers;
mod coverage;
mod crash;
mod crowd;
mod discovery;
mod disk_full;
mod engine;
mod grafana_loki;
mod host;
mod journal;
mod log_files;
mod log_metrics;
mod log_receivers;
mod log_tail;
mod logs;
mod nginx;
mod other_tools;
mod postgres;
mod probes;
mod promql_differential;
mod push;
mod redis;
mod restart;
mod rollups;
mod scrape_to_notification;
mod statsd;
mod syslog;
mod systemd;
mod trust;
mod tsdb_tools;
mod wire;
