//! D-Bus messages: calls whose arguments are strings, and of what comes back only what such calls
//! can bring. Nothing a peer sends is trusted.
//!
//! Source: D-Bus Specification 0.43, "Type System" and "Message Protocol".

use std::io;

/// A longer message is refused. A unit takes some 250 bytes of their list.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// How much of a message tells its length.
pub(super) const HEAD_BYTES: usize = 16;

/// The signature of the list of units.
const UNITS: &str = "a(ssssssouso)";

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
/// That nobody shall be started to answer.
const NO_AUTO_START: u8 = 2;
const VERSION: u8 = 1;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What is asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) arguments: &'a [&'a str],
}

impl Call<'_> {
    /// Appends the message with this number, which is not zero.
    pub(super) fn write(&self, serial: u32, out: &mut Vec<u8>) {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|text| body.string(text));
        let mut message = Writer::default();
        let head = [b'l', CALL, NO_AUTO_START, VERSION];
        message.0.extend_from_slice(&head);
        message.u32(body.0.len() as u32);
        message.u32(serial);
        let mut fields = Writer::default();
        for (field, kind, text) in [
            (PATH, "o", self.path),
            (INTERFACE, "s", self.interface),
            (MEMBER, "s", self.member),
            (DESTINATION, "s", self.destination),
        ] {
            fields.field(field, kind);
            fields.string(text);
        }
        if !self.arguments.is_empty() {
            fields.field(SIGNATURE, "g");
            fields.signature(&"s".repeat(self.arguments.len()));
        }
        message.u32(fields.0.len() as u32);
        message.0.append(&mut fields.0);
        message.align(8);
        message.0.append(&mut body.0);
        out.append(&mut message.0);
    }
}

/// Little-endian, which every peer can read.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// The beginning of a header field.
    fn field(&mut self, field: u8, kind: &str) {
        self.align(8);
        self.0.push(field);
        self.signature(kind);
    }
}

/// The length of the message that begins so, from its first byte on.
///
/// # Errors
/// When it is no message, or too long a one.
pub(super) fn length(head: &[u8; HEAD_BYTES]) -> io::Result<usize> {
    let mut reader = Reader::new(head, head[0])?;
    if head[3] != VERSION {
        return Err(malformed("another version"));
    }
    reader.at = 4;
    let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let length = (HEAD_BYTES as u64 + u64::from(fields)).next_multiple_of(8) + u64::from(body);
    match usize::try_from(length) {
        Ok(length) if length <= MESSAGE_BYTES_MAX => Ok(length),
        _ => Err(malformed("a message of more than 4 MiB")),
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Message {
    /// The number of the call that it answers; `None` when it answers none.
    pub(super) answers: Option<u32>,
    /// The name of the error that it tells.
    pub(super) error: Option<String>,
    signature: String,
    bytes: Vec<u8>,
    body_at: usize,
}

impl Message {
    /// Reads a whole message, as long as [`length`] says.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(bytes: Vec<u8>) -> io::Result<Message> {
        let (&order, kind) = match &bytes[..] {
            [order, kind, ..] => (order, *kind),
            _ => return Err(malformed("a message without a head")),
        };
        let mut reader = Reader::new(&bytes, order)?;
        reader.at = 12;
        let fields = reader.u32()? as usize;
        let end = reader.at.saturating_add(fields);
        let (mut answers, mut error, mut signature) = (None, None, String::new());
        while reader.at < end {
            reader.align(8)?;
            let field = reader.u8()?;
            match (field, reader.value()?) {
                (REPLY_SERIAL, Value::Number(serial)) => answers = u32::try_from(serial).ok(),
                (ERROR_NAME, Value::Text(name)) => error = Some(name.to_owned()),
                (SIGNATURE, Value::Text(text)) => signature = text.to_owned(),
                _ => {}
            }
        }
        if reader.at != end {
            return Err(malformed("a header field that is too long"));
        }
        reader.align(8)?;
        let body_at = reader.at;
        match kind {
            ANSWER => error = None,
            ERROR => error = error.or_else(|| Some("an error without a name".to_owned())),
            // Signals and calls are not for us.
            _ => answers = None,
        }
        Ok(Message {
            answers,
            error,
            signature,
            bytes,
            body_at,
        })
    }

    /// What a property is worth, of the answer to a question for it.
    ///
    /// # Errors
    /// When the answer is something else.
    pub(super) fn property(&self) -> io::Result<Value<'_>> {
        self.body("v")?.value()
    }

    /// The text that comes with an error, if any.
    pub(super) fn text(&self) -> Option<&str> {
        if !self.signature.starts_with('s') {
            return None;
        }
        let mut reader = Reader::new(&self.bytes, self.bytes[0]).ok()?;
        reader.at = self.body_at;
        reader.string().ok()
    }

    /// Shows `each` the units of the answer to the question for their list.
    ///
    /// # Errors
    /// When the answer is something else.
    pub(super) fn units<'a>(&'a self, mut each: impl FnMut(Unit<'a>)) -> io::Result<()> {
        let mut reader = self.body(UNITS)?;
        let length = reader.u32()? as usize;
        reader.align(8)?;
        let end = reader.at.saturating_add(length);
        while reader.at < end {
            reader.align(8)?;
            let [name, _description, load_state, active_state] = reader.strings()?;
            let [_sub_state, _following, path] = reader.strings()?;
            let _job = reader.u32()?;
            let [_job_type, _job_path] = reader.strings()?;
            each(Unit {
                name,
                load_state,
                active_state,
                path,
            });
        }
        Ok(())
    }

    fn body(&self, signature: &str) -> io::Result<Reader<'_>> {
        if self.signature != signature {
            return Err(malformed("an answer of another type"));
        }
        let mut reader = Reader::new(&self.bytes, self.bytes[0])?;
        reader.at = self.body_at;
        Ok(reader)
    }
}

/// A row of the list of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit<'a> {
    pub(super) name: &'a str,
    pub(super) load_state: &'a str,
    pub(super) active_state: &'a str,
    /// The object that can be asked for more.
    pub(super) path: &'a str,
}

/// A value of a basic type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    /// Whole and not negative.
    Number(u64),
    /// Anything else.
    Other,
}

/// Reads values one behind the other; positions count from the beginning of the message, as
/// alignment does.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], order: u8) -> io::Result<Reader<'a>> {
        let little = match order {
            b'l' => true,
            b'B' => false,
            _ => return Err(malformed("no message")),
        };
        Ok(Reader {
            bytes,
            at: 0,
            little,
        })
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest
            .get(..count)
            .ok_or_else(|| malformed("a value that is cut off"))?;
        self.at += count;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.take(padding).map(|_| ())
    }

    fn number(&mut self, size: usize) -> io::Result<u64> {
        self.align(size)?;
        let bytes = self.take(size)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(match self.little {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(self.number(4)? as u32)
    }

    /// A string or the path of an object.
    fn string(&mut self) -> io::Result<&'a str> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn strings<const N: usize>(&mut self) -> io::Result<[&'a str; N]> {
        let mut strings = [""; N];
        for string in &mut strings {
            *string = self.string()?;
        }
        Ok(strings)
    }

    /// Text of that length, and the zero behind it.
    fn text(&mut self, length: usize) -> io::Result<&'a str> {
        let text = self.take(length)?;
        if self.u8()? != 0 {
            return Err(malformed("a string without an end"));
        }
        std::str::from_utf8(text).map_err(|_| malformed("a string that is not UTF-8"))
    }

    /// A variant. Those of header fields and of the properties asked for are of basic types.
    fn value(&mut self) -> io::Result<Value<'a>> {
        let length = usize::from(self.u8()?);
        match self.text(length)? {
            "s" | "o" => self.string().map(Value::Text),
            "g" => {
                let length = usize::from(self.u8()?);
                self.text(length).map(Value::Text)
            }
            "y" => self.number(1).map(Value::Number),
            "q" => self.number(2).map(Value::Number),
            "u" | "b" => self.number(4).map(Value::Number),
            "t" => self.number(8).map(Value::Number),
            "n" => self.number(2).map(|_| Value::Other),
            "i" | "h" => self.number(4).map(|_| Value::Other),
            "x" | "d" => self.number(8).map(|_| Value::Other),
            _ => Err(malformed("a value of a type that was not asked for")),
        }
    }
}

/// Says that the peer does not keep to the protocol.
pub(super) fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("D-Bus: {what}"))
}

/// What a peer writes.
#[cfg(test)]
pub(super) mod peer {
    use super::{ANSWER, ERROR, ERROR_NAME, HEAD_BYTES, REPLY_SERIAL, SIGNATURE, VERSION, Writer};

    /// What a call is answered with.
    pub(in super::super) enum Answer<'a> {
        Text(&'a str),
        U32(u32),
        U64(u64),
        /// Name, load state, active state, path.
        Units(&'a [[&'a str; 4]]),
        Error(&'a str),
    }

    impl Answer<'_> {
        /// The message with this number that answers the call of that number.
        pub(in super::super) fn write(&self, serial: u32, answers: u32) -> Vec<u8> {
            let mut body = Writer::default();
            let signature = match self {
                Answer::Text(text) => {
                    body.signature("s");
                    body.string(text);
                    "v"
                }
                Answer::U32(number) => {
                    body.signature("u");
                    body.u32(*number);
                    "v"
                }
                Answer::U64(number) => {
                    body.signature("t");
                    body.align(8);
                    body.0.extend_from_slice(&number.to_le_bytes());
                    "v"
                }
                Answer::Units(units) => {
                    let mut rows = Writer::default();
                    for [name, load, active, path] in *units {
                        rows.align(8);
                        for text in [name, "what it is", load, active, "sub", "", path] {
                            rows.string(text);
                        }
                        rows.u32(0);
                        rows.string("");
                        rows.string("/");
                    }
                    body.u32(rows.0.len() as u32);
                    body.align(8);
                    body.0.extend(rows.0);
                    super::UNITS
                }
                Answer::Error(_) => {
                    body.string("in words");
                    "s"
                }
            };
            let mut fields = Writer::default();
            fields.field(REPLY_SERIAL, "u");
            fields.u32(answers);
            fields.field(SIGNATURE, "g");
            fields.signature(signature);
            if let Answer::Error(name) = self {
                fields.field(ERROR_NAME, "s");
                fields.string(name);
            }
            let kind = match self {
                Answer::Error(_) => ERROR,
                _ => ANSWER,
            };
            let mut message = Writer(vec![b'l', kind, 1, VERSION]);
            message.u32(body.0.len() as u32);
            message.u32(serial);
            message.u32(fields.0.len() as u32);
            debug_assert_eq!(message.0.len(), HEAD_BYTES);
            message.0.extend(fields.0);
            message.align(8);
            message.0.extend(body.0);
            message.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::peer::Answer;
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Message> {
        let head = bytes.first_chunk().unwrap();
        assert_eq!(length(head).unwrap(), bytes.len());
        Message::parse(bytes.to_vec())
    }

    #[test]
    fn a_call_is_laid_out_as_specified() {
        let call = Call {
            destination: "a.b",
            path: "/c",
            interface: "d.e",
            member: "F",
            arguments: &["g"],
        };
        let mut bytes = Vec::new();
        call.write(7, &mut bytes);
        let expect = b"l\x01\x02\x01\x06\0\0\0\x07\0\0\0\x47\0\0\0\
            \x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0\
            \x02\x01s\0\x03\0\0\0d.e\0\0\0\0\0\
            \x03\x01s\0\x01\0\0\0F\0\0\0\0\0\0\0\
            \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
            \x08\x01g\0\x01s\0\0\
            \x01\0\0\0g\0";
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expect.escape_ascii().to_string()
        );
    }

    #[test]
    fn answers_are_read() {
        let check = |answer: Answer<'_>, expect: Value<'_>| {
            let message = parse(&answer.write(9, 7)).unwrap();
            assert_eq!((message.answers, &message.error), (Some(7), &None));
            assert_eq!(message.property().unwrap(), expect);
        };
        check(Answer::Text("running"), Value::Text("running"));
        check(Answer::U32(3), Value::Number(3));
        check(Answer::U64(u64::MAX), Value::Number(u64::MAX));
        let units = [
            ["a.service", "loaded", "active", "/a"],
            ["b.timer", "not-found", "inactive", "/bb"],
        ];
        let message = parse(&Answer::Units(&units).write(9, 7)).unwrap();
        let mut found = Vec::new();
        message
            .units(|u| found.push([u.name, u.load_state, u.active_state, u.path]))
            .unwrap();
        assert_eq!(found, units);
        assert!(message.property().is_err());
    }

    #[test]
    fn the_other_byte_order_is_read_too() {
        let bytes = b"B\x02\x01\x01\0\0\0\x08\0\0\0\x01\0\0\0\x0f\
            \x05\x01u\0\0\0\0\x07\x08\x01g\0\x01v\0\0\
            \x01u\0\0\0\0\0\x05";
        let message = parse(bytes).unwrap();
        assert_eq!(message.answers, Some(7));
        assert_eq!(message.property().unwrap(), Value::Number(5));
    }

    #[test]
    fn an_error_tells_its_name_and_words() {
        let message = parse(&Answer::Error("a.B").write(9, 7)).unwrap();
        assert_eq!(message.error.as_deref(), Some("a.B"));
        assert_eq!(message.text(), Some("in words"));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let check = |head: &[u8; 16]| assert!(length(head).is_err(), "{}", head.escape_ascii());
        check(b"HTTP/1.1 400 Bad");
        check(b"l\x02\x00\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        check(b"l\x02\x00\x01\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff");
        let whole = Answer::Text("running").write(9, 7);
        for cut in 0..whole.len() {
            let message = Message::parse(whole[..cut].to_vec());
            assert!(message.is_err() || message.is_ok_and(|m| m.property().is_err()));
        }
    }
}
