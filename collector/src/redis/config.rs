//! One entry of `collect.redis`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use crate::scrape::Secret;
use crate::tls::TlsConfig;

/// Query parameters that may stand in a URL: which database, and which protocol, do not matter to us.
const PARAMETERS: [&str; 3] = ["db", "database", "protocol"];
/// The port of a URL that has none.
const PORT: u16 = 6379;

/// A Redis, Valkey or KeyDB server, or a Sentinel, to collect from. Keys that redis_exporter has as
/// options are named after them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host:port`, `rediss://host:port` (TLS) or `unix:///path`; user and password may
    /// stand in it, and are shown nowhere.
    pub url: RedisUrl,
    /// The `instance` label; host and port of the URL when absent.
    #[serde(default)]
    pub instance: Option<String>,
    /// The ACL user; the server's default user when absent.
    #[serde(default)]
    pub username: Option<String>,
    /// The password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// File that holds the password; read at each connection.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// TLS settings of `rediss://`.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Patterns of keys whose size, memory and numeric value are told: `pattern` or `db3=pattern`.
    /// They are searched for with SCAN, which walks through the whole database at each collection.
    #[serde(default)]
    pub check_keys: Vec<KeyPattern>,
    /// Keys by name, likewise, without the search.
    #[serde(default)]
    pub check_single_keys: Vec<KeyPattern>,
    /// Patterns of streams that are told about with their groups and consumers.
    #[serde(default)]
    pub check_streams: Vec<KeyPattern>,
    /// Streams by name, likewise, without the search.
    #[serde(default)]
    pub check_single_streams: Vec<KeyPattern>,
    /// Patterns of keys that are only counted.
    #[serde(default)]
    pub count_keys: Vec<KeyPattern>,
    /// Whether the histograms of LATENCY HISTOGRAM, some ten series for each command in use, are
    /// left out.
    #[serde(default)]
    pub exclude_latency_histogram_metrics: bool,
    /// Whether each connected client has series of its own.
    #[serde(default)]
    pub export_client_list: bool,
    /// Whether those carry the client's port, which is new with each connection.
    #[serde(default)]
    pub export_client_port: bool,
}

impl RedisConfig {
    /// A server at an address, with every setting as by default.
    pub(crate) fn at(host: &str, port: u16) -> RedisConfig {
        RedisConfig {
            url: RedisUrl {
                place: Place::Tcp {
                    host: host.to_owned(),
                    port,
                },
                tls: false,
                username: None,
                password: None,
            },
            instance: None,
            username: None,
            password: None,
            password_file: None,
            tls_config: TlsConfig::default(),
            check_keys: Vec::new(),
            check_single_keys: Vec::new(),
            check_streams: Vec::new(),
            check_single_streams: Vec::new(),
            count_keys: Vec::new(),
            exclude_latency_histogram_metrics: false,
            export_client_list: false,
            export_client_port: false,
        }
    }

    /// Where the server is, without user and password.
    #[must_use]
    pub fn address(&self) -> String {
        self.url.to_string()
    }

    /// The `instance` label.
    #[must_use]
    pub fn instance(&self) -> String {
        self.instance
            .clone()
            .unwrap_or_else(|| match &self.url.place {
                Place::Tcp { host, port } => join(host, *port),
                Place::Unix(path) => path.display().to_string(),
            })
    }

    /// The user that commands run as.
    pub(super) fn user(&self) -> Option<&str> {
        self.username.as_deref().or(self.url.username.as_deref())
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        let passwords = [
            self.url.password.is_some(),
            self.password.is_some(),
            self.password_file.is_some(),
        ];
        if passwords.into_iter().filter(|p| *p).count() > 1 {
            return Err("the password stands in more than one place".to_owned());
        }
        if self.username.is_some() && self.url.username.is_some() {
            return Err("the user stands in more than one place".to_owned());
        }
        if self.user().is_some() && !passwords.contains(&true) {
            return Err("a user needs password_file or password".to_owned());
        }
        self.tls_config.check()?;
        if !self.url.tls && self.tls_config != TlsConfig::default() {
            return Err("tls_config is for rediss:// only".to_owned());
        }
        Ok(())
    }
}

/// Where a server is. Display and Debug show neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) place: Place,
    pub(super) tls: bool,
    username: Option<String>,
    pub(super) password: Option<Secret>,
}

/// How to reach it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl RedisUrl {
    /// The URL and its query; `None` for what is none of the forms.
    fn parse(text: &str) -> Option<(RedisUrl, &str)> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        // A path after the address names a database, which does not matter to us.
        let (authority, path) = match rest.find(['/', '?']) {
            // A password may hold a slash that nobody escaped.
            Some(at) if !rest[at..].contains('@') => rest.split_at(at),
            Some(_) if scheme != "unix" => {
                let host = rest.rfind('@')? + 1;
                let end = rest[host..]
                    .find(['/', '?'])
                    .map_or(rest.len(), |e| host + e);
                rest.split_at(end)
            }
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (user_info, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let some = |t: &str| (!t.is_empty()).then(|| decode(t));
        let (username, password) = (some(username), some(password).map(Secret));
        let place = match scheme {
            "unix" if host_port.is_empty() && path.len() > 1 => {
                Place::Unix(path.split('?').next()?.into())
            }
            "redis" | "rediss" | "valkey" | "valkeys" => tcp(host_port)?,
            _ => return None,
        };
        let url = RedisUrl {
            place,
            tls: scheme.ends_with("ss") || scheme == "valkeys",
            username,
            password,
        };
        Some((url, path.split_once('?').map_or("", |(_, query)| query)))
    }
}

fn tcp(host_port: &str) -> Option<Place> {
    let (host, port) = match host_port.rsplit_once(':') {
        // The colons of an address of version 6 stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (host_port, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "@[]#\\".contains(c);
    let fine = !host.is_empty() && !host.contains(odd) && (bare.is_some() || !host.contains(':'));
    fine.then(|| Place::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Undoes `%41`; what is no such thing stays.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(rest.first()), hex(rest.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = &rest[2..];
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Tcp { host, port } if self.tls => write!(f, "rediss://{}", join(host, *port)),
            Place::Tcp { host, port } => write!(f, "redis://{}", join(host, *port)),
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<RedisUrl, D::Error> {
        let text = String::deserialize(from)?;
        // The text is not shown: a password may be in it.
        let expected = "expected redis://host:port, rediss://host:port or unix:///path";
        let (url, query) = RedisUrl::parse(&text).ok_or_else(|| de::Error::custom(expected))?;
        let names = query.split('&').map(|p| p.split('=').next().unwrap_or(p));
        match names
            .filter(|n| !n.is_empty())
            .find(|n| !PARAMETERS.contains(n))
        {
            Some(name) => Err(de::Error::custom(format!(
                "the query parameter {name:?} of the URL is not known: user, password and TLS settings have keys of their own"
            ))),
            None => Ok(url),
        }
    }
}

/// A key, or a pattern of keys, in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// Number of the database.
    pub db: u32,
    /// The key, or the pattern as SCAN takes it.
    pub key: String,
}

impl<'de> Deserialize<'de> for KeyPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<KeyPattern, D::Error> {
        let text = String::deserialize(from)?;
        let database = |t: &str| t.strip_prefix("db").unwrap_or(t).parse().ok();
        let (db, key) = text
            .split_once('=')
            .and_then(|(db, key)| Some((database(db)?, key)))
            .unwrap_or((0, &text));
        if key.is_empty() {
            return Err(de::Error::custom("expected a key, or db3=key"));
        }
        Ok(KeyPattern {
            db,
            key: key.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Result<RedisConfig, String> {
        serde_saphyr::from_str(yaml).map_err(|e| e.to_string())
    }

    #[track_caller]
    fn check(url: &str, shown: &str, user: Option<&str>, password: Option<&str>) {
        let found = config(&format!("url: '{url}'")).unwrap();
        assert_eq!(found.address(), shown, "{url}");
        assert_eq!(found.user(), user, "{url}");
        let secret = found.url.password.as_ref().map(|s| s.0.as_str());
        assert_eq!(secret, password, "{url}");
    }

    #[test]
    fn urls_of_every_form_are_read_and_shown_without_their_secrets() {
        check("redis://cache:6380", "redis://cache:6380", None, None);
        check("cache", "redis://cache:6379", None, None);
        check("rediss://cache", "rediss://cache:6379", None, None);
        check("valkey://cache/2", "redis://cache:6379", None, None);
        check("redis://[::1]:7000/0", "redis://[::1]:7000", None, None);
        check("redis://[::1]", "redis://[::1]:6379", None, None);
        check("unix:///run/r.sock", "unix:///run/r.sock", None, None);
        check("unix:///run/r.sock?db=1", "unix:///run/r.sock", None, None);
        let (user, password) = (Some("me"), Some("p@s/s:w"));
        check(
            "redis://me:p%40s%2Fs:w@h:1/0",
            "redis://h:1",
            user,
            password,
        );
        check("redis://me:p@s/s:w@h:1/0", "redis://h:1", user, password);
        check("redis://:only@h", "redis://h:6379", None, Some("only"));
        check("redis://me:100%@h", "redis://h:6379", user, Some("100%"));
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_quoted() {
        for url in [
            "http://me:secret@h",
            "redis://me:secret@",
            "redis://me:secret@h:port",
            "redis://me:secret@a b",
            "unix://me:secret@h/x",
            "redis://::1",
            "",
        ] {
            let error = config(&format!("url: '{url}'")).unwrap_err();
            // The lines that follow show the place in the file, which the server leaves out.
            let error = error.lines().next().unwrap();
            assert!(!error.contains("secret"), "{error}");
            assert!(
                error.contains("expected redis://host:port"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn what_a_url_asks_for_in_its_query_is_known_or_refused() {
        for url in [
            "redis://h/?password=hunter2",
            "unix:///s?db=1&username=u",
            "redis://h?x",
        ] {
            let error = config(&format!("url: '{url}'")).unwrap_err();
            let error = error.lines().next().unwrap();
            assert!(error.contains("query parameter"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        check("redis://h/0?protocol=3&db=1", "redis://h:6379", None, None);
    }

    #[test]
    fn nothing_shows_a_password() {
        let found = config("url: redis://me:hunter2@h\npassword: hunter2").unwrap();
        assert!(!format!("{found:?} {} {}", found.address(), found.instance()).contains("hunter2"));
    }

    #[test]
    fn contradictions_are_refused() {
        let check = |yaml: &str, expect: &str| {
            assert_eq!(config(yaml).unwrap().check().unwrap_err(), expect, "{yaml}");
        };
        let twice = "the password stands in more than one place";
        check("url: redis://:a@h\npassword: b", twice);
        check("url: h\npassword: a\npassword_file: b", twice);
        check(
            "url: h\nusername: a",
            "a user needs password_file or password",
        );
        let tls = "url: h\ntls_config: { ca_file: x }";
        check(tls, "tls_config is for rediss:// only");
        assert!(
            config("url: h\nusername: a\npassword: b")
                .unwrap()
                .check()
                .is_ok()
        );
    }

    #[test]
    fn keys_may_name_their_database() {
        let found = config("url: h\ncheck_keys: ['db3=a:*', '2=b', 'c=d', e]").unwrap();
        let keys: Vec<(u32, &str)> = found
            .check_keys
            .iter()
            .map(|k| (k.db, k.key.as_str()))
            .collect();
        assert_eq!(keys, [(3, "a:*"), (2, "b"), (0, "c=d"), (0, "e")]);
    }
}
