//! What a cgroup uses, under cAdvisor's names.

use crate::target::Sink;

use super::cgroup::Usage;

impl Usage {
    /// Adds every figure with the labels that say whose it is.
    pub(super) fn put(&self, of: &[(&str, &str)], at_seconds: f64, sink: &mut impl Sink) {
        // Whole seconds, as cAdvisor.
        sink.put("container_last_seen", of, at_seconds.floor());
        for (name, value) in self.plain() {
            if let Some(value) = value {
                sink.put(name, of, value);
            }
        }
        let mut put = |name: &str, extra: &[(&str, &str)], value: f64| {
            let all = [of, extra].concat();
            sink.put(name, &all, value);
        };
        if let Some(seconds) = self.cpu.usage {
            let cpu = [("cpu", "total")];
            put("container_cpu_usage_seconds_total", &cpu, seconds);
        }
        for (kind, value) in [
            ("pgfault", self.memory.page_faults),
            ("pgmajfault", self.memory.major_page_faults),
        ] {
            if let Some(value) = value {
                let extra = [("failure_type", kind), ("scope", "hierarchy")];
                put("container_memory_failures_total", &extra, value);
            }
        }
        for io in &self.blocks {
            let device = [("device", io.device.as_str())];
            put("container_fs_reads_bytes_total", &device, io.read_bytes);
            put("container_fs_writes_bytes_total", &device, io.written_bytes);
            put("container_fs_reads_total", &device, io.reads);
            put("container_fs_writes_total", &device, io.writes);
            let (major, minor) = &io.number;
            for (operation, bytes) in [("Read", io.read_bytes), ("Write", io.written_bytes)] {
                let extra = [
                    device[0],
                    ("major", major.as_str()),
                    ("minor", minor.as_str()),
                    ("operation", operation),
                ];
                put("container_blkio_device_usage_total", &extra, bytes);
            }
        }
        for network in &self.networks {
            let interface = [("interface", network.interface.as_str())];
            let received = RECEIVED.iter().zip(network.received);
            let transmitted = TRANSMITTED.iter().zip(network.transmitted);
            for (name, value) in received.chain(transmitted) {
                put(name, &interface, value);
            }
        }
        for (what, some, full) in &self.pressure {
            for (kind, seconds) in [("waiting", some), ("stalled", full)] {
                if let Some(seconds) = seconds {
                    let name = format!("container_pressure_{what}_{kind}_seconds_total");
                    put(&name, &[], *seconds);
                }
            }
        }
    }

    /// The figures that have no label of their own.
    fn plain(&self) -> [(&'static str, Option<f64>); 24] {
        let (bounds, cpu, memory) = (&self.bounds, &self.cpu, &self.memory);
        [
            ("container_cpu_user_seconds_total", cpu.user),
            ("container_cpu_system_seconds_total", cpu.system),
            ("container_cpu_cfs_periods_total", cpu.periods),
            (
                "container_cpu_cfs_throttled_periods_total",
                cpu.throttled_periods,
            ),
            ("container_cpu_cfs_throttled_seconds_total", cpu.throttled),
            ("container_spec_cpu_quota", bounds.quota),
            ("container_spec_cpu_period", bounds.period),
            ("container_spec_cpu_shares", bounds.shares),
            ("container_memory_usage_bytes", memory.usage),
            ("container_memory_max_usage_bytes", memory.max_usage),
            ("container_memory_working_set_bytes", memory.working_set),
            ("container_memory_rss", memory.rss),
            ("container_memory_cache", memory.cache),
            ("container_memory_swap", memory.swap),
            ("container_memory_mapped_file", memory.mapped_file),
            (
                "container_memory_total_active_file_bytes",
                memory.active_file,
            ),
            (
                "container_memory_total_inactive_file_bytes",
                memory.inactive_file,
            ),
            ("container_memory_failcnt", memory.failures),
            ("container_spec_memory_limit_bytes", bounds.memory),
            ("container_spec_memory_swap_limit_bytes", bounds.swap),
            (
                "container_spec_memory_reservation_limit_bytes",
                bounds.reservation,
            ),
            ("container_threads", self.pids),
            ("container_processes", self.processes),
            ("container_file_descriptors", self.descriptors),
        ]
    }
}

const RECEIVED: [&str; 4] = [
    "container_network_receive_bytes_total",
    "container_network_receive_packets_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
];
const TRANSMITTED: [&str; 4] = [
    "container_network_transmit_bytes_total",
    "container_network_transmit_packets_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
];
