//! Labels that streams of all sources beside containers have.

use std::collections::BTreeMap;

use model::LabelsBuilder;

/// Checks that these can be names of labels.
///
/// # Errors
/// The first that cannot.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    for name in labels.keys() {
        let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let begins = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        if !begins || !name.chars().all(plain) {
            return Err(format!("{name:?} is not the name of a label"));
        }
    }
    Ok(())
}

/// `job`, `service_name`, `host` and what the configuration adds, which wins.
pub(super) fn stream_labels(
    job: &str,
    service: &str,
    host: &str,
    further: &BTreeMap<String, String>,
) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    labels
        .set("job", job)
        .set(
            "service_name",
            if service.is_empty() { job } else { service },
        )
        .set("host", host);
    for (name, value) in further {
        labels.set(name, value);
    }
    labels
}
