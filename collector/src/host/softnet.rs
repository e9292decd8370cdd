//! `node_softnet_*` from `/proc/net/softnet_stat`: hexadecimal, one line per CPU.

use std::io;

use super::{Host, malformed};
use crate::target::{Pass, Sink};

const COLUMNS: [(usize, &str); 7] = [
    (0, "node_softnet_processed_total"),
    (1, "node_softnet_dropped_total"),
    (2, "node_softnet_times_squeezed_total"),
    (8, "node_softnet_cpu_collision_total"),
    (9, "node_softnet_received_rps_total"),
    (10, "node_softnet_flow_limit_count_total"),
    (11, "node_softnet_backlog_len"),
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for (row, line) in host.proc("net/softnet_stat")?.lines().enumerate() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| {
            let word = words.get(at)?;
            Some(u64::from_str_radix(word, 16).map_err(|_| malformed(word)))
        };
        // Offline CPUs have no line; since 5.10 the thirteenth column says which CPU it is.
        let cpu = hex(12).transpose()?.unwrap_or(row as u64).to_string();
        for (at, name) in COLUMNS {
            if let Some(value) = hex(at).transpose()? {
                pass.put(name, &[("cpu", &cpu)], value as f64);
            }
        }
    }
    Ok(())
}
