//! From what was written to what can be evaluated: names, durations, expressions, templates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use serde_saphyr::Spanned;
use template::{Functions, TemplateSet};

use super::{
    AlertSpec, Diagnostic, GroupSpec, RawFile, RawGroup, RawRule, RecordSpec, RuleFile, RuleSpec,
    place, position,
};
use crate::RuleExpr;
use crate::expr::Language;

/// Variables that Prometheus declares in front of every alert template.
const VARIABLES: &[(&str, &str)] = &[
    ("$labels", "Labels"),
    ("$externalLabels", "ExternalLabels"),
    ("$externalURL", "ExternalURL"),
    ("$value", "Value"),
];

/// An empty set with the variables of alert templates.
pub(crate) fn template_set() -> TemplateSet {
    TemplateSet::with_variables(VARIABLES)
}

pub(super) fn file(name: &str, text: &str, raw: RawFile) -> Result<RuleFile, Vec<Diagnostic>> {
    let mut checker = Checker {
        file: name,
        text,
        functions: template::prometheus::functions(template::prometheus::Environment {
            query: Arc::new(|_| Ok(Vec::new())),
            now: Timestamp::default(),
            external_url: String::new(),
        }),
        found: Vec::new(),
        notes: Vec::new(),
    };
    let mut seen = BTreeSet::new();
    let mut groups = Vec::new();
    for group in raw.groups.unwrap_or_default() {
        if group.name.value.is_empty() {
            checker.complain(place(group.name.referenced), "group name must not be empty");
        } else if !seen.insert(group.name.value.clone()) {
            checker.complain(
                place(group.name.referenced),
                format!(
                    "groupname: {:?} is repeated in the same file",
                    group.name.value
                ),
            );
        }
        groups.push(checker.group(group));
    }
    if checker.found.is_empty() {
        Ok(RuleFile {
            name: name.to_owned(),
            groups,
            notes: checker.notes,
        })
    } else {
        let mut found = checker.found;
        found.sort_by_key(|d| (d.line, d.column));
        Err(found)
    }
}

struct Checker<'t> {
    file: &'t str,
    text: &'t str,
    functions: Functions<'t>,
    found: Vec<Diagnostic>,
    notes: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn complain(&mut self, (line, column): (usize, usize), message: impl Into<String>) {
        self.complain_with((line, column), message.into(), None);
    }

    fn complain_with(
        &mut self,
        (line, column): (usize, usize),
        message: String,
        hint: Option<String>,
    ) {
        self.found.push(Diagnostic {
            file: self.file.to_owned(),
            line,
            column,
            message,
            hint,
        });
    }

    fn group(&mut self, raw: RawGroup) -> GroupSpec {
        let labels = raw.labels.unwrap_or_default();
        self.label_names(&labels);
        let interval = self.duration(raw.interval.as_ref(), "interval");
        let limit = match &raw.limit {
            Some(limit) if limit.value < 0 => {
                self.complain(place(limit.referenced), "limit must not be negative");
                0
            }
            Some(limit) => usize::try_from(limit.value).unwrap_or(usize::MAX),
            None => 0,
        };
        let rules = raw
            .rules
            .unwrap_or_default()
            .into_iter()
            .filter_map(|rule| self.rule(rule, &labels, raw.engine))
            .collect();
        GroupSpec {
            name: raw.name.value,
            // Zero means the default, as in Prometheus.
            interval: interval.filter(|i| !i.is_zero()),
            query_offset: self.duration(raw.query_offset.as_ref(), "query_offset"),
            limit,
            rules,
        }
    }

    fn rule(
        &mut self,
        raw: Spanned<RawRule>,
        group_labels: &BTreeMap<String, Spanned<String>>,
        group_engine: Option<Language>,
    ) -> Option<RuleSpec> {
        let here = place(raw.referenced);
        let rule = raw.value;
        let expr = match &rule.expr {
            Some(expr) if !expr.value.trim().is_empty() => {
                self.expr(expr, rule.engine.or(group_engine))
            }
            Some(expr) => {
                self.complain(place(expr.referenced), "field 'expr' must be set in rule");
                None
            }
            None => {
                self.complain(here, "field 'expr' must be set in rule");
                None
            }
        };
        let own = rule.labels.clone().unwrap_or_default();
        self.label_names(&own);
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in group_labels.iter().chain(&own) {
            labels.insert(name.clone(), value.value.clone());
        }
        match (&rule.alert, &rule.record) {
            (Some(_), Some(record)) => {
                self.complain(
                    place(record.referenced),
                    "only one of 'record' and 'alert' must be set",
                );
                None
            }
            (None, None) => {
                self.complain(here, "one of 'record' or 'alert' must be set");
                None
            }
            (Some(name), None) => self.alert(name, &rule, expr, labels, &own),
            (None, Some(name)) => self.record(name, &rule, expr, labels),
        }
    }

    fn alert(
        &mut self,
        name: &Spanned<String>,
        rule: &RawRule,
        expr: Option<RuleExpr>,
        labels: BTreeMap<String, String>,
        own: &BTreeMap<String, Spanned<String>>,
    ) -> Option<RuleSpec> {
        if name.value.is_empty() {
            self.complain(place(name.referenced), "alert name must not be empty");
        }
        let hold = self.duration(rule.r#for.as_ref(), "for");
        let keep = self.duration(rule.keep_firing_for.as_ref(), "keep_firing_for");
        for (key, value) in own {
            self.template(&name.value, "label", key, value);
        }
        let mut annotations = BTreeMap::new();
        for (key, value) in rule.annotations.iter().flatten() {
            if !is_label_name(key) {
                self.complain(
                    place(value.referenced),
                    format!("invalid annotation name: {key}"),
                );
            }
            self.template(&name.value, "annotation", key, value);
            annotations.insert(key.clone(), value.value.clone());
        }
        Some(RuleSpec::Alert(AlertSpec {
            name: name.value.clone(),
            expr: Arc::new(expr?),
            hold: hold.unwrap_or_default(),
            keep_firing_for: keep.unwrap_or_default(),
            labels,
            annotations,
            line: place(name.referenced).0,
        }))
    }

    fn record(
        &mut self,
        name: &Spanned<String>,
        rule: &RawRule,
        expr: Option<RuleExpr>,
        labels: BTreeMap<String, String>,
    ) -> Option<RuleSpec> {
        let misplaced = [
            (rule.r#for.as_ref(), "for"),
            (rule.keep_firing_for.as_ref(), "keep_firing_for"),
        ];
        for (value, key) in misplaced {
            if let Some(value) = value {
                self.complain(
                    place(value.referenced),
                    format!("invalid field '{key}' in recording rule"),
                );
            }
        }
        if let Some((_, first)) = rule
            .annotations
            .as_ref()
            .and_then(BTreeMap::first_key_value)
        {
            self.complain(
                place(first.referenced),
                "invalid field 'annotations' in recording rule",
            );
        }
        let at = place(name.referenced);
        if name.value.contains(['{', '}']) {
            self.complain(
                at,
                format!(
                    "braces present in the recording rule name; should it be in expr?: {}",
                    name.value
                ),
            );
        } else if name.value.is_empty() {
            self.complain(at, "invalid recording rule name: it is empty");
        }
        Some(RuleSpec::Record(RecordSpec {
            name: name.value.clone(),
            expr: Arc::new(expr?),
            labels,
            line: at.0,
        }))
    }

    fn label_names(&mut self, labels: &BTreeMap<String, Spanned<String>>) {
        for (name, value) in labels {
            if !is_label_name(name) || name == "__name__" {
                self.complain(
                    place(value.referenced),
                    format!("invalid label name: {name}"),
                );
            }
        }
    }

    fn duration(&mut self, value: Option<&Spanned<String>>, key: &str) -> Option<Duration> {
        let value = value?;
        match model::number::parse_duration(value.value.trim()) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.complain(place(value.referenced), format!("{key}: {error}"));
                None
            }
        }
    }

    fn expr(&mut self, value: &Spanned<String>, engine: Option<Language>) -> Option<RuleExpr> {
        match RuleExpr::parse(&value.value, engine) {
            Ok(expr) => {
                if engine.is_none() && expr.may_be_meant_for_logs(&value.value) {
                    let (line, column) = place(value.referenced);
                    self.notes.push(Diagnostic {
                        file: self.file.to_owned(),
                        line,
                        column,
                        message: "this reads metrics, though without the name of one; PromQL and LogQL write it alike".to_owned(),
                        hint: Some("write engine: logql beside expr to read log lines, or engine: promql".to_owned()),
                    });
                }
                Some(expr)
            }
            Err(error) => {
                let at = match error.offset {
                    None => place(value.referenced),
                    Some(offset) => position::in_scalar(self.text, value, offset),
                };
                self.complain(at, error.message);
                None
            }
        }
    }

    /// The function or variable that was probably meant.
    fn template_hint(&self, message: &str) -> Option<String> {
        let word = message.split('"').nth(1)?;
        let near = if message.starts_with("function ") {
            let mut names: Vec<&str> = self.functions.names().collect();
            names.sort_unstable();
            model::nearest(word, names)
        } else if message.starts_with("undefined variable ") {
            model::nearest(word, VARIABLES.iter().map(|(name, _)| *name))
        } else {
            None
        };
        near.map(|n| format!("did you mean {n:?}?"))
    }

    fn template(&mut self, rule: &str, what: &str, key: &str, value: &Spanned<String>) {
        let mut set = template_set();
        let result = set
            .add(rule, &value.value)
            .and_then(|()| set.check(&self.functions));
        if let Err(error) = result {
            let offset = offset_of(&value.value, error.line, error.column);
            let at = position::in_scalar(self.text, value, offset);
            let hint = self.template_hint(&error.message);
            self.complain_with(at, format!("{what} {key:?}: {}", error.message), hint);
        }
    }
}

/// The byte offset of a 1-based line and byte column; 0 when they are unknown.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Prometheus 3 takes any UTF-8 name that is not empty.
fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}
