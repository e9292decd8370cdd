//! What reads foreign bytes, for the fuzz targets: each function panics where something must not be.

pub use crate::exposition::fuzzing::exposition;
pub use crate::host::systemd::fuzzing::dbus;
pub use crate::logs::fuzzing::logs;
pub use crate::logs::syslog::fuzzing::syslog;
pub use crate::probe::fuzzing::{certificate, dns};
pub use crate::redis::fuzzing::redis;
pub use crate::statsd::fuzzing::statsd;

use model::Labels;

/// Whether a metric and its labels are called what Prometheus' classic names allow.
pub(crate) fn assert_named(labels: &Labels) {
    for (name, value) in labels {
        let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
        assert!(name.chars().all(plain), "label {name:?}");
        assert!(!value.is_empty(), "{name} is empty");
    }
    assert_metric(labels.metric_name());
}

/// Whether this can be the name of a metric.
pub(crate) fn assert_metric(name: &str) {
    let plain = |c: char| matches!(c, '_' | ':') || c.is_ascii_alphanumeric();
    assert!(!name.is_empty() && name.chars().all(plain), "{name:?}");
    assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{name:?}");
}

#[cfg(test)]
mod tests;
