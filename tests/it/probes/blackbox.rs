//! Debian's blackbox_exporter, and what it says.

use std::collections::BTreeMap;
use std::path::Path;

use stackwatch_tests::http;

use super::Series;
use super::servers::{Nginx, Running, free_port, until_open};

/// Modules that mean what our options mean.
const MODULES: &str = r#"modules:
  http: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: "CA"}}}
  http_body: {prober: http, http: {preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: [hello]}}
  http_post: {prober: http, http: {preferred_ip_protocol: ip4, method: POST, body: text, headers: {X-Key: v}, valid_status_codes: [201]}}
  http_auth: {prober: http, http: {preferred_ip_protocol: ip4, basic_auth: {username: user, password: hunter2}}}
  http_not_followed: {prober: http, http: {preferred_ip_protocol: ip4, follow_redirects: false, valid_status_codes: [302]}}
  http_insecure: {prober: http, http: {preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}}
  tcp: {prober: tcp, tcp: {preferred_ip_protocol: ip4}}
  tcp_talk: {prober: tcp, tcp: {preferred_ip_protocol: ip4, query_response: [{send: 'GET /'}, {expect: '^he(\w+)'}]}}
  tls: {prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true, tls_config: {ca_file: "CA"}}}
  icmp: {prober: icmp, icmp: {preferred_ip_protocol: ip4}}
  dns_a: {prober: dns, dns: {preferred_ip_protocol: ip4, query_name: host.example.test, query_type: A}}
  dns_tcp: {prober: dns, dns: {preferred_ip_protocol: ip4, transport_protocol: tcp, query_name: host.example.test, query_type: A}}
  dns_mx: {prober: dns, dns: {preferred_ip_protocol: ip4, query_name: example.test, query_type: MX}}
  dns_gone: {prober: dns, dns: {preferred_ip_protocol: ip4, query_name: gone.example.test, query_type: A}}
"#;

/// A running blackbox_exporter.
pub(super) struct Blackbox {
    address: String,
    _running: Running,
}

/// What one probe said.
pub(super) struct Said {
    pub(super) series: Series,
    /// Type and help by family.
    pub(super) families: BTreeMap<String, (String, String)>,
}

impl Blackbox {
    /// `None` when it is not installed.
    pub(super) fn start(dir: &Path, nginx: &Nginx) -> Option<Blackbox> {
        let modules = MODULES.replace("CA", nginx.ca().to_str()?);
        let file = dir.join("blackbox.yml");
        std::fs::write(&file, modules).ok()?;
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let running = Running::start(
            "prometheus-blackbox-exporter",
            &[
                &format!("--config.file={}", file.display()),
                &format!("--web.listen-address={address}"),
            ],
        )?;
        until_open(port);
        Some(Blackbox {
            address,
            _running: running,
        })
    }

    /// Probes once.
    pub(super) fn probe(&self, module: &str, target: &str) -> Said {
        let path = format!("/probe?module={module}&target={}", http::encode(target));
        let answer = http::request("GET", &self.address, &path, &[], "").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut said = Said {
            series: Series::new(),
            families: BTreeMap::new(),
        };
        for line in answer.body.lines() {
            if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '))
            {
                said.families.entry(name.to_owned()).or_default().1 = text.to_owned();
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
            {
                said.families.entry(name.to_owned()).or_default().0 = kind.to_owned();
            } else if let Some((series, value)) = line.rsplit_once(' ') {
                let series = match series.ends_with('}') {
                    true => series.to_owned(),
                    false => format!("{series}{{}}"),
                };
                said.series.insert(series, value.parse().unwrap());
            }
        }
        said
    }
}
