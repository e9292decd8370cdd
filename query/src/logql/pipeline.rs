//! A pipeline made ready to run: each stage takes a line and its labels and hands them on or
//! drops them.

pub(super) mod detect;
mod format;
mod ip;
mod json;
mod json_path;
mod label_filter;
mod line_filter;
mod logfmt;
mod names;
mod pattern;
mod regexp;
mod sanitize;

use std::borrow::Cow;

use model::{Regex, Timestamp};

use super::ast::{LogfmtFlags, Stage};
use super::error::ParseError;
use super::labels::LineLabels;
use format::{LabelFormats, LineFormat};
pub(super) use label_filter::Filter;
use line_filter::LineFilters;
use regexp::Regexp;

/// What ANSI colours look like: an escape, parameters, a letter.
/// Source: <https://github.com/acarl005/stripansi>, which Loki names.
const ANSI: &str = "[\\x{1B}\\x{9B}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z\\d]*(?:;[a-zA-Z\\d]*)*)?\\x{07})|(?:(?:\\d{1,4}(?:;\\d{0,4})*)?[\\dA-PRZcf-ntqry=><~]))";

/// Stages in the order in which they run.
pub(crate) struct Pipeline {
    steps: Vec<Step>,
}

enum Step {
    Line(LineFilters),
    Json,
    Logfmt(LogfmtFlags),
    Regexp(Regexp),
    Pattern(pattern::Pattern),
    Unpack,
    JsonPaths(json_path::Paths),
    LogfmtKeys(logfmt::Keys),
    Label(Filter),
    LineFormat(LineFormat),
    LabelFormat(LabelFormats),
    Decolorize(Regex),
    Drop(names::Names),
    Keep(names::Names),
}

/// Sizes and durations in labels as numbers.
pub(super) mod units_of_texts {
    use crate::logql::units;

    /// Bytes of a size.
    pub(crate) fn bytes(text: &str) -> Result<f64, String> {
        units::parse_bytes(text).map(|bytes| bytes as f64)
    }

    /// Seconds of a duration.
    pub(crate) fn seconds(text: &str) -> Result<f64, String> {
        units::parse_go_duration(text).map(|nanos| template::Span::from_nanos(nanos).seconds())
    }
}

/// Why a `regexp` stage is refused, if it is.
pub(super) fn check_regexp(text: &str) -> Result<(), String> {
    Regexp::new(text).map(drop)
}

/// Why a `pattern` stage is refused, if it is.
pub(super) fn check_pattern(text: &str) -> Result<(), String> {
    pattern::Pattern::parser(text).map(drop)
}

/// The texts of a pattern that a line filter looks for; none when it is refused.
pub(super) fn pattern_texts(text: &str) -> Vec<String> {
    pattern::Pattern::filter(text).map_or(Vec::new(), pattern::Pattern::texts)
}

impl Pipeline {
    /// Makes stages ready; templates take `now` for the time of day.
    ///
    /// # Errors
    /// When a stage's text is wrong.
    pub(crate) fn new(stages: &[Stage], now: Timestamp) -> Result<Self, ParseError> {
        let mut steps = Vec::with_capacity(stages.len());
        for stage in stages {
            let step = Step::new(stage, now).map_err(|why| ParseError::stage(stage, &why))?;
            steps.push(step);
        }
        line_filters_first(&mut steps);
        Ok(Pipeline { steps })
    }

    /// Whether there is no stage.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether stages neither read nor change labels, nor lines.
    pub(crate) fn only_filters_lines(&self) -> bool {
        self.steps.iter().all(|s| matches!(s, Step::Line(_)))
    }

    /// Names of labels that stages read, for hints.
    pub(crate) fn required_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for step in &self.steps {
            match step {
                Step::Label(filter) => filter.names(&mut names),
                Step::LineFormat(format) => names.extend_from_slice(format.names()),
                Step::LabelFormat(formats) => formats.names(&mut names),
                _ => {}
            }
        }
        names
    }

    /// Runs the stages; `None` when one drops the line.
    pub(crate) fn run<'l>(
        &self,
        at_ns: i64,
        line: &'l str,
        labels: &mut LineLabels,
    ) -> Option<Cow<'l, str>> {
        let mut line = Cow::Borrowed(line);
        for step in &self.steps {
            let keeps = match step {
                Step::Line(filters) => filters.keeps(&line),
                Step::Json => {
                    json::parse_into(&line, labels);
                    true
                }
                Step::Logfmt(flags) => {
                    logfmt::parse_into(&line, *flags, labels);
                    true
                }
                Step::Regexp(regexp) => {
                    regexp.parse_into(&line, labels);
                    true
                }
                Step::Pattern(pattern) => {
                    pattern.parse_into(&line, labels);
                    true
                }
                Step::Unpack => {
                    if let Some(entry) = json::unpack_into(&line, labels) {
                        line = Cow::Owned(entry);
                    }
                    true
                }
                Step::JsonPaths(paths) => {
                    paths.parse_into(&line, labels);
                    true
                }
                Step::LogfmtKeys(keys) => {
                    keys.parse_into(&line, labels);
                    true
                }
                Step::Label(filter) => filter.keeps(labels),
                Step::LineFormat(format) => {
                    if let Some(formatted) = format.apply(at_ns, &line, labels) {
                        line = Cow::Owned(formatted);
                    }
                    true
                }
                Step::LabelFormat(formats) => {
                    formats.apply(at_ns, &line, labels);
                    true
                }
                Step::Decolorize(ansi) => {
                    if ansi.is_match(&line) {
                        line = Cow::Owned(ansi.replace_all(&line, ""));
                    }
                    true
                }
                Step::Drop(names) => {
                    names.drop_from(labels);
                    true
                }
                Step::Keep(names) => {
                    names.keep_in(labels);
                    true
                }
            };
            if !keeps {
                return None;
            }
        }
        Some(line)
    }
}

impl Step {
    fn new(stage: &Stage, now: Timestamp) -> Result<Self, String> {
        Ok(match stage {
            Stage::LineFilters(filters) => Step::Line(LineFilters::new(filters)?),
            Stage::Logfmt(flags) => Step::Logfmt(*flags),
            Stage::Json => Step::Json,
            Stage::Regexp(text) => Step::Regexp(Regexp::new(text)?),
            Stage::Pattern(text) => Step::Pattern(pattern::Pattern::parser(text)?),
            Stage::Unpack => Step::Unpack,
            Stage::JsonExpressions(list) => Step::JsonPaths(json_path::Paths::new(list)?),
            Stage::LogfmtExpressions(list, flags) => {
                Step::LogfmtKeys(logfmt::Keys::new(list, *flags)?)
            }
            Stage::LabelFilter(filter) => Step::Label(Filter::new(filter)?),
            Stage::LineFormat(text) => Step::LineFormat(LineFormat::new(text, now)?),
            Stage::Decolorize => {
                Step::Decolorize(Regex::unanchored(ANSI).map_err(|e| e.to_string())?)
            }
            Stage::LabelFormat(list) => Step::LabelFormat(LabelFormats::new(list, now)?),
            Stage::Drop(list) => Step::Drop(names::Names::new(list)),
            Stage::Keep(list) => Step::Keep(names::Names::new(list)),
        })
    }

    /// Whether lines come out other than they went in.
    fn changes_line(&self) -> bool {
        matches!(
            self,
            Step::LineFormat(_) | Step::Unpack | Step::Decolorize(_)
        )
    }
}

/// Moves line filters before what does not change the line: looking for a text is cheaper than
/// parsing, and nothing else tells the two orders apart.
fn line_filters_first(steps: &mut Vec<Step>) {
    let mut begin = 0;
    for i in 0..steps.len() {
        if steps[i].changes_line() {
            begin = i + 1;
        } else if matches!(steps[i], Step::Line(_)) {
            let filters = steps.remove(i);
            steps.insert(begin, filters);
            begin += 1;
        }
    }
}
