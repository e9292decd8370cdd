//! What types and parser say to each other, without generics.

use std::fmt;

use crate::fault::Fault;

/// What a type asks a parser for: the methods of `serde::Deserializer`.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Any,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    String,
    Bytes,
    ByteBuf,
    Option,
    Unit,
    UnitStruct(&'static str),
    NewtypeStruct(&'static str),
    Seq,
    Tuple(usize),
    TupleStruct(&'static str, usize),
    Map,
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
    Identifier,
    IgnoredAny,
}

/// What a parser gives: the methods of `serde::de::Visitor` that do not lead to another.
pub(crate) enum Given<'a, 'de> {
    Bool(bool),
    I64(i64),
    I128(i128),
    U64(u64),
    U128(u128),
    F64(f64),
    Str(&'a str),
    BorrowedStr(&'de str),
    String(String),
    Bytes(&'a [u8]),
    BorrowedBytes(&'de [u8]),
    ByteBuf(Vec<u8>),
    None,
    Unit,
    Some(&'a mut dyn Source<'de>),
    Newtype(&'a mut dyn Source<'de>),
    Seq(&'a mut dyn Items<'de>),
    Map(&'a mut dyn Pairs<'de>),
    Enum(&'a mut dyn Choice<'de>),
}

/// A place in the document; gives what is there once.
pub(crate) trait Source<'de> {
    fn give(&mut self, ask: Ask, to: &mut dyn Sink<'de>) -> Result<(), Fault>;
    fn is_human_readable(&self) -> bool;
}

/// Takes what is given, once.
pub(crate) trait Sink<'de> {
    /// What would be welcome, for errors.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn take(&mut self, given: Given<'_, 'de>) -> Result<(), Fault>;
}

/// A value that is wanted; reads itself from a place, once.
pub(crate) trait Fill<'de> {
    fn fill(&mut self, from: &mut dyn Source<'de>) -> Result<(), Fault>;
}

/// A sequence.
pub(crate) trait Items<'de> {
    /// Whether there was a further one.
    fn next(&mut self, into: &mut dyn Fill<'de>) -> Result<bool, Fault>;
    fn size_hint(&self) -> Option<usize>;
}

/// A mapping.
pub(crate) trait Pairs<'de> {
    /// Whether there was a further one.
    fn key(&mut self, into: &mut dyn Fill<'de>) -> Result<bool, Fault>;
    fn value(&mut self, into: &mut dyn Fill<'de>) -> Result<(), Fault>;
    fn size_hint(&self) -> Option<usize>;
}

/// One of several variants.
pub(crate) trait Choice<'de> {
    fn name(&mut self, into: &mut dyn Fill<'de>) -> Result<(), Fault>;
    fn content(&mut self, shape: Shape<'_, 'de>) -> Result<(), Fault>;
}

/// What the named variant holds.
pub(crate) enum Shape<'a, 'de> {
    Unit,
    Newtype(&'a mut dyn Fill<'de>),
    Tuple(usize, &'a mut dyn Sink<'de>),
    Struct(&'static [&'static str], &'a mut dyn Sink<'de>),
}
