//! What is probed: nginx with good and bad certificates, and a DNS server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stackwatch_tests::eventually;

/// A program that ends with the test.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// `None` when there is no such program.
    pub(super) fn start(program: &str, args: &[&str]) -> Option<Running> {
        let places = [program.to_owned(), format!("/usr/sbin/{program}")];
        places.iter().find_map(|place| {
            let mut command = Command::new(place);
            command.args(args);
            let quiet = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            quiet.spawn().ok().map(Running)
        })
    }
}

/// A port nobody listens on now.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens.
pub(super) fn until_open(port: u16) {
    eventually("a server listens", Duration::from_secs(20), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

/// nginx.
pub(super) struct Nginx {
    dir: PathBuf,
    ports: [u16; 6],
    _running: Running,
}

impl Nginx {
    /// `None` when nginx or openssl is missing.
    pub(super) fn start(dir: &Path) -> Option<Nginx> {
        certificates(dir)?;
        let ports = [(); 6].map(|()| free_port());
        let [plain, good, expired, other_name, self_signed, _] = ports;
        let at = dir.display();
        let server = |port: u16, name: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/{name}.pem; \
                 ssl_certificate_key {at}/{name}.key; location / {{ return 200 hello; }} }}\n"
            )
        };
        let config = format!(
            "pid {at}/nginx.pid; error_log {at}/nginx.log; daemon off; master_process off;\n\
             events {{}}\nhttp {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             server {{ listen 127.0.0.1:{plain};\n\
             location = / {{ return 200 'hello world'; }}\n\
             location = /other {{ return 200 other; }}\n\
             location = /loop {{ return 302 /loop; }}\n\
             location = /moved {{ return 302 /; }}\n\
             location = /secure {{ return 301 https://localhost:{good}/; }}\n\
             location = /cookie {{ if ($cookie_seen = yes) {{ return 200 back; }} \
               add_header Set-Cookie 'seen=yes; Path=/'; return 302 /cookie; }}\n\
             location = /post {{ if ($request_method != POST) {{ return 405; }} \
               if ($http_x_key != v) {{ return 400; }} return 201; }}\n\
             location = /auth {{ if ($http_authorization != 'Basic dXNlcjpodW50ZXIy') {{ return 401; }} return 200 in; }}\n\
             location = /chunked {{ gzip off; ssi on; root {at}; try_files /page.shtml =404; default_type text/html; }}\n\
             location / {{ return 404; }} }}\n{}{}{}{}}}\n",
            server(good, "good"),
            server(expired, "expired"),
            server(other_name, "other"),
            server(self_signed, "self"),
        );
        std::fs::write(dir.join("page.shtml"), "of no known length").ok()?;
        std::fs::write(dir.join("nginx.conf"), config).ok()?;
        let file = dir.join("nginx.conf");
        let running = Running::start("nginx", &["-c", file.to_str()?])?;
        until_open(plain);
        Some(Nginx {
            dir: dir.to_owned(),
            ports,
            _running: running,
        })
    }

    /// HTTP.
    pub(super) fn plain(&self) -> u16 {
        self.ports[0]
    }

    /// HTTPS with a certificate that verifies for `localhost`.
    pub(super) fn good(&self) -> u16 {
        self.ports[1]
    }

    /// ... that has expired.
    pub(super) fn expired(&self) -> u16 {
        self.ports[2]
    }

    /// ... for another name.
    pub(super) fn other_name(&self) -> u16 {
        self.ports[3]
    }

    /// ... nobody vouches for.
    pub(super) fn self_signed(&self) -> u16 {
        self.ports[4]
    }

    /// Nobody listens.
    pub(super) fn closed(&self) -> u16 {
        self.ports[5]
    }

    /// Who signed the good one.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
}

/// Makes an authority and four certificates in `dir`.
fn certificates(dir: &Path) -> Option<()> {
    let openssl = |line: &str| {
        let done = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "openssl {line}: {text}");
        Some(())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n\
        default_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncountryName=optional\norganizationName=optional\ncommonName=supplied\n";
    std::fs::write(dir.join("ca.conf"), config).ok()?;
    std::fs::write(dir.join("index.txt"), "").ok()?;
    std::fs::write(dir.join("serial"), "01").ok()?;
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 3650 -subj /O=Test/CN=Authority"
    ))?;
    openssl(&format!(
        "req -x509 {key} -keyout self.key -out self.pem -days 30 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost"
    ))?;
    for (name, alternatives, from, to) in [
        (
            "good",
            "DNS:localhost,DNS:www.example.test",
            "20250101000000Z",
            "20351231235959Z",
        ),
        (
            "expired",
            "DNS:localhost",
            "20200101000000Z",
            "20200601000000Z",
        ),
        (
            "other",
            "DNS:elsewhere.example.test",
            "20250101000000Z",
            "20351231235959Z",
        ),
    ] {
        openssl(&format!(
            "req -new {key} -keyout {name}.key -out {name}.csr -subj /C=DE/O=Acme+O=Two/CN={name} \
             -multivalue-rdn -addext subjectAltName={alternatives}"
        ))?;
        openssl(&format!(
            "ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -in {name}.csr \
             -out {name}.pem -startdate {from} -enddate {to}"
        ))?;
    }
    Some(())
}

/// dnsmasq with a small zone.
pub(super) struct Dns {
    port: u16,
    _running: Running,
}

impl Dns {
    /// `None` when dnsmasq is missing.
    pub(super) fn start() -> Option<Dns> {
        let port = free_port();
        let running = Running::start(
            "dnsmasq",
            &[
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
                "--listen-address=127.0.0.1",
                &format!("--port={port}"),
                "--pid-file=",
                "--user=",
                "--local=/example.test/",
                "--host-record=host.example.test,10.0.0.1",
                "--mx-host=example.test,host.example.test,10",
                "--mx-host=example.test,other.example.test,20",
            ],
        )?;
        until_open(port);
        Some(Dns {
            port,
            _running: running,
        })
    }

    /// Where it listens, UDP and TCP.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}
