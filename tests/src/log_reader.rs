//! All entries of a selector, page after page.

use crate::http;
use crate::stackwatch::Stackwatch;

/// Lines of one answer; Loki's API gives no more.
const PAGE: usize = 5000;

/// A stored line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub at_ns: i64,
    /// Its text.
    pub line: String,
    /// Labels and metadata.
    pub labels: serde_json::Value,
}

/// Everything that matches, oldest first.
///
/// # Panics
/// When a query fails, or a page is full of one instant.
#[must_use]
pub fn entries(stackwatch: &Stackwatch, selector: &str) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut start = 1;
    loop {
        let page = page(stackwatch, selector, start);
        let is_last = page.len() < PAGE;
        let next = page.last().map_or(start, |entry| entry.at_ns);
        assert!(is_last || next > start, "a page of one instant");
        // This page begins with the instant that the last one ended with.
        while all.last().is_some_and(|entry| entry.at_ns >= start) {
            all.pop();
        }
        all.extend(page);
        start = next;
        if is_last {
            return all;
        }
    }
}

fn page(stackwatch: &Stackwatch, selector: &str, start: i64) -> Vec<Entry> {
    let path = format!(
        "/loki/api/v1/query_range?query={}&direction=forward&limit={PAGE}&start={start}&end={}",
        http::encode(selector),
        i64::MAX
    );
    let answer = stackwatch.get(&path);
    assert_eq!(answer.status, 200, "{selector}: {}", answer.body);
    let mut entries = Vec::new();
    for stream in answer.json()["data"]["result"]
        .as_array()
        .into_iter()
        .flatten()
    {
        for value in stream["values"].as_array().into_iter().flatten() {
            entries.push(Entry {
                at_ns: value[0].as_str().unwrap().parse().unwrap(),
                line: value[1].as_str().unwrap().to_owned(),
                labels: stream["stream"].clone(),
            });
        }
    }
    // A marker stands before the line whose time it has.
    entries.sort_by_key(|entry| (entry.at_ns, !entry.labels["gap"].is_string()));
    entries
}
