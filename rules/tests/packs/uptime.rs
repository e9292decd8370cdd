//! `rules/packs/uptime.yml`.

use crate::scene::{BASE, Line, always, check, fires, quiet, step};

const PROBE: &str = "probe_success{job=\"blackbox\",instance=\"https://example.org\"}";
const EXPIRY: &str =
    "probe_ssl_earliest_cert_expiry{job=\"blackbox\",instance=\"https://example.org\"}";
const DAY: f64 = 86_400.0;

fn probe(v: f64) -> Vec<Line> {
    vec![(PROBE, always(v))]
}

#[test]
fn probes() {
    check("ProbeFailing", 5, probe(0.0), probe(1.0));
    quiet("ProbeFailing", 5, vec![(PROBE, step(240.0, 1.0, 0.0))]);
    // Two minutes good, two minutes bad.
    let flaps: Line = (
        PROBE,
        Box::new(|s| Some(f64::from(u8::from(((s / 120.0) as u64).is_multiple_of(2))))),
    );
    check("ProbeFlapping", 40, vec![flaps], probe(1.0));
    quiet("ProbeFlapping", 40, vec![(PROBE, step(600.0, 1.0, 0.0))]);
}

#[test]
fn certificates() {
    let expires = |days: f64| -> Vec<Line> { vec![(EXPIRY, always(BASE + days * DAY))] };
    check("CertificateExpiresSoon", 20, expires(13.0), expires(15.0));
    check("CertificateExpires", 5, expires(2.0), expires(4.0));
    fires("CertificateExpires", 5, expires(-1.0));
    // Only one of the two pages.
    quiet("CertificateExpiresSoon", 20, expires(2.0));
}

#[test]
fn heartbeats() {
    let late =
        |v: f64| -> Vec<Line> { vec![("stackwatch_heartbeat_late{name=\"backup\"}", always(v))] };
    check("HeartbeatLate", 1, late(1.0), late(0.0));
    let failed =
        |v: f64| -> Vec<Line> { vec![("stackwatch_heartbeat_failed{name=\"backup\"}", always(v))] };
    check("HeartbeatFailed", 1, failed(1.0), failed(0.0));
}

#[test]
fn backup_files() {
    let matches = |v: f64| -> Vec<Line> {
        vec![(
            "stackwatch_file_matches{name=\"db\",path=\"/b/*\"}",
            always(v),
        )]
    };
    check("BackupFileMissing", 12, matches(0.0), matches(3.0));
    let file = |age_days: f64, megabytes: f64| -> Vec<Line> {
        vec![
            (
                "stackwatch_file_mtime_seconds{name=\"db\",path=\"/b/*\"}",
                always(BASE - age_days * DAY),
            ),
            (
                "stackwatch_file_age_max_seconds{name=\"db\",path=\"/b/*\"}",
                always(1.1 * DAY),
            ),
            (
                "stackwatch_file_size_bytes{name=\"db\",path=\"/b/*\"}",
                always(megabytes * 1e6),
            ),
            (
                "stackwatch_file_size_min_bytes{name=\"db\",path=\"/b/*\"}",
                always(10e6),
            ),
        ]
    };
    check("BackupFileTooOld", 8, file(1.2, 20.0), file(0.5, 20.0));
    check("BackupFileTooSmall", 5, file(0.5, 2.0), file(0.5, 20.0));
    // Still being written.
    quiet("BackupFileTooSmall", 5, file(0.0, 2.0));
}
