//! Protobuf messages by hand, from the published specifications and not from the product's code.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty one.
    #[must_use]
    pub fn new() -> Message {
        Message::default()
    }

    /// `int64`, `uint64`, `bool` or an enum.
    #[must_use]
    pub fn varint(mut self, field: u32, value: impl Into<i128>) -> Message {
        self.tag(field, 0);
        // Negative numbers are ten bytes long.
        put_varint(&mut self.0, value.into() as u64);
        self
    }

    /// `sint32` or `sint64`.
    #[must_use]
    pub fn sint(self, field: u32, value: i64) -> Message {
        self.varint(field, zigzag(value))
    }

    /// `double`.
    #[must_use]
    pub fn double(self, field: u32, value: f64) -> Message {
        self.fixed64(field, value.to_bits())
    }

    /// `fixed64`.
    #[must_use]
    pub fn fixed64(mut self, field: u32, value: u64) -> Message {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// `string` or `bytes`.
    #[must_use]
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Message {
        self.tag(field, 2);
        put_varint(&mut self.0, value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    /// A message in this one.
    #[must_use]
    pub fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, value.0)
    }

    /// `repeated uint32` or `uint64`, packed.
    #[must_use]
    pub fn varints(self, field: u32, values: &[u64]) -> Message {
        let mut packed = Vec::new();
        values.iter().for_each(|v| put_varint(&mut packed, *v));
        self.bytes(field, packed)
    }

    /// `repeated sint64`, packed.
    #[must_use]
    pub fn sints(self, field: u32, values: &[i64]) -> Message {
        let values: Vec<u64> = values.iter().map(|v| zigzag(*v)).collect();
        self.varints(field, &values)
    }

    /// `repeated double`, packed.
    #[must_use]
    pub fn doubles(self, field: u32, values: &[f64]) -> Message {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, packed)
    }

    /// The encoded message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The encoded message behind its length.
    #[must_use]
    pub fn delimited(self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.0.len() as u64);
        out.extend_from_slice(&self.0);
        out
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        put_varint(&mut self.0, u64::from(field) << 3 | wire_type);
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
