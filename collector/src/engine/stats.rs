//! What the engine says that a container uses, reduced to what we read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::types::null_as_default;

/// Answer to `GET /containers/{id}/stats?stream=false`. Which figures there are depends on the
/// version of the engine's control groups.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStats {
    /// Of its control group.
    #[serde(deserialize_with = "null_as_default")]
    pub pids_stats: PidsStats,
    /// Times.
    #[serde(deserialize_with = "null_as_default")]
    pub cpu_stats: CpuStats,
    /// Bytes.
    #[serde(deserialize_with = "null_as_default")]
    pub memory_stats: MemoryStats,
    /// Block devices.
    #[serde(deserialize_with = "null_as_default")]
    pub blkio_stats: BlkioStats,
    /// By device; none in the host's network.
    #[serde(deserialize_with = "null_as_default")]
    pub networks: BTreeMap<String, NetworkStats>,
}

/// `pids_stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Threads.
    pub current: Option<f64>,
}

/// `cpu_stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// What was used.
    pub cpu_usage: CpuUsage,
    /// What was withheld.
    pub throttling_data: Throttling,
}

/// Nanoseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// In all.
    pub total_usage: Option<f64>,
    /// For the kernel.
    pub usage_in_kernelmode: Option<f64>,
    /// For programs.
    pub usage_in_usermode: Option<f64>,
}

/// By a quota.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Throttling {
    /// There were.
    pub periods: Option<f64>,
    /// In which it had to wait.
    pub throttled_periods: Option<f64>,
    /// Nanoseconds.
    pub throttled_time: Option<f64>,
}

/// `memory_stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// Bytes, cache included.
    pub usage: Option<f64>,
    /// The most there was.
    pub max_usage: Option<f64>,
    /// Times the limit was hit.
    pub failcnt: Option<f64>,
    /// The kernel's `memory.stat`.
    #[serde(deserialize_with = "null_as_default")]
    pub stats: BTreeMap<String, f64>,
}

/// `blkio_stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BlkioStats {
    /// Bytes by device and operation.
    #[serde(deserialize_with = "null_as_default")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(deserialize_with = "null_as_default")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
}

/// One figure of a block device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    /// Its number,
    pub major: u64,
    /// in two parts.
    pub minor: u64,
    /// `Read`, `write`, …
    pub op: String,
    /// So much.
    pub value: f64,
}

/// One of `networks`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetworkStats {
    /// Received.
    pub rx_bytes: f64,
    /// Received.
    pub rx_packets: f64,
    /// Received.
    pub rx_errors: f64,
    /// Received.
    pub rx_dropped: f64,
    /// Sent.
    pub tx_bytes: f64,
    /// Sent.
    pub tx_packets: f64,
    /// Sent.
    pub tx_errors: f64,
    /// Sent.
    pub tx_dropped: f64,
}
