//! From receivers as written to checked ones, global defaults filled in.

use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::diagnostic::Findings;
use super::file::{EmailFile, GlobalFile, ReceiverFile, SlackFile, Unsupported, WebhookFile};
use super::transport::{http, is_http_url, noted, refuse, secret, tls};
use super::{
    EmailConfig, Integration, IntegrationKind, Receiver, Secret, SecretSource, SlackAction,
    SlackConfig, SlackField, SmtpSecurity, Threading, WebhookConfig,
};

/// Longest one attempt may take unless the receiver says otherwise.
const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Where a Slack bot posts.
const SLACK_APP_URL_DEFAULT: &str = "https://slack.com/api/chat.postMessage";
/// Red for what fires, but for what calls itself no trouble.
const SLACK_COLOR: &str = r##"{{ if ne .Status "firing" }}good{{ else if or (eq .CommonLabels.severity "none") (eq .CommonLabels.severity "info") }}#439fe0{{ else }}danger{{ end }}"##;
const DIGEST_LOGIN: &str =
    "auth_secret needs CRAM-MD5, which is not supported: use auth_password over TLS";

pub(super) fn check(
    files: Vec<ReceiverFile>,
    global: &GlobalFile,
    findings: &mut Findings<'_>,
) -> Vec<Receiver> {
    let mut receivers: Vec<Receiver> = Vec::new();
    check_global(global, findings);
    for file in files {
        let name = &file.name;
        if name.value.is_empty() {
            findings.add(name.referenced, "a receiver needs a name");
        }
        if receivers.iter().any(|r| r.name == name.value) {
            findings.add(
                name.referenced,
                format!("receiver {:?} is not unique", name.value),
            );
        }
        refuse_unsupported(&file, findings);
        let mut integrations = Vec::new();
        let emails = file.email_configs.into_iter().enumerate();
        integrations.extend(emails.filter_map(|(i, f)| email(i, f, global, findings)));
        let slacks = file.slack_configs.into_iter().enumerate();
        integrations.extend(slacks.filter_map(|(i, f)| slack(i, f, global, findings)));
        let webhooks = file.webhook_configs.into_iter().enumerate();
        integrations.extend(webhooks.filter_map(|(i, f)| webhook(i, f, global, findings)));
        receivers.push(Receiver {
            name: file.name.value,
            integrations,
        });
    }
    receivers
}

fn check_global(global: &GlobalFile, findings: &mut Findings<'_>) {
    let smtp = secret(&global.smtp_auth_password, &global.smtp_auth_password_file);
    noted(
        smtp,
        &global.smtp_auth_password,
        "smtp_auth_password",
        findings,
    );
    let url = secret(&global.slack_api_url, &global.slack_api_url_file);
    noted(url, &global.slack_api_url, "slack_api_url", findings);
    let token = secret(&global.slack_app_token, &global.slack_app_token_file);
    noted(token, &global.slack_app_token, "slack_app_token", findings);
    let pairs = [
        (
            "opsgenie_api_key",
            &global.opsgenie_api_key,
            &global.opsgenie_api_key_file,
        ),
        (
            "victorops_api_key",
            &global.victorops_api_key,
            &global.victorops_api_key_file,
        ),
        (
            "wechat_api_secret",
            &global.wechat_api_secret,
            &global.wechat_api_secret_file,
        ),
        (
            "telegram_bot_token",
            &global.telegram_bot_token,
            &global.telegram_bot_token_file,
        ),
        (
            "rocketchat_token",
            &global.rocketchat_token,
            &global.rocketchat_token_file,
        ),
        (
            "rocketchat_token_id",
            &global.rocketchat_token_id,
            &global.rocketchat_token_id_file,
        ),
        (
            "mattermost_webhook_url",
            &global.mattermost_webhook_url,
            &global.mattermost_webhook_url_file,
        ),
    ];
    for (key, value, file) in pairs {
        if let (Some(value), Some(_)) = (value, file) {
            findings.add(
                value.referenced,
                format!("at most one of {key} and {key}_file may be set"),
            );
        }
    }
    // A bot token and a webhook address contradict each other, unless the address is Slack's own
    // API: then it was the old way to use a token.
    let webhook = global
        .slack_api_url
        .as_ref()
        .is_some_and(|u| u.value.expose() != SLACK_APP_URL_DEFAULT);
    let token_set = global.slack_app_token.is_some() || global.slack_app_token_file.is_some();
    if token_set && (webhook || global.slack_api_url_file.is_some()) {
        let at = global
            .slack_app_token
            .as_ref()
            .map_or(Location::UNKNOWN, |t| t.referenced);
        findings.add(
            at,
            "at most one of slack_app_token and slack_api_url may be set",
        );
    }
}

fn refuse_unsupported(file: &ReceiverFile, findings: &mut Findings<'_>) {
    let keys: [(&str, &Unsupported); 16] = [
        ("labels", &file.labels),
        ("discord_configs", &file.discord_configs),
        ("pagerduty_configs", &file.pagerduty_configs),
        ("opsgenie_configs", &file.opsgenie_configs),
        ("wechat_configs", &file.wechat_configs),
        ("pushover_configs", &file.pushover_configs),
        ("victorops_configs", &file.victorops_configs),
        ("sns_configs", &file.sns_configs),
        ("telegram_configs", &file.telegram_configs),
        ("webex_configs", &file.webex_configs),
        ("msteams_configs", &file.msteams_configs),
        ("msteamsv2_configs", &file.msteamsv2_configs),
        ("jira_configs", &file.jira_configs),
        ("rocketchat_configs", &file.rocketchat_configs),
        ("mattermost_configs", &file.mattermost_configs),
        ("incidentio_configs", &file.incidentio_configs),
    ];
    for (key, found) in keys {
        refuse(key, found, findings);
    }
}

fn texts(given: Option<String>, default: &str) -> String {
    given.unwrap_or_else(|| default.to_owned())
}

fn email(
    index: usize,
    file: Spanned<EmailFile>,
    global: &GlobalFile,
    findings: &mut Findings<'_>,
) -> Option<Integration> {
    let (at, file) = (file.referenced, file.value);
    let before = findings.found.len();
    let own = secret(&file.auth_password, &file.auth_password_file);
    let password = noted(own, &file.auth_password, "auth_password", findings).or_else(|| {
        secret(&global.smtp_auth_password, &global.smtp_auth_password_file)
            .ok()
            .flatten()
    });
    for digest in [&file.auth_secret, &global.smtp_auth_secret]
        .into_iter()
        .flatten()
    {
        findings.add(digest.referenced, DIGEST_LOGIN);
    }
    for digest in [&file.auth_secret_file, &global.smtp_auth_secret_file]
        .into_iter()
        .flatten()
    {
        findings.add(digest.referenced, DIGEST_LOGIN);
    }
    let to = file.to.unwrap_or_default();
    if to.is_empty() {
        findings.add(at, "email_configs needs `to`");
    }
    let from = file
        .from
        .or_else(|| global.smtp_from.clone())
        .unwrap_or_default();
    if from.is_empty() {
        findings.add(
            at,
            "email_configs needs `from`, or `smtp_from` under `global`",
        );
    }
    let smarthost = file.smarthost.or_else(|| global.smtp_smarthost.clone());
    let (host, port) = match &smarthost {
        None => {
            findings.add(
                at,
                "email_configs needs `smarthost`, or `smtp_smarthost` under `global`",
            );
            (String::new(), 0)
        }
        Some(given) => split_host_port(&given.value).unwrap_or_else(|| {
            findings.add(
                given.referenced,
                format!("smarthost {:?} is not host:port", given.value),
            );
            (String::new(), 0)
        }),
    };
    let implicit = file
        .force_implicit_tls
        .or(global.smtp_force_implicit_tls)
        .unwrap_or(port == 465);
    let required = file.require_tls.or(global.smtp_require_tls).unwrap_or(true);
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in file.headers {
        let canonical = canonical_header(&name);
        if !is_header_name(&name) {
            findings.add(value.referenced, format!("invalid header name {name:?}"));
        } else if headers.iter().any(|(n, _)| *n == canonical) {
            findings.add(value.referenced, format!("duplicate header {canonical:?}"));
        }
        headers.push((canonical, value.value));
    }
    let threading = match &file.threading {
        Some(threading) if threading.enabled => match &threading.thread_by_date {
            None => Threading::Daily,
            Some(by) => match by.value.as_str() {
                "daily" => Threading::Daily,
                "none" => Threading::Forever,
                other => {
                    findings.add(
                        by.referenced,
                        format!("thread_by_date {other:?} is neither daily nor none"),
                    );
                    Threading::Off
                }
            },
        },
        _ => Threading::Off,
    };
    let tls = tls(
        file.tls_config.as_ref().or(global.smtp_tls_config.as_ref()),
        findings,
    );
    let config = EmailConfig {
        to,
        from,
        hello: file
            .hello
            .or_else(|| global.smtp_hello.clone())
            .unwrap_or_else(|| "localhost".to_owned()),
        host,
        port,
        security: match (implicit, required) {
            (true, _) => SmtpSecurity::Implicit,
            (false, true) => SmtpSecurity::Required,
            (false, false) => SmtpSecurity::Opportunistic,
        },
        username: file
            .auth_username
            .or_else(|| global.smtp_auth_username.clone())
            .unwrap_or_default(),
        password,
        tls,
        headers,
        html: texts(file.html, r#"{{ template "email.default.html" . }}"#),
        text: texts(file.text, r#"{{ template "email.default.text" . }}"#),
        threading,
    };
    (findings.found.len() == before).then_some(Integration {
        index,
        send_resolved: file.send_resolved.unwrap_or(false),
        timeout: ATTEMPT_TIMEOUT_DEFAULT,
        kind: IntegrationKind::Email(config),
    })
}

fn slack(
    index: usize,
    file: Spanned<SlackFile>,
    global: &GlobalFile,
    findings: &mut Findings<'_>,
) -> Option<Integration> {
    let (at, file) = (file.referenced, file.value);
    let before = findings.found.len();
    let http = http(
        file.http_config.as_ref().or(global.http_config.as_ref()),
        findings,
    );
    let own_url = noted(
        secret(&file.api_url, &file.api_url_file),
        &file.api_url,
        "api_url",
        findings,
    );
    let own_token = noted(
        secret(&file.app_token, &file.app_token_file),
        &file.app_token,
        "app_token",
        findings,
    );
    if own_url.is_some() && own_token.is_some() {
        findings.add(at, "at most one of api_url and app_token may be set");
    }
    if let Some(update) = file.update_message.as_ref().filter(|u| u.value) {
        findings.add(update.referenced, "update_message is not supported yet");
    }
    // Credentials of the integration's own http_config were the old way to give a bot token.
    let has_credentials = file
        .http_config
        .as_ref()
        .is_some_and(|h| h.authorization.is_some());
    let global_token = secret(&global.slack_app_token, &global.slack_app_token_file)
        .ok()
        .flatten();
    let global_url = secret(&global.slack_api_url, &global.slack_api_url_file)
        .ok()
        .flatten();
    let app_url = file.app_url.or_else(|| global.slack_app_url.clone());
    let app_token = match &own_url {
        Some(_) => None,
        None if has_credentials => None,
        None => own_token.or(global_token),
    };
    let app_address = || {
        let url = app_url
            .clone()
            .unwrap_or_else(|| SLACK_APP_URL_DEFAULT.to_owned());
        SecretSource::Inline(Secret::new(url))
    };
    let url = match (own_url, &app_token, global_url) {
        (Some(own), _, _) => Some(own),
        (None, Some(_), _) => Some(app_address()),
        (None, None, Some(global)) => Some(global),
        (None, None, None) if has_credentials => Some(app_address()),
        (None, None, None) => None,
    };
    let Some(url) = url else {
        findings.add(
            at,
            "slack_configs needs `api_url` or `app_token`, or `slack_api_url` under `global`",
        );
        return None;
    };
    if let SecretSource::Inline(inline) = &url
        && !is_http_url(inline.expose())
    {
        findings.add(at, "the Slack address is not an http or https URL");
    }
    for field in &file.fields {
        if field.title.value.is_empty() || field.value.is_empty() {
            findings.add(
                field.title.referenced,
                "a Slack field needs a title and a value",
            );
        }
    }
    for action in &file.actions {
        if action.kind.value.is_empty() || action.text.is_empty() {
            findings.add(
                action.kind.referenced,
                "a Slack action needs a type and a text",
            );
        } else if action.url.is_empty() && action.name.is_empty() {
            findings.add(
                action.kind.referenced,
                "a Slack action needs a url or a name",
            );
        }
    }
    let named = |key: &str| format!("{{{{ template \"slack.default.{key}\" . }}}}");
    let config = SlackConfig {
        url,
        app_token,
        http,
        channel: file.channel.unwrap_or_default(),
        username: file.username.unwrap_or_else(|| named("username")),
        color: texts(file.color, SLACK_COLOR),
        title: file.title.unwrap_or_else(|| named("title")),
        title_link: file.title_link.unwrap_or_else(|| named("titlelink")),
        pretext: file.pretext.unwrap_or_else(|| named("pretext")),
        text: file.text.unwrap_or_else(|| named("text")),
        message_text: file.message_text.unwrap_or_default(),
        fields: file
            .fields
            .into_iter()
            .map(|f| SlackField {
                title: f.title.value,
                value: f.value,
                short: f.short,
            })
            .collect(),
        short_fields: file.short_fields,
        footer: file.footer.unwrap_or_else(|| named("footer")),
        fallback: file.fallback.unwrap_or_else(|| named("fallback")),
        callback_id: file.callback_id.unwrap_or_else(|| named("callbackid")),
        icon_emoji: file.icon_emoji.unwrap_or_else(|| named("iconemoji")),
        icon_url: file.icon_url.unwrap_or_else(|| named("iconurl")),
        image_url: file.image_url.unwrap_or_default(),
        thumb_url: file.thumb_url.unwrap_or_default(),
        link_names: file.link_names,
        markdown_in: file
            .mrkdwn_in
            .unwrap_or_else(|| ["fallback", "pretext", "text"].map(str::to_owned).to_vec()),
        actions: file
            .actions
            .into_iter()
            .map(|a| SlackAction {
                kind: a.kind.value,
                text: a.text,
                url: a.url,
                style: a.style,
                name: a.name,
                value: a.value,
                confirm: a
                    .confirm
                    .map(|c| [c.text, c.title, c.ok_text, c.dismiss_text]),
            })
            .collect(),
    };
    (findings.found.len() == before).then_some(Integration {
        index,
        send_resolved: file.send_resolved.unwrap_or(false),
        timeout: file.timeout.map_or(ATTEMPT_TIMEOUT_DEFAULT, |d| d.0),
        kind: IntegrationKind::Slack(config),
    })
}

fn webhook(
    index: usize,
    file: Spanned<WebhookFile>,
    global: &GlobalFile,
    findings: &mut Findings<'_>,
) -> Option<Integration> {
    let (at, file) = (file.referenced, file.value);
    let before = findings.found.len();
    refuse("payload", &file.payload, findings);
    let http = http(
        file.http_config.as_ref().or(global.http_config.as_ref()),
        findings,
    );
    let url = noted(
        secret(&file.url, &file.url_file),
        &file.url,
        "url",
        findings,
    );
    match (&url, &file.url) {
        (Some(SecretSource::Inline(inline)), Some(given)) => {
            let text = inline.expose();
            if !text.contains("{{") && !is_http_url(text) {
                findings.add(
                    given.referenced,
                    "the webhook's url is not an http or https URL",
                );
            }
        }
        (None, None) => findings.add(at, "webhook_configs needs `url` or `url_file`"),
        _ => {}
    }
    let config = WebhookConfig {
        url: url?,
        http,
        max_alerts: file.max_alerts,
    };
    (findings.found.len() == before).then_some(Integration {
        index,
        send_resolved: file.send_resolved.unwrap_or(true),
        timeout: file
            .timeout
            .map(|d| d.0)
            .filter(|d| !d.is_zero())
            .unwrap_or(ATTEMPT_TIMEOUT_DEFAULT),
        kind: IntegrationKind::Webhook(config),
    })
}

fn split_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    Some((host.to_owned(), port.parse().ok().filter(|p| *p != 0)?)).filter(|(h, _)| !h.is_empty())
}

/// RFC 5322 `ftext`: printable ASCII without the colon.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// `x-my-header` as `X-My-Header`.
fn canonical_header(name: &str) -> String {
    let word = |w: &str| {
        let mut chars = w.chars();
        chars.next().map_or_else(String::new, |c| {
            c.to_ascii_uppercase().to_string() + &chars.as_str().to_ascii_lowercase()
        })
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
