//! Bounds and conflicts of metrics.

use super::super::mapping::SummaryOptions;
use super::super::summary::Objective;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn about<'a>(name: &'a str, labels: &'a [(String, String)]) -> About<'a> {
    About {
        name,
        labels,
        help: None,
        ttl: Duration::ZERO,
    }
}

fn set(registry: &mut Registry, name: &str, label: &str) -> Result<Done, Refused> {
    let labels = [("l".to_owned(), label.to_owned())];
    registry.change(&about(name, &labels), &Change::Set(1.0), NOW)
}

fn histogram() -> Arc<Observer> {
    Arc::new(Observer::Histogram(vec![1.0]))
}

#[test]
fn samples_and_bytes_are_bounded() {
    let mut registry = Registry::default();
    for i in 0..SAMPLES_MAX {
        set(&mut registry, "a", &i.to_string()).unwrap();
    }
    assert!(registry.is_full());
    assert_eq!(set(&mut registry, "a", "one more"), Err(Refused::Full));
    assert_eq!(set(&mut registry, "b", "1"), Err(Refused::Full));
    // What there is goes on.
    assert_eq!(set(&mut registry, "a", "7"), Ok(Done::Whole));

    let mut registry = Registry::default();
    let long = "x".repeat(SERIES_BYTES_MAX);
    assert_eq!(set(&mut registry, "a", &long), Err(Refused::Full));
    let long = "x".repeat(SERIES_BYTES_MAX / 2);
    let taken = (0..5000).filter(|i| set(&mut registry, "a", &format!("{i}{long}")).is_ok());
    let taken = taken.count();
    assert!((1900..2100).contains(&taken), "{taken}");
    assert!(registry.is_full());
}

#[test]
fn observations_are_bounded_and_leave_in_time() {
    let options = SummaryOptions {
        objectives: [Objective::new(0.5, 0.05)].into(),
        max_age: Duration::from_secs(60),
        age_buckets: 5,
        kept_max: 500,
    };
    let observer = Arc::new(Observer::Summary(options));
    let mut registry = Registry::default();
    let observe = |registry: &mut Registry, series: usize, at| {
        let labels = [("l".to_owned(), series.to_string())];
        let change = Change::Observe(1.0, 1, &observer);
        registry.change(&about("a", &labels), &change, at)
    };
    for series in 0..2_000 {
        for _ in 0..499 {
            observe(&mut registry, series, NOW).unwrap();
        }
    }
    assert!(registry.is_full_of_observations());
    assert!(registry.observation_bytes < OBSERVATION_BYTES_MAX + (64 << 10));
    let done = observe(&mut registry, 1_999, NOW);
    assert_eq!(done, Ok(Done::WithoutQuantiles));
    let labels = Labels::from_pairs([("l", "1999")]);
    let Value::Summary { count, .. } = &registry.families["a"].series[&labels].value else {
        panic!("no summary");
    };
    assert_eq!(*count, 500);
    // They leave with their age, at the next collection.
    let later = NOW.plus(Duration::from_secs(61));
    for family in registry.families.values_mut() {
        for series in family.series.values_mut() {
            if let Value::Summary { window, .. } = &mut series.value {
                window.quantiles(later);
            }
        }
    }
    registry.expire(later);
    assert_eq!(registry.observation_bytes, 0);
    assert_eq!(observe(&mut registry, 0, later), Ok(Done::Whole));
}

#[test]
fn a_name_has_one_type_and_its_parts_are_its_own() {
    let mut registry = Registry::default();
    let observe = Change::Observe(0.5, 1, &histogram());
    let mut change =
        |name: &str, change: &Change<'_>| registry.change(&about(name, &[]), change, NOW);
    change("h", &observe).unwrap();
    for name in ["h", "h_sum", "h_count", "h_bucket"] {
        assert_eq!(
            change(name, &Change::Set(1.0)),
            Err(Refused::Conflict),
            "{name}"
        );
    }
    change("g_sum", &Change::Set(1.0)).unwrap();
    assert_eq!(change("g", &observe), Err(Refused::Conflict));
    change("g_bucket", &Change::Set(1.0)).unwrap();
    assert_eq!(registry.by_type()["gauge"], 2);
}

#[test]
fn labels_that_a_type_or_prometheus_uses_itself_are_refused() {
    let mut registry = Registry::default();
    let mut refused = |label: &str, change: &Change<'_>| {
        let labels = [(label.to_owned(), "1".to_owned())];
        registry
            .change(&about(&format!("a{label}"), &labels), change, NOW)
            .is_err()
    };
    let observe = Change::Observe(0.5, 1, &histogram());
    assert!(refused("le", &observe));
    assert!(!refused("le", &Change::Set(1.0)));
    assert!(refused("__name__", &Change::Set(1.0)));
    assert!(refused("", &Change::Set(1.0)));
}

#[test]
fn what_has_a_ttl_expires_and_makes_room() {
    let mut registry = Registry::default();
    let mut short = about("a", &[]);
    short.ttl = Duration::from_secs(10);
    registry.change(&short, &Change::Add(1.0), NOW).unwrap();
    set(&mut registry, "b", "1").unwrap();
    let after = |seconds| NOW.plus(Duration::from_secs(seconds));
    registry.expire(after(10));
    assert_eq!((registry.families.len(), registry.samples), (2, 2));
    registry.expire(after(11));
    assert_eq!((registry.families.len(), registry.samples), (1, 1));
    // Its name is free for another type.
    registry
        .change(&about("a", &[]), &Change::Set(1.0), NOW)
        .unwrap();
}
