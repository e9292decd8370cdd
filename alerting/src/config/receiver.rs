//! Checked receivers: what is sent where, by which integration.

use std::time::Duration;

use super::SecretSource;

/// A named list of integrations; all of them are notified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Unique name.
    pub name: String,
    /// In the order of the file: e-mail, Slack, webhook.
    pub integrations: Vec<Integration>,
}

/// One destination of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// Position among the integrations of the same kind, from 0.
    pub index: usize,
    /// Whether the end of an alert is told.
    pub send_resolved: bool,
    /// Longest one attempt may take.
    pub timeout: Duration,
    /// The destination.
    pub kind: IntegrationKind,
}

impl Integration {
    /// The name within its receiver, e.g. `slack/0`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.kind.name(), self.index)
    }
}

/// What kind of destination it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntegrationKind {
    /// Mail over SMTP.
    Email(EmailConfig),
    /// A Slack incoming webhook, or `chat.postMessage` with a bot token.
    Slack(SlackConfig),
    /// Alertmanager's generic webhook, version 4.
    Webhook(WebhookConfig),
}

impl IntegrationKind {
    /// The word used in metrics and views.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            IntegrationKind::Email(_) => "email",
            IntegrationKind::Slack(_) => "slack",
            IntegrationKind::Webhook(_) => "webhook",
        }
    }
}

/// Mail. Texts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailConfig {
    /// Recipients, separated by commas.
    pub to: String,
    /// Sender.
    pub from: String,
    /// Name for `EHLO`; empty for the host's own.
    pub hello: String,
    /// SMTP server name.
    pub host: String,
    /// SMTP server port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// User for `AUTH`; empty for none.
    pub username: String,
    /// Password for `AUTH`.
    pub password: Option<SecretSource>,
    /// Certificates to trust.
    pub tls: TlsConfig,
    /// Further headers, `Subject` included; names are in canonical case.
    pub headers: Vec<(String, String)>,
    /// HTML body, empty for none.
    pub html: String,
    /// Plain body, empty for none.
    pub text: String,
    /// How mails about one group hang together.
    pub threading: Threading,
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte (port 465, or `force_implicit_tls`).
    Implicit,
    /// `STARTTLS` or nothing is sent.
    Required,
    /// `STARTTLS` where the server offers it.
    Opportunistic,
}

/// How mails about one group hang together in a reader's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// They do not.
    Off,
    /// One thread per group and day (UTC).
    Daily,
    /// One thread per group.
    Forever,
}

/// Slack. Texts are templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackConfig {
    /// Incoming webhook address, or that of `chat.postMessage`.
    pub url: SecretSource,
    /// Bot token, sent as bearer.
    pub app_token: Option<SecretSource>,
    /// HTTP settings.
    pub http: HttpConfig,
    /// Channel; a webhook that belongs to an app ignores it.
    pub channel: String,
    /// Sender's name.
    pub username: String,
    /// Colour of the bar: `good`, `warning`, `danger` or `#rrggbb`.
    pub color: String,
    /// Headline.
    pub title: String,
    /// Where the headline leads.
    pub title_link: String,
    /// Text above the bar.
    pub pretext: String,
    /// Body.
    pub text: String,
    /// Text of the message itself, next to the attachment.
    pub message_text: String,
    /// Table of short texts.
    pub fields: Vec<SlackField>,
    /// Default of a field's `short`.
    pub short_fields: bool,
    /// Line below the body.
    pub footer: String,
    /// What a notification on a telephone shows.
    pub fallback: String,
    /// Name for interactive answers.
    pub callback_id: String,
    /// Sender's emoji.
    pub icon_emoji: String,
    /// Sender's picture.
    pub icon_url: String,
    /// Picture below the body.
    pub image_url: String,
    /// Picture beside the body.
    pub thumb_url: String,
    /// Whether `@name` becomes a mention.
    pub link_names: bool,
    /// Which parts are markdown.
    pub markdown_in: Vec<String>,
    /// Buttons.
    pub actions: Vec<SlackAction>,
}

/// A cell of a Slack message's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackField {
    /// Heading.
    pub title: String,
    /// Text.
    pub value: String,
    /// Two in a row; `None` takes the message's default.
    pub short: Option<bool>,
}

/// A button of a Slack message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackAction {
    /// `button`.
    pub kind: String,
    /// Caption.
    pub text: String,
    /// Where it leads.
    pub url: String,
    /// `default`, `primary` or `danger`.
    pub style: String,
    /// Name for interactive answers.
    pub name: String,
    /// Value for interactive answers.
    pub value: String,
    /// Question asked first: text, title, yes, no.
    pub confirm: Option<[String; 4]>,
}

/// The generic webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Address; may be a template.
    pub url: SecretSource,
    /// HTTP settings.
    pub http: HttpConfig,
    /// Most alerts in one body; 0 for all.
    pub max_alerts: u64,
}

/// How a receiver is reached over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// User and password.
    pub basic_auth: Option<(String, Option<SecretSource>)>,
    /// Scheme and credentials of the `Authorization` header.
    pub authorization: Option<(String, SecretSource)>,
    /// Whether 3xx answers are followed.
    pub follow_redirects: bool,
    /// Proxy address; may carry credentials.
    pub proxy_url: Option<SecretSource>,
    /// Certificates to trust.
    pub tls: TlsConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            basic_auth: None,
            authorization: None,
            follow_redirects: true,
            proxy_url: None,
            tls: TlsConfig::default(),
        }
    }
}

/// Which certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Further authorities, PEM text or its file.
    pub authority: Option<SecretSource>,
    /// Trust anything. The connection is then protected from listeners only.
    pub insecure_skip_verify: bool,
}
