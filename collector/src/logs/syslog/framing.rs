//! Messages of a connection: with their length before them, or a line end behind. Each message may
//! choose. Source: RFC 6587.

/// Bytes kept of a message; the rest is left out and the line marked `truncated`. Also the longest
/// datagram there is.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// A longer message is none: what was taken for its length is not.
const LENGTH_MAX: u64 = 16 << 20;

/// Takes a connection's bytes apart.
#[derive(Debug, Default)]
pub(super) struct Framer {
    state: State,
    /// The message so far.
    kept: Vec<u8>,
    truncated: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Between two messages.
    #[default]
    Between,
    /// Within the digits of a length.
    Length(u64),
    /// So many bytes of a message are to come.
    Octets(u64),
    /// Within a message that ends with its line.
    Line,
}

/// A message, and whether it was longer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl Framer {
    /// Takes bytes; hands on the messages that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.state {
                State::Between => match first {
                    b'\n' | b'\r' | b' ' | 0 => bytes = rest,
                    b'1'..=b'9' => self.state = State::Length(0),
                    _ => self.state = State::Line,
                },
                State::Length(length) => match first {
                    b'0'..=b'9' if length * 10 <= LENGTH_MAX => {
                        self.keep(&[first]);
                        self.state = State::Length(length * 10 + u64::from(first - b'0'));
                        bytes = rest;
                    }
                    b' ' => {
                        self.kept.clear();
                        self.state = State::Octets(length);
                        bytes = rest;
                    }
                    // No length: a line that begins with a number.
                    _ => self.state = State::Line,
                },
                State::Octets(left) => {
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.keep(&bytes[..count]);
                    bytes = &bytes[count..];
                    let left = left - count as u64;
                    self.state = State::Octets(left);
                    if left == 0 {
                        self.finish().into_iter().for_each(&mut each);
                    }
                }
                State::Line => {
                    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0));
                    self.keep(&bytes[..end.unwrap_or(bytes.len())]);
                    bytes = end.map_or(&[], |end| &bytes[end + 1..]);
                    if end.is_some() {
                        self.finish().into_iter().for_each(&mut each);
                    }
                }
            }
        }
    }

    /// The message that the end of the connection ends, if any.
    pub(super) fn finish(&mut self) -> Option<Frame> {
        self.state = State::Between;
        let frame = Frame {
            bytes: std::mem::take(&mut self.kept),
            truncated: std::mem::take(&mut self.truncated),
        };
        (!frame.bytes.is_empty()).then_some(frame)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MESSAGE_BYTES_MAX - self.kept.len();
        self.truncated |= bytes.len() > room;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stream: &[u8], expect: &[&str]) {
        // However the network cuts it.
        for size in [1, 2, 3, stream.len().max(1)] {
            let (mut framer, mut found) = (Framer::default(), Vec::new());
            for piece in stream.chunks(size) {
                framer.push(piece, |frame| found.push(frame));
            }
            found.extend(framer.finish());
            let texts: Vec<String> = found
                .iter()
                .map(|f| String::from_utf8_lossy(&f.bytes).into_owned())
                .collect();
            assert_eq!(texts, expect, "{size}");
        }
    }

    #[test]
    fn lengths_and_line_ends_divide_messages() {
        check(b"<1>a\n<2>b\r\n\n<3>c", &["<1>a", "<2>b\r", "<3>c"]);
        check(b"6 <1>a\nb4 <2>c", &["<1>a\nb", "<2>c"]);
        check(b"4 <1>a\n<2>b\n4 <3>c", &["<1>a", "<2>b", "<3>c"]);
        check(b"<1>a\0<2>b\0", &["<1>a", "<2>b"]);
        check(b"12 <1>cut", &["<1>cut"]);
        check(b"", &[]);
    }

    #[test]
    fn what_is_no_length_begins_a_line() {
        check(b"12:30 up\n<1>a\n", &["12:30 up", "<1>a"]);
        check(b"99999999999 x\n", &["99999999999 x"]);
    }

    #[test]
    fn long_messages_are_cut_and_the_next_is_whole() {
        let long = "x".repeat(MESSAGE_BYTES_MAX + 7);
        for stream in [
            format!("<1>{long}\n<2>b\n"),
            format!("{} <1>{long}4 <2>b", long.len() + 3),
        ] {
            let (mut framer, mut found) = (Framer::default(), Vec::new());
            framer.push(stream.as_bytes(), |frame| found.push(frame));
            assert_eq!(found.len(), 2);
            assert_eq!(
                (found[0].bytes.len(), found[0].truncated),
                (MESSAGE_BYTES_MAX, true)
            );
            assert_eq!(
                (&found[1].bytes[..], found[1].truncated),
                (&b"<2>b"[..], false)
            );
        }
    }
}
