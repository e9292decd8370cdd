//! What our own templates show people: less than there is, in the order they read.

use std::cmp::Reverse;

use model::{AlertStatus, Labels};

use super::{Notification, Told};

/// Names of what a subject lists.
const SUBJECTS_MAX: usize = 3;

/// Labels that tell a person which thing it is about; the rest is for machines.
pub(super) fn shown(labels: &Labels) -> Labels {
    let mut kept = labels.to_builder();
    kept.retain(|name, _| !matches!(name, "id" | "image") && !name.starts_with("container_label_"));
    kept.build()
}

/// What fires first, newest on top; then what has ended, latest on top.
pub(super) fn in_order(alerts: &[Told]) -> Vec<&Told> {
    let mut sorted: Vec<&Told> = alerts.iter().collect();
    sorted.sort_by_key(|a| {
        let fires = a.status == AlertStatus::Firing;
        let changed = a.ends_at.filter(|_| !fires).unwrap_or(a.starts_at);
        (!fires, Reverse(changed))
    });
    sorted
}

/// What a subject says after the group's labels, with a space before it: several things by name
/// and how severe it is, or else what all alerts have in common.
pub(super) fn subject_details(notification: &Notification) -> String {
    let group = &notification.group_labels;
    let mut common = shown(&notification.common_labels()).to_builder();
    common.retain(|name, _| name != "job" && group.get(name).is_none());
    let common = common.build();
    let alertname = common.get("alertname");
    let status = notification.status();
    let named = subjects(notification.alerts.iter().filter(|a| a.status == status));
    if named.is_empty() || subjects(notification.alerts.iter()).len() < 2 {
        let rest = common.iter().filter(|(name, _)| *name != "alertname");
        let values: Vec<&str> = alertname.into_iter().chain(rest.map(|(_, v)| v)).collect();
        return match values.is_empty() {
            true => String::new(),
            false => format!(" ({})", values.join(" ")),
        };
    }
    let mut listed = named[..named.len().min(SUBJECTS_MAX)].join(", ");
    if named.len() > SUBJECTS_MAX {
        listed.push_str(&format!(" and {} more", named.len() - SUBJECTS_MAX));
    }
    let before = alertname.map(|n| format!(" {n}")).unwrap_or_default();
    let after = common.get("severity").map(|s| format!(" {s}"));
    format!("{before} ({listed}){}", after.unwrap_or_default())
}

/// Distinct names, or else instances.
fn subjects<'a>(alerts: impl Iterator<Item = &'a Told>) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = Vec::new();
    for alert in alerts {
        let name = alert.labels.get("name").or(alert.labels.get("instance"));
        distinct.extend(name.filter(|n| !distinct.contains(n)));
    }
    distinct
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::notification::tests::sample;

    #[track_caller]
    fn check(alerts: &[&[(&str, &str)]], expect: &str) {
        let alerts: Vec<_> = alerts.iter().map(|a| (*a, &[][..], false)).collect();
        assert_eq!(subject_details(&sample(&alerts)), expect);
    }

    #[test]
    fn a_subject_names_what_people_know() {
        check(
            &[&[
                ("alertname", "A"),
                ("id", "/docker/2ba4"),
                ("image", "bb"),
                ("instance", "vm"),
                ("job", "cadvisor"),
                ("name", "c-sick"),
                ("severity", "critical"),
                ("container_label_com_docker_compose_project", "shop"),
            ]],
            " (vm c-sick critical)",
        );
        check(&[&[("alertname", "A"), ("job", "x")]], "");
        check(&[&[("alertname", "other"), ("a", "b")]], " (b)");
    }

    #[test]
    fn several_things_are_listed_by_name() {
        fn died(name: &str) -> [(&str, &str); 4] {
            [
                ("alertname", "A"),
                ("instance", "vm"),
                ("name", name),
                ("severity", "critical"),
            ]
        }
        check(&[&died("a"), &died("b")], " (a, b) critical");
        check(
            &[&died("a"), &died("b"), &died("c"), &died("d"), &died("e")],
            " (a, b, c and 2 more) critical",
        );
        check(
            &[
                &[("alertname", "A"), ("instance", "h1")],
                &[("alertname", "A"), ("instance", "h2")],
            ],
            " (h1, h2)",
        );
        // Not grouped by name.
        let mut n = sample(&[(&died("a"), &[], false), (&died("b"), &[], false)]);
        n.group_labels = Labels::empty();
        assert_eq!(subject_details(&n), " A (a, b) critical");
    }

    #[test]
    fn firing_alerts_are_read_first_and_the_newest_on_top() {
        let labels = ["1", "2", "3", "4"].map(|i| [("i", i)]);
        let alerts: Vec<_> = labels
            .iter()
            .zip([true, false, false, true])
            .map(|(l, ended)| (&l[..], &[][..], ended))
            .collect();
        let mut n = sample(&alerts);
        n.alerts[2].starts_at = Timestamp::from_millis(1_795_000_030_000);
        n.alerts[3].ends_at = Some(Timestamp::from_millis(1_795_000_070_000));
        let order = in_order(&n.alerts);
        let order: Vec<_> = order.iter().filter_map(|a| a.labels.get("i")).collect();
        assert_eq!(order, ["3", "2", "4", "1"]);
    }
}
