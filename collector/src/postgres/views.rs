//! What is asked of every server, under postgres_exporter's names; one file per part of the server.
//!
//! Names, types and labels are those of postgres_exporter 0.20; where a family has an older
//! spelling that dashboards still use, both are told. The words of the help are ours. Sources of
//! the columns: PostgreSQL's manual, "The Cumulative Statistics System" and "System Views".

mod activity;
mod databases;
mod replication;
mod server;
mod statements;
mod tables;

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings;
use super::spec::{Ask, Column, Meaning, Query, Spec, Usage};

/// A query of ours and the meaning of its columns.
struct View {
    collector: &'static str,
    /// Families are called by it and the column.
    prefix: &'static str,
    pace: Pace,
    server: bool,
    query: fn(&Ask) -> Option<String>,
    columns: &'static [(&'static str, Usage, &'static str)],
}

/// How often a view is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At every tick: it costs the server next to nothing.
    Fast,
    /// At the slow tick.
    Slow,
    /// At the slow tick, in each database.
    EachDatabase,
}

/// The collector that needs an extension.
pub(super) const STATEMENTS: &str = "stat_statements";

/// Names of all collectors, sorted.
pub(super) fn collectors() -> Vec<&'static str> {
    let mut names: Vec<&str> = views().map(|v| v.collector).collect();
    names.push("settings");
    names.sort_unstable();
    names.dedup();
    names
}

/// All queries of ours.
pub(super) fn specs(slow: Duration) -> Vec<Spec> {
    let settings = Spec {
        collector: "settings".to_owned(),
        query: Query::Ours(|_| Some(settings::QUERY.to_owned())),
        every: slow,
        each_database: false,
        meaning: Meaning::Settings,
    };
    let spec = |view: &View| Spec {
        collector: view.collector.to_owned(),
        query: Query::Ours(view.query),
        every: match view.pace {
            Pace::Fast => Duration::ZERO,
            Pace::Slow | Pace::EachDatabase => slow,
        },
        each_database: view.pace == Pace::EachDatabase,
        meaning: Meaning::Columns {
            columns: view
                .columns
                .iter()
                .map(|c| column(view.prefix, *c))
                .collect(),
            server: view.server,
        },
    };
    views().map(spec).chain([settings]).collect()
}

fn views() -> impl Iterator<Item = &'static View> {
    [
        server::VIEWS,
        databases::VIEWS,
        activity::VIEWS,
        replication::VIEWS,
        statements::VIEWS,
        tables::VIEWS,
    ]
    .into_iter()
    .flatten()
}

fn column(prefix: &str, (column, usage, help): (&str, Usage, &str)) -> Column {
    Column {
        column: column.to_owned(),
        usage,
        name: match usage {
            Usage::Label | Usage::Discard => String::new(),
            _ => format!("{prefix}_{column}"),
        },
        help: help.to_owned(),
        mapping: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ask(version: u32) -> Ask {
        Ask {
            version,
            statements: Some(("Ext".to_owned(), (1, 10))),
            tables_max: 7,
            statements_max: 5,
            query_text: true,
        }
    }

    #[test]
    fn every_family_is_told_by_one_query_and_explained() {
        let mut seen = BTreeSet::new();
        for spec in specs(Duration::from_secs(60)) {
            let columns = spec.columns().iter().filter(|c| !c.name.is_empty());
            for column in columns {
                assert!(seen.insert(column.name.clone()), "{} twice", column.name);
                assert!(!column.help.is_empty(), "{} unexplained", column.name);
            }
        }
        assert!(seen.len() > 100, "{}", seen.len());
    }

    #[test]
    fn queries_fit_the_version_of_the_server() {
        let count = |version| {
            let ask = ask(version);
            let specs = specs(Duration::ZERO);
            specs
                .iter()
                .filter(|s| s.query.text(&ask).is_some())
                .count()
        };
        assert_eq!(
            count(170_002),
            count(160_004) + 1,
            "the checkpointer's view"
        );
        assert_eq!(count(120_000), count(160_004));
    }

    /// The reference is a scrape of the real exporter, beside the repository.
    #[test]
    fn names_types_and_labels_are_the_exporters() {
        let file = "../../shared/exporter-metrics/postgres-0.20.1-allcollectors.prom";
        let Ok(text) = std::fs::read_to_string(file) else {
            eprintln!("SKIPPED: {file} is not there");
            return;
        };
        let specs = specs(Duration::from_secs(60));
        let mut known = BTreeMap::new();
        for spec in &specs {
            let Meaning::Columns { columns, server } = &spec.meaning else {
                continue;
            };
            let labels = columns.iter().filter(|c| c.usage == Usage::Label);
            let mut labels: BTreeSet<&str> = labels.map(|c| c.column.as_str()).collect();
            labels.extend(server.then_some("server"));
            for column in columns {
                known.insert(column.name.as_str(), (column.kind(), labels.clone()));
            }
        }
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        let mut compared = 0;
        for (name, kind) in types.filter_map(|l| l.split_once(' ')) {
            let ours = [
                "pg_settings_",
                "pg_exporter_",
                "pg_scrape_",
                "pg_up",
                "pg_static",
            ];
            if !name.starts_with("pg_") || ours.iter().any(|p| name.starts_with(p)) {
                continue;
            }
            let (our_kind, our_labels) = known.get(name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(
                our_kind.as_str(),
                kind.replace("untyped", "unknown"),
                "{name}"
            );
            let mut labels = BTreeSet::new();
            for line in text.lines().filter(|l| l.starts_with(&format!("{name}{{"))) {
                let pairs = line[name.len() + 1..].split("\",");
                labels.extend(pairs.filter_map(|p| p.split_once("=\"")).map(|(l, _)| l));
            }
            // Every database is read, not one alone, so its name is needed to tell indexes apart.
            if name.starts_with("pg_statio_user_indexes_") {
                labels.insert("datname");
            }
            if our_kind.as_str() != "histogram" {
                assert_eq!(*our_labels, labels, "{name}");
            }
            compared += 1;
        }
        assert!(compared > 80, "{compared} families compared");
    }
}
