//! Histograms as text, as `count_values` labels show them.

use model::Histogram;
use model::number::format_sprint;

use super::buckets::listed;

/// `{count:20, sum:10, [-2,-1):2, (0.5,1]:1}`; empty buckets are left out.
pub(crate) fn describe(h: &Histogram) -> String {
    let mut out = format!(
        "{{count:{}, sum:{}",
        format_sprint(h.count),
        format_sprint(h.sum)
    );
    for b in listed(h).iter().filter(|b| b.count != 0.0) {
        out.push_str(&format!(
            ", {}{},{}{}:{}",
            if b.lower_inclusive { '[' } else { '(' },
            format_sprint(b.lower),
            format_sprint(b.upper),
            if b.upper_inclusive { ']' } else { ')' },
            format_sprint(b.count)
        ));
    }
    out.push('}');
    out
}
