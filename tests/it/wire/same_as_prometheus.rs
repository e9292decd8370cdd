//! The same remote write requests to Prometheus and to us: the same status.

use stackwatch_tests::protobuf::Message;
use stackwatch_tests::remote_write::snappy;
use stackwatch_tests::skipped;

use super::peers::Peer;
use super::{ONE, histograms, named, now, post, series_one, start};

const HOUR: i64 = 3_600_000;

#[test]
fn remote_write_1_0_has_the_statuses_prometheus_gives() {
    let dir = tempfile::tempdir().unwrap();
    let config = "storage: { tsdb: { out_of_order_time_window: 2h } }\n";
    let args = [
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms",
    ];
    let Some(prometheus) = Peer::prometheus(dir.path(), config, &args) else {
        return skipped("no prometheus");
    };
    let ours = start(dir.path());
    let t = now();
    let request = |series: Vec<Message>| {
        let fold = |request: Message, series| request.message(1, series);
        snappy(&series.into_iter().fold(Message::new(), fold).into_bytes())
    };
    let good = request(vec![named("good", &[(t, 1.0)])]);
    let of_labels = |labels: &[(&[u8], &[u8])]| request(vec![series_one(labels, &[(t, 1.0)])]);
    let metadata = Message::new().varint(1, 1).bytes(2, "m").bytes(4, "help");
    let (first, others) = (histograms(t).remove(0).1, histograms(t));
    let spans = first
        .clone()
        .message(11, Message::new().sint(1, 5).varint(2, 9));
    let mut cases = vec![
        ("good", good.clone()),
        ("the same again", good.clone()),
        ("another value", request(vec![named("good", &[(t, 2.0)])])),
        ("late", request(vec![named("good", &[(t - HOUR, 3.0)])])),
        ("no metric name", of_labels(&[(b"job", b"a")])),
        (
            "an empty value",
            of_labels(&[(b"__name__", b"a"), (b"b", b"")]),
        ),
        (
            "metadata alone",
            snappy(&Message::new().message(3, metadata).into_bytes()),
        ),
        ("nothing", snappy(&[])),
        ("no bytes", Vec::new()),
        ("no snappy", b"prometheus".to_vec()),
        ("cut off", good[..good.len() - 3].to_vec()),
        ("no protobuf", snappy(&[0xff; 20])),
        (
            "a histogram",
            request(vec![named("h", &[]).message(4, first)]),
        ),
    ];
    // Prometheus 2.42 says 500 to some of what can never be stored, and is sent it for ever. We do
    // as 3.x: labels that mean nothing are passed over, and the rest is 400.
    let doubled: [(&[u8], &[u8]); 3] = [(b"__name__", b"a"), (b"b", b"1"), (b"b", b"1")];
    for labels in [&[][..], &doubled] {
        let answer = post(ours.listen(), ONE, &of_labels(labels));
        assert_eq!(answer.status, 204, "{}", answer.body);
    }
    let nonsense = vec![named("h", &[]).message(4, spans)];
    let late = named("good", &[(t - 3 * HOUR, 3.0)]);
    let too_late = vec![named("beside", &[(t, 1.0)]), late];
    for (body, says) in [(nonsense, "spans"), (too_late, "out of order")] {
        post(ours.listen(), ONE, &good);
        let answer = post(ours.listen(), ONE, &request(body));
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains(says), "{}", answer.body);
    }
    // Nobody sends again what was refused so, hence what was good beside it is kept.
    assert_eq!(ours.value("beside"), Some(1.0));
    // 2.42 does not know custom buckets.
    for (name, histogram, _) in others {
        let of_2_42 = name == "gauge";
        if of_2_42 {
            cases.push((name, request(vec![named(name, &[]).message(4, histogram)])));
        }
    }
    for (what, body) in cases {
        let theirs = post(prometheus.listen(), ONE, &body);
        let own = post(ours.listen(), ONE, &body);
        assert_eq!(
            (own.status, what),
            (theirs.status, what),
            "ours: {}, theirs: {}",
            own.body,
            theirs.body
        );
    }
}
