//! `node_load1`, `node_load5`, `node_load15` from `/proc/loadavg`.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let text = host.proc("loadavg")?;
    let names = ["node_load1", "node_load5", "node_load15"];
    for (name, value) in names.iter().zip(text.split(' ')) {
        pass.put(name, &[], number(value)?);
    }
    Ok(())
}
