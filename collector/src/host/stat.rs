//! What else `/proc/stat` tells.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

const LINES: [(&str, &str); 6] = [
    ("intr", "node_intr_total"),
    ("ctxt", "node_context_switches_total"),
    ("btime", "node_boot_time_seconds"),
    ("processes", "node_forks_total"),
    ("procs_running", "node_procs_running"),
    ("procs_blocked", "node_procs_blocked"),
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for line in host.proc("stat")?.lines() {
        let mut words = line.split(' ');
        let key = words.next().unwrap_or("");
        if let (Some((_, name)), Some(value)) =
            (LINES.iter().find(|(k, _)| *k == key), words.next())
        {
            pass.put(name, &[], number(value)?);
        }
    }
    Ok(())
}
