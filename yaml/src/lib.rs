//! YAML into types, with one copy of the parser's generic code in the binary.
//!
//! The parser compiles its walk over mappings and sequences anew for every type that is read,
//! which was a tenth of the binary. Here it is compiled once, for a visitor behind a trait object:
//! `inward` is what types see, `outward` what the parser sees, `seam` what lies between. Values and
//! errors are those of `serde_saphyr::from_str_with_options`, places included.

mod fault;
mod inward;
mod outward;
mod seam;

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Options};

use inward::Slot;
use outward::fill_from;
use seam::Fill;

/// Reads the one document of `text`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn from_str<T: DeserializeOwned>(text: &str, options: Options) -> Result<T, Error> {
    let mut slot = Slot::Waiting(PhantomData::<T>);
    read(text, options, &mut slot)?;
    slot.done().map_err(|fault| fault.to_error())
}

/// The part that does not depend on the type.
fn read<'de>(text: &'de str, options: Options, into: &mut dyn Fill<'de>) -> Result<(), Error> {
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |parser| {
        fill_from(parser, into)
    })
}

#[cfg(test)]
mod tests;
