//! User tables and indexes, in each database.

use super::super::spec::Ask;
use super::super::spec::Usage::{Counter, Gauge, Label};
use super::{Pace, View};

pub(super) const VIEWS: &[View] = &[
    View {
        collector: "stat_user_tables",
        prefix: "pg_stat_user_tables",
        pace: Pace::EachDatabase,
        server: false,
        query: |ask| Some(tables(ask)),
        columns: &[
            ("datname", Label, ""),
            ("schemaname", Label, ""),
            ("relname", Label, ""),
            ("seq_scan", Counter, "Scans of the whole table."),
            ("seq_tup_read", Counter, "Rows read by them."),
            ("idx_scan", Counter, "Scans of the table's indexes."),
            ("idx_tup_fetch", Counter, "Rows fetched by them."),
            ("n_tup_ins", Counter, "Rows inserted."),
            ("n_tup_upd", Counter, "Rows updated."),
            ("n_tup_del", Counter, "Rows deleted."),
            (
                "n_tup_hot_upd",
                Counter,
                "Rows updated without touching an index.",
            ),
            ("n_live_tup", Gauge, "Live rows, estimated."),
            ("n_dead_tup", Gauge, "Dead rows, estimated."),
            (
                "n_mod_since_analyze",
                Gauge,
                "Rows changed since the table was analysed, estimated.",
            ),
            (
                "last_vacuum",
                Gauge,
                "When the table was last vacuumed by hand, in seconds since 1970; 0 is never.",
            ),
            (
                "last_autovacuum",
                Gauge,
                "When it was last vacuumed automatically, in seconds since 1970; 0 is never.",
            ),
            (
                "last_analyze",
                Gauge,
                "When it was last analysed by hand, in seconds since 1970; 0 is never.",
            ),
            (
                "last_autoanalyze",
                Gauge,
                "When it was last analysed automatically, in seconds since 1970; 0 is never.",
            ),
            (
                "vacuum_count",
                Counter,
                "How often it was vacuumed by hand.",
            ),
            (
                "autovacuum_count",
                Counter,
                "How often it was vacuumed automatically.",
            ),
            (
                "analyze_count",
                Counter,
                "How often it was analysed by hand.",
            ),
            (
                "autoanalyze_count",
                Counter,
                "How often it was analysed automatically.",
            ),
            (
                "index_size_bytes",
                Gauge,
                "Bytes of the table's indexes on disk.",
            ),
            (
                "table_size_bytes",
                Gauge,
                "Bytes of the table on disk, without indexes.",
            ),
        ],
    },
    View {
        collector: "statio_user_tables",
        prefix: "pg_statio_user_tables",
        pace: Pace::EachDatabase,
        server: false,
        query: |ask| Some(tables_io(ask)),
        columns: &[
            ("datname", Label, ""),
            ("schemaname", Label, ""),
            ("relname", Label, ""),
            (
                "heap_blocks_read",
                Counter,
                "Blocks of the table read from outside the server's buffers.",
            ),
            (
                "heap_blocks_hit",
                Counter,
                "Blocks of the table found in the buffers.",
            ),
            (
                "idx_blocks_read",
                Counter,
                "Blocks of its indexes read from outside the buffers.",
            ),
            (
                "idx_blocks_hit",
                Counter,
                "Blocks of its indexes found in the buffers.",
            ),
            (
                "toast_blocks_read",
                Counter,
                "Blocks of its long values read from outside the buffers.",
            ),
            (
                "toast_blocks_hit",
                Counter,
                "Blocks of its long values found in the buffers.",
            ),
            (
                "tidx_blocks_read",
                Counter,
                "Blocks of the index of its long values read from outside the buffers.",
            ),
            (
                "tidx_blocks_hit",
                Counter,
                "Blocks of the index of its long values found in the buffers.",
            ),
        ],
    },
    View {
        collector: "stat_user_indexes",
        prefix: "pg_stat_user_indexes",
        pace: Pace::EachDatabase,
        server: false,
        query: |ask| Some(indexes(ask)),
        columns: &[
            ("datname", Label, ""),
            ("schemaname", Label, ""),
            ("relname", Label, ""),
            ("indexrelname", Label, ""),
            ("idx_scan", Counter, "Scans of the index."),
            (
                "idx_tup_read",
                Counter,
                "Entries of the index returned by them.",
            ),
            (
                "idx_tup_fetch",
                Counter,
                "Live rows fetched by plain scans of the index.",
            ),
            ("index_size_bytes", Gauge, "Bytes of the index on disk."),
        ],
    },
    View {
        collector: "statio_user_indexes",
        prefix: "pg_statio_user_indexes",
        pace: Pace::EachDatabase,
        server: false,
        query: |ask| Some(indexes_io(ask)),
        columns: &[
            ("datname", Label, ""),
            ("schemaname", Label, ""),
            ("relname", Label, ""),
            ("indexrelname", Label, ""),
            (
                "idx_blks_read_total",
                Counter,
                "Blocks of the index read from outside the server's buffers.",
            ),
            (
                "idx_blks_hit_total",
                Counter,
                "Blocks of the index found in the buffers.",
            ),
        ],
    },
];

/// Relations somebody has for himself: asking for their size would wait for him.
const LOCKED: &str = "WITH locked AS (SELECT relation FROM pg_locks WHERE granted \
     AND mode = 'AccessExclusiveLock' AND relation IS NOT NULL AND pid <> pg_backend_pid() UNION \
     SELECT i.indrelid FROM pg_locks l JOIN pg_index i ON i.indexrelid = l.relation \
     WHERE l.granted AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()) ";

/// The largest first, so that those are left out that matter least; temporary tables come and go.
fn chosen(relation: &str, limit: usize) -> String {
    format!(
        "JOIN pg_class c ON c.oid = s.{relation} WHERE c.relpersistence <> 't' \
         ORDER BY c.relpages DESC, c.oid LIMIT {limit}"
    )
}

fn tables(ask: &Ask) -> String {
    let time =
        |column: &str| format!("coalesce(floor(extract(epoch FROM {column})), 0) AS {column}");
    format!(
        "{LOCKED}SELECT current_database() AS datname, schemaname, s.relname, seq_scan, seq_tup_read, \
         coalesce(idx_scan, 0) AS idx_scan, coalesce(idx_tup_fetch, 0) AS idx_tup_fetch, n_tup_ins, \
         n_tup_upd, n_tup_del, n_tup_hot_upd, n_live_tup, n_dead_tup, n_mod_since_analyze, \
         {}, {}, {}, {}, vacuum_count, autovacuum_count, analyze_count, autoanalyze_count, \
         CASE WHEN s.relid NOT IN (SELECT relation FROM locked) THEN pg_indexes_size(s.relid) END \
         AS index_size_bytes, \
         CASE WHEN s.relid NOT IN (SELECT relation FROM locked) THEN pg_table_size(s.relid) END \
         AS table_size_bytes FROM pg_stat_user_tables s {}",
        time("last_vacuum"),
        time("last_autovacuum"),
        time("last_analyze"),
        time("last_autoanalyze"),
        chosen("relid", ask.tables_max)
    )
}

fn tables_io(ask: &Ask) -> String {
    let figures: Vec<String> = ["heap", "idx", "toast", "tidx"]
        .iter()
        .flat_map(|of| ["read", "hit"].map(|how| (of, how)))
        .map(|(of, how)| format!("coalesce({of}_blks_{how}, 0) AS {of}_blocks_{how}"))
        .collect();
    format!(
        "SELECT current_database() AS datname, schemaname, s.relname, {} \
         FROM pg_statio_user_tables s {}",
        figures.join(", "),
        chosen("relid", ask.tables_max)
    )
}

fn indexes(ask: &Ask) -> String {
    format!(
        "{LOCKED}SELECT current_database() AS datname, schemaname, s.relname, indexrelname, idx_scan, \
         idx_tup_read, idx_tup_fetch, CASE WHEN s.indexrelid NOT IN (SELECT relation FROM locked) \
         THEN pg_relation_size(s.indexrelid) END AS index_size_bytes FROM pg_stat_user_indexes s {}",
        chosen("indexrelid", ask.tables_max)
    )
}

fn indexes_io(ask: &Ask) -> String {
    format!(
        "SELECT current_database() AS datname, schemaname, s.relname, indexrelname, \
         idx_blks_read AS idx_blks_read_total, idx_blks_hit AS idx_blks_hit_total \
         FROM pg_statio_user_indexes s {}",
        chosen("indexrelid", ask.tables_max)
    )
}
