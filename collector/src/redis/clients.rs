//! CLIENT LIST: each connected client. By choice, for its series come and go with the clients.

use crate::target::Sink;

/// Clients told; the rest is left out.
const CLIENTS_MAX: usize = 1000;

/// Adds the clients of the list; `now` is in seconds since 1970.
pub(super) fn put(list: &str, with_port: bool, now: f64, sink: &mut impl Sink) {
    for line in list.lines().take(CLIENTS_MAX) {
        // A name has no blanks in it: the server sees to that.
        let field = |key: &str| {
            let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(k, _)| *k == key).map(|(_, v)| v)
        };
        let text = |key: &str| field(key).unwrap_or("");
        let (Some(id), Some((host, port))) = (field("id"), text("addr").rsplit_once(':')) else {
            continue;
        };
        let labels = [
            ("db", text("db")),
            ("flags", text("flags")),
            ("host", host),
            ("id", id),
            ("name", text("name")),
            ("port", if with_port { port } else { "" }),
            ("resp", text("resp")),
            ("user", text("user")),
        ];
        sink.put("redis_connected_client_info", &labels, 1.0);
        let labels = [("id", id), ("name", text("name"))];
        for (key, metric) in [
            (
                "omem",
                "redis_connected_client_output_buffer_memory_usage_bytes",
            ),
            (
                "tot-mem",
                "redis_connected_client_total_memory_consumed_bytes",
            ),
            ("sub", "redis_connected_client_channel_subscriptions_count"),
            (
                "psub",
                "redis_connected_client_pattern_matching_subscriptions_count",
            ),
            (
                "ssub",
                "redis_connected_client_shard_channel_subscriptions_count",
            ),
            ("watch", "redis_connected_client_shard_channel_watched_keys"),
            ("qbuf", "redis_connected_client_query_buffer_length_bytes"),
            (
                "qbuf-free",
                "redis_connected_client_query_buffer_free_space_bytes",
            ),
            ("obl", "redis_connected_client_output_buffer_length_bytes"),
            ("oll", "redis_connected_client_output_list_length"),
            // Since Redis 8.8.
            ("read-events", "redis_connected_client_read_events_total"),
            (
                "avg-pipeline-len-sum",
                "redis_connected_client_pipeline_commands_total",
            ),
            (
                "avg-pipeline-len-cnt",
                "redis_connected_client_pipeline_batches_total",
            ),
        ] {
            if let Some(value) = field(key).and_then(|v| v.parse().ok()) {
                sink.put(metric, &labels, value);
            }
        }
        for (key, metric) in [
            ("age", "redis_connected_client_created_at_timestamp"),
            ("idle", "redis_connected_client_idle_since_timestamp"),
        ] {
            if let Some(seconds) = field(key).and_then(|v| v.parse::<f64>().ok()) {
                sink.put(metric, &labels, now.floor() - seconds);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Lines;

    const LIST: &str = "id=40 addr=fd40:1481::44:6379 laddr=x fd=19 name=web age=782 idle=2 flags=N db=0 sub=1 psub=0 qbuf=26 omem=5 user=default resp=2\n\nnonsense\n";

    #[test]
    fn clients_are_told_by_name_and_the_port_by_choice() {
        let lines = |with_port| {
            let mut lines = Lines::default();
            put(LIST, with_port, 1000.9, &mut lines);
            lines.0
        };
        let got = lines(false);
        assert_eq!(
            got[0],
            "redis_connected_client_info{db=0,flags=N,host=fd40:1481::44,id=40,name=web,resp=2,user=default} 1"
        );
        for line in [
            "redis_connected_client_output_buffer_memory_usage_bytes{id=40,name=web} 5",
            "redis_connected_client_created_at_timestamp{id=40,name=web} 218",
            "redis_connected_client_idle_since_timestamp{id=40,name=web} 998",
        ] {
            assert!(got.contains(&line.to_owned()), "{line}: {got:#?}");
        }
        assert!(lines(true)[0].contains("port=6379"));
    }
}
