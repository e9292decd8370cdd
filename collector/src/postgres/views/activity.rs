//! What backends do now: states, long transactions, idle time, vacuums.

use super::super::spec::Usage::{Gauge, Histogram, Label};
use super::{Pace, View};

pub(super) const VIEWS: &[View] = &[
    View {
        collector: "stat_activity",
        prefix: "pg_stat_activity",
        pace: Pace::Fast,
        server: false,
        query: |_| Some(ACTIVITY.into()),
        columns: &[
            ("datname", Label, ""),
            ("state", Label, ""),
            ("usename", Label, ""),
            ("application_name", Label, ""),
            ("backend_type", Label, ""),
            ("wait_event_type", Label, ""),
            ("wait_event", Label, ""),
            ("count", Gauge, "Connections in this state."),
            (
                "max_tx_duration",
                Gauge,
                "Seconds since the oldest of their transactions began.",
            ),
        ],
    },
    View {
        collector: "long_running_transactions",
        prefix: "pg_long_running",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT count(*) AS transactions, \
                 coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) \
                 AS transactions_oldest_timestamp_seconds FROM pg_stat_activity \
                 WHERE state IS DISTINCT FROM 'idle' AND query NOT LIKE 'autovacuum:%' \
                 AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                    .into(),
            )
        },
        columns: &[
            (
                "transactions",
                Gauge,
                "Transactions under way, vacuums aside.",
            ),
            (
                "transactions_oldest_timestamp_seconds",
                Gauge,
                "Seconds since the oldest of them began.",
            ),
        ],
    },
    View {
        collector: "process_idle",
        prefix: "pg_process_idle",
        pace: Pace::Fast,
        server: false,
        query: |_| Some(IDLE.into()),
        columns: &[
            ("application_name", Label, ""),
            ("state", Label, ""),
            (
                "seconds",
                Histogram,
                "Seconds for which connections have been idle.",
            ),
        ],
    },
    View {
        collector: "stat_activity_autovacuum",
        prefix: "pg_stat_activity_autovacuum",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT split_part(query, '.', 2) AS relname, \
                 max(extract(epoch FROM clock_timestamp() - xact_start)) AS age_in_seconds \
                 FROM pg_stat_activity WHERE query LIKE 'autovacuum:%' \
                 AND clock_timestamp() - xact_start > interval '5 minutes' GROUP BY 1"
                    .into(),
            )
        },
        columns: &[
            ("relname", Label, ""),
            (
                "age_in_seconds",
                Gauge,
                "Seconds an automatic vacuum has run; told from five minutes on.",
            ),
        ],
    },
    View {
        collector: "stat_progress_vacuum",
        prefix: "pg_stat_progress_vacuum",
        pace: Pace::Fast,
        server: false,
        query: |ask| Some(vacuum(ask.version)),
        columns: &[
            ("datname", Label, ""),
            ("relname", Label, ""),
            ("heap_blks", Gauge, "Blocks of the table that is vacuumed."),
            ("heap_blks_scanned", Gauge, "Blocks scanned so far."),
            ("heap_blks_vacuumed", Gauge, "Blocks vacuumed so far."),
            ("index_vacuums", Gauge, "Rounds over the indexes so far."),
            (
                "max_dead_tuples",
                Gauge,
                "Dead rows (from version 17 on bytes) that fit into memory before a round over the indexes.",
            ),
            (
                "num_dead_tuples",
                Gauge,
                "Dead rows collected since the last round.",
            ),
        ],
    },
    View {
        collector: "stat_progress_vacuum",
        prefix: "pg_stat_progress",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(format!(
                "SELECT {VACUUM_TABLE}, phase.phase, (p.phase = phase.phase)::int AS vacuum_phase \
                 FROM pg_stat_progress_vacuum p CROSS JOIN (VALUES ('initializing'), \
                 ('scanning heap'), ('vacuuming indexes'), ('vacuuming heap'), \
                 ('cleaning up indexes'), ('truncating heap'), ('performing final cleanup')) \
                 AS phase(phase)"
            ))
        },
        columns: &[
            ("datname", Label, ""),
            ("relname", Label, ""),
            ("phase", Label, ""),
            ("vacuum_phase", Gauge, "1 for the phase the vacuum is in."),
        ],
    },
];

/// All states of all databases, also where there is no connection.
const ACTIVITY: &str = "SELECT d.datname, s.state, a.usename, a.application_name, a.backend_type, \
     a.wait_event_type, a.wait_event, coalesce(a.count, 0) AS count, \
     coalesce(a.max_tx_duration, 0) AS max_tx_duration FROM pg_database d \
     CROSS JOIN (VALUES ('active'), ('idle'), ('idle in transaction'), \
     ('idle in transaction (aborted)'), ('fastpath function call'), ('disabled')) AS s(state) \
     LEFT JOIN (SELECT datname, state, usename, application_name, backend_type, wait_event_type, \
     wait_event, count(*) AS count, max(extract(epoch FROM now() - xact_start)) AS max_tx_duration \
     FROM pg_stat_activity WHERE pid <> pg_backend_pid() GROUP BY 1, 2, 3, 4, 5, 6, 7) a \
     ON a.datname = d.datname AND a.state = s.state";

const IDLE: &str = "WITH idle AS (SELECT application_name, state, \
     extract(epoch FROM now() - state_change) AS age FROM pg_stat_activity \
     WHERE state LIKE 'idle%' AND state_change IS NOT NULL), \
     counted AS (SELECT application_name, state, le, count(*) FILTER (WHERE age <= le) AS bucket \
     FROM idle, unnest(ARRAY[1, 2, 5, 15, 30, 60, 90, 120, 300]) AS le GROUP BY 1, 2, 3) \
     SELECT application_name, state, array_agg(le ORDER BY le) AS seconds, \
     array_agg(bucket ORDER BY le) AS seconds_bucket, \
     (SELECT sum(age::bigint) FROM idle i WHERE i.application_name = c.application_name \
     AND i.state = c.state) AS seconds_sum, \
     (SELECT count(*) FROM idle i WHERE i.application_name = c.application_name \
     AND i.state = c.state) AS seconds_count FROM counted c GROUP BY 1, 2";

/// Names of tables can be looked up in the database we are connected to only; elsewhere the
/// number has to do.
const VACUUM_TABLE: &str = "p.datname, coalesce(CASE WHEN p.datname = current_database() \
     THEN p.relid::regclass::text END, p.relid::text) AS relname";

fn vacuum(version: u32) -> String {
    let dead = if version >= 170_000 {
        "max_dead_tuple_bytes AS max_dead_tuples, num_dead_item_ids AS num_dead_tuples"
    } else {
        "max_dead_tuples, num_dead_tuples"
    };
    format!(
        "SELECT {VACUUM_TABLE}, heap_blks_total AS heap_blks, heap_blks_scanned, \
         heap_blks_vacuumed, index_vacuum_count AS index_vacuums, {dead} \
         FROM pg_stat_progress_vacuum p"
    )
}
