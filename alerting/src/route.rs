//! The route tree: which receivers an alert goes to, and by which labels it is grouped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use model::labels::Quoted;
use model::{Labels, LabelsBuilder, Matcher};

use crate::config::needs_quotes;

/// A node of the tree, with everything it inherits filled in.
#[derive(Clone, Debug)]
pub struct Route {
    /// The parent's key, a slash and the matchers: `{}/{severity="critical"}`.
    pub key: String,
    /// Name of the receiver.
    pub receiver: String,
    /// Labels that keep alerts apart.
    pub group_by: GroupBy,
    /// How long the first notification of a group waits for more alerts.
    pub group_wait: Duration,
    /// How often a group is looked at.
    pub group_interval: Duration,
    /// How long an unchanged group stays silent.
    pub repeat_interval: Duration,
    /// All must hold; sorted as Alertmanager sorts them.
    pub matchers: Vec<Matcher>,
    /// Names of intervals in which nothing is sent.
    pub mute_time_intervals: Vec<String>,
    /// Names of intervals outside of which nothing is sent.
    pub active_time_intervals: Vec<String>,
    /// Whether later siblings are tried as well.
    pub proceed: bool,
    /// Labels for templates and payloads; values are templates.
    pub labels: BTreeMap<String, String>,
    /// Children.
    pub routes: Vec<Route>,
}

/// Labels that keep alerts apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`: every alert is a group of its own.
    All,
    /// These labels.
    Labels(BTreeSet<String>),
}

impl GroupBy {
    /// The part of an alert's labels that names its group.
    #[must_use]
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match self {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => {
                let mut group = LabelsBuilder::default();
                for (name, value) in labels.iter().filter(|(n, _)| names.contains(*n)) {
                    group.set(name, value);
                }
                group.build()
            }
        }
    }
}

impl Route {
    /// The nodes an alert with these labels ends at: depth first; a child that matches stops its
    /// later siblings unless it says `continue`; a node none of whose children match takes the
    /// alert itself.
    #[must_use]
    pub fn matching<'r>(&'r self, labels: &Labels) -> Vec<&'r Route> {
        if !self.matchers.iter().all(|m| m.matches_labels(labels)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for child in &self.routes {
            let matched = child.matching(labels);
            let stop = !matched.is_empty() && !child.proceed;
            all.extend(matched);
            if stop {
                break;
            }
        }
        if all.is_empty() {
            all.push(self);
        }
        all
    }

    /// Every node, parents before children.
    pub fn walk(&self) -> impl Iterator<Item = &Route> {
        let mut stack = vec![self];
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.routes.iter().rev());
            Some(next)
        })
    }
}

/// Puts matchers into the order in which keys list them: name, value, operator.
pub(crate) fn sort_matchers(matchers: &mut [Matcher]) {
    matchers.sort_by(|a, b| {
        (a.name(), a.value(), a.op() as u8).cmp(&(b.name(), b.value(), b.op() as u8))
    });
}

/// `{a="1",b!~"x"}`, as Alertmanager prints a matcher list.
pub(crate) fn matchers_text(matchers: &[Matcher]) -> String {
    let items: Vec<String> = matchers
        .iter()
        .map(|m| {
            if needs_quotes(m.name()) {
                format!(
                    "{}{}{}",
                    go_quote(m.name()),
                    m.op().as_str(),
                    go_quote(m.value())
                )
            } else {
                format!("{}{}{}", m.name(), m.op().as_str(), Quoted(m.value()))
            }
        })
        .collect();
    format!("{{{}}}", items.join(","))
}

/// `routeKey:{a="1", b="2"}`.
#[must_use]
pub fn group_key(route_key: &str, group_labels: &Labels) -> String {
    let mut key = format!("{route_key}:{{");
    for (i, (name, value)) in group_labels.iter().enumerate() {
        if i > 0 {
            key.push_str(", ");
        }
        key.push_str(name);
        key.push('=');
        key.push_str(&go_quote(value));
    }
    key.push('}');
    key
}

/// Go's `strconv.Quote` for text that is valid UTF-8.
fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    const TREE: &str = r#"
route:
  receiver: root
  group_by: [alertname]
  routes:
    - matchers: [severity="critical"]
      receiver: page
      continue: true
    - match: {team: db}
      receiver: db
      group_by: []
      routes:
        - matchers: ['service=~"pg|redis"', severity!="info"]
          receiver: dba
    - matchers: [team="web"]
receivers: [{name: root}, {name: page}, {name: db}, {name: dba}]
"#;

    #[track_caller]
    fn check(labels: &[(&str, &str)], expect: &[&str]) {
        let config = Config::parse("t.yml", TREE).unwrap();
        let labels = Labels::from_pairs(labels.iter().copied());
        let got: Vec<String> = config
            .route
            .matching(&labels)
            .iter()
            .map(|r| format!("{} {}", r.receiver, r.key))
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn an_alert_takes_the_deepest_matching_routes_in_order() {
        check(&[("x", "y")], &["root {}"]);
        check(
            &[("severity", "critical"), ("team", "db")],
            &[r#"page {}/{severity="critical"}"#, r#"db {}/{team="db"}"#],
        );
        check(
            &[("service", "pg"), ("team", "db")],
            &[r#"dba {}/{team="db"}/{service=~"pg|redis",severity!="info"}"#],
        );
        check(&[("team", "web")], &[r#"root {}/{team="web"}"#]);
    }

    #[test]
    fn children_inherit_grouping_unless_they_set_their_own() {
        let config = Config::parse("t.yml", TREE).unwrap();
        let labels = Labels::from_pairs([("alertname", "A"), ("team", "db")]);
        let group = config.route.routes[0].group_by.group_labels(&labels);
        assert_eq!(group_key("{}", &group), r#"{}:{alertname="A"}"#);
        let group = config.route.routes[1].group_by.group_labels(&labels);
        assert_eq!(group_key("{}", &group), "{}:{}");
        let both = Labels::from_pairs([("b", "x\ty\""), ("a", "é")]);
        assert_eq!(group_key("{}", &both), r#"{}:{a="é", b="x\ty\""}"#);
    }
}
