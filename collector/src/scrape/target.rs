//! From a job's configuration to the targets it names.

use std::collections::BTreeMap;

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder};

use super::config::{INTERVAL_MIN, INTERVAL_TOO_SHORT};
use super::{ScrapeConfig, StaticConfig};
use crate::masked::masked;
use crate::relabel::{self, Relabel};
use crate::target::{LABEL_BYTES_MAX, check_label_bytes};

/// A target to scrape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScrapeTarget {
    pub(crate) labels: Labels,
    pub(crate) discovered: Labels,
    pub(crate) url: String,
    pub(crate) interval: std::time::Duration,
    pub(crate) timeout: std::time::Duration,
}

/// What became of a job's targets.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    /// To scrape, each once.
    pub(crate) active: Vec<ScrapeTarget>,
    /// Dropped by relabelling.
    pub(crate) dropped: Vec<Labels>,
    /// Unusable, and why.
    pub(crate) broken: Vec<String>,
}

/// Builds the targets of a job: those it names, and those of the `groups` that were discovered.
/// Source: prometheus scrape/target.go PopulateLabels.
pub(crate) fn targets(
    config: &ScrapeConfig,
    groups: &[StaticConfig],
    rules: &[Relabel],
    (interval, timeout): (std::time::Duration, std::time::Duration),
) -> Targets {
    let mut out = Targets::default();
    for group in config.static_configs.iter().chain(groups) {
        for address in &group.targets {
            if let Err(problem) = check_credentials(address) {
                out.broken.push(problem);
                continue;
            }
            let mut labels = LabelsBuilder::default();
            labels
                .set("__address__", address.as_str())
                .set("job", config.job_name.as_str())
                .set("__scheme__", config.scheme.as_str())
                .set("__metrics_path__", config.metrics_path.as_str())
                .set(
                    "__scrape_interval__",
                    model::number::format_duration(interval),
                )
                .set(
                    "__scrape_timeout__",
                    model::number::format_duration(timeout),
                );
            for (name, values) in &config.params {
                if let Some(first) = values.first() {
                    labels.set(format!("__param_{name}"), first.as_str());
                }
            }
            for (name, value) in group.labels.iter().filter(|(_, v)| !v.is_empty()) {
                labels.set(name.as_str(), value.as_str());
            }
            let discovered = labels.clone().build();
            if !relabel::apply(rules, &mut labels) {
                out.dropped.push(discovered);
                continue;
            }
            match target(config, labels, discovered) {
                Ok(target) => out.active.push(target),
                Err(problem) => out.broken.push(problem),
            }
        }
    }
    out.active.sort();
    out.active
        .dedup_by(|a, b| a.labels == b.labels && a.url == b.url);
    out
}

/// Whether an address has neither user nor password, which would be a part of `instance` and be shown
/// everywhere. It may be a URL, for what relabelling makes of it.
///
/// # Errors
/// When it has; the text shows neither.
pub(super) fn check_credentials(address: &str) -> Result<(), String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => Err(format!(
            "the address of the target {host:?} has a user or a password before the @, which would \
             become labels: write them under basic_auth of the job"
        )),
        None => Ok(()),
    }
}

/// # Errors
/// In Prometheus' words.
pub(super) fn check_address(address: &str) -> Result<(), String> {
    match address.contains('/') {
        true => Err(format!("{:?} is not a valid hostname", masked(address))),
        false => Ok(()),
    }
}

fn target(
    config: &ScrapeConfig,
    mut labels: LabelsBuilder,
    discovered: Labels,
) -> Result<ScrapeTarget, String> {
    let get = |name: &str| labels.get(name).unwrap_or("").to_owned();
    let address = get("__address__");
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    check_credentials(&address)?;
    check_address(&address)?;
    let duration = |name: &str| {
        let text = get(name);
        model::number::parse_duration(&text).map_err(|e| format!("{name} {text:?}: {e}"))
    };
    let (interval, timeout) = (
        duration("__scrape_interval__")?,
        duration("__scrape_timeout__")?,
    );
    if interval.is_zero() || timeout.is_zero() || timeout > interval {
        return Err("scrape timeout must be positive and at most the scrape interval".to_owned());
    }
    if interval < INTERVAL_MIN {
        return Err(INTERVAL_TOO_SHORT.to_owned());
    }
    let (scheme, path) = (get("__scheme__"), get("__metrics_path__"));
    let mut params: BTreeMap<String, Vec<String>> = config.params.clone();
    labels.retain(|name, value| {
        if let Some(param) = name.strip_prefix("__param_") {
            let values = params.entry(param.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
        true
    });
    let url = format!("{scheme}://{address}{path}");
    let mut url = reqwest::Url::parse(&url)
        .map_err(|e| format!("{:?} is not a valid URL: {e}", masked(&url)))?;
    // A path that does not begin with a slash goes on with the address.
    check_credentials(url.as_str())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("unknown scheme {scheme:?}"));
    }
    let pairs = params
        .iter()
        .flat_map(|(k, vs)| vs.iter().map(move |v| (k, v)));
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    if labels.get("instance").is_none() {
        labels.set("instance", address);
    }
    labels.retain(|name, _| !name.starts_with("__"));
    let labels = labels.build();
    let bytes: usize = labels.iter().map(|(n, v)| n.len() + v.len()).sum();
    if bytes > LABEL_BYTES_MAX / 2 {
        // The other half is for the labels of its series.
        let limit = LABEL_BYTES_MAX / 2;
        return Err(format!(
            "a target has {bytes} bytes of labels, {limit} at most are taken"
        ));
    }
    Ok(ScrapeTarget {
        labels,
        discovered,
        url: url.into(),
        interval,
        timeout,
    })
}

/// How scraped labels and the target's are joined, and what is refused.
pub(crate) struct SeriesRules<'a> {
    pub(crate) config: &'a ScrapeConfig,
    pub(crate) relabel: &'a [Relabel],
    pub(crate) target: &'a Labels,
}

impl SeriesRules<'_> {
    /// The final labels of a scraped series; `None` when relabelling drops it.
    ///
    /// # Errors
    /// What fails the scrape: no name left, a limit exceeded.
    pub(crate) fn resolve(&self, mut labels: LabelsBuilder) -> Result<Option<Labels>, String> {
        if labels.get(METRIC_NAME).is_none() {
            return Err("sample without a metric name".to_owned());
        }
        let mut moved = Vec::new();
        for (name, value) in self.target {
            match labels.get(name) {
                None => {}
                Some(_) if self.config.honor_labels => continue,
                Some(scraped) => moved.push((name, scraped.to_owned())),
            }
            labels.set(name, value);
        }
        for (name, value) in moved {
            let mut exported = format!("exported_{name}");
            while labels.get(&exported).is_some() {
                exported.insert_str(0, "exported_");
            }
            labels.set(exported, value);
        }
        if !relabel::apply(self.relabel, &mut labels) {
            return Ok(None);
        }
        if labels.get(METRIC_NAME).is_none() {
            return Err("sample without a metric name after relabelling".to_owned());
        }
        let labels = labels.build();
        self.check_limits(&labels)?;
        Ok(Some(labels))
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), String> {
        let config = self.config;
        let metric = labels.metric_name();
        if config.label_limit > 0 && labels.len() > config.label_limit {
            return Err(format!(
                "label_limit exceeded (metric: {metric:.50}, number of labels: {}, limit: {})",
                labels.len(),
                config.label_limit
            ));
        }
        for (name, value) in labels {
            let limit = config.label_name_length_limit;
            if limit > 0 && name.len() > limit {
                return Err(format!(
                    "label_name_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, length: {}, limit: {limit})",
                    name.len()
                ));
            }
            let limit = config.label_value_length_limit;
            if limit > 0 && value.len() > limit {
                return Err(format!(
                    "label_value_length_limit exceeded (metric: {metric:.50}, label name: {name:.50}, length: {}, limit: {limit})",
                    value.len()
                ));
            }
        }
        check_label_bytes(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::series;
    use std::time::Duration;

    const TIMING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(10));

    fn job(yaml: &str) -> ScrapeConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn build(yaml: &str) -> Targets {
        let config = job(yaml);
        let rules = Relabel::list(&config.relabel_configs).unwrap();
        targets(&config, &[], &rules, TIMING)
    }

    #[test]
    fn a_target_gets_its_url_and_its_labels() {
        let all = build(
            "job_name: a
scheme: https
metrics_path: /m
params: { x: ['1 2'] }
static_configs: [{ targets: ['h:1', 'h:1'], labels: { env: prod } }]",
        );
        assert_eq!(all.active.len(), 1);
        assert_eq!(all.active[0].url, "https://h:1/m?x=1+2");
        assert_eq!(
            all.active[0].labels.to_string(),
            r#"{env="prod", instance="h:1", job="a"}"#
        );
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_showing_it() {
        for (yaml, host) in [
            ("static_configs: [{ targets: ['u:hunter2@h:1'] }]", "h:1"),
            (
                "static_configs: [{ targets: ['http://u:hunter2@h/x'] }]",
                "h",
            ),
            (
                "metrics_path: 'x:hunter2@evil/m'\nstatic_configs: [{ targets: ['h'] }]",
                "evil",
            ),
            (
                "static_configs: [{ targets: ['h:1'] }]\nrelabel_configs: [{ target_label: __address__, replacement: 'u:hunter2@r:1' }]",
                "r:1",
            ),
        ] {
            let all = build(&format!("job_name: a\n{yaml}"));
            assert!(all.active.is_empty() && all.dropped.is_empty(), "{yaml}");
            let problem = &all.broken[0];
            assert!(
                problem.contains(&format!("target {host:?} has")),
                "{problem}"
            );
            assert!(problem.contains("basic_auth") && !problem.contains("hunter2"));
        }
        let fine = build(
            "job_name: a
static_configs: [{ targets: ['https://example.org/@scope'] }]
relabel_configs:
  - { source_labels: [__address__], target_label: __param_target }
  - { target_label: __address__, replacement: 'blackbox:9115' }",
        );
        assert_eq!(fine.active.len(), 1);
    }

    #[test]
    fn the_blackbox_idiom_works() {
        let all = build(
            "job_name: probe
metrics_path: /probe
static_configs: [{ targets: ['https://example.org', gone.org] }]
relabel_configs:
  - { source_labels: [__address__], regex: gone.*, action: drop }
  - { source_labels: [__address__], target_label: __param_target }
  - { source_labels: [__param_target], target_label: instance }
  - { target_label: __address__, replacement: 'blackbox:9115' }",
        );
        assert_eq!(all.dropped.len(), 1);
        assert_eq!(all.broken, Vec::<String>::new());
        assert_eq!(
            all.active[0].url,
            "http://blackbox:9115/probe?target=https%3A%2F%2Fexample.org"
        );
        assert_eq!(
            all.active[0].labels.get("instance"),
            Some("https://example.org")
        );
    }

    #[test]
    fn discovered_targets_are_relabelled_and_lose_their_meta_labels() {
        let config = job("job_name: d
relabel_configs:
  - { source_labels: [__meta_port], regex: '9.*', action: keep }
  - { source_labels: [__meta_scheme], target_label: __scheme__ }
  - { source_labels: [__meta_path], regex: (.+), target_label: __metrics_path__ }
  - { source_labels: [__meta_every], regex: (.+), target_label: __scrape_interval__ }
  - { regex: __meta_tag_(.+), action: labelmap }");
        let rules = Relabel::list(&config.relabel_configs).unwrap();
        let group = |yaml: &str| serde_saphyr::from_str::<StaticConfig>(yaml).unwrap();
        let groups = [
            group(
                "{targets: ['a:1'], labels: {__meta_port: '90', __meta_scheme: https, __meta_path: /m, __meta_every: 1m, __meta_tag_env: prod}}",
            ),
            group("{targets: ['b:1'], labels: {__meta_port: '80'}}"),
            group(
                "{targets: ['c:1'], labels: {__meta_port: '91', __meta_scheme: http, __param_x: y, job: ''}}",
            ),
        ];
        let all = targets(&config, &groups, &rules, TIMING);
        let urls: Vec<&str> = all.active.iter().map(|t| t.url.as_str()).collect();
        assert_eq!(urls, ["https://a:1/m", "http://c:1/metrics?x=y"]);
        assert_eq!(
            all.active[0].labels.to_string(),
            r#"{env="prod", instance="a:1", job="d"}"#
        );
        assert_eq!(all.active[0].interval, Duration::from_secs(60));
        assert_eq!(all.active[0].discovered.get("__meta_port"), Some("90"));
        assert_eq!(all.dropped.len(), 1);
    }

    #[test]
    fn targets_that_would_cost_too_much_are_left_out_and_said() {
        let problem = |labels: &str| {
            let all = build(&format!(
                "job_name: a\nstatic_configs: [{{ targets: [h], labels: {{ {labels} }} }}]"
            ));
            assert!(all.active.is_empty(), "{labels}");
            all.broken.concat()
        };
        let interval = "__scrape_interval__: 1ms, __scrape_timeout__: 1ms";
        assert_eq!(problem(interval), INTERVAL_TOO_SHORT);
        let long = problem(&format!("a: {}", "x".repeat(20_000)));
        assert!(long.contains("16384 at most"), "{long}");
    }

    #[track_caller]
    fn resolve(yaml: &str, raw: &str, expect: Result<&str, &str>) {
        let config = job(&format!("job_name: j\n{yaml}"));
        let relabel = Relabel::list(&config.metric_relabel_configs).unwrap();
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        let rules = SeriesRules {
            config: &config,
            relabel: &relabel,
            target: &target,
        };
        let got = rules.resolve(series::parse(raw).unwrap());
        let got = got.map(|l| l.map_or("-".to_owned(), |l| l.to_string()));
        assert_eq!(got.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn a_conflicting_label_is_renamed_unless_honoured() {
        let raw = "a{job=\"x\",exported_job=\"y\"}";
        let renamed = r#"a{exported_exported_job="x", exported_job="y", instance="i", job="j"}"#;
        resolve("", raw, Ok(renamed));
        let honoured = r#"a{exported_job="y", instance="i", job="x"}"#;
        resolve("honor_labels: true", raw, Ok(honoured));
    }

    #[test]
    fn limits_fail_the_scrape() {
        let limit = "label_limit exceeded (metric: a, number of labels: 4, limit: 3)";
        resolve("label_limit: 3", "a{b=\"c\"}", Err(limit));
        resolve(
            "label_limit: 4",
            "a{b=\"c\"}",
            Ok(r#"a{b="c", instance="i", job="j"}"#),
        );
        let length =
            "label_value_length_limit exceeded (metric: a, label name: b, length: 5, limit: 4)";
        resolve("label_value_length_limit: 4", "a{b=\"ccccc\"}", Err(length));
    }

    #[test]
    fn labels_without_end_fail_the_scrape_unless_they_are_dropped() {
        let raw = format!("a{{b=\"{}\"}}", "x".repeat(1_000_000));
        let error = "label bytes exceeded (metric: a, bytes of all labels: 1000023, limit: 32768)";
        resolve("", &raw, Err(error));
        let strict = "label_value_length_limit exceeded (metric: a, label name: b, length: 1000000, limit: 9)";
        resolve("label_value_length_limit: 9", &raw, Err(strict));
        let rules = "metric_relabel_configs: [{regex: b, action: labeldrop}]";
        resolve(rules, &raw, Ok(r#"a{instance="i", job="j"}"#));
    }

    #[test]
    fn metric_relabelling_drops_series() {
        let rules =
            "metric_relabel_configs: [{source_labels: [__name__], regex: go_.*, action: drop}]";
        resolve(rules, "go_x", Ok("-"));
        resolve(rules, "up_x", Ok(r#"up_x{instance="i", job="j"}"#));
    }
}
