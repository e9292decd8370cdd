//! `process_*`, as every Prometheus client exports them, from `/proc/self`.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Kernel ticks per second. Linux has told user space 100 on every architecture for decades.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Reads `/proc/self` when metrics are asked for.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

/// One look at `/proc/self`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: f64,
    /// Resident memory, bytes.
    pub(crate) resident_bytes: u64,
    virtual_bytes: u64,
    open_fds: u64,
    threads: u64,
    start_seconds: f64,
}

impl Figures {
    /// `None` where there is no `/proc`.
    pub(crate) fn read() -> Option<Figures> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let mut figures = Figures::parse(&stat, &boot)?;
        figures.open_fds = std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64);
        Some(figures)
    }

    /// Fields counted as in proc(5), after the command's closing parenthesis.
    fn parse(stat: &str, boot: &str) -> Option<Figures> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let boot_seconds: f64 = boot
            .lines()
            .find_map(|l| l.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        Some(Figures {
            cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS_PER_SECOND,
            threads: field(20)?,
            start_seconds: boot_seconds + field(22)? as f64 / TICKS_PER_SECOND,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE_BYTES,
            open_fds: 0,
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(now) = Figures::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(now.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system CPU time spent",
            None,
            cpu.metric_type(),
        )?)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                now.resident_bytes as f64,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                now.virtual_bytes as f64,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                now.open_fds as f64,
            ),
            ("process_threads", "Threads", now.threads as f64),
            (
                "process_start_time_seconds",
                "Start of the process, seconds since the epoch",
                now.start_seconds,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_spaces_and_parentheses_is_no_problem() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 6 0 1000 8192 3 0";
        let figures = Figures::parse(stat, "cpu 1 2\nbtime 1000\n").unwrap();
        assert_eq!(figures.cpu_seconds, 2.0);
        assert_eq!(figures.threads, 6);
        assert_eq!(figures.start_seconds, 1010.0);
        assert_eq!(figures.virtual_bytes, 8192);
        assert_eq!(figures.resident_bytes, 3 * PAGE_BYTES);
    }
}
