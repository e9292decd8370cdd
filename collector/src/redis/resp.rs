//! RESP2, the protocol of Redis, as spoken by a server that is not trusted.
//!
//! RESP3 is for clients that ask for it (HELLO), which we do not. Source: redis.io, "Redis
//! serialization protocol specification".

use std::borrow::Cow;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Bytes of the answers to one batch: a list of some 50,000 clients. INFO has about 10 kB.
const BYTES_MAX: usize = 16 << 20;
/// Values in the answers to one batch.
const VALUES_MAX: usize = 200_000;
/// Bytes of a line: a type with a number or a message.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Arrays within arrays. LATENCY HISTOGRAM has three, XINFO STREAM with its entries four.
const DEPTH_MAX: usize = 8;
/// Capacity given to an array before its values come, whatever length it claims.
const ARRAY_CAPACITY_MAX: usize = 64;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    /// A simple or a bulk string.
    Bytes(Vec<u8>),
    /// A code in capitals, then words.
    Error(String),
    Array(Vec<Value>),
}

impl Value {
    /// A string; what is not UTF-8 is replaced.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
            _ => None,
        }
    }

    /// An integer, or a string that is a number.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(n) => Some(*n as f64),
            Value::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The values of an array; none of anything else.
    pub(super) fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The value after `key` in an array of names and values.
    pub(super) fn field(&self, key: &str) -> Option<&Value> {
        let mut pairs = self.items().chunks_exact(2);
        let found = pairs.find(|pair| matches!(&pair[0], Value::Bytes(b) if b == key.as_bytes()));
        found.map(|pair| &pair[1])
    }
}

/// Why no answer could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// At the end of the stream, within an answer or before it.
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the answer exceeds {BYTES_MAX} bytes or {VALUES_MAX} values")]
    TooLarge,
    #[error("the server does not speak Redis' protocol: {0}")]
    Malformed(&'static str),
}

/// Commands that are sent at once.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    count: usize,
}

impl Batch {
    /// Adds a command with its arguments.
    pub(super) fn add<A: AsRef<[u8]>>(&mut self, words: &[A]) -> &mut Batch {
        self.bytes
            .extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            let word = word.as_ref();
            self.bytes
                .extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.count += 1;
        self
    }

    /// Adds the commands of another batch.
    pub(super) fn append(&mut self, other: Batch) {
        self.bytes.extend(other.bytes);
        self.count += other.count;
    }
}

/// Asks and reads over any stream.
pub(super) struct Talk<S> {
    stream: BufReader<S>,
    bytes_left: usize,
    values_left: usize,
}

/// What a line begins.
enum Begun {
    Value(Value),
    Array(usize),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(super) fn new(stream: S) -> Talk<S> {
        Talk {
            stream: BufReader::new(stream),
            bytes_left: 0,
            values_left: 0,
        }
    }

    /// Sends a batch; gives one answer for each command, in their order. After an error the stream
    /// is worthless.
    pub(super) async fn ask(&mut self, batch: &Batch) -> Result<Vec<Value>, ReadError> {
        (self.bytes_left, self.values_left) = (BYTES_MAX, VALUES_MAX);
        self.stream.write_all(&batch.bytes).await?;
        self.stream.flush().await?;
        let mut answers = Vec::with_capacity(batch.count);
        for _ in 0..batch.count {
            answers.push(self.answer().await?);
        }
        Ok(answers)
    }

    async fn answer(&mut self) -> Result<Value, ReadError> {
        // Arrays begun and not yet full, the outermost first, with their lengths.
        let mut open: Vec<(Vec<Value>, usize)> = Vec::new();
        'next: loop {
            let mut value = match self.begin().await? {
                Begun::Value(value) => value,
                Begun::Array(0) => Value::Array(Vec::new()),
                Begun::Array(_) if open.len() == DEPTH_MAX => {
                    return Err(ReadError::Malformed("arrays are nested too deeply"));
                }
                Begun::Array(length) => {
                    let items = Vec::with_capacity(length.min(ARRAY_CAPACITY_MAX));
                    open.push((items, length));
                    continue;
                }
            };
            while let Some((mut items, length)) = open.pop() {
                items.push(value);
                if items.len() < length {
                    open.push((items, length));
                    continue 'next;
                }
                value = Value::Array(items);
            }
            return Ok(value);
        }
    }

    async fn begin(&mut self) -> Result<Begun, ReadError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(ReadError::TooLarge)?;
        let line = self.line().await?;
        let (kind, rest) = line
            .split_first()
            .ok_or(ReadError::Malformed("an empty line"))?;
        let number = || {
            let text = std::str::from_utf8(rest).ok();
            let number: Option<i64> = text.and_then(|t| t.parse().ok());
            number.ok_or(ReadError::Malformed("a number was expected"))
        };
        // -1 stands for nothing.
        let length = || match number()? {
            -1 => Ok(None),
            n => match usize::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(ReadError::Malformed("a negative length")),
            },
        };
        let value = match kind {
            b'+' => Value::Bytes(rest.to_vec()),
            b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
            b':' => Value::Integer(number()?),
            b'$' => match length()? {
                None => Value::Null,
                Some(n) => Value::Bytes(self.bulk(n).await?),
            },
            b'*' => match length()? {
                None => Value::Null,
                Some(n) if n > self.values_left => return Err(ReadError::TooLarge),
                Some(n) => return Ok(Begun::Array(n)),
            },
            _ => return Err(ReadError::Malformed("an unknown type")),
        };
        Ok(Begun::Value(value))
    }

    async fn line(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX.min(self.bytes_left);
        let mut limited = (&mut self.stream).take(limit as u64);
        let read = limited.read_until(b'\n', &mut line).await?;
        self.bytes_left -= read;
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            Ok(line)
        } else if read == limit {
            Err(ReadError::TooLarge)
        } else if line.ends_with(b"\n") {
            Err(ReadError::Malformed(
                "a line ends without a carriage return",
            ))
        } else {
            Err(ReadError::Closed)
        }
    }

    /// Memory is taken as the bytes come, not as they are announced.
    async fn bulk(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        let with_end = length.saturating_add(2);
        self.bytes_left = self
            .bytes_left
            .checked_sub(with_end)
            .ok_or(ReadError::TooLarge)?;
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(with_end as u64);
        if limited.read_to_end(&mut bytes).await? < with_end {
            return Err(ReadError::Closed);
        }
        if !bytes.ends_with(b"\r\n") {
            return Err(ReadError::Malformed("a string is longer than it says"));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// What is read of `sent`, to which the server has nothing to add.
    async fn read(sent: &[u8]) -> Result<Value, ReadError> {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(sent).await.unwrap();
        let mut batch = Batch::default();
        batch.add(&["PING"]);
        let mut talk = Talk::new(ours);
        let asked = talk.ask(&batch);
        let close = async {
            let mut request = [0; 14];
            theirs.read_exact(&mut request).await.unwrap();
            drop(theirs);
        };
        let (answer, ()) = tokio::join!(asked, close);
        answer.map(|mut all| all.remove(0))
    }

    fn text(t: &str) -> Value {
        Value::Bytes(t.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn answers_of_every_type_are_read() {
        let check = async |sent: &str, expect: Value| {
            assert_eq!(read(sent.as_bytes()).await.unwrap(), expect, "{sent:?}");
        };
        check("+OK\r\n", text("OK")).await;
        check("-ERR no\r\n", Value::Error("ERR no".to_owned())).await;
        check(":-7\r\n", Value::Integer(-7)).await;
        check("$5\r\na\r\nbc\r\n", text("a\r\nbc")).await;
        check("$0\r\n\r\n", text("")).await;
        check("$-1\r\n", Value::Null).await;
        check("*-1\r\n", Value::Null).await;
        check("*0\r\n", Value::Array(vec![])).await;
        let inner = Value::Array(vec![Value::Integer(1), Value::Array(vec![])]);
        let outer = Value::Array(vec![inner, text("x")]);
        check("*2\r\n*2\r\n:1\r\n*0\r\n+x\r\n", outer).await;
    }

    #[tokio::test]
    async fn a_lying_server_is_refused_before_it_costs_anything() {
        let deep = "*1\r\n".repeat(100_000);
        let line = format!("+{}", "x".repeat(LINE_BYTES_MAX));
        let full = format!("*150000\r\n{}", ":1\r\n".repeat(150_000));
        let many = format!("*2\r\n{full}*150000\r\n");
        for (sent, expect) in [
            ("", "the server closed the connection"),
            ("$10\r\nabc", "the server closed the connection"),
            ("*2\r\n:1\r\n", "the server closed the connection"),
            ("$9223372036854775807\r\n", "the answer exceeds"),
            ("$16777216\r\n", "the answer exceeds"),
            ("*4000000000\r\n", "the answer exceeds"),
            (&many, "the answer exceeds"),
            (&line, "the answer exceeds"),
            (&deep, "arrays are nested too deeply"),
            ("$-2\r\n", "a negative length"),
            ("$x\r\n", "a number was expected"),
            ("$3\r\nabcd\r\n", "a string is longer than it says"),
            ("HTTP/1.1 400 Bad Request\r\n", "an unknown type"),
            ("\r\n", "an empty line"),
            (":1\n", "without a carriage return"),
        ] {
            let error = read(sent.as_bytes()).await.unwrap_err().to_string();
            let start: String = sent.chars().take(40).collect();
            assert!(error.contains(expect), "{start:?}: {error}");
        }
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut batch = Batch::default();
        batch.add(&["GET", "a b"]).add(&[b"\xff"]);
        assert_eq!(
            batch.bytes,
            b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n*1\r\n$1\r\n\xff\r\n"
        );
        assert_eq!(batch.count, 2);
    }

    #[test]
    fn fields_are_found_in_flat_arrays() {
        let flat = Value::Array(vec![text("a"), Value::Integer(1), text("b"), text("2.5")]);
        assert_eq!(flat.field("b").and_then(Value::number), Some(2.5));
        assert_eq!(flat.field("c"), None);
        assert_eq!(Value::Null.field("a"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_or_wait(sent in "([*$:+-]|-?[0-9]{1,3}|\r\n|[a-z]){0,40}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(sent.as_bytes()));
        }
    }
}
