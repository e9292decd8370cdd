//! Requests that mean harm or nothing: a clear answer, and nobody else is hurt.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use stackwatch_tests::http;
use stackwatch_tests::protobuf::Message;
use stackwatch_tests::remote_write::snappy;

use super::{ONE, TWO, named, now, post, series_one, start};

#[test]
fn what_is_too_large_is_refused_before_it_costs_much() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    // Copies of one byte: 64 MiB of 3 MiB.
    let mut bomb = vec![0x80, 0x80, 0x80, 0x20, 0, b'x'];
    bomb.extend([0xfe, 1, 0].repeat(1 << 20));
    // 4 GiB of nothing.
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    // 16 MiB of six bytes.
    let lie = [0x80, 0x80, 0x80, 0x08, 0, 0];
    for body in [&bomb[..], &claim, &lie] {
        for content_type in [ONE, TWO] {
            let answer = post(ours.listen(), content_type, body);
            assert_eq!(answer.status, 400, "{}", answer.body);
            assert!(answer.body.starts_with("snappy: "), "{}", answer.body);
        }
    }
    let answer = post(ours.listen(), ONE, &vec![0; 64 << 20]);
    assert_eq!(answer.status, 400);
    // Zeroes, gzipped: 64 MiB.
    let mut gzip = Vec::new();
    let block = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    gzip.extend(block);
    gzip.extend([0xff; 1000]);
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "gzip"),
    ];
    let otlp = "/api/v1/otlp/v1/metrics";
    let answer = http::request("POST", ours.listen(), otlp, &headers, &gzip).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(ours.get("/-/ready").status, 200);
}

#[test]
fn a_body_that_never_ends_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(ours.listen()).unwrap();
            let head =
                "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc";
            stream.write_all(head.as_bytes()).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(10)))
                .unwrap();
            stream
        })
        .collect();
    let good = Message::new().message(1, named("good", &[(now(), 1.0)]));
    let answer = post(ours.listen(), ONE, &snappy(&good.into_bytes()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    for mut stream in slow {
        // Still waiting for the rest, and not answered as if it had come.
        assert!(stream.read(&mut [0; 64]).is_err());
    }
}

#[test]
fn odd_labels_values_and_times_have_clear_answers_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let ours = start(dir.path());
    let t = now();
    let many: Vec<String> = (0..10_000).map(|i| format!("l{i:05}")).collect();
    let mut many: Vec<(&[u8], &[u8])> = many.iter().map(|l| (l.as_bytes(), &b"v"[..])).collect();
    many.push((b"__name__", b"many"));
    let long = vec![b'x'; 1 << 20];
    let one = [(t, 1.0)];
    let named = |samples: &[(i64, f64)]| series_one(&[(b"__name__", b"odd")], samples);
    for (what, series, status) in [
        ("no name", series_one(&[(b"job", b"a")], &one), 204),
        ("no labels", series_one(&[], &one), 204),
        (
            "not UTF-8",
            series_one(&[(b"__name__", b"a\xff")], &one),
            204,
        ),
        (
            "twice",
            series_one(&[(b"__name__", b"a"), (b"b", b"1"), (b"b", b"2")], &one),
            204,
        ),
        (
            "empty",
            series_one(&[(b"__name__", b"a"), (b"", b"1")], &one),
            204,
        ),
        ("many", series_one(&many, &one), 400),
        (
            "long",
            series_one(&[(b"__name__", b"a"), (b"l", &long)], &one),
            400,
        ),
        ("the end of time", named(&[(i64::MAX, 1.0)]), 400),
        ("the beginning", named(&[(t, 1.0), (i64::MIN, 1.0)]), 400),
        ("none", named(&[]), 204),
    ] {
        let good = series_one(&[(b"__name__", b"good"), (b"case", what.as_bytes())], &one);
        let body = Message::new().message(1, series).message(1, good);
        let answer = post(ours.listen(), ONE, &snappy(&body.into_bytes()));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        let stored = ours.query(&format!("good{{case=\"{what}\"}}"));
        assert_eq!(stored.len(), 1, "{what}");
    }
    // Any NaN but the marker of staleness is a value; which one is not told in JSON.
    let odd = [
        0x7ff8_0000_0000_0001,
        0xfff8_dead_beef_0000,
        0x7ff0_0000_0000_0001,
    ];
    let values = [f64::MAX, f64::MIN_POSITIVE / 2.0, f64::NEG_INFINITY];
    let odd = odd.map(f64::from_bits).into_iter().chain(values);
    let samples: Vec<(i64, f64)> = odd.enumerate().map(|(i, v)| (t + i as i64, v)).collect();
    let body = Message::new().message(1, series_one(&[(b"__name__", b"values")], &samples));
    let answer = post(ours.listen(), ONE, &snappy(&body.into_bytes()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    let stored = super::raw(ours.listen(), "values", t + 10, "values");
    let stored: Vec<&str> = stored.iter().map(|v| v[1].as_str().unwrap()).collect();
    assert_eq!(stored[..3], ["NaN"; 3]);
    assert_eq!(stored[3].parse(), Ok(f64::MAX));
    assert_eq!(stored[4].parse(), Ok(f64::MIN_POSITIVE / 2.0));
    assert_eq!(stored[5], "-Inf");
}
