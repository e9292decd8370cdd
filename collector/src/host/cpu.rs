//! `node_cpu_*` from `/proc/stat`.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

/// Kernel ticks per second as user space sees them, on every architecture Docker runs on.
pub(crate) const USER_HZ: f64 = 100.0;

const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for line in host.proc("stat")?.lines() {
        let Some(rest) = line.strip_prefix("cpu") else {
            // The per-CPU lines come first.
            break;
        };
        let mut words = rest.split(' ');
        let cpu = words.next().unwrap_or("");
        if cpu.is_empty() {
            continue;
        }
        for mode in MODES {
            if let Some(ticks) = words.next() {
                let labels = [("cpu", cpu), ("mode", mode)];
                pass.put("node_cpu_seconds_total", &labels, number(ticks)? / USER_HZ);
            }
        }
        for mode in ["user", "nice"] {
            if let Some(ticks) = words.next() {
                let labels = [("cpu", cpu), ("mode", mode)];
                let seconds = number(ticks)? / USER_HZ;
                pass.put("node_cpu_guest_seconds_total", &labels, seconds);
            }
        }
    }
    Ok(())
}
