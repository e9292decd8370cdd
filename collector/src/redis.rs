//! Redis, Valkey and KeyDB servers and Sentinels, under redis_exporter's names.
//!
//! One connection is kept, on which nothing is ever changed. Nine commands are enough:
//! [`ACL_RULES`]; what the server does not permit is left out and said once.

mod clients;
mod config;
mod connection;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod info;
mod keys;
mod latency;
mod names;
mod resp;
mod sentinel;
mod settings;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{SampleBatch, Timestamp};
use tokio::time::Instant;

pub use config::RedisConfig;
use connection::{Connection, RedisError, code};
use info::Info;
use keys::Found;
pub(crate) use names::{family, help, kind};
use resp::{Batch, Value};
use sentinel::Primary;
use settings::Settings;

use crate::source::Source;
use crate::target::{Pass, Sink, Target};

/// What a user needs for everything that is on by default, as ACL rules. SELECT is for keys.
pub(crate) const ACL_RULES: &str = "+client|setname +cluster|info +config|get +info +latency|histogram +latency|latest +select +slowlog|get +slowlog|len";

/// How long a command that was refused is not tried again: each refusal is an error in the
/// server's statistics and its ACL log.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Collects from one server.
pub(crate) struct Redis {
    config: RedisConfig,
    timeout: Duration,
    /// `None` without TLS; an error when its settings cannot be used.
    tls: Option<Result<tls::Connector, String>>,
    connection: Option<Connection>,
    /// What is being asked for, for whoever waits in vain.
    asking: &'static str,
    /// ACL rules of what was refused, until when, and whether a right would help.
    refused: BTreeMap<&'static str, (Instant, bool)>,
    /// What was last said about missing rights.
    said: String,
    connect_seconds: f64,
    collections: u64,
    collected_seconds: f64,
}

/// The answers of one collection.
#[derive(Default)]
struct Gathered {
    info: String,
    settings: Settings,
    cluster: Option<String>,
    spikes: Option<Value>,
    histograms: Option<Value>,
    slowlog_length: Option<f64>,
    slowlog: Option<Value>,
    clients: Option<String>,
    keys: Found,
    primaries: Vec<Primary>,
}

/// A part of a collection: the command, and the ACL rules that permit it.
struct Part {
    name: &'static str,
    words: &'static [&'static str],
    rules: &'static str,
}

const fn part(name: &'static str, words: &'static [&'static str], rules: &'static str) -> Part {
    Part { name, words, rules }
}

const CONFIG: &str = "+config|get";
const CLUSTER: Part = part("CLUSTER INFO", &["CLUSTER", "INFO"], "+cluster|info");
const SPIKES: Part = part("LATENCY LATEST", &["LATENCY", "LATEST"], "+latency|latest");
const HISTOGRAMS: Part = part(
    "LATENCY HISTOGRAM",
    &["LATENCY", "HISTOGRAM"],
    "+latency|histogram",
);
const SLOWLOG_LENGTH: Part = part("SLOWLOG LEN", &["SLOWLOG", "LEN"], "+slowlog|len");
const SLOWLOG: Part = part("SLOWLOG GET", &["SLOWLOG", "GET", "1"], "+slowlog|get");
const CLIENTS: Part = part("CLIENT LIST", &["CLIENT", "LIST"], "+client|list");

impl Redis {
    pub(crate) fn new(config: &RedisConfig, timeout: Duration) -> Redis {
        Redis {
            tls: config
                .url
                .tls
                .then(|| tls::Connector::new(&config.tls_config)),
            config: config.clone(),
            timeout,
            connection: None,
            asking: "connect",
            refused: BTreeMap::new(),
            said: String::new(),
            connect_seconds: 0.0,
            collections: 0,
            collected_seconds: 0.0,
        }
    }

    async fn gather(&mut self) -> Result<Gathered, RedisError> {
        if let Some(mut kept) = self.connection.take() {
            match self.gather_over(&mut kept).await {
                // Servers and proxies close idle connections: a new one shows whether that was it.
                Err(e) if e.is_break() => {}
                Err(e) => return Err(e),
                Ok(gathered) => {
                    self.connection = Some(kept);
                    return Ok(gathered);
                }
            }
        }
        let started = Instant::now();
        self.asking = "connect";
        let tls = match &self.tls {
            None => None,
            Some(Ok(tls)) => Some(tls),
            Some(Err(problem)) => return Err(RedisError::Tls(problem.clone())),
        };
        let mut connection = Connection::open(&self.config, tls).await?;
        self.connect_seconds = started.elapsed().as_secs_f64();
        let gathered = self.gather_over(&mut connection).await?;
        self.connection = Some(connection);
        Ok(gathered)
    }

    async fn gather_over(&mut self, connection: &mut Connection) -> Result<Gathered, RedisError> {
        let mut out = Gathered {
            info: self.info(connection).await?,
            ..Gathered::default()
        };
        let info = Info::parse(&out.info);
        let (is_sentinel, is_cluster) = (info.is_sentinel(), info.is_cluster());
        if is_sentinel && self.may(sentinel::RULES) {
            self.asking = "SENTINEL";
            let denied;
            (out.primaries, denied) = sentinel::gather(connection).await?;
            self.tried(sentinel::RULES, denied, !out.primaries.is_empty());
        } else if !is_sentinel {
            self.figures(connection, is_cluster, &mut out).await?;
        }
        if self.config.export_client_list {
            self.asking = CLIENTS.name;
            let answers = self.ask(connection, &[(&CLIENTS, true)]).await?;
            let list = answers.into_iter().flatten().next();
            out.clients = list.and_then(|l| Some(l.text()?.into_owned()));
        }
        if !is_sentinel {
            self.keys(connection, &mut out.keys).await?;
        }
        Ok(out)
    }

    /// What the configuration names of keys and streams.
    async fn keys(
        &mut self,
        connection: &mut Connection,
        out: &mut Found,
    ) -> Result<(), RedisError> {
        self.asking = "commands about keys";
        let config = &self.config;
        if keys::names_keys(config) && self.may(keys::KEY_RULES) {
            let denied = keys::gather(connection, config, out).await?;
            self.tried(keys::KEY_RULES, denied, out.has_keys());
        }
        let config = &self.config;
        if keys::names_streams(config) && self.may(keys::STREAM_RULES) {
            let denied = keys::gather_streams(connection, config, out).await?;
            self.tried(keys::STREAM_RULES, denied, out.has_streams());
        }
        Ok(())
    }

    /// INFO, without which there is nothing to tell.
    async fn info(&mut self, connection: &mut Connection) -> Result<String, RedisError> {
        self.asking = "INFO";
        let mut batch = Batch::default();
        batch.add(&["INFO", "ALL"]);
        match connection.ask(&batch).await?.pop() {
            Some(Value::Bytes(text)) => Ok(String::from_utf8(text)
                .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())),
            Some(Value::Error(words)) => Err(match code(&words) {
                "NOAUTH" => RedisError::Auth(
                    "the server wants a password: set password_file, and username if it is not the default user's"
                        .to_owned(),
                ),
                "NOPERM" => RedisError::Auth(format!(
                    "no right to INFO; to mend it: ACL SETUSER {} {ACL_RULES}",
                    self.user()
                )),
                _ => RedisError::Answer {
                    command: "INFO",
                    words: connection.shown(&words),
                },
            }),
            _ => Err(RedisError::Answer {
                command: "INFO",
                words: "something that is no text".to_owned(),
            }),
        }
    }

    /// What a server with data has besides INFO, in one round trip.
    async fn figures(
        &mut self,
        connection: &mut Connection,
        is_cluster: bool,
        out: &mut Gathered,
    ) -> Result<(), RedisError> {
        if self.may(CONFIG) {
            self.asking = "CONFIG GET";
            let mut batch = Batch::default();
            settings::ask(&mut batch);
            let answers = connection.ask(&batch).await?;
            if let Some(Value::Error(words)) = answers.first() {
                self.heard(CONFIG, words);
            }
            out.settings = Settings::from_answers(&answers);
        }
        self.asking = "LATENCY, SLOWLOG or CLUSTER INFO";
        let parts = [
            (&SPIKES, true),
            (&HISTOGRAMS, !self.config.exclude_latency_histogram_metrics),
            (&SLOWLOG_LENGTH, true),
            (&SLOWLOG, true),
            (&CLUSTER, is_cluster),
        ];
        let mut answers = self.ask(connection, &parts).await?.into_iter();
        let mut next = || answers.next().flatten();
        out.spikes = next();
        out.histograms = next();
        out.slowlog_length = next().and_then(|a| a.number());
        out.slowlog = next();
        out.cluster = next().and_then(|a| Some(a.text()?.into_owned()));
        Ok(())
    }

    /// Asks at once for those parts that are wanted; `None` of the others and of what is refused.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        parts: &[(&Part, bool)],
    ) -> Result<Vec<Option<Value>>, RedisError> {
        let asked: Vec<bool> = parts
            .iter()
            .map(|(part, wanted)| *wanted && self.may(part.rules))
            .collect();
        let mut batch = Batch::default();
        for ((part, _), _) in parts.iter().zip(&asked).filter(|(_, asked)| **asked) {
            batch.add(part.words);
        }
        let mut answers = connection.ask(&batch).await?.into_iter();
        let mut out = Vec::with_capacity(parts.len());
        for ((part, _), asked) in parts.iter().zip(asked) {
            let answer = if asked { answers.next() } else { None };
            out.push(match answer {
                Some(Value::Error(words)) => {
                    self.heard(part.rules, &words);
                    None
                }
                answer => answer,
            });
        }
        Ok(out)
    }

    fn may(&self, rules: &str) -> bool {
        let until = self.refused.get(rules).map(|(until, _)| *until);
        until.is_none_or(|until| Instant::now() >= until)
    }

    /// Takes note of an error; one that will pass is none to remember.
    fn heard(&mut self, rules: &'static str, words: &str) {
        self.refused.remove(rules);
        if code(words) == "NOPERM" {
            self.refuse(rules, true);
        } else if words.to_ascii_lowercase().starts_with("err unknown") {
            // A server too old for it, or one whose operator renamed it.
            self.refuse(rules, false);
        }
    }

    fn refuse(&mut self, rules: &'static str, denied: bool) {
        self.refused
            .insert(rules, (Instant::now() + REFUSED_FOR, denied));
    }

    /// Takes note of what became of several commands: tried again at once if some gave something.
    fn tried(&mut self, rules: &'static str, denied: bool, gave: bool) {
        self.refused.remove(rules);
        if denied && gave {
            self.refused.insert(rules, (Instant::now(), true));
        } else if denied {
            self.refuse(rules, true);
        }
    }

    fn user(&self) -> &str {
        self.config.user().unwrap_or("default")
    }

    /// What is left out for want of rights, with the line that mends it; empty when nothing is.
    fn missing_rights(&self) -> String {
        let denied = self.refused.iter().filter(|(_, (_, denied))| *denied);
        let mut rules: Vec<&str> = Vec::new();
        for rule in denied.flat_map(|(rules, _)| rules.split(' ')) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        if rules.is_empty() {
            return String::new();
        }
        format!(
            "some metrics are left out for want of rights; to mend it: ACL SETUSER {} {}",
            self.user(),
            rules.join(" ")
        )
    }

    /// Says what has changed about missing rights, in the log and in the status.
    fn say_missing_rights(&mut self, target: &Target) {
        let missing = self.missing_rights();
        if missing != self.said {
            if !missing.is_empty() {
                tracing::warn!(target = target.url, "{missing}");
            }
            let note = Some(missing.clone()).filter(|m| !m.is_empty());
            target.set_notes(note.into_iter().collect());
            self.said = missing;
        }
    }

    fn put(&self, gathered: &Gathered, at: Timestamp, pass: &mut Pass<'_>) {
        let now = at.as_secs_f64();
        let info = Info::parse(&gathered.info);
        info.put(gathered.settings.databases(), now, pass);
        gathered.settings.put(&info, pass);
        if let Some(text) = &gathered.cluster {
            info::put_cluster(text, pass);
        }
        if let Some(spikes) = &gathered.spikes {
            latency::put_spikes(spikes, pass);
        }
        if let Some(histograms) = &gathered.histograms {
            latency::put_histograms(histograms, &info, pass);
        }
        if let Some(length) = gathered.slowlog_length {
            pass.put("redis_slowlog_length", &[], length);
        }
        if let Some(entries) = &gathered.slowlog {
            latency::put_slowlog(entries, pass);
        }
        if let Some(list) = &gathered.clients {
            let with_port = self.config.export_client_port;
            clients::put(list, with_port, now, pass);
        }
        gathered.keys.put(pass);
        let shown = |words: &str| match &self.connection {
            Some(connection) => connection.shown(words),
            None => String::new(),
        };
        sentinel::put(&gathered.primaries, shown, pass);
    }

    /// What redis_exporter tells about itself.
    fn put_own(&self, took: Duration, reason: &str, pass: &mut Pass<'_>) {
        let failed = f64::from(u8::from(!reason.is_empty()));
        pass.put("redis_up", &[], 1.0 - failed);
        let last_error = [("err", reason)];
        pass.put("redis_exporter_last_scrape_error", &last_error, failed);
        for (name, value) in [
            (
                "redis_exporter_last_scrape_connect_time_seconds",
                self.connect_seconds,
            ),
            (
                "redis_exporter_last_scrape_duration_seconds",
                took.as_secs_f64(),
            ),
            (
                "redis_exporter_scrape_duration_seconds_count",
                self.collections as f64,
            ),
            (
                "redis_exporter_scrape_duration_seconds_sum",
                self.collected_seconds,
            ),
            ("redis_exporter_scrapes_total", self.collections as f64),
        ] {
            pass.put(name, &[], value);
        }
        let build = [("version", concat!("stackwatch-", env!("CARGO_PKG_VERSION")))];
        pass.put("redis_exporter_build_info", &build, 1.0);
    }
}

impl Source for Redis {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let limit = self.timeout;
        let gathered = tokio::time::timeout(limit, self.gather()).await;
        let gathered = gathered.unwrap_or_else(|_| {
            let command = self.asking;
            Err(RedisError::Timeout { command, limit })
        });
        let took = started.elapsed();
        self.collections += 1;
        self.collected_seconds += took.as_secs_f64();
        self.say_missing_rights(target);
        if let Err(e) = &gathered {
            target.status.telemetry().scrape_failed(e.reason());
        }
        let error = gathered.as_ref().err().map(ToString::to_string);
        let mut pass = target.pass(at);
        if let Ok(gathered) = &gathered {
            self.put(gathered, at, &mut pass);
        }
        // The words may tell times or numbers that differ each time: too many for a label.
        let reason = gathered.as_ref().err().map_or("", RedisError::reason);
        self.put_own(took, reason, &mut pass);
        let mut collected = pass.done();
        collected.problem = error;
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

#[cfg(test)]
mod tests;
