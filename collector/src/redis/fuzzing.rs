//! Answers of a server that is not trusted.

use futures_util::FutureExt as _;

use super::resp::{Batch, Talk, Value};
use super::{clients, info, latency};
use crate::fuzzing::assert_metric;
use crate::target::Sink;

/// Commands the answers are to.
const COMMANDS: usize = 3;

/// The input is all that the server says. What is read can be said again, and is read the same;
/// what is told of it has proper names.
pub fn redis(input: &[u8]) {
    let Some(answers) = ask(input, COMMANDS) else {
        return;
    };
    let mut again = Vec::new();
    for answer in &answers {
        say(answer, &mut again);
    }
    assert_eq!(ask(&again, COMMANDS).as_ref(), Some(&answers));
    let text = answers[0].text().unwrap_or_default();
    let info = info::Info::parse(&text);
    let now = 1.7e9;
    let sink = &mut Named;
    info.put(None, now, sink);
    info::put_cluster(&text, sink);
    clients::put(&text, true, now, sink);
    latency::put_spikes(&answers[1], sink);
    latency::put_histograms(&answers[1], &info, sink);
    latency::put_slowlog(&answers[2], sink);
}

/// Nothing is waited for: all there is to read is there.
fn ask(input: &[u8], commands: usize) -> Option<Vec<Value>> {
    let mut batch = Batch::default();
    for _ in 0..commands {
        batch.add(&["PING"]);
    }
    let mut talk = Talk::new(tokio::io::join(input, tokio::io::sink()));
    talk.ask(&batch).now_or_never()?.ok()
}

fn say(value: &Value, out: &mut Vec<u8>) {
    let line = |out: &mut Vec<u8>, kind: char, rest: &str| {
        out.extend_from_slice(format!("{kind}{rest}\r\n").as_bytes());
    };
    match value {
        Value::Null => line(out, '$', "-1"),
        Value::Integer(n) => line(out, ':', &n.to_string()),
        Value::Error(text) => line(out, '-', text),
        Value::Bytes(bytes) => {
            line(out, '$', &bytes.len().to_string());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Value::Array(items) => {
            line(out, '*', &items.len().to_string());
            for item in items {
                say(item, out);
            }
        }
    }
}

struct Named;

impl Sink for Named {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], _: f64) {
        assert_metric(name);
        for (label, _) in labels {
            assert_metric(label);
        }
    }
}
