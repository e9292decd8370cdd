//! Our own metrics of rule evaluation, one child per group.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GroupLabels {
    /// `file;name`, as Prometheus labels its groups.
    pub(crate) rule_group: String,
}

type Gauges = Family<GroupLabels, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// Counters and gauges by group.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    pub(crate) evaluations: Family<GroupLabels, Counter>,
    pub(crate) failures: Family<GroupLabels, Counter>,
    pub(crate) iterations: Family<GroupLabels, Counter>,
    pub(crate) missed: Family<GroupLabels, Counter>,
    pub(crate) last_duration: Gauges,
    pub(crate) interval: Gauges,
    pub(crate) rules: Gauges,
    pub(crate) control_errors: Counter,
}

impl Telemetry {
    pub(crate) fn new(registry: &mut Registry) -> Telemetry {
        let t = Telemetry::default();
        registry.register(
            "stackwatch_rule_evaluations",
            "Rules evaluated",
            t.evaluations.clone(),
        );
        registry.register(
            "stackwatch_rule_evaluation_failures",
            "Rules whose evaluation failed",
            t.failures.clone(),
        );
        registry.register(
            "stackwatch_rule_group_iterations",
            "Evaluations of a group",
            t.iterations.clone(),
        );
        registry.register(
            "stackwatch_rule_group_iterations_missed",
            "Evaluations of a group skipped because one before came late",
            t.missed.clone(),
        );
        registry.register_with_unit(
            "stackwatch_rule_group_last_duration",
            "What the last evaluation of a group took",
            Unit::Seconds,
            t.last_duration.clone(),
        );
        registry.register_with_unit(
            "stackwatch_rule_group_interval",
            "Time between evaluations of a group",
            Unit::Seconds,
            t.interval.clone(),
        );
        registry.register(
            "stackwatch_rule_group_rules",
            "Rules in a group",
            t.rules.clone(),
        );
        registry.register(
            "stackwatch_rule_state_write_errors",
            "Alert states that could not be made durable",
            t.control_errors.clone(),
        );
        t
    }

    /// Makes every series of a group exist, so that a first failure is an increase.
    pub(crate) fn touch(&self, group: &GroupLabels, interval_seconds: f64, rules: usize) {
        let _ = self.evaluations.get_or_create(group);
        let _ = self.failures.get_or_create(group);
        let _ = self.iterations.get_or_create(group);
        let _ = self.missed.get_or_create(group);
        self.interval.get_or_create(group).set(interval_seconds);
        self.rules.get_or_create(group).set(rules as f64);
    }

    /// Forgets a group that is gone.
    pub(crate) fn forget(&self, group: &GroupLabels) {
        self.evaluations.remove(group);
        self.failures.remove(group);
        self.iterations.remove(group);
        self.missed.remove(group);
        self.last_duration.remove(group);
        self.interval.remove(group);
        self.rules.remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_the_shipped_rules_use() {
        let mut registry = Registry::default();
        let telemetry = Telemetry::new(&mut registry);
        let group = GroupLabels {
            rule_group: "f;g".to_owned(),
        };
        telemetry.touch(&group, 30.0, 2);
        telemetry.last_duration.get_or_create(&group).set(0.5);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "stackwatch_rule_evaluations_total{rule_group=\"f;g\"} 0",
            "stackwatch_rule_evaluation_failures_total{rule_group=\"f;g\"} 0",
            "stackwatch_rule_group_iterations_total{rule_group=\"f;g\"} 0",
            "stackwatch_rule_group_iterations_missed_total{rule_group=\"f;g\"} 0",
            "stackwatch_rule_group_last_duration_seconds{rule_group=\"f;g\"} 0.5",
            "stackwatch_rule_group_interval_seconds{rule_group=\"f;g\"} 30.0",
            "stackwatch_rule_group_rules{rule_group=\"f;g\"} 2.0",
            "stackwatch_rule_state_write_errors_total 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        telemetry.forget(&group);
        text.clear();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("f;g"), "{text}");
    }
}
