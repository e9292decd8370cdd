//! `node_nf_conntrack_*`: entries and limit.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

const FILES: [(&str, &str); 2] = [
    ("nf_conntrack_count", "node_nf_conntrack_entries"),
    ("nf_conntrack_max", "node_nf_conntrack_entries_limit"),
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for (file, name) in FILES {
        let text = host.proc(&format!("sys/net/netfilter/{file}"))?;
        pass.put(name, &[], number(text.trim())?);
    }
    Ok(())
}
