//! Every annotation and label of the community's rule collection expands.

use std::path::Path;
use std::sync::Arc;

use model::Timestamp;
use template::prometheus::{Environment, functions};
use template::{Limits, TemplateSet, Value};

const FOLDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/conformance/community-rules"
);

#[test]
fn every_template_of_the_community_rules_expands() {
    if !Path::new(FOLDER).is_dir() {
        eprintln!("SKIPPED: {FOLDER} is not there, no community template was expanded");
        return;
    }
    let functions = functions(Environment {
        query: Arc::new(|_| Ok(Vec::new())),
        now: Timestamp::from_millis(1_700_000_000_000),
        external_url: "http://localhost:9090".to_owned(),
    });
    let data = Value::map([
        ("Labels", Value::string_map([("instance", "web-1:9100")])),
        ("ExternalLabels", Value::string_map::<&str, &str>([])),
        ("ExternalURL", Value::from("http://localhost:9090")),
        ("Value", Value::Float(0.93)),
    ]);
    let (mut seen, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // Every line with an action is a scalar of its own in these files.
        for line in text.lines().filter(|l| l.contains("{{")) {
            let value = line.split_once(": ").map_or(line, |(_, v)| v).trim();
            let value = value
                .trim_matches(|c| c == '"' || c == '\'')
                .replace("\\n", "\n")
                .replace("\\\"", "\"");
            seen += 1;
            let mut set = TemplateSet::with_variables(&[
                ("$labels", "Labels"),
                ("$externalLabels", "ExternalLabels"),
                ("$externalURL", "ExternalURL"),
                ("$value", "Value"),
            ]);
            let result = set
                .add("t", &value)
                .map_err(|e| e.to_string())
                .and_then(|()| {
                    set.execute("t", &data, &functions, &Limits::default())
                        .map_err(|e| e.to_string())
                });
            if let Err(error) = result {
                failed.push(format!("{}: {value}: {error}", path.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} templates found");
    let shown = failed
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        failed.is_empty(),
        "{} of {seen} failed:\n{shown}",
        failed.len()
    );
    eprintln!("{seen} community templates expanded");
}
