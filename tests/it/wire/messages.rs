//! Remote write 2.0, and histograms of 1.0, by an encoder of the tests' own.

use stackwatch_tests::protobuf::Message;
use stackwatch_tests::remote_write::snappy;

use super::{ONE, STALE, TWO, histograms, named, now, post, raw, same, start, written};

/// Collects texts, each once; the first is empty.
struct Symbols(Vec<String>);

impl Symbols {
    fn new() -> Symbols {
        Symbols(vec![String::new()])
    }

    fn of(&mut self, text: &str) -> u64 {
        let known = self.0.iter().position(|s| s == text);
        known.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        }) as u64
    }

    fn labels(&mut self, labels: &[(&str, &str)]) -> Message {
        let pairs = labels.iter().flat_map(|(n, v)| [self.of(n), self.of(v)]);
        let references: Vec<u64> = pairs.collect();
        Message::new().varints(1, &references)
    }

    /// A request of these series.
    fn request(&self, series: impl IntoIterator<Item = Message>) -> Vec<u8> {
        let mut request = Message::new();
        for symbol in &self.0 {
            request = request.bytes(4, symbol);
        }
        for series in series {
            request = request.message(5, series);
        }
        snappy(&request.into_bytes())
    }
}

fn sample(t: i64, v: f64) -> Message {
    // With its start, which is not kept.
    Message::new().double(1, v).varint(2, t).varint(3, t - 5000)
}

#[test]
fn a_2_0_request_is_taken_and_counted_and_reads_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let (t, mut symbols) = (now(), Symbols::new());
    let exact = f64::from_bits(0x3ff3_c0ca_428c_59fb);
    let metadata = Message::new()
        .varint(1, 1)
        .varint(3, symbols.of("What they are."))
        .varint(4, symbols.of("bytes"));
    let exemplar = Message::new()
        .varints(1, &[symbols.of("trace_id"), symbols.of("abc")])
        .double(2, 1.0)
        .varint(3, t);
    let floats = symbols
        .labels(&[("__name__", "sent_total"), ("job", "wire")])
        .message(2, sample(t - 2000, exact))
        .message(2, sample(t - 1000, -0.0))
        .message(2, sample(t, f64::from_bits(STALE)))
        .message(4, exemplar)
        .message(5, metadata)
        .varint(6, t - 10_000);
    let mut series = vec![floats];
    for (name, histogram, _) in histograms(t) {
        let labels = symbols.labels(&[("__name__", name), ("job", "wire")]);
        series.push(labels.message(3, histogram));
    }
    let body = symbols.request(series);
    for _ in 0..2 {
        // The second is a repetition, which senders do after a lost answer.
        let answer = post(ours.listen(), TWO, &body);
        assert_eq!(answer.status, 204, "{}", answer.body);
        assert_eq!(written(&answer), ["3", "4", "0"]);
    }
    let values = raw(ours.listen(), "sent_total", t, "values");
    let text: Vec<&str> = values.iter().map(|v| v[1].as_str().unwrap()).collect();
    assert_eq!(text[0].parse::<f64>().unwrap().to_bits(), exact.to_bits());
    // What is stale has ended, and is no value.
    assert_eq!(text[1..], ["-0"]);
    for (name, _, expect) in histograms(t) {
        let points = raw(ours.listen(), name, t, "histograms");
        assert_eq!(points.len(), 1, "{name}");
        assert!(same(&points[0][1], &expect), "{name}: {points:?}");
    }
    let metadata = ours.get("/api/v1/metadata?metric=sent_total").json();
    assert_eq!(
        metadata["data"]["sent_total"],
        serde_json::json!([{"type": "counter", "help": "What they are.", "unit": "bytes"}])
    );
}

#[test]
fn of_a_2_0_request_with_bad_series_the_good_ones_are_stored_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let (t, mut symbols) = (now(), Symbols::new());
    let (name, metric) = (symbols.of("__name__"), symbols.of("odd"));
    let mut with = |labels: &[(&str, &str)]| symbols.labels(labels).message(2, sample(t, 1.0));
    let no_name = with(&[("job", "wire")]);
    let doubled = with(&[("__name__", "a"), ("b", "1"), ("b", "2")]);
    let empty_name = with(&[("__name__", "a"), ("", "1")]);
    let good = with(&[("zone", "unsorted"), ("__name__", "good"), ("gone", "")]);
    let histogram = || histograms(t).remove(0).1;
    let references = |r: &[u64]| Message::new().varints(1, r).message(2, sample(t, 1.0));
    for (what, bad, lost) in [
        ("no metric name", no_name, 1),
        ("duplicated label", doubled, 1),
        ("without a name", empty_name, 1),
        ("symbol", references(&[name, 1_000]), 1),
        ("symbol", references(&[name, metric, name]), 1),
        ("symbol", references(&[name, u64::MAX]), 1),
        ("at least one", symbols.labels(&[("__name__", "odd")]), 0),
        (
            "not both",
            references(&[name, metric]).message(3, histogram()),
            2,
        ),
        (
            "schema",
            Message::new()
                .varints(1, &[name, metric])
                .message(3, histogram().sint(4, 99)),
            1,
        ),
    ] {
        let body = symbols.request([bad, good.clone()]);
        let answer = post(ours.listen(), TWO, &body);
        assert_eq!(answer.status, 400, "{what}: {}", answer.body);
        assert!(answer.body.contains(what), "{what}: {}", answer.body);
        let of = format!("(1 of {} samples were stored)", 1 + lost);
        assert!(answer.body.contains(&of), "{what}: {}", answer.body);
        assert_eq!(written(&answer), ["1", "0", "0"], "{what}");
    }
    let stored = ours.query("good");
    assert_eq!(
        stored[0]["metric"],
        serde_json::json!({"__name__": "good", "zone": "unsorted"})
    );
    assert_eq!(ours.query("{__name__=~\"odd|a\"}").len(), 0);
}

#[test]
fn what_is_no_2_0_request_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let mut symbols = Symbols::new();
    let labels = symbols.labels(&[("__name__", "never")]);
    let series = labels.message(2, sample(now(), 1.0));
    let good = symbols.request([series.clone()]);
    symbols.0[0] = "not empty".to_owned();
    let bad_table = symbols.request([series]);
    for (content_type, body, status) in [
        (TWO, bad_table.as_slice(), 400),
        (TWO, b"\xff\xff\xff\xff\xff\xff", 400),
        (TWO, &good[..good.len() - 1], 400),
        (TWO, b"", 400),
        (
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            &good,
            415,
        ),
        ("application/x-protobuf;proto", &good, 415),
        ("application/json", &good, 415),
    ] {
        let answer = post(ours.listen(), content_type, body);
        assert_eq!(answer.status, status, "{content_type}: {}", answer.body);
    }
    let gzip = [("Content-Type", TWO), ("Content-Encoding", "gzip")];
    let answer =
        stackwatch_tests::http::request("POST", ours.listen(), "/api/v1/write", &gzip, &good);
    assert_eq!(answer.unwrap().status, 415);
    // A 1.0 body that claims to be 2.0 has no series at all: nothing is written, and says so.
    let one = Message::new().message(1, named("never", &[(now(), 1.0)]));
    let answer = post(ours.listen(), TWO, &snappy(&one.into_bytes()));
    assert_eq!(written(&answer), ["0", "0", "0"]);
    assert_eq!(ours.query("never").len(), 0);
}

#[test]
fn histograms_of_1_0_read_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut ours = start(dir.path());
    let (t, mut request) = (now(), Message::new());
    for (name, histogram, _) in histograms(t) {
        request = request.message(1, named(name, &[]).message(4, histogram));
    }
    let stale = Message::new()
        .double(2, 0.0)
        .double(3, f64::from_bits(STALE))
        .varint(15, t + 1);
    request = request.message(1, named("whole", &[]).message(4, stale));
    let answer = post(ours.listen(), ONE, &snappy(&request.into_bytes()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    for _ in 0..2 {
        for (name, _, expect) in histograms(t) {
            let points = raw(ours.listen(), name, t + 1, "histograms");
            assert_eq!(points.len(), 1, "{name}");
            assert!(same(&points[0][1], &expect), "{name}: {points:?}");
        }
        assert_eq!(
            ours.query(&format!("whole @ {:.3}", (t + 1) as f64 / 1e3))
                .len(),
            0
        );
        ours.kill_and_restart();
    }
}
