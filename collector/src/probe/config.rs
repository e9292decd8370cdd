//! One entry of `collect.probes`: the URL says what to probe and how, options stand beside it
//! under the names blackbox_exporter's modules give them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::{Labels, Regex};
use reqwest::Url;
use scrub::Scrubber;
use serde::Deserialize;

use super::dns::Question;
use crate::masked::masked;
use crate::scrape::{Authorization, BasicAuth, Secret, one_at_most};
use crate::tls::TlsConfig;

/// The `job` label unless a probe sets its own: community dashboards and rules ask for it.
const DEFAULT_JOB: &str = "blackbox";
/// Most bytes of an HTTP body read unless a probe sets its own limit. A longer one fails the probe.
pub(super) const BODY_BYTES_MAX: u64 = 10 << 20;
/// Longest payload of an ICMP echo, bytes: what fits into a packet of 64 KiB.
const ICMP_PAYLOAD_BYTES_MAX: usize = 65_000;
/// Longest an echo, a request or a join may wait: nobody wants to hear later.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// What to probe, how often, and what counts as success.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// `http://`, `https://`, `tcp://host:port`, `tls://host:port`, `dns://server/name?type=A`,
    /// `icmp://host`, `ws://` or `wss://`. It may hold a password.
    pub url: Secret,
    /// Time between two probes; `collect.interval` when absent.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub interval: Option<Duration>,
    /// How long one may take; `collect.timeout` when absent, at most the interval.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub timeout: Option<Duration>,
    /// The `job` label; `blackbox` when absent.
    pub job: Option<String>,
    /// The `instance` label; when absent the URL, without credentials.
    pub instance: Option<String>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// `ip4` or `ip6`; when absent the address the system would connect to first.
    pub preferred_ip_protocol: Option<IpProtocol>,
    /// Whether the other kind of address will do. Yes when absent.
    pub ip_protocol_fallback: Option<bool>,
    /// TLS settings. Files are read at each probe.
    pub tls_config: TlsConfig,
    /// HTTP: the method; GET when absent.
    pub method: Option<String>,
    /// HTTP, WebSocket: headers of the request. `Host` is taken as the name asked for.
    pub headers: BTreeMap<String, Secret>,
    /// HTTP: the body of the request.
    pub body: Option<Secret>,
    /// HTTP: status codes that count as success; any 2xx when empty.
    pub valid_status_codes: Vec<u16>,
    /// HTTP: versions that count as success, `HTTP/1.1` for example; any when empty.
    pub valid_http_versions: Vec<String>,
    /// HTTP: fail when the last answer came over TLS.
    pub fail_if_ssl: bool,
    /// HTTP: fail when the last answer did not come over TLS.
    pub fail_if_not_ssl: bool,
    /// HTTP: fail when the body matches one of these.
    pub fail_if_body_matches_regexp: Vec<String>,
    /// HTTP: fail unless the body matches each of these.
    pub fail_if_body_not_matches_regexp: Vec<String>,
    /// HTTP: fail when a header matches.
    pub fail_if_header_matches: Vec<HeaderMatch>,
    /// HTTP: fail when a header does not match.
    pub fail_if_header_not_matches: Vec<HeaderMatch>,
    /// HTTP: whether redirects are followed, up to ten. Yes when absent.
    pub follow_redirects: Option<bool>,
    /// HTTP: most bytes of a body that are read; 10 MiB when absent.
    #[serde(deserialize_with = "crate::scrape::bytes_option")]
    pub body_size_limit: Option<u64>,
    /// HTTP, WebSocket: basic authentication. What the URL says before `@` means the same.
    pub basic_auth: Option<BasicAuth>,
    /// HTTP, WebSocket: the Authorization header.
    pub authorization: Option<Authorization>,
    /// HTTP, WebSocket: old spelling of `authorization: {credentials: …}`.
    pub bearer_token: Option<Secret>,
    /// HTTP, WebSocket: old spelling of `authorization: {credentials_file: …}`.
    pub bearer_token_file: Option<PathBuf>,
    /// TCP, TLS, WebSocket: what to wait for and what to say, in turn.
    pub query_response: Vec<QueryResponse>,
    /// WebSocket: join a channel of Supabase Realtime and have a heartbeat answered.
    pub realtime: Option<Realtime>,
    /// DNS: the name asked for; else the path of the URL.
    pub query_name: Option<String>,
    /// DNS: the type asked for; else `type` in the URL, else A.
    pub query_type: Option<String>,
    /// DNS: `udp` or `tcp`; udp when absent.
    pub transport_protocol: Option<Transport>,
    /// DNS: whether the server may ask others. Yes when absent.
    pub recursion_desired: Option<bool>,
    /// DNS: answers that count as success; NOERROR when empty.
    pub valid_rcodes: Vec<String>,
    /// DNS: what the answer section must look like.
    pub validate_answer_rrs: Option<RecordMatch>,
    /// DNS: what the authority section must look like.
    pub validate_authority_rrs: Option<RecordMatch>,
    /// DNS: what the additional section must look like.
    pub validate_additional_rrs: Option<RecordMatch>,
    /// ICMP: bytes of the echo's payload; 36 when absent.
    pub payload_size: Option<usize>,
    /// It was found in labels and not written down: names that lead to this machine itself or its
    /// link are not followed.
    #[serde(skip)]
    pub(crate) found: bool,
}

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpProtocol {
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
}

/// How a DNS question travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// In a datagram.
    #[default]
    Udp,
    /// Over a connection.
    Tcp,
}

/// A condition on a header of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// Its name.
    pub header: String,
    /// What its value is matched with, anywhere in it.
    pub regexp: String,
    /// Whether its absence is no failure.
    #[serde(default)]
    pub allow_missing: bool,
}

/// One step of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryResponse {
    /// Read until a line (WebSocket: the next message) matches this.
    pub expect: Option<String>,
    /// Then send this; `${1}` stands for a group of `expect`. TCP adds a line end.
    pub send: Option<Secret>,
    /// Then go on over TLS.
    pub starttls: bool,
}

/// What records of a DNS section must look like, as `name TTL class type data` with tabs between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordMatch {
    /// Fail when one record matches one of these.
    pub fail_if_matches_regexp: Vec<String>,
    /// Fail when all records match one of these.
    pub fail_if_all_match_regexp: Vec<String>,
    /// Fail when one record does not match one of these.
    pub fail_if_not_matches_regexp: Vec<String>,
    /// Fail when no record matches one of these.
    pub fail_if_none_matches_regexp: Vec<String>,
}

/// How Supabase Realtime is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Realtime {
    /// The channel joined; `realtime:stackwatch` when absent.
    pub topic: Option<String>,
    /// The project's anon key; sent as `apikey` and when joining.
    pub api_key: Option<Secret>,
    /// File that holds it; read at each probe.
    pub api_key_file: Option<PathBuf>,
}

/// What is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prober {
    Http,
    Tcp,
    Tls,
    Dns,
    Icmp,
    WebSocket,
}

impl Prober {
    fn of(scheme: &str) -> Option<Prober> {
        Some(match scheme {
            "http" | "https" => Prober::Http,
            "tcp" => Prober::Tcp,
            "tls" => Prober::Tls,
            "dns" => Prober::Dns,
            "icmp" => Prober::Icmp,
            "ws" | "wss" => Prober::WebSocket,
            _ => return None,
        })
    }
}

impl ProbeConfig {
    /// The URL and who probes it.
    ///
    /// # Errors
    /// When it is not one we know how to probe. The text does not show it: it may hold a password.
    pub(super) fn parsed(&self) -> Result<(Url, Prober), String> {
        if self.url.0.is_empty() {
            return Err("url is missing".to_owned());
        }
        let url = Url::parse(&self.url.0).map_err(|e| format!("url: {e}"))?;
        let Some(prober) = Prober::of(url.scheme()) else {
            return Err(format!(
                "url: the scheme {:?} is none of http, https, tcp, tls, dns, icmp, ws, wss",
                url.scheme()
            ));
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err("url has no host".to_owned());
        }
        if matches!(prober, Prober::Tcp | Prober::Tls) && url.port().is_none() {
            return Err("url has no port".to_owned());
        }
        Ok((url, prober))
    }

    /// The URL as it is shown: without user and password, and with other secrets left out.
    pub(crate) fn shown(&self, scrubber: &Scrubber) -> String {
        let Ok((mut url, _)) = self.parsed() else {
            return String::new();
        };
        // Both fail only for URLs without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let plain = match without_userinfo(&self.url.0) {
            // As written, where the parser would have added a slash or a default.
            Some(written) => written,
            None => url.as_str().to_owned(),
        };
        scrubber.line(masked(&plain).as_bytes()).as_str().to_owned()
    }

    /// The labels of everything the probe tells.
    pub(crate) fn target_labels(&self, scrubber: &Scrubber) -> Labels {
        let instance = match &self.instance {
            Some(instance) => instance.clone(),
            None => self.shown(scrubber),
        };
        let mut labels = Labels::from_pairs([
            ("job", self.job.as_deref().unwrap_or(DEFAULT_JOB)),
            ("instance", instance.as_str()),
        ])
        .to_builder();
        for (name, value) in &self.labels {
            labels.set(name.as_str(), value.as_str());
        }
        labels.build()
    }

    /// Interval and timeout, given those of `collect`.
    pub(crate) fn timing(&self, interval: Duration, timeout: Duration) -> (Duration, Duration) {
        let interval = self.interval.unwrap_or(interval);
        (interval, self.timeout.unwrap_or(timeout).min(interval))
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (url, prober) = self.parsed()?;
        for (key, duration) in [("interval", self.interval), ("timeout", self.timeout)] {
            if duration.is_some_and(|d| d.is_zero()) {
                return Err(format!("{key} must be positive"));
            }
        }
        if self.timeout.is_some_and(|t| t > TIMEOUT_MAX) {
            return Err("timeout must be at most 5m".to_owned());
        }
        self.check_belongs(prober)?;
        for pattern in self.patterns() {
            Regex::unanchored(pattern).map_err(|e| format!("{pattern:?}: {e}"))?;
        }
        for (name, value) in &self.headers {
            let fits = hyper::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && hyper::header::HeaderValue::from_str(&value.0).is_ok();
            if !fits {
                return Err(format!("headers: {name:?} cannot be sent"));
            }
        }
        if let Some(method) = &self.method
            && hyper::Method::from_bytes(method.as_bytes()).is_err()
        {
            return Err(format!("method: {method:?} is none"));
        }
        for name in self.labels.keys() {
            if name.is_empty() || name.starts_with("__") || name == "job" || name == "instance" {
                return Err(format!("labels: {name:?} cannot be set here"));
            }
        }
        one_at_most([
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            self.bearer_token.is_some(),
            self.bearer_token_file.is_some(),
        ])?;
        self.tls_config.check()?;
        if self.payload_size.unwrap_or(0) > ICMP_PAYLOAD_BYTES_MAX {
            return Err(format!(
                "payload_size must be at most {ICMP_PAYLOAD_BYTES_MAX}"
            ));
        }
        if prober == Prober::Dns {
            Question::new(self, &url)?;
        }
        Ok(())
    }

    /// An option that the prober would never look at is a mistake somebody relies on.
    fn check_belongs(&self, prober: Prober) -> Result<(), String> {
        use Prober::{Dns, Http, Icmp, Tcp, Tls, WebSocket};
        let options: [(&str, bool, &[Prober]); 25] = [
            ("method", self.method.is_some(), &[Http]),
            ("headers", !self.headers.is_empty(), &[Http, WebSocket]),
            ("body", self.body.is_some(), &[Http]),
            (
                "valid_status_codes",
                !self.valid_status_codes.is_empty(),
                &[Http],
            ),
            (
                "valid_http_versions",
                !self.valid_http_versions.is_empty(),
                &[Http],
            ),
            ("fail_if_ssl", self.fail_if_ssl, &[Http]),
            ("fail_if_not_ssl", self.fail_if_not_ssl, &[Http]),
            (
                "fail_if_body_matches_regexp",
                !self.fail_if_body_matches_regexp.is_empty(),
                &[Http],
            ),
            (
                "fail_if_body_not_matches_regexp",
                !self.fail_if_body_not_matches_regexp.is_empty(),
                &[Http],
            ),
            (
                "fail_if_header_matches",
                !self.fail_if_header_matches.is_empty(),
                &[Http],
            ),
            (
                "fail_if_header_not_matches",
                !self.fail_if_header_not_matches.is_empty(),
                &[Http],
            ),
            ("follow_redirects", self.follow_redirects.is_some(), &[Http]),
            ("body_size_limit", self.body_size_limit.is_some(), &[Http]),
            ("basic_auth", self.basic_auth.is_some(), &[Http, WebSocket]),
            (
                "authorization",
                self.authorization.is_some(),
                &[Http, WebSocket],
            ),
            (
                "bearer_token",
                self.bearer_token.is_some() || self.bearer_token_file.is_some(),
                &[Http, WebSocket],
            ),
            (
                "query_response",
                !self.query_response.is_empty(),
                &[Tcp, Tls, WebSocket],
            ),
            ("realtime", self.realtime.is_some(), &[WebSocket]),
            ("query_name", self.query_name.is_some(), &[Dns]),
            ("query_type", self.query_type.is_some(), &[Dns]),
            (
                "transport_protocol",
                self.transport_protocol.is_some(),
                &[Dns],
            ),
            (
                "recursion_desired",
                self.recursion_desired.is_some(),
                &[Dns],
            ),
            ("valid_rcodes", !self.valid_rcodes.is_empty(), &[Dns]),
            (
                "validate_*_rrs",
                self.sections().iter().any(Option::is_some),
                &[Dns],
            ),
            ("payload_size", self.payload_size.is_some(), &[Icmp]),
        ];
        match options
            .iter()
            .find(|(_, set, probers)| *set && !probers.contains(&prober))
        {
            Some((key, ..)) => Err(format!("{key} means nothing to a probe of this scheme")),
            None => Ok(()),
        }
    }

    /// Conditions on the answer, authority and additional section.
    pub(super) fn sections(&self) -> [Option<&RecordMatch>; 3] {
        [
            self.validate_answer_rrs.as_ref(),
            self.validate_authority_rrs.as_ref(),
            self.validate_additional_rrs.as_ref(),
        ]
    }

    fn patterns(&self) -> Vec<&str> {
        let headers = self
            .fail_if_header_matches
            .iter()
            .chain(&self.fail_if_header_not_matches);
        let records = self.sections().into_iter().flatten().flat_map(|s| {
            [
                &s.fail_if_matches_regexp,
                &s.fail_if_all_match_regexp,
                &s.fail_if_not_matches_regexp,
                &s.fail_if_none_matches_regexp,
            ]
        });
        let steps = self.query_response.iter();
        self.fail_if_body_matches_regexp
            .iter()
            .chain(&self.fail_if_body_not_matches_regexp)
            .chain(headers.map(|h| &h.regexp))
            .chain(records.flatten())
            .chain(steps.filter_map(|s| s.expect.as_ref()))
            .map(String::as_str)
            .collect()
    }
}

/// The URL as written, less what stands before an `@`.
fn without_userinfo(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(yaml: &str) -> ProbeConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn labels_are_what_community_dashboards_select_by() {
        let labels = probe("url: https://example.org").target_labels(&Scrubber::default());
        assert_eq!(
            labels.to_string(),
            r#"{instance="https://example.org", job="blackbox"}"#
        );
        let labels = probe("{url: 'icmp://h', job: ping, instance: gate, labels: {env: prod}}")
            .target_labels(&Scrubber::default());
        assert_eq!(
            labels.to_string(),
            r#"{env="prod", instance="gate", job="ping"}"#
        );
    }

    #[test]
    fn credentials_of_a_url_are_not_shown() {
        for (url, shown) in [
            ("https://u:p@h/x", "https://h/x"),
            ("https://u:a@b@h:1", "https://h:1"),
            (
                "wss://h/socket?apikey=eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl&vsn=1.0.0",
                "wss://h/socket?apikey=<secret>&vsn=1.0.0",
            ),
            ("tcp://db:5432", "tcp://db:5432"),
        ] {
            let config = probe(&format!("url: '{url}'"));
            assert_eq!(config.shown(&Scrubber::default()), shown);
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (yaml, problem) in [
            ("{}", "url is missing"),
            ("url: ftp://h", "the scheme \"ftp\" is none of"),
            ("url: tcp://h", "url has no port"),
            ("{url: 'icmp://h', method: GET}", "method means nothing"),
            (
                "{url: 'http://h', query_name: x}",
                "query_name means nothing",
            ),
            (
                "{url: 'http://h', fail_if_body_matches_regexp: ['(']}",
                "\"(\"",
            ),
            (
                "{url: 'http://h', interval: 0s}",
                "interval must be positive",
            ),
            (
                "{url: 'http://h', labels: {job: x}}",
                "\"job\" cannot be set",
            ),
            ("url: dns://h", "query_name"),
            (
                "{url: 'http://h', bearer_token: x, basic_auth: {username: u}}",
                "at most one of",
            ),
        ] {
            let found = probe(yaml).check().unwrap_err();
            assert!(found.contains(problem), "{yaml}: {found}");
        }
        assert!(serde_saphyr::from_str::<ProbeConfig>("{url: x, metod: GET}").is_err());
    }
}
