//! The side that types see: one deserializer, whatever the parser is doing.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::fault::Fault;
use crate::seam::{Ask, Choice, Fill, Given, Items, Pairs, Shape, Sink, Source};

/// Holds whoever wants a value, then the value.
pub(crate) enum Slot<W, T> {
    Waiting(W),
    Done(T),
    /// It failed, or the value was taken.
    Empty,
}

impl<W, T> Slot<W, T> {
    pub(crate) fn done(self) -> Result<T, Fault> {
        match self {
            Slot::Done(value) => Ok(value),
            Slot::Waiting(_) | Slot::Empty => Err(Fault::misuse()),
        }
    }

    fn wanted(&mut self) -> Result<W, Fault> {
        match std::mem::replace(self, Slot::Empty) {
            Slot::Waiting(wanted) => Ok(wanted),
            Slot::Done(_) | Slot::Empty => Err(Fault::misuse()),
        }
    }
}

impl<'de, V: Visitor<'de>> Sink<'de> for Slot<V, V::Value> {
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Waiting(visitor) => visitor.expecting(f),
            Slot::Done(_) | Slot::Empty => f.write_str("nothing more"),
        }
    }

    fn take(&mut self, given: Given<'_, 'de>) -> Result<(), Fault> {
        let visitor = self.wanted()?;
        let value = match given {
            Given::Bool(v) => visitor.visit_bool(v),
            Given::I64(v) => visitor.visit_i64(v),
            Given::I128(v) => visitor.visit_i128(v),
            Given::U64(v) => visitor.visit_u64(v),
            Given::U128(v) => visitor.visit_u128(v),
            Given::F64(v) => visitor.visit_f64(v),
            Given::Str(v) => visitor.visit_str(v),
            Given::BorrowedStr(v) => visitor.visit_borrowed_str(v),
            Given::String(v) => visitor.visit_string(v),
            Given::Bytes(v) => visitor.visit_bytes(v),
            Given::BorrowedBytes(v) => visitor.visit_borrowed_bytes(v),
            Given::ByteBuf(v) => visitor.visit_byte_buf(v),
            Given::None => visitor.visit_none(),
            Given::Unit => visitor.visit_unit(),
            Given::Some(source) => visitor.visit_some(Reader(source)),
            Given::Newtype(source) => visitor.visit_newtype_struct(Reader(source)),
            Given::Seq(items) => visitor.visit_seq(ItemReader(items)),
            Given::Map(pairs) => visitor.visit_map(PairReader(pairs)),
            Given::Enum(choice) => visitor.visit_enum(ChoiceReader(choice)),
        }?;
        *self = Slot::Done(value);
        Ok(())
    }
}

impl<'de, S: DeserializeSeed<'de>> Fill<'de> for Slot<S, S::Value> {
    fn fill(&mut self, from: &mut dyn Source<'de>) -> Result<(), Fault> {
        let value = self.wanted()?.deserialize(Reader(from))?;
        *self = Slot::Done(value);
        Ok(())
    }
}

/// Any parser.
struct Reader<'a, 'de>(&'a mut dyn Source<'de>);

impl<'de> Reader<'_, 'de> {
    fn ask<V: Visitor<'de>>(self, ask: Ask, visitor: V) -> Result<V::Value, Fault> {
        let mut slot = Slot::Waiting(visitor);
        self.0.give(ask, &mut slot)?;
        slot.done()
    }
}

/// Methods without arguments besides the visitor.
macro_rules! ask {
    ($($method:ident $ask:ident,)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.ask(Ask::$ask, visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Fault;

    ask! {
        deserialize_any Any,
        deserialize_bool Bool,
        deserialize_i8 I8,
        deserialize_i16 I16,
        deserialize_i32 I32,
        deserialize_i64 I64,
        deserialize_i128 I128,
        deserialize_u8 U8,
        deserialize_u16 U16,
        deserialize_u32 U32,
        deserialize_u64 U64,
        deserialize_u128 U128,
        deserialize_f32 F32,
        deserialize_f64 F64,
        deserialize_char Char,
        deserialize_str Str,
        deserialize_string String,
        deserialize_bytes Bytes,
        deserialize_byte_buf ByteBuf,
        deserialize_option Option,
        deserialize_unit Unit,
        deserialize_seq Seq,
        deserialize_map Map,
        deserialize_identifier Identifier,
        deserialize_ignored_any IgnoredAny,
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.ask(Ask::UnitStruct(name), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.ask(Ask::NewtypeStruct(name), visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.ask(Ask::Tuple(len), visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.ask(Ask::TupleStruct(name, len), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.ask(Ask::Struct(name, fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.ask(Ask::Enum(name, variants), visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

struct ItemReader<'a, 'de>(&'a mut dyn Items<'de>);

impl<'de> SeqAccess<'de> for ItemReader<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let mut slot = Slot::Waiting(seed);
        match self.0.next(&mut slot)? {
            true => slot.done().map(Some),
            false => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct PairReader<'a, 'de>(&'a mut dyn Pairs<'de>);

impl<'de> MapAccess<'de> for PairReader<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let mut slot = Slot::Waiting(seed);
        match self.0.key(&mut slot)? {
            true => slot.done().map(Some),
            false => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let mut slot = Slot::Waiting(seed);
        self.0.value(&mut slot)?;
        slot.done()
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

struct ChoiceReader<'a, 'de>(&'a mut dyn Choice<'de>);

impl<'de> EnumAccess<'de> for ChoiceReader<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let mut slot = Slot::Waiting(seed);
        self.0.name(&mut slot)?;
        Ok((slot.done()?, self))
    }
}

impl<'de> VariantAccess<'de> for ChoiceReader<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.0.content(Shape::Unit)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let mut slot = Slot::Waiting(seed);
        self.0.content(Shape::Newtype(&mut slot))?;
        slot.done()
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let mut slot = Slot::Waiting(visitor);
        self.0.content(Shape::Tuple(len, &mut slot))?;
        slot.done()
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let mut slot = Slot::Waiting(visitor);
        self.0.content(Shape::Struct(fields, &mut slot))?;
        slot.done()
    }
}
