//! Detectors of the operator's own, and what is never touched.

use std::ops::Range;

use regex_automata::Input;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use crate::action::{Action, LABEL_BYTES_MAX, Marks};
use crate::detector::Detector;
use crate::{Config, ConfigError};

/// Each rule makes each line cost more.
pub(crate) const RULES_MAX: usize = 64;
/// Longest expression, in bytes.
const REGEX_BYTES_MAX: usize = 2048;
/// Largest compiled expression, in bytes; `(a{1000}){1000}` would fill the memory.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// Finds of a line after which all that follows is one find: an expression may read to the end of
/// the line for each.
const FINDS_MAX: usize = 4096;
/// As [`FINDS_MAX`], of finds whose match goes on for long behind them and is read again each time.
const FAR_FINDS_MAX: usize = 100;
const FAR_BYTES: usize = 1024;

/// A rule's name and action; its expression is one of [`Rules::regex`].
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) action: Action,
}

/// All rules: one more pass over a line if there are any.
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    regex: Option<Regex>,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        if config.rules.len() > RULES_MAX {
            let count = config.rules.len();
            return Err(ConfigError::TooManyRules { count });
        }
        let mut rules: Vec<Rule> = Vec::new();
        let mut patterns = Vec::new();
        for rule in &config.rules {
            check_name(&rule.name, &rules)?;
            let of = format!("rules: {}", rule.name);
            let unknown = || ConfigError::UnknownAction {
                of: of.clone(),
                action: rule.action.clone(),
                truncates: false,
            };
            let action = match rule.action.as_str() {
                "" => Action::Mask,
                name => Action::of(name).ok_or_else(unknown)?,
            };
            if action == Action::Truncate {
                return Err(unknown());
            }
            // Alone first, so that the error names the rule.
            compile(&of, &[rule.regex.as_str()])?;
            patterns.push(rule.regex.as_str());
            rules.push(Rule {
                name: rule.name.clone(),
                action,
            });
        }
        let regex = match patterns.as_slice() {
            [] => None,
            all => Some(compile("rules", all)?),
        };
        Ok(Rules { rules, regex })
    }

    /// What the rules find, in order and without overlaps; the index is the rule's.
    pub(crate) fn each(
        &self,
        text: &str,
        marks: &Marks,
        mut found: impl FnMut(usize, Range<usize>),
    ) {
        let Some(regex) = &self.regex else {
            return;
        };
        let mut captures = regex.create_captures();
        let (mut finds, mut far) = (0, 0);
        let mut from = 0;
        while from < text.len() {
            regex.captures(Input::new(text).range(from..), &mut captures);
            let (Some(rule), Some(whole)) = (captures.pattern(), captures.get_match()) else {
                return;
            };
            if let Some(mark) = marks.around(text.as_bytes(), whole.start()) {
                from = mark.end;
                continue;
            }
            let group = captures
                .get_group(1)
                .map_or(whole.range(), |group| group.range());
            let mut range = on_characters(text, group);
            finds += 1;
            far += usize::from(whole.end() > range.end + FAR_BYTES);
            if finds >= FINDS_MAX || far >= FAR_FINDS_MAX {
                range.end = text.len();
            }
            from = range.end.max(whole.start() + 1);
            if !range.is_empty() {
                found(rule.as_usize(), range);
            }
        }
    }
}

/// The range with the characters at its ends whole.
fn on_characters(text: &str, range: Range<usize>) -> Range<usize> {
    let (mut start, mut end) = (range.start, range.end);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

fn check_name(name: &str, before: &[Rule]) -> Result<(), ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let first = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    let reason = if !first || !name.bytes().all(allowed) || name.len() > LABEL_BYTES_MAX {
        "it is 1 to 32 lower-case letters, digits and '-', and begins with a letter"
    } else if Detector::is_reserved(name) {
        "a built-in detector has it"
    } else if before.iter().any(|rule| rule.name == name) {
        "another rule has it"
    } else {
        return Ok(());
    };
    let name = name.to_owned();
    Err(ConfigError::BadRuleName { name, reason })
}

/// Bytes, not characters: the engine never falls back to a slow automaton on lines that are not
/// ASCII.
fn compile(of: &str, patterns: &[&str]) -> Result<Regex, ConfigError> {
    let bad = |reason: String| ConfigError::BadPattern {
        of: of.to_owned(),
        reason,
    };
    if let Some(long) = patterns.iter().find(|p| p.len() > REGEX_BYTES_MAX) {
        let reason = format!(
            "{} bytes of regular expression are more than {REGEX_BYTES_MAX}",
            long.len()
        );
        return Err(bad(reason));
    }
    if patterns.iter().any(|pattern| pattern.is_empty()) {
        return Err(bad("the regular expression is empty".to_owned()));
    }
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(COMPILED_BYTES_MAX * patterns.len())))
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .build_many(patterns)
        .map_err(|error| {
            let reason = error.syntax_error().map_or_else(
                || format!("the regular expression is too large: {error}"),
                |syntax| format!("no regular expression: {syntax}"),
            );
            bad(reason)
        })
}

/// What is never touched.
pub(crate) struct Allowed {
    values: Vec<String>,
    patterns: Option<Regex>,
}

impl Allowed {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut whole = Vec::new();
        for pattern in &config.allow_patterns {
            compile(&format!("allow_patterns: {pattern:?}"), &[pattern])?;
            whole.push(format!(r"\A(?:{pattern})\z"));
        }
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        Ok(Allowed {
            values: config.allow_values.clone(),
            patterns: match whole.as_slice() {
                [] => None,
                all => Some(compile("allow_patterns", all)?),
            },
        })
    }

    pub(crate) fn holds(&self, value: &str) -> bool {
        let known = |known: &String| known.eq_ignore_ascii_case(value);
        self.values.iter().any(known)
            || (self.patterns.as_ref()).is_some_and(|regex| regex.is_match(value))
    }
}
