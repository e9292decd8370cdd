//! `node_disk_*` from `/proc/diskstats`.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

/// The kernel counts sectors of this size whatever the device's.
const SECTOR_BYTES: f64 = 512.0;
const MILLIS: f64 = 0.001;

/// Columns from the fourth on, with the factor to the unit in the name.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", MILLIS),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", MILLIS),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", MILLIS),
    ("node_disk_io_time_weighted_seconds_total", MILLIS),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", MILLIS),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", MILLIS),
];

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    for line in host.proc("diskstats")?.lines() {
        let mut words = line.split_ascii_whitespace().skip(2);
        let Some(device) = words.next() else {
            continue;
        };
        if host.filters.disks.is_match(device) {
            continue;
        }
        for ((name, factor), value) in COLUMNS.iter().zip(words) {
            pass.put(name, &[("device", device)], number(value)? * factor);
        }
    }
    Ok(())
}
