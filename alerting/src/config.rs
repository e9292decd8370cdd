//! Alertmanager's configuration schema: read strictly, checked once, and resolved to what the
//! dispatcher uses.

mod check;
mod diagnostic;
mod file;
mod integrations;
mod interval;
mod matchers;
mod receiver;
mod secret;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use diagnostic::Diagnostic;
pub use file::File;
pub use interval::TimeInterval;
pub(crate) use matchers::needs_quotes;
pub use matchers::{MatcherError, parse_matchers};
pub use receiver::{
    EmailConfig, HttpConfig, Integration, IntegrationKind, Receiver, SlackAction, SlackConfig,
    SlackField, SmtpSecurity, Threading, TlsConfig, WebhookConfig,
};
pub use secret::{Secret, SecretError, SecretSource};

use crate::inhibit::InhibitRule;
use crate::route::{GroupBy, Route};

/// How long an alert without an end counts as firing after it was last sent.
pub const RESOLVE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Default `group_wait`.
pub const GROUP_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Default `group_interval`.
pub const GROUP_INTERVAL_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Default `repeat_interval`.
pub const REPEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(4 * 60 * 60);
/// Name of the receiver without integrations that takes everything when nothing is configured.
pub const NULL_RECEIVER: &str = "null";

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// See [`RESOLVE_TIMEOUT_DEFAULT`].
    pub resolve_timeout: Duration,
    /// Root of the route tree.
    pub route: Route,
    /// Every receiver that routes name, and maybe more.
    pub receivers: Vec<Receiver>,
    /// Inhibit rules in order.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Named intervals; inside one when inside any of its parts.
    pub time_intervals: BTreeMap<String, Vec<TimeInterval>>,
    /// Patterns of template files.
    pub templates: Vec<String>,
    /// The text as read, secrets masked; empty when part of a larger file.
    pub text: String,
}

/// Alerts are grouped by name and kept visible, and nobody is notified.
impl Default for Config {
    fn default() -> Self {
        Config {
            resolve_timeout: RESOLVE_TIMEOUT_DEFAULT,
            route: Route {
                key: "{}".to_owned(),
                receiver: NULL_RECEIVER.to_owned(),
                group_by: GroupBy::Labels(BTreeSet::from(["alertname".to_owned()])),
                group_wait: GROUP_WAIT_DEFAULT,
                group_interval: GROUP_INTERVAL_DEFAULT,
                repeat_interval: REPEAT_INTERVAL_DEFAULT,
                matchers: Vec::new(),
                mute_time_intervals: Vec::new(),
                active_time_intervals: Vec::new(),
                proceed: false,
                labels: BTreeMap::new(),
                routes: Vec::new(),
            },
            receivers: vec![Receiver {
                name: NULL_RECEIVER.to_owned(),
                integrations: Vec::new(),
            }],
            inhibit_rules: Vec::new(),
            time_intervals: BTreeMap::new(),
            templates: Vec::new(),
            text: String::new(),
        }
    }
}

impl Config {
    /// Reads and checks a configuration file's text. Touches no disk: secrets' files are read when
    /// they are needed, template files by [`crate::Alerting::open`].
    ///
    /// # Errors
    /// Every finding that makes the file unusable; a YAML error hides what comes after it.
    pub fn parse(file_name: &str, text: &str) -> Result<Config, Vec<Diagnostic>> {
        if text
            .lines()
            .all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'))
        {
            return Ok(Config::default());
        }
        let file: File = yaml::from_str(text, serde_saphyr::Options::default()).map_err(|e| {
            let mut findings = diagnostic::Findings::new(file_name);
            findings.add_yaml(&e);
            findings.found
        })?;
        let mut config = Config::check(file_name, file)?;
        config.text = mask(text);
        Ok(config)
    }

    /// Checks a configuration that is part of a larger file.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn check(file_name: &str, file: File) -> Result<Config, Vec<Diagnostic>> {
        check::check(file_name, file)
    }

    /// The receiver called `name`.
    #[must_use]
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|r| r.name == name)
    }
}

/// Keys whose values are masked when the text is shown.
const SECRET_KEYS: [&str; 16] = [
    "url",
    "api_url",
    "app_token",
    "slack_api_url",
    "slack_app_token",
    "smtp_auth_password",
    "smtp_auth_secret",
    "auth_password",
    "auth_secret",
    "password",
    "credentials",
    "bearer_token",
    "proxy_url",
    "key",
    "api_key",
    "token",
];

/// The text with the values of secret keys replaced, flow style and block scalars included.
fn mask(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hidden_below: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if hidden_below.is_some_and(|depth| line.trim().is_empty() || indent > depth) {
            continue;
        }
        hidden_below = None;
        let mut rest = line;
        while let Some((before, key, value)) = next_secret(rest) {
            out.push_str(before);
            out.push_str(key);
            out.push_str(": <secret>");
            // In block style the value runs to the end of the line, and may go on below it.
            let in_flow = before.contains('{');
            rest = match (in_flow, value.find([',', '}'])) {
                (true, Some(end)) => &value[end..],
                _ => "",
            };
            let dashes = line.trim_start().len() - line.trim_start().trim_start_matches("- ").len();
            hidden_below = Some(indent + dashes);
        }
        out.push_str(rest);
        out.push('\n');
    }
    out
}

/// Splits at the first secret key of the line: what precedes it, the key, what follows its colon.
fn next_secret(line: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|at| from + at) {
        let head = line[..colon].trim_end().trim_end_matches(['"', '\'']);
        let start = head
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .map_or(0, |at| at + 1);
        let value = &line[colon + 1..];
        let is_key = value.is_empty() || value.starts_with(' ');
        if is_key && !value.trim().is_empty() && SECRET_KEYS.contains(&&head[start..]) {
            let before = line[..start].trim_end_matches(['"', '\'']);
            return Some((before, &head[start..], value));
        }
        from = colon + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expect: &str) {
        let found = Config::parse("am.yml", text).unwrap_err();
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(
            all.iter().any(|m| m.contains(expect)),
            "{all:#?} lacks {expect}"
        );
    }

    #[test]
    fn an_unknown_key_is_reported_with_its_place_and_a_suggestion() {
        refused(
            "route:\n  receiver: a\n  group_intervall: 5m\nreceivers: [{name: a}]\n",
            "am.yml:3:3: unknown key \"group_intervall\" (did you mean \"group_interval\"?)",
        );
    }

    #[test]
    fn every_load_error_of_alertmanager_is_one_of_ours() {
        refused(
            "route: {receiver: a, routes: [{match_re: {x: }}]}\nreceivers: [{name: a}]",
            ": empty value where a text is expected",
        );
        refused("receivers: [{name: a}]", "no route");
        refused(
            "route: {group_wait: 1s}\nreceivers: [{name: a}]",
            "root route must name a receiver",
        );
        refused(
            "route: {receiver: a, matchers: [a=b]}\nreceivers: [{name: a}]",
            "root route must not have matchers",
        );
        refused(
            "route: {receiver: a, continue: true}\nreceivers: [{name: a}]",
            "continue",
        );
        refused(
            "route: {receiver: a, mute_time_intervals: [x]}\nreceivers: [{name: a}]",
            "root route must not have",
        );
        refused(
            "route: {receiver: b}\nreceivers: [{name: a}]",
            "am.yml:1:19: undefined receiver \"b\"",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a}, {name: a}]",
            "receiver \"a\" is not unique",
        );
        refused(
            "route: {receiver: a, routes: [{matchers: [a=b], mute_time_intervals: [x]}]}\nreceivers: [{name: a}]",
            "undefined time interval \"x\"",
        );
        refused(
            "route: {receiver: a, group_by: ['...', b]}\nreceivers: [{name: a}]",
            "'...'",
        );
        refused(
            "route: {receiver: a, group_by: [b, b]}\nreceivers: [{name: a}]",
            "duplicate label \"b\"",
        );
        refused(
            "route: {receiver: a, group_interval: 0s}\nreceivers: [{name: a}]",
            "group_interval",
        );
        refused(
            "route: {receiver: a, repeat_interval: 0s}\nreceivers: [{name: a}]",
            "repeat_interval",
        );
        refused(
            "route: {receiver: a, group_wait: 5 min}\nreceivers: [{name: a}]",
            "am.yml:1:",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a}]\ntime_intervals: [{name: x}, {name: x}]",
            "time interval \"x\" is not unique",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: 'http://x', url_file: /x}]}]",
            "at most one of url and url_file",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{max_alerts: 1}]}]",
            "url",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a, email_configs: [{to: x@y}]}]",
            "smarthost",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{channel: '#x'}]}]",
            "api_url",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a, telegram_configs: [{bot_token: x}]}]",
            "telegram_configs is not supported yet",
        );
        refused(
            "route: {receiver: a}\nreceivers: [{name: a}]\ninhibit_rules: [{source_matchers: ['a=~\"(\"']}]",
            "a=~",
        );
    }

    #[test]
    fn nothing_configured_routes_to_a_receiver_without_integrations() {
        for text in ["", "# only a comment\n", "{}"] {
            let config = Config::parse("am.yml", text).unwrap();
            assert_eq!(config.route.receiver, NULL_RECEIVER);
            assert!(config.receivers[0].integrations.is_empty());
        }
    }

    #[test]
    fn secrets_are_masked_in_the_text_that_is_shown() {
        let shown = mask(
            "global:\n  smtp_auth_password: hunter2\nreceivers:\n  - name: a\n    webhook_configs:\n      - url: 'http://x/hunter3'\n        max_alerts: 1\n      - {url: http://hunter4, max_alerts: 2}\n      - url: |\n          hunter5\n        send_resolved: true\n",
        );
        assert!(!shown.contains("hunter"), "{shown}");
        for kept in [
            "max_alerts: 1",
            "max_alerts: 2",
            "send_resolved: true",
            "name: a",
        ] {
            assert!(shown.contains(kept), "{shown}");
        }
    }
}
