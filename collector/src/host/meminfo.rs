//! `node_memory_*` from `/proc/meminfo`, every line.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let mut name = String::new();
    for line in host.proc("meminfo")?.lines() {
        let Some((key, rest)) = line.split_once(':') else {
            continue;
        };
        let mut words = rest.split_ascii_whitespace();
        let Some(value) = words.next() else {
            continue;
        };
        name.clear();
        name.push_str("node_memory_");
        // `Active(anon)` becomes `Active_anon`.
        for c in key.chars() {
            match c {
                '(' => name.push('_'),
                ')' => {}
                c => name.push(c),
            }
        }
        let mut value = number(value)?;
        if words.next() == Some("kB") {
            value *= 1024.0;
            name.push_str("_bytes");
        }
        pass.put(&name, &[], value);
    }
    Ok(())
}
