//! Notification texts: the shipped templates, the user's files, and the texts in the configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use model::Labels;
use template::alertmanager::{Environment, functions};
use template::{Kv, Limits, TemplateSet, Value};

use crate::config::{Config, IntegrationKind, SecretSource};
use crate::notification::Notification;

/// The templates that are always there; a user's file may redefine each of them.
const DEFAULTS: [(&str, &str); 3] = [
    ("default.tmpl", include_str!("templates/default.tmpl")),
    ("slack.tmpl", include_str!("templates/slack.tmpl")),
    ("email.tmpl", include_str!("templates/email.tmpl")),
];
/// Longest rendered text, in bytes: a mail about hundreds of alerts fits.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Largest template file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Template files as read from disk: name and text.
pub(crate) type Files = Vec<(String, String)>;

/// Reads the files that the configuration's patterns name. Relative patterns start at `base`;
/// `*` and `?` stand in the last part only. A pattern without wildcards must exist.
pub(crate) fn read_files(patterns: &[String], base: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for pattern in patterns {
        let path = base.join(pattern);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let paths = match (&name, path.parent()) {
            (Some(name), Some(folder)) if name.contains(['*', '?']) => {
                let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
                    .map_err(|e| format!("{pattern}: {e}"))?
                    .flatten()
                    .filter(|e| wildcard(name, &e.file_name().to_string_lossy()))
                    .map(|e| e.path())
                    .collect();
                found.sort();
                found
            }
            _ => vec![path],
        };
        for path in paths {
            let shown = path.display();
            let size = std::fs::metadata(&path)
                .map_err(|e| format!("{shown}: {e}"))?
                .len();
            if size > FILE_BYTES_MAX {
                return Err(format!("{shown}: larger than {FILE_BYTES_MAX} bytes"));
            }
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
            files.push((shown.to_string(), text));
        }
    }
    Ok(files)
}

/// Whether `name` matches a pattern of `*`, `?` and literal characters.
fn wildcard(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < n.len() {
        match p.get(i) {
            Some('*') => {
                star = Some((i, j));
                i += 1;
            }
            Some(c) if *c == '?' || *c == n[j] => {
                i += 1;
                j += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    i = at + 1;
                    j = taken + 1;
                }
                None => return false,
            },
        }
    }
    p[i..].iter().all(|c| *c == '*')
}

/// Expands texts. Everything is parsed and checked when it is built.
pub(crate) struct Renderer {
    set: TemplateSet,
    /// Names of the configuration's own texts.
    names: HashMap<String, String>,
}

impl Renderer {
    pub(crate) fn new(config: &Config, files: &Files) -> Result<Renderer, String> {
        let mut renderer = Renderer {
            set: TemplateSet::new(),
            names: HashMap::new(),
        };
        for (name, text) in DEFAULTS {
            renderer.set.add(name, text).map_err(|e| e.to_string())?;
        }
        for (name, text) in files {
            renderer.set.add(name, text).map_err(|e| e.to_string())?;
        }
        for receiver in &config.receivers {
            for integration in &receiver.integrations {
                let place = format!("receiver {:?}, {}", receiver.name, integration.key());
                for text in texts(&integration.kind) {
                    renderer.add(&place, text)?;
                }
            }
        }
        for route in config.route.walk() {
            for text in route.labels.values() {
                renderer.add(&format!("labels of route {}", route.key), text)?;
            }
        }
        let env = Environment {
            now: model::Timestamp::default(),
            route_labels: Value::object(Kv(Labels::empty())),
        };
        renderer
            .set
            .check(&functions(env))
            .map_err(|e| e.to_string())?;
        Ok(renderer)
    }

    fn add(&mut self, place: &str, text: &str) -> Result<(), String> {
        if !text.contains("{{") || self.names.contains_key(text) {
            return Ok(());
        }
        let name = format!("{place} (text {})", self.names.len() + 1);
        self.set.add(&name, text).map_err(|e| e.to_string())?;
        self.names.insert(text.to_owned(), name);
        Ok(())
    }

    /// The expansions of one notification.
    pub(crate) fn expand<'r>(&'r self, notification: &Notification) -> Expansion<'r> {
        let route_labels = Labels::from_pairs(notification.route_labels.clone());
        Expansion {
            renderer: self,
            data: notification.template_data(),
            env: Environment {
                now: notification.at,
                route_labels: Value::object(Kv(route_labels)),
            },
            plain: plain_words(notification),
            failures: Vec::new(),
        }
    }
}

/// Expands texts over one notification's data.
pub(crate) struct Expansion<'r> {
    renderer: &'r Renderer,
    data: Value,
    env: Environment,
    plain: String,
    /// What went wrong; a notification goes out all the same.
    pub(crate) failures: Vec<String>,
}

impl Expansion<'_> {
    /// Prose for people. Where the template fails it still says which alerts it is about.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let expanded = self.run(text, false);
        expanded.unwrap_or_else(|| self.plain.clone())
    }

    /// HTML: values are escaped. Where the template fails, as [`Expansion::text`].
    pub(crate) fn html(&mut self, text: &str) -> String {
        let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let expanded = self.run(text, true);
        expanded.unwrap_or_else(|| escape(&self.plain))
    }

    /// An address, a colour, a name. Empty where the template fails.
    pub(crate) fn value(&mut self, text: &str) -> String {
        self.run(text, false).unwrap_or_default()
    }

    fn run(&mut self, text: &str, html: bool) -> Option<String> {
        let Some(name) = self.renderer.names.get(text) else {
            return Some(text.to_owned());
        };
        let limits = Limits {
            output_bytes_max: OUTPUT_BYTES_MAX,
            iterations_max: 100_000,
            steps_max: 2_000_000,
            ..Limits::default()
        };
        let functions = functions(self.env.clone());
        let set = &self.renderer.set;
        let result = if html {
            set.execute_html(name, &self.data, &functions, &limits)
        } else {
            set.execute(name, &self.data, &functions, &limits)
        };
        result.map_err(|e| self.failures.push(e.to_string())).ok()
    }
}

/// What is said when a template fails.
fn plain_words(notification: &Notification) -> String {
    let mut names: Vec<&str> = Vec::new();
    for alert in &notification.alerts {
        let name = alert.labels.get("alertname").unwrap_or("alert");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    format!(
        "[{}] {} (the configured template failed)",
        notification.status().as_str().to_uppercase(),
        names.join(", ")
    )
}

/// Every text of an integration that may be a template.
fn texts(kind: &IntegrationKind) -> Vec<&str> {
    match kind {
        IntegrationKind::Email(c) => {
            let mut all = vec![c.to.as_str(), &c.from, &c.html, &c.text, EMAIL_SUBJECT];
            all.extend(c.headers.iter().map(|(_, v)| v.as_str()));
            all
        }
        IntegrationKind::Slack(c) => {
            let mut all = vec![
                c.channel.as_str(),
                &c.username,
                &c.color,
                &c.title,
                &c.title_link,
                &c.pretext,
                &c.text,
                &c.message_text,
                &c.footer,
                &c.fallback,
                &c.callback_id,
                &c.icon_emoji,
                &c.icon_url,
                &c.image_url,
                &c.thumb_url,
            ];
            for field in &c.fields {
                all.extend([field.title.as_str(), &field.value]);
            }
            for a in &c.actions {
                all.extend([a.text.as_str(), &a.url, &a.style, &a.name, &a.value]);
                all.extend(a.confirm.iter().flatten().map(String::as_str));
            }
            all
        }
        IntegrationKind::Webhook(c) => match &c.url {
            SecretSource::Inline(url) => vec![url.expose()],
            SecretSource::File(_) => Vec::new(),
        },
    }
}

/// The subject of a mail whose configuration has none.
pub(crate) const EMAIL_SUBJECT: &str = r#"{{ template "email.default.subject" . }}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::tests::sample;

    /// Renders `text` as a Slack title, with the shipped templates only.
    #[track_caller]
    fn check(text: &str, notification: &Notification, expect: &str) {
        let yaml = format!(
            "route: {{receiver: a}}\nreceivers: [{{name: a, slack_configs: [{{api_url: 'http://x', title: '{}'}}]}}]",
            text.replace('\'', "''")
        );
        let config = Config::parse("t.yml", &yaml).unwrap();
        let renderer = Renderer::new(&config, &Files::new()).unwrap();
        let mut expansion = renderer.expand(notification);
        let got = expansion.text(text);
        assert_eq!(expansion.failures, Vec::<String>::new());
        assert_eq!(got, expect);
    }

    #[test]
    fn well_known_names_and_fields_render() {
        let n = sample(&[
            (
                &[("alertname", "A"), ("severity", "critical"), ("i", "1")],
                &[("summary", "disk full")],
                false,
            ),
            (
                &[("alertname", "A"), ("severity", "critical"), ("i", "2")],
                &[("summary", "disk full")],
                true,
            ),
        ]);
        check(
            r#"{{ template "__subject" . }}"#,
            &n,
            "[FIRING:1] A (critical)",
        );
        check(
            r#"{{ template "slack.default.title" . }}"#,
            &n,
            "[FIRING:1] A (critical)",
        );
        check(
            r#"{{ range .Alerts.Firing }}{{ .Labels.i }} {{ .Annotations.summary }} {{ .Labels.nope }}|{{ .Fingerprint }}{{ end }}"#,
            &n,
            &format!("1 disk full |{:016x}", n.alerts[0].fingerprint),
        );
        check(
            "{{ .CommonLabels.severity | toUpper }} {{ .Status }} {{ len .Alerts }}",
            &n,
            "CRITICAL firing 2",
        );
        check(
            "{{ (index .Alerts 1).EndsAt.Format \"15:04:05\" }} {{ .ExternalURL }}",
            &n,
            "11:07:40 http://am.example",
        );
        check(
            r#"{{ template "__alertmanagerURL" . }}"#,
            &n,
            "http://am.example/#/alerts?receiver=team-X",
        );
    }

    #[test]
    fn a_mail_tells_what_fires_first_and_leaves_out_what_is_for_machines() {
        let n = sample(&[
            (
                &[
                    ("alertname", "A"),
                    ("id", "/docker/1"),
                    ("image", "i"),
                    ("name", "a"),
                ],
                &[("summary", "a is gone")],
                true,
            ),
            (
                &[
                    ("alertname", "A"),
                    ("container_label_x", "y"),
                    ("name", "b"),
                ],
                &[("summary", "b is gone"), ("runbook_url", "http://run")],
                false,
            ),
        ]);
        check(
            r#"{{ template "email.default.subject" . }}"#,
            &n,
            "[FIRING:1] A (b)",
        );
        check(
            r#"{{ template "email.default.text" . }}"#,
            &n,
            "1 firing, 1 ended\n\n\
             FIRING: b is gone\nSince: 2026-11-18 11:06:40 UTC\n  alertname = A\n  name = b\nRunbook: http://run\n\n\
             ENDED: a is gone\nSince: 2026-11-18 11:06:40 UTC, until 2026-11-18 11:07:40 UTC\n  alertname = A\n  name = a\n\n\
             http://am.example/#/alerts?receiver=team-X\n",
        );
    }

    #[test]
    fn what_calls_itself_no_trouble_is_not_red_in_slack() {
        let color = |severity, ended| {
            let yaml = "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{api_url: 'http://x'}]}]";
            let config = Config::parse("t.yml", yaml).unwrap();
            let IntegrationKind::Slack(slack) = &config.receivers[0].integrations[0].kind else {
                panic!("no Slack");
            };
            let renderer = Renderer::new(&config, &Files::new()).unwrap();
            let labels = [("alertname", "A"), ("severity", severity)];
            let n = sample(&[(&labels, &[], ended)]);
            renderer.expand(&n).value(&slack.color)
        };
        assert_eq!(color("critical", false), "danger");
        assert_eq!(color("none", false), "#439fe0");
        assert_eq!(color("info", false), "#439fe0");
        assert_eq!(color("none", true), "good");
    }

    #[test]
    fn values_cannot_become_mentions_in_slack() {
        let n = sample(&[(
            &[("alertname", "A"), ("x", "<!channel>")],
            &[("summary", "a < b & c")],
            false,
        )]);
        check(
            r#"{{ template "slack.default.text" . }}"#,
            &n,
            ":rotating_light: since 2026-11-18 11:06:40 UTC *a &lt; b &amp; c*\n`alertname=A` `x=&lt;!channel&gt;` \n<http://p/graph?g0|Graph>\n",
        );
    }

    #[test]
    fn a_user_file_redefines_a_shipped_template() {
        let files = vec![(
            "u.tmpl".to_owned(),
            r#"{{ define "slack.default.title" }}mine{{ end }}"#.to_owned(),
        )];
        let config = Config::parse(
            "t.yml",
            "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{api_url: 'http://x'}]}]",
        )
        .unwrap();
        let renderer = Renderer::new(&config, &files).unwrap();
        let n = sample(&[(&[("alertname", "A")], &[], false)]);
        assert_eq!(
            renderer
                .expand(&n)
                .text(r#"{{ template "slack.default.title" . }}"#),
            "mine"
        );
    }

    #[test]
    fn a_template_that_cannot_work_is_refused_when_loading() {
        let config = Config::parse("t.yml", "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{api_url: 'http://x', title: '{{ nope . }}'}]}]").unwrap();
        let error = Renderer::new(&config, &Files::new()).err().unwrap();
        assert!(error.contains("nope"), "{error}");
    }

    #[test]
    fn where_a_template_fails_the_page_still_names_its_alerts() {
        let text = "{{ index .Alerts 7 }}";
        let yaml = format!(
            "route: {{receiver: a}}\nreceivers: [{{name: a, slack_configs: [{{api_url: 'http://x', title: '{text}'}}]}}]"
        );
        let config = Config::parse("t.yml", &yaml).unwrap();
        let renderer = Renderer::new(&config, &Files::new()).unwrap();
        let mut expansion = renderer.expand(&sample(&[(&[("alertname", "A")], &[], false)]));
        assert_eq!(
            expansion.text(text),
            "[FIRING] A (the configured template failed)"
        );
        assert_eq!(expansion.value(text), "");
        assert_eq!(expansion.failures.len(), 2);
    }

    #[test]
    fn wildcards_match_file_names() {
        assert!(wildcard("*.tmpl", "a.tmpl"));
        assert!(wildcard("a?c*", "abcde"));
        assert!(!wildcard("*.tmpl", "a.tmpl.bak"));
    }
}
