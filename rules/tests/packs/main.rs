//! Every shipped alert fires on series that should trigger it and is quiet on healthy ones.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, called with fresh scenes"
)]

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod gateway;
mod host;
mod scene;
mod stackwatch;
mod uptime;

use std::collections::BTreeSet;
use std::path::Path;

use rules::file::RuleSpec;
use scene::pack_files;

#[test]
fn every_alert_has_a_test_a_runbook_and_texts() {
    let tests = [
        include_str!("host.rs"),
        include_str!("docker.rs"),
        include_str!("stackwatch.rs"),
        include_str!("uptime.rs"),
    ];
    let runbooks = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks"));
    let mut names = BTreeSet::new();
    for rule in pack_files()
        .into_iter()
        .flat_map(|f| f.groups)
        .flat_map(|g| g.rules)
    {
        let RuleSpec::Alert(alert) = rule else {
            continue;
        };
        let name = &alert.name;
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(
            tests.iter().any(|t| t.contains(&format!("\"{name}\""))),
            "{name} has no test"
        );
        for key in ["summary", "description"] {
            assert!(alert.annotations.contains_key(key), "{name} has no {key}");
        }
        assert_eq!(
            alert.annotations.get("runbook_url"),
            Some(&format!(
                "https://github.com/stackwatch/stackwatch/blob/main/docs/runbooks/{name}.md"
            ))
        );
        assert!(
            runbooks.join(format!("{name}.md")).is_file(),
            "{name} has no runbook"
        );
        let severity = alert.labels.get("severity").map_or("", String::as_str);
        assert!(
            ["critical", "warning", "none"].contains(&severity),
            "{name}: {severity}"
        );
    }
    assert_eq!(names.len(), 41);
}

#[test]
fn every_recording_rule_is_named_level_metric_operations() {
    for rule in pack_files()
        .into_iter()
        .flat_map(|f| f.groups)
        .flat_map(|g| g.rules)
    {
        if let RuleSpec::Record(record) = rule {
            assert!(record.name.contains(':'), "{}", record.name);
        }
    }
}
