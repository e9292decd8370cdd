//! One entry of `collect.postgres`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::custom::{self, CustomQueries};
use super::dsn::{DSN_BYTES_MAX, Dsn};
use super::password::Surroundings;
use super::spec::Spec;
use super::views;
use crate::scrape::Secret;

/// A PostgreSQL server to watch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// Where the server is and who we are there: a `postgresql://` URL or `key=value` pairs. A
    /// password may stand in it, in `dsn_file`, in `PGPASSWORD` or in the file of `PGPASSFILE`.
    pub dsn: Option<Secret>,
    /// A file with such a string, or, beside `dsn`, with the password alone. Read at each
    /// connection.
    pub dsn_file: Option<PathBuf>,
    /// Time between two collections; that of `collect` when absent.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub interval: Option<Duration>,
    /// How long one may take; that of `collect` when absent. A statement may take half of it.
    #[serde(deserialize_with = "crate::config::duration_option")]
    pub timeout: Option<Duration>,
    /// Time between two looks at what costs the server more: sizes, tables and indexes of each
    /// database, statements, settings. Default 1m; the figures are repeated in between.
    #[serde(deserialize_with = "crate::config::duration")]
    pub slow_interval: Duration,
    /// Added to the target's labels; `job` and `instance` may be set too.
    pub labels: BTreeMap<String, String>,
    /// Collectors, by postgres_exporter's names, that differ from the default: all are on.
    pub collectors: BTreeMap<String, bool>,
    /// Databases whose tables and indexes are read; empty: all that can be connected to.
    pub databases: Vec<String>,
    /// Databases whose tables and indexes are not read.
    pub databases_exclude: Vec<String>,
    /// Most databases whose tables are read, one connection after the other. Default 100.
    pub databases_max: usize,
    /// Most tables, and most indexes, of all databases together; the largest of each database come
    /// first. Default 1000: each is 28 series, each index 6.
    pub tables_max: usize,
    /// Most statements, those that took most time first. Default 100: each is 5 series.
    pub statements_max: usize,
    /// Whether the text of statements is told, literals replaced. Default no: it may show more
    /// than the readers of a dashboard should see.
    pub query_text: bool,
    /// Own queries, in the format of postgres_exporter's query files.
    pub queries: CustomQueries,
    /// A file with more of them.
    pub queries_file: Option<PathBuf>,
    /// Neither the environment nor a password file is asked for a password.
    #[serde(skip)]
    pub(crate) own_password_only: bool,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        PostgresConfig {
            dsn: None,
            dsn_file: None,
            interval: None,
            timeout: None,
            slow_interval: Duration::from_secs(60),
            labels: BTreeMap::new(),
            collectors: BTreeMap::new(),
            databases: Vec::new(),
            databases_exclude: Vec::new(),
            databases_max: 100,
            tables_max: 1000,
            statements_max: 100,
            query_text: false,
            queries: CustomQueries::new(),
            queries_file: None,
            own_password_only: false,
        }
    }
}

impl PostgresConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first problem; never with a value of the connection string.
    pub fn check(&self, interval: Duration) -> Result<(), String> {
        if self.dsn.is_none() && self.dsn_file.is_none() {
            return Err("dsn or dsn_file is needed".to_owned());
        }
        if let Some(dsn) = &self.dsn {
            Dsn::parse(&dsn.0).map_err(|e| format!("dsn: {e}"))?;
        }
        let interval = self.interval.unwrap_or(interval);
        if interval.is_zero() || self.slow_interval.is_zero() {
            return Err("interval and slow_interval must be positive".to_owned());
        }
        if self.timeout.is_some_and(|t| t.is_zero() || t > interval) {
            return Err("timeout must be positive and at most the interval".to_owned());
        }
        let known = views::collectors();
        if let Some(name) = self
            .collectors
            .keys()
            .find(|n| !known.contains(&n.as_str()))
        {
            return Err(format!(
                "collectors: there is no {name:?}; known are {}",
                known.join(", ")
            ));
        }
        if let Some(name) = self.labels.keys().find(|n| n.starts_with("__")) {
            return Err(format!("labels: {name:?} is for internal use"));
        }
        self.with_query_file()?.specs().map(drop)
    }

    /// This entry with the queries of its file beside its own.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub(crate) fn with_query_file(&self) -> Result<PostgresConfig, String> {
        let mut whole = self.clone();
        if let Some(file) = whole.queries_file.take() {
            let text = read(&file, custom::FILE_BYTES_MAX)?;
            let more = custom::read(&text).map_err(|e| format!("{}: {e}", file.display()))?;
            for (name, query) in more {
                whole.queries.entry(name).or_insert(query);
            }
        }
        Ok(whole)
    }

    /// What to ask; [`PostgresConfig::with_query_file`] has been used.
    ///
    /// # Errors
    /// When an own query makes no sense.
    pub(super) fn specs(&self) -> Result<Vec<Spec>, String> {
        let mut specs = views::specs(self.slow_interval);
        specs.retain(|s| self.collectors.get(&s.collector).copied().unwrap_or(true));
        specs.extend(custom::specs(&self.queries)?);
        Ok(specs)
    }

    /// The connection string, with what the file says.
    ///
    /// # Errors
    /// When it cannot be read or understood; without its values.
    pub(super) fn resolve(&self) -> Result<Dsn, String> {
        let written = self.dsn.as_ref().map(|dsn| Dsn::parse(&dsn.0));
        let written = written.transpose().map_err(|e| format!("dsn: {e}"))?;
        let Some(file) = &self.dsn_file else {
            return Ok(written.unwrap_or_default());
        };
        let text = read(file, DSN_BYTES_MAX as u64)?;
        match written {
            Some(mut dsn) if !Dsn::looks_like_one(&text) => {
                dsn.set_password(text.trim_end_matches(['\n', '\r']));
                Ok(dsn)
            }
            written => {
                let more = Dsn::parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
                Ok(written.unwrap_or_default().overridden_by(more))
            }
        }
    }

    /// Every `host:port` it goes by.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let Ok(dsn) = self.resolve() else {
            return Vec::new();
        };
        let port = dsn.port().unwrap_or_default();
        let connected = crate::engine::join_host_port(dsn.address(), port);
        vec![dsn.instance(), connected]
    }

    /// Where passwords come from that stand nowhere here.
    pub(super) fn surroundings(&self) -> Surroundings {
        match self.own_password_only {
            true => Surroundings::default(),
            false => Surroundings::of_process(),
        }
    }

    /// `instance` and what the API shows as address: `host:port`, and a URL without user and
    /// password. A file that cannot be read yet is named instead.
    pub(crate) fn address(&self) -> (String, String) {
        match self.resolve() {
            Ok(dsn) => {
                let database = dsn.database().unwrap_or("");
                let instance = dsn.instance();
                let url = format!("postgresql://{instance}/{database}");
                (instance, url)
            }
            Err(_) => {
                let file = self.dsn_file.as_deref().unwrap_or(Path::new("unknown"));
                let shown = file.display().to_string();
                (shown.clone(), format!("postgresql:{shown}"))
            }
        }
    }
}

/// Reads a small file whose name may be told and whose content may not.
fn read(file: &Path, bytes_max: u64) -> Result<String, String> {
    use std::io::Read;
    let shown = file.display();
    let mut text = String::new();
    crate::regular::open(file)
        .and_then(|f| f.take(bytes_max + 1).read_to_string(&mut text))
        .map_err(|e| format!("reading {shown}: {e}"))?;
    if text.len() as u64 > bytes_max {
        return Err(format!("{shown} is longer than {bytes_max} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> PostgresConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn check(yaml: &str, expect: &str) {
        let found = parse(yaml).check(Duration::from_secs(15));
        let found = found.err().unwrap_or_default();
        assert!(found.contains(expect), "{yaml}: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }

    #[test]
    fn an_entry_is_checked_without_telling_secrets() {
        check("dsn: postgresql://mon:hunter2@db/app", "");
        check("interval: 5s", "dsn or dsn_file is needed");
        check("dsn: host=db password=my hunter2", "dsn: neither");
        check("{ dsn: host=db, timeout: 20s }", "at most the interval");
        check(
            "{ dsn: host=db, collectors: { lock: true } }",
            "there is no \"lock\"",
        );
        check(
            "{ dsn: host=db, queries: { a: { query: '' } } }",
            "there is no query",
        );
        check(
            "{ dsn: host=db, queries_file: /nowhere }",
            "reading /nowhere",
        );
        let config = parse("dsn: postgresql://mon:hunter2@db/app");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!config.address().1.contains("mon"));
    }

    #[test]
    fn a_file_holds_the_string_or_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dsn");
        let resolve = |content: &str, beside: &str| {
            std::fs::write(&file, content).unwrap();
            let config = parse(&format!("{beside}\ndsn_file: {}", file.display()));
            let dsn = config.resolve().unwrap();
            format!("{} {:?} {:?}", dsn.instance(), dsn.user(), dsn.password())
        };
        let both = "dsn: postgresql://mon@db/app";
        assert_eq!(
            resolve("s3=cret \n", both),
            "db:5432 Some(\"mon\") Some(\"s3=cret \")"
        );
        assert_eq!(
            resolve("user=boss password=x", both),
            "db:5432 Some(\"boss\") Some(\"x\")"
        );
        assert_eq!(
            resolve("postgresql://u:p@other:1/x\n", ""),
            "other:1 Some(\"u\") Some(\"p\")"
        );
    }

    #[test]
    fn collectors_can_be_turned_off() {
        let count = |yaml: &str| parse(yaml).specs().unwrap().len();
        let all = count("dsn: host=db");
        assert_eq!(
            count("{ dsn: host=db, collectors: { locks: false, wal: true } }"),
            all - 1
        );
        assert_eq!(
            count("{ dsn: host=db, queries: { a: { query: SELECT 1 } } }"),
            all + 1
        );
    }
}
