//! `rules/packs/host.yml`.

use crate::scene::{Line, always, check, container, fires, quiet, rate, step};

macro_rules! cpu {
    ($mode:literal) => {
        concat!(
            "node_cpu_seconds_total{job=\"node\",instance=\"h\",cpu=\"0\",mode=\"",
            $mode,
            "\"}"
        )
    };
}

macro_rules! host {
    ($name:literal) => {
        concat!($name, "{job=\"node\",instance=\"h\"}")
    };
}

macro_rules! disk {
    ($name:literal) => {
        concat!(
            $name,
            "{job=\"node\",instance=\"h\",device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/\"}"
        )
    };
}

#[test]
fn host_cpu() {
    check(
        "HostHighCpu",
        25,
        vec![
            (cpu!("idle"), rate(0.02)),
            (cpu!("user"), rate(0.98)),
            (cpu!("iowait"), rate(0.0)),
        ],
        vec![
            (cpu!("idle"), rate(0.5)),
            (cpu!("user"), rate(0.5)),
            (cpu!("iowait"), rate(0.0)),
        ],
    );
    quiet(
        "HostHighCpu",
        25,
        vec![(cpu!("idle"), rate(0.02)), (cpu!("iowait"), rate(0.95))],
    );
    check(
        "HostCpuSteal",
        25,
        vec![(cpu!("steal"), rate(0.2))],
        vec![(cpu!("steal"), rate(0.02))],
    );
    check(
        "HostHighIowait",
        25,
        vec![(cpu!("iowait"), rate(0.4))],
        vec![(cpu!("iowait"), rate(0.1))],
    );
}

#[test]
fn host_memory() {
    let memory = |available: f64| -> Vec<Line> {
        vec![
            (host!("node_memory_MemAvailable_bytes"), always(available)),
            (host!("node_memory_MemTotal_bytes"), always(100.0)),
        ]
    };
    check("HostMemoryLow", 10, memory(8.0), memory(50.0));
    check("HostMemoryCritical", 10, memory(3.0), memory(8.0));
    let swap = |pages: f64| -> Vec<Line> {
        vec![
            (host!("node_vmstat_pswpin"), rate(pages)),
            (host!("node_vmstat_pswpout"), rate(pages)),
        ]
    };
    check("HostSwapThrash", 20, swap(800.0), swap(10.0));
    check(
        "HostOomKill",
        20,
        vec![(host!("node_vmstat_oom_kill"), step(600.0, 3.0, 4.0))],
        vec![(host!("node_vmstat_oom_kill"), always(3.0))],
    );
    // The victim was a container, which ContainerOomKilled reports.
    quiet(
        "HostOomKill",
        20,
        vec![
            (host!("node_vmstat_oom_kill"), step(600.0, 3.0, 4.0)),
            (
                container!("container_oom_events_total"),
                step(595.0, 0.0, 1.0),
            ),
        ],
    );
}

#[test]
fn host_disks() {
    let space = |avail: f64| -> Vec<Line> {
        vec![
            (disk!("node_filesystem_avail_bytes"), always(avail)),
            (disk!("node_filesystem_size_bytes"), always(100.0)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostDiskLow", 15, space(10.0), space(50.0));
    check("HostDiskCritical", 10, space(3.0), space(10.0));
    quiet(
        "HostDiskLow",
        15,
        vec![
            (
                "node_filesystem_avail_bytes{job=\"node\",fstype=\"squashfs\"}",
                always(0.0),
            ),
            (
                "node_filesystem_size_bytes{job=\"node\",fstype=\"squashfs\"}",
                always(100.0),
            ),
        ],
    );
    let falling = |per_hour: f64| -> Vec<Line> {
        vec![
            (
                disk!("node_filesystem_avail_bytes"),
                Box::new(move |t| Some(30e9 - t / 3600.0 * per_hour)),
            ),
            (disk!("node_filesystem_size_bytes"), always(100e9)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostDiskFillsIn24h", 300, falling(3e9), falling(0.1e9));
    quiet("HostDiskFillsIn24h", 90, falling(3e9));
    // An image was pulled.
    quiet(
        "HostDiskFillsIn24h",
        600,
        vec![
            (
                disk!("node_filesystem_avail_bytes"),
                Box::new(|t| Some(30e9 - ((t - 14_400.0) * 1e7).clamp(0.0, 6e9))),
            ),
            (disk!("node_filesystem_size_bytes"), always(100e9)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ],
    );
    let inodes = |free: f64, all: f64| -> Vec<Line> {
        vec![
            (disk!("node_filesystem_files_free"), always(free)),
            (disk!("node_filesystem_files"), always(all)),
            (disk!("node_filesystem_readonly"), always(0.0)),
        ]
    };
    check("HostInodesLow", 15, inodes(5.0, 100.0), inodes(50.0, 100.0));
    quiet("HostInodesLow", 15, inodes(0.0, 0.0));
    check(
        "HostFilesystemReadonly",
        20,
        vec![(disk!("node_filesystem_readonly"), step(600.0, 0.0, 1.0))],
        vec![(disk!("node_filesystem_readonly"), always(1.0))],
    );
    let busy = |share: f64| -> Vec<Line> {
        vec![(
            "node_disk_io_time_seconds_total{job=\"node\",instance=\"h\",device=\"vda\"}",
            rate(share),
        )]
    };
    check("HostDiskIoSaturated", 25, busy(0.99), busy(0.5));
}

#[test]
fn host_kernel() {
    let table = |entries: f64| -> Vec<Line> {
        vec![
            (host!("node_nf_conntrack_entries"), always(entries)),
            (host!("node_nf_conntrack_entries_limit"), always(100.0)),
        ]
    };
    check("HostConntrackNearLimit", 10, table(90.0), table(10.0));
    let clock = |synced: f64, offset: f64| -> Vec<Line> {
        vec![
            (host!("node_timex_sync_status"), always(synced)),
            (host!("node_timex_offset_seconds"), always(offset)),
        ]
    };
    check("HostClockUnsynced", 15, clock(0.0, 0.0), clock(1.0, 0.001));
    fires("HostClockUnsynced", 15, clock(1.0, -0.2));
}
