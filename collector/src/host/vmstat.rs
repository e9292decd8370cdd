//! `node_vmstat_*` from `/proc/vmstat`: the fields node_exporter takes by default.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let mut name = String::new();
    for line in host.proc("vmstat")?.lines() {
        let Some((key, value)) = line.split_once(' ') else {
            continue;
        };
        let wanted = key == "oom_kill"
            || ["pgpg", "pswp"].iter().any(|p| key.starts_with(p))
            || matches!(key, "pgfault" | "pgmajfault");
        if wanted {
            name.clear();
            name.push_str("node_vmstat_");
            name.push_str(key);
            pass.put(&name, &[], number(value)?);
        }
    }
    Ok(())
}
