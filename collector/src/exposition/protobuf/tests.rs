use protobuf::{write, zigzag};

use super::*;

type Message = Vec<u8>;

const ALL: Parts = Parts {
    native: true,
    classic_too: true,
};
const NATIVE: Parts = Parts {
    native: true,
    classic_too: false,
};
const CLASSIC: Parts = Parts {
    native: false,
    classic_too: false,
};

/// One family with one metric whose value is `field`.
fn family(kind: u64, field: u32, value: &[u8]) -> Message {
    let mut message = Vec::new();
    write::bytes(&mut message, 1, b"m");
    write::varint(&mut message, 3, kind);
    write::message(&mut message, 4, |out| write::bytes(out, field, value));
    delimited(&message)
}

fn delimited(message: &[u8]) -> Message {
    let mut out = Vec::new();
    write::raw_varint(&mut out, message.len() as u64);
    out.extend_from_slice(message);
    out
}

fn read(body: &[u8], parts: Parts) -> Result<Vec<String>, Unreadable> {
    let mut out = Vec::new();
    for family in Families::of(body) {
        let family = family?;
        for metric in family.metrics() {
            let metric = metric?;
            let mut labels = String::new();
            for label in metric.labels() {
                let (name, value) = label?;
                labels += &format!("{name}={value},");
            }
            let at = metric
                .timestamp_ms
                .map_or(String::new(), |t| format!(" @{t}"));
            family.points(&metric, parts, |point| {
                let text = match point {
                    Point::Float {
                        suffix,
                        bound,
                        value,
                    } => {
                        let bound = bound.map_or(String::new(), |(l, b)| format!("{l}={b}"));
                        format!("{suffix}{{{labels}{bound}}} {value}")
                    }
                    Point::Histogram(h) => format!(
                        "{{{labels}}} count {} sum {} zero {} in {:?} {:?}",
                        h.count, h.sum, h.zero_count, h.positive_buckets, h.negative_buckets
                    ),
                };
                out.push(format!("{}{text}{at}", family.name));
                Ok::<_, Unreadable>(())
            })?;
        }
    }
    Ok(out)
}

#[track_caller]
fn check(body: &[u8], parts: Parts, expect: &[&str]) {
    assert_eq!(read(body, parts).unwrap(), expect);
}

#[test]
fn a_family_is_read_byte_by_byte() {
    let body = [
        &[38, 0x0a, 3][..],
        b"a_s",
        &[0x12, 2],
        b"\\n",
        // Gauge, with a unit.
        &[0x18, 1, 0x2a, 1, b's'],
        // A metric: l="v", 2.5, at 300 ms.
        &[0x22, 22, 0x0a, 6, 0x0a, 1, b'l', 0x12, 1, b'v'],
        &[0x12, 9, 0x09, 0, 0, 0, 0, 0, 0, 0x04, 0x40],
        &[0x30, 0xac, 0x02],
    ]
    .concat();
    let family = Families::of(&body).next().unwrap().unwrap();
    assert_eq!(
        (family.name, family.help, family.kind, family.unit),
        ("a_s", "\\n", Kind::Gauge, "s")
    );
    check(&body, ALL, &["a_s{l=v,} 2.5 @300"]);
}

#[test]
fn simple_metrics_are_one_series() {
    let mut seven = Vec::new();
    write::double(&mut seven, 1, 7.0);
    // An exemplar and when the counter began.
    write::bytes(&mut seven, 2, b"");
    write::bytes(&mut seven, 3, b"");
    for (kind, field) in [(0, 3), (1, 2), (3, 5)] {
        check(&family(kind, field, &seven), ALL, &["m{} 7"]);
    }
    // What is not there is zero.
    check(&family(0, 2, &seven), ALL, &["m{} 0"]);
}

#[test]
fn a_marker_of_staleness_is_an_ordinary_nan() {
    let mut value = Vec::new();
    write::double(&mut value, 1, model::STALE_NAN);
    let body = family(1, 2, &value);
    let family = Families::of(&body).next().unwrap().unwrap();
    let metric = family.metrics().next().unwrap().unwrap();
    let seen = family.points(&metric, ALL, |point| match point {
        Point::Float { value, .. } if value.is_nan() && !model::is_stale(value) => Ok(()),
        _ => Err(Unreadable::Type(0)),
    });
    assert_eq!(seen, Ok(()));
}

#[test]
fn summaries_have_count_sum_and_quantiles() {
    let mut value = Vec::new();
    for (rank, estimate) in [(0.5, 1.0), (0.99, f64::NAN)] {
        write::message(&mut value, 3, |out| {
            write::double(out, 1, rank);
            write::double(out, 2, estimate);
        });
    }
    write::varint(&mut value, 1, 3);
    write::double(&mut value, 2, 4.5);
    check(
        &family(2, 4, &value),
        ALL,
        &[
            "m_count{} 3",
            "m_sum{} 4.5",
            "m{quantile=0.5} 1",
            "m{quantile=0.99} NaN",
        ],
    );
}

fn bucket(out: &mut Message, bound: f64, count: u64) {
    write::message(out, 3, |out| {
        write::varint(out, 1, count);
        write::double(out, 2, bound);
    });
}

fn classic(buckets: &[(f64, u64)], count: u64) -> Message {
    let mut value = Vec::new();
    write::varint(&mut value, 1, count);
    write::double(&mut value, 2, 9.5);
    for (bound, count) in buckets {
        bucket(&mut value, *bound, *count);
    }
    value
}

#[test]
fn classic_histograms_have_their_last_bucket_even_if_it_is_not_written() {
    let expect = [
        "m_count{} 5",
        "m_sum{} 9.5",
        "m_bucket{le=0.1} 2",
        "m_bucket{le=inf} 5",
    ];
    for buckets in [&[(0.1, 2)][..], &[(0.1, 2), (f64::INFINITY, 5), (7.0, 1)]] {
        for kind in [4, 5] {
            check(&family(kind, 7, &classic(buckets, 5)), ALL, &expect);
        }
    }
    // With counts that have fractions.
    let mut value = Vec::new();
    write::double(&mut value, 4, 2.5);
    write::message(&mut value, 3, |out| {
        write::double(out, 2, 1.0);
        write::double(out, 4, 1.5);
    });
    check(
        &family(4, 7, &value),
        ALL,
        &[
            "m_count{} 2.5",
            "m_sum{} 0",
            "m_bucket{le=1} 1.5",
            "m_bucket{le=inf} 2.5",
        ],
    );
}

/// Buckets of 1, 2, 1 and 2, two in the zero bucket, and classic buckets.
fn both() -> Message {
    let mut value = classic(&[(1.0, 4)], 8);
    write::varint(&mut value, 5, zigzag(3));
    write::double(&mut value, 6, 0.001);
    write::varint(&mut value, 7, 2);
    write::message(&mut value, 12, |out| {
        write::varint(out, 1, zigzag(-3));
        write::varint(out, 2, 4);
    });
    for delta in [1, 1, -1, 1] {
        write::varint(&mut value, 13, zigzag(delta));
    }
    value
}

#[test]
fn native_histograms_stand_for_themselves_unless_classic_buckets_are_wanted() {
    let body = family(4, 7, &both());
    let native = "m{} count 8 sum 9.5 zero 2 in [1.0, 2.0, 1.0, 2.0] []";
    let classic = [
        "m_count{} 8",
        "m_sum{} 9.5",
        "m_bucket{le=1} 4",
        "m_bucket{le=inf} 8",
    ];
    check(&body, NATIVE, &[native]);
    check(&body, CLASSIC, &classic);
    check(&body, ALL, &[&[native][..], &classic].concat());
}

#[test]
fn a_span_of_nothing_makes_a_histogram_native() {
    let mut value = Vec::new();
    write::message(&mut value, 12, |out| write::varint(out, 2, 0));
    check(
        &family(4, 7, &value),
        ALL,
        &["m{} count 0 sum 0 zero 0 in [] []"],
    );
    check(
        &family(4, 7, &[]),
        ALL,
        &["m_count{} 0", "m_sum{} 0", "m_bucket{le=inf} 0"],
    );
}

#[test]
fn histograms_may_have_fractions_and_go_down() {
    let mut value = Vec::new();
    write::double(&mut value, 4, 2.0);
    write::double(&mut value, 8, 0.5);
    write::message(&mut value, 9, |out| write::varint(out, 2, 1));
    write::doubles(&mut value, 11, &[1.5]);
    let body = family(5, 7, &value);
    check(&body, ALL, &["m{} count 2 sum 0 zero 0.5 in [] [1.5]"]);
    let family = Families::of(&body).next().unwrap().unwrap();
    let metric = family.metrics().next().unwrap().unwrap();
    let seen = family.points(&metric, ALL, |point| match point {
        Point::Histogram(h) if h.counter_reset_hint == CounterResetHint::Gauge => Ok(()),
        _ => Err(Unreadable::Type(0)),
    });
    assert_eq!(seen, Ok(()));
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |body: &[u8]| read(body, ALL).unwrap_err().to_string();
    let good = family(4, 7, &both());
    assert_eq!(
        refused(&good[..good.len() - 1]),
        "proto: unexpected end of message"
    );
    assert_eq!(
        refused(&delimited(&[0x0a, 1, 0xff])),
        "proto: string field contains invalid UTF-8"
    );
    assert_eq!(refused(&family(6, 7, &[])), "unknown metric type 6");
    assert_eq!(refused(&family(0, 3, &[0x08, 1])), "proto: wrong wire type");
    let mut uneven = both();
    write::varint(&mut uneven, 1, 9);
    assert_eq!(
        refused(&family(4, 7, &uneven)),
        "histogram's observation count should equal the number of observations found in the buckets"
    );
    let mut many = Vec::new();
    for _ in 0..=NUMBERS_MAX {
        write::bytes(&mut many, 12, b"");
    }
    assert_eq!(
        refused(&family(4, 7, &many)),
        "proto: too many elements in a repeated field"
    );
}
