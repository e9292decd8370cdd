//! What containers use by the engine's stats API, for those whose cgroup files are out of reach: of
//! an engine in a virtual machine or elsewhere, or where `/sys` or `/proc` of the host is not mounted.
//!
//! An answer takes the engine milliseconds, where reading files takes microseconds, and before API
//! 1.41 a second or two: it is asked aside, a few containers at a time.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::engine::{ContainerStats, Engine, HostConfig};

use super::cgroup::{BlockIo, Bounds, Cpu, Memory, Network, Usage};

/// Containers asked about at a time.
const AT_ONCE: usize = 8;
/// How long a collection waits for the answers; then those of the last time are told.
const WAIT: Duration = Duration::from_secs(2);
/// Answers are told no longer than this after they were asked for.
const GOOD_FOR: Duration = Duration::from_secs(60);

type Answers = Vec<(String, ContainerStats)>;

/// Asks the engine.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Since when, and the answers to come.
    asked: Option<(Instant, Asked)>,
    /// When the last answers were asked for.
    known: Option<(Instant, Answers)>,
}

/// A question that is dropped with whoever asks.
#[derive(Debug)]
struct Asked(JoinHandle<Answers>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Stats {
    /// What these containers use, as far as the engine says so in time.
    pub(super) async fn of(
        &mut self,
        engine: &Engine,
        wanted: Vec<String>,
    ) -> Vec<(String, Usage)> {
        if wanted.is_empty() {
            *self = Stats::default();
            return Vec::new();
        }
        let mut asked = self.asked.take().unwrap_or_else(|| {
            let task = tokio::spawn(ask(engine.clone(), wanted.clone()));
            (Instant::now(), Asked(task))
        });
        match tokio::time::timeout(WAIT, &mut asked.1.0).await {
            Ok(answers) => self.known = Some((asked.0, answers.unwrap_or_default())),
            Err(_) if asked.0.elapsed() < GOOD_FOR => self.asked = Some(asked),
            // It hangs: dropped, and asked anew the next time.
            Err(_) => {}
        }
        if self
            .known
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() > GOOD_FOR)
        {
            self.known = None;
        }
        let known = self.known.iter().flat_map(|(_, answers)| answers);
        let still = known.filter(|(id, _)| wanted.contains(id));
        still
            .filter_map(|(id, stats)| Some((id.clone(), usage(stats)?)))
            .collect()
    }
}

async fn ask(engine: Engine, wanted: Vec<String>) -> Answers {
    let mut answers = Vec::with_capacity(wanted.len());
    let mut running = JoinSet::new();
    let mut wanted = wanted.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some(id) = wanted.next()
        {
            let engine = engine.clone();
            running.spawn(async move {
                let stats = engine.stats(&id).await.ok()?;
                Some((id, stats))
            });
        }
        match running.join_next().await {
            Some(answer) => answers.extend(answer.ok().flatten()),
            None => return answers,
        }
    }
}

/// As the files would tell it; `None` of a container that does not run.
fn usage(stats: &ContainerStats) -> Option<Usage> {
    let (cpu, memory) = (&stats.cpu_stats, &stats.memory_stats);
    let nanos = |v: Option<f64>| v.map(|v| v / 1e9);
    // An engine writes what it does not know as 0, and a process that never ran is none.
    let total = nanos(cpu.cpu_usage.total_usage).filter(|seconds| *seconds > 0.0)?;
    let stat = |names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| memory.stats.get(*name).copied())
    };
    let inactive = stat(["total_inactive_file", "inactive_file"]);
    let usage = memory.usage;
    let is_v1 = memory.stats.contains_key("total_inactive_file");
    let throttled = &cpu.throttling_data;
    let periods = throttled.periods.filter(|n| *n > 0.0);
    Some(Usage {
        cpu: Cpu {
            usage: Some(total),
            user: nanos(cpu.cpu_usage.usage_in_usermode),
            system: nanos(cpu.cpu_usage.usage_in_kernelmode),
            periods,
            throttled_periods: periods.and(throttled.throttled_periods),
            throttled: periods.and(nanos(throttled.throttled_time)),
        },
        memory: Memory {
            usage,
            max_usage: memory.max_usage.filter(|_| is_v1),
            working_set: usage.map(|usage| (usage - inactive.unwrap_or(0.0)).max(0.0)),
            rss: stat(["total_rss", "anon"]),
            cache: stat(["total_cache", "file"]),
            swap: stat(["total_swap", "swap"]),
            mapped_file: stat(["total_mapped_file", "file_mapped"]),
            active_file: stat(["total_active_file", "active_file"]),
            inactive_file: inactive,
            // A count of none is not written.
            failures: is_v1.then(|| memory.failcnt.unwrap_or(0.0)),
            page_faults: stat(["total_pgfault", "pgfault"]),
            major_page_faults: stat(["total_pgmajfault", "pgmajfault"]),
            ..Memory::default()
        },
        blocks: blocks(stats),
        pids: stats.pids_stats.current,
        networks: stats.networks.iter().map(network).collect(),
        ..Usage::default()
    })
}

/// By number: a name would be that of a device here.
fn blocks(stats: &ContainerStats) -> Vec<BlockIo> {
    /// Major numbers of memory and loop devices, which are left out everywhere.
    const OTHERS: [u64; 2] = [1, 7];
    let mut out: Vec<BlockIo> = Vec::new();
    let all = &stats.blkio_stats;
    let bytes = all.io_service_bytes_recursive.iter().map(|e| (e, true));
    let times = all.io_serviced_recursive.iter().map(|e| (e, false));
    for (entry, is_bytes) in bytes.chain(times) {
        if OTHERS.contains(&entry.major) {
            continue;
        }
        let device = format!("{}:{}", entry.major, entry.minor);
        let at = out.iter().position(|io| io.device == device);
        let at = at.unwrap_or_else(|| {
            out.push(BlockIo {
                number: (entry.major.to_string(), entry.minor.to_string()),
                device,
                ..BlockIo::default()
            });
            out.len() - 1
        });
        let io = &mut out[at];
        match (entry.op.to_ascii_lowercase().as_str(), is_bytes) {
            ("read", true) => io.read_bytes = entry.value,
            ("write", true) => io.written_bytes = entry.value,
            ("read", false) => io.reads = entry.value,
            ("write", false) => io.writes = entry.value,
            _ => {}
        }
    }
    out
}

fn network((interface, n): (&String, &crate::engine::NetworkStats)) -> Network {
    Network {
        interface: interface.clone(),
        received: [n.rx_bytes, n.rx_packets, n.rx_errors, n.rx_dropped],
        transmitted: [n.tx_bytes, n.tx_packets, n.tx_errors, n.tx_dropped],
    }
}

/// The bounds, which the engine knows from the container's configuration.
pub(super) fn bounds(given: &HostConfig) -> Bounds {
    /// What the kernel has where nothing is written, microseconds.
    const PERIOD: f64 = 100_000.0;
    const SHARES: f64 = 1024.0;
    let set = |value: i64| (value > 0).then_some(value as f64);
    let period = set(given.cpu_period).unwrap_or(PERIOD);
    let cpus = set(given.nano_cpus).map(|nano| nano / 1e9);
    Bounds {
        quota: set(given.cpu_quota).or(cpus.map(|cpus| cpus * period)),
        period: Some(period),
        shares: Some(set(given.cpu_shares).unwrap_or(SHARES)),
        memory: Some(set(given.memory).unwrap_or(0.0)),
        swap: Some(set(given.memory_swap).unwrap_or(0.0)),
        reservation: Some(set(given.memory_reservation).unwrap_or(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Usage> {
        usage(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn an_answer_is_told_as_the_files_would() {
        let v1 = read(
            r#"{"read":"2026-01-01T00:00:00Z","pids_stats":{"current":3},"blkio_stats":{
            "io_service_bytes_recursive":[{"major":8,"minor":0,"op":"Read","value":4096},{"major":8,"minor":0,"op":"Write","value":1},
            {"major":8,"minor":0,"op":"Total","value":4097},{"major":7,"minor":0,"op":"Read","value":9}],
            "io_serviced_recursive":[{"major":8,"minor":0,"op":"Read","value":2}],"io_queue_recursive":[]},
            "cpu_stats":{"cpu_usage":{"total_usage":1500000000,"usage_in_kernelmode":500000000,"usage_in_usermode":1000000000},
            "throttling_data":{"periods":10,"throttled_periods":4,"throttled_time":2000000000}},
            "memory_stats":{"usage":1000,"max_usage":2000,"failcnt":3,"limit":2033815552,
            "stats":{"total_inactive_file":300,"total_rss":500,"total_cache":400,"rss":1}},
            "networks":{"eth0":{"rx_bytes":7,"rx_packets":1,"rx_errors":0,"rx_dropped":0,"tx_bytes":5,"tx_packets":2,"tx_errors":0,"tx_dropped":0}}}"#,
        )
        .unwrap();
        assert_eq!(v1.cpu.usage, Some(1.5));
        assert_eq!((v1.cpu.periods, v1.cpu.throttled), (Some(10.0), Some(2.0)));
        assert_eq!(
            (v1.memory.working_set, v1.memory.rss),
            (Some(700.0), Some(500.0))
        );
        assert_eq!(v1.memory.failures, Some(3.0));
        assert_eq!(v1.blocks.len(), 1);
        assert_eq!(
            (v1.blocks[0].device.as_str(), v1.blocks[0].reads),
            ("8:0", 2.0)
        );
        assert_eq!(v1.networks[0].transmitted, [5.0, 2.0, 0.0, 0.0]);
        assert_eq!(v1.pids, Some(3.0));

        let v2 = read(
            r#"{"read":"2026-01-01T00:00:00Z","blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"read","value":5}],"io_serviced_recursive":null},
            "cpu_stats":{"cpu_usage":{"total_usage":2000000000},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},
            "memory_stats":{"usage":1000,"stats":{"anon":600,"file":300,"inactive_file":100}}}"#,
        )
        .unwrap();
        assert_eq!(
            (v2.memory.rss, v2.memory.working_set),
            (Some(600.0), Some(900.0))
        );
        assert_eq!((v2.cpu.periods, v2.memory.failures), (None, None));
        assert_eq!(v2.blocks[0].read_bytes, 5.0);
        // One that does not run.
        assert_eq!(
            read(
                r#"{"read":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{},"networks":null}"#
            ),
            None
        );
    }

    #[test]
    fn bounds_are_those_of_the_configuration() {
        let config: HostConfig =
            serde_json::from_str(r#"{"Memory":67108864,"NanoCpus":500000000,"MemorySwap":-1}"#)
                .unwrap();
        let given = bounds(&config);
        assert_eq!(
            (given.quota, given.period),
            (Some(50_000.0), Some(100_000.0))
        );
        assert_eq!((given.memory, given.swap), (Some(67_108_864.0), Some(0.0)));
        let nothing = bounds(&HostConfig::default());
        assert_eq!((nothing.quota, nothing.shares), (None, Some(1024.0)));
    }
}
