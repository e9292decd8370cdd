//! `node_network_{receive,transmit}_*` from `/proc/net/dev`.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

/// Columns after the device's name.
const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for (device, values) in devices(&host.proc_net("dev")?) {
        if host.filters.netdevs.is_match(device) {
            continue;
        }
        for (name, value) in COLUMNS.iter().zip(values) {
            pass.put(name, &[("device", device)], number(value)?);
        }
    }
    Ok(())
}

/// Devices of a `net/dev` file with their sixteen counters.
pub(crate) fn devices(
    text: &str,
) -> impl Iterator<Item = (&str, std::str::SplitAsciiWhitespace<'_>)> {
    text.lines().skip(2).filter_map(|line| {
        let (device, values) = line.split_once(':')?;
        Some((device.trim(), values.split_ascii_whitespace()))
    })
}
