//! The operator's own queries, in the format of postgres_exporter's query files.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::spec::{Column, Meaning, Query, Spec, Usage};

/// Own queries of one server.
const QUERIES_MAX: usize = 100;
/// The longest query file read, bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// One query; its name is the prefix of its families.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomQuery {
    /// One SELECT. It runs read-only, in the database of the connection string.
    pub query: String,
    /// Taken for compatibility: a query runs on one database here anyway.
    #[serde(default)]
    pub master: bool,
    /// Seconds for which an answer is good; 0 asks at every tick.
    #[serde(default)]
    pub cache_seconds: u64,
    /// Versions of the server it is for: `>=13`, `<17.2`, several with a space (all) or `||` (any).
    #[serde(default)]
    pub runonserver: Option<String>,
    /// What the columns are; one that is not named is left out.
    #[serde(default)]
    pub metrics: Vec<BTreeMap<String, CustomColumn>>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomColumn {
    /// `LABEL`, `COUNTER`, `GAUGE`, `MAPPEDMETRIC`, `DURATION`, `HISTOGRAM` or `DISCARD`.
    pub usage: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Numbers for the texts of a `MAPPEDMETRIC`.
    #[serde(default)]
    pub metric_mapping: BTreeMap<String, f64>,
}

/// All own queries by name.
pub type CustomQueries = BTreeMap<String, CustomQuery>;

/// Reads a query file.
///
/// # Errors
/// What is wrong, with its place.
pub(super) fn read(text: &str) -> Result<CustomQueries, String> {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    let queries: Option<CustomQueries> =
        yaml::from_str(text, options).map_err(|e| e.to_string())?;
    Ok(queries.unwrap_or_default())
}

/// What to ask.
///
/// # Errors
/// The first query that makes no sense, by name.
pub(super) fn specs(queries: &CustomQueries) -> Result<Vec<Spec>, String> {
    if queries.len() > QUERIES_MAX {
        return Err(format!("{} queries, at most {QUERIES_MAX}", queries.len()));
    }
    queries
        .iter()
        .map(|(name, query)| spec(name, query).map_err(|e| format!("query {name:?}: {e}")))
        .collect()
}

fn spec(name: &str, query: &CustomQuery) -> Result<Spec, String> {
    if !is_name(name) {
        return Err("the name must be letters, digits and underscores".to_owned());
    }
    if query.query.trim().is_empty() {
        return Err("there is no query".to_owned());
    }
    let mut columns = Vec::new();
    for (column, meaning) in query.metrics.iter().flatten() {
        if !is_name(column) {
            return Err(format!(
                "column {column:?} cannot be part of a metric's name"
            ));
        }
        let usage = match meaning.usage.to_ascii_uppercase().as_str() {
            "DISCARD" => Usage::Discard,
            "LABEL" => Usage::Label,
            "COUNTER" => Usage::Counter,
            "GAUGE" => Usage::Gauge,
            "MAPPEDMETRIC" => Usage::Mapped,
            "DURATION" => Usage::Duration,
            "HISTOGRAM" => Usage::Histogram,
            _ => {
                return Err(format!(
                    "column {column:?}: usage must be LABEL, COUNTER, GAUGE, MAPPEDMETRIC, DURATION, \
                     HISTOGRAM or DISCARD"
                ));
            }
        };
        columns.push(Column {
            column: column.clone(),
            usage,
            name: match usage {
                Usage::Label | Usage::Discard => String::new(),
                Usage::Duration => format!("{name}_{column}_milliseconds"),
                _ => format!("{name}_{column}"),
            },
            help: meaning.description.clone(),
            mapping: meaning.metric_mapping.clone(),
        });
    }
    Ok(Spec {
        collector: name.to_owned(),
        query: Query::Theirs {
            text: query.query.clone(),
            versions: Versions::parse(query.runonserver.as_deref().unwrap_or(""))?,
        },
        every: Duration::from_secs(query.cache_seconds),
        each_database: false,
        meaning: Meaning::Columns {
            columns,
            server: true,
        },
    })
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Versions of a server: any of these lists, and of the list all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions(Vec<Vec<(Comparison, u32)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

impl Versions {
    fn parse(text: &str) -> Result<Versions, String> {
        if text.trim().is_empty() {
            return Ok(Versions::default());
        }
        let list = |all: &str| all.split_ascii_whitespace().map(Versions::one).collect();
        text.split("||")
            .map(list)
            .collect::<Result<_, _>>()
            .map(Versions)
    }

    fn one(text: &str) -> Result<(Comparison, u32), String> {
        let digits = text.trim_start_matches(['<', '>', '=']);
        let comparison = match &text[..text.len() - digits.len()] {
            "<" => Comparison::Less,
            "<=" => Comparison::AtMost,
            "" | "=" | "==" => Comparison::Equal,
            ">=" => Comparison::AtLeast,
            ">" => Comparison::More,
            _ => return Err(format!("runonserver: {text:?} is no comparison")),
        };
        let mut parts = digits.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next().unwrap_or(Ok(0))) {
            (Some(Ok(major)), Ok(minor)) if major < 1000 && minor < 10_000 => {
                Ok((comparison, major * 10_000 + minor))
            }
            _ => Err(format!("runonserver: {text:?} names no version")),
        }
    }

    /// Whether a server of this `server_version_num` is one of them.
    pub(super) fn has(&self, version: u32) -> bool {
        let fits = |(comparison, than): &(Comparison, u32)| match comparison {
            Comparison::Less => version < *than,
            Comparison::AtMost => version <= *than,
            Comparison::Equal => version == *than,
            Comparison::AtLeast => version >= *than,
            Comparison::More => version > *than,
        };
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::spec::tests::Told;
    use crate::postgres::table::Table;

    const FILE: &str = r#"
pg_queue:
  query: "SELECT name, waiting, state, extra FROM queue"
  master: true
  cache_seconds: 30
  runonserver: ">=13 <18 || 12.5"
  metrics:
    - name: { usage: "LABEL", description: "Queue" }
    - waiting: { usage: "GAUGE", description: "Jobs that wait" }
    - state:
        usage: MAPPEDMETRIC
        metric_mapping: { stopped: 0, running: 1 }
"#;

    #[test]
    fn a_query_file_of_postgres_exporters_is_understood() {
        let specs = specs(&read(FILE).unwrap()).unwrap();
        let mut told = Told::default();
        let answer = Table::of("name|waiting|state|extra\nmail|3|running|7");
        specs[0].emit(&answer, "db:5432", &mut told);
        assert_eq!(
            told.0,
            "# pg_queue_waiting gauge\n\
             pg_queue_waiting{name=mail,server=db:5432} 3\n\
             # pg_queue_state gauge\n\
             pg_queue_state{name=mail,server=db:5432} 1\n"
        );
        assert_eq!(specs[0].every, Duration::from_secs(30));
    }

    #[test]
    fn queries_are_for_the_versions_they_name() {
        let versions = Versions::parse(">=13 <18 || 12.5").unwrap();
        for (version, expect) in [
            (120_004, false),
            (120_005, true),
            (130_000, true),
            (179_999, true),
            (180_000, false),
        ] {
            assert_eq!(versions.has(version), expect, "{version}");
        }
        assert!(Versions::parse("").unwrap().has(90_000));
        assert!(Versions::parse(">=x").is_err());
        assert!(Versions::parse("~1").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, expect) in [
            ("a-b: { query: x }", "the name must be"),
            ("ab: { query: '' }", "there is no query"),
            (
                "ab: { query: x, metrics: [{ c: { usage: SUM } }] }",
                "usage must be",
            ),
            (
                "ab: { query: x, metrics: [{ 'c d': { usage: GAUGE } }] }",
                "cannot be part",
            ),
            ("ab: { query: x, runonserver: '>a' }", "names no version"),
        ] {
            let error = specs(&read(text).unwrap()).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
        assert!(read("ab: { sql: x }").is_err());
    }
}
