//! What a script says about an evaluation's outcome besides its values.

use model::Regex;

use crate::promql::quote::unquote;

/// A text to find among errors or annotations.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Text::Any => true,
            Text::Exactly(want) => want == text,
            Text::Matching(regex) => regex.is_match(text),
        }
    }
}

/// What a line below an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Expectation,
    /// An expectation after which nothing belongs to the evaluation.
    Last,
    Other,
}

/// All `expect` lines of one evaluation.
#[derive(Clone, Debug, Default)]
pub(super) struct Expectations {
    pub(super) fail: Option<Text>,
    warn: Vec<Text>,
    info: Vec<Text>,
    no_warn: bool,
    no_info: bool,
    pub(super) ordered: bool,
    pub(super) string: Option<String>,
    /// Start, end and step in milliseconds.
    pub(super) range_vector: Option<(i64, i64, i64)>,
}

impl Expectations {
    /// The old style: `eval_fail`, `eval_warn` and so on.
    pub(super) fn set_kind(&mut self, kind: &str) {
        match kind {
            "_fail" => self.fail = Some(Text::Any),
            "_warn" => self.warn.push(Text::Any),
            "_info" => self.info.push(Text::Any),
            "_ordered" => self.ordered = true,
            _ => {}
        }
    }

    /// Takes in a line if it is an expectation.
    pub(super) fn line(&mut self, line: &str) -> Result<Line, String> {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            self.fail = Some(Text::Exactly(text.trim().to_owned()));
            return Ok(Line::Last);
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            self.fail = Some(matching(text.trim())?);
            return Ok(Line::Last);
        }
        let Some(rest) = line
            .strip_prefix("expect")
            .filter(|r| r.starts_with(char::is_whitespace))
        else {
            return Ok(Line::Other);
        };
        let rest = rest.trim();
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let rest = rest.trim();
        match word {
            "ordered" => self.ordered = true,
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            "fail" => self.fail = Some(text(rest)?),
            "warn" => self.warn.push(text(rest)?),
            "info" => self.info.push(text(rest)?),
            "string" => {
                let bytes = unquote(rest)?;
                self.string = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            "range" => self.range_vector = Some(range_vector(rest)?),
            other => return Err(format!("unknown expectation {other:?}")),
        }
        Ok(Line::Expectation)
    }

    pub(super) fn check_error(&self, error: &str) -> Result<(), String> {
        match &self.fail {
            None => Err(format!("failed: {error}")),
            Some(text) if text.fits(error) => Ok(()),
            Some(text) => Err(format!("failed with {error:?}, expected {text:?}")),
        }
    }

    pub(super) fn check_annotations(
        &self,
        warnings: &[String],
        infos: &[String],
    ) -> Result<(), String> {
        check(&self.warn, self.no_warn, warnings)?;
        check(&self.info, self.no_info, infos)
    }
}

fn check(wanted: &[Text], none: bool, found: &[String]) -> Result<(), String> {
    if none && !found.is_empty() {
        return Err(format!("unexpected annotations {found:?}"));
    }
    for w in wanted {
        if !found.iter().any(|f| w.fits(f)) {
            return Err(format!("expected annotation {w:?}, got {found:?}"));
        }
    }
    if !wanted.is_empty()
        && let Some(f) = found.iter().find(|f| !wanted.iter().any(|w| w.fits(f)))
    {
        return Err(format!("unexpected annotation {f:?}"));
    }
    Ok(())
}

fn matching(pattern: &str) -> Result<Text, String> {
    let regex = Regex::unanchored(pattern).map_err(|e| e.to_string())?;
    Ok(Text::Matching(regex))
}

fn text(rest: &str) -> Result<Text, String> {
    if rest.is_empty() {
        return Ok(Text::Any);
    }
    if let Some(exact) = rest.strip_prefix("msg:") {
        return Ok(Text::Exactly(exact.trim().to_owned()));
    }
    match rest.strip_prefix("regex:") {
        Some(pattern) => matching(pattern.trim()),
        None => Err(format!("expected msg: or regex:, got {rest:?}")),
    }
}

/// `vector from 0 to 1m step 10s`
fn range_vector(rest: &str) -> Result<(i64, i64, i64), String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ["vector", "from", from, "to", to, "step", step] = words.as_slice() else {
        return Err(format!(
            "expected `range vector from … to … step …`, got {rest:?}"
        ));
    };
    let ms = super::command::millis;
    Ok((ms(from)?, ms(to)?, ms(step)?))
}
