//! This host, under node_exporter's names; one file per collector of node_exporter's.

mod conntrack;
mod cpu;
mod disk;
mod diskstats;
mod filesystem;
mod interrupts;
mod loadavg;
mod meminfo;
mod netclass;
mod netdev;
mod netstat;
mod pressure;
mod processes;
mod schedstat;
mod single;
mod sockstat;
mod softnet;
mod stat;
pub(crate) mod systemd;
mod tcpstat;
mod textfile;
mod timex;
mod uname;
mod vmstat;

pub(crate) use cpu::USER_HZ;
pub(crate) use disk::{Disk, disk_of, local_disks};
pub(crate) use netdev::devices;
pub(crate) use pressure::stalls;
pub use systemd::SystemdConfig;

use std::io;
use std::path::Path;
use std::time::Duration;

use model::{Regex, SampleBatch, Timestamp};
use tokio::time::Instant;

use crate::config::{HostConfig, Roots};
use crate::source::Source;
use crate::target::{Pass, Sink, Target};

/// The longest file of `/proc` or `/sys` read. `/proc/stat` of a host with 256 cores has 80 kB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Collects from `/proc`, `/sys`, the mounted file systems and systemd.
pub(crate) struct Host {
    roots: Roots,
    filters: Filters,
    filesystems: filesystem::Filesystems,
    textfiles: textfile::Textfiles,
    /// `None` when it is turned off.
    systemd: Option<systemd::Systemd>,
    /// What was wrong with text files last time.
    textfile_problems: Vec<String>,
    /// What the status shows.
    notes: Vec<String>,
    /// Collectors that failed last time, so that only changes are logged.
    failing: Vec<&'static str>,
}

struct Filters {
    disks: Regex,
    netdevs: Regex,
}

type Collect = fn(&Host, &mut Pass<'_>) -> io::Result<()>;

/// All but `filesystem`, `systemd` and `textfile`, which must be waited for.
const COLLECTORS: [(&str, Collect); 26] = [
    ("arp", single::arp),
    ("conntrack", conntrack::collect),
    ("cpu", cpu::collect),
    ("diskstats", diskstats::collect),
    ("entropy", single::entropy),
    ("filefd", single::filefd),
    ("interrupts", interrupts::collect),
    ("loadavg", loadavg::collect),
    ("meminfo", meminfo::collect),
    ("netclass", netclass::collect),
    ("netdev", netdev::collect),
    ("netstat", netstat::collect),
    ("os", uname::os),
    ("pressure", pressure::collect),
    ("processes", processes::collect),
    ("schedstat", schedstat::collect),
    ("selinux", single::selinux),
    ("sockstat", sockstat::collect),
    ("softnet", softnet::collect),
    ("stat", stat::collect),
    ("tcpstat", tcpstat::collect),
    ("time", single::time),
    ("timex", timex::collect),
    ("udp_queues", single::udp_queues),
    ("uname", uname::collect),
    ("vmstat", vmstat::collect),
];

impl Host {
    /// # Errors
    /// When an exclusion does not compile.
    pub(crate) fn new(config: &HostConfig, roots: &Roots) -> Result<Host, String> {
        let regex = |pattern: &str| Regex::unanchored(pattern).map_err(|e| e.to_string());
        Ok(Host {
            roots: roots.clone(),
            filters: Filters {
                disks: regex(&config.diskstats_device_exclude)?,
                netdevs: regex(&config.netdev_device_exclude)?,
            },
            filesystems: filesystem::Filesystems::new(
                regex(&config.mount_points_exclude)?,
                regex(&config.fs_types_exclude)?,
            ),
            textfiles: textfile::Textfiles::new(config.textfile_directories.as_deref(), roots),
            systemd: match &config.systemd {
                Some(config) => Some(systemd::Systemd::new(config, roots)?),
                None => None,
            },
            textfile_problems: Vec::new(),
            notes: Vec::new(),
            failing: Vec::new(),
        })
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        read(&self.roots.proc.join(file))
    }

    /// A file of the host's network: `/proc/net` is the reader's own namespace, so when `/proc`
    /// is mounted elsewhere that of process 1 is asked.
    fn proc_net(&self, file: &str) -> io::Result<String> {
        if self.roots.proc == Path::new("/proc") {
            return self.proc(&format!("net/{file}"));
        }
        self.proc(&format!("1/net/{file}"))
    }

    fn collector_done(
        &mut self,
        pass: &mut Pass<'_>,
        name: &'static str,
        took: Duration,
        result: io::Result<()>,
    ) {
        let labels = [("collector", name)];
        pass.put(
            "node_scrape_collector_duration_seconds",
            &labels,
            took.as_secs_f64(),
        );
        // A kernel without the feature is no failure, but there is no data either.
        let ok = result.is_ok();
        pass.put(
            "node_scrape_collector_success",
            &labels,
            f64::from(u8::from(ok)),
        );
        let was_failing = self.failing.contains(&name);
        match result {
            Ok(()) if was_failing => self.failing.retain(|f| *f != name),
            Err(e) if !was_failing => {
                self.failing.push(name);
                if e.kind() == io::ErrorKind::NotFound {
                    tracing::debug!(collector = name, error = %e, "host collector has no data");
                } else {
                    tracing::warn!(collector = name, error = %e, "host collector failed");
                }
            }
            _ => {}
        }
    }
}

impl Source for Host {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let Host {
            filesystems,
            systemd,
            roots,
            ..
        } = self;
        let units = async {
            match systemd {
                Some(systemd) => systemd.ask().await,
                None => None,
            }
        };
        let ((mounts, waited), (units, asked)) =
            tokio::join!(timed(filesystems.measure(roots)), timed(units));
        let textfiles_started = Instant::now();
        let textfiles = self.textfiles.read().await;
        let mut pass = target.pass(at);
        for (name, collect) in COLLECTORS {
            let started = Instant::now();
            let result = collect(self, &mut pass);
            self.collector_done(&mut pass, name, started.elapsed(), result);
        }
        let result = mounts.map(|mounts| filesystem::put(&mounts, &mut pass));
        self.collector_done(&mut pass, "filesystem", waited, result);
        let mut notes = Vec::new();
        if let Some(found) = units {
            let result = found.map(|found| notes.extend(systemd::put(&found, &mut pass)));
            self.collector_done(&mut pass, "systemd", asked, result);
        }
        // Last: what a file says about a series of ours does not count.
        let mut problems = Vec::new();
        let result = textfiles.map(|found| problems = self.textfiles.put(found, &mut pass));
        if let Err(e) = &result {
            problems.push(format!("text files are not read: {e}"));
        }
        let took = textfiles_started.elapsed();
        self.collector_done(&mut pass, "textfile", took, result);
        let collected = pass.done();
        if problems != self.textfile_problems {
            if !problems.is_empty() {
                tracing::warn!(problems = problems.join("; "), "text files are left out");
            }
            self.textfile_problems.clone_from(&problems);
        }
        notes.extend(problems);
        if notes != self.notes {
            target.set_notes(notes.clone());
            self.notes = notes;
        }
        let unreadable = !self.roots.proc.join("stat").exists();
        let result = if unreadable {
            Err("no stat file below the configured roots.proc")
        } else {
            Ok(collected)
        };
        let problem = result.as_ref().err().map(|e| (*e).to_owned());
        target
            .status
            .set_source("host", problem.map_or(Ok(()), Err));
        target.finish(at, started.elapsed(), result)
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let started = Instant::now();
    (work.await, started.elapsed())
}

/// The name of the host: its `/etc/hostname` when its root is mounted elsewhere, since
/// the kernel tells every container its own.
pub(crate) fn hostname(roots: &Roots) -> String {
    let own = || read(&roots.proc.join("sys/kernel/hostname"));
    let name = if roots.rootfs == Path::new("/") {
        own()
    } else {
        read(&roots.rootfs.join("etc/hostname")).or_else(|_| own())
    };
    let name = name.unwrap_or_default().trim().to_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// Reads a small file, whatever length it claims to have. What is not UTF-8 is replaced.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    use io::Read;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let mut bytes = Vec::with_capacity(4096);
    crate::regular::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(named)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// A number, or the error that names what is not one.
pub(crate) fn number(text: &str) -> io::Result<f64> {
    text.parse().map_err(|_| malformed(text))
}

fn malformed(text: &str) -> io::Error {
    let start: String = text.chars().take(80).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {start:?}"))
}

#[cfg(test)]
mod tests;
