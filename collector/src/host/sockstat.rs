//! `node_sockstat_*` from `/proc/net/{sockstat,sockstat6}`.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let page = rustix::param::page_size() as f64;
    let mut text = host.proc_net("sockstat")?;
    text.push_str(&host.proc_net("sockstat6").unwrap_or_default());
    for line in text.lines() {
        let Some((protocol, rest)) = line.split_once(": ") else {
            continue;
        };
        let mut words = rest.split(' ');
        while let (Some(key), Some(value)) = (words.next(), words.next()) {
            let name = format!("node_sockstat_{protocol}_{key}");
            let value = number(value)?;
            pass.put(&name, &[], value);
            // Counted in pages.
            if key == "mem" {
                pass.put(&format!("{name}_bytes"), &[], value * page);
            }
        }
    }
    Ok(())
}
