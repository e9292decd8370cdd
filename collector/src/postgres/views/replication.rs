//! Replicas, the standing of this server among them, and slots.

use super::super::spec::Usage::{Counter, Gauge, Label};
use super::{Pace, View};

pub(super) const VIEWS: &[View] = &[
    View {
        collector: "replication",
        prefix: "pg_replication",
        pace: Pace::Fast,
        server: false,
        query: |_| Some(REPLICATION.into()),
        columns: &[
            (
                "lag_seconds",
                Gauge,
                "Seconds this replica is behind; 0 on a primary.",
            ),
            ("is_replica", Gauge, "1 when this server is a replica."),
            (
                "last_replay_seconds",
                Gauge,
                "Seconds since a transaction was last replayed; 0 on a primary.",
            ),
        ],
    },
    View {
        collector: "stat_replication",
        prefix: "pg_stat_replication",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(format!(
                "SELECT r.application_name, r.client_addr, r.state, s.slot_name, r.pid, \
                 pg_wal_lsn_diff(here.lsn, '0/0') AS pg_current_wal_lsn_bytes, \
                 pg_wal_lsn_diff(here.lsn, r.replay_lsn) AS pg_wal_lsn_diff \
                 FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid, \
                 {HERE}"
            ))
        },
        columns: &[
            ("application_name", Label, ""),
            ("client_addr", Label, ""),
            ("state", Label, ""),
            ("slot_name", Label, ""),
            ("pid", Label, ""),
            (
                "pg_current_wal_lsn_bytes",
                Gauge,
                "Position in the write-ahead log.",
            ),
            (
                "pg_wal_lsn_diff",
                Gauge,
                "Bytes of the write-ahead log the replica has not replayed.",
            ),
        ],
    },
    View {
        collector: "replication_slots",
        prefix: "pg_replication_slots",
        pace: Pace::Fast,
        server: false,
        query: |_| {
            Some(format!(
                "SELECT slot_name, database, active, \
                 pg_wal_lsn_diff(here.lsn, restart_lsn) AS pg_wal_lsn_diff \
                 FROM pg_replication_slots, {HERE}"
            ))
        },
        columns: &[
            ("slot_name", Label, ""),
            ("database", Label, ""),
            ("active", Gauge, "1 when somebody uses the slot."),
            (
                "pg_wal_lsn_diff",
                Gauge,
                "Bytes of the write-ahead log the slot keeps.",
            ),
        ],
    },
    View {
        collector: "replication_slots",
        // Also under the spelling before 0.20, pg_replication_slot_.
        prefix: "pg_replication",
        pace: Pace::Fast,
        server: false,
        query: |ask| Some(slots(ask.version)),
        columns: &[
            ("slot_name", Label, ""),
            ("slot_type", Label, ""),
            (
                "slots_slot_current_wal_lsn",
                Gauge,
                "Position in the write-ahead log.",
            ),
            (
                "slots_slot_confirmed_flush_lsn",
                Gauge,
                "Position the user of the logical slot has confirmed.",
            ),
            (
                "slots_slot_is_active",
                Gauge,
                "1 when somebody uses the slot.",
            ),
            (
                "slots_safe_wal_size_bytes",
                Gauge,
                "Bytes that can be written before the slot may lose some.",
            ),
            (
                "slot_slot_current_wal_lsn",
                Gauge,
                "Position in the write-ahead log.",
            ),
            (
                "slot_slot_confirmed_flush_lsn",
                Gauge,
                "Position the user of the logical slot has confirmed.",
            ),
            (
                "slot_slot_is_active",
                Gauge,
                "1 when somebody uses the slot.",
            ),
            (
                "slot_safe_wal_size_bytes",
                Gauge,
                "Bytes that can be written before the slot may lose some.",
            ),
        ],
    },
    View {
        collector: "replication_slots",
        prefix: "pg_replication",
        pace: Pace::Fast,
        server: false,
        query: |ask| {
            let known = "SELECT slot_name, slot_type, wal_status, 1 AS slots_wal_status, \
                         1 AS slot_wal_status FROM pg_replication_slots WHERE wal_status IS NOT NULL";
            let unknown = "SELECT NULL AS slots_wal_status LIMIT 0";
            Some(
                if ask.version >= 130_000 {
                    known
                } else {
                    unknown
                }
                .into(),
            )
        },
        columns: &[
            ("slot_name", Label, ""),
            ("slot_type", Label, ""),
            ("wal_status", Label, ""),
            (
                "slots_wal_status",
                Gauge,
                "Always 1; the label tells whether the slot's part of the log is there.",
            ),
            (
                "slot_wal_status",
                Gauge,
                "Always 1; the label tells whether the slot's part of the log is there.",
            ),
        ],
    },
    View {
        collector: "stat_wal_receiver",
        prefix: "pg_stat_wal_receiver",
        pace: Pace::Fast,
        server: false,
        query: |ask| Some(receiver(ask.version)),
        columns: &[
            ("upstream_host", Label, ""),
            ("slot_name", Label, ""),
            (
                "status",
                Gauge,
                "0 stopped, 1 starting, 2 streaming, 3 waiting, 4 restarting, -1 stopping, -2 another.",
            ),
            (
                "receive_start_lsn",
                Counter,
                "Position at which receiving began.",
            ),
            (
                "receive_start_tli",
                Gauge,
                "Timeline at which receiving began.",
            ),
            (
                "flushed_lsn",
                Counter,
                "Last position received and on disk.",
            ),
            (
                "received_tli",
                Gauge,
                "Timeline of the last position received.",
            ),
            (
                "last_msg_send_time",
                Counter,
                "When the last message was sent, in seconds since 1970.",
            ),
            (
                "last_msg_receipt_time",
                Counter,
                "When it was received, in seconds since 1970.",
            ),
            (
                "latest_end_lsn",
                Counter,
                "Last position reported to the sender.",
            ),
            (
                "latest_end_time",
                Counter,
                "When that was, in seconds since 1970.",
            ),
            (
                "upstream_node",
                Gauge,
                "Number of the sender's node, as repmgr names slots.",
            ),
        ],
    },
];

/// Where the log ends here: written, or received on a replica.
const HERE: &str = "(SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
     ELSE pg_current_wal_lsn() END AS lsn) here";

const REPLICATION: &str = "SELECT \
     CASE WHEN NOT pg_is_in_recovery() THEN 0 \
     WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
     ELSE greatest(0, extract(epoch FROM now() - pg_last_xact_replay_timestamp())) END AS lag_seconds, \
     pg_is_in_recovery()::int AS is_replica, \
     CASE WHEN pg_is_in_recovery() THEN \
     greatest(0, extract(epoch FROM now() - pg_last_xact_replay_timestamp())) ELSE 0 END \
     AS last_replay_seconds";

fn slots(version: u32) -> String {
    let safe = if version >= 130_000 {
        ", safe_wal_size AS slots_safe_wal_size_bytes, safe_wal_size AS slot_safe_wal_size_bytes"
    } else {
        ""
    };
    format!(
        "SELECT slot_name, slot_type, active AS slots_slot_is_active, active AS slot_slot_is_active, \
         pg_wal_lsn_diff(here.lsn, '0/0') AS slots_slot_current_wal_lsn, \
         pg_wal_lsn_diff(here.lsn, '0/0') AS slot_slot_current_wal_lsn, \
         CASE WHEN active THEN pg_wal_lsn_diff(coalesce(confirmed_flush_lsn, '0/0'), '0/0') END \
         AS slots_slot_confirmed_flush_lsn, \
         CASE WHEN active THEN pg_wal_lsn_diff(coalesce(confirmed_flush_lsn, '0/0'), '0/0') END \
         AS slot_slot_confirmed_flush_lsn{safe} FROM pg_replication_slots, {HERE}"
    )
}

fn receiver(version: u32) -> String {
    let flushed = if version >= 130_000 {
        "flushed_lsn"
    } else {
        "received_lsn"
    };
    format!(
        "SELECT trim(BOTH '''' FROM substring(conninfo FROM 'host=([^ ]*)')) AS upstream_host, \
         slot_name, CASE status WHEN 'stopped' THEN 0 WHEN 'starting' THEN 1 \
         WHEN 'streaming' THEN 2 WHEN 'waiting' THEN 3 WHEN 'restarting' THEN 4 \
         WHEN 'stopping' THEN -1 ELSE -2 END AS status, \
         pg_wal_lsn_diff(receive_start_lsn, '0/0') AS receive_start_lsn, receive_start_tli, \
         pg_wal_lsn_diff({flushed}, '0/0') AS flushed_lsn, received_tli, \
         extract(epoch FROM last_msg_send_time) AS last_msg_send_time, \
         extract(epoch FROM last_msg_receipt_time) AS last_msg_receipt_time, \
         pg_wal_lsn_diff(latest_end_lsn, '0/0') AS latest_end_lsn, \
         extract(epoch FROM latest_end_time) AS latest_end_time, \
         coalesce(substring(slot_name FROM 'repmgr_slot_([0-9]*)'), '0') AS upstream_node \
         FROM pg_stat_wal_receiver"
    )
}
