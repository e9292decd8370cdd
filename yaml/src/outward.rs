//! The side that the parser sees: one visitor and one seed, whatever is read.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::fault::{Fault, settle, throw};
use crate::seam::{Ask, Choice, Fill, Given, Items, Pairs, Shape, Sink, Source};

/// Reads what is wanted from a parser.
pub(crate) fn fill_from<'de, D: Deserializer<'de>>(
    parser: D,
    into: &mut dyn Fill<'de>,
) -> Result<(), D::Error> {
    let mut place = Place::new(parser);
    let done = into.fill(&mut place);
    settle(done, place.thrown)
}

/// A parser as a source.
struct Place<D, E> {
    parser: Option<D>,
    thrown: Option<E>,
}

impl<D, E> Place<D, E> {
    fn new(parser: D) -> Self {
        Place {
            parser: Some(parser),
            thrown: None,
        }
    }
}

impl<'de, D: Deserializer<'de>> Source<'de> for Place<D, D::Error> {
    fn give(&mut self, ask: Ask, to: &mut dyn Sink<'de>) -> Result<(), Fault> {
        let parser = self.parser.take().ok_or_else(Fault::misuse)?;
        let to = Forward(to);
        let done = match ask {
            Ask::Any => parser.deserialize_any(to),
            Ask::Bool => parser.deserialize_bool(to),
            Ask::I8 => parser.deserialize_i8(to),
            Ask::I16 => parser.deserialize_i16(to),
            Ask::I32 => parser.deserialize_i32(to),
            Ask::I64 => parser.deserialize_i64(to),
            Ask::I128 => parser.deserialize_i128(to),
            Ask::U8 => parser.deserialize_u8(to),
            Ask::U16 => parser.deserialize_u16(to),
            Ask::U32 => parser.deserialize_u32(to),
            Ask::U64 => parser.deserialize_u64(to),
            Ask::U128 => parser.deserialize_u128(to),
            Ask::F32 => parser.deserialize_f32(to),
            Ask::F64 => parser.deserialize_f64(to),
            Ask::Char => parser.deserialize_char(to),
            Ask::Str => parser.deserialize_str(to),
            Ask::String => parser.deserialize_string(to),
            Ask::Bytes => parser.deserialize_bytes(to),
            Ask::ByteBuf => parser.deserialize_byte_buf(to),
            Ask::Option => parser.deserialize_option(to),
            Ask::Unit => parser.deserialize_unit(to),
            Ask::UnitStruct(name) => parser.deserialize_unit_struct(name, to),
            Ask::NewtypeStruct(name) => parser.deserialize_newtype_struct(name, to),
            Ask::Seq => parser.deserialize_seq(to),
            Ask::Tuple(len) => parser.deserialize_tuple(len, to),
            Ask::TupleStruct(name, len) => parser.deserialize_tuple_struct(name, len, to),
            Ask::Map => parser.deserialize_map(to),
            Ask::Struct(name, fields) => parser.deserialize_struct(name, fields, to),
            Ask::Enum(name, variants) => parser.deserialize_enum(name, variants, to),
            Ask::Identifier => parser.deserialize_identifier(to),
            Ask::IgnoredAny => parser.deserialize_ignored_any(to),
        };
        done.map_err(|e| throw(&mut self.thrown, e))
    }

    fn is_human_readable(&self) -> bool {
        self.parser.as_ref().is_none_or(D::is_human_readable)
    }
}

/// Any visitor.
struct Forward<'a, 'de>(&'a mut dyn Sink<'de>);

impl<'de> Visitor<'de> for Forward<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<(), E> {
        settle(self.0.take(Given::Bool(v)), None)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<(), E> {
        settle(self.0.take(Given::I64(v)), None)
    }

    fn visit_i128<E: Error>(self, v: i128) -> Result<(), E> {
        settle(self.0.take(Given::I128(v)), None)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<(), E> {
        settle(self.0.take(Given::U64(v)), None)
    }

    fn visit_u128<E: Error>(self, v: u128) -> Result<(), E> {
        settle(self.0.take(Given::U128(v)), None)
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        settle(self.0.take(Given::F64(v)), None)
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<(), E> {
        settle(self.0.take(Given::Str(v)), None)
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<(), E> {
        settle(self.0.take(Given::BorrowedStr(v)), None)
    }

    fn visit_string<E: Error>(self, v: String) -> Result<(), E> {
        settle(self.0.take(Given::String(v)), None)
    }

    fn visit_bytes<E: Error>(self, v: &[u8]) -> Result<(), E> {
        settle(self.0.take(Given::Bytes(v)), None)
    }

    fn visit_borrowed_bytes<E: Error>(self, v: &'de [u8]) -> Result<(), E> {
        settle(self.0.take(Given::BorrowedBytes(v)), None)
    }

    fn visit_byte_buf<E: Error>(self, v: Vec<u8>) -> Result<(), E> {
        settle(self.0.take(Given::ByteBuf(v)), None)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        settle(self.0.take(Given::None), None)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        settle(self.0.take(Given::Unit), None)
    }

    fn visit_some<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        let mut place = Place::new(parser);
        let done = self.0.take(Given::Some(&mut place));
        settle(done, place.thrown)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        let mut place = Place::new(parser);
        let done = self.0.take(Given::Newtype(&mut place));
        settle(done, place.thrown)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let mut open = Open::new(access);
        let done = self.0.take(Given::Seq(&mut open));
        settle(done, open.thrown)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let mut open = Open::new(access);
        let done = self.0.take(Given::Map(&mut open));
        settle(done, open.thrown)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<(), A::Error> {
        let mut variants = Variants {
            access: Some(access),
            named: None,
            thrown: None,
        };
        let done = self.0.take(Given::Enum(&mut variants));
        settle(done, variants.thrown)
    }
}

/// Any seed.
struct Seed<'a, 'de>(&'a mut dyn Fill<'de>);

impl<'de> DeserializeSeed<'de> for Seed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        fill_from(parser, self.0)
    }
}

/// A sequence or mapping that is being read.
struct Open<A, E> {
    access: A,
    thrown: Option<E>,
}

impl<A, E> Open<A, E> {
    fn new(access: A) -> Self {
        Open {
            access,
            thrown: None,
        }
    }
}

impl<'de, A: SeqAccess<'de>> Items<'de> for Open<A, A::Error> {
    fn next(&mut self, into: &mut dyn Fill<'de>) -> Result<bool, Fault> {
        let next = self.access.next_element_seed(Seed(into));
        next.map(|one| one.is_some())
            .map_err(|e| throw(&mut self.thrown, e))
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> Pairs<'de> for Open<A, A::Error> {
    fn key(&mut self, into: &mut dyn Fill<'de>) -> Result<bool, Fault> {
        let next = self.access.next_key_seed(Seed(into));
        next.map(|one| one.is_some())
            .map_err(|e| throw(&mut self.thrown, e))
    }

    fn value(&mut self, into: &mut dyn Fill<'de>) -> Result<(), Fault> {
        let value = self.access.next_value_seed(Seed(into));
        value.map_err(|e| throw(&mut self.thrown, e))
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.size_hint()
    }
}

/// An enumeration before and after its variant is known.
struct Variants<A, V, E> {
    access: Option<A>,
    named: Option<V>,
    thrown: Option<E>,
}

impl<'de, A: EnumAccess<'de>> Choice<'de> for Variants<A, A::Variant, A::Error> {
    fn name(&mut self, into: &mut dyn Fill<'de>) -> Result<(), Fault> {
        let access = self.access.take().ok_or_else(Fault::misuse)?;
        match access.variant_seed(Seed(into)) {
            Ok(((), named)) => {
                self.named = Some(named);
                Ok(())
            }
            Err(e) => Err(throw(&mut self.thrown, e)),
        }
    }

    fn content(&mut self, shape: Shape<'_, 'de>) -> Result<(), Fault> {
        let named = self.named.take().ok_or_else(Fault::misuse)?;
        let done = match shape {
            Shape::Unit => named.unit_variant(),
            Shape::Newtype(into) => named.newtype_variant_seed(Seed(into)),
            Shape::Tuple(len, to) => named.tuple_variant(len, Forward(to)),
            Shape::Struct(fields, to) => named.struct_variant(fields, Forward(to)),
        };
        done.map_err(|e| throw(&mut self.thrown, e))
    }
}
