//! Connection strings as libpq reads them: a URL or `key=value` pairs.
//!
//! Source of the grammar: PostgreSQL's manual, "Connection Strings" and "Parameter Key Words".
//! No error repeats a value: any of them may be a password put in the wrong place.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The longest string read, bytes.
pub(super) const DSN_BYTES_MAX: usize = 16 << 10;
/// The port when none is given.
const PORT: u16 = 5432;
/// Where libpq looks for a server when no host is given.
const SOCKET_DIR: &str = "/var/run/postgresql";

/// Keys that mean something here.
const KNOWN: [&str; 12] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
];
/// Keys of libpq that change nothing for us, so that a string in use elsewhere can be taken over.
const IGNORED: [&str; 18] = [
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "gssencmode",
    "channel_binding",
    "require_auth",
];

/// Where a server is and who we are there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Dsn {
    values: BTreeMap<String, String>,
}

/// How much TLS is asked for, as libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// None.
    Disable,
    /// If the server has it; nothing is verified.
    Prefer,
    /// Always; nothing is verified unless there is a root certificate, which is then used.
    Require,
    /// The certificate must lead to a trusted root.
    VerifyCa,
    /// And be the host's.
    VerifyFull,
}

impl Dsn {
    /// Reads a connection string.
    ///
    /// # Errors
    /// What is wrong with it, without any of its values.
    pub(super) fn parse(text: &str) -> Result<Dsn, String> {
        let text = text.trim();
        if text.len() > DSN_BYTES_MAX {
            return Err(format!("longer than {DSN_BYTES_MAX} bytes"));
        }
        let url = ["postgresql://", "postgres://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let mut dsn = Dsn::default();
        match url {
            Some(rest) => dsn.read_url(rest)?,
            None => dsn.read_pairs(text)?,
        }
        dsn.port()?;
        dsn.ssl_mode()?;
        if dsn.values.get("host").is_some_and(|h| h.contains(',')) {
            return Err("several hosts: write one entry for each server".to_owned());
        }
        Ok(dsn)
    }

    /// Whether `text` is a connection string rather than a password alone.
    pub(super) fn looks_like_one(text: &str) -> bool {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return true;
        }
        text.split_once('=')
            .is_some_and(|(key, _)| KNOWN.contains(&key.trim()))
    }

    /// This one with everything `other` says instead.
    pub(super) fn overridden_by(mut self, other: Dsn) -> Dsn {
        self.values.extend(other.values);
        self
    }

    pub(super) fn set_password(&mut self, password: &str) {
        self.values.insert("password".into(), password.into());
    }

    /// Host name, address or, when it begins with a slash, the directory of a socket.
    pub(super) fn host(&self) -> &str {
        self.get("host")
            .or_else(|| self.get("hostaddr"))
            .unwrap_or(SOCKET_DIR)
    }

    /// The address to connect to where it is not to be looked up.
    pub(super) fn address(&self) -> &str {
        self.get("hostaddr").unwrap_or_else(|| self.host())
    }

    pub(super) fn is_socket(&self) -> bool {
        self.address().starts_with('/')
    }

    pub(super) fn port(&self) -> Result<u16, String> {
        self.get("port").map_or(Ok(PORT), |port| {
            port.parse().map_err(|_| "port is not a number".to_owned())
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.get("user")
    }

    /// The database; libpq's default is the one named like the user.
    pub(super) fn database(&self) -> Option<&str> {
        self.get("dbname").or_else(|| self.user())
    }

    pub(super) fn password(&self) -> Option<&str> {
        self.get("password")
    }

    pub(super) fn passfile(&self) -> Option<PathBuf> {
        self.get("passfile").map(PathBuf::from)
    }

    /// A file with a certificate or key.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        self.get(key).map(PathBuf::from)
    }

    pub(super) fn options(&self) -> Option<&str> {
        self.get("options")
    }

    pub(super) fn ssl_mode(&self) -> Result<SslMode, String> {
        match self.get("sslmode") {
            // `allow` would rather have none; one of the two tries is what it asks for too.
            None | Some("prefer" | "allow") => Ok(SslMode::Prefer),
            Some("disable") => Ok(SslMode::Disable),
            Some("require") => Ok(SslMode::Require),
            Some("verify-ca") => Ok(SslMode::VerifyCa),
            Some("verify-full") => Ok(SslMode::VerifyFull),
            Some(_) => Err(
                "sslmode is not one of disable, prefer, require, verify-ca, verify-full".to_owned(),
            ),
        }
    }

    /// `host:port`, the `instance` label. A socket is on this machine: `localhost:port`.
    pub(super) fn instance(&self) -> String {
        let port = self.port().unwrap_or(PORT);
        let host = if self.is_socket() && self.get("hostaddr").is_none() {
            "localhost"
        } else {
            self.host()
        };
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        if KNOWN.contains(&key) {
            self.values.insert(key.to_owned(), value);
            return Ok(());
        }
        if IGNORED.contains(&key) {
            return Ok(());
        }
        // What stands where a key should be may be the rest of an unquoted password.
        Err(format!(
            "unknown parameter (known are {}); a value with spaces needs quotes",
            KNOWN.join(", ")
        ))
    }

    fn read_url(&mut self, rest: &str) -> Result<(), String> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !credentials.is_empty() {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            self.set_decoded("user", user)?;
            self.set_decoded("password", password)?;
        }
        let (host, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
            None => host.rsplit_once(':').unwrap_or((host, "")),
        };
        self.set_decoded("host", host)?;
        self.set_decoded("port", port)?;
        self.set_decoded("dbname", database)?;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or("a parameter without a value after the question mark")?;
            match key {
                // Older JDBC-like spelling that libpq takes as well.
                "ssl" if value == "true" => self.set("sslmode", "require".into())?,
                _ => self.set(key, decoded(value)?)?,
            }
        }
        Ok(())
    }

    fn set_decoded(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Ok(());
        }
        self.set(key, decoded(value)?)
    }

    fn read_pairs(&mut self, text: &str) -> Result<(), String> {
        let mut chars = text.chars().peekable();
        loop {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            if chars.peek().is_none() {
                return Ok(());
            }
            let mut key = String::new();
            while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
                key.push(c);
            }
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            if chars.next() != Some('=') {
                return Err("neither a postgresql:// URL nor key=value pairs".to_owned());
            }
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
            let quoted = chars.next_if_eq(&'\'').is_some();
            let mut value = String::new();
            loop {
                match chars.next() {
                    Some('\\') => value.extend(chars.next()),
                    Some('\'') if quoted => break,
                    Some(c) if !quoted && c.is_whitespace() => break,
                    Some(c) => value.push(c),
                    None if quoted => return Err("a quote is not closed".to_owned()),
                    None => break,
                }
            }
            self.set(&key, value)?;
        }
    }
}

impl std::fmt::Debug for Dsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.instance())
    }
}

/// Undoes `%41`.
fn decoded(text: &str) -> Result<String, String> {
    let bad = || "a percent sign that is not followed by two hexadecimal digits".to_owned();
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || {
            bytes
                .next()
                .and_then(|b| char::from(b).to_digit(16))
                .ok_or_else(bad)
        };
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| "not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let got = Dsn::parse(text).map(|d| {
            format!(
                "{} {} {} {} {:?}",
                d.instance(),
                d.user().unwrap_or("-"),
                d.database().unwrap_or("-"),
                d.password().unwrap_or("-"),
                d.ssl_mode().unwrap()
            )
        });
        assert_eq!(
            got.unwrap_or_else(|e| format!("error: {e}")),
            expect,
            "{text}"
        );
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        check("postgresql://mon@db/app", "db:5432 mon app - Prefer");
        check(
            "postgres://mon:p%40ss%3A%2F@db.example.org:6432/app?sslmode=verify-full&sslrootcert=/ca.pem",
            "db.example.org:6432 mon app p@ss:/ VerifyFull",
        );
        check(
            "postgresql://mon@[::1]:5433/app",
            "[::1]:5433 mon app - Prefer",
        );
        check(
            "postgresql://mon@%2Ftmp%2Fpg/app",
            "localhost:5432 mon app - Prefer",
        );
        check(
            "postgresql:///app?host=/tmp/pg&user=me",
            "localhost:5432 me app - Prefer",
        );
        check("postgresql://mon@db", "db:5432 mon mon - Prefer");
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        check(
            r"host=db port = 5433 user=mon password='it\'s a \\ secret' dbname=app sslmode=disable",
            r"db:5433 mon app it's a \ secret Disable",
        );
        check("user=mon", "localhost:5432 mon mon - Prefer");
        check(
            "host=db user=u application_name=x connect_timeout=3",
            "db:5432 u u - Prefer",
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_values() {
        for text in [
            "host=db password=two hunter2words",
            "host=db password=two hunter2=words",
            "postgresql://u:hunter2%zz@db/x",
            "host=db port=hunter2",
            "host=db sslmode=hunter2",
            "password='hunter2",
            "hunter2",
            "host=a,hunter2",
            "postgresql://u@db/x?hunter2=1",
        ] {
            let error = Dsn::parse(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
        let dsn = Dsn::parse("postgresql://u:hunter2@db/x").unwrap();
        assert!(!format!("{dsn:?}").contains("hunter2"));
    }

    #[test]
    fn a_string_is_told_from_a_password() {
        assert!(Dsn::looks_like_one("postgres://x"));
        assert!(Dsn::looks_like_one(" host=db user=x"));
        assert!(!Dsn::looks_like_one("s3cret=="));
        assert!(!Dsn::looks_like_one("my=pass"));
    }
}
