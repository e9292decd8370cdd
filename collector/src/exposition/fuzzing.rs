//! Expositions and pushes, whatever is in them.

use model::Timestamp;

use super::protobuf::{Families, Parts, Point, Unreadable};
use super::{Format, Item, Kind, Parser, lint, series, strict};
use crate::Pushes;

/// The first byte says which format. What the stricter readers take the scraper takes too, and a push
/// that is refused leaves nothing behind.
pub fn exposition(input: &[u8]) {
    let Some((which, body)) = input.split_first() else {
        return;
    };
    let format = match which % 3 {
        0 => Format::Prometheus,
        1 => Format::OpenMetrics,
        _ => {
            let classic = protobuf(body, Parts::default());
            let native = Parts {
                native: true,
                classic_too: true,
            };
            if protobuf(body, native).is_ok() {
                assert_eq!(classic, Ok(()), "a part of what can be read");
            }
            return;
        }
    };
    let read = read(body, format);
    if strict::check(body, format).is_ok() {
        assert_eq!(read, Ok(()), "strictly right");
    }
    if format == Format::Prometheus {
        let _ = lint::lint(body);
        let pushes = Pushes::default();
        let now = Timestamp::from_millis(1_700_000_000_000);
        if pushes.push("job/a", body, true, now).is_ok() {
            assert_eq!(read, Ok(()), "pushed");
            // The same again replaces it.
            assert_eq!(pushes.push("job/a", body, true, now), Ok(()));
        }
    }
}

fn read(body: &[u8], format: Format) -> Result<(), String> {
    for item in Parser::new(body, format).map_err(|e| e.to_string())? {
        if let Item::Sample(sample) = item.map_err(|e| e.to_string())? {
            let mut labels = series::parse(sample.series)?;
            series::normalise(Kind::Histogram, &mut labels);
            let labels = labels.build();
            for (name, value) in &labels {
                assert!(!name.is_empty() && !value.is_empty());
            }
        }
    }
    Ok(())
}

fn protobuf(body: &[u8], parts: Parts) -> Result<(), Unreadable> {
    for family in Families::of(body) {
        let family = family?;
        for metric in family.metrics() {
            let metric = metric?;
            for label in metric.labels() {
                label?;
            }
            family.points(&metric, parts, |point| {
                match point {
                    Point::Float { value, .. } => assert!(!model::is_stale(value)),
                    Point::Histogram(h) => means_something(&h),
                }
                Ok::<_, Unreadable>(())
            })?;
        }
    }
    Ok(())
}

fn means_something(h: &model::Histogram) {
    assert!(matches!(h.schema, -53 | -4..=8) && !model::is_stale(h.sum));
    for (spans, buckets) in [
        (&h.positive_spans, &h.positive_buckets),
        (&h.negative_spans, &h.negative_buckets),
    ] {
        let named: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
        assert_eq!(named, buckets.len() as u64);
    }
    if h.schema != -53 {
        let coarse = model::histogram::coarsened(h.clone(), model::histogram::SCHEMA_MIN);
        let occupied = |h: &model::Histogram| {
            let counts = h.positive_buckets.iter().chain(&h.negative_buckets);
            counts.filter(|c| **c != 0.0).count()
        };
        assert!(occupied(&coarse) <= occupied(h));
    }
}
