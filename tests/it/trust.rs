//! Whom we trust when we ask others: servers with the certificate that everybody makes with openssl,
//! servers that are no good at TLS, and machines without certificates.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stackwatch_tests::sink::Sink;
use stackwatch_tests::stackwatch::{Stackwatch, binary};
use stackwatch_tests::{eventually, skipped};

const LIMIT: Duration = Duration::from_secs(60);

/// What Python's own server says: HTTP/1.0, bodies without a length, no goodbye.
const SERVER: &str = r#"
import gzip, http.server, ssl, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"answered 1\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        if self.path in ("/zipped", "/cut"):
            self.send_header("Content-Encoding", "gzip")
            body = gzip.compress(body)
        if self.path == "/cut":
            body = body[:-4]
        if self.path == "/short":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("self.crt", "self.key")
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// With the usual self-signed certificate, which is an authority's, in `dir`.
    fn start(dir: &Path) -> Option<Server> {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=localhost", "-addext"])
            .args(["subjectAltName=DNS:inside.example,IP:127.0.0.1"])
            .args(["-keyout", "self.key", "-out", "self.crt"])
            .current_dir(dir)
            .stderr(Stdio::null())
            .status();
        made.ok().filter(std::process::ExitStatus::success)?;
        let mut child = Command::new("python3")
            .args(["-c", SERVER])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take()?).read_line(&mut line);
        said.unwrap();
        let port = line.trim().parse().unwrap();
        Some(Server { child, port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The target of a job once it has been scraped.
fn scraped(stackwatch: &Stackwatch, job: &str) -> (String, String) {
    eventually(job, LIMIT, || {
        let answer = stackwatch.get("/api/v1/targets").json();
        let targets = answer["data"]["activeTargets"].as_array()?.clone();
        let target = targets.iter().find(|t| t["labels"]["job"] == job)?;
        let health = target["health"].as_str()?.to_owned();
        let error = target["lastError"].as_str()?.to_owned();
        (health != "unknown").then_some((health, error))
    })
}

#[test]
fn the_usual_self_signed_certificate_and_connections_that_just_end_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()) else {
        return skipped("no openssl or python3");
    };
    let port = server.port;
    let job = |name: &str, path: &str, tls: &str| {
        format!(
            "    - {{ job_name: {name}, scheme: https, metrics_path: {path}, tls_config: {{ {tls} }}, static_configs: [{{ targets: ['127.0.0.1:{port}'] }}] }}\n"
        )
    };
    let config = [
        "collect:\n  interval: 1s\n  host: false\n  docker: false\n  scrape_configs:\n".to_owned(),
        job("plain", "/", "ca_file: self.crt"),
        job("zipped", "/zipped", "ca_file: self.crt"),
        job("named", "/", "ca_file: self.crt, server_name: inside.example"),
        job("short", "/short", "ca_file: self.crt"),
        job("cut", "/cut", "ca_file: self.crt"),
        job("misnamed", "/", "ca_file: self.crt, server_name: other.example"),
        job("untrusted", "/", ""),
        format!("  probes: [{{ url: 'https://127.0.0.1:{port}/', tls_config: {{ ca_file: self.crt }} }}]\n"),
    ]
    .concat();
    let stackwatch = Stackwatch::start(dir.path(), &config);
    for job in ["plain", "zipped", "named"] {
        let (health, error) = scraped(&stackwatch, job);
        assert_eq!(health, "up", "{job}: {error}");
    }
    for (job, expect) in [
        ("short", "close_notify"),
        ("cut", "unpacking the answer"),
        ("misnamed", "other.example"),
        ("untrusted", "invalid peer certificate: UnknownIssuer"),
    ] {
        let (health, error) = scraped(&stackwatch, job);
        assert!(health == "down" && error.contains(expect), "{job}: {error}");
    }
    let answered = eventually("answered", LIMIT, || {
        stackwatch.value("count(answered) + min(probe_success)")
    });
    assert_eq!(answered, 4.0);
}

#[test]
fn a_machine_without_certificates_asks_and_tells_over_plain_http() {
    let dir = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(dir.path()) else {
        return skipped("no openssl or python3");
    };
    let target = Sink::start("shop_up 1\n");
    let webhook = Sink::start("");
    let bare = dir.path().join("bare");
    let script = format!(
        "#!/bin/sh\nSSL_CERT_FILE=/nonexistent SSL_CERT_DIR=/nonexistent exec {} \"$@\"\n",
        binary().display()
    );
    std::fs::write(&bare, script).unwrap();
    std::fs::set_permissions(&bare, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(
        dir.path().join("up.rules.yml"),
        "groups: [{name: a, interval: 1s, rules: [{alert: Up, expr: shop_up == 1}]}]\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("token"), "from a file\n").unwrap();
    let config = format!(
        "collect:
  interval: 1s
  host: false
  docker: false
  scrape_configs:
    - job_name: shop
      http_headers: {{ X-Token: {{ files: [token] }} }}
      static_configs: [{{ targets: ['{target}'] }}]
    - job_name: behind
      proxy_url: http://{target}
      static_configs: [{{ targets: ['inside.example:80'] }}]
    - job_name: secret
      scheme: https
      static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]
rules: {{ packs: [], files: ['*.rules.yml'] }}
alerting:
  route: {{ receiver: hook, group_wait: 0s }}
  receivers: [{{ name: hook, webhook_configs: [{{ url: 'http://{webhook}/' }}] }}]
",
        target = target.address(),
        port = server.port,
        webhook = webhook.address(),
    );
    let stackwatch = Stackwatch::start_program(&bare, dir.path(), &config);
    for job in ["shop", "behind"] {
        let (health, error) = scraped(&stackwatch, job);
        assert_eq!(health, "up", "{job}: {error}");
    }
    let (health, error) = scraped(&stackwatch, "secret");
    assert!(
        health == "down" && error.contains("install ca-certificates"),
        "{error}"
    );
    let asked = target.received();
    assert!(
        asked
            .iter()
            .any(|r| r.header("x-token") == Some("from a file"))
    );
    assert!(
        asked
            .iter()
            .any(|r| r.path == "http://inside.example/metrics")
    );
    eventually("the alert", LIMIT, || webhook.accepted().pop());
    let health = Command::new(&bare)
        .args([
            "health",
            "--url",
            &format!("http://{}", stackwatch.listen()),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&health.stderr);
    assert!(health.status.success(), "{said}");
}
