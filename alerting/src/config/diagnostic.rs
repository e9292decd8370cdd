//! What is wrong with a configuration, and where.

pub use model::Diagnostic;
use model::nearest;
use serde_saphyr::Location;

/// Collects findings of one file.
pub(super) struct Findings<'a> {
    file: &'a str,
    pub(super) found: Vec<Diagnostic>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Findings {
            file,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Location, message: impl Into<String>) {
        self.add_with_hint(at, message, None);
    }

    pub(super) fn add_with_hint(
        &mut self,
        at: Location,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.found.push(Diagnostic {
            file: self.file.to_owned(),
            line: at.line() as usize,
            column: at.column() as usize,
            message: message.into(),
            hint,
        });
    }

    pub(super) fn add_yaml(&mut self, error: &serde_saphyr::Error) {
        let error = error.without_snippet();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        match error {
            serde_saphyr::Error::SerdeUnknownField {
                field, expected, ..
            } => {
                self.add_with_hint(
                    at,
                    format!("unknown key {field:?}"),
                    did_you_mean(field, expected),
                );
            }
            serde_saphyr::Error::NullIntoString { .. } => {
                self.add(at, "empty value where a text is expected");
            }
            other => {
                let text = other.to_string();
                // The renderer repeats the place; the finding already carries it.
                let message = text.split(" at line ").next().unwrap_or(&text);
                self.add(at, message.trim_start_matches("error: ").to_owned());
            }
        }
    }
}

/// The candidate a typist most probably meant, as a hint.
pub(super) fn did_you_mean(wrong: &str, candidates: &[&str]) -> Option<String> {
    nearest(wrong, candidates.iter().copied()).map(|near| format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_gets_a_suggestion_and_another_word_does_not() {
        let keys = ["group_wait", "group_interval", "repeat_interval"];
        assert_eq!(
            did_you_mean("group_intervall", &keys).as_deref(),
            Some("did you mean \"group_interval\"?")
        );
        assert_eq!(did_you_mean("colour", &keys), None);
    }
}
