//! The configuration as written, key for key.

use std::collections::BTreeMap;
use std::time::Duration;

use model::number::parse_duration;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::Secret;

/// A key that Alertmanager knows and we do not serve yet: it is refused, never ignored.
pub(super) type Unsupported = Option<Spanned<IgnoredAny>>;

/// A duration as Prometheus writes it, e.g. `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DurationText(pub(super) Duration);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text)
            .map(DurationText)
            .map_err(D::Error::custom)
    }
}

/// The configuration as written: what a larger file embeds under its `alerting` key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub(super) global: Option<GlobalFile>,
    pub(super) route: Option<Spanned<RouteFile>>,
    pub(super) receivers: Vec<ReceiverFile>,
    pub(super) inhibit_rules: Vec<Spanned<InhibitFile>>,
    pub(super) time_intervals: Vec<NamedIntervals>,
    pub(super) mute_time_intervals: Vec<NamedIntervals>,
    pub(super) templates: Vec<String>,
    pub(super) tracing: Unsupported,
    pub(super) event_recorder: Unsupported,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GlobalFile {
    pub(super) resolve_timeout: Option<Spanned<DurationText>>,
    pub(super) http_config: Option<HttpFile>,
    pub(super) smtp_from: Option<String>,
    pub(super) smtp_hello: Option<String>,
    pub(super) smtp_smarthost: Option<Spanned<String>>,
    pub(super) smtp_auth_username: Option<String>,
    pub(super) smtp_auth_password: Option<Spanned<Secret>>,
    pub(super) smtp_auth_password_file: Option<String>,
    pub(super) smtp_auth_secret: Option<Spanned<Secret>>,
    pub(super) smtp_auth_secret_file: Option<Spanned<String>>,
    pub(super) smtp_auth_identity: Option<String>,
    pub(super) smtp_require_tls: Option<bool>,
    pub(super) smtp_tls_config: Option<TlsFile>,
    pub(super) smtp_force_implicit_tls: Option<bool>,
    pub(super) slack_api_url: Option<Spanned<Secret>>,
    pub(super) slack_api_url_file: Option<String>,
    pub(super) slack_app_token: Option<Spanned<Secret>>,
    pub(super) slack_app_token_file: Option<String>,
    pub(super) slack_app_url: Option<String>,
    // Settings of receivers that are not served yet. On their own they do nothing, so that a
    // file which only carries them still loads; the receivers themselves are refused.
    pub(super) pagerduty_url: Option<IgnoredAny>,
    pub(super) opsgenie_api_url: Option<IgnoredAny>,
    pub(super) opsgenie_api_key: Option<Spanned<IgnoredAny>>,
    pub(super) opsgenie_api_key_file: Option<IgnoredAny>,
    pub(super) victorops_api_url: Option<IgnoredAny>,
    pub(super) victorops_api_key: Option<Spanned<IgnoredAny>>,
    pub(super) victorops_api_key_file: Option<IgnoredAny>,
    pub(super) wechat_api_url: Option<IgnoredAny>,
    pub(super) wechat_api_secret: Option<Spanned<IgnoredAny>>,
    pub(super) wechat_api_secret_file: Option<IgnoredAny>,
    pub(super) wechat_api_corp_id: Option<IgnoredAny>,
    pub(super) telegram_api_url: Option<IgnoredAny>,
    pub(super) telegram_bot_token: Option<Spanned<IgnoredAny>>,
    pub(super) telegram_bot_token_file: Option<IgnoredAny>,
    pub(super) webex_api_url: Option<IgnoredAny>,
    pub(super) rocketchat_api_url: Option<IgnoredAny>,
    pub(super) rocketchat_token: Option<Spanned<IgnoredAny>>,
    pub(super) rocketchat_token_file: Option<IgnoredAny>,
    pub(super) rocketchat_token_id: Option<Spanned<IgnoredAny>>,
    pub(super) rocketchat_token_id_file: Option<IgnoredAny>,
    pub(super) jira_api_url: Option<IgnoredAny>,
    pub(super) mattermost_webhook_url: Option<Spanned<IgnoredAny>>,
    pub(super) mattermost_webhook_url_file: Option<IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteFile {
    pub(super) receiver: Option<Spanned<String>>,
    pub(super) group_by: Option<Vec<Spanned<String>>>,
    pub(super) group_wait: Option<DurationText>,
    pub(super) group_interval: Option<Spanned<DurationText>>,
    pub(super) repeat_interval: Option<Spanned<DurationText>>,
    pub(super) matchers: Option<Vec<Spanned<String>>>,
    #[serde(rename = "match")]
    pub(super) equal: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) match_re: Option<BTreeMap<String, Spanned<String>>>,
    #[serde(rename = "continue")]
    pub(super) proceed: bool,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) mute_time_intervals: Vec<Spanned<String>>,
    pub(super) active_time_intervals: Vec<Spanned<String>>,
    pub(super) routes: Vec<Spanned<RouteFile>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct InhibitFile {
    pub(super) name: Option<String>,
    pub(super) source_matchers: Option<Vec<Spanned<String>>>,
    pub(super) target_matchers: Option<Vec<Spanned<String>>>,
    pub(super) source_match: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) source_match_re: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) target_match: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) target_match_re: Option<BTreeMap<String, Spanned<String>>>,
    pub(super) equal: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedIntervals {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) time_intervals: Vec<Spanned<IntervalFile>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IntervalFile {
    pub(super) times: Vec<TimesFile>,
    pub(super) weekdays: Vec<String>,
    pub(super) days_of_month: Vec<String>,
    pub(super) months: Vec<String>,
    pub(super) years: Vec<String>,
    pub(super) location: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimesFile {
    pub(super) start_time: String,
    pub(super) end_time: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverFile {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) labels: Unsupported,
    #[serde(default)]
    pub(super) email_configs: Vec<Spanned<EmailFile>>,
    #[serde(default)]
    pub(super) slack_configs: Vec<Spanned<SlackFile>>,
    #[serde(default)]
    pub(super) webhook_configs: Vec<Spanned<WebhookFile>>,
    #[serde(default)]
    pub(super) discord_configs: Unsupported,
    #[serde(default)]
    pub(super) pagerduty_configs: Unsupported,
    #[serde(default)]
    pub(super) opsgenie_configs: Unsupported,
    #[serde(default)]
    pub(super) wechat_configs: Unsupported,
    #[serde(default)]
    pub(super) pushover_configs: Unsupported,
    #[serde(default)]
    pub(super) victorops_configs: Unsupported,
    #[serde(default)]
    pub(super) sns_configs: Unsupported,
    #[serde(default)]
    pub(super) telegram_configs: Unsupported,
    #[serde(default)]
    pub(super) webex_configs: Unsupported,
    #[serde(default)]
    pub(super) msteams_configs: Unsupported,
    #[serde(default)]
    pub(super) msteamsv2_configs: Unsupported,
    #[serde(default)]
    pub(super) jira_configs: Unsupported,
    #[serde(default)]
    pub(super) rocketchat_configs: Unsupported,
    #[serde(default)]
    pub(super) mattermost_configs: Unsupported,
    #[serde(default)]
    pub(super) incidentio_configs: Unsupported,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EmailFile {
    pub(super) send_resolved: Option<bool>,
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
    pub(super) hello: Option<String>,
    pub(super) smarthost: Option<Spanned<String>>,
    pub(super) auth_username: Option<String>,
    pub(super) auth_password: Option<Spanned<Secret>>,
    pub(super) auth_password_file: Option<String>,
    pub(super) auth_secret: Option<Spanned<Secret>>,
    pub(super) auth_secret_file: Option<Spanned<String>>,
    pub(super) auth_identity: Option<String>,
    pub(super) headers: BTreeMap<String, Spanned<String>>,
    pub(super) html: Option<String>,
    pub(super) text: Option<String>,
    pub(super) require_tls: Option<bool>,
    pub(super) force_implicit_tls: Option<bool>,
    pub(super) tls_config: Option<TlsFile>,
    pub(super) threading: Option<ThreadingFile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ThreadingFile {
    pub(super) enabled: bool,
    pub(super) thread_by_date: Option<Spanned<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SlackFile {
    pub(super) send_resolved: Option<bool>,
    pub(super) http_config: Option<HttpFile>,
    pub(super) api_url: Option<Spanned<Secret>>,
    pub(super) api_url_file: Option<String>,
    pub(super) app_token: Option<Spanned<Secret>>,
    pub(super) app_token_file: Option<String>,
    pub(super) app_url: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) username: Option<String>,
    pub(super) color: Option<String>,
    pub(super) title: Option<String>,
    pub(super) title_link: Option<String>,
    pub(super) pretext: Option<String>,
    pub(super) text: Option<String>,
    pub(super) message_text: Option<String>,
    pub(super) fields: Vec<SlackFieldFile>,
    pub(super) short_fields: bool,
    pub(super) footer: Option<String>,
    pub(super) fallback: Option<String>,
    pub(super) callback_id: Option<String>,
    pub(super) icon_emoji: Option<String>,
    pub(super) icon_url: Option<String>,
    pub(super) image_url: Option<String>,
    pub(super) thumb_url: Option<String>,
    pub(super) link_names: bool,
    pub(super) mrkdwn_in: Option<Vec<String>>,
    pub(super) actions: Vec<SlackActionFile>,
    pub(super) update_message: Option<Spanned<bool>>,
    pub(super) timeout: Option<DurationText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackFieldFile {
    pub(super) title: Spanned<String>,
    #[serde(default)]
    pub(super) value: String,
    pub(super) short: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackActionFile {
    #[serde(rename = "type")]
    pub(super) kind: Spanned<String>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) style: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
    pub(super) confirm: Option<SlackConfirmFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SlackConfirmFile {
    pub(super) text: String,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) ok_text: String,
    #[serde(default)]
    pub(super) dismiss_text: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebhookFile {
    pub(super) send_resolved: Option<bool>,
    pub(super) http_config: Option<HttpFile>,
    pub(super) url: Option<Spanned<Secret>>,
    pub(super) url_file: Option<String>,
    pub(super) max_alerts: u64,
    pub(super) timeout: Option<DurationText>,
    pub(super) payload: Unsupported,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpFile {
    pub(super) basic_auth: Option<Spanned<BasicAuthFile>>,
    pub(super) authorization: Option<Spanned<AuthorizationFile>>,
    pub(super) bearer_token: Option<Spanned<Secret>>,
    pub(super) bearer_token_file: Option<String>,
    pub(super) follow_redirects: Option<bool>,
    /// Accepted without effect: notifications go out over HTTP/1.1.
    pub(super) enable_http2: Option<bool>,
    pub(super) proxy_url: Option<Spanned<String>>,
    pub(super) tls_config: Option<TlsFile>,
    pub(super) oauth2: Unsupported,
    pub(super) no_proxy: Unsupported,
    pub(super) proxy_from_environment: Unsupported,
    pub(super) proxy_connect_header: Unsupported,
    pub(super) http_headers: Unsupported,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BasicAuthFile {
    pub(super) username: Option<String>,
    pub(super) username_file: Unsupported,
    pub(super) password: Option<Secret>,
    pub(super) password_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthorizationFile {
    #[serde(rename = "type")]
    pub(super) scheme: Option<String>,
    pub(super) credentials: Option<Secret>,
    pub(super) credentials_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFile {
    pub(super) ca: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) insecure_skip_verify: bool,
    pub(super) cert: Unsupported,
    pub(super) cert_file: Unsupported,
    pub(super) key: Unsupported,
    pub(super) key_file: Unsupported,
    pub(super) server_name: Unsupported,
    pub(super) min_version: Unsupported,
    pub(super) max_version: Unsupported,
}
