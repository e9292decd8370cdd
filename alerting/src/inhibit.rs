//! Inhibition by the documented rule: a target is muted while a source that matches and agrees
//! on every `equal` label fires. An alert that matches both sides of a rule is not inhibited by
//! another alert that does.

use std::collections::HashMap;

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
    /// Values of the labels that must agree; an absent label counts as empty.
    fn values<'l>(&self, labels: &'l Labels) -> Vec<&'l str> {
        let value = |name: &String| labels.get(name).unwrap_or("");
        self.equal.iter().map(value).collect()
    }
}

/// The firing alerts that can mute others, found by the values of each rule's `equal` labels.
pub(crate) struct Sources<'a> {
    rules: Vec<(&'a InhibitRule, HashMap<Vec<&'a str>, Vec<Source>>)>,
}

struct Source {
    fingerprint: u64,
    /// It matches the target side of the rule, too.
    two_sided: bool,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(
        rules: &'a [InhibitRule],
        firing: impl Iterator<Item = (u64, &'a Labels)>,
    ) -> Self {
        let mut indexed: Vec<_> = rules.iter().map(|r| (r, HashMap::new())).collect();
        if rules.is_empty() {
            return Sources { rules: indexed };
        }
        for (fingerprint, labels) in firing {
            for (rule, sources) in &mut indexed {
                if all(&rule.source, labels) {
                    let found: &mut Vec<Source> = sources.entry(rule.values(labels)).or_default();
                    found.push(Source {
                        fingerprint,
                        two_sided: all(&rule.target, labels),
                    });
                }
            }
        }
        Sources { rules: indexed }
    }

    /// Fingerprints of the alerts that mute `target`, by rule.
    pub(crate) fn muting(&self, target: &Labels) -> Vec<u64> {
        let mut found = Vec::new();
        for (rule, sources) in &self.rules {
            if !all(&rule.target, target) {
                continue;
            }
            let target_two_sided = all(&rule.source, target);
            let agreeing = sources.get(&rule.values(target)).into_iter().flatten();
            for source in agreeing.filter(|s| !(target_two_sided && s.two_sided)) {
                if !found.contains(&source.fingerprint) {
                    found.push(source.fingerprint);
                }
            }
        }
        found
    }
}

fn all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches_labels(labels))
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
        let source_labels = labels(source);
        let rules = [rule];
        let sources = Sources::new(&rules, [(1, &source_labels)].into_iter());
        let muted = !sources.muting(&labels(target)).is_empty();
        assert_eq!(muted, expect, "{source} on {target}");
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
