//! The server as a whole: start, transactions, background writer, checkpointer, write-ahead log,
//! archiver, roles.

use super::super::spec::Usage::{Counter, Gauge, Label};
use super::{Pace, View};

pub(super) const VIEWS: &[View] = &[
    View {
        collector: "postmaster",
        prefix: "pg_postmaster",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT extract(epoch FROM pg_postmaster_start_time()) AS start_time_seconds"
                    .into(),
            )
        },
        columns: &[(
            "start_time_seconds",
            Gauge,
            "When the server started, in seconds since 1970.",
        )],
    },
    View {
        // No collector of postgres_exporter's has it; the alert rules that ask for it come with a
        // query of their own. The snapshot's end uses no transaction number up.
        collector: "txid",
        prefix: "pg_txid",
        pace: Pace::Fast,
        server: true,
        query: |_| Some("SELECT txid_snapshot_xmax(txid_current_snapshot()) AS current".into()),
        columns: &[("current", Counter, "The next transaction number.")],
    },
    View {
        collector: "stat_bgwriter",
        prefix: "pg_stat_bgwriter",
        pace: Pace::Fast,
        server: false,
        query: |ask| Some(bgwriter(ask.version)),
        columns: &[
            (
                "checkpoints_timed_total",
                Counter,
                "Checkpoints because it was time.",
            ),
            (
                "checkpoints_req_total",
                Counter,
                "Checkpoints because they were asked for.",
            ),
            (
                "checkpoint_write_time_total",
                Counter,
                "Milliseconds in which checkpoints wrote files.",
            ),
            (
                "checkpoint_sync_time_total",
                Counter,
                "Milliseconds in which checkpoints forced files to disk.",
            ),
            (
                "buffers_checkpoint_total",
                Counter,
                "Buffers written by checkpoints.",
            ),
            (
                "buffers_clean_total",
                Counter,
                "Buffers written by the background writer.",
            ),
            (
                "maxwritten_clean_total",
                Counter,
                "How often the background writer stopped because it had written enough.",
            ),
            (
                "buffers_backend_total",
                Counter,
                "Buffers backends had to write themselves.",
            ),
            (
                "buffers_backend_fsync_total",
                Counter,
                "How often a backend had to force a file to disk itself.",
            ),
            ("buffers_alloc_total", Counter, "Buffers allocated."),
            (
                "stats_reset_total",
                Counter,
                "When these figures last began at zero, in seconds since 1970.",
            ),
        ],
    },
    View {
        collector: "stat_checkpointer",
        prefix: "pg_stat_checkpointer",
        pace: Pace::Fast,
        server: false,
        query: |ask| (ask.version >= 170_000).then(|| CHECKPOINTER.to_owned()),
        columns: &[
            (
                "num_timed_total",
                Counter,
                "Checkpoints because it was time.",
            ),
            (
                "num_requested_total",
                Counter,
                "Checkpoints because they were asked for.",
            ),
            (
                "restartpoints_timed_total",
                Counter,
                "Restartpoints because it was time.",
            ),
            (
                "restartpoints_req_total",
                Counter,
                "Restartpoints because they were asked for.",
            ),
            ("restartpoints_done_total", Counter, "Restartpoints made."),
            (
                "write_time_total",
                Counter,
                "Milliseconds in which checkpoints and restartpoints wrote files.",
            ),
            (
                "sync_time_total",
                Counter,
                "Milliseconds in which they forced files to disk.",
            ),
            (
                "buffers_written_total",
                Counter,
                "Buffers written by checkpoints and restartpoints.",
            ),
            (
                "stats_reset_total",
                Counter,
                "When these figures last began at zero, in seconds since 1970.",
            ),
        ],
    },
    View {
        collector: "wal",
        prefix: "pg_wal",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT count(*) AS segments, coalesce(sum(size), 0) AS size_bytes \
                 FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"
                    .into(),
            )
        },
        columns: &[
            (
                "segments",
                Gauge,
                "Segments of the write-ahead log on disk.",
            ),
            ("size_bytes", Gauge, "Bytes of the write-ahead log on disk."),
        ],
    },
    View {
        // postgres_exporter has it for servers before 10 only; the figure is there on all.
        collector: "xlog_location",
        prefix: "pg_xlog_location",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
                 ELSE pg_current_wal_lsn() END, '0/0') AS bytes"
                    .into(),
            )
        },
        columns: &[(
            "bytes",
            Gauge,
            "Position in the write-ahead log: written, or replayed on a replica.",
        )],
    },
    View {
        collector: "stat_archiver",
        prefix: "pg_stat_archiver",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(
                "SELECT archived_count, failed_count, \
                 extract(epoch FROM now() - last_archived_time) AS last_archive_age \
                 FROM pg_stat_archiver"
                    .into(),
            )
        },
        columns: &[
            (
                "archived_count",
                Counter,
                "Files of the write-ahead log that were archived.",
            ),
            ("failed_count", Counter, "Failed attempts to archive one."),
            (
                "last_archive_age",
                Gauge,
                "Seconds since one was last archived.",
            ),
        ],
    },
    View {
        collector: "roles",
        prefix: "pg_roles",
        pace: Pace::Slow,
        server: false,
        query: |_| {
            Some(
                "SELECT rolname, rolconnlimit AS connection_limit FROM pg_roles ORDER BY oid"
                    .into(),
            )
        },
        columns: &[
            ("rolname", Label, ""),
            (
                "connection_limit",
                Gauge,
                "Most connections of the role; -1 is no limit.",
            ),
        ],
    },
];

/// In version 17 the checkpointer's figures moved to a view of their own; the names that
/// dashboards ask for stay where the figure is the same.
fn bgwriter(version: u32) -> String {
    let reset = "coalesce(floor(extract(epoch FROM b.stats_reset)), 0) AS stats_reset_total";
    let common = "buffers_clean AS buffers_clean_total, maxwritten_clean AS maxwritten_clean_total, \
                  buffers_alloc AS buffers_alloc_total";
    if version >= 170_000 {
        return format!(
            "SELECT {common}, {reset}, num_timed AS checkpoints_timed_total, \
             num_requested AS checkpoints_req_total, write_time AS checkpoint_write_time_total, \
             sync_time AS checkpoint_sync_time_total, buffers_written AS buffers_checkpoint_total \
             FROM pg_stat_bgwriter b, pg_stat_checkpointer"
        );
    }
    format!(
        "SELECT {common}, {reset}, checkpoints_timed AS checkpoints_timed_total, \
         checkpoints_req AS checkpoints_req_total, \
         checkpoint_write_time AS checkpoint_write_time_total, \
         checkpoint_sync_time AS checkpoint_sync_time_total, \
         buffers_checkpoint AS buffers_checkpoint_total, \
         buffers_backend AS buffers_backend_total, \
         buffers_backend_fsync AS buffers_backend_fsync_total FROM pg_stat_bgwriter b"
    )
}

const CHECKPOINTER: &str = "SELECT num_timed AS num_timed_total, \
     num_requested AS num_requested_total, restartpoints_timed AS restartpoints_timed_total, \
     restartpoints_req AS restartpoints_req_total, restartpoints_done AS restartpoints_done_total, \
     write_time AS write_time_total, sync_time AS sync_time_total, \
     buffers_written AS buffers_written_total, \
     coalesce(floor(extract(epoch FROM stats_reset)), 0) AS stats_reset_total \
     FROM pg_stat_checkpointer";
