//! YAML errors in our words.

use model::nearest;
use serde_saphyr::Error;

use super::{Diagnostic, place};

/// A YAML or schema error as a diagnostic.
pub(super) fn yaml_error(file: &str, text: &str, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), place);
    let (message, hint) = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => (
            format!("unknown key {field:?}"),
            match nearest(field, expected.iter().copied()) {
                Some(near) => Some(format!("did you mean {near:?}?")),
                None => Some(format!("known keys: {}", expected.join(", "))),
            },
        ),
        Error::SerdeMissingField { field, .. } => (format!("key {field:?} is missing"), None),
        Error::MultipleDocuments { .. } => (
            "a second YAML document".to_owned(),
            Some("only the first would be read; remove the \"---\" between them".to_owned()),
        ),
        Error::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("key {key:?} is repeated"),
                None => "a key is repeated".to_owned(),
            },
            None,
        ),
        other => (words(other), line_hint(text, line)),
    };
    Diagnostic {
        file: file.to_owned(),
        line,
        column,
        message,
        hint,
    }
}

/// What the YAML library says, where it speaks of its own types in words of the file.
fn words(error: &Error) -> String {
    let mut rendered = error.render_with_options(serde_saphyr::RenderOptions::default());
    if let Some(at) = rendered.find(" at line ") {
        rendered.truncate(at);
    }
    let plain = rendered.trim_start_matches("error: ").trim_end();
    match plain {
        "expected string scalar" => "a text is expected here".to_owned(),
        "expected sequence start" => "a list is expected here".to_owned(),
        "expected mapping start" => "keys with values are expected here".to_owned(),
        "invalid i64" => "a whole number is expected here".to_owned(),
        other => other.to_owned(),
    }
}

/// What is usually wrong with a line that looks like this one.
fn line_hint(text: &str, line: usize) -> Option<String> {
    let line = text.lines().nth(line.checked_sub(1)?)?;
    if line.trim_start_matches(' ').starts_with('\t') {
        Some("YAML is indented with spaces, this line has a tab".to_owned())
    } else if line.contains(": {{") {
        Some("a text that begins with {{ must be quoted".to_owned())
    } else {
        None
    }
}
