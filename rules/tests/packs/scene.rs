//! Scenes: series over some minutes, played to a shipped rule.

use std::sync::Arc;

use model::control::MemoryControlStore;
use model::{ControlStore, Labels, STALE_NAN};
use prometheus_client::registry::Registry;
use query::{Engine, EngineOptions};
use rules::{Groups, RuleFile};

use crate::support::{TestEnvironment, defaults, labels, seconds};

/// When every scene begins, in seconds since the epoch.
pub(crate) const BASE: f64 = 1_700_000_000.0;

/// A value by seconds since the scene began; `None` is no sample.
pub(crate) type Curve = Box<dyn Fn(f64) -> Option<f64>>;
pub(crate) type Line = (&'static str, Curve);

pub(crate) fn always(v: f64) -> Curve {
    Box::new(move |_| Some(v))
}

/// A counter that grows by `per_second`.
pub(crate) fn rate(per_second: f64) -> Curve {
    Box::new(move |t| Some(t * per_second))
}

/// `before` until `at`, `after` from then on.
pub(crate) fn step(at: f64, before: f64, after: f64) -> Curve {
    Box::new(move |t| Some(if t < at { before } else { after }))
}

/// No sample until `at`.
pub(crate) fn from(at: f64, v: f64) -> Curve {
    Box::new(move |t| (t >= at).then_some(v))
}

/// No sample from `at` on, as of a container that was removed.
pub(crate) fn until(at: f64, v: f64) -> Curve {
    Box::new(move |t| (t < at).then_some(v))
}

pub(crate) fn pack_files() -> Vec<RuleFile> {
    rules::packs::names()
        .iter()
        .map(|name| rules::file::parse(name, rules::packs::text(name).unwrap()).unwrap())
        .collect()
}

/// Plays a scene and tells in which minutes the alert fired.
pub(crate) fn play(alert: &str, minutes: u32, lines: &[Line]) -> Vec<u32> {
    let (file, spec) = pack_files()
        .into_iter()
        .flat_map(|f| f.groups.into_iter().map(move |g| (f.name.clone(), g)))
        .find(|(_, g)| g.rules.iter().any(|r| r.name() == alert))
        .unwrap();
    let mut spec = spec;
    spec.rules.retain(|r| r.name() == alert);
    let control: Arc<dyn ControlStore> = Arc::new(MemoryControlStore::default());
    let groups = Groups::load(
        vec![RuleFile {
            notes: Vec::new(),
            name: file,
            groups: vec![spec],
        }],
        defaults(),
        control,
        &mut Registry::default(),
    )
    .unwrap();
    let group = &groups.groups()[0];
    let engine = Engine::new(EngineOptions::default());
    let env = TestEnvironment::default();
    // Long scenes have coarser samples.
    let pause = if minutes > 120 { 60 } else { 15 };
    let series: Vec<(Labels, &Curve)> = lines.iter().map(|(s, c)| (labels(s), c)).collect();
    let mut there = vec![false; series.len()];
    let mut fired = Vec::new();
    for second in (0..=minutes * 60).step_by(pause) {
        let at = seconds(BASE as i64 + i64::from(second));
        for ((labels, curve), there) in series.iter().zip(&mut there) {
            match curve(f64::from(second)) {
                Some(v) => env.series.push(labels, at, v),
                None if *there => env.series.push(labels, at, STALE_NAN),
                None => {}
            }
            *there = curve(f64::from(second)).is_some();
        }
        if second % 60 == 0 {
            let report = group.eval(at, &engine, &env);
            let status = group.status();
            assert_eq!(
                report.failures, 0,
                "{alert}: {:?}",
                status.rules[0].last_error
            );
            if let rules::RuleKind::Alerting { alerts, .. } = &status.rules[0].kind {
                for a in alerts {
                    for (name, text) in &a.annotations {
                        assert!(
                            !text.contains("<error") && !text.contains("<no value>"),
                            "{alert} {name}: {text}"
                        );
                    }
                    if a.state == rules::AlertState::Firing {
                        fired.push(second / 60);
                    }
                }
            }
        }
    }
    fired.dedup();
    fired
}

#[track_caller]
pub(crate) fn fires(alert: &str, minutes: u32, lines: Vec<Line>) {
    assert!(
        !play(alert, minutes, &lines).is_empty(),
        "{alert} did not fire"
    );
}

#[track_caller]
pub(crate) fn quiet(alert: &str, minutes: u32, lines: Vec<Line>) {
    assert_eq!(
        play(alert, minutes, &lines),
        Vec::<u32>::new(),
        "{alert} fired in these minutes"
    );
}

/// Both at once.
#[track_caller]
pub(crate) fn check(alert: &str, minutes: u32, bad: Vec<Line>, healthy: Vec<Line>) {
    fires(alert, minutes, bad);
    quiet(alert, minutes, healthy);
}

/// A plain container.
macro_rules! container {
    ($name:literal) => {
        concat!(
            $name,
            "{job=\"cadvisor\",instance=\"h\",id=\"/docker/1\",name=\"web\",image=\"i\"}"
        )
    };
}

pub(crate) use container;
