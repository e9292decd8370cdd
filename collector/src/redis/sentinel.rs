//! What a Sentinel knows about each primary it watches.

use crate::target::Sink;

use super::connection::{Connection, RedisError, code};
use super::resp::{Batch, Value};

/// Primaries asked about; a Sentinel with more tells the rest through INFO only.
const PRIMARIES_MAX: usize = 100;

/// What it takes to ask, as ACL rules.
pub(super) const RULES: &str =
    "+sentinel|masters +sentinel|ckquorum +sentinel|sentinels +sentinel|slaves";

/// A primary, its quorum, its other Sentinels, its replicas.
pub(super) struct Primary {
    fields: Value,
    quorum: Value,
    sentinels: Value,
    replicas: Value,
}

/// Asks about all primaries; tells too whether something was refused for want of rights.
pub(super) async fn gather(
    connection: &mut Connection,
) -> Result<(Vec<Primary>, bool), RedisError> {
    let refused = |answer: &Value| matches!(answer, Value::Error(words) if code(words) == "NOPERM");
    let mut batch = Batch::default();
    batch.add(&["SENTINEL", "MASTERS"]);
    let masters = connection.ask(&batch).await?;
    let mut denied = masters.iter().any(refused);
    let named: Vec<(String, Value)> = masters
        .iter()
        .flat_map(Value::items)
        .filter_map(|fields| {
            let name = fields.field("name")?.text()?.into_owned();
            Some((name, fields.clone()))
        })
        .take(PRIMARIES_MAX)
        .collect();
    let mut primaries = Vec::with_capacity(named.len());
    for (name, fields) in named {
        let mut batch = Batch::default();
        for command in ["CKQUORUM", "SENTINELS", "SLAVES"] {
            batch.add::<&str>(&["SENTINEL", command, &name]);
        }
        let answers = connection.ask(&batch).await?;
        denied |= answers.iter().any(refused);
        if let Ok([quorum, sentinels, replicas]) = <[Value; 3]>::try_from(answers) {
            primaries.push(Primary {
                fields,
                quorum,
                sentinels,
                replicas,
            });
        }
    }
    Ok((primaries, denied))
}

/// Adds what is known; `shown` makes a server's words fit for a label.
pub(super) fn put(primaries: &[Primary], shown: impl Fn(&str) -> String, sink: &mut impl Sink) {
    for primary in primaries {
        let text = |key: &str| {
            let value = primary.fields.field(key).and_then(Value::text);
            value.unwrap_or_default().into_owned()
        };
        let (name, address) = (text("name"), format!("{}:{}", text("ip"), text("port")));
        let labels = [("master_address", address.as_str()), ("master_name", &name)];
        let quorum = match &primary.quorum {
            Value::Error(words) if code(words) == "NOQUORUM" => Some((0.0, shown(words))),
            // Nobody knows.
            Value::Error(_) => None,
            other => Some((1.0, shown(&other.text().unwrap_or_default()))),
        };
        if let Some((good, words)) = quorum {
            let quorum = [("master_name", name.as_str()), ("message", words.as_str())];
            sink.put("redis_sentinel_master_ckquorum_status", &quorum, good);
        }
        for (key, metric, scale) in [
            ("quorum", "redis_sentinel_master_setting_ckquorum", 1.0),
            (
                "failover-timeout",
                "redis_sentinel_master_setting_failover_timeout",
                1.0,
            ),
            (
                "parallel-syncs",
                "redis_sentinel_master_setting_parallel_syncs",
                1.0,
            ),
            (
                "down-after-milliseconds",
                "redis_sentinel_master_setting_down_after_milliseconds",
                1.0,
            ),
            ("config-epoch", "redis_sentinel_master_config_epoch", 1.0),
            (
                "last-ok-ping-reply",
                "redis_sentinel_master_last_ok_ping_reply_seconds",
                1e3,
            ),
        ] {
            if let Some(value) = primary.fields.field(key).and_then(Value::number) {
                sink.put(metric, &labels, value / scale);
            }
        }
        if let Some(up) = up(&primary.sentinels) {
            // The list lacks the one we ask, which is there.
            let name = "redis_sentinel_master_ok_sentinels";
            sink.put(name, &labels, (up + 1) as f64);
        }
        if let Some(up) = up(&primary.replicas) {
            sink.put("redis_sentinel_master_ok_slaves", &labels, up as f64);
        }
    }
}

/// How many of a list are not down in anybody's eyes; `None` without a list.
fn up(list: &Value) -> Option<usize> {
    if matches!(list, Value::Error(_)) {
        return None;
    }
    let flags = list
        .items()
        .iter()
        .filter_map(|one| one.field("flags")?.text());
    let up = flags.filter(|flags| !flags.contains("o_down") && !flags.contains("s_down"));
    Some(up.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::tests::{array, text};
    use crate::target::Lines;

    #[test]
    fn a_primary_is_told_with_those_that_are_up() {
        let flags = |flags: &str| array([text("flags"), text(flags)]);
        let fields = ["name", "m", "ip", "10.0.0.1", "port", "6379", "quorum", "2"];
        let primary = Primary {
            fields: array(fields.map(text)),
            quorum: Value::Error("NOQUORUM 1 usable Sentinels".to_owned()),
            sentinels: array([flags("sentinel"), flags("s_down,sentinel"), array([])]),
            replicas: array([flags("slave"), flags("s_down,o_down,slave")]),
        };
        let mut lines = Lines::default();
        put(&[primary], str::to_owned, &mut lines);
        assert_eq!(
            lines.0,
            [
                "redis_sentinel_master_ckquorum_status{master_name=m,message=NOQUORUM 1 usable Sentinels} 0",
                "redis_sentinel_master_setting_ckquorum{master_address=10.0.0.1:6379,master_name=m} 2",
                "redis_sentinel_master_ok_sentinels{master_address=10.0.0.1:6379,master_name=m} 2",
                "redis_sentinel_master_ok_slaves{master_address=10.0.0.1:6379,master_name=m} 1",
            ]
        );
    }

    #[test]
    fn what_may_not_be_asked_is_not_told_as_bad() {
        let refused = || Value::Error("NOPERM no".to_owned());
        let primary = Primary {
            fields: array(["name", "m"].map(text)),
            quorum: refused(),
            sentinels: refused(),
            replicas: refused(),
        };
        let mut lines = Lines::default();
        put(&[primary], str::to_owned, &mut lines);
        assert_eq!(lines.0, Vec::<String>::new());
    }
}
