//! Samples for property tests: regular and wild, with every kind of NaN.

use model::{FPoint, STALE_NAN};
use proptest::prelude::*;

/// What a comparison of samples must compare: NaN differs from itself.
pub(crate) fn bits_of(points: &[FPoint]) -> Vec<(i64, u64)> {
    points.iter().map(|p| (p.t, p.v.to_bits())).collect()
}

/// Floats as exporters give them, and every kind of odd one.
pub(crate) fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<i32>().prop_map(f64::from),
        4 => (any::<i32>(), 0_i32..4).prop_map(|(n, d)| f64::from(n) / 10_f64.powi(d)),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => (any::<bool>(), 1..1_u64 << 52).prop_map(|(negative, payload)| {
            f64::from_bits(u64::from(negative) << 63 | 0x7ff << 52 | payload)
        }),
        1 => (any::<bool>(), 0..1_u64 << 52).prop_map(|(negative, subnormal)| {
            f64::from_bits(u64::from(negative) << 63 | subnormal)
        }),
        1 => prop::sample::select(vec![
            STALE_NAN, f64::NAN, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324,
            9_007_199_254_740_993.0, i64::MIN as f64, u64::MAX as f64,
        ]),
    ]
}

/// One to `max` samples; not necessarily in time order, as a codec need not care.
pub(crate) fn sample_runs(max: usize) -> impl Strategy<Value = Vec<FPoint>> {
    let wild = prop::collection::vec((any::<i64>(), values()), 1..=max);
    let steady = (0..i64::MAX / 2, 1..100_000_i64).prop_flat_map(move |(start, step)| {
        prop::collection::vec((-20..20_i64, values()), 1..=max).prop_map(move |run| {
            let mut t = start;
            run.into_iter()
                .map(|(jitter, v)| {
                    t += step;
                    (t + jitter, v)
                })
                .collect()
        })
    });
    prop_oneof![wild, steady]
        .prop_map(|run| run.into_iter().map(|(t, v)| FPoint { t, v }).collect())
}
