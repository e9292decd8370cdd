//! Rule files: Prometheus' format, read strictly, every complaint with its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use model::Diagnostic;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::RuleExpr;
use crate::expr::Language;

mod check;
mod hint;
mod position;

pub(crate) use check::template_set;

/// A rule file that was read without complaint.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Path or pack name, as given to [`parse`].
    pub name: String,
    /// Its groups in order.
    pub groups: Vec<GroupSpec>,
    /// What is right and may be meant otherwise.
    pub notes: Vec<Diagnostic>,
}

/// A group as written.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Unique within the file.
    pub name: String,
    /// Time between evaluations; `None` takes the default.
    pub interval: Option<Duration>,
    /// How far in the past expressions are evaluated; `None` takes the default.
    pub query_offset: Option<Duration>,
    /// Most alerts or series a rule may give; 0 is no limit.
    pub limit: usize,
    /// Its rules in order.
    pub rules: Vec<RuleSpec>,
}

/// A rule as written, the group's labels merged in.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleSpec {
    /// Raises alerts.
    Alert(AlertSpec),
    /// Writes a series.
    Record(RecordSpec),
}

/// An alerting rule. Equal ones do the same; where they stand in the file does not count.
#[derive(Clone, Debug)]
pub struct AlertSpec {
    /// The label `alertname`.
    pub name: String,
    /// What must hold.
    pub expr: Arc<RuleExpr>,
    /// `for`: how long it must hold.
    pub hold: Duration,
    /// How long an alert stays after it no longer holds.
    pub keep_firing_for: Duration,
    /// Templates of the labels added, by name.
    pub labels: BTreeMap<String, String>,
    /// Templates of the annotations, by name.
    pub annotations: BTreeMap<String, String>,
    /// 1-based line in the file.
    pub line: usize,
}

/// A recording rule. Equal ones do the same; where they stand in the file does not count.
#[derive(Clone, Debug)]
pub struct RecordSpec {
    /// The metric written.
    pub name: String,
    /// What is written.
    pub expr: Arc<RuleExpr>,
    /// Labels added, by name.
    pub labels: BTreeMap<String, String>,
    /// 1-based line in the file.
    pub line: usize,
}

impl PartialEq for AlertSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.hold == other.hold
            && self.keep_firing_for == other.keep_firing_for
            && self.labels == other.labels
            && self.annotations == other.annotations
            && self.expr == other.expr
    }
}

impl PartialEq for RecordSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels && self.expr == other.expr
    }
}

impl RuleSpec {
    /// Alert name or recorded metric.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            RuleSpec::Alert(a) => &a.name,
            RuleSpec::Record(r) => &r.name,
        }
    }
}

/// Reads a rule file.
///
/// # Errors
/// Every complaint about expressions, templates, names and durations in file order; for wrong
/// YAML and unknown keys the first one only. The list is never empty.
pub fn parse(file_name: &str, text: &str) -> Result<RuleFile, Vec<Diagnostic>> {
    let raw: RawFile = match read(text) {
        Ok(raw) => raw,
        Err(error) => return Err(vec![hint::yaml_error(file_name, text, &error)]),
    };
    check::file(file_name, text, raw)
}

fn read(text: &str) -> Result<RawFile, serde_saphyr::Error> {
    // A file without content is a file without groups, as in Prometheus.
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    let raw: Option<RawFile> = yaml::from_str(text, options)?;
    Ok(raw.unwrap_or_default())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Option<Vec<RawGroup>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    name: Spanned<String>,
    interval: Option<Spanned<String>>,
    query_offset: Option<Spanned<String>>,
    limit: Option<Spanned<i64>>,
    engine: Option<Language>,
    labels: Option<Vec2<Spanned<String>>>,
    rules: Option<Vec<Spanned<RawRule>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    record: Option<Spanned<String>>,
    alert: Option<Spanned<String>>,
    expr: Option<Spanned<String>>,
    engine: Option<Language>,
    r#for: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    labels: Option<Vec2<Spanned<String>>>,
    annotations: Option<Vec2<Spanned<String>>>,
}

/// A string map.
type Vec2<T> = BTreeMap<String, T>;

/// Where a value stands, 1-based line and column.
fn place(location: Location) -> (usize, usize) {
    (location.line() as usize, location.column() as usize)
}
