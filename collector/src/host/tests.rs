//! This machine's own `/proc`, held against a real scrape of node_exporter.

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;

mod fixture;

use super::*;
use crate::Status;
use crate::exposition::{Format, Item, Parser, series};

/// Families by name, each with the label names of its series.
type Families = BTreeMap<String, BTreeSet<Vec<String>>>;

fn names(labels: &Labels) -> Vec<String> {
    let ours = ["__name__", "job", "instance"];
    let names = labels.iter().map(|(n, _)| n.to_owned());
    names.filter(|n| !ours.contains(&n.as_str())).collect()
}

async fn collect() -> Families {
    let mut host = Host::new(&HostConfig::default(), &Roots::default()).unwrap();
    let labels = crate::config::target_labels("node", "test");
    let timing = (Duration::from_secs(15), Duration::from_secs(10));
    let mut target = Target::new(
        "host",
        "host:",
        labels.clone(),
        labels,
        timing,
        Status::default(),
    );
    let mut families = Families::new();
    for tick in [1_700_000_000_000, 1_700_000_015_000] {
        let batch = host
            .collect(&mut target, Timestamp::from_millis(tick))
            .await;
        for sample in batch.samples.iter().filter(|s| !model::is_stale(s.value)) {
            let name = sample.labels.metric_name().to_owned();
            families
                .entry(name)
                .or_default()
                .insert(names(&sample.labels));
        }
    }
    families
}

#[tokio::test]
async fn names_and_labels_are_those_of_node_exporter() {
    let Ok(reference) = std::fs::read("../../shared/exporter-metrics/node-1.12.1.prom") else {
        eprintln!("SKIPPED: ../shared/exporter-metrics is not there");
        return;
    };
    // Raw text by name: the exporter writes labels that are empty, and so absent, too.
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let parser = Parser::new(&reference, Format::Prometheus).unwrap();
    for item in parser {
        if let Item::Sample(sample) = item.unwrap() {
            let labels = series::parse(sample.series).unwrap().build();
            let name = labels.metric_name().to_owned();
            expected.entry(name).or_default().push_str(sample.series);
        }
    }
    let ours = collect().await;
    let node = ours.iter().filter(|(name, _)| name.starts_with("node_"));
    let mut count = 0;
    for (name, labels) in node {
        count += 1;
        let Some(theirs) = expected.get(name) else {
            // Fields that depend on the kernel, spelled by the same rule.
            let by_kernel = [
                "node_memory_",
                "node_vmstat_",
                "node_pressure_",
                "node_filesystem_",
                "node_nf_conntrack_",
                "node_arp_",
                "node_disk_",
                "node_network_",
                "node_softnet_",
                "node_sockstat_",
                "node_netstat_",
                // Collectors that the reference ran without, or that its kernel had no data for.
                "node_interrupts_total",
                "node_processes_",
                "node_schedstat_",
                "node_selinux_current_mode",
                "node_systemd_",
                "node_tcp_connection_states",
                "node_textfile_mtime_seconds",
            ];
            assert!(
                by_kernel.iter().any(|p| name.starts_with(p)),
                "{name} is not node_exporter's"
            );
            eprintln!("not in the reference: {name}");
            continue;
        };
        for label in labels.iter().flatten() {
            let known = theirs.contains(&format!("{label}=\""));
            assert!(known, "{name} has {label}, node_exporter has {theirs}");
        }
    }
    assert!(count > 150, "only {count} families");
    let missing = |prefix: &str| {
        let theirs = expected.keys().filter(|n| n.starts_with(prefix));
        theirs
            .filter(|n| !ours.contains_key(*n))
            .cloned()
            .collect::<Vec<_>>()
    };
    for prefix in [
        "node_cpu_s",
        "node_load",
        "node_filesystem_size",
        "node_network_receive",
        "node_disk_w",
        "node_vmstat",
        "node_uname",
        "node_filefd",
        "node_boot",
        "node_intr",
        "node_procs",
        "node_memory_Mem",
        "node_timex",
        "node_time_",
        "node_textfile",
    ] {
        assert_eq!(missing(prefix), Vec::<String>::new());
    }
}
