//! A remote-write sender: protobuf and snappy framing by hand, one connection kept open.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::http::read_head;

/// Longest literal of a snappy stream written here; any length up to 4 GiB would do.
const LITERAL_BYTES: usize = 1 << 16;

/// A `prometheus.WriteRequest` under construction.
#[derive(Default)]
pub struct WriteRequest {
    bytes: Vec<u8>,
    series: Vec<u8>,
}

/// The labels of a series, encoded once and sent many times.
#[derive(Clone, Debug)]
pub struct EncodedLabels(Vec<u8>);

impl EncodedLabels {
    /// Encodes `labels`, which must be sorted by name, `__name__` included.
    #[must_use]
    pub fn new<N: AsRef<str>, V: AsRef<str>>(labels: &[(N, V)]) -> EncodedLabels {
        let mut bytes = Vec::new();
        for (name, value) in labels {
            let (name, value) = (name.as_ref(), value.as_ref());
            let mut label = Vec::new();
            put_bytes(&mut label, 1, name.as_bytes());
            put_bytes(&mut label, 2, value.as_bytes());
            put_bytes(&mut bytes, 1, &label);
        }
        EncodedLabels(bytes)
    }
}

impl WriteRequest {
    /// Adds one series with its samples (milliseconds, value), oldest first.
    pub fn push(&mut self, labels: &EncodedLabels, samples: impl IntoIterator<Item = (i64, f64)>) {
        self.series.clear();
        self.series.extend_from_slice(&labels.0);
        for (t, value) in samples {
            // field 2, a message of: field 1, 8 bytes; field 2, a varint.
            let mut sample = [0; 20];
            sample[0] = 0x09;
            sample[1..9].copy_from_slice(&value.to_le_bytes());
            sample[9] = 0x10;
            let mut end = 10;
            let mut t = t as u64;
            while t >= 0x80 {
                sample[end] = t as u8 | 0x80;
                t >>= 7;
                end += 1;
            }
            sample[end] = t as u8;
            put_bytes(&mut self.series, 2, &sample[..=end]);
        }
        let series = std::mem::take(&mut self.series);
        put_bytes(&mut self.bytes, 1, &series);
        self.series = series;
    }

    /// The request as it goes over the wire.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let out = snappy(&self.bytes);
        self.bytes.clear();
        out
    }
}

/// `bytes` as a snappy block. The format allows a stream of literals, which costs its reader a
/// copy and nothing else.
#[must_use]
pub fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 16);
    put_varint(&mut out, bytes.len() as u64);
    for literal in bytes.chunks(LITERAL_BYTES) {
        let length = (literal.len() - 1) as u16;
        out.push(61 << 2);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(literal);
    }
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A connection to a receiver.
pub struct Sender {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Sender {
    /// Connects to `address`; requests go to `path`.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: &str, path: &str) -> std::io::Result<Sender> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
        );
        let stream = BufReader::new(stream);
        Ok(Sender { stream, head })
    }

    /// Sends a finished request; the status and, unless it is a success, what the receiver says.
    ///
    /// # Errors
    /// When the connection breaks: the request may have been taken or not.
    pub fn send(&mut self, body: &[u8]) -> std::io::Result<(u16, String)> {
        let head = format!("{}Content-Length: {}\r\n\r\n", self.head, body.len());
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let (first, headers) = read_head(&mut self.stream)?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other("no status line"))?;
        let length = headers.iter().find(|(n, _)| n == "content-length");
        let length = length.and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }
}
