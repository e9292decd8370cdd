//! What a container uses, from its cgroup's files (versions 1 and 2) and its network
//! namespace's `/proc/PID/net/dev`. Blocking; a few dozen small reads per container.

use std::path::{Path, PathBuf};

use crate::config::Roots;
use crate::host::read;

/// Where a container's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    cgroup: Cgroup,
    net_dev: Option<PathBuf>,
    /// Where processes are.
    proc: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cgroup {
    V1 {
        cpu: Option<PathBuf>,
        cpuacct: Option<PathBuf>,
        memory: Option<PathBuf>,
        blkio: Option<PathBuf>,
        pids: Option<PathBuf>,
    },
    V2(PathBuf),
}

/// What a container uses. `None`: the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) bounds: Bounds,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) blocks: Vec<BlockIo>,
    pub(super) pids: Option<f64>,
    pub(super) processes: Option<f64>,
    /// Open files of all processes.
    pub(super) descriptors: Option<f64>,
    pub(super) networks: Vec<Network>,
    /// Resource, seconds in which some tasks waited, seconds in which all did.
    pub(super) pressure: Vec<(&'static str, Option<f64>, Option<f64>)>,
}

/// What it may use: written when it is made, and seldom later.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bounds {
    /// Microseconds of CPU time per period; `None` without a quota.
    pub(super) quota: Option<f64>,
    /// Microseconds.
    pub(super) period: Option<f64>,
    pub(super) shares: Option<f64>,
    /// Bytes of memory; 0 without a limit, here and below.
    pub(super) memory: Option<f64>,
    pub(super) swap: Option<f64>,
    pub(super) reservation: Option<f64>,
}

/// Seconds, unless noted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cpu {
    pub(super) usage: Option<f64>,
    pub(super) user: Option<f64>,
    pub(super) system: Option<f64>,
    pub(super) periods: Option<f64>,
    pub(super) throttled_periods: Option<f64>,
    pub(super) throttled: Option<f64>,
}

/// Bytes, unless noted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub(super) usage: Option<f64>,
    pub(super) max_usage: Option<f64>,
    pub(super) working_set: Option<f64>,
    pub(super) rss: Option<f64>,
    pub(super) cache: Option<f64>,
    pub(super) swap: Option<f64>,
    pub(super) mapped_file: Option<f64>,
    pub(super) active_file: Option<f64>,
    pub(super) inactive_file: Option<f64>,
    /// Times the limit was hit.
    pub(super) failures: Option<f64>,
    /// Page faults.
    pub(super) page_faults: Option<f64>,
    pub(super) major_page_faults: Option<f64>,
    /// Processes killed.
    pub(super) oom_kills: Option<f64>,
}

/// Of one block device.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct BlockIo {
    /// `/dev/vda`, or `major:minor` when it has no name.
    pub(super) device: String,
    /// Major and minor.
    pub(super) number: (String, String),
    pub(super) read_bytes: f64,
    pub(super) written_bytes: f64,
    pub(super) reads: f64,
    pub(super) writes: f64,
}

/// Of one network device: bytes, packets, errors, dropped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Network {
    pub(super) interface: String,
    pub(super) received: [f64; 4],
    pub(super) transmitted: [f64; 4],
}

impl Places {
    /// Finds the files of the container `id` whose main process is `pid`; `None` when that is
    /// no process of this host's, or its cgroup is not visible.
    pub(super) fn find(roots: &Roots, id: &str, pid: u32, own_network: bool) -> Option<Places> {
        let process = roots.proc.join(pid.to_string());
        let memberships = read(&process.join("cgroup")).ok()?;
        let mount = roots.sys.join("fs/cgroup");
        let cgroup = if mount.join("cgroup.controllers").exists() {
            Cgroup::V2(find_dir(&mount, &memberships, "", id)?)
        } else {
            let dir = |controller: &str| {
                find_dir(&mount.join(controller), &memberships, controller, id).or_else(|| {
                    // Where the two are mounted together and the links are missing.
                    let both = mount.join("cpu,cpuacct");
                    let shared = matches!(controller, "cpu" | "cpuacct");
                    shared.then(|| find_dir(&both, &memberships, controller, id))?
                })
            };
            let cpuacct = dir("cpuacct");
            let memory = dir("memory");
            if cpuacct.is_none() && memory.is_none() {
                return None;
            }
            Cgroup::V1 {
                cpu: dir("cpu"),
                cpuacct,
                memory,
                blkio: dir("blkio"),
                pids: dir("pids"),
            }
        };
        Some(Places {
            cgroup,
            net_dev: own_network.then(|| process.join("net/dev")),
            proc: roots.proc.clone(),
        })
    }

    /// The cgroup that all others are in, with the host's network.
    pub(super) fn root(roots: &Roots) -> Places {
        let mount = roots.sys.join("fs/cgroup");
        let cgroup = if mount.join("cgroup.controllers").exists() {
            Cgroup::V2(mount)
        } else {
            let dir = |controller: &str| Some(mount.join(controller)).filter(|d| d.is_dir());
            Cgroup::V1 {
                cpu: dir("cpu"),
                cpuacct: dir("cpuacct").or_else(|| dir("cpu,cpuacct")),
                memory: dir("memory"),
                blkio: None,
                pids: None,
            }
        };
        Places {
            cgroup,
            net_dev: Some(roots.proc.join("1/net/dev")),
            proc: roots.proc.clone(),
        }
    }

    /// Reads what the container may use.
    fn bounds(&self) -> Bounds {
        match &self.cgroup {
            Cgroup::V2(dir) => bounds_v2(dir),
            Cgroup::V1 { cpu, memory, .. } => bounds_v1(cpu.as_deref(), memory.as_deref()),
        }
    }

    /// Reads everything, and the bounds unless they are known; `None` when the container is gone.
    pub(super) fn read(&self, sys: &Path, known: Option<Bounds>) -> Option<Usage> {
        let bounds = known.unwrap_or_else(|| self.bounds());
        let has_quota = bounds.quota.is_some();
        let mut usage = match &self.cgroup {
            Cgroup::V2(dir) => read_v2(dir, sys, has_quota)?,
            Cgroup::V1 {
                cpu,
                cpuacct,
                memory,
                blkio,
                pids,
            } => Usage {
                cpu: cpu_v1(cpu.as_deref().filter(|_| has_quota), cpuacct.as_deref()),
                memory: memory.as_deref().map(memory_v1).unwrap_or_default(),
                blocks: blkio
                    .as_deref()
                    .map(|d| blocks_v1(d, sys))
                    .unwrap_or_default(),
                pids: pids.as_deref().and_then(|d| single(d, "pids.current")),
                ..Usage::default()
            },
        };
        if usage.cpu.usage.is_none() && usage.memory.usage.is_none() {
            return None;
        }
        usage.bounds = bounds;
        if let Some(text) = self.net_dev.as_deref().and_then(|f| read(f).ok()) {
            usage.networks = networks(&text);
        }
        let list = match &self.cgroup {
            Cgroup::V2(dir) => Some(dir),
            Cgroup::V1 { pids, memory, .. } => pids.as_ref().or(memory.as_ref()),
        };
        if let Some(list) = list {
            (usage.processes, usage.descriptors) = self.processes(list);
        }
        Some(usage)
    }

    /// Processes, and the files they have open. Seen from another process namespace the list is
    /// empty; another user's files take root to count.
    fn processes(&self, dir: &Path) -> (Option<f64>, Option<f64>) {
        let text = read(&dir.join("cgroup.procs")).unwrap_or_default();
        let count = text.lines().count();
        if count == 0 {
            return (None, None);
        }
        let mut descriptors = None;
        if count <= PROCESSES_MAX {
            for pid in text.lines() {
                let open = std::fs::metadata(self.proc.join(pid).join("fd")).map(|m| m.len());
                // Kernels before 6.2 say 0, as one would not of a process that has its output open.
                if let Some(open) = open.ok().filter(|open| *open > 0) {
                    *descriptors.get_or_insert(0.0) += open as f64;
                }
            }
        }
        (Some(count as f64), descriptors)
    }
}

/// Processes whose open files are counted, in one cgroup; where there are more, none are.
const PROCESSES_MAX: usize = 200;

/// Stalls of each resource, from what `text` gives for it.
pub(super) fn pressure(
    text: impl Fn(&str) -> Option<String>,
) -> Vec<(&'static str, Option<f64>, Option<f64>)> {
    let each = ["cpu", "io", "memory"].into_iter();
    each.filter_map(|what| {
        let (some, full) = crate::host::stalls(&text(what)?).ok()?;
        let seconds = |micros: Option<f64>| micros.map(|m| m / 1e6);
        Some((what, seconds(some), seconds(full)))
    })
    .collect()
}

/// The container's directory below `mount`. The kernel's answer counts up to the piece that
/// names the container: its processes may have moved on into cgroups of their own. Seen from
/// another cgroup namespace the answer is relative, so the usual places are tried too.
fn find_dir(mount: &Path, memberships: &str, controller: &str, id: &str) -> Option<PathBuf> {
    let mut told = None;
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        if !controllers.split(',').any(|c| c == controller) {
            continue;
        }
        if let Some(at) = path.find(id) {
            let end = path[at..].find('/').map_or(path.len(), |n| at + n);
            told = Some(path[..end].trim_start_matches('/').to_owned());
        }
    }
    let usual = [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
    ];
    let candidates = told.filter(|t| !t.contains("..")).into_iter().chain(usual);
    candidates.map(|c| mount.join(c)).find(|dir| dir.is_dir())
}

fn single(dir: &Path, file: &str) -> Option<f64> {
    read(&dir.join(file)).ok()?.trim().parse().ok()
}

/// A file of `key value` lines.
fn keyed(dir: &Path, file: &str) -> Keyed {
    Keyed(read(&dir.join(file)).unwrap_or_default())
}

struct Keyed(String);

impl Keyed {
    fn get(&self, key: &str) -> Option<f64> {
        let line = self
            .0
            .lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}

/// A bound; the kernel's spellings of "none" are 0.
fn limit(value: Option<f64>) -> Option<f64> {
    /// Version 1 writes the largest page-aligned number, which depends on the page size.
    const UNLIMITED: f64 = (1_u64 << 62) as f64;
    value.map(|v| if v >= UNLIMITED { 0.0 } else { v })
}

fn limit_v2(dir: &Path, file: &str) -> Option<f64> {
    let text = read(&dir.join(file)).ok()?;
    if text.trim() == "max" {
        return Some(0.0);
    }
    text.trim().parse().ok()
}

fn bounds_v1(cpu: Option<&Path>, memory: Option<&Path>) -> Bounds {
    let of_cpu = |file: &str| single(cpu?, file);
    let of_memory = |file: &str| limit(single(memory?, file));
    Bounds {
        quota: of_cpu("cpu.cfs_quota_us").filter(|q| *q > 0.0),
        period: of_cpu("cpu.cfs_period_us"),
        shares: of_cpu("cpu.shares"),
        memory: of_memory("memory.limit_in_bytes"),
        swap: of_memory("memory.memsw.limit_in_bytes"),
        reservation: of_memory("memory.soft_limit_in_bytes"),
    }
}

/// `throttled` has the counts of what a quota did.
fn cpu_v1(throttled: Option<&Path>, cpuacct: Option<&Path>) -> Cpu {
    let mut out = Cpu::default();
    if let Some(dir) = cpuacct {
        let nanos = |v: f64| v / 1e9;
        out.usage = single(dir, "cpuacct.usage").map(nanos);
        let stat = keyed(dir, "cpuacct.stat");
        let ticks = |v: f64| v / crate::host::USER_HZ;
        out.user = stat.get("user").map(ticks);
        out.system = stat.get("system").map(ticks);
    }
    if let Some(dir) = throttled {
        let stat = keyed(dir, "cpu.stat");
        out.periods = stat.get("nr_periods");
        out.throttled_periods = stat.get("nr_throttled");
        out.throttled = stat.get("throttled_time").map(|v| v / 1e9);
    }
    out
}

fn memory_v1(dir: &Path) -> Memory {
    let stat = keyed(dir, "memory.stat");
    let usage = single(dir, "memory.usage_in_bytes");
    let inactive = stat.get("total_inactive_file");
    Memory {
        usage,
        max_usage: single(dir, "memory.max_usage_in_bytes"),
        working_set: working_set(usage, inactive),
        rss: stat.get("total_rss"),
        cache: stat.get("total_cache"),
        swap: stat.get("total_swap"),
        mapped_file: stat.get("total_mapped_file"),
        active_file: stat.get("total_active_file"),
        inactive_file: inactive,
        failures: single(dir, "memory.failcnt"),
        page_faults: stat.get("total_pgfault"),
        major_page_faults: stat.get("total_pgmajfault"),
        oom_kills: keyed(dir, "memory.oom_control").get("oom_kill"),
    }
}

/// As cAdvisor: what is used and cannot simply be dropped.
fn working_set(usage: Option<f64>, inactive_file: Option<f64>) -> Option<f64> {
    Some((usage? - inactive_file.unwrap_or(0.0)).max(0.0))
}

fn blocks_v1(dir: &Path, sys: &Path) -> Vec<BlockIo> {
    let mut out: Vec<(String, BlockIo)> = Vec::new();
    for (files, is_bytes) in [
        (
            [
                "blkio.throttle.io_service_bytes_recursive",
                "blkio.throttle.io_service_bytes",
            ],
            true,
        ),
        (
            [
                "blkio.throttle.io_serviced_recursive",
                "blkio.throttle.io_serviced",
            ],
            false,
        ),
    ] {
        let text = files.iter().find_map(|f| read(&dir.join(f)).ok());
        for line in text.unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let (Some(number), Some(what), Some(value)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or(0.0);
            let io = entry(&mut out, number);
            match (what, is_bytes) {
                ("Read", true) => io.read_bytes = value,
                ("Write", true) => io.written_bytes = value,
                ("Read", false) => io.reads = value,
                ("Write", false) => io.writes = value,
                _ => {}
            }
        }
    }
    named(out, sys)
}

fn entry<'v>(all: &'v mut Vec<(String, BlockIo)>, number: &str) -> &'v mut BlockIo {
    let at = all
        .iter()
        .position(|(n, _)| n == number)
        .unwrap_or_else(|| {
            all.push((number.to_owned(), BlockIo::default()));
            all.len() - 1
        });
    &mut all[at].1
}

/// Gives devices their names; loop and RAM devices are left out like everywhere else.
fn named(all: Vec<(String, BlockIo)>, sys: &Path) -> Vec<BlockIo> {
    let device = |(number, io): (String, BlockIo)| {
        let uevent = read(&sys.join("dev/block").join(&number).join("uevent")).unwrap_or_default();
        let name = uevent.lines().find_map(|l| l.strip_prefix("DEVNAME="));
        if name.is_some_and(|n| n.starts_with("loop") || n.starts_with("ram")) {
            return None;
        }
        let (major, minor) = number.split_once(':').unwrap_or((&number, ""));
        let parts = (major.to_owned(), minor.to_owned());
        let device = name.map_or(number, |n| format!("/dev/{n}"));
        Some(BlockIo {
            device,
            number: parts,
            ..io
        })
    };
    all.into_iter().filter_map(device).collect()
}

fn bounds_v2(dir: &Path) -> Bounds {
    let max = read(&dir.join("cpu.max")).unwrap_or_default();
    let mut max = max.split_ascii_whitespace();
    Bounds {
        quota: max.next().and_then(|q| q.parse().ok()),
        period: max.next().and_then(|p| p.parse().ok()),
        // The inverse of what runtimes do to turn shares into a weight.
        shares: single(dir, "cpu.weight").map(|w| (2.0 + (w - 1.0) * 262_142.0 / 9999.0).round()),
        memory: limit_v2(dir, "memory.max"),
        swap: limit_v2(dir, "memory.swap.max"),
        reservation: limit_v2(dir, "memory.low"),
    }
}

fn read_v2(dir: &Path, sys: &Path, has_quota: bool) -> Option<Usage> {
    let stat = keyed(dir, "cpu.stat");
    let micros = |key: &str| stat.get(key).map(|v| v / 1e6);
    let of_quota = |value: Option<f64>| value.filter(|_| has_quota);
    let cpu = Cpu {
        usage: Some(micros("usage_usec")?),
        user: micros("user_usec"),
        system: micros("system_usec"),
        periods: of_quota(stat.get("nr_periods")),
        throttled_periods: of_quota(stat.get("nr_throttled")),
        throttled: of_quota(micros("throttled_usec")),
    };
    Some(Usage {
        cpu,
        memory: memory_v2(dir),
        blocks: blocks_v2(dir, sys),
        pids: single(dir, "pids.current"),
        pressure: pressure(|what| read(&dir.join(format!("{what}.pressure"))).ok()),
        ..Usage::default()
    })
}

fn memory_v2(dir: &Path) -> Memory {
    let stat = keyed(dir, "memory.stat");
    let events = keyed(dir, "memory.events");
    let usage = single(dir, "memory.current");
    let inactive = stat.get("inactive_file");
    Memory {
        usage,
        max_usage: single(dir, "memory.peak"),
        working_set: working_set(usage, inactive),
        rss: stat.get("anon"),
        cache: stat.get("file"),
        swap: single(dir, "memory.swap.current"),
        mapped_file: stat.get("file_mapped"),
        active_file: stat.get("active_file"),
        inactive_file: inactive,
        failures: events.get("max"),
        page_faults: stat.get("pgfault"),
        major_page_faults: stat.get("pgmajfault"),
        oom_kills: events.get("oom_kill"),
    }
}

fn blocks_v2(dir: &Path, sys: &Path) -> Vec<BlockIo> {
    let mut out = Vec::new();
    for line in read(&dir.join("io.stat")).unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let Some(number) = words.next().filter(|n| n.contains(':')) else {
            continue;
        };
        let io = entry(&mut out, number);
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let value: f64 = value.parse().unwrap_or(0.0);
            match key {
                "rbytes" => io.read_bytes = value,
                "wbytes" => io.written_bytes = value,
                "rios" => io.reads = value,
                "wios" => io.writes = value,
                _ => {}
            }
        }
    }
    named(out, sys)
}

fn networks(net_dev: &str) -> Vec<Network> {
    let ignored =
        |name: &str| name == "lo" || name.starts_with("veth") || name.starts_with("docker");
    let mut out = Vec::new();
    for (device, values) in crate::host::devices(net_dev) {
        if ignored(device) {
            continue;
        }
        let values: Vec<f64> = values.map(|v| v.parse().unwrap_or(0.0)).collect();
        if let ([a, b, c, d, ..], Some([e, f, g, h, ..])) = (values.as_slice(), values.get(8..)) {
            out.push(Network {
                interface: device.to_owned(),
                received: [*a, *b, *c, *d],
                transmitted: [*e, *f, *g, *h],
            });
        }
    }
    out
}

#[cfg(test)]
mod tests;
