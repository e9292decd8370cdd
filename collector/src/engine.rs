//! A client for the Docker Engine API: the few endpoints we use, over a Unix socket or plain TCP.
//!
//! Paths carry no version: every engine then answers in its own newest dialect, and neither
//! "client version is too new" nor "too old" can happen. Each request has its own connection;
//! on a local socket that costs less than keeping one alive would.

mod client;
mod stats;
mod types;

pub use client::{ByteStream, Engine, EngineError, JsonLines, nanos_param};
pub use stats::{
    BlkioEntry, BlkioStats, ContainerStats, CpuStats, CpuUsage, MemoryStats, NetworkStats,
    PidsStats, Throttling,
};
pub use types::{
    Actor, Attachment, ContainerConfig, ContainerDetail, ContainerState, ContainerSummary,
    Environment, Event, Health, HealthStatus, HostConfig, ImageDetail, Info, LogConfig, Network,
    NetworkSettings, Port, Version, join_host_port,
};
