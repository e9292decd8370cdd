//! Hostile queries end with an error that helps; threads change nothing but time.

use super::*;
use crate::eval::Evaluation;
use model::Labels;

/// `m{i, g}`: 500 series of 40 points a minute apart, every seventh with gaps.
fn many() -> MemoryReader {
    let mut reader = MemoryReader::default();
    for i in 0..500_u32 {
        let labels = Labels::from_pairs([
            ("__name__", "m_total".to_owned()),
            ("g", (i % 7).to_string()),
            ("i", i.to_string()),
        ]);
        let mut v = f64::from(i) * 0.1;
        for t in 0..40_i64 {
            v += f64::from(i % 13) / 3.0 + t as f64 * 0.7;
            if i % 7 == 0 && t % 5 == 0 {
                v = 0.1;
                continue;
            }
            reader.push(&labels, t * 60_000, v);
        }
    }
    reader
}

fn range(
    text: &str,
    reader: &MemoryReader,
    workers: usize,
    limits: &Limits,
) -> Result<Evaluation, EvalError> {
    let engine = Engine::new(EngineOptions {
        workers,
        ..EngineOptions::default()
    });
    let millis = Timestamp::from_millis;
    let step = Duration::from_secs(15);
    let expr = crate::parse(text).unwrap();
    engine.range(
        &expr,
        reader,
        millis(300_000),
        millis(2_400_000),
        step,
        limits,
    )
}

/// All bits of a matrix.
fn bits(result: &Evaluation) -> Vec<(String, Vec<(i64, u64)>)> {
    let Value::Matrix(series) = &result.value else {
        panic!("no matrix");
    };
    let one = |s: &crate::SeriesPoints| {
        let points = s.points.floats.iter().map(|p| (p.t, p.v.to_bits()));
        (s.labels.to_string(), points.collect())
    };
    series.iter().map(one).collect()
}

#[test]
fn any_number_of_threads_gives_the_same_bits_and_notes() {
    let reader = many();
    for text in [
        "sum by (g) (rate(m_total[5m]))",
        "stddev(m_total)",
        "avg by (g) (deriv(m_total[10m]) * 3)",
        "topk(3, increase(m_total[5m]))",
        "quantile by (g) (0.9, m_total)",
        "m_total + on (i) group_left m_total",
        "count_values(\"v\", m_total)",
        "-m_total",
        "sum(rate(label_replace(m_total, \"x\", \"$1\", \"i\", \"(.).*\")[5m:1m]))",
        "quantile_over_time(1.5, m_total[3m])",
        "sum(rate(m_total[5m])) / sum(rate(m_total[5m]))",
    ] {
        let alone = range(text, &reader, 1, &Limits::default()).unwrap();
        for workers in [2, 3, 8] {
            let together = range(text, &reader, workers, &Limits::default()).unwrap();
            assert_eq!(bits(&alone), bits(&together), "{text}");
            assert_eq!(alone.warnings, together.warnings);
            assert_eq!(alone.infos, together.infos);
        }
    }
}

#[test]
fn an_aggregation_fits_where_its_series_do_not() {
    let reader = many();
    let limits = |bytes_max| Limits {
        bytes_max,
        ..Limits::default()
    };
    // 500 series of 141 steps: 1.1 MB of points, and 150 KB to select them.
    let sum = range("sum(rate(m_total[5m]))", &reader, 1, &limits(1 << 20));
    assert!(sum.is_ok(), "{sum:?}");
    let all = range("rate(m_total[5m])", &reader, 1, &limits(1 << 20)).unwrap_err();
    assert_eq!(
        all.to_string(),
        "the query needs more than 1024 KB of memory (query.bytes_max): select fewer series, a shorter time or a longer step"
    );
    assert!(matches!(all, EvalError::TooManyBytes { .. }));
}

#[test]
fn what_is_written_again_is_held_again() {
    let reader = many();
    let limits = Limits {
        bytes_max: 2 << 20,
        ..Limits::default()
    };
    // 500 groups of 141 steps, 1.1 MB: they are kept, and once more at each place they stand.
    let sum = "sum by (i) (m_total)";
    let once = range(sum, &reader, 1, &limits);
    assert!(once.is_ok(), "{once:?}");
    let often = vec![sum; 30].join(" + ");
    let often = range(&often, &reader, 1, &limits);
    assert!(
        matches!(often, Err(EvalError::TooManyBytes { .. })),
        "{often:?}"
    );
}

#[test]
fn the_points_of_a_range_vector_count() {
    let reader = many();
    let read = |bytes_max| {
        let limits = Limits {
            bytes_max,
            ..Limits::default()
        };
        let expr = crate::parse("m_total[40m]").unwrap();
        let at = Timestamp::from_millis(2_400_000);
        Engine::default().instant(&expr, &reader, at, &limits)
    };
    // 500 series of 40 points of 16 bytes take 320 KB, beside their labels.
    assert!(read(1 << 20).is_ok());
    assert!(matches!(read(320_000), Err(EvalError::TooManyBytes { .. })));
}

#[test]
fn the_best_few_are_those_of_the_best_many() {
    let reader = many();
    let top = |k: usize, workers: usize| -> Vec<(String, u64)> {
        let engine = Engine::new(EngineOptions {
            workers,
            ..EngineOptions::default()
        });
        // Ascending: each series is among the best for a while.
        let text = format!("topk by (g) ({k}, sum by (g, i) (m_total))");
        let expr = crate::parse(&text).unwrap();
        let at = Timestamp::from_millis(2_340_000);
        let done = engine.instant(&expr, &reader, at, &Limits::default());
        let Value::Vector(found) = done.unwrap().value else {
            panic!("no vector");
        };
        let one = |s: &crate::VectorSample| {
            let value = s.value.float().unwrap().to_bits();
            (s.labels.to_string(), value)
        };
        found.iter().map(one).collect()
    };
    // Beyond 16 all series are ranked at once.
    let many = top(40, 1);
    assert_eq!(many.len(), 7 * 40);
    let best: Vec<(String, u64)> = many.chunks(40).flat_map(|g| g[..9].to_vec()).collect();
    for workers in [1, 3] {
        assert_eq!(top(9, workers), best);
    }
}

#[test]
fn what_would_explode_is_refused_before_it_does() {
    let reader = many();
    let limits = Limits {
        bytes_max: 8 << 20,
        ..Limits::default()
    };
    let mut doubled = "m_total".to_owned();
    for _ in 0..40 {
        doubled = format!(r#"label_replace({doubled}, "i", "$1$1$1$1", "i", "(.*)")"#);
    }
    let joined = format!(
        r#"label_join(label_replace(m_total, "a", "{}", "i", ".*"), "b", "" {})"#,
        "x".repeat(10_000),
        r#", "a""#.repeat(5_000)
    );
    for text in [
        doubled.as_str(),
        &joined,
        "sum_over_time(vector(1)[10y:1ms])",
        "sum_over_time(sum_over_time(vector(1)[1y:1s])[1y:1s])",
        "count_over_time(count_values(\"v\", m_total)[1d:1s])",
    ] {
        let expr = crate::parse(text).unwrap();
        let at = Timestamp::from_millis(2_000_000);
        let error = Engine::default()
            .instant(&expr, &reader, at, &limits)
            .unwrap_err();
        assert!(
            matches!(
                error,
                EvalError::TooManyBytes { .. } | EvalError::TooManySamples
            ),
            "{error}"
        );
    }
}

#[test]
fn odd_times_and_parameters_are_answered() {
    let reader = many();
    let engine = Engine::default();
    let millis = Timestamp::from_millis;
    let run = |text: &str, start: i64, end: i64, step_ms: u64| {
        let expr = crate::parse(text).unwrap();
        let step = Duration::from_millis(step_ms);
        engine.range(
            &expr,
            &reader,
            millis(start),
            millis(end),
            step,
            &Limits::default(),
        )
    };
    // Start after end: nothing.
    let Value::Matrix(none) = run("sum(m_total)", 1000, 0, 1000).unwrap().value else {
        panic!("no matrix");
    };
    assert!(none.is_empty());
    assert!(run("m_total", 0, 1000, 0).is_err());
    // As many steps as the whole of time has milliseconds.
    assert!(run("m_total", i64::MIN, i64::MAX, 1).is_err());
    assert!(run("1", i64::MIN, i64::MAX, u64::MAX).is_ok());
    for text in [
        "quantile(NaN, m_total)",
        "quantile_over_time(NaN, m_total[5m])",
        "histogram_quantile(NaN, m_total)",
        "clamp(m_total, NaN, 0)",
        "sum_over_time(m_total[100y])",
        "m_total offset 290y",
        "rate(m_total[5m] @ 9223372036)",
        "limit_ratio(-0.5, m_total)",
    ] {
        let result = run(text, 0, 600_000, 60_000);
        assert!(result.is_ok(), "{text}: {result:?}");
    }
    assert!(run("topk(NaN, m_total)", 0, 600_000, 60_000).is_err());
    let groups = "(.)?".repeat(1_000);
    let text = format!(r#"label_replace(m_total, "a", "${{999}}", "i", "{groups}")"#);
    assert!(run(&text, 0, 60_000, 60_000).is_ok());
}

/// Repeated expressions are read once: a reader that counts.
#[test]
fn what_is_written_twice_is_read_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Counting(MemoryReader, AtomicUsize);
    impl model::SeriesReader for Counting {
        fn select(
            &self,
            selection: &model::Selection<'_>,
        ) -> Result<model::Selected, model::ReadError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.select(selection)
        }
        fn series(
            &self,
            _: &[Vec<model::Matcher>],
            _: model::TimeRange,
        ) -> Result<Vec<Labels>, model::ReadError> {
            Ok(Vec::new())
        }
    }
    let reader = Counting(many(), AtomicUsize::new(0));
    let read = |text: &str| {
        reader.1.store(0, Ordering::Relaxed);
        let expr = crate::parse(text).unwrap();
        let at = Timestamp::from_millis(2_000_000);
        let value = Engine::default().instant(&expr, &reader, at, &Limits::default());
        (
            shown(&value.unwrap().value),
            reader.1.load(Ordering::Relaxed),
        )
    };
    assert_eq!(read("sum(m_total) / sum(m_total)"), ("{} 1".to_owned(), 1));
    assert_eq!(read("count(m_total / (m_total + m_total))").1, 1);
    // Not the same: another time.
    assert_eq!(read("count(m_total) - count(m_total offset 1m)").1, 2);
}

#[test]
fn samples_queried_are_those_selectors_give_to_steps() {
    let reader = many();
    let count = |text: &str, workers: usize| {
        let engine = Engine::new(EngineOptions {
            workers,
            samples_per_step: true,
            ..EngineOptions::default()
        });
        let millis = Timestamp::from_millis;
        let expr = crate::parse(text).unwrap();
        let (start, end) = (millis(600_000), millis(720_000));
        let step = Duration::from_secs(60);
        let done = engine.range(&expr, &reader, start, end, step, &Limits::default());
        let done = done.unwrap();
        let per_step: Vec<u64> = done.samples_per_step.iter().map(|s| s.1).collect();
        assert_eq!(per_step.iter().sum::<u64>(), done.samples_queried, "{text}");
        per_step
    };
    // m_total{i="1"} has a point each minute.
    for (text, expect) in [
        (r#"m_total{i="1"}"#, [1, 1, 1]),
        (r#"rate(m_total{i="1"}[5m])"#, [5, 5, 5]),
        (r#"rate(m_total{i="1"}[5m]) + m_total{i="1"}"#, [6, 6, 6]),
        // Written twice, counted twice, though read once.
        (r#"sum(m_total{i="1"}) / sum(m_total{i="1"})"#, [2, 2, 2]),
        // The same at every step.
        (r#"rate(m_total{i="1"}[5m] @ 900)"#, [5, 5, 5]),
        (r#"absent_over_time(m_total{i="1"}[3m])"#, [3, 3, 3]),
        // Windows over the result of a subquery, of two points each.
        (r#"sum_over_time(m_total{i="1"}[2m:1m])"#, [2, 2, 2]),
        // The first window begins before the first sample.
        (
            r#"count_over_time(m_total{i="1"}[5m] offset 7m)"#,
            [4, 5, 5],
        ),
        ("1 + 2", [0, 0, 0]),
        ("sum(m_total)", [500, 500, 500]),
    ] {
        for workers in [1, 3] {
            assert_eq!(count(text, workers), expect, "{text}");
        }
    }
}
