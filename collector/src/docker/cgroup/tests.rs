//! Both versions from fixture trees, since no machine has both.

use super::*;

const ID: &str = "4f1c6d5a8e0b4f1c6d5a8e0b4f1c6d5a8e0b4f1c6d5a8e0b4f1c6d5a8e0b4f1c";

/// Writes `files` (path, text) below a new directory; `ID` in a path stands for the id.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.replace("ID", ID));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.replace("ID", ID)).unwrap();
    }
    let roots = Roots {
        proc: dir.path().join("proc"),
        sys: dir.path().join("sys"),
        rootfs: "/".into(),
    };
    (dir, roots)
}

const V2: [(&str, &str); 9] = [
    ("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n"),
    (
        "cg/cpu.stat",
        "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 1500000\n",
    ),
    ("cg/cpu.max", "50000 100000\n"),
    ("cg/memory.current", "10485760\n"),
    (
        "cg/memory.stat",
        "anon 4194304\nfile 6291456\ninactive_file 2097152\nactive_file 4194304\npgfault 77\n",
    ),
    ("cg/memory.max", "max\n"),
    (
        "cg/memory.events",
        "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    ),
    (
        "cg/io.stat",
        "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 rbytes=1\n",
    ),
    (
        "cg/memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    ),
];

fn v2(place: &str, membership: &str, expect_found: bool) {
    let mut files: Vec<(String, &str)> = V2
        .iter()
        .map(|(p, t)| (p.replace("cg/", &format!("sys/fs/cgroup/{place}/")), *t))
        .collect();
    files.push(("proc/77/cgroup".to_owned(), membership));
    files.push(("proc/77/net/dev".to_owned(), "h\nh\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n"));
    files.push((
        "sys/dev/block/8:0/uevent".to_owned(),
        "MAJOR=8\nDEVNAME=sda\n",
    ));
    files.push(("sys/dev/block/7:1/uevent".to_owned(), "DEVNAME=loop1\n"));
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), *t)).collect();
    let (_dir, roots) = tree(&files);
    let Some(places) = Places::find(&roots, ID, 77, true) else {
        assert!(!expect_found, "{place} was not found");
        return;
    };
    let usage = places.read(&roots.sys, None).unwrap();
    assert_eq!(usage.cpu.usage, Some(2.5));
    assert_eq!(
        (usage.bounds.quota, usage.cpu.throttled),
        (Some(50_000.0), Some(1.5))
    );
    assert_eq!(usage.memory.working_set, Some(8_388_608.0));
    assert_eq!(
        (usage.bounds.memory, usage.memory.oom_kills),
        (Some(0.0), Some(1.0))
    );
    assert_eq!(usage.blocks.len(), 1);
    assert_eq!(
        (
            usage.blocks[0].device.as_str(),
            usage.blocks[0].written_bytes
        ),
        ("/dev/sda", 8192.0)
    );
    assert_eq!(usage.networks[0].received, [100.0, 2.0, 3.0, 4.0]);
    assert_eq!(usage.networks[0].transmitted, [200.0, 5.0, 6.0, 7.0]);
    assert_eq!(usage.pressure, [("memory", Some(1.5), Some(0.5))]);
}

#[test]
fn version_2_is_read_wherever_the_driver_puts_it() {
    v2(
        "system.slice/docker-ID.scope",
        "0::/system.slice/docker-ID.scope\n",
        true,
    );
    v2("docker/ID", "0::/docker/ID\n", true);
    // A service manager inside the container has moved its processes down.
    v2("docker/ID", "0::/docker/ID/init.scope\n", true);
    // Seen from another cgroup namespace.
    v2(
        "system.slice/docker-ID.scope",
        "0::/../docker-ID.scope\n",
        true,
    );
    v2(
        "my.slice/docker-ID.scope",
        "0::/my.slice/docker-ID.scope\n",
        true,
    );
    v2("elsewhere/ID", "0::/\n", false);
}

#[test]
fn version_1_is_read_controller_by_controller() {
    let (_dir, roots) = tree(&[
        (
            "proc/77/cgroup",
            "9:memory:/docker/ID\n4:cpu,cpuacct:/docker/ID\n3:pids:/docker/ID\n2:blkio:/docker/ID\n",
        ),
        (
            "sys/fs/cgroup/cpu,cpuacct/docker/ID/cpuacct.usage",
            "2500000000\n",
        ),
        (
            "sys/fs/cgroup/cpu,cpuacct/docker/ID/cpuacct.stat",
            "user 200\nsystem 50\n",
        ),
        (
            "sys/fs/cgroup/cpu,cpuacct/docker/ID/cpu.cfs_quota_us",
            "-1\n",
        ),
        ("sys/fs/cgroup/cpu,cpuacct/docker/ID/cpu.shares", "1024\n"),
        (
            "sys/fs/cgroup/memory/docker/ID/memory.usage_in_bytes",
            "10485760\n",
        ),
        (
            "sys/fs/cgroup/memory/docker/ID/memory.stat",
            "cache 1\ntotal_cache 6291456\ntotal_rss 4194304\ntotal_inactive_file 2097152\n",
        ),
        (
            "sys/fs/cgroup/memory/docker/ID/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        (
            "sys/fs/cgroup/memory/docker/ID/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        ),
        (
            "sys/fs/cgroup/blkio/docker/ID/blkio.throttle.io_service_bytes",
            "8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288\n",
        ),
        ("sys/fs/cgroup/pids/docker/ID/pids.current", "5\n"),
    ]);
    let places = Places::find(&roots, ID, 77, false).unwrap();
    let usage = places.read(&roots.sys, None).unwrap();
    assert_eq!(usage.cpu.usage, Some(2.5));
    assert_eq!((usage.cpu.user, usage.bounds.quota), (Some(2.0), None));
    assert_eq!(usage.memory.working_set, Some(8_388_608.0));
    assert_eq!(
        (usage.bounds.memory, usage.memory.oom_kills),
        (Some(0.0), Some(2.0))
    );
    assert_eq!(
        (usage.blocks[0].device.as_str(), usage.blocks[0].read_bytes),
        ("8:0", 4096.0)
    );
    assert_eq!(usage.pids, Some(5.0));
}

#[test]
fn a_process_of_another_host_is_not_taken_for_ours() {
    let (_dir, roots) = tree(&[
        ("proc/77/cgroup", "0::/user.slice\n"),
        ("sys/fs/cgroup/cgroup.controllers", ""),
    ]);
    assert_eq!(Places::find(&roots, ID, 77, true), None);
}
