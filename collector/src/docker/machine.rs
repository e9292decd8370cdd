//! What cAdvisor tells about the machine, and about the cgroup `/` that everything is in.
//! Dashboards made for it show the machine by `id="/"`.

use std::path::Path;

use crate::config::Roots;
use crate::host::{Disk, local_disks, read};
use crate::target::Sink;

use super::cgroup::{Places, Usage};

/// How fast the load average forgets, in seconds.
const LOAD_SECONDS: f64 = 10.0;

/// The machine from one tick to the next.
#[derive(Debug)]
pub(super) struct Machine {
    /// `boot_id`, `machine_id`, `system_uuid`.
    identity: [String; 3],
    /// Kernel and distribution.
    versions: [String; 2],
    load: Option<Load>,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    at_seconds: f64,
    average: f64,
}

/// One look at the machine.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) usage: Option<Usage>,
    pub(super) disks: Vec<Disk>,
    meminfo: String,
    stat: String,
}

impl Look {
    /// Reads everything; may block.
    pub(super) fn new(roots: &Roots) -> Look {
        let meminfo = read(&roots.proc.join("meminfo")).unwrap_or_default();
        let total = kilobytes(&meminfo, "MemTotal:");
        let free = kilobytes(&meminfo, "MemFree:");
        let usage = Places::root(roots).read(&roots.sys, None).map(|mut usage| {
            // The disks' own counters say more, and the limit is what there is.
            usage.blocks.clear();
            let bound = &mut usage.bounds.memory;
            *bound = bound.filter(|l| *l > 0.0).or(total);
            let memory = &mut usage.memory;
            // Version 2 does not count for the root.
            if let (None, Some(total), Some(free)) = (memory.usage, total, free) {
                memory.usage = Some(total - free);
                let inactive = memory.inactive_file.unwrap_or(0.0);
                memory.working_set = Some((total - free - inactive).max(0.0));
            }
            if usage.pressure.is_empty() {
                usage.pressure = super::cgroup::pressure(|what| {
                    read(&roots.proc.join("pressure").join(what)).ok()
                });
            }
            usage
        });
        Look {
            usage,
            disks: local_disks(roots),
            stat: read(&roots.proc.join("stat")).unwrap_or_default(),
            meminfo,
        }
    }

    fn stat(&self, key: &str) -> Option<f64> {
        let line = self.stat.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }
}

impl Machine {
    pub(super) fn new(roots: &Roots) -> Machine {
        let text = |path: &Path| read(path).unwrap_or_default().trim().to_owned();
        let machine_id = text(&roots.rootfs.join("etc/machine-id"));
        let uuid = text(&roots.sys.join("class/dmi/id/product_uuid"));
        let release = read(&roots.rootfs.join("etc/os-release")).unwrap_or_default();
        let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
        Machine {
            identity: [
                text(&roots.proc.join("sys/kernel/random/boot_id")),
                machine_id.clone(),
                // Root alone may read the real one.
                if uuid.is_empty() { machine_id } else { uuid },
            ],
            versions: [
                text(&roots.proc.join("sys/kernel/osrelease")),
                name.unwrap_or_default().trim_matches('"').to_owned(),
            ],
            load: None,
        }
    }

    /// Adds a look.
    pub(super) fn put(&mut self, look: &Look, engine: &str, at_seconds: f64, sink: &mut impl Sink) {
        let [boot, machine, system] = &self.identity;
        let identity = [
            ("boot_id", boot.as_str()),
            ("machine_id", machine),
            ("system_uuid", system),
        ];
        for (key, name) in [
            ("MemTotal:", "machine_memory_bytes"),
            ("SwapTotal:", "machine_swap_bytes"),
        ] {
            if let Some(bytes) = kilobytes(&look.meminfo, key) {
                sink.put(name, &identity, bytes);
            }
        }
        let cores = look.stat.lines().filter(|l| l.starts_with("cpu")).count();
        // The first line is the sum.
        if cores > 1 {
            sink.put("machine_cpu_cores", &identity, (cores - 1) as f64);
        }
        let [kernel, system] = &self.versions;
        let version = [
            ("cadvisorRevision", "stackwatch"),
            ("cadvisorVersion", env!("CARGO_PKG_VERSION")),
            ("dockerVersion", engine),
            ("kernelVersion", kernel),
            ("osVersion", system),
        ];
        sink.put("cadvisor_version_info", &version, 1.0);
        self.put_root(look, at_seconds, sink);
    }

    fn put_root(&mut self, look: &Look, at_seconds: f64, sink: &mut impl Sink) {
        let root = [("id", "/")];
        if let Some(usage) = &look.usage {
            usage.put(&root, at_seconds, sink);
        }
        if let Some(boot) = look.stat("btime ") {
            sink.put("container_start_time_seconds", &root, boot);
        }
        if let Some(kills) = look.usage.as_ref().and_then(|u| u.memory.oom_kills) {
            sink.put("container_oom_events_total", &root, kills);
        }
        let running = look.stat("procs_running ");
        let blocked = look.stat("procs_blocked ");
        for (state, count) in [("running", running), ("iowaiting", blocked)] {
            if let Some(count) = count {
                let labels = [root[0], ("state", state)];
                sink.put("container_tasks_state", &labels, count);
            }
        }
        if let (Some(running), Some(blocked)) = (running, blocked) {
            // As cAdvisor: damped, times 1000.
            let now = running + blocked;
            let average = self.load.map_or(now, |load| {
                let keep = (-(at_seconds - load.at_seconds).max(0.0) / LOAD_SECONDS).exp();
                load.average * keep + now * (1.0 - keep)
            });
            self.load = Some(Load {
                at_seconds,
                average,
            });
            let load = (average * 1000.0).floor();
            sink.put("container_cpu_load_average_10s", &root, load);
        }
        for disk in &look.disks {
            let labels = [("device", disk.device.as_str()), root[0]];
            put_space(disk, &labels, sink);
            for (name, value) in disk.io() {
                sink.put(name, &labels, value);
            }
            sink.put("container_fs_usage_bytes", &labels, disk.size - disk.free);
        }
    }
}

/// What a container shares with all others on the disk that it is on.
pub(super) fn put_space(disk: &Disk, labels: &[(&str, &str)], sink: &mut impl Sink) {
    sink.put("container_fs_limit_bytes", labels, disk.size);
    sink.put("container_fs_inodes_total", labels, disk.files);
    sink.put("container_fs_inodes_free", labels, disk.files_free);
}

/// A line of `meminfo`, in bytes.
fn kilobytes(meminfo: &str, key: &str) -> Option<f64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(key))?;
    let kilobytes: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
