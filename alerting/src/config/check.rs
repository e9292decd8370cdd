//! From the file as written to a checked [`Config`]: routes, inhibition and intervals.

use std::collections::{BTreeMap, BTreeSet};

use model::{MatchOp, Matcher};
use serde_saphyr::{Location, Spanned};

use super::diagnostic::{Diagnostic, Findings, did_you_mean};
use super::file::{DurationText, File, GlobalFile, InhibitFile, RouteFile};
use super::{
    Config, GROUP_INTERVAL_DEFAULT, GROUP_WAIT_DEFAULT, REPEAT_INTERVAL_DEFAULT,
    RESOLVE_TIMEOUT_DEFAULT, TimeInterval, integrations, parse_matchers,
};
use crate::inhibit::InhibitRule;
use crate::route::{GroupBy, Route, matchers_text, sort_matchers};

/// Routes below the root, in depth: a tree deeper than this is a mistake.
const ROUTE_DEPTH_MAX: usize = 50;

type Values = BTreeMap<String, Spanned<String>>;

pub(super) fn check(file_name: &str, file: File) -> Result<Config, Vec<Diagnostic>> {
    let nothing = file.route.is_none()
        && file.receivers.is_empty()
        && file.inhibit_rules.is_empty()
        && file.global.is_none();
    if nothing {
        return Ok(Config::default());
    }
    let mut findings = Findings::new(file_name);
    for (key, found) in [
        ("tracing", &file.tracing),
        ("event_recorder", &file.event_recorder),
    ] {
        if let Some(found) = found {
            findings.add(found.referenced, format!("{key} is not supported yet"));
        }
    }
    let global = file.global.unwrap_or_default();
    let receivers = integrations::check(file.receivers, &global, &mut findings);
    let mut time_intervals = BTreeMap::new();
    for named in file.time_intervals.iter().chain(&file.mute_time_intervals) {
        let name = &named.name;
        let parts = named
            .time_intervals
            .iter()
            .filter_map(|part| {
                let checked = TimeInterval::check(&part.value);
                if let Err(e) = &checked {
                    let message = format!("time interval {:?}: {e}", name.value);
                    findings.add(part.referenced, message);
                }
                checked.ok()
            })
            .collect();
        if name.value.is_empty() {
            findings.add(name.referenced, "a time interval needs a name");
        }
        if time_intervals.insert(name.value.clone(), parts).is_some() {
            findings.add(
                name.referenced,
                format!("time interval {:?} is not unique", name.value),
            );
        }
    }
    let inhibit_rules = file
        .inhibit_rules
        .into_iter()
        .map(|rule| inhibit_rule(rule.value, &mut findings))
        .collect();
    let names: Vec<&str> = receivers.iter().map(|r| r.name.as_str()).collect();
    let root = match file.route {
        Some(root) => {
            check_root(&root, &mut findings);
            let mut tree = Tree {
                receivers: &names,
                intervals: &time_intervals,
                findings: &mut findings,
            };
            Some(tree.node(root, None, 0))
        }
        None => {
            findings.add(
                Location::UNKNOWN,
                "no route: `route` with a `receiver` is required",
            );
            None
        }
    };
    match root {
        Some(route) if findings.found.is_empty() => Ok(Config {
            resolve_timeout: resolve_timeout(&global, file_name)?,
            route,
            receivers,
            inhibit_rules,
            time_intervals,
            templates: file.templates,
            text: String::new(),
        }),
        _ => {
            findings.found.sort_by_key(|d| (d.line, d.column));
            Err(findings.found)
        }
    }
}

fn resolve_timeout(
    global: &GlobalFile,
    file_name: &str,
) -> Result<std::time::Duration, Vec<Diagnostic>> {
    match &global.resolve_timeout {
        None => Ok(RESOLVE_TIMEOUT_DEFAULT),
        Some(given) if given.value.0.is_zero() => {
            let mut findings = Findings::new(file_name);
            findings.add(given.referenced, "resolve_timeout must be more than zero");
            Err(findings.found)
        }
        Some(given) => Ok(given.value.0),
    }
}

fn check_root(root: &Spanned<RouteFile>, findings: &mut Findings<'_>) {
    let (at, route) = (root.referenced, &root.value);
    if route.receiver.as_ref().is_none_or(|r| r.value.is_empty()) {
        findings.add(at, "the root route must name a receiver");
    }
    if route.equal.is_some() || route.match_re.is_some() || route.matchers.is_some() {
        findings.add(
            at,
            "the root route must not have matchers: it takes every alert",
        );
    }
    if !route.mute_time_intervals.is_empty() || !route.active_time_intervals.is_empty() {
        findings.add(
            at,
            "the root route must not have mute or active time intervals",
        );
    }
    if route.proceed {
        findings.add(
            at,
            "the root route must not say `continue`: it has no siblings",
        );
    }
}

struct Tree<'a, 'f> {
    receivers: &'a [&'a str],
    intervals: &'a BTreeMap<String, Vec<TimeInterval>>,
    findings: &'a mut Findings<'f>,
}

impl Tree<'_, '_> {
    fn node(&mut self, file: Spanned<RouteFile>, parent: Option<&Route>, depth: usize) -> Route {
        let (at, file) = (file.referenced, file.value);
        let mut matchers = Vec::new();
        matchers.extend(from_values(file.equal, MatchOp::Equal, self.findings));
        matchers.extend(from_values(file.match_re, MatchOp::Regex, self.findings));
        matchers.extend(from_texts(file.matchers, self.findings));
        sort_matchers(&mut matchers);
        let own_key = matchers_text(&matchers);
        let receiver = match file.receiver {
            Some(name) if !name.value.is_empty() => {
                if !self.receivers.contains(&name.value.as_str()) {
                    self.findings.add_with_hint(
                        name.referenced,
                        format!("undefined receiver {:?} used in route", name.value),
                        did_you_mean(&name.value, self.receivers),
                    );
                }
                name.value
            }
            _ => parent.map(|p| p.receiver.clone()).unwrap_or_default(),
        };
        let group_by = match file.group_by {
            Some(names) => self.group_by(&names),
            None => parent.map_or(GroupBy::Labels(BTreeSet::new()), |p| p.group_by.clone()),
        };
        let mut labels = parent.map(|p| p.labels.clone()).unwrap_or_default();
        labels.extend(file.labels);
        let group_interval = self.positive(file.group_interval, "group_interval");
        let repeat_interval = self.positive(file.repeat_interval, "repeat_interval");
        let mut route = Route {
            key: parent.map_or_else(|| own_key.clone(), |p| format!("{}/{own_key}", p.key)),
            receiver,
            group_by,
            group_wait: file
                .group_wait
                .map(|d| d.0)
                .or(parent.map(|p| p.group_wait))
                .unwrap_or(GROUP_WAIT_DEFAULT),
            group_interval: group_interval
                .or(parent.map(|p| p.group_interval))
                .unwrap_or(GROUP_INTERVAL_DEFAULT),
            repeat_interval: repeat_interval
                .or(parent.map(|p| p.repeat_interval))
                .unwrap_or(REPEAT_INTERVAL_DEFAULT),
            matchers,
            mute_time_intervals: self.known_intervals(file.mute_time_intervals),
            active_time_intervals: self.known_intervals(file.active_time_intervals),
            proceed: file.proceed,
            labels,
            routes: Vec::new(),
        };
        if depth == ROUTE_DEPTH_MAX {
            self.findings.add(
                at,
                format!("routes are nested deeper than {ROUTE_DEPTH_MAX}"),
            );
            return route;
        }
        route.routes = file
            .routes
            .into_iter()
            .map(|child| self.node(child, Some(&route), depth + 1))
            .collect();
        route
    }

    fn positive(
        &mut self,
        given: Option<Spanned<DurationText>>,
        key: &str,
    ) -> Option<std::time::Duration> {
        let given = given?;
        if given.value.0.is_zero() {
            self.findings
                .add(given.referenced, format!("{key} must be more than zero"));
        }
        Some(given.value.0)
    }

    fn group_by(&mut self, names: &[Spanned<String>]) -> GroupBy {
        let mut set = BTreeSet::new();
        for name in names {
            if name.value == "..." && names.len() > 1 {
                self.findings.add(
                    name.referenced,
                    "'...' groups by all labels and must stand alone",
                );
            } else if name.value.is_empty() {
                self.findings
                    .add(name.referenced, "empty label name in group_by");
            } else if !set.insert(name.value.clone()) {
                self.findings.add(
                    name.referenced,
                    format!("duplicate label {:?} in group_by", name.value),
                );
            }
        }
        if set.contains("...") {
            return GroupBy::All;
        }
        GroupBy::Labels(set)
    }

    fn known_intervals(&mut self, names: Vec<Spanned<String>>) -> Vec<String> {
        names
            .into_iter()
            .map(|name| {
                if !self.intervals.contains_key(&name.value) {
                    let known: Vec<&str> = self.intervals.keys().map(String::as_str).collect();
                    self.findings.add_with_hint(
                        name.referenced,
                        format!("undefined time interval {:?} used in route", name.value),
                        did_you_mean(&name.value, &known),
                    );
                }
                name.value
            })
            .collect()
    }
}

fn inhibit_rule(file: InhibitFile, findings: &mut Findings<'_>) -> InhibitRule {
    let mut source: Vec<Matcher> = from_values(file.source_match, MatchOp::Equal, findings);
    source.extend(from_values(file.source_match_re, MatchOp::Regex, findings));
    source.extend(from_texts(file.source_matchers, findings));
    let mut target: Vec<Matcher> = from_values(file.target_match, MatchOp::Equal, findings);
    target.extend(from_values(file.target_match_re, MatchOp::Regex, findings));
    target.extend(from_texts(file.target_matchers, findings));
    InhibitRule {
        source,
        target,
        equal: file.equal,
    }
}

fn from_values(values: Option<Values>, op: MatchOp, findings: &mut Findings<'_>) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for (name, value) in values.unwrap_or_default() {
        let at = value.referenced;
        // The old form knows classic label names only.
        let classic = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || !name.chars().all(classic)
            || name.starts_with(|c: char| c.is_ascii_digit())
        {
            findings.add(at, format!("invalid label name {name:?}"));
            continue;
        }
        match Matcher::new(name, op, value.value) {
            Ok(matcher) => matchers.push(matcher),
            Err(e) => findings.add(at, e.to_string()),
        }
    }
    matchers
}

fn from_texts(texts: Option<Vec<Spanned<String>>>, findings: &mut Findings<'_>) -> Vec<Matcher> {
    let mut matchers = Vec::new();
    for text in texts.unwrap_or_default() {
        match parse_matchers(&text.value) {
            Ok(parsed) => matchers.extend(parsed),
            Err(e) => findings.add(text.referenced, e.to_string()),
        }
    }
    matchers
}
