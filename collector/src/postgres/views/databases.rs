//! Each database, seen from outside: activity, conflicts, locks, size, age.

use super::super::spec::Usage::{Counter, Gauge, Label, Untyped};
use super::{Pace, View};

pub(super) const VIEWS: &[View] = &[
    View {
        collector: "stat_database",
        prefix: "pg_stat_database",
        pace: Pace::Fast,
        server: false,
        query: |ask| Some(stat_database(ask.version)),
        columns: &[
            ("datid", Label, ""),
            ("datname", Label, ""),
            ("numbackends", Gauge, "Backends connected to the database."),
            ("xact_commit", Counter, "Transactions committed."),
            ("xact_rollback", Counter, "Transactions rolled back."),
            (
                "blks_read",
                Counter,
                "Blocks read from outside the server's buffers.",
            ),
            ("blks_hit", Counter, "Blocks found in the server's buffers."),
            ("tup_returned", Counter, "Rows looked at by queries."),
            ("tup_fetched", Counter, "Rows fetched by queries."),
            ("tup_inserted", Counter, "Rows inserted."),
            ("tup_updated", Counter, "Rows updated."),
            ("tup_deleted", Counter, "Rows deleted."),
            (
                "conflicts",
                Counter,
                "Queries cancelled because recovery needed it; on replicas.",
            ),
            ("temp_files", Counter, "Temporary files made by queries."),
            (
                "temp_bytes",
                Counter,
                "Bytes written to temporary files by queries.",
            ),
            ("deadlocks", Counter, "Deadlocks found."),
            (
                "blk_read_time",
                Counter,
                "Milliseconds backends spent reading blocks, with track_io_timing.",
            ),
            (
                "blk_write_time",
                Counter,
                "Milliseconds backends spent writing blocks, with track_io_timing.",
            ),
            (
                "stats_reset",
                Counter,
                "When these figures last began at zero, in seconds since 1970.",
            ),
            (
                "active_time_seconds_total",
                Counter,
                "Seconds spent executing statements.",
            ),
            // As before 0.12.
            (
                "active_time",
                Untyped,
                "Milliseconds spent executing statements.",
            ),
            ("session_time", Untyped, "Milliseconds sessions lasted."),
            (
                "idle_in_transaction_time",
                Untyped,
                "Milliseconds sessions idled in a transaction.",
            ),
            ("sessions", Untyped, "Sessions begun."),
            (
                "sessions_abandoned",
                Untyped,
                "Sessions ended because the client was lost.",
            ),
            ("sessions_fatal", Untyped, "Sessions ended by fatal errors."),
            ("sessions_killed", Untyped, "Sessions ended by an operator."),
            (
                "checksum_failures",
                Untyped,
                "Pages whose checksum was wrong.",
            ),
            (
                "checksum_last_failure",
                Untyped,
                "When one was last found, in seconds since 1970.",
            ),
            // As the query files that came with hosted servers spell them.
            ("num_backends", Gauge, "Backends connected to the database."),
            ("xact_commit_total", Counter, "Transactions committed."),
            ("xact_rollback_total", Counter, "Transactions rolled back."),
            ("deadlocks_total", Counter, "Deadlocks found."),
        ],
    },
    View {
        collector: "stat_database_conflicts",
        prefix: "pg_stat_database_conflicts",
        pace: Pace::Fast,
        server: true,
        query: |_| {
            Some(
                "SELECT *, confl_tablespace AS confl_tablespace_total, confl_lock AS confl_lock_total, \
                 confl_snapshot AS confl_snapshot_total, confl_bufferpin AS confl_bufferpin_total, \
                 confl_deadlock AS confl_deadlock_total FROM pg_stat_database_conflicts"
                    .into(),
            )
        },
        columns: &[
            ("datid", Label, ""),
            ("datname", Label, ""),
            (
                "confl_tablespace",
                Counter,
                "Queries cancelled because a tablespace was dropped.",
            ),
            (
                "confl_lock",
                Counter,
                "Queries cancelled because they waited too long for a lock.",
            ),
            (
                "confl_snapshot",
                Counter,
                "Queries cancelled because their snapshot was too old.",
            ),
            (
                "confl_bufferpin",
                Counter,
                "Queries cancelled because they held a buffer.",
            ),
            (
                "confl_deadlock",
                Counter,
                "Queries cancelled because of a deadlock.",
            ),
            (
                "confl_active_logicalslot",
                Counter,
                "Uses of logical slots cancelled.",
            ),
            (
                "confl_tablespace_total",
                Counter,
                "Queries cancelled because a tablespace was dropped.",
            ),
            (
                "confl_lock_total",
                Counter,
                "Queries cancelled because they waited too long for a lock.",
            ),
            (
                "confl_snapshot_total",
                Counter,
                "Queries cancelled because their snapshot was too old.",
            ),
            (
                "confl_bufferpin_total",
                Counter,
                "Queries cancelled because they held a buffer.",
            ),
            (
                "confl_deadlock_total",
                Counter,
                "Queries cancelled because of a deadlock.",
            ),
        ],
    },
    View {
        collector: "locks",
        prefix: "pg_locks",
        pace: Pace::Fast,
        server: false,
        query: |_| Some(LOCKS.into()),
        columns: &[
            ("datname", Label, ""),
            ("mode", Label, ""),
            ("count", Gauge, "Locks held or waited for, by mode."),
        ],
    },
    View {
        collector: "database_wraparound",
        prefix: "pg_database_wraparound",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT datname, age(datfrozenxid) AS age_datfrozenxid_seconds, \
                 mxid_age(datminmxid) AS age_datminmxid_seconds FROM pg_database WHERE datallowconn"
                    .into(),
            )
        },
        columns: &[
            ("datname", Label, ""),
            (
                "age_datfrozenxid_seconds",
                Gauge,
                "Transactions since the oldest one that is not frozen; no seconds.",
            ),
            (
                "age_datminmxid_seconds",
                Gauge,
                "Multitransactions since the oldest one still known; no seconds.",
            ),
        ],
    },
    View {
        collector: "database",
        prefix: "pg_database",
        // The size is a walk over the database's directory.
        pace: Pace::Slow,
        server: false,
        query: |_| {
            Some(
                "SELECT datname, datconnlimit AS connection_limit, \
                 CASE WHEN has_database_privilege(oid, 'CONNECT') \
                 OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_database_size(oid) END \
                 AS size_bytes FROM pg_database ORDER BY oid"
                    .into(),
            )
        },
        columns: &[
            ("datname", Label, ""),
            (
                "connection_limit",
                Gauge,
                "Most connections to the database; -1 is no limit.",
            ),
            ("size_bytes", Gauge, "Bytes of the database on disk."),
        ],
    },
];

/// All modes of all databases, also where there is no lock.
const LOCKS: &str = "SELECT d.datname, m.mode, coalesce(l.count, 0) AS count FROM pg_database d \
     CROSS JOIN (VALUES ('accesssharelock'), ('rowsharelock'), ('rowexclusivelock'), \
     ('shareupdateexclusivelock'), ('sharelock'), ('sharerowexclusivelock'), ('exclusivelock'), \
     ('accessexclusivelock'), ('sireadlock')) AS m(mode) \
     LEFT JOIN (SELECT database, lower(mode) AS mode, count(*) AS count FROM pg_locks \
     WHERE database IS NOT NULL GROUP BY 1, 2) l ON l.database = d.oid AND l.mode = m.mode";

fn stat_database(version: u32) -> String {
    let sessions = if version >= 140_000 {
        ", active_time / 1000 AS active_time_seconds_total, active_time, session_time, \
         idle_in_transaction_time, sessions, sessions_abandoned, sessions_fatal, sessions_killed"
    } else {
        ""
    };
    // The row without a name is about objects that all databases share.
    format!(
        "SELECT datid, datname, numbackends, numbackends AS num_backends, \
         xact_commit, xact_commit AS xact_commit_total, \
         xact_rollback, xact_rollback AS xact_rollback_total, blks_read, blks_hit, tup_returned, \
         tup_fetched, tup_inserted, tup_updated, tup_deleted, conflicts, temp_files, temp_bytes, \
         deadlocks, deadlocks AS deadlocks_total, blk_read_time, blk_write_time, checksum_failures, \
         extract(epoch FROM checksum_last_failure) AS checksum_last_failure, \
         coalesce(floor(extract(epoch FROM stats_reset)), 0) AS stats_reset{sessions} \
         FROM pg_stat_database WHERE datname IS NOT NULL"
    )
}
