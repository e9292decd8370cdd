//! A real SMTP server (aiosmtpd) with STARTTLS and AUTH, and a certificate made for the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user the server knows.
pub const USER: &str = "stackwatch";
/// Its password.
pub const PASSWORD: &str = "mail-secret";

/// A running server; killed on drop.
pub struct Smtp {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Smtp {
    /// Starts the server with its files under `dir`; `None` when aiosmtpd or openssl is missing.
    ///
    /// # Panics
    /// When the server starts and does not speak.
    #[must_use]
    pub fn start(dir: &Path) -> Option<Smtp> {
        let python = "/usr/bin/python3";
        let have = Command::new(python)
            .args(["-c", "import aiosmtpd"])
            .stderr(Stdio::null())
            .status();
        if !have.is_ok_and(|s| s.success()) {
            return None;
        }
        let (certificate, key, mail) =
            (dir.join("smtp.crt"), dir.join("smtp.key"), dir.join("mail"));
        std::fs::create_dir_all(&mail).unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|s| s.success()) {
            return None;
        }
        let script = dir.join("smtp_sink.py");
        std::fs::write(&script, include_str!("smtp_sink.py")).unwrap();
        let mut child = Command::new(python)
            .arg(&script)
            .args([&mail, &certificate, &key])
            .args([USER, PASSWORD])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line
            .trim()
            .parse()
            .expect("the SMTP server prints its port");
        Some(Smtp {
            child,
            port,
            dir: dir.to_owned(),
        })
    }

    /// `localhost:port`.
    #[must_use]
    pub fn smarthost(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The server's certificate, for a client that shall trust it.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("smtp.crt")
    }

    /// Messages received, as sent on the wire, oldest first.
    ///
    /// # Panics
    /// When the folder cannot be read.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir.join("mail"))
            .unwrap()
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "eml"))
            .collect();
        files.sort();
        files
            .iter()
            .map(|f| String::from_utf8_lossy(&std::fs::read(f).unwrap()).into_owned())
            .collect()
    }

    /// Parses a message with Python's mail library: subject, and the text and HTML bodies decoded.
    ///
    /// # Panics
    /// When it is no mail.
    #[must_use]
    pub fn parse(&self, message: &str) -> serde_json::Value {
        let file = self.dir.join("parse.eml");
        std::fs::write(&file, message).unwrap();
        let out = Command::new("/usr/bin/python3")
            .args(["-c", PARSE])
            .arg(&file)
            .output()
            .unwrap();
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
    }
}

const PARSE: &str = r#"
import email, email.policy, json, sys
m = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
part = lambda kind: (lambda p: p.get_content() if p else None)(m.get_body((kind,)))
print(json.dumps({"headers": {k.lower(): str(v) for k, v in m.items()}, "text": part("plain"), "html": part("html"),
                  "defects": [str(d) for d in m.defects]}))
"#;

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
