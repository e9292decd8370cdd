//! LATENCY LATEST, LATENCY HISTOGRAM (since Redis 7) and SLOWLOG.

use crate::exposition::series::format_bound;
use crate::target::Sink;

use super::info::Info;
use super::resp::Value;

/// Commands whose histogram is told, and events whose spike is: more than any server has.
const COMMANDS_MAX: usize = 1000;
/// Buckets of a histogram: Redis has one for each power of two up to a second.
const BUCKETS_MAX: usize = 64;

/// The last spike of each event.
pub(super) fn put_spikes(latest: &Value, sink: &mut impl Sink) {
    for event in latest.items().iter().take(COMMANDS_MAX) {
        // Name, seconds since 1970, milliseconds of the last one, of the longest one.
        let [name, at, took, ..] = event.items() else {
            continue;
        };
        if let (Some(name), Some(at), Some(ms)) = (name.text(), at.number(), took.number()) {
            let labels = [("event_name", name.as_ref())];
            sink.put("redis_latency_spike_last", &labels, at);
            sink.put("redis_latency_spike_duration_seconds", &labels, ms / 1e3);
        }
    }
}

/// Histograms of all commands; INFO has their sums.
pub(super) fn put_histograms(histograms: &Value, info: &Info<'_>, sink: &mut impl Sink) {
    for pair in histograms.items().chunks_exact(2).take(COMMANDS_MAX) {
        let Some(command) = pair[0].text() else {
            continue;
        };
        let calls = pair[1].field("calls").and_then(Value::number);
        let Some(calls) = calls else {
            continue;
        };
        let buckets = pair[1]
            .field("histogram_usec")
            .map_or(&[][..], Value::items);
        for bucket in buckets.chunks_exact(2).take(BUCKETS_MAX) {
            if let (Some(bound), Some(count)) = (bucket[0].number(), bucket[1].number()) {
                let bound = format_bound(bound);
                let labels = [("cmd", command.as_ref()), ("le", bound.as_str())];
                sink.put("redis_commands_latencies_usec_bucket", &labels, count);
            }
        }
        let all = [("cmd", command.as_ref()), ("le", "+Inf")];
        sink.put("redis_commands_latencies_usec_bucket", &all, calls);
        let labels = [("cmd", command.as_ref())];
        let usec = info.command_usec(&command).unwrap_or(0.0);
        sink.put("redis_commands_latencies_usec_sum", &labels, usec);
        sink.put("redis_commands_latencies_usec_count", &labels, calls);
    }
}

/// The last entry of the slow log: its number and duration. What was executed is not looked at.
pub(super) fn put_slowlog(entries: &Value, sink: &mut impl Sink) {
    let last = entries.items().first().map_or(&[][..], Value::items);
    let field = |at: usize| last.get(at).and_then(Value::number).unwrap_or(0.0);
    sink.put("redis_slowlog_last_id", &[], field(0));
    let name = "redis_last_slow_execution_duration_seconds";
    sink.put(name, &[], field(2) / 1e6);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::tests::{array, text};
    use crate::target::Lines;
    use Value::Integer as Int;

    #[test]
    fn a_histogram_has_the_sum_of_info_and_every_call_in_its_last_bucket() {
        let buckets = array([Int(4), Int(2), Int(1_048_576), Int(3)]);
        let get = array([text("calls"), Int(3), text("histogram_usec"), buckets]);
        let info = Info::parse("cmdstat_get:calls=3,usec=77\n");
        let mut lines = Lines::default();
        put_histograms(
            &array([text("get"), get, text("lonely")]),
            &info,
            &mut lines,
        );
        assert_eq!(
            lines.0,
            [
                "redis_commands_latencies_usec_bucket{cmd=get,le=4.0} 2",
                "redis_commands_latencies_usec_bucket{cmd=get,le=1.048576e+06} 3",
                "redis_commands_latencies_usec_bucket{cmd=get,le=+Inf} 3",
                "redis_commands_latencies_usec_sum{cmd=get} 77",
                "redis_commands_latencies_usec_count{cmd=get} 3",
            ]
        );
    }

    #[test]
    fn spikes_and_slow_commands_are_told() {
        let mut lines = Lines::default();
        let spike = array([text("fork"), Int(1_700_000_000), Int(250), Int(300)]);
        put_spikes(&array([spike, Int(1)]), &mut lines);
        let entry = array([
            Int(14),
            Int(1_700_000_000),
            Int(30_000),
            array([text("SECRET")]),
        ]);
        put_slowlog(&array([entry]), &mut lines);
        put_slowlog(&array([]), &mut lines);
        assert_eq!(
            lines.0,
            [
                "redis_latency_spike_last{event_name=fork} 1700000000",
                "redis_latency_spike_duration_seconds{event_name=fork} 0.25",
                "redis_slowlog_last_id 14",
                "redis_last_slow_execution_duration_seconds 0.03",
                "redis_slowlog_last_id 0",
                "redis_last_slow_execution_duration_seconds 0",
            ]
        );
    }
}
