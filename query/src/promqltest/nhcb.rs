//! `load_with_nhcb`: classic histograms of a load, converted to native ones with custom buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Span};
use model::labels::METRIC_NAME;
use model::{Histogram, Labels, is_stale};

use super::series::Item;

#[derive(Default)]
struct Parts {
    /// Upper bound (as ordered bits) and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

/// The native histograms made of the classic ones among `series`.
pub(super) fn convert(series: &[(Labels, Vec<Item>)]) -> Vec<(Labels, Vec<Item>)> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Parts>> = BTreeMap::new();
    for (labels, items) in series {
        let name = labels.metric_name();
        let Some((base, kind)) = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|s| name.strip_suffix(s).map(|b| (b, *s)))
        else {
            continue;
        };
        let bound = labels.get("le").map(super::series::signed_number);
        let bound = match (kind, bound) {
            ("_bucket", Some(Some(bound))) => bound,
            ("_bucket", _) => continue,
            _ => f64::NAN,
        };
        let mut b = labels.to_builder();
        b.set(METRIC_NAME, base).remove("le");
        let parts = found.entry(b.build()).or_default();
        for (i, item) in items.iter().enumerate() {
            let Item::Float(v) = item else { continue };
            let part = parts.entry(i).or_default();
            match kind {
                "_bucket" => part.buckets.push((bound, *v)),
                "_count" => part.count = Some(*v),
                _ => part.sum = Some(*v),
            }
        }
    }
    found
        .into_iter()
        .map(|(labels, steps)| {
            let len = steps.keys().last().map_or(0, |i| i + 1);
            let mut items = vec![Item::Gap; len];
            for (i, parts) in steps {
                if let Some(h) = native(parts) {
                    items[i] = Item::Histogram(Arc::new(h), false);
                }
            }
            (labels, items)
        })
        .collect()
}

fn native(mut parts: Parts) -> Option<Histogram> {
    if parts.buckets.iter().any(|(_, v)| is_stale(*v)) {
        return None;
    }
    parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let highest = parts.buckets.last().map(|(_, n)| *n);
    let count = parts.count.or(highest).unwrap_or(0.0);
    if parts.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        parts.buckets.push((f64::INFINITY, count));
    }
    let custom_values: Vec<f64> = parts.buckets[..parts.buckets.len() - 1]
        .iter()
        .map(|b| b.0)
        .collect();
    let mut below = 0.0;
    let mut counts = Vec::new();
    for (_, cumulative) in &parts.buckets {
        // Classic counts that fall make no native histogram.
        if *cumulative < below {
            return None;
        }
        counts.push(cumulative - below);
        below = *cumulative;
    }
    let mut h = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count,
        sum: parts.sum.unwrap_or(0.0),
        positive_spans: vec![Span {
            offset: 0,
            length: u32::try_from(counts.len()).ok()?,
        }],
        positive_buckets: counts,
        custom_values,
        ..Histogram::default()
    };
    crate::histogram::compact(&mut h);
    Some(h)
}
