//! From `docker run` to the received mail, Slack message and webhook, with a `kill -9` in the middle.
//!
//! The stack: one container that talks too much and then dies, one scrape target, an SMTP server
//! with STARTTLS and AUTH, and two HTTP sinks that play Slack and a webhook receiver.

use std::time::Duration;

use stackwatch_tests::docker::{self, Container};
use stackwatch_tests::sink::Sink;
use stackwatch_tests::smtp::{self, Smtp};
use stackwatch_tests::stackwatch::Stackwatch;
use stackwatch_tests::{eventually, skipped};

/// Prints one numbered line every 100 ms, each with a secret of every kind, keeps a core a little
/// busy, and dies with exit code 7 when told to terminate.
const CHATTY: &str = r#"
trap 'echo "line=bye giving up"; exit 7' TERM
i=0
while :; do
  echo "line=$i user=alice@example.com Authorization: Bearer abcdef1234567890 db=postgres://app:hunter2@db/shop password=correcthorse {\"api_key\":\"sk-verysecret\"}"
  i=$((i+1)); j=0; while [ $j -lt 3000 ]; do j=$((j+1)); done
  sleep 0.1
done
"#;

/// What must never be seen again once the line has been read.
const SECRETS: [&str; 5] = [
    "alice@example.com",
    "abcdef1234567890",
    "hunter2",
    "correcthorse",
    "sk-verysecret",
];

#[test]
fn a_container_dies_and_the_page_arrives_though_stackwatch_was_killed_meanwhile() {
    if !docker::available() {
        return skipped("no Docker engine answers");
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(mail) = Smtp::start(dir.path()) else {
        return skipped("no aiosmtpd or openssl");
    };
    let (slack, webhook) = (Sink::start("ok"), Sink::start(""));
    let target = Sink::start("# TYPE shop_queue_depth gauge\nshop_queue_depth{queue=\"mail\"} 5\n");
    let container = Container::run("shop", "web", CHATTY);

    // 1. Configured in one file.
    std::fs::write(dir.path().join("shop.rules.yml"), RULES).unwrap();
    let config = config(&target, &mail, &slack, &webhook);
    let mut stackwatch = Stackwatch::start(dir.path(), &config);

    // 2. Within a scrape interval (1 s here) there are samples of the host, the container, the target and itself.
    let limit = Duration::from_secs(15);
    let name = container.name.as_str();
    for expr in [
        "node_memory_MemTotal_bytes".to_owned(),
        "node_cpu_seconds_total{mode=\"idle\"}".to_owned(),
        format!("container_memory_working_set_bytes{{name=\"{name}\"}}"),
        format!("container_running{{name=\"{name}\"}} == 1"),
        "shop_queue_depth{job=\"shop\", queue=\"mail\"} == 5".to_owned(),
        "up{job=\"shop\"} == 1".to_owned(),
        "up{job=\"node\"} == 1".to_owned(),
        "up{job=\"stackwatch\"} == 1".to_owned(),
    ] {
        eventually(&expr, limit, || stackwatch.value(&expr));
    }
    let busy = format!("rate(container_cpu_usage_seconds_total{{name=\"{name}\"}}[10s]) > 0");
    eventually(&busy, limit, || stackwatch.value(&busy));
    // The recording rule ran over them.
    eventually("the recorded series", limit, || {
        stackwatch.value("shop:queue_depth:max")
    });

    // 3. Its lines can be read, without the secrets.
    let selector = format!("{{container=\"{name}\",stream=\"stdout\"}}");
    let lines = eventually("twenty lines", limit, || {
        Some(stackwatch.lines(&selector)).filter(|l| l.len() >= 20)
    });
    assert!(lines[0].contains("line=0"), "{}", lines[0]);
    for secret in SECRETS {
        assert!(
            lines.iter().all(|l| !l.contains(secret)),
            "{secret} survived: {}",
            lines[0]
        );
    }

    // 4. `kill -9`: samples and lines are still there, and no line is lost or repeated.
    let before = stackwatch
        .value("count_over_time(shop_queue_depth[1h])")
        .unwrap();
    std::thread::sleep(Duration::from_millis(1100)); // the promised bound: what is a second old is on disk
    stackwatch.kill_and_restart();
    let after = stackwatch
        .value("count_over_time(shop_queue_depth[1h])")
        .unwrap();
    assert!(
        after >= before,
        "{before} samples before the kill, {after} after"
    );
    let more = lines.len() + 30;
    let lines = eventually("more lines", limit, || {
        Some(stackwatch.lines(&selector)).filter(|l| l.len() >= more)
    });
    let numbers: Vec<usize> = lines.iter().filter_map(|l| number(l)).collect();
    assert_eq!(
        numbers,
        (0..numbers.len()).collect::<Vec<_>>(),
        "every line once and in order"
    );

    // 5. The container dies while nobody can be reached: the page waits in the outbox.
    slack.answer(503, "try later");
    webhook.answer(503, "try later");
    container.signal("TERM");
    eventually("a refused attempt", limit, || {
        (!webhook.received().is_empty()).then_some(())
    });
    assert_eq!(
        stackwatch.value(&format!("container_exit_code{{name=\"{name}\"}}")),
        Some(7.0)
    );

    // 6. `kill -9` again; when stackwatch and the receivers are back, the page arrives everywhere.
    stackwatch.kill();
    slack.answer(200, "ok");
    webhook.answer(200, "");
    stackwatch.kill_and_restart();
    let page = eventually("the webhook", Duration::from_secs(30), || {
        webhook
            .accepted()
            .into_iter()
            .find(|r| r.json()["status"] == "firing")
    });
    let payload = page.json();
    assert_eq!(payload["version"], "4");
    assert_eq!(payload["receiver"], "everybody");
    assert_eq!(payload["groupLabels"]["alertname"], "ContainerGone");
    let alert = &payload["alerts"][0];
    assert_eq!(alert["labels"]["name"], name);
    assert_eq!(
        alert["annotations"]["summary"],
        format!("{name} exited with code 7")
    );
    assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z");
    assert!(alert["startsAt"].as_str().unwrap().ends_with('Z'));

    let message = eventually("the Slack message", limit, || {
        slack.accepted().into_iter().next()
    });
    assert!(
        message.body.contains("exited with code 7"),
        "{}",
        message.body
    );

    let raw = eventually("the mail", limit, || mail.messages().into_iter().next());
    let parsed = mail.parse(&raw);
    assert_eq!(parsed["defects"].as_array().map(Vec::len), Some(0));
    assert!(
        parsed["headers"]["subject"]
            .as_str()
            .unwrap()
            .contains("ContainerGone"),
        "{parsed}"
    );
    assert!(
        parsed["text"]
            .as_str()
            .unwrap()
            .contains("exited with code 7"),
        "{parsed}"
    );
    assert!(
        parsed["html"]
            .as_str()
            .unwrap()
            .contains("exited with code 7"),
        "{parsed}"
    );

    // 7. It comes back: everybody hears that too, and nobody hears anything twice.
    container.start();
    eventually("the resolved webhook", Duration::from_secs(30), || {
        webhook
            .accepted()
            .into_iter()
            .find(|r| r.json()["status"] == "resolved")
    });
    eventually("the resolved mail", limit, || {
        (mail.messages().len() >= 2).then_some(())
    });
    let firing = webhook
        .accepted()
        .iter()
        .filter(|r| r.json()["status"] == "firing")
        .count();
    assert_eq!(firing, 1, "the page was accepted once");
    assert_eq!(
        mail.messages().len(),
        2,
        "one mail for the page, one for the end"
    );

    // 8. Nothing secret reached the disk or a log, and all is well.
    stackwatch.signal("TERM");
    assert_eq!(stackwatch.exit_code(), Some(0), "{}", stackwatch.log());
    for secret in SECRETS.iter().chain(&[smtp::PASSWORD]) {
        assert!(!stackwatch.log().contains(secret), "{secret} in the log");
        assert_absent(&stackwatch.data(), secret);
    }
}

const RULES: &str = r#"
groups:
  - name: shop
    interval: 1s
    rules:
      - record: shop:queue_depth:max
        expr: max by (queue) (shop_queue_depth)
      - alert: ContainerGone
        expr: container_running{container_label_com_docker_compose_project="shop"} == 0
        labels: { severity: critical }
        annotations:
          summary: >-
            {{ $labels.name }} exited with code {{ with printf "container_exit_code{name='%s'}" $labels.name | query }}{{ . | first | value }}{{ end }}
"#;

fn config(target: &Sink, mail: &Smtp, slack: &Sink, webhook: &Sink) -> String {
    format!(
        r##"
collect:
  interval: 1s
  scrape_configs:
    - job_name: shop
      static_configs:
        - targets: ["{target}"]
rules:
  packs: []
  files: ["*.rules.yml"]
alerting:
  global:
    smtp_smarthost: {smarthost}
    smtp_from: stackwatch@example.org
    smtp_auth_username: {user}
    smtp_auth_password: {password}
  route:
    receiver: everybody
    group_by: [alertname]
    group_wait: 0s
    group_interval: 1s
    repeat_interval: 1h
  receivers:
    - name: everybody
      email_configs:
        - to: oncall@example.org
          send_resolved: true
          tls_config: {{ ca_file: {certificate} }}
      slack_configs:
        - api_url: http://{slack}/services/T/B/x
          channel: "#alerts"
          send_resolved: true
          text: "{{{{ range .Alerts }}}}{{{{ .Annotations.summary }}}}{{{{ end }}}}"
      webhook_configs:
        - url: http://{webhook}/hook
"##,
        target = target.address(),
        smarthost = mail.smarthost(),
        user = smtp::USER,
        password = smtp::PASSWORD,
        certificate = mail.certificate().display(),
        slack = slack.address(),
        webhook = webhook.address(),
    )
}

/// The `N` of `line=N`.
fn number(line: &str) -> Option<usize> {
    line.strip_prefix("line=")?.split(' ').next()?.parse().ok()
}

/// No file under `dir` contains `secret`.
fn assert_absent(dir: &std::path::Path, secret: &str) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            assert_absent(&path, secret);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!found, "{secret} in {}", path.display());
    }
}
