//! A store for tests, and what is in it.

use std::collections::BTreeMap;
use std::path::Path;

use model::{Hints, MatchOp, Matcher, Samples, Selection, SeriesReader, TimeRange, Timestamp};
use prometheus_client::registry::Registry;

use crate::{Config, Storage};

/// When the store was opened, in milliseconds.
pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) fn open(dir: &Path) -> Storage {
    let config = Config {
        dir: dir.to_owned(),
        ..Config::default()
    };
    let now = Timestamp::from_millis(NOW);
    Storage::open(config, now, &mut Registry::default()).unwrap()
}

/// Every float of every series that has a name, as (milliseconds, value).
pub(crate) fn read(storage: &Storage) -> BTreeMap<String, Vec<(i64, f64)>> {
    let matchers = [Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()];
    let selection = Selection {
        range: TimeRange::ALL,
        matchers: &matchers,
        hints: Hints::default(),
    };
    let mut all = BTreeMap::new();
    for mut series in storage.select(&selection).unwrap() {
        let mut samples = Samples::default();
        while series.cursor.next_run(&mut samples).unwrap() {}
        let floats = samples.floats.iter().map(|p| (p.t, p.v)).collect();
        all.insert(series.labels.to_string(), floats);
    }
    all
}
