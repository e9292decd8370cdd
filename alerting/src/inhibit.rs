//! Inhibition by the documented rule: a target is muted while a source that matches and agrees
//! on every `equal` label fires. An alert that matches both sides of a rule is not inhibited by
//! another alert that does.

use model::{Labels, Matcher};

/// One rule.
#[derive(Clone, Debug, Default)]
pub struct InhibitRule {
    /// All must hold for the source.
    pub source: Vec<Matcher>,
    /// All must hold for the target.
    pub target: Vec<Matcher>,
    /// Labels whose values must agree; an absent label counts as empty.
    pub equal: Vec<String>,
}

impl InhibitRule {
    /// Whether a firing alert with `source` labels mutes one with `target` labels.
    #[must_use]
    pub fn mutes(&self, source: &Labels, target: &Labels) -> bool {
        let all = |matchers: &[Matcher], labels| matchers.iter().all(|m| m.matches_labels(labels));
        if !all(&self.target, target) || !all(&self.source, source) {
            return false;
        }
        let two_sided = |labels| all(&self.source, labels) && all(&self.target, labels);
        if two_sided(target) && two_sided(source) {
            return false;
        }
        self.equal
            .iter()
            .all(|name| source.get(name).unwrap_or("") == target.get(name).unwrap_or(""))
    }
}

/// Fingerprints of the firing alerts that mute `target`, in the order given.
pub fn inhibitors<'a>(
    rules: &[InhibitRule],
    target: &Labels,
    firing: impl Iterator<Item = (u64, &'a Labels)>,
) -> Vec<u64> {
    let relevant: Vec<&InhibitRule> = rules
        .iter()
        .filter(|r| r.target.iter().all(|m| m.matches_labels(target)))
        .collect();
    if relevant.is_empty() {
        return Vec::new();
    }
    firing
        .filter(|(_, source)| relevant.iter().any(|r| r.mutes(source, target)))
        .map(|(fingerprint, _)| fingerprint)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_matchers;

    fn labels(text: &str) -> Labels {
        Labels::from_pairs(text.split(' ').filter_map(|p| p.split_once('=')))
    }

    #[track_caller]
    fn check(source: &str, target: &str, expect: bool) {
        let rule = InhibitRule {
            source: parse_matchers("severity=critical").unwrap(),
            target: parse_matchers("severity=~\"warning|critical\"").unwrap(),
            equal: vec!["host".to_owned()],
        };
        assert_eq!(
            rule.mutes(&labels(source), &labels(target)),
            expect,
            "{source} on {target}"
        );
    }

    #[test]
    fn a_source_mutes_targets_that_agree_on_equal_labels() {
        check("severity=critical host=a", "severity=warning host=a", true);
        check("severity=critical host=a", "severity=warning host=b", false);
        check("severity=critical", "severity=warning", true);
        check("severity=warning host=a", "severity=warning host=a", false);
    }

    #[test]
    fn an_alert_matching_both_sides_is_not_muted_by_another_one() {
        check(
            "severity=critical host=a x=1",
            "severity=critical host=a x=2",
            false,
        );
    }
}
