//! Mail over SMTP. The message is built once, `Date`, `Message-Id` and boundary included, and
//! every attempt sends the same bytes; many clients show equal `Message-Id`s once.

mod connection;

use std::time::{Duration, SystemTime};

use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};

use crate::config::{EmailConfig, Threading};
use crate::notification::Notification;
use crate::notify_log::hash_id;
use crate::outbox::{Outcome, Payload};
use crate::templates::{EMAIL_SUBJECT, Expansion};

/// How long a server that has taken the message may take to say goodbye.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 250;

pub(super) fn render(
    config: &EmailConfig,
    notification: &Notification,
    expansion: &mut Expansion<'_>,
) -> Payload {
    let from = one_line(&expansion.value(&config.from));
    let to = one_line(&expansion.value(&config.to));
    let header = |name: &str| config.headers.iter().find(|(n, _)| n == name);
    let subject = header("Subject").map_or(EMAIL_SUBJECT, |(_, v)| v);
    let subject: String = one_line(&expansion.text(subject))
        .chars()
        .take(SUBJECT_CHARS_MAX)
        .collect();
    let text = expansion.text(&config.text);
    let html = expansion.html(&config.html);
    let own: Vec<(String, String)> = config
        .headers
        .iter()
        .filter(|(name, _)| name != "Subject")
        .map(|(name, value)| (name.clone(), one_line(&expansion.value(value))))
        .collect();
    let parts = Parts {
        from: &from,
        to: &to,
        subject: &subject,
        text,
        html,
        headers: own,
    };
    match build(config, notification, parts) {
        Ok(payload) => payload,
        Err(error) => {
            expansion
                .failures
                .push(format!("building the mail: {error}"));
            // Sending fails on the empty list of recipients and leaves a dead letter with it.
            Payload::Email {
                from,
                to: Vec::new(),
                message: error,
            }
        }
    }
}

struct Parts<'a> {
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    text: String,
    html: String,
    headers: Vec<(String, String)>,
}

fn build(
    config: &EmailConfig,
    notification: &Notification,
    parts: Parts<'_>,
) -> Result<Payload, String> {
    let sender: Mailbox = parts
        .from
        .parse()
        .map_err(|e| format!("sender {:?}: {e}", parts.from))?;
    let recipients: Mailboxes = parts
        .to
        .parse()
        .map_err(|e| format!("recipients {:?}: {e}", parts.to))?;
    let to: Vec<Address> = recipients.iter().map(|m| m.email.clone()).collect();
    let envelope =
        Envelope::new(Some(sender.email.clone()), to.clone()).map_err(|e| e.to_string())?;
    let host = sender.email.domain().to_owned();
    let millis = u64::try_from(notification.at.millis()).unwrap_or(0);
    let date = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let mut builder = Message::builder()
        .envelope(envelope)
        .from(sender.clone())
        .date(date)
        .message_id(Some(format!("<{}@{host}>", notification.id)))
        .subject(parts.subject);
    for recipient in recipients {
        builder = builder.to(recipient);
    }
    let mut headers = vec![("Auto-Submitted".to_owned(), "auto-generated".to_owned())];
    if let Some(thread) = thread_id(config.threading, notification, &host) {
        headers.push(("References".to_owned(), thread.clone()));
        headers.push(("In-Reply-To".to_owned(), thread));
    }
    headers.extend(parts.headers);
    let boundary = format!("=_{}", notification.id);
    let message = match (parts.text.is_empty(), parts.html.is_empty()) {
        (false, false) => builder.multipart(
            MultiPart::alternative()
                .boundary(boundary)
                .singlepart(SinglePart::plain(parts.text))
                .singlepart(SinglePart::html(parts.html)),
        ),
        (true, false) => builder.singlepart(SinglePart::html(parts.html)),
        (_, true) => builder.singlepart(SinglePart::plain(parts.text)),
    };
    let mut message = message.map_err(|e| e.to_string())?;
    for (name, value) in headers {
        let name = HeaderName::new_from_ascii(name).map_err(|e| e.to_string())?;
        message
            .headers_mut()
            .insert_raw(HeaderValue::new(name, value));
    }
    Ok(Payload::Email {
        from: sender.email.to_string(),
        to: to.iter().map(ToString::to_string).collect(),
        message: String::from_utf8(message.formatted()).map_err(|e| e.to_string())?,
    })
}

/// What the mails of one thread refer to; no mail has this identity itself.
fn thread_id(threading: Threading, notification: &Notification, host: &str) -> Option<String> {
    let key = hash_id(&[notification.group_key.as_bytes()]);
    let key = &key[..16];
    match threading {
        Threading::Off => None,
        Threading::Forever => Some(format!("<alert-{key}@{host}>")),
        Threading::Daily => {
            let day =
                jiff::Timestamp::from_millisecond(notification.at.millis()).unwrap_or_default();
            Some(format!("<alert-{key}-{}@{host}>", day.strftime("%Y-%m-%d")))
        }
    }
}

/// Header values are one line: what a template or a label brings along cannot start another.
fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    spaced.trim().to_owned()
}

pub(super) async fn send(
    config: &EmailConfig,
    from: &str,
    to: &[String],
    message: &str,
) -> Outcome {
    match attempt(config, from, to, message).await {
        Ok(()) => Outcome::Delivered,
        Err(outcome) => outcome,
    }
}

async fn attempt(
    config: &EmailConfig,
    from: &str,
    to: &[String],
    message: &str,
) -> Result<(), Outcome> {
    if to.is_empty() {
        return Err(refused(&message));
    }
    let from: Address = from.parse().map_err(|e| refused(&e))?;
    let to: Result<Vec<Address>, _> = to.iter().map(|a| a.parse()).collect();
    let envelope =
        Envelope::new(Some(from), to.map_err(|e| refused(&e))?).map_err(|e| refused(&e))?;
    let mut connection = connection::connect(config).await?;
    if !config.username.is_empty() {
        let password = match &config.password {
            Some(source) => super::http::read(source)?,
            None => String::new(),
        };
        let credentials = Credentials::new(config.username.clone(), password);
        connection
            .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
            .await
            .map_err(|e| verdict(&e))?;
    }
    connection
        .send(&envelope, message.as_bytes())
        .await
        .map_err(|e| verdict(&e))?;
    // The message is theirs. Whether they say goodbye must not decide about sending it again.
    let _ = tokio::time::timeout(GOODBYE_TIME_MAX, connection.quit()).await;
    Ok(())
}

fn refused(error: &dyn std::fmt::Display) -> Outcome {
    Outcome::Refused {
        error: error.to_string(),
    }
}

/// A 5xx on the message is final. A refused login (53x) is not about the message: once the
/// password is right again, what waits must go out. The rest may pass.
fn verdict(error: &lettre::transport::smtp::Error) -> Outcome {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = source.source();
    }
    let about_login = error
        .status()
        .is_some_and(|c| c.to_string().starts_with("53"));
    if error.is_permanent() && !about_login {
        return Outcome::Refused { error: text };
    }
    retry(text)
}

fn retry(error: String) -> Outcome {
    Outcome::Retry { after: None, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::config::IntegrationKind;
    use crate::notification::tests::sample;
    use crate::templates::{Files, Renderer};

    fn mail(extra: &str, summary: &str, reason_time: i64) -> String {
        let yaml = format!(
            "route: {{receiver: a}}\nreceivers:\n- name: a\n  email_configs:\n  - {{to: 'Ops <ops@example.org>, b@example.org', from: sw@example.net, smarthost: 'localhost:25'{extra}}}\n"
        );
        let config = Config::parse("t.yml", &yaml).unwrap();
        let renderer = Renderer::new(&config, &Files::new()).unwrap();
        let mut n = sample(&[(
            &[("alertname", "Disk\r\nBcc: evil@example.com"), ("job", "é")],
            &[
                ("summary", summary),
                ("runbook_url", "https://run.example/x"),
            ],
            false,
        )]);
        n.group_labels = n.alerts[0].labels.clone();
        n.at = model::Timestamp::from_millis(n.at.millis() + reason_time);
        let IntegrationKind::Email(email) = &config.receivers[0].integrations[0].kind else {
            panic!("no mail");
        };
        let mut expansion = renderer.expand(&n);
        let payload = render(email, &n, &mut expansion);
        assert_eq!(expansion.failures, Vec::<String>::new());
        let Payload::Email { from, to, message } = payload else {
            panic!("no mail");
        };
        assert_eq!(from, "sw@example.net");
        assert_eq!(to, ["ops@example.org", "b@example.org"]);
        message
    }

    #[test]
    fn a_mail_has_a_stable_identity_and_both_bodies() {
        let message = mail("", "disk <full>", 0);
        assert_eq!(message, mail("", "disk <full>", 0));
        for part in [
            "Message-ID: <0123456789abcdef0123456789abcdef@example.net>",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Type: text/html; charset=utf-8",
            "Subject: [FIRING:1]",
            "https://run.example/x",
        ] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(message.contains("disk &lt;full&gt;"), "{message}");
        let (text, html) = message.split_once("Content-Type: text/html").unwrap();
        assert!(!text.contains("http://p/graph"), "{text}"); // too long to read
        assert!(html.contains("http://p/graph?g0"), "{html}");
        assert!(!message.contains("References"));
    }

    #[test]
    fn label_values_cannot_add_headers() {
        let message = mail(
            ", headers: {x-job: '{{ .CommonLabels.alertname }}'}",
            "s",
            0,
        );
        let headers = message.split("\r\n\r\n").next().unwrap();
        assert!(!headers.contains("\nBcc:"), "{headers}");
        assert!(headers.contains("X-Job: Disk"), "{headers}");
    }

    #[test]
    fn mails_of_one_day_form_a_thread_when_asked() {
        let on = ", threading: {enabled: true}";
        let refers = |m: String| {
            m.lines()
                .find(|l| l.starts_with("References:"))
                .map(str::to_owned)
        };
        let (first, later) = (refers(mail(on, "s", 0)), refers(mail(on, "s", 3_600_000)));
        assert!(first.is_some());
        assert_eq!(first, later);
        assert_ne!(first, refers(mail(on, "s", 86_400_000)));
    }

    /// A server that speaks its lines whatever it is told, then the `last` one for ever.
    async fn sent_to(lines: &'static [&'static str], last: &'static str) -> Outcome {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.into_split();
            let mut heard = tokio::io::BufReader::new(read).lines();
            for line in lines {
                write.write_all(line.as_bytes()).await.unwrap();
                let until = if line.starts_with("354") { "." } else { "" };
                while let Ok(Some(line)) = heard.next_line().await {
                    if until.is_empty() || line == until {
                        break;
                    }
                }
            }
            while !last.is_empty() && write.write_all(last.as_bytes()).await.is_ok() {}
            std::future::pending::<()>().await;
        });
        let yaml = format!(
            "global: {{smtp_require_tls: false}}\nroute: {{receiver: a}}\nreceivers:\n- name: a\n  email_configs:\n  - {{to: b@example.org, from: sw@example.net, smarthost: '127.0.0.1:{port}'}}\n"
        );
        let config = Config::parse("t.yml", &yaml).unwrap();
        let IntegrationKind::Email(email) = &config.receivers[0].integrations[0].kind else {
            panic!("no mail");
        };
        let to = ["b@example.org".to_owned()];
        send(email, "sw@example.net", &to, "Subject: x\r\n\r\ny").await
    }

    #[tokio::test]
    async fn a_server_that_does_not_say_goodbye_has_the_message() {
        let lines = &[
            "220 hi\r\n",
            "250 me\r\n",
            "250 ok\r\n",
            "250 ok\r\n",
            "354 go\r\n",
            "250 taken\r\n",
        ];
        assert_eq!(sent_to(lines, "").await, Outcome::Delivered);
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let Outcome::Retry { error, .. } = sent_to(&[], "2222222222222222").await else {
            panic!("no retry");
        };
        assert!(error.contains("do not end"), "{error}");
    }
}
