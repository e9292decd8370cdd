//! Native histograms as sample values. The shape is Prometheus' `FloatHistogram`
//! (model/histogram/float_histogram.go); arithmetic on them belongs to `query`.

mod valid;

pub use valid::{
    Invalid, SCHEMA_MAX, SCHEMA_MIN, WholeCounts, coarsened, coarser, runs, validated,
    with_whole_counts,
};

/// Schema number of histograms whose bucket bounds are listed in `custom_values`.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What is known about a counter reset between this sample and the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Must be found by comparing.
    #[default]
    Unknown,
    /// A reset happened.
    Reset,
    /// No reset happened.
    NotReset,
    /// A gauge histogram: resets do not apply.
    Gauge,
}

/// A run of `length` consecutive buckets, `offset` after the end of the run before
/// (for the first: the index of its first bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the run before, or the first index.
    pub offset: i32,
    /// Buckets in this run.
    pub length: u32,
}

/// A native histogram with absolute float counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// See [`CounterResetHint`].
    pub counter_reset_hint: CounterResetHint,
    /// -4..=8 for exponential buckets, [`CUSTOM_BUCKETS_SCHEMA`] for listed bounds.
    pub schema: i32,
    /// Width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Runs of positive buckets.
    pub positive_spans: Vec<Span>,
    /// Runs of negative buckets.
    pub negative_spans: Vec<Span>,
    /// Counts of the positive buckets, absolute.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets, absolute.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], ascending, +Inf implied.
    pub custom_values: Vec<f64>,
}

/// What the bounds of schema 8 are multiplied by for each bit of the index below the power of two,
/// the highest bit first: 2^(1/2), 2^(1/4), … 2^(1/256), as near as Prometheus' table has them.
#[expect(
    clippy::approx_constant,
    reason = "as in the table, not to the last bit"
)]
const ROOTS_OF_TWO: [f64; FINEST_SCHEMA as usize] = [
    1.414_213_562_373_095,
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The finest resolution of exponential buckets: 256 for each power of two.
const FINEST_SCHEMA: u32 = 8;

/// Upper bound of the positive exponential bucket `index`: 2^(index / 2^`schema`), bit for bit the
/// one of Prometheus, whose table (model/histogram/generic.go, `exponentialBounds`) is not rounded
/// to the nearest. The products here equal all 510 values of it, as found in Prometheus 2.42.
/// The bucket of the largest float ends at the largest float; above 8 a schema has no table and the
/// bound is the nearest one.
#[must_use]
pub fn exponential_bound(index: i32, schema: i32) -> f64 {
    let Ok(fine) = u32::try_from(schema) else {
        // Further than 11 places any index but 0 leaves the range of floats.
        let exponent = i64::from(index) << schema.unsigned_abs().min(16);
        return finite_at_the_top(1.0, exponent);
    };
    if fine > FINEST_SCHEMA {
        return (f64::from(index) * (-f64::from(schema)).exp2()).exp2();
    }
    let within = index & ((1 << fine) - 1);
    let fraction = ROOTS_OF_TWO
        .iter()
        .zip((0..fine).rev())
        .filter(|(_, bit)| within >> bit & 1 == 1)
        .fold(1.0, |product, (root, _)| product * root);
    finite_at_the_top(fraction, i64::from(index >> fine))
}

/// `fraction` · 2^`exponent`, and instead of the first bound that is no float the largest one.
fn finite_at_the_top(fraction: f64, exponent: i64) -> f64 {
    if fraction == 1.0 && exponent == 1024 {
        return f64::MAX;
    }
    let power = |exponent: i64| {
        let biased = u64::try_from(exponent + 1023).unwrap_or(0);
        f64::from_bits(biased << 52)
    };
    // In two factors, of which the first is exact: what has few bits left is rounded once.
    let first = exponent.clamp(-900, 1023);
    let rest = (exponent - first).clamp(-1000, 1023);
    fraction * power(first) * power(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_prometheus_to_the_last_bit() {
        // The upper half-open interval [0.5, 1) is the power of two at -1.
        for (schema, index, bound) in [
            (0, 0, 0.5),
            (1, 1, 0.7071067811865475),
            (2, 3, 0.8408964152537144),
            (3, 1, 0.5452538663326288),
            (3, 7, 0.9170040432046711),
            (4, 15, 0.9576032806985735),
            (5, 19, 0.7545822137967112),
            (6, 11, 0.5632608093041209),
            (6, 53, 0.8876882462632604),
            (7, 91, 0.8184337248834821),
            (7, 127, 0.9945994234836328),
            (8, 1, 0.5013556375251013),
            (8, 53, 0.5771552102951081),
            (8, 101, 0.6572577939746774),
            (8, 218, 0.9022270839033115),
            (8, 222, 0.9120516927035263),
            (8, 250, 0.9838856116165875),
            (8, 255, 0.9972960560854698),
        ] {
            let below_one = index - (1 << schema);
            assert_eq!(
                exponential_bound(below_one, schema),
                bound,
                "{index} of {schema}"
            );
            assert_eq!(exponential_bound(index, schema), 2.0 * bound);
        }
    }

    #[test]
    fn the_ends_of_the_range_have_bounds() {
        for (schema, top) in [(-4, 64), (-1, 512), (0, 1024), (3, 8192), (8, 262_144)] {
            assert_eq!(exponential_bound(top, schema), f64::MAX);
            assert_eq!(exponential_bound(top + 1, schema), f64::INFINITY);
            assert!(exponential_bound(top - 1, schema) < f64::MAX);
        }
        assert_eq!(exponential_bound(-1074, 0), f64::from_bits(1));
        assert_eq!(exponential_bound(-1075, 0), 0.0);
        assert_eq!(exponential_bound(-2147, 1), f64::from_bits(1));
        for schema in [i32::MIN, -53, -9, -4, 0, 8, 9, 52, i32::MAX] {
            for index in [i32::MIN, -1, 0, 1, i32::MAX] {
                assert!(exponential_bound(index, schema) >= 0.0);
            }
        }
    }
}
