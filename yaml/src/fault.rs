//! Errors on their way from a type to the parser.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// What a type found wrong, kept in parts so that the parser can make its own error of it, with
/// the place.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The parser's own error passes by; it is kept where it arose.
    Thrown(String),
    Custom(String),
    Type(String, String),
    Value(String, String),
    Length(usize, String),
    Variant(String, &'static [&'static str]),
    Field(String, &'static [&'static str]),
    Missing(&'static str),
    Duplicate(&'static str),
}

impl Fault {
    /// Something was asked for twice, or nothing was given: a fault of the code, not of the text.
    pub(crate) fn misuse() -> Fault {
        Fault::Custom("a value was read twice or not at all".to_owned())
    }

    pub(crate) fn to_error<E: de::Error>(&self) -> E {
        match self {
            Fault::Thrown(text) | Fault::Custom(text) => E::custom(text),
            Fault::Type(found, expected) => {
                E::invalid_type(Unexpected::Other(found), &expected.as_str())
            }
            Fault::Value(found, expected) => {
                E::invalid_value(Unexpected::Other(found), &expected.as_str())
            }
            Fault::Length(found, expected) => E::invalid_length(*found, &expected.as_str()),
            Fault::Variant(found, known) => E::unknown_variant(found, known),
            Fault::Field(found, known) => E::unknown_field(found, known),
            Fault::Missing(field) => E::missing_field(field),
            Fault::Duplicate(field) => E::duplicate_field(field),
        }
    }
}

/// Puts a parser's error where [`settle`] finds it.
pub(crate) fn throw<E: fmt::Display>(kept: &mut Option<E>, error: E) -> Fault {
    let fault = Fault::Thrown(error.to_string());
    *kept = Some(error);
    fault
}

/// The parser's error again: the one that passed by, or one made of what the type said.
pub(crate) fn settle<T, E: de::Error>(done: Result<T, Fault>, kept: Option<E>) -> Result<T, E> {
    done.map_err(|fault| match (fault, kept) {
        (Fault::Thrown(_), Some(error)) => error,
        (fault, _) => fault.to_error(),
    })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_error::<de::value::Error>().fmt(f)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Fault::Custom(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::Type(found.to_string(), expected.to_string())
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::Value(found.to_string(), expected.to_string())
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Fault::Length(found, expected.to_string())
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Fault::Variant(found.to_owned(), known)
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        Fault::Field(found.to_owned(), known)
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::Missing(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Fault::Duplicate(field)
    }
}
