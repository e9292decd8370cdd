//! One entry of `scrape_configs`, in Prometheus' schema.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::discovery::{DockerSdConfig, FileSdConfig, HttpSdConfig};
use super::{HttpHeader, fetch, headers};
use crate::relabel::{Relabel, RelabelConfig};
use crate::tls::TlsConfig;

/// Labels of one target group; each of its targets, and each of their series, has them all.
const GROUP_LABELS_MAX: usize = 200;
/// Shortest time between two scrapes of a target: with less a single one would keep us busy.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// What is said of a shorter one.
pub(super) const INTERVAL_TOO_SHORT: &str = "the scrape interval must be at least 100ms";

/// How to scrape the targets of one job.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// The `job` label.
    pub job_name: String,
    /// Overrides the global interval.
    #[serde(default, deserialize_with = "crate::config::duration_option")]
    pub scrape_interval: Option<Duration>,
    /// Overrides the global timeout.
    #[serde(default, deserialize_with = "crate::config::duration_option")]
    pub scrape_timeout: Option<Duration>,
    /// Where the metrics are.
    #[serde(default = "default_path")]
    pub metrics_path: String,
    /// How to get there.
    #[serde(default)]
    pub scheme: Scheme,
    /// Query parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether a scraped label wins over the target's label of the same name.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether timestamps in the exposition are used.
    #[serde(default = "default_true")]
    pub honor_timestamps: bool,
    /// Whether series with their own timestamps get staleness markers too.
    #[serde(default)]
    pub track_timestamps_staleness: bool,
    /// Whether to ask for gzip.
    #[serde(default = "default_true")]
    pub enable_compression: bool,
    /// Whether to follow redirects.
    #[serde(default = "default_true")]
    pub follow_redirects: bool,
    /// How to read an answer whose Content-Type is missing or unknown; without it the scrape fails.
    #[serde(default)]
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Formats asked for, the best first. Unless set, those in text, and before them protobuf with
    /// `scrape_native_histograms`.
    #[serde(default)]
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    /// Whether native histograms are kept; otherwise their classic part is, if only count and sum.
    #[serde(default)]
    pub scrape_native_histograms: bool,
    /// Whether classic buckets are kept of histograms that have a native part too.
    #[serde(default, alias = "scrape_classic_histograms")]
    pub always_scrape_classic_histograms: bool,
    /// Not supported: only `false` passes [`ScrapeConfig::check`].
    #[serde(default)]
    pub convert_classic_histograms_to_nhcb: bool,
    /// Most occupied buckets of a native histogram: one with more is made coarser, and fails the
    /// scrape where that cannot be. 0: no limit but those of the exposition.
    #[serde(default)]
    pub native_histogram_bucket_limit: usize,
    /// By what buckets of native histograms grow at least from one to the next; finer ones are
    /// added up. 0: as fine as they come.
    #[serde(default)]
    pub native_histogram_min_bucket_factor: f64,
    /// HTTP basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// The Authorization header.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Old spelling of `authorization: {credentials: …}`.
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// Old spelling of `authorization: {credentials_file: …}`.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// Further headers of each request, by name.
    #[serde(default)]
    pub http_headers: BTreeMap<String, HttpHeader>,
    /// The proxy that requests go through, an `http` or `https` URL; it may hold a user and a
    /// password. No variable of the environment names one.
    #[serde(default)]
    pub proxy_url: Option<Secret>,
    /// TLS settings.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Targets by name.
    #[serde(default)]
    pub static_configs: Vec<StaticConfig>,
    /// Targets from files.
    #[serde(default)]
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Targets from servers.
    #[serde(default)]
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// Targets from containers.
    #[serde(default)]
    pub docker_sd_configs: Vec<DockerSdConfig>,
    /// Applied to targets before scraping.
    #[serde(default)]
    pub relabel_configs: Vec<RelabelConfig>,
    /// Applied to each scraped series.
    #[serde(default)]
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Most bytes of an answer, uncompressed. A larger one fails the scrape. 0: the built-in bound.
    #[serde(default, deserialize_with = "bytes")]
    pub body_size_limit: u64,
    /// Most samples after relabelling. 0: the built-in bound of 100,000.
    #[serde(default)]
    pub sample_limit: usize,
    /// Most labels per series. 0: no limit.
    #[serde(default)]
    pub label_limit: usize,
    /// Longest label name, bytes. 0: no limit.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// Longest label value, bytes. 0: no limit.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// Most targets. More fail all of the job's scrapes. 0: no limit.
    #[serde(default)]
    pub target_limit: usize,
    /// Most targets dropped by relabelling that are shown; all are counted. 0: the built-in bound
    /// of 1,000.
    #[serde(default)]
    pub keep_dropped_targets: usize,
}

/// Whether at most one way to authenticate is there, of those that the error lists in their order.
///
/// # Errors
/// In Prometheus' words.
pub(crate) fn one_at_most(ways: [bool; 4]) -> Result<(), String> {
    match ways.into_iter().filter(|way| *way).count() {
        0 | 1 => Ok(()),
        _ => Err(
            "at most one of basic_auth, authorization, bearer_token & bearer_token_file must be configured"
                .to_owned(),
        ),
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// An exposition format, by Prometheus' name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ScrapeProtocol {
    /// `application/vnd.google.protobuf`: the one with native histograms.
    PrometheusProto,
    /// `text/plain; version=0.0.4`.
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0_0_4,
    /// `text/plain; version=1.0.0`: names may be any UTF-8.
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1_0_0,
    /// `application/openmetrics-text; version=0.0.1`.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0_0_1,
    /// `application/openmetrics-text; version=1.0.0`.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1_0_0,
}

/// Targets that share labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StaticConfig {
    /// `host` or `host:port` each.
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(deserialize_with = "group_labels")]
    pub labels: BTreeMap<String, String>,
}

/// HTTP basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Option<Secret>,
    /// File that holds the password; read at each scrape.
    pub password_file: Option<PathBuf>,
}

/// The Authorization header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// The scheme.
    #[serde(rename = "type")]
    pub kind: String,
    /// What follows it.
    pub credentials: Option<Secret>,
    /// File that holds it; read at each scrape.
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization {
            kind: "Bearer".to_owned(),
            credentials: None,
            credentials_file: None,
        }
    }
}

/// Text that is not to be shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl ScrapeConfig {
    /// The job `name` with Prometheus' defaults and no targets.
    #[must_use]
    pub fn new(name: &str) -> ScrapeConfig {
        ScrapeConfig {
            job_name: name.to_owned(),
            scrape_interval: None,
            scrape_timeout: None,
            metrics_path: default_path(),
            scheme: Scheme::Http,
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            enable_compression: true,
            follow_redirects: true,
            fallback_scrape_protocol: None,
            scrape_protocols: None,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            basic_auth: None,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            http_headers: BTreeMap::new(),
            proxy_url: None,
            tls_config: TlsConfig::default(),
            static_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            docker_sd_configs: Vec::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            body_size_limit: 0,
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
            keep_dropped_targets: 0,
        }
    }

    /// Begins relative paths of files with targets at `base`.
    pub(crate) fn begin_files_at(&mut self, base: &std::path::Path) {
        for entry in &mut self.file_sd_configs {
            entry.begin_at(base);
        }
    }

    /// Interval and timeout, given the global ones. As in Prometheus, a global timeout that is
    /// longer than the job's interval is cut to it.
    #[must_use]
    pub fn timing(&self, interval: Duration, timeout: Duration) -> (Duration, Duration) {
        let interval = self.scrape_interval.unwrap_or(interval);
        (
            interval,
            self.scrape_timeout.unwrap_or(timeout.min(interval)),
        )
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first problem.
    pub fn check(&self, interval: Duration, timeout: Duration) -> Result<(), String> {
        if self.job_name.is_empty() {
            return Err("job_name is empty".to_owned());
        }
        let (interval, timeout) = self.timing(interval, timeout);
        if interval.is_zero() || timeout.is_zero() {
            return Err("scrape_interval and scrape_timeout must be positive".to_owned());
        }
        if interval < INTERVAL_MIN {
            return Err(INTERVAL_TOO_SHORT.to_owned());
        }
        if timeout > interval {
            return Err("scrape timeout greater than scrape interval".to_owned());
        }
        if let Some(protocols) = &self.scrape_protocols {
            if protocols.is_empty() {
                return Err("scrape_protocols cannot be empty".to_owned());
            }
            let twice = |(i, protocol)| protocols[..i].contains(protocol);
            if protocols.iter().enumerate().any(twice) {
                return Err("duplicated protocol in scrape_protocols".to_owned());
            }
        }
        if self.convert_classic_histograms_to_nhcb {
            return Err("convert_classic_histograms_to_nhcb is not supported".to_owned());
        }
        for (key, rules) in [
            ("relabel_configs", &self.relabel_configs),
            ("metric_relabel_configs", &self.metric_relabel_configs),
        ] {
            Relabel::list(rules).map_err(|e| format!("{key}: {e}"))?;
        }
        one_at_most([
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            self.bearer_token.is_some(),
            self.bearer_token_file.is_some(),
        ])?;
        headers::check(&self.http_headers)?;
        if let Some(url) = &self.proxy_url {
            fetch::proxy(url)?;
        }
        self.tls_config.check()?;
        for address in self.static_configs.iter().flat_map(|s| &s.targets) {
            super::target::check_credentials(address)?;
            // As in Prometheus: with rules, what is written is not yet the address.
            if self.relabel_configs.is_empty() {
                super::target::check_address(address)?;
            }
        }
        self.check_discovery()
    }
}

/// Reads the labels of a group. As in Prometheus, a name that is none makes the whole list of groups
/// invalid; any text but the empty one is a name.
fn group_labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(from)?;
    if labels.contains_key("") {
        return Err(de::Error::custom("\"\" is not a valid label name"));
    }
    if labels.len() > GROUP_LABELS_MAX {
        let text = format!("more than {GROUP_LABELS_MAX} labels of a target group");
        return Err(de::Error::custom(text));
    }
    Ok(labels)
}

fn default_path() -> String {
    "/metrics".to_owned()
}

fn default_true() -> bool {
    true
}

/// Reads a size: `1024`, `10MB`, `1GiB`; as in Prometheus, K is 1024 either way.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Number(u64),
        Text(String),
    }
    match Size::deserialize(from)? {
        Size::Number(n) => Ok(n),
        Size::Text(text) => parse_bytes(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is not a size such as 10MB"))),
    }
}

/// Reads an optional size.
pub(crate) fn bytes_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    bytes(from).map(Some)
}

/// Reads `10MB`; a bare number is bytes.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let factor: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KB" | "KiB" => 1 << 10,
        "MB" | "MiB" => 1 << 20,
        "GB" | "GiB" => 1 << 30,
        "TB" | "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_job_has_prometheus_defaults() {
        let parsed: ScrapeConfig = serde_saphyr::from_str("job_name: a").unwrap();
        assert_eq!(parsed, ScrapeConfig::new("a"));
    }

    #[test]
    fn a_full_job_is_read() {
        let parsed: ScrapeConfig = serde_saphyr::from_str(
            "job_name: kong
scrape_interval: 30s
scheme: https
params: { module: [a, b] }
basic_auth: { username: u, password: p }
tls_config: { insecure_skip_verify: true }
body_size_limit: 10MB
fallback_scrape_protocol: PrometheusText0.0.4
static_configs: [{ targets: ['kong:8001'], labels: { env: prod } }]
metric_relabel_configs: [{ regex: x, action: labeldrop }]
",
        )
        .unwrap();
        assert_eq!(parsed.body_size_limit, 10 << 20);
        assert_eq!(
            parsed.fallback_scrape_protocol,
            Some(ScrapeProtocol::PrometheusText0_0_4)
        );
        assert!(!format!("{parsed:?}").contains("\"p\""));
        let check = parsed.check(Duration::from_secs(15), Duration::from_secs(10));
        assert_eq!(check, Ok(()));
    }

    #[test]
    fn an_address_is_no_url_unless_relabelling_makes_one_of_it() {
        let check = |yaml: &str| {
            let job: ScrapeConfig =
                serde_saphyr::from_str(&format!("job_name: a\n{yaml}")).unwrap();
            job.check(Duration::from_secs(15), Duration::from_secs(10))
        };
        let url = "static_configs: [{ targets: ['http://h/x'] }]";
        let problem = "\"http://h/x\" is not a valid hostname".to_owned();
        assert_eq!(check(url), Err(problem));
        let relabelled =
            format!("{url}\nrelabel_configs: [{{ target_label: __address__, replacement: b }}]");
        assert_eq!(check(&relabelled), Ok(()));
        let password = check("static_configs: [{ targets: ['u:hunter2@h'] }]").unwrap_err();
        assert!(
            password.contains("basic_auth") && !password.contains("hunter2"),
            "{password}"
        );
    }

    #[test]
    fn labels_of_a_group_have_names_and_are_not_too_many() {
        let read =
            |yaml: &str| serde_saphyr::from_str::<StaticConfig>(yaml).map_err(|e| e.to_string());
        let problem = read("{targets: [h], labels: {'': y}}").unwrap_err();
        assert!(
            problem.contains("\"\" is not a valid label name"),
            "{problem}"
        );
        let many = |n: usize| {
            let labels: Vec<String> = (0..n).map(|i| format!("l{i}: v")).collect();
            format!("{{targets: [h], labels: {{{}}}}}", labels.join(", "))
        };
        assert!(read(&many(GROUP_LABELS_MAX)).is_ok());
        assert!(
            read(&many(5000))
                .unwrap_err()
                .contains("more than 200 labels")
        );
        assert!(read("{targets: [h], labels: {'Ä.b': y}}").is_ok());
    }

    #[test]
    fn an_interval_too_short_to_keep_is_refused() {
        let mut job = ScrapeConfig::new("a");
        job.scrape_interval = Some(Duration::from_millis(1));
        let check = job.check(Duration::from_secs(15), Duration::from_secs(10));
        assert_eq!(check, Err(INTERVAL_TOO_SHORT.to_owned()));
    }

    #[test]
    fn protocols_are_named_once_and_native_histograms_have_their_keys() {
        let parse = |yaml: &str| serde_saphyr::from_str::<ScrapeConfig>(yaml).unwrap();
        let check = |yaml: &str| {
            let job = parse(&format!("job_name: a\n{yaml}"));
            job.check(Duration::from_secs(15), Duration::from_secs(10))
        };
        assert_eq!(check("scrape_protocols: [PrometheusProto]"), Ok(()));
        let refused = |why: &str| Err(why.to_owned());
        assert_eq!(
            check("scrape_protocols: []"),
            refused("scrape_protocols cannot be empty")
        );
        assert_eq!(
            check("scrape_protocols: [PrometheusProto, PrometheusText1.0.0, PrometheusProto]"),
            refused("duplicated protocol in scrape_protocols")
        );
        assert_eq!(
            check("convert_classic_histograms_to_nhcb: true"),
            refused("convert_classic_histograms_to_nhcb is not supported")
        );
        let job = parse(
            "job_name: a
scrape_native_histograms: true
scrape_classic_histograms: true
native_histogram_bucket_limit: 160
native_histogram_min_bucket_factor: 1.1",
        );
        assert!(job.scrape_native_histograms && job.always_scrape_classic_histograms);
        assert_eq!(job.native_histogram_bucket_limit, 160);
        assert_eq!(job.native_histogram_min_bucket_factor, 1.1);
    }

    #[test]
    fn a_proxy_that_is_none_is_refused_and_not_quoted() {
        let mut job = ScrapeConfig::new("a");
        let mut check = |url: &str| {
            job.proxy_url = Some(Secret(url.to_owned()));
            job.check(Duration::from_secs(15), Duration::from_secs(10))
        };
        assert_eq!(check("http://me:hunter2@proxy:3128"), Ok(()));
        let wrong = "proxy_url is not an http or https URL";
        assert_eq!(check("socks5://me:hunter2@proxy"), Err(wrong.to_owned()));
        assert_eq!(check("proxy"), Err(wrong.to_owned()));
    }

    #[test]
    fn a_timeout_longer_than_the_interval_is_refused() {
        let mut job = ScrapeConfig::new("a");
        job.scrape_timeout = Some(Duration::from_secs(20));
        let check = job.check(Duration::from_secs(15), Duration::from_secs(10));
        assert_eq!(
            check,
            Err("scrape timeout greater than scrape interval".to_owned())
        );
    }
}
