//! What postgres_exporter tells about itself and its connection.

use std::time::Duration;

use super::facts::Facts;
use super::spec::Out;
use crate::exposition::Kind;
use crate::host::USER_HZ;

/// `pg_static`.
pub(super) fn put_static(facts: &Facts, out: &mut impl Out) {
    let labels = [
        ("server", facts.server.as_str()),
        ("short_version", &facts.short_version()),
        ("version", &facts.version),
    ];
    out.family(
        "pg_static",
        Kind::Unknown,
        "Always 1; labels tell the server's version.",
    );
    out.sample("pg_static", &labels, 1.0);
}

/// `pg_scrape_collector_*`: name, whether it worked, and how long it took when last asked.
pub(super) fn put_collectors<'a>(
    collectors: impl Iterator<Item = (&'a str, bool, Duration)> + Clone,
    out: &mut impl Out,
) {
    out.family(
        "pg_scrape_collector_success",
        Kind::Gauge,
        "1 when the collector worked when it was last asked.",
    );
    for (name, ok, _) in collectors.clone() {
        let value = f64::from(u8::from(ok));
        out.sample("pg_scrape_collector_success", &[("collector", name)], value);
    }
    out.family(
        "pg_scrape_collector_duration_seconds",
        Kind::Gauge,
        "Seconds the collector took when it was last asked.",
    );
    for (name, _, took) in collectors {
        let labels = [("collector", name)];
        let value = took.as_secs_f64();
        out.sample("pg_scrape_collector_duration_seconds", &labels, value);
    }
}

/// `pg_up` and `pg_exporter_*`.
pub(super) fn put_exporter(
    up: bool,
    failed: bool,
    took: Duration,
    scrapes: u64,
    out: &mut impl Out,
) {
    let flag = |on: bool| f64::from(u8::from(on));
    for (name, kind, help, value) in [
        (
            "pg_up",
            Kind::Gauge,
            "1 when the server answered.",
            flag(up),
        ),
        (
            "pg_exporter_last_scrape_error",
            Kind::Gauge,
            "1 when something could not be collected.",
            flag(failed),
        ),
        (
            "pg_exporter_last_scrape_duration_seconds",
            Kind::Gauge,
            "Seconds the last collection took.",
            took.as_secs_f64(),
        ),
        (
            "pg_exporter_scrapes_total",
            Kind::Counter,
            "Collections so far.",
            scrapes as f64,
        ),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value);
    }
}

/// `process_*` of this process, which is the exporter: dashboards show them beside the server's.
pub(super) fn put_process(out: &mut impl Out) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return;
    };
    // proc(5) counts from 1; the state, which comes first here, is the third.
    let field = |number: usize| -> f64 {
        let text = rest.split_ascii_whitespace().nth(number - 3);
        text.and_then(|t| t.parse().ok()).unwrap_or(0.0)
    };
    let page = rustix::param::page_size() as f64;
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            Kind::Counter,
            "Seconds of CPU time of stackwatch, which collects this.",
            (field(14) + field(15)) / USER_HZ,
        ),
        (
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory of stackwatch, which collects this.",
            field(24) * page,
        ),
        (
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory of stackwatch, which collects this.",
            field(23),
        ),
        (
            "process_open_fds",
            Kind::Gauge,
            "Open files of stackwatch, which collects this.",
            files as f64,
        ),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::spec::tests::Told;

    #[test]
    fn the_process_is_told_as_the_exporters_would_be() {
        let mut told = Told::default();
        put_process(&mut told);
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds"] {
            let line = told
                .0
                .lines()
                .find(|l| l.starts_with(&format!("process_{name}{{")));
            let value: f64 = line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap();
            assert!(value >= 0.0, "{name}");
        }
    }
}
