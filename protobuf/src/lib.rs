//! Protobuf's wire format: fields one after the other, each with number and wire type.
//! Source: protobuf.dev/programming-guides/encoding.
//!
//! Reading borrows from the message and allocates only what the caller gives it to fill; nesting
//! is the caller's, who asks for the fields of a field.

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A length or a number goes past the end.
    #[error("proto: unexpected end of message")]
    End,
    /// A variable-length number is longer than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field number or wire type that does not exist, or a group, which nobody uses.
    #[error("proto: illegal tag")]
    Tag,
    /// A known field comes with another wire type.
    #[error("proto: wrong wire type")]
    WireType,
    /// A string is not UTF-8.
    #[error("proto: string field contains invalid UTF-8")]
    Utf8,
    /// More of something than any honest sender has: an empty element takes two bytes, but
    /// what is made of it takes many.
    #[error("proto: too many elements in a repeated field")]
    TooMany,
}

/// A span of buckets, as remote write and the exposition format write it: offset and length.
/// Source: prometheus/client_model and prometheus/prompb, `BucketSpan`.
///
/// # Errors
/// When the value is no such message.
pub fn bucket_span(value: Value<'_>) -> Result<(i32, u32), Malformed> {
    let (mut offset, mut length) = (0, 0);
    let mut fields = Fields::of(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => offset = value.sint32()?,
            2 => length = value.varint()? as u32,
            _ => {}
        }
    }
    Ok((offset, length))
}

/// Numbers of one repeated field: buckets of a histogram, references to symbols.
pub const NUMBERS_MAX: usize = 1 << 16;

/// One value as it travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A variable-length number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Bytes after their length.
    Bytes(&'a [u8]),
    /// Four bytes.
    Fixed32(u32),
}

/// The fields of a message, in the order in which they come.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those of `message`.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Fields(message)
    }

    /// The next field's number and value; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are no field; what follows them cannot be found.
    #[inline]
    #[expect(
        clippy::should_implement_trait,
        reason = "a caller stops at the first error with `?`"
    )]
    pub fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| Malformed::Tag)?;
        if number == 0 {
            return Err(Malformed::Tag);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.delimited()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Malformed::Tag),
        };
        Ok(Some((number, value)))
    }

    /// A length and so many bytes.
    #[inline]
    fn delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        let length = usize::try_from(length).map_err(|_| Malformed::End)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed::End)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next bare number of a packed field; `None` at the end.
    #[inline]
    fn packed_varint(&mut self) -> Result<Option<u64>, Malformed> {
        match self.0.is_empty() {
            true => Ok(None),
            false => self.varint().map(Some),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Most lengths and tags are below 128.
        if let [first, rest @ ..] = self.0
            && *first < 0x80
        {
            self.0 = rest;
            return Ok(u64::from(*first));
        }
        let mut value = 0_u64;
        for (i, byte) in self.0.iter().take(10).enumerate() {
            if i == 9 && *byte > 1 {
                return Err(Malformed::Overflow);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok(value);
            }
        }
        match self.0.len() < 10 {
            true => Err(Malformed::End),
            false => Err(Malformed::Overflow),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::End)?;
        self.0 = rest;
        Ok(*array)
    }
}

/// Messages one after the other, each preceded by its length.
#[derive(Clone, Debug)]
pub struct Delimited<'a>(Fields<'a>);

impl<'a> Delimited<'a> {
    /// Those that `bytes` are made of.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Delimited(Fields(bytes))
    }
}

impl<'a> Iterator for Delimited<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.0.is_empty() {
            return None;
        }
        let message = self.0.delimited();
        if message.is_err() {
            // Nothing after it can be found.
            self.0 = Fields(&[]);
        }
        Some(message)
    }
}

/// The messages in field `number` of a message.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    fields: Fields<'a>,
    number: u32,
}

impl<'a> Messages<'a> {
    /// Those in field `number` of `message`.
    #[must_use]
    pub fn of(message: &'a [u8], number: u32) -> Self {
        Messages {
            fields: Fields::of(message),
            number,
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.fields.next() {
                Ok(Some((number, value))) if number == self.number => return Some(value.bytes()),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(e) => {
                    // Nothing after it can be found.
                    self.fields = Fields::of(&[]);
                    return Some(Err(e));
                }
            }
        }
    }
}

impl<'a> Value<'a> {
    /// `int64`, `uint64`, `uint32`, `bool` or an enum.
    ///
    /// # Errors
    /// [`Malformed::WireType`].
    #[inline]
    pub fn varint(self) -> Result<u64, Malformed> {
        match self {
            Value::Varint(v) => Ok(v),
            _ => Err(Malformed::WireType),
        }
    }

    /// `int64`.
    ///
    /// # Errors
    /// [`Malformed::WireType`].
    #[inline]
    pub fn int64(self) -> Result<i64, Malformed> {
        self.varint().map(|v| v as i64)
    }

    /// `sint32`; like every decoder it keeps the low bits of a number that is too large.
    ///
    /// # Errors
    /// [`Malformed::WireType`].
    pub fn sint32(self) -> Result<i32, Malformed> {
        self.varint().map(|v| unzigzag(v & 0xffff_ffff) as i32)
    }

    /// `double`.
    ///
    /// # Errors
    /// [`Malformed::WireType`].
    #[inline]
    pub fn double(self) -> Result<f64, Malformed> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed::WireType),
        }
    }

    /// `bytes`, `string` or a message.
    ///
    /// # Errors
    /// [`Malformed::WireType`].
    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::WireType),
        }
    }

    /// `string`.
    ///
    /// # Errors
    /// [`Malformed::WireType`], [`Malformed::Utf8`].
    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Utf8)
    }

    /// `repeated` of a varint kind, packed or one at a time.
    ///
    /// # Errors
    /// [`Malformed::WireType`], [`Malformed::TooMany`] beyond [`NUMBERS_MAX`], or a number that is cut off.
    pub fn varints_into<T>(
        self,
        into: &mut Vec<T>,
        from: impl Fn(u64) -> T,
    ) -> Result<(), Malformed> {
        match self {
            Value::Varint(v) => push_bounded(into, from(v), NUMBERS_MAX),
            Value::Bytes(bytes) => {
                let mut numbers = Fields(bytes);
                while let Some(v) = numbers.packed_varint()? {
                    push_bounded(into, from(v), NUMBERS_MAX)?;
                }
                Ok(())
            }
            _ => Err(Malformed::WireType),
        }
    }

    /// `repeated` of a 64-bit kind (`double`, `fixed64`), packed or one at a time, as bits.
    ///
    /// # Errors
    /// [`Malformed::WireType`], [`Malformed::TooMany`] beyond [`NUMBERS_MAX`], or a number that is cut off.
    pub fn fixed64s_into<T>(
        self,
        into: &mut Vec<T>,
        from: impl Fn(u64) -> T,
    ) -> Result<(), Malformed> {
        match self {
            Value::Fixed64(bits) => push_bounded(into, from(bits), NUMBERS_MAX),
            Value::Bytes(bytes) => {
                let (numbers, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Malformed::End);
                }
                if numbers.len() > NUMBERS_MAX {
                    return Err(Malformed::TooMany);
                }
                into.extend(numbers.iter().map(|n| from(u64::from_le_bytes(*n))));
                Ok(())
            }
            _ => Err(Malformed::WireType),
        }
    }
}

/// Appends to a repeated field that may have so many elements.
///
/// # Errors
/// [`Malformed::TooMany`].
#[inline]
pub fn push_bounded<T>(into: &mut Vec<T>, element: T, max: usize) -> Result<(), Malformed> {
    if into.len() >= max {
        return Err(Malformed::TooMany);
    }
    into.push(element);
    Ok(())
}

/// The signed number that zigzag encoding made `v` of.
#[must_use]
pub fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// Zigzag encoding: small numbers of either sign become small.
#[must_use]
pub fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// Writes messages. Fields that hold their default are left out by the caller's choice.
pub mod write {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const BYTES: u64 = 2;

    /// Appends a bare variable-length number.
    pub fn raw_varint(out: &mut Vec<u8>, mut v: u64) {
        while v >= 0x80 {
            out.push(v as u8 | 0x80);
            v >>= 7;
        }
        out.push(v as u8);
    }

    fn tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
        raw_varint(out, u64::from(number) << 3 | wire_type);
    }

    /// `uint64`, `int64` (as its bits), `bool` or an enum.
    pub fn varint(out: &mut Vec<u8>, number: u32, v: u64) {
        tag(out, number, VARINT);
        raw_varint(out, v);
    }

    /// `double`.
    pub fn double(out: &mut Vec<u8>, number: u32, v: f64) {
        tag(out, number, FIXED64);
        out.extend_from_slice(&v.to_bits().to_le_bytes());
    }

    /// `bytes`, `string` or an encoded message.
    pub fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
        tag(out, number, BYTES);
        raw_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    /// A message that `body` writes. Its length is put in front afterwards, so nested messages
    /// cost a move of their bytes instead of a buffer each.
    pub fn message(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
        tag(out, number, BYTES);
        let start = out.len();
        body(out);
        let end = out.len();
        raw_varint(out, (end - start) as u64);
        // The length was written behind the body; it belongs before it.
        let prefix = out.len() - end;
        out[start..].rotate_right(prefix);
    }

    /// `repeated double`, packed.
    pub fn doubles(out: &mut Vec<u8>, number: u32, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        tag(out, number, BYTES);
        raw_varint(out, values.len() as u64 * 8);
        for v in values {
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_wire_type_is_read_and_anything_else_is_refused() {
        let mut fields = Fields::of(&[
            0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(fields.next(), Ok(Some((1, Value::Varint(150)))));
        assert_eq!(fields.next(), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(fields.next(), Ok(Some((3, Value::Fixed32(1)))));
        assert_eq!(fields.next(), Ok(Some((4, Value::Fixed64(2)))));
        assert_eq!(fields.next(), Ok(None));
        for (bytes, expect) in [
            (&[0x08_u8][..], Malformed::End),
            (&[0x00, 1], Malformed::Tag),
            (&[0x0b, 1], Malformed::Tag),
            (&[0x12, 0x7f, 1], Malformed::End),
            // A length of -1.
            (
                &[
                    0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
                Malformed::End,
            ),
            (&[0x08; 12].map(|_| 0xff)[..], Malformed::Overflow),
        ] {
            assert_eq!(Fields::of(bytes).next(), Err(expect), "{bytes:?}");
        }
    }

    #[test]
    fn messages_behind_their_lengths_are_told_apart() {
        let all = |bytes| Delimited::of(bytes).collect::<Vec<_>>();
        assert_eq!(
            all(&[2, b'a', b'b', 0, 1, b'c']),
            [Ok(&b"ab"[..]), Ok(b""), Ok(b"c")]
        );
        assert_eq!(
            all(&[0, 3, b'a', b'b']),
            [Ok(&b""[..]), Err(Malformed::End)]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut fields = Fields::of(&bytes);
            while let Ok(Some((_, value))) = fields.next() {
                let _ = value.varints_into(&mut Vec::new(), |v| v);
                let _ = value.fixed64s_into(&mut Vec::new(), |v| v);
            }
        }

        #[test]
        fn what_is_written_is_read(v in any::<u64>(), s in any::<i64>(), d in any::<f64>()) {
            let mut out = Vec::new();
            write::message(&mut out, 7, |out| {
                write::varint(out, 1, v);
                write::varint(out, 2, zigzag(s));
                write::double(out, 900, d);
                write::doubles(out, 4, &[d, d]);
            });
            let mut outer = Fields::of(&out);
            let Ok(Some((7, Value::Bytes(inner)))) = outer.next() else {
                return Err(TestCaseError::fail("no message"));
            };
            prop_assert_eq!(outer.next(), Ok(None));
            let mut inner = Fields::of(inner);
            prop_assert_eq!(inner.next(), Ok(Some((1, Value::Varint(v)))));
            prop_assert_eq!(inner.next().unwrap().unwrap().1.varint().map(unzigzag), Ok(s));
            prop_assert_eq!(inner.next(), Ok(Some((900, Value::Fixed64(d.to_bits())))));
            let mut both = Vec::new();
            inner.next().unwrap().unwrap().1.fixed64s_into(&mut both, |b| b).unwrap();
            prop_assert_eq!(both, vec![d.to_bits(); 2]);
        }
    }
}
