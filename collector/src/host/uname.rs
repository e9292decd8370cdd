//! `node_uname_info` and `node_os_info`: who and what this host is.

use std::io;

use super::{Host, hostname, number, read};
use crate::target::{Pass, Sink};

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let kernel = |file: &str| {
        let text = host.proc(&format!("sys/kernel/{file}"))?;
        Ok::<_, io::Error>(text.trim_end().to_owned())
    };
    let labels = [
        ("domainname", kernel("domainname")?),
        ("machine", std::env::consts::ARCH.to_owned()),
        ("nodename", hostname(&host.roots)),
        ("release", kernel("osrelease")?),
        ("sysname", kernel("ostype")?),
        ("version", kernel("version")?),
    ];
    let labels = labels.each_ref().map(|(n, v)| (*n, v.as_str()));
    pass.put("node_uname_info", &labels, 1.0);
    // Dashboards find hosts by it; the branch says who really answers.
    let build = [
        ("branch", "stackwatch"),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    pass.put("node_exporter_build_info", &build, 1.0);
    Ok(())
}

const OS_KEYS: [&str; 12] = [
    "BUILD_ID",
    "ID",
    "ID_LIKE",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "NAME",
    "PRETTY_NAME",
    "VARIANT",
    "VARIANT_ID",
    "VERSION",
    "VERSION_CODENAME",
    "VERSION_ID",
];

/// From `/etc/os-release`.
pub(super) fn os(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let etc = host.roots.rootfs.join("etc/os-release");
    let text = read(&etc).or_else(|_| read(&host.roots.rootfs.join("usr/lib/os-release")))?;
    let mut labels = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim_matches(['"', '\'']);
        if OS_KEYS.contains(&key) {
            labels.push((key.to_ascii_lowercase(), value));
        }
        if key == "VERSION_ID" {
            // Only `major.minor` is a number; the patch level is left out.
            let two = value
                .match_indices('.')
                .nth(1)
                .map_or(value, |(at, _)| &value[..at]);
            if let Ok(version) = number(two) {
                let id = text
                    .lines()
                    .find_map(|l| l.strip_prefix("ID="))
                    .unwrap_or("");
                let name = text
                    .lines()
                    .find_map(|l| l.strip_prefix("NAME="))
                    .unwrap_or("");
                let quotes = ['"', '\''];
                let labels = [
                    ("id", id.trim_matches(quotes)),
                    ("name", name.trim_matches(quotes)),
                ];
                pass.put("node_os_version", &labels, version);
            }
        }
    }
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    pass.put("node_os_info", &labels, 1.0);
    Ok(())
}
