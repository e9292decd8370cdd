//! Alertmanager's own configuration fixtures, where they are at hand: which load and which do not.

use std::path::Path;

use alerting::Config;

/// By the names of the fixtures: these must not load.
fn is_bad(name: &str) -> bool {
    [
        "-both-",
        "-no-",
        "nil-",
        "invalid",
        "old-team",
        "update-message-and-webhook",
    ]
    .iter()
    .any(|part| name.contains(part))
}

#[test]
fn fixtures_load_or_fail_as_in_alertmanager_but_for_receivers_we_do_not_have() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/alertmanager-config");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let (mut same, mut unsupported, mut wrong) = (0, Vec::new(), Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = Config::parse(&name, &text);
        let messages: Vec<String> = match &loaded {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(ToString::to_string).collect(),
        };
        if loaded.is_err() == is_bad(&name) {
            same += 1;
        } else if messages.iter().all(|m| m.contains("not supported yet")) && loaded.is_err() {
            unsupported.push(name);
        } else {
            wrong.push((name, messages));
        }
    }
    println!(
        "{same} judged alike, {} need other receivers: {unsupported:#?}",
        unsupported.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
