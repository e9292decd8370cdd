//! Probes beside blackbox_exporter: the same servers, the same families, types, labels and values.
//! And heartbeats and watched files, over a `kill -9`.

mod blackbox;
mod servers;

use std::collections::BTreeMap;
use std::time::Duration;

use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, http, skipped};

use blackbox::Blackbox;
use servers::{Dns, Nginx};

const LIMIT: Duration = Duration::from_secs(30);

/// Series by family and labels.
pub(crate) type Series = BTreeMap<String, f64>;

/// One probe of both.
struct Case {
    /// For us.
    url: String,
    options: String,
    /// For blackbox_exporter.
    module: &'static str,
    /// Whether it succeeds.
    good: bool,
}

impl Case {
    /// What blackbox_exporter is told to probe: the URL, or the address in it.
    fn target(&self) -> &str {
        match self.url.split_once("://") {
            Some(("http" | "https", _)) | None => &self.url,
            Some((_, rest)) => rest.split('/').next().unwrap_or(rest),
        }
    }
}

#[test]
fn probes_tell_what_blackbox_exporter_tells() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(nginx), Some(dns)) = (Nginx::start(dir.path()), Dns::start()) else {
        return skipped("no nginx, openssl or dnsmasq");
    };
    let Some(blackbox) = Blackbox::start(dir.path(), &nginx) else {
        return skipped("no prometheus-blackbox-exporter");
    };
    let ca = format!("tls_config: {{ca_file: '{}'}}", nginx.ca().display());
    let plain = nginx.plain();
    let web = |path: &str| format!("http://127.0.0.1:{plain}{path}");
    let secure = |port: u16| format!("https://localhost:{port}/");
    let tcp = |port: u16| format!("tcp://127.0.0.1:{port}");
    let name = |rest: &str| format!("dns://127.0.0.1:{}/{rest}", dns.port());
    let body = "fail_if_body_not_matches_regexp: [hello]";
    let post = "method: POST, body: text, headers: {X-Key: v}, valid_status_codes: [201]";
    let talk = r"query_response: [{send: 'GET /'}, {expect: '^he(\w+)'}]";
    let cases = [
        (web("/"), "", "http", true),
        (web("/missing"), "", "http", false),
        (web("/chunked"), "", "http", true),
        (web("/loop"), "", "http", false),
        (web("/moved"), "", "http", true),
        (web("/cookie"), "", "http", true),
        (web("/"), body, "http_body", true),
        (web("/other"), body, "http_body", false),
        (web("/post"), post, "http_post", true),
        (
            web("/auth"),
            "basic_auth: {username: user, password: hunter2}",
            "http_auth",
            true,
        ),
        (
            web("/moved"),
            "follow_redirects: false, valid_status_codes: [302]",
            "http_not_followed",
            true,
        ),
        (web("/secure"), &ca, "http", true),
        (secure(nginx.good()), &ca, "http", true),
        (secure(nginx.expired()), &ca, "http", false),
        (secure(nginx.other_name()), &ca, "http", false),
        (secure(nginx.self_signed()), &ca, "http", false),
        (
            secure(nginx.expired()),
            "tls_config: {insecure_skip_verify: true}",
            "http_insecure",
            true,
        ),
        (
            format!("http://127.0.0.1:{}/", nginx.closed()),
            "",
            "http",
            false,
        ),
        (tcp(plain), "", "tcp", true),
        (tcp(nginx.closed()), "", "tcp", false),
        (tcp(plain), talk, "tcp_talk", true),
        (
            format!("tls://localhost:{}", nginx.good()),
            &ca,
            "tls",
            true,
        ),
        ("icmp://127.0.0.1".to_owned(), "", "icmp", true),
        (name("host.example.test"), "", "dns_a", true),
        (name("example.test?type=MX"), "", "dns_mx", true),
        (name("gone.example.test"), "", "dns_gone", false),
        (
            name("host.example.test"),
            "transport_protocol: tcp",
            "dns_tcp",
            true,
        ),
    ]
    .map(|(url, options, module, good)| Case {
        url,
        options: options.to_owned(),
        module,
        good,
    });
    compare(&cases, dir.path(), &blackbox);
}

fn compare(cases: &[Case], dir: &std::path::Path, blackbox: &Blackbox) {
    let probes: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(i, case)| {
            let comma = if case.options.is_empty() { "" } else { ", " };
            format!(
                "    - {{url: '{}', instance: case{i}, preferred_ip_protocol: ip4{comma}{}}}\n",
                case.url, case.options
            )
        })
        .collect();
    let config = format!(
        "collect:\n  interval: 1s\n  timeout: 1s\n  host: false\n  docker: false\n  probes:\n{}",
        probes.concat()
    );
    let stackwatch = Stackwatch::start(dir, &config);
    let mut families = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        let what = format!("{} {} ({})", case.url, case.options, case.module);
        let selector = format!("{{job=\"blackbox\",instance=\"case{i}\"}}");
        let ours = eventually(&what, LIMIT, || {
            let series = own_series(&stackwatch.query(&selector));
            series.contains_key("probe_success{}").then_some(series)
        });
        let theirs = blackbox.probe(case.module, case.target());
        same(&what, &ours, &theirs.series);
        let good = f64::from(u8::from(case.good));
        assert_eq!(ours.get("probe_success{}"), Some(&good), "{what}");
        families.extend(theirs.families);
        // The prober itself works.
        let up = format!("up{selector}");
        assert_eq!(stackwatch.value(&up), Some(1.0), "{what}");
    }
    let metadata = metadata(&stackwatch);
    for (family, described) in families {
        assert_eq!(metadata.get(&family), Some(&described), "{family}");
    }
    let log = stackwatch.log();
    assert!(!log.contains("hunter2"), "a password is in the log");
    let shown = stackwatch.get("/api/v1/targets").body;
    assert!(!shown.contains("hunter2"), "a password is in the targets");
    for why in [
        "status 404, wanted 2xx",
        "does not match",
        "connecting to",
        "Expired",
    ] {
        assert!(
            shown.to_lowercase().contains(&why.to_lowercase()),
            "{why}: {shown}"
        );
    }
}

/// Compares all that is no duration. What may differ is named here and nowhere else.
fn same(what: &str, ours: &Series, theirs: &Series) {
    // The version of 2022 does not tell the cipher; later ones do.
    let only_ours = |key: &str| key.starts_with("probe_tls_cipher_info");
    // Of a certificate that does not verify blackbox_exporter tells nothing.
    let unverified = !theirs.keys().any(|k| k.starts_with("probe_ssl"));
    let keys = |series: &Series| -> Vec<String> {
        let kept = series.keys().filter(|k| !only_ours(k));
        kept.filter(|k| !(unverified && k.starts_with("probe_ssl")))
            .cloned()
            .collect()
    };
    assert_eq!(keys(ours), keys(theirs), "{what}");
    for (key, value) in theirs {
        let duration = key.contains("duration_seconds") || key.contains("lookup_time");
        let equal = (ours[key] - value).abs() < 1e-9;
        assert!(
            duration || equal,
            "{what}: {key} is {}, not {value}",
            ours[key]
        );
    }
    if what.contains("https") && unverified {
        let expiry = ours.get("probe_ssl_earliest_cert_expiry{}");
        assert!(
            expiry.is_some_and(|at| *at > 1e9),
            "{what}: its expiry is told"
        );
    }
}

/// Without the labels of the target and the series every target has.
fn own_series(result: &[serde_json::Value]) -> Series {
    let each = result.iter().map(|s| {
        let labels = s["metric"].as_object().unwrap();
        let own: Vec<String> = labels
            .iter()
            .filter(|(n, _)| !["__name__", "job", "instance"].contains(&n.as_str()))
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        let name = labels["__name__"].as_str().unwrap();
        let value = s["value"][1].as_str().unwrap().parse().unwrap();
        (format!("{name}{{{}}}", own.join(",")), value)
    });
    each.filter(|(key, _): &(String, f64)| key.starts_with("probe_"))
        .collect()
}

/// Type and help by family.
fn metadata(stackwatch: &Stackwatch) -> BTreeMap<String, (String, String)> {
    let found = stackwatch.get("/api/v1/metadata").json()["data"].clone();
    let families = found.as_object().unwrap().iter();
    families
        .map(|(name, said)| {
            let text = |key: &str| said[0][key].as_str().unwrap().to_owned();
            (name.clone(), (text("type"), text("help")))
        })
        .collect()
}

#[test]
fn a_heartbeat_and_a_backup_are_remembered_and_missed() {
    let dir = tempfile::tempdir().unwrap();
    let backups = dir.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    std::fs::write(backups.join("one.dump"), "12345").unwrap();
    let config = format!(
        "collect:\n  interval: 1s\n  host: false\n  docker: false\n  heartbeats:\n    \
         - {{name: Nightly Backup, period: 1d, ping_key: s3cret}}\n    - {{name: short, period: 1s, grace: 1s}}\n  \
         files:\n    - {{path: '{0}/*.dump', name: db, max_age: 1d, min_size: 10}}\n    \
         - {{path: '{0}/*.gone'}}\n\
         rules: {{interval: 1s}}\n",
        backups.display()
    );
    let mut stackwatch = Stackwatch::start(dir.path(), &config);
    let ping = |stackwatch: &Stackwatch, path: &str, body: &str| {
        let sent = http::request("POST", stackwatch.listen(), path, &[], body);
        sent.unwrap().status
    };
    let key = "/ping/s3cret/nightly-backup";
    assert_eq!(ping(&stackwatch, "/ping/nightly-backup", ""), 404);
    assert_eq!(ping(&stackwatch, "/ping/wrong/nightly-backup", ""), 404);
    assert_eq!(ping(&stackwatch, &format!("{key}/start"), ""), 200);
    assert_eq!(
        ping(&stackwatch, &format!("{key}/3"), "password=hunter2"),
        200
    );
    let failed = "stackwatch_heartbeat_failed{name=\"Nightly Backup\"} == 1";
    eventually(failed, LIMIT, || stackwatch.value(failed));
    let at = "stackwatch_heartbeat_last_failure_timestamp_seconds";
    let told = stackwatch.value(at).unwrap();

    // What was acknowledged is known after a crash.
    stackwatch.kill_and_restart();
    let fresh = format!("{at} and timestamp({at}) > {told} + 1");
    let after = eventually(at, LIMIT, || stackwatch.value(&fresh));
    assert!((after - told).abs() < 1e-3, "{after} is not {told}");
    for (expr, value) in [
        ("stackwatch_heartbeat_last_exit_status", 3.0),
        ("stackwatch_heartbeat_last_body_bytes", 16.0),
        (
            "stackwatch_heartbeat_pings_total{name=\"Nightly Backup\",kind=\"start\"}",
            1.0,
        ),
        ("stackwatch_file_size_bytes", 5.0),
        ("stackwatch_file_matches{name=\"db\"}", 1.0),
        ("stackwatch_file_size_min_bytes", 10.0),
    ] {
        let found = eventually(expr, LIMIT, || stackwatch.value(expr));
        assert!(
            (found - value).abs() < 1e-9,
            "{expr} is {found}, not {value}"
        );
    }
    // The shipped rules say so.
    for alert in [
        "ALERTS{alertname=\"HeartbeatFailed\",name=\"Nightly Backup\",alertstate=\"firing\"}",
        "ALERTS{alertname=\"HeartbeatLate\",name=\"short\",alertstate=\"firing\"}",
        "ALERTS{alertname=\"BackupFileMissing\",alertstate=\"pending\"}",
    ] {
        eventually(alert, Duration::from_secs(60), || stackwatch.value(alert));
    }
    assert_eq!(ping(&stackwatch, key, ""), 200);
    let well = "stackwatch_heartbeat_up{name=\"Nightly Backup\"} == 1";
    eventually(well, LIMIT, || stackwatch.value(well));
    for secret in ["hunter2", "s3cret"] {
        assert!(!stackwatch.log().contains(secret));
        assert!(!stackwatch.get("/api/v1/targets").body.contains(secret));
        assert!(
            !stackwatch
                .get("/api/v1/status/config")
                .body
                .contains(secret)
        );
    }
}
