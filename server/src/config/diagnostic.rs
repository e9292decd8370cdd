//! What is wrong with a file, and where.

use std::fmt;

/// One finding in a file a person wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the operator named it.
    pub file: String,
    /// Line and column, both from 1; `None` when the whole file is meant.
    pub position: Option<(u64, u64)>,
    /// What is wrong and, where one is obvious, what to write instead.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => {
                write!(f, "{}:{line}:{column}: {}", self.file, self.message)
            }
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigError(pub Vec<Diagnostic>);

impl ConfigError {
    /// One finding about a whole file.
    #[must_use]
    pub fn whole_file(file: &str, message: impl Into<String>) -> Self {
        ConfigError(vec![Diagnostic {
            file: file.to_owned(),
            position: None,
            message: message.into(),
        }])
    }
}

fn lines(findings: &[Diagnostic]) -> String {
    let lines: Vec<String> = findings.iter().map(Diagnostic::to_string).collect();
    lines.join("\n")
}

/// ` (did you mean x?)` when one of `known` is close to `word`, else nothing.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    model::nearest(word, known).map_or_else(String::new, |k| format!(" (did you mean {k}?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_named_and_strangers_are_not() {
        let known = ["listen", "interval", "scrape_configs"];
        assert_eq!(did_you_mean("lisen", known), " (did you mean listen?)");
        assert_eq!(did_you_mean("itnerval", known), " (did you mean interval?)");
        assert_eq!(
            did_you_mean("scrape-config", known),
            " (did you mean scrape_configs?)"
        );
        assert_eq!(did_you_mean("banana", known), "");
    }
}
